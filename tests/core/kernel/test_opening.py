"""Opening a database does no more than reading needs; the rest comes with the first write."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import dosql_dbapi
from dosql_core.database import _registry_lock, open_database
from dosql_core.identifiers import MAIN_BRANCH_ID, Microseconds
from dosql_core.kernel.commit_times import CommitTimes
from dosql_core.kernel.head_watch import head_watch
from dosql_core.kernel.wal_index import MX_FRAME_WORD, SALT_1_WORD, WalIndex
from dosql_core.options import DatabaseOptions
from fixtures.programs import run_program, run_sqlite

DEADLINE_SECONDS = 60.0


class StandingIndex:
    """The words of a WAL index that `CommitTimes` reads."""

    words: ClassVar = {SALT_1_WORD: 7, MX_FRAME_WORD: 3}


def made(path: Path) -> None:
    with contextlib.closing(dosql_dbapi.connect(path, isolation_level=None)) as connection:
        connection.execute("create table t(n integer primary key)")
        connection.execute("insert into t values (1)")


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def threads_of_heads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name == f"dosql-{MAIN_BRANCH_ID}"]


def descriptors_of(path: Path) -> int:
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            count += os.readlink(f"/proc/self/fd/{name}") == str(path)
    return count


def test_who_only_reads_starts_no_thread_and_opens_two_connections(database_path: Path) -> None:
    made(database_path)
    before = threads_of_heads()
    with contextlib.closing(dosql_dbapi.connect(database_path)) as connection:
        assert connection.execute("select n from t").fetchall() == [(1,)]
        assert threads_of_heads() == before
        assert descriptors_of(database_path) == 2  # the user's, and the one that keeps the WAL
    assert descriptors_of(database_path) == 0


def test_the_watch_ends_when_nothing_is_open_and_begins_again(database_path: Path) -> None:
    made(database_path)
    with contextlib.closing(dosql_dbapi.connect(database_path)):  # or it may end just now
        wait_until(lambda: head_watch._thread is not None)
    if not head_watch._heads:
        head_watch.rest()
        assert head_watch._thread is None
    with open_database(database_path, DatabaseOptions(wal_capture_bytes=50_000)) as database:
        before = database.known(MAIN_BRANCH_ID).newest_lsn
        run_sqlite(database_path, *[f"insert into t values ({n})" for n in range(2, 60)])
        wait_until(lambda: database.known(MAIN_BRANCH_ID).newest_lsn > before)


def test_who_has_closed_everything_forks_without_a_second_thread(database_path: Path) -> None:
    made(database_path)
    program = """
        import contextlib, os, sys, warnings
        import dosql_dbapi

        warnings.simplefilter("error")
        path = sys.argv[1]

        def count():
            with contextlib.closing(dosql_dbapi.connect(path, isolation_level=None)) as connection:
                connection.execute("insert into t(n) values (null)")
                return connection.execute("select count(*) from t").fetchone()[0]

        first = count()
        child = os.fork()
        if child == 0:
            os._exit(0 if count() == first + 1 else 1)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), count() - first)
    """
    assert run_program(program, database_path) == "0 2\n"


def test_what_the_collector_closes_in_a_thread_of_ours_waits_for_nobody(
    database_path: Path,
) -> None:
    made(database_path)

    has_dropped, may_collect = threading.Event(), threading.Event()

    def drop_and_collect() -> None:
        cycle: list[object] = [dosql_dbapi.connect(database_path, check_same_thread=False)]
        cycle.append(cycle)
        del cycle
        has_dropped.set()
        may_collect.wait(DEADLINE_SECONDS)
        gc.collect()

    thread = threading.Thread(target=drop_and_collect, name="dosql-test")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        thread.start()
        assert has_dropped.wait(DEADLINE_SECONDS)
        with _registry_lock:  # somebody opens or closes a database meanwhile
            may_collect.set()
            thread.join(DEADLINE_SECONDS / 2)
            assert not thread.is_alive()
    wait_until(lambda: descriptors_of(database_path) == 0)


def test_a_time_is_never_before_the_newest_commit_of_history(tmp_path: Path) -> None:
    asked: list[int] = []

    def newest() -> Microseconds:
        asked.append(1)
        return Microseconds(1 << 60)

    index: WalIndex = StandingIndex()  # type: ignore[assignment]
    for last in (lambda ring: ring.recorder(index)(None), lambda ring: ring.next_time()):
        ring = CommitTimes(str(tmp_path / f"ring {len(asked)}"), not_before=newest)
        assert len(asked) in (0, 1)
        assert last(ring) == (1 << 60) + 1
        assert ring.recorder(index)(None) > 1 << 60
        ring.close()
    assert len(asked) == 2  # each asked once, and only when a time was wanted


def test_on_another_system_the_import_says_what_is_missing() -> None:
    program = """
        import sys
        sys.platform = "darwin"
        try:
            import dosql_dbapi
        except ImportError as error:
            print(error)
    """
    assert run_program(program).startswith("DoSQL runs on Linux, and this is darwin")

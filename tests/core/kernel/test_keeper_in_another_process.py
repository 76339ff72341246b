"""Another process is the keeper: its cycles neither make writers take turns nor fail them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import dosql_dbapi
from dosql_core.database import open_database
from dosql_core.identifiers import MAIN_BRANCH_ID
from dosql_core.kernel import keeping
from dosql_core.kernel.head_connection import HeadConnection
from dosql_core.options import DatabaseOptions, SessionOptions
from fixtures.crash import child_environment
from fixtures.programs import run_program

KEEPER = """
    import sys, time
    from dosql_core.database import open_database
    from dosql_core.identifiers import MAIN_BRANCH_ID
    from dosql_core.kernel import keeper, turnstile
    from dosql_core.kernel.head import Head
    from dosql_core.options import DatabaseOptions
    keeper._GATE_SECONDS, turnstile._KEEPING_NS = 3600.0, 3600 * 10**9
    capture_now, seconds = Head.capture_now, 0.0
    def capture_slowly(head):
        time.sleep(seconds)
        return capture_now(head)
    Head.capture_now = capture_slowly
    database = open_database(
        sys.argv[1], DatabaseOptions(wal_capture_bytes=50_000, companion_after_seconds=None)
    )
    head = database.use_head(MAIN_BRANCH_ID)
    keeper = head.keeping
    print("ready", flush=True)
    for line in sys.stdin:
        if line.startswith("cycle"):
            keeper.checkpoint()
        elif line.startswith("capture in"):
            seconds = float(line.split()[-1])
        else:
            with keeper._keeper.write_lock(head.gate):
                print("locked", flush=True)
                time.sleep(float(line))
        print("done", flush=True)
    import os
    os._exit(0)
"""


class OtherKeeper:
    """A process that is the keeper and does as it is told."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(KEEPER), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=child_environment(),
        )
        assert self.hears() == "ready"

    def tell(self, order: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()

    def hears(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def other(database_path: Path) -> Iterator[OtherKeeper]:
    keeper = OtherKeeper(database_path)
    yield keeper
    keeper.end()


def test_writers_do_not_take_turns_for_its_cycles(database_path: Path, other: OtherKeeper) -> None:
    with (
        open_database(database_path) as database,
        database.opened_head(MAIN_BRANCH_ID) as head,
        contextlib.closing(
            dosql_dbapi.connect(database_path, isolation_level=None, durability="normal")
        ) as con,
    ):
        assert not head.keeping.is_keeper
        con.execute("create table t(a integer primary key, b blob)")
        for _ in range(20):
            other.tell("cycle")
            for _ in range(100):
                con.execute("insert into t(b) values (randomblob(2000))")
            assert other.hears() == "done"
            assert head.turnstile.contended_until[0] == 0
        assert database.lsn() == 2001


@pytest.mark.parametrize("timeout", [0.01, 0])
def test_nobody_gives_up_while_it_has_the_write_lock(
    database_path: Path, other: OtherKeeper, timeout: float
) -> None:
    with contextlib.closing(
        dosql_dbapi.connect(database_path, isolation_level=None, timeout=timeout)
    ) as con:
        con.execute("create table t(a integer primary key)")
        other.tell("0.5")
        assert other.hears() == "locked"
        con.execute("insert into t values (1)")
        assert other.hears() == "done"


def test_waiting_for_it_uses_up_nobodys_patience(
    database_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it is done, another writer may have the lock: for him there is as much time as ever."""
    slept: list[float] = []
    ours, sleep = threading.get_ident(), time.sleep
    monkeypatch.setattr(
        time, "sleep", lambda s: slept.append(s) if threading.get_ident() == ours else sleep(s)
    )
    with (
        open_database(database_path) as database,
        database.opened_head(MAIN_BRANCH_ID) as head,
    ):
        connection = HeadConnection(head, SessionOptions(timeout_seconds=1.0))
        with head.turnstile.keeping():
            assert all(connection._wait_for_the_lock(tries) for tries in range(2000))
        assert sum(slept) > 2.0
        slept.clear()
        tries = 2000
        while connection._wait_for_the_lock(tries):
            tries += 1
        assert sum(slept) == pytest.approx(1.0)
        connection.close()


@pytest.mark.parametrize("where", ["this process", "another process"])
def test_a_timeout_counts_while_the_keeper_waits_for_somebody_itself(
    database_path: Path, other: OtherKeeper, where: str
) -> None:
    refused: list[bool] = []
    program = """
        import sys, dosql_dbapi
        con = dosql_dbapi.connect(sys.argv[1], isolation_level=None, timeout=0.01)
        try:
            con.execute("insert into t values (2)")
        except dosql_dbapi.OperationalError as error:
            print(error, flush=True)
    """

    def be_refused() -> None:
        with (
            contextlib.closing(
                dosql_dbapi.connect(database_path, isolation_level=None, timeout=0.01)
            ) as con,
            pytest.raises(dosql_dbapi.OperationalError, match="locked"),
        ):
            con.execute("insert into t values (2)")
        refused.append(True)

    with contextlib.closing(dosql_dbapi.connect(database_path, isolation_level=None)) as con:
        con.execute("create table t(a integer primary key)")
        con.execute("begin immediate")  # and it takes as long as it takes
        con.execute("insert into t values (1)")
        other.tell("0")
        if where == "this process":
            waiting = threading.Thread(target=be_refused, daemon=True)
            waiting.start()
            waiting.join(120)
            assert refused == [True]
        else:
            assert run_program(program, database_path, timeout_seconds=120).endswith("locked\n")
        con.execute("commit")
        assert other.hears() == "locked"
        assert other.hears() == "done"


@pytest.mark.parametrize("seconds", [0.0, 0.1])
def test_a_fast_writer_does_not_outrun_it(
    database_path: Path, other: OtherKeeper, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    other.tell(f"capture in {seconds}")
    assert other.hears() == "done"
    monkeypatch.setattr(keeping, "_BACKLOG_WAIT_SECONDS", 60.0)
    capture_bytes = 50_000
    with (
        open_database(database_path, DatabaseOptions(wal_capture_bytes=capture_bytes)) as database,
        database.opened_head(MAIN_BRANCH_ID) as head,
        contextlib.closing(
            dosql_dbapi.connect(database_path, isolation_level=None, durability="off")
        ) as con,
    ):
        con.execute("create table t(a integer primary key, b blob)")
        for _ in range(6000):
            con.execute("insert or replace into t values (1, randomblob(3000))")
        assert not head.keeping.is_keeper
        longest = os.stat(f"{database_path}-wal").st_size  # one that is begun anew stays as long
    # 24 times, and up to 5 for each of the 8 captures of a cycle. When its writer is overtaken as
    # it leaves, the WAL is begun anew a cycle later: that may be so a few times in a row, but
    # without waiting it comes to 490.
    assert longest < 250 * capture_bytes


def test_one_that_dies_in_a_cycle_holds_nobody_up(database_path: Path, other: OtherKeeper) -> None:
    with (
        open_database(database_path) as database,
        database.opened_head(MAIN_BRANCH_ID) as head,
        contextlib.closing(
            dosql_dbapi.connect(database_path, isolation_level=None, timeout=0.2)
        ) as con,
        contextlib.closing(
            dosql_dbapi.connect(database_path, isolation_level=None, timeout=0.2)
        ) as second,
    ):
        con.execute("create table t(a integer primary key)")
        other.tell("60")
        assert other.hears() == "locked"
        other.end()
        con.execute("insert into t values (1)")
        while not head.keeping.try_to_keep():
            pass
        assert not head.turnstile.is_kept()
        con.execute("begin immediate")
        with pytest.raises(dosql_dbapi.OperationalError, match="locked"):
            second.execute("insert into t values (2)")


@pytest.mark.parametrize("many", [False, True])
def test_a_transaction_that_has_read_waits_for_its_cycle(
    database_path: Path, other: OtherKeeper, many: bool
) -> None:
    with contextlib.closing(
        dosql_dbapi.connect(database_path, isolation_level=None, timeout=0)
    ) as con:
        con.execute("create table t(a integer primary key)")
        con.execute("begin")
        assert con.execute("select count(*) from t").fetchone() == (0,)
        other.tell("0.3")
        assert other.hears() == "locked"
        if many:
            con.executemany("insert into t values (?)", [(1,)])
        else:
            con.execute("insert into t values (1)")
        con.execute("commit")
        assert con.execute("select count(*) from t").fetchone() == (1,)
        assert other.hears() == "done"


def test_what_is_read_unasked_does_not_keep_a_transaction_from_waiting(database_path: Path) -> None:
    program = """
        import sys, time, dosql_dbapi
        con = dosql_dbapi.connect(sys.argv[1], isolation_level=None)
        con.execute("begin immediate")
        con.execute("insert into t values (1)")
        print("locked", flush=True)
        time.sleep(0.3)
        con.execute("commit")
    """
    with (
        open_database(database_path) as database,
        database.opened_head(MAIN_BRANCH_ID) as head,
        contextlib.closing(
            dosql_dbapi.connect(database_path, isolation_level=None, timeout=60)
        ) as con,
    ):
        con.execute("create table t(a integer primary key)")
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program), database_path],
            stdout=subprocess.PIPE,
            text=True,
            env=child_environment(),
        ) as writer:
            assert writer.stdout is not None
            con.execute("begin")
            assert writer.stdout.readline() == "locked\n"
            head.schema_mark[0] += 1  # as at the end of a cycle
            con.execute("insert into t values (2)")
            con.execute("commit")
        assert writer.returncode == 0
        assert con.execute("select a from t").fetchall() == [(1,), (2,)]

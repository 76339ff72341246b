"""A companion process keeps the WAL of a process whose own commits keep it busy."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import dosql_dbapi
from dosql_core.database import Database, open_database
from dosql_core.errors import Error
from dosql_core.identifiers import MAIN_BRANCH_ID, BranchId
from dosql_core.kernel import companion as companion_module
from dosql_core.kernel import keeping
from dosql_core.kernel.companion import Companion, CompanionLostError, companion_starter
from dosql_core.kernel.head import Head
from dosql_core.options import DatabaseOptions
from dosql_core.storage.lock_files import LockFile
from fixtures.programs import run_and_die, run_program, run_sqlite

CAPTURE_BYTES = 100_000
PATIENCE_SECONDS = 60.0
EAGER = DatabaseOptions(wal_capture_bytes=CAPTURE_BYTES, companion_after_seconds=0.0)
TWO_PROCESSORS = "import os; os.sched_getaffinity = lambda pid: {0, 1}"


@pytest.fixture(autouse=True)
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a machine with one has companions here, though they are of no use to it."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})


@pytest.fixture
def eager(database_path: Path) -> Iterator[Database]:
    """A database that has a companion as soon as there is anything to capture."""
    with open_database(database_path, EAGER) as database:
        yield database


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def connect(path: Path, **options: object) -> dosql_dbapi.Connection:
    return dosql_dbapi.connect(path, isolation_level=None, durability="normal", **options)


def write_until(condition: Callable[[], object], con: dosql_dbapi.Connection) -> int:
    """Insert numbers until a condition holds; how many there are then."""
    con.execute("create table if not exists t(id integer primary key, filler blob)")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        for _ in range(50):
            con.execute("insert into t(filler) values (randomblob(3000))")
    count: int = con.execute("select count(*) from t").fetchone()[0]
    return count


def write_until_it_is_there(head: Head, con: dosql_dbapi.Connection) -> int:
    """Insert numbers until there is a companion; its process id."""
    write_until(lambda: head.keeping.companion_pid, con)
    pid = head.keeping.companion_pid
    assert pid is not None
    return pid


def has_captured_more(head: Head) -> Callable[[], bool]:
    """Whether history has a hundred commits more than now."""
    before = head.own_history.newest_lsn

    def look() -> bool:
        head.own_history.refresh()
        return head.own_history.newest_lsn > before + 100

    return look


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return " Z" not in Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2][:3]
    except FileNotFoundError:
        return False


def check_history(database: Database, path: Path, commits: int, branch: str = "main") -> None:
    """Every insert was a commit of its own, and each of those moments is there."""
    assert database.verify() == []
    newest = database.lsn(branch)
    for lsn in (newest - commits + 1, newest - commits // 2, newest):
        with contextlib.closing(connect(path, branch=branch, as_of=lsn)) as past:
            (count,) = past.execute("select count(*) from t").fetchone()
        assert count == commits - (newest - lsn)


def test_it_captures_everything_and_ends_with_the_database(database_path: Path) -> None:
    with open_database(database_path, EAGER) as database:
        head = database.use_head(MAIN_BRANCH_ID)
        with contextlib.closing(connect(database_path)) as con:
            write_until(lambda: head.keeping.companion_pid, con)
            pid = head.keeping.companion_pid
            assert pid is not None and is_alive(pid)
            assert database.info().is_keeper
            commits = write_until(has_captured_more(head), con)
            check_history(database, database_path, commits)
        database.release_head(MAIN_BRANCH_ID)
    assert not is_alive(pid)
    assert sorted(os.listdir(database_path.parent)) == [
        database_path.name,
        f"{database_path.name}-dosql",
    ]
    with open_database(database_path) as database:
        check_history(database, database_path, commits)
    assert run_sqlite(database_path, "select count(*) from t") == [[[commits]]]


def test_when_it_is_killed_the_process_keeps_the_wal_itself(
    database_path: Path, eager: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "_BACKLOG_WAIT_SECONDS", 0.1)
    with (
        eager.opened_head(MAIN_BRANCH_ID) as head,
        contextlib.closing(connect(database_path)) as con,
    ):
        pid = write_until_it_is_there(head, con)
        os.kill(pid, signal.SIGKILL)
        write_until(lambda: head.keeping.companion_pid is None and head.keeping.is_keeper, con)
        assert not is_alive(pid)
        commits = write_until(lambda: True, con)
        check_history(eager, database_path, commits)


def test_one_that_was_stopped_goes_on_when_it_is_needed(
    database_path: Path, eager: Database
) -> None:
    with (
        eager.opened_head(MAIN_BRANCH_ID) as head,
        contextlib.closing(connect(database_path)) as con,
    ):
        pid = write_until_it_is_there(head, con)
        os.kill(pid, signal.SIGTSTP)  # Ctrl-Z, which the program deals with in its own way
        os.kill(pid, signal.SIGSTOP)
        commits = write_until(has_captured_more(head), con)
        assert head.keeping.companion_pid == pid
        check_history(eager, database_path, commits)


def test_it_is_handed_over_to_nobody_else(database_path: Path, eager: Database) -> None:
    taken: list[int] = []
    over = threading.Event()

    def be_a_rival() -> None:
        with LockFile(f"{database_path}-dosql/branches/main/maintenance.lock") as lock_file:
            while not over.is_set():
                if lock_file.try_lock():
                    taken.append(1)
                    lock_file.unlock()

    with (
        eager.opened_head(MAIN_BRANCH_ID) as head,
        contextlib.closing(connect(database_path)) as con,
    ):
        rival = threading.Thread(target=be_a_rival)
        rival.start()
        try:
            for _ in range(3):
                pid = write_until_it_is_there(head, con)
                head.keeping.recall()
                assert not is_alive(pid) and head.keeping.is_keeper
            pid = write_until_it_is_there(head, con)
            os.kill(pid, signal.SIGKILL)
            until(lambda: head.keeping.companion_pid is None and head.keeping.is_keeper)
        finally:
            over.set()
            rival.join()
    assert not taken


def test_nobody_keeps_it_alive_beyond_its_parent(
    database_path: Path, seeded_random: random.Random, is_long_run: bool
) -> None:
    program = f"""
        {TWO_PROCESSORS}
        import os, sys, dosql_dbapi
        from dosql_core.database import open_database
        from dosql_core.identifiers import MAIN_BRANCH_ID
        from dosql_core.options import DatabaseOptions
        path = sys.argv[1]
        database = open_database(
            path, DatabaseOptions(wal_capture_bytes=100_000, companion_after_seconds=0.0)
        )
        head = database.use_head(MAIN_BRANCH_ID)
        con = dosql_dbapi.connect(path, isolation_level=None, durability="normal")
        con.execute("create table if not exists t(id integer primary key, filler blob)")
        while head.keeping.companion_pid is None:
            con.execute("insert into t(filler) values (randomblob(3000))")
        if os.fork() == 0:  # has the other end of its standard input
            os.close(1)
            os.close(2)
            os.read(os.open(sys.argv[3], os.O_RDONLY), 1)
            os._exit(0)
        print(head.keeping.companion_pid)
        for _ in range(int(sys.argv[2])):
            con.execute("insert into t(filler) values (randomblob(3000))")
        print(con.execute("select count(*) from t").fetchone()[0])
    """
    may_end = database_path.with_name("may end")
    os.mkfifo(may_end)
    for _ in range(30 if is_long_run else 3):
        more = seeded_random.randrange(500)
        pid, commits = map(int, run_and_die(program, database_path, more, may_end).split())
        with may_end.open("wb"):
            with open_database(database_path) as database:
                check_history(database, database_path, commits)
            until(lambda: not is_alive(pid))  # noqa: B023


def test_it_is_let_go_when_nothing_is_written(
    database_path: Path, eager: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        eager.opened_head(MAIN_BRANCH_ID) as head,
        contextlib.closing(connect(database_path)) as con,
    ):
        pid = write_until_it_is_there(head, con)
        monkeypatch.setattr(keeping, "_IDLE_SECONDS", 0.1)
        until(lambda: head.keeping.companion_pid is None and head.keeping.is_keeper)
        until(lambda: not is_alive(pid))  # it held the WAL until this process did
        commits = write_until(lambda: head.keeping.companion_pid, con)  # and another comes
        check_history(eager, database_path, commits)


def test_ctrl_c_is_not_for_it(database_path: Path, eager: Database) -> None:
    with (
        eager.opened_head(MAIN_BRANCH_ID) as head,
        contextlib.closing(connect(database_path)) as con,
    ):
        pid = write_until_it_is_there(head, con)
        os.kill(pid, signal.SIGINT)
        is_busy, frames, copied = con.execute("pragma wal_checkpoint").fetchone()
        assert not is_busy
        assert frames == copied
        assert head.keeping.companion_pid == pid


def test_a_fork_has_one_of_its_own(database_path: Path, eager: Database) -> None:
    with contextlib.closing(connect(database_path)) as con:
        con.execute("create table t(id integer primary key, filler blob)")
    branch_id: BranchId = eager.branches.create("dev").id
    with (
        eager.opened_head(branch_id) as head,
        contextlib.closing(connect(database_path, branch="dev")) as con,
    ):
        write_until(lambda: head.keeping.companion_pid, con)
        commits = write_until(lambda: True, con)
        check_history(eager, database_path, commits, "dev")
        pid = head.keeping.companion_pid
        assert pid is not None
    until(lambda: not is_alive(pid))


def test_that_of_a_fork_leaves_main_to_its_keeper(database_path: Path, eager: Database) -> None:
    with contextlib.closing(connect(database_path)) as con:
        con.execute("create table t(id integer primary key, filler blob)")
    branch_id: BranchId = eager.branches.create("dev").id
    with (
        eager.opened_head(MAIN_BRANCH_ID) as main,
        eager.opened_head(branch_id) as head,
        contextlib.closing(connect(database_path, branch="dev")) as con,
    ):
        write_until(lambda: head.keeping.companion_pid, con)
        main.keeping.unlock()  # as when its keeper has ended
        time.sleep(1.0)
        assert main.keeping._maintenance_lock.try_lock()


def test_a_long_transaction_is_not_in_its_way(
    database_path: Path, eager: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        eager.opened_head(MAIN_BRANCH_ID) as head,
        contextlib.closing(connect(database_path)) as con,
        contextlib.closing(connect(database_path, timeout=0.05)) as other,
    ):
        write_until(lambda: head.keeping.companion_pid, con)
        con.execute("begin immediate")
        con.execute("insert into t(filler) values (zeroblob(10))")
        head.keeping.maintenance.wake()
        time.sleep(0.3)
        with pytest.raises(dosql_dbapi.OperationalError, match="locked"):
            other.execute("insert into t(filler) values (zeroblob(10))")
        con.execute("commit")
        other.execute("pragma busy_timeout = 60000")
        other.execute("insert into t(filler) values (zeroblob(10))")
        commits = write_until(lambda: True, con)
        assert head.keeping.companion_pid is not None
        check_history(eager, database_path, commits)


def test_one_that_cannot_open_the_database_is_done_without(database_path: Path) -> None:
    options = DatabaseOptions(wal_capture_bytes=CAPTURE_BYTES, companion_after_seconds=None)
    with open_database(database_path, options) as database:
        head: Head = database.use_head(MAIN_BRANCH_ID)
        started = []

        def start(_seconds: float, lock_file: LockFile) -> Companion:
            started.append(Companion("dosql_core.no_such_module", [], lock_file))
            return started[-1]

        head.keeping._start_companion = start
        with contextlib.closing(connect(database_path)) as con:
            write_until(lambda: started and head.keeping._start_companion is None, con)
            commits = write_until(lambda: head.keeping.is_keeper, con)
            check_history(database, database_path, commits)
        assert len(started) == 1
        database.release_head(MAIN_BRANCH_ID)


def test_none_is_started_where_it_is_not_wanted(database_path: Path) -> None:
    with contextlib.closing(connect(database_path, companion=False)) as con:
        with open_database(database_path) as database:
            assert database.options.companion_after_seconds is None
            head = database.use_head(MAIN_BRANCH_ID)
            assert head.keeping._start_companion is None
            database.release_head(MAIN_BRANCH_ID)
        con.execute("select 1")


@pytest.mark.parametrize("place", [Path("/nowhere"), b"/nowhere", "", "no\0where"])
def test_what_else_is_in_the_search_path_keeps_nobody_from_capturing(
    place: object, database_path: Path, eager: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, place])
    with (
        eager.opened_head(MAIN_BRANCH_ID) as head,
        contextlib.closing(connect(database_path)) as con,
    ):
        if isinstance(place, str) and place:  # no program can be started with that
            write_until(lambda: head.own_history.newest_lsn > 300, con)
        else:
            write_until(lambda: head.keeping.companion_pid, con)
        assert head.keeping.maintenance.failure is None


def test_a_program_that_may_start_none_captures_by_itself(database_path: Path) -> None:
    printed = run_program(
        f"""
        {TWO_PROCESSORS}
        import sys, dosql_dbapi
        from dosql_core.database import open_database
        from dosql_core.identifiers import MAIN_BRANCH_ID
        from dosql_core.options import DatabaseOptions
        refused = []
        def refuse(event, _arguments):
            if event == "subprocess.Popen":
                refused.append(event)
                raise RuntimeError("no processes here")
        sys.addaudithook(refuse)
        path = sys.argv[1]
        options = DatabaseOptions(wal_capture_bytes=100_000, companion_after_seconds=0.0)
        with open_database(path, options) as database:
            head = database.use_head(MAIN_BRANCH_ID)
            con = dosql_dbapi.connect(path, isolation_level=None, durability="normal")
            con.execute("create table t(filler blob)")
            while not refused or head.own_history.newest_lsn < 300:
                con.execute("insert into t(filler) values (randomblob(3000))")
            print(head.keeping.maintenance.failure, refused)
            con.close()
            database.release_head(MAIN_BRANCH_ID)
        """,
        database_path,
    )
    assert printed.strip() == "None ['subprocess.Popen']"


def test_a_broken_pipe_ends_nobody(database_path: Path) -> None:
    printed = run_program(
        """
        import os, signal, sys, time, dosql_dbapi
        from dosql_core.kernel.companion import MAINTAIN, Companion, CompanionLostError
        from dosql_core.storage.lock_files import LockFile
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        lock_file = LockFile(sys.argv[1] + ".lock")
        companion = Companion("dosql_core.no_such_module", [], lock_file)
        os.waitid(os.P_PID, companion.pid, os.WEXITED | os.WNOWAIT)
        try:
            companion.work(MAINTAIN)
        except CompanionLostError:
            print("lost")
        companion.kill()
        """,
        database_path,
    )
    assert printed == "lost\n"


def test_it_ends_when_its_parent_has_ended_before_it_began(database_path: Path) -> None:
    with open_database(database_path):
        pass
    program = """
        import os, sys, time
        from dosql_core.kernel.companion import Companion
        from dosql_core.storage.lock_files import LockFile
        parent = str(os.getpid())
        companion = Companion(
            "dosql_core.companion_process",
            [sys.argv[1], "main", "100000", parent],
            LockFile(sys.argv[1] + ".lock"),
        )
        if os.fork() == 0:  # has the other end of its standard input
            os.close(1)
            os.close(2)
            until_told = os.open(sys.argv[2], os.O_RDONLY)
            os.read(until_told, 1)
            os._exit(0)
        print(companion.pid)
    """
    told = database_path.with_name("told")
    os.mkfifo(told)
    pid = int(run_and_die(program, database_path, told))
    with told.open("wb"):
        until(lambda: not is_alive(pid))


def test_another_file_in_the_place_of_ours_is_left_alone(database_path: Path) -> None:
    other = database_path.with_name("other.db")
    run_sqlite(other, "create table other(x)", "insert into other values ('new')")
    with (
        open_database(database_path, EAGER) as database,
        database.opened_head(MAIN_BRANCH_ID) as head,
        contextlib.closing(connect(database_path)) as con,
    ):
        write_until(lambda: head.keeping.companion_pid, con)
        os.replace(other, database_path)
        commits = write_until(lambda: True, con)
        head.keeping.recall()
        assert head.keeping.is_keeper
        assert not head.keeping.checkpoint()
        assert head.own_history.newest_lsn == commits + 1
    assert not Path(f"{database_path}-wal").exists()
    content = ["select x from other", "pragma integrity_check"]
    assert run_sqlite(database_path, *content) == [[["new"]], [["ok"]]]
    open_database(database_path).close()
    assert run_sqlite(database_path, *content) == [[["new"]], [["ok"]]]


def test_everything_is_closed_when_the_history_has_gone(database_path: Path) -> None:
    database = open_database(database_path, EAGER)
    head = database.use_head(MAIN_BRANCH_ID)
    with contextlib.closing(connect(database_path)) as con:
        pid = write_until_it_is_there(head, con)
        beside = f"{database_path}-dosql"
        while os.path.exists(beside):  # it may be writing there just now
            shutil.rmtree(beside, ignore_errors=True)
    with contextlib.suppress(Error):
        database.close()
    assert not is_alive(pid)
    opened = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    assert [path for path in opened if path.startswith(str(database_path))] == []


@pytest.mark.parametrize(
    ("module", "name", "found"),
    [
        (sys, "executable", "/usr/sbin/uwsgi"),
        (sys, "executable", ""),
        (os, "sched_getaffinity", lambda _pid: {0}),
    ],
)
def test_none_is_started_where_it_cannot_be_or_is_of_no_use(
    module: object, name: str, found: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert companion_starter("m", [], after_seconds=0.0) is not None
    monkeypatch.setattr(module, name, found)
    assert companion_starter("m", [], after_seconds=0.0) is None


def test_one_that_does_not_follow_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(companion_module, "_ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(companion_module, "_PATIENCE_SECONDS", 0.1)
    (tmp_path / "sleeper.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with LockFile(tmp_path / "a.lock") as lock_file:
        companion = Companion("sleeper", [], lock_file)
        with pytest.raises(CompanionLostError):
            companion.resign()
    assert companion.has_ended()

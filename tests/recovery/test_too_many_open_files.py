"""A process may open no more files: one call fails and may be made again; nothing else happens.

Each step runs in a process that may open exactly so many files more, for every number up to what it
needs. A commit needs none: the descriptors that its sync takes are there from the opening on.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from fixtures.programs import run_program

PROGRAM = """
    import contextlib, gc, json, os, resource, shutil, sys
    from pathlib import Path
    import dosql_dbapi
    from dosql_core.database import open_database
    from dosql_core.errors import TooManyOpenFilesError

    folder, step_name, counts = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def opened():
        listed = map(int, os.listdir("/proc/self/fd"))  # one of which was for the listing
        return sorted(n for n in listed if os.path.exists(f"/proc/self/fd/{n}"))

    @contextlib.contextmanager
    def free_descriptors(count):
        held = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (opened()[-1] + count + 3, hard))
        try:
            with contextlib.suppress(OSError):
                while True:
                    held.append(os.open(os.devnull, os.O_RDONLY))
            for _ in range(count):
                os.close(held.pop())
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            for descriptor in held:
                os.close(descriptor)

    def connect(path):
        return dosql_dbapi.connect(path, isolation_level=None)

    def fill(path):
        with contextlib.closing(connect(path)) as con:
            con.execute("create table t(a integer primary key)")
            con.executemany("insert into t values (?)", [(n,) for n in range(5)])
            con.execute("create branch dev")

    class Steps:
        def __init__(self, path):
            self.path = path
            self.con = connect(path)
            self.con.execute("delete from t where a = 4")

        def close(self):
            self.con.close()

        def open(self):
            with contextlib.closing(connect(self.path)) as con:
                con.execute("create table if not exists new(a)")

        def write(self):
            self.con.execute("insert or ignore into t values (5)")

        def checkpoint(self):
            self.con.execute("pragma wal_checkpoint").fetchall()

        def read_the_past(self):
            assert len(self.con.execute("select * from t as of lsn -1").fetchall()) == 5

        def log(self):
            self.con.execute("select * from dosql_log").fetchall()

        def snapshot(self):
            self.con.execute("create snapshot s")

        def branch(self):
            self.con.execute("create branch other")

        def use_branch(self):
            self.con.execute("use branch dev")
            self.con.execute("use branch main")

        def merge(self):
            self.con.execute("merge branch dev").fetchall()

        def verify(self):
            with open_database(self.path) as database:
                found = database.verify()
                assert found == [], found

    class New(Steps):
        def __init__(self, path):
            path.unlink()
            shutil.rmtree(f"{path}-dosql")
            self.path = path

        def close(self):
            pass

    class Closed(Steps):
        def __init__(self, path):
            self.path = path

        def close(self):
            pass

    class Closing(Steps):
        open = Steps.close

    class First(Steps):
        def __init__(self, path):
            self.path = path
            self.con = connect(path)

    KINDS = {
        "write": (First, "write"),
        "open_new": (New, "open"),
        "open_old": (Closed, "open"),
        "close": (Closing, "open"),
    }
    told = []
    for count in counts:
        path = folder / f"{step_name}-{count}.db"
        fill(path)
        before = opened()
        kind, name = KINDS.get(step_name, (Steps, step_name))
        steps = kind(path)
        step = getattr(steps, name)
        try:
            with free_descriptors(count):
                step()
        except TooManyOpenFilesError as error:
            told.append([count, error.code, error.is_retryable])
            error.__traceback__ = None
            step()  # what it did has not been spoilt
        else:
            told.append([count, "done", None])
        steps.close()
        gc.collect()
        left = [n for n in opened() if n not in before]
        assert not left, (count, [os.readlink(f"/proc/self/fd/{n}") for n in left])
        with open_database(path) as database:
            assert database.verify() == []
        with contextlib.closing(connect(path)) as con:
            if kind is not New:
                left = {row[0] for row in con.execute("select a from t")}
                expected = {Closed: {*range(5)}, First: {*range(6)}}.get(kind, {*range(4)})
                assert left == expected, (count, left)
    print(json.dumps(told))
"""

STEPS = (
    "open_new",
    "open_old",
    "close",
    "write",
    "checkpoint",
    "read_the_past",
    "log",
    "snapshot",
    "branch",
    "use_branch",
    "merge",
    "verify",
)
COUNTS_MAX = 30


@pytest.mark.parametrize("step", STEPS)
def test_what_cannot_open_a_file_may_be_done_again(
    step: str, tmp_path: Path, is_long_run: bool, seeded_random: random.Random
) -> None:
    counts = list(range(COUNTS_MAX))
    if not is_long_run:  # the first are those at which most can go wrong
        counts = [*counts[:3], *sorted(seeded_random.sample(counts[3:], 5))]
    told = json.loads(run_program(PROGRAM, tmp_path, step, json.dumps(counts)))
    assert [count for count, _code, _retryable in told] == counts
    assert {(code, retryable) for _count, code, retryable in told} <= {
        ("done", None),
        ("DB_TOO_MANY_FILES", True),
    }
    assert told[0][1] == "DB_TOO_MANY_FILES"  # so the limit is one


def test_a_commit_opens_no_file(tmp_path: Path) -> None:
    """What has begun to write goes on, and one that a sync has failed would go on no more."""
    run_program(
        PROGRAM.partition("    told = []")[0]
        + """
    path = folder / "app.db"
    fill(path)
    with contextlib.closing(connect(path)) as con:
        con.execute("begin immediate")
        con.execute("insert into t values (5)")
        with free_descriptors(2):  # a commit notes that it is later than the newest of history
            con.execute("commit")
        with free_descriptors(0):
            con.execute("insert into t values (6)")
    with contextlib.closing(connect(path)) as con:
        assert len(con.execute("select * from t").fetchall()) == 7
    """,
        tmp_path,
        "",
        "[]",
    )

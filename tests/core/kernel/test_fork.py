"""A forked child inherits SQLite's locks without holding them: it is refused."""

from __future__ import annotations

import time
from pathlib import Path

from dosql_core.database import open_database
from dosql_core.storage.lock_files import LockFile
from fixtures.programs import run_and_die, run_program

FORK = """
import os, sys, warnings, dosql_dbapi
warnings.simplefilter("ignore")  # that the process has threads
path, is_open = sys.argv[1], sys.argv[2] == "open"
con = dosql_dbapi.connect(path, isolation_level=None)
con.execute("create table if not exists t(a)")
if not is_open:
    con.close()
child = os.fork()
if child == 0:
    for attempt in (lambda: con.execute("select 1"), lambda: dosql_dbapi.connect(path)):
        try:
            attempt()
        except dosql_dbapi.Error as error:
            print(error.code, flush=True)
        else:
            print("no error", flush=True)
    os._exit(0)
os.waitpid(child, 0)
if is_open:
    con.execute("insert into t values (1)")
    print(con.execute("select count(*) from t").fetchone()[0])
    con.close()
"""


def test_a_child_uses_neither_the_connection_nor_the_database_of_its_parent(database_path):
    printed = run_program(FORK, database_path, "open").split("\n")
    assert printed[:3] == ["DB_FORKED", "DB_FORKED", "1"]


def test_a_child_opens_what_its_parent_has_closed(database_path):
    printed = run_program(FORK, database_path, "closed").split("\n")
    assert printed[1] == "no error"


FORK_AND_HOLD = """
import os, sys, time, warnings, dosql_dbapi
from dosql_core.storage.lock_files import LockFile
warnings.simplefilter("ignore")  # that the process has threads
path, over = sys.argv[1:]
con = dosql_dbapi.connect(path, isolation_level=None)
con.execute("create table t(a)")
with LockFile(path + ".lock") as held:
    held.lock()
    if os.fork() == 0:
        os.close(1)
        os.close(2)
        while not os.path.exists(over):
            time.sleep(0.01)
        assert held.descriptor == -1
        held.close()
        open(over + ".child", "w").close()
        os._exit(0)
con.execute("insert into t values (1)")
"""


def test_a_child_that_outlives_its_parent_locks_nobody_out(database_path: Path) -> None:
    over = database_path.with_suffix(".over")
    run_and_die(FORK_AND_HOLD, database_path, over)
    try:
        with LockFile(f"{database_path}.lock") as lock_file:
            assert lock_file.try_lock()
        with open_database(database_path) as database:
            assert database.info().is_keeper
            assert database.verify() == []
        for found in Path(f"{database_path}-dosql").rglob("*"):
            if found.suffix == ".lock" or found.name.startswith("turnstile"):
                with LockFile(found) as lock_file:
                    assert lock_file.try_lock(), found
    finally:
        over.touch()
    deadline = time.monotonic() + 60
    while not Path(f"{over}.child").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)

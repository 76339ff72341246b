"""A closed database is freed when the last name of it goes, without the garbage collector.

What only the collector frees stays until it comes, with descriptors' worth of memory, and a program
may have turned it off.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_PROGRAM = """
import gc, sys, time
from collections import Counter
import dosql_dbapi
from dosql_core import open_database

_PARTS = ("dosql_core.kernel", "dosql_core.sessions", "dosql_core.database", "dosql_core.triggers",
          "dosql_dbapi", "apsw")

path = sys.argv[1]

def one_connection():
    con = dosql_dbapi.connect(path)
    con.execute("INSERT INTO t VALUES (1)")
    con.commit()
    con.execute("SELECT lsn FROM dosql_log").fetchall()
    con.execute("SELECT * FROM t FOR SYSTEM_TIME AS OF LSN 1").fetchall()
    con.close()

def two_connections_that_read():
    first, second = dosql_dbapi.connect(path), dosql_dbapi.connect(path)
    for con in (first, second):
        con.execute("SELECT * FROM t").fetchall()
        con.close()

def a_connection_to_the_past():
    con = dosql_dbapi.connect(path, as_of=1)
    con.execute("SELECT * FROM t").fetchall()
    con.close()

def a_connection_that_is_dropped():
    dosql_dbapi.connect(path).execute("INSERT INTO t VALUES (2)")

def a_branch():
    con = dosql_dbapi.connect(path, isolation_level=None)
    con.execute("CREATE BRANCH IF NOT EXISTS side")
    con.execute("USE BRANCH side")
    con.execute("INSERT INTO t VALUES (3)")
    con.execute("USE BRANCH main")
    con.execute("MERGE BRANCH side")
    con.close()

def triggers():
    con = dosql_dbapi.connect(path, isolation_level=None)
    con.triggers.register("own", "t", "before", "insert", lambda event: None)
    con.execute("INSERT INTO t VALUES (4)")
    con.close()

def the_database_itself():
    with open_database(path) as database:
        database.branches.list()
        database.snapshots.list()
        database.changes.slots.list()
        database.triggers.register("all", "t", "after", "insert", lambda event: None)
        with database.diff(1) as difference:
            list(difference.rows())

def alive():
    kinds = map(type, gc.get_objects())
    return Counter(kind.__qualname__ for kind in kinds if kind.__module__.startswith(_PARTS))

with dosql_dbapi.connect(path) as con:
    con.execute("CREATE TABLE t (a)")
con.close()
del con
for work in (one_connection, two_connections_that_read, a_connection_to_the_past,
             a_connection_that_is_dropped, a_branch, triggers, the_database_itself):
    work()  # what is made once and kept is there now
    gc.collect()
    gc.disable()
    before = alive()
    work()
    deadline = time.monotonic() + 20
    while (left := alive() - before) and time.monotonic() < deadline:
        time.sleep(0.01)  # the thread that watches heads may look at it just now
    gc.enable()
    if left:
        sys.exit(f"{work.__name__} leaves {dict(left)}")
"""


def test_nothing_of_a_closed_database_waits_for_the_collector(tmp_path: Path) -> None:
    words = [sys.executable, "-W", "ignore", "-c", _PROGRAM, str(tmp_path / "a.db")]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert (ended.returncode, ended.stderr) == (0, "")

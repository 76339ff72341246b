"""Cursors that go at a bad moment.

Where the last reference to one goes while another thread is inside of its connection, apsw
deallocates it twice, and each time takes a reference from its class: after enough of them the class
was gone, and the process with it. Peewee's queue of writes does just that.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

import dosql_dbapi

PROGRAM = """
import gc, sys, threading
import dosql_dbapi

is_inside, may_leave = threading.Event(), threading.Event()
def pause():
    is_inside.set()
    may_leave.wait()

connection = dosql_dbapi.connect(":memory:", check_same_thread=False)
connection.create_function("pause", 0, pause)
cursors = [connection.cursor() for _ in range(500)]
for cursor in cursors:
    cursor.execute("select 1 union select 2")
thread = threading.Thread(target=lambda: connection.execute("select pause()").fetchall())
thread.start()
is_inside.wait()
del cursor
cursors.clear()
may_leave.set()
thread.join()
connection.close()
gc.collect()
print(dosql_dbapi.connect(":memory:").execute("select 'alive'").fetchone()[0])
"""


def test_dropping_cursors_of_a_busy_connection_is_safe() -> None:
    process = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert (process.returncode, process.stdout.strip()) == (0, "alive"), process.stderr


@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
def test_a_connection_collected_with_a_running_cursor_is_closed_after_all(
    database_path: Path,
) -> None:
    connection = dosql_dbapi.connect(database_path)
    connection.execute("create table t (n)")
    cursor = connection.execute("select 1 union select 2")
    cycle = [connection, cursor]
    cycle.append(cycle)
    del connection, cursor, cycle
    gc.collect()
    dosql_dbapi.connect(":memory:").close()
    wal = database_path.with_name(database_path.name + "-wal")
    assert not wal.exists() or wal.stat().st_size == 0

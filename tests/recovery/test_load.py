"""Many threads of several processes write to one database at once, and a slow reader looks on.

Nobody sees "database is locked", every commit of each of them is there in the order in which it was
made and at an LSN of its own, and everybody gets a fair share. A few seconds in the everyday run, a
minute with `--long`.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import dosql_dbapi
from dosql_core.database import open_database
from fixtures.crash import child_environment

PROCESSES, THREADS = 4, 4
SECONDS_EVERYDAY, SECONDS_LONG = 3, 60
SHARE_MIN = 0.3  # of the mean; for the long run, which is on a machine of its own
COMMITS_MIN = 20  # of each; where nobody takes turns one makes thousands meanwhile, others one
PATIENCE_SECONDS = 300
WRITER = """
import json, sys, threading
import dosql_dbapi
path, process, threads = sys.argv[1], *map(int, sys.argv[2:])
print("ready", flush=True)
sys.stdin.readline()  # everybody begins together
is_over = threading.Event()
counts, failures = {}, []
def write(thread):
    connection = dosql_dbapi.connect(path, isolation_level=None, timeout=60)
    made = 0
    try:
        while not is_over.is_set():
            connection.execute("insert into t values (?, ?, ?)", (process, thread, made))
            made += 1
    except BaseException as error:
        failures.append(repr(error))
    counts[thread] = made
    connection.close()
working = [threading.Thread(target=write, args=(thread,)) for thread in range(threads)]
for thread in working: thread.start()
sys.stdin.readline()
is_over.set()
for thread in working: thread.join()
print(json.dumps([counts, failures]))
"""


@pytest.mark.parametrize("slow_reader", [False, True])
def test_everybody_writes_and_nothing_is_lost(
    slow_reader: bool, database_path: Path, is_long_run: bool
) -> None:
    seconds = SECONDS_LONG if is_long_run else SECONDS_EVERYDAY
    with contextlib.closing(dosql_dbapi.connect(database_path, isolation_level=None)) as first:
        first.execute("create table t(process, thread, n, primary key (process, thread, n))")
        reader = dosql_dbapi.connect(database_path, isolation_level=None)
        if slow_reader:
            reader.execute("begin")
            assert reader.execute("select count(*) from t").fetchone() == (0,)
        told = run_writers(database_path, first, seconds)
        if slow_reader:
            assert reader.execute("select count(*) from t").fetchone() == (0,)
            reader.execute("commit")
        reader.close()
        made = {}
        for process, (counts, failures) in enumerate(told):
            assert failures == []
            made.update({(process, int(thread)): count for thread, count in counts.items()})
        shares = sorted(made.values())
        assert shares[0] >= COMMITS_MIN, shares
        if is_long_run:
            assert shares[0] >= SHARE_MIN * sum(shares) / len(shares), shares
        found = first.execute(
            "select process, thread, count(*), max(n) from t group by 1, 2"
        ).fetchall()
        assert {(p, t): (count, last) for p, t, count, last in found} == {
            who: (count, count - 1) for who, count in made.items()
        }
        assert first.lsn == 1 + sum(shares)


def run_writers(
    path: Path, connection: dosql_dbapi.Connection, seconds: float
) -> list[tuple[dict[str, int], list[str]]]:
    """What each process made and met, having written so long, and until each thread has enough."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, path, str(number), str(THREADS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=child_environment(),
        )
        for number in range(PROCESSES)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    tell(children, "go")
    began = time.monotonic()
    while time.monotonic() < began + seconds or not has_everybody_enough(connection):
        if time.monotonic() > began + PATIENCE_SECONDS:
            break
        time.sleep(0.1)
    tell(children, "enough")
    return [json.loads(child.communicate()[0]) for child in children]


def has_everybody_enough(connection: dosql_dbapi.Connection) -> bool:
    made = connection.execute("select max(n) + 1 from t group by process, thread").fetchall()
    return len(made) == PROCESSES * THREADS and min(made) >= (COMMITS_MIN,)


def tell(children: list[subprocess.Popen[str]], word: str) -> None:
    for child in children:
        assert child.stdin is not None
        child.stdin.write(f"{word}\n")
        child.stdin.flush()


def test_opening_again_and_again_leaves_nothing_behind(
    database_path: Path, is_long_run: bool
) -> None:
    with open_database(database_path) as database:
        database.branches.create("dev")

    def open_everything() -> None:
        for where in ({}, {"branch": "dev"}, {"as_of": 1}):
            with contextlib.closing(dosql_dbapi.connect(database_path, **where)) as connection:
                connection.execute("select count(*) from sqlite_schema").fetchone()

    with contextlib.closing(dosql_dbapi.connect(database_path)) as connection:
        connection.execute("create table t(a)")
    open_everything()
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3400 if is_long_run else 40):
        open_everything()
    assert len(os.listdir("/proc/self/fd")) <= before  # others' may be collected meanwhile

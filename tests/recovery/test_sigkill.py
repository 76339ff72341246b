"""A writer is killed at a random moment; every commit it was told of is there, and nothing is torn.

The child commits rows one by one, in a transaction of two rows each, and acknowledges each LSN
after the commit returned. A small capture threshold has it capture and checkpoint all the time.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest

import dosql_dbapi
from dosql_core.database import open_database

CHILD = """
import sys
import dosql_dbapi
from dosql_core.database import open_database
from dosql_core.options import DatabaseOptions
path = sys.argv[1]
database = open_database(path, DatabaseOptions(wal_capture_bytes=60_000))
con = dosql_dbapi.connect(path, durability="normal", isolation_level=None)
con.execute("create table if not exists t(a integer, b blob)")
n = con.execute("select coalesce(max(a), 0) from t").fetchone()[0]
while True:
    n += 1
    con.execute("begin immediate")
    con.execute("insert into t values (?, zeroblob(700))", (n,))
    con.execute("insert into t values (?, zeroblob(700))", (n,))
    con.execute("commit")
    print(con.lsn, n, flush=True)
    if n % 50 == 0:
        con.execute(f"create branch b{n}")
"""


@pytest.mark.parametrize("seed", range(10))
def test_a_killed_writer_loses_nothing_it_acknowledged(tmp_path, seed):
    path = str(tmp_path / "app.db")
    wait = random.Random(seed)
    acknowledged: dict[int, int] = {}
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", CHILD, path], stdout=subprocess.PIPE)
        assert child.stdout is not None
        first = child.stdout.readline()  # it has begun to write, however slow the machine is
        time.sleep(wait.random() * 0.5)
        os.kill(child.pid, signal.SIGKILL)
        told = first + child.communicate()[0]
        whole = told[: told.rindex(b"\n")]  # the last line may be torn
        for line in whole.decode().splitlines():
            lsn, n = map(int, line.split())
            acknowledged[lsn] = n
        con = dosql_dbapi.connect(path)
        if acknowledged:
            (newest,) = con.execute("select max(a) from t").fetchone()
            assert newest >= max(acknowledged.values())
            counts = con.execute("select distinct c from (select count(*) c from t group by a)")
            assert counts.fetchall() == [(2,)]
            for lsn in wait.sample(sorted(acknowledged), min(5, len(acknowledged))):
                read = con.execute(f"select max(a), count(*) from t as of lsn {lsn}").fetchone()
                assert read == (acknowledged[lsn], 2 * acknowledged[lsn])
        con.close()
        with open_database(path) as database:
            assert database.verify() == []
    assert acknowledged

"""Two processes capture at once: who comes second finds more in history than he has looked at."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

import dosql_dbapi
from dosql_core.database import open_database
from fixtures.programs import run_program

CAPTURES = """
import sys
from dosql_core.database import open_database
with open_database(sys.argv[1]) as database:
    print(database.log(limit=1)[0].lsn)
"""


@pytest.mark.parametrize("where", ["in the wal", "in the file"])
def test_who_is_overtaken_by_another_process_finds_nothing_lost(
    database_path: Path, where: str
) -> None:
    with (
        open_database(database_path) as database,
        contextlib.closing(dosql_dbapi.connect(database_path, isolation_level=None)) as con,
        database.opened_head(database.refs().branch("main").id) as head,
    ):
        con.execute("create table t(a)")
        if where == "in the file":  # a reader of it holds no frame, so the WAL may begin anew
            con.execute("pragma wal_checkpoint")
        with head.pinned() as (connection, state):
            con.execute("insert into t values (1)")
            con.execute("insert into t values (2)")
            assert int(run_program(CAPTURES, database_path)) == con.lsn
            head.capture.capture(connection, state)
        assert database.log(limit=1)[0].lsn == con.lsn
        con.execute("insert into t values (3)")
        assert con.execute("select count(*) from t as of lsn ?", (con.lsn,)).fetchone() == (3,)

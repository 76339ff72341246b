"""What a list of branches tells, and what it does not have to open for it."""

from __future__ import annotations

import os

import dosql_dbapi
from dosql_core.database import Database, open_database
from fixtures.programs import run_and_die

INSERT_ON_A_BRANCH = """
import sys, dosql_dbapi
con = dosql_dbapi.connect(sys.argv[1], branch="busy", isolation_level=None)
con.execute("insert into t values (1)")
"""


def three_branches(path) -> None:
    with dosql_dbapi.connect(path, isolation_level=None) as con:
        con.execute("create table t(a)")
        for name in ("idle", "busy", "used"):
            con.execute(f"create branch {name}")
        con.execute("insert into t values (0)")
    con.close()


def listed(database: Database) -> dict[str, tuple[int, int, int]]:
    return {b.name: (b.lsn, b.ahead, b.behind) for b in database.branches.list()}


def test_a_branch_nobody_opened_stays_closed(database_path):
    three_branches(database_path)
    with open_database(database_path) as database:
        expected = {"main": (2, 0, 0), "idle": (1, 0, 1), "busy": (1, 0, 1), "used": (1, 0, 1)}
        assert listed(database) == expected
        for branch in database.branches.list():
            locks = os.path.join(database.branch_directory(branch.id), "in_use.lock")
            assert os.path.exists(locks) == (branch.name == "main")


def test_commits_of_a_branch_that_history_has_not_are_counted(database_path):
    three_branches(database_path)
    run_and_die(INSERT_ON_A_BRANCH, database_path)
    used = dosql_dbapi.connect(database_path, branch="used", isolation_level=None)
    used.execute("insert into t values (1)")
    with open_database(database_path) as database:
        assert listed(database)["busy"] == (2, 1, 1)
        assert listed(database)["used"] == (2, 1, 1)
        used.close()
        assert listed(database)["used"] == (2, 1, 1)

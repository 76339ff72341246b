"""A process is killed at a random moment of merging; the target has all of a merge or none of it.

The child writes one number into every row of a branch, and another into every row of main; merges,
sometimes by way of conflicts that it leaves pending and resolves; reverts, picks and rebases. So a
merge that was torn, a merge noted that was never made, or a base that is wrong shows as rows that
differ, or as a conflict where there can be none.
"""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest

import dosql_dbapi
from dosql_core.database import Database, open_database
from dosql_core.errors import MergeConflictError
from fixtures.crash import CrashRunner
from fixtures.programs import run_and_die

ROWS = 30
SETUP = (
    "create table branch_side(id integer primary key, v)",
    "create table main_side(id integer primary key, v)",
    "create table disputed(id integer primary key, v)",
)
PROGRAM = """
    import random, sys
    import dosql_dbapi
    from dosql_core.database import open_database
    from dosql_core.errors import MergeConflictError
    path, seed, begin = sys.argv[1], sys.argv[2], int(sys.argv[3])
    chance = random.Random(seed)
    database = open_database(path)
    main = dosql_dbapi.connect(path, isolation_level=None)
    if database.branches.pending_merge() is not None:
        database.branches.resolve("theirs")
        database.branches.complete()
    for number in range(begin, begin + 1000):
        dev = dosql_dbapi.connect(path, isolation_level=None, branch="dev")
        dev.execute("update branch_side set v = ?", (number,))
        main.execute("update main_side set v = ?", (number,))
        if chance.random() < 0.4:
            dev.execute("update disputed set v = ?", (number,))
            main.execute("update disputed set v = -?", (number,))
        dev.close()
        act = chance.random()
        if act < 0.2:
            database.branches.rebase("dev", using="theirs")
        try:
            lsn = database.branches.merge("dev").lsn
        except MergeConflictError:
            database.branches.resolve("theirs")
            lsn = database.branches.complete().lsn
        acknowledge(f"merged {number}")
        if act > 0.8 and lsn is not None:
            database.branches.revert(lsn)
            acknowledge(f"reverted {number}")
            database.branches.merge("dev", using="theirs")
        if act > 0.6:
            database.branches.merge("main", "dev", using="theirs")
"""


def made(path: Path) -> None:
    with contextlib.closing(dosql_dbapi.connect(path, isolation_level=None)) as con:
        for sql in SETUP:
            con.execute(sql)
            table = sql.split()[2].partition("(")[0]
            con.executemany(f"insert into {table} values (?, 0)", [(n,) for n in range(ROWS)])
        con.execute("create branch dev")


def value(database: Database, table: str, branch: str = "main") -> int:
    """The number that all rows of a table hold."""
    with contextlib.closing(dosql_dbapi.connect(database.path, branch=branch)) as con:
        rows = con.execute(f"select v, count(*) from {table} group by v").fetchall()
    assert len(rows) == 1, f"{table} of {branch} is torn: {rows}"
    assert rows[0][1] == ROWS
    return int(rows[0][0])


def test_a_killed_merge_is_there_whole_or_not_at_all(
    database_path: Path, crash: CrashRunner, seeded_random: random.Random, is_long_run: bool
) -> None:
    made(database_path)
    begin = 1
    for _ in range(40 if is_long_run else 4):
        report = crash(
            PROGRAM,
            database_path,
            seeded_random.random(),
            begin,
            seconds_max=0.3,
            acknowledgements_max=12,
        )
        assert report.was_killed, report.errors
        told = [line.split() for line in report.acknowledgements]
        merged = [int(number) for word, number in told if word == "merged"]
        last_is_merge = bool(told) and told[-1][0] == "merged"
        with open_database(database_path) as database:
            assert database.verify() == []
            here, there = value(database, "branch_side"), value(database, "branch_side", "dev")
            assert here <= there or last_is_merge
            if last_is_merge and not is_reverted(database):
                assert here >= merged[-1]
            value(database, "main_side")
            check_disputed(database)
            is_merged = database.branches.get("dev").is_merged
            if is_merged and database.branches.pending_merge() is None:
                assert value(database, "branch_side") == there
            bring_together(database)
            assert value(database, "branch_side") == value(database, "branch_side", "dev")
            assert database.branches.get("dev").is_merged
        begin = max([begin, *merged]) + 2


def is_reverted(database: Database) -> bool:
    return (database.log(limit=1)[0].message or "").startswith("reverted")


def check_disputed(database: Database) -> None:
    for branch in ("main", "dev"):
        value(database, "disputed", branch)


def bring_together(database: Database) -> None:
    """What a user would do next: end what is pending, merge what is not."""
    if database.branches.pending_merge() is not None:
        database.branches.resolve("theirs")
        database.branches.complete()
    with contextlib.suppress(MergeConflictError):
        database.branches.merge("dev")
    if database.branches.pending_merge() is not None:
        database.branches.resolve("theirs")
        database.branches.complete()


DIES_BEHIND = """
import os, sys
from dosql_core.database import open_database
from dosql_core.merging import merge

class Dying(merge._Attempt):
    def _remember(self, *words, **more):
        super()._remember(*words, **more)
        if sys.argv[2] == "the note":
            os.kill(os.getpid(), 9)

    def _confirm(self, at):
        if sys.argv[2] == "the commit":
            os.kill(os.getpid(), 9)

merge._Attempt = Dying
open_database(sys.argv[1]).branches.merge("dev")
"""


@pytest.mark.parametrize("place", ["the note", "the commit"])
def test_a_merge_noted_counts_only_if_its_commit_was_made(database_path: Path, place: str) -> None:
    made(database_path)
    with contextlib.closing(
        dosql_dbapi.connect(database_path, isolation_level=None, branch="dev")
    ) as dev:
        dev.execute("update branch_side set v = 1")
    run_and_die(DIES_BEHIND, database_path, place)
    with open_database(database_path) as database:
        is_made = place == "the commit"
        assert value(database, "branch_side") == (1 if is_made else 0)
        lsn = database.lsn()
        with contextlib.closing(dosql_dbapi.connect(database_path, isolation_level=None)) as con:
            con.execute("update main_side set v = 7")  # takes the LSN that was noted
        assert database.branches.get("dev").is_merged == is_made
        parents = database.log(limit=1, last=lsn + (not is_made))[0].parents
        assert len(parents) == (2 if is_made else 1)
        assert all(merge.committed_at is None for merge in database.refs().merges)
        assert len(database.refs().merges) == is_made
        database.branches.merge("dev")
        assert value(database, "branch_side") == 1
        assert database.branches.get("dev").is_merged

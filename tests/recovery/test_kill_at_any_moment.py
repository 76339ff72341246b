"""A process is killed at a random moment of whatever it does; the database is none the worse.

Each test has a crash child do one thing for ever (`fixtures/crash_activities.py`) and kills it,
several times in a row on one database. After each kill the database opens by itself, `verify`
finds nothing, every acknowledged commit is there at its LSN, and a transaction that was not
acknowledged is there whole or not at all.

30 kills in the everyday run, 400 with `--long`.
"""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest

import dosql_dbapi
from dosql_core.database import open_database
from dosql_core.errors import BranchNotFoundError, HistoryExpiredError
from fixtures.crash import CrashRunner
from fixtures.crash_activities import ACTIVITIES, KEPT_COMMITS

PROGRAM = """
    import sys
    from fixtures.crash_activities import run_activity
    run_activity(sys.argv[1], sys.argv[2], sys.argv[3], acknowledge)
"""
KILLS_EVERYDAY = 3
KILLS_LONG = 40
MOMENTS_CHECKED = 6
TORN = "select a from t group by a having count(*) <> 2"


@pytest.mark.parametrize("activity", ACTIVITIES)
def test_a_kill_loses_nothing_acknowledged_and_tears_nothing(
    activity: str,
    database_path: Path,
    crash: CrashRunner,
    seeded_random: random.Random,
    is_long_run: bool,
) -> None:
    for _ in range(KILLS_LONG if is_long_run else KILLS_EVERYDAY):
        durability = seeded_random.choice(["full", "normal", "strict", "off"])
        report = crash(
            PROGRAM,
            activity,
            database_path,
            durability,
            seconds_max=0.15,
            acknowledgements_max=40,
        )
        assert report.was_killed
        told = [line.split() for line in report.acknowledgements]
        with open_database(database_path) as database:
            assert database.verify() == []
            check_branches(database_path, told)
        check_commits(database_path, told, seeded_random, activity)


def check_commits(path: Path, told: list[list[str]], chance: random.Random, activity: str) -> None:
    """Every acknowledged commit is there at its LSN, and no transaction is torn."""
    with contextlib.closing(dosql_dbapi.connect(path)) as connection:
        if connection.execute("select 1 from sqlite_schema where name = 't'").fetchone() is None:
            assert told == []
            return
        assert connection.execute(TORN).fetchall() == []
        newest = connection.lsn
        kept = [words for words in told if words[0] == "kept"]
        if kept:
            (count,) = connection.execute("select count(*) from t").fetchone()
            assert count >= int(kept[-1][1])
    dropped = {words[1] for words in told if words[0] == "dropped"}
    commits = [
        (branch, int(lsn), int(count), int(total))
        for kind, branch, lsn, count, total in (w for w in told if w[0] == "commit")
        if branch not in dropped
    ]
    for branch, lsn, count, total in chance.sample(commits, min(MOMENTS_CHECKED, len(commits))):
        check_moment(path, branch, lsn, (count, total), activity)
    if commits:
        assert max(lsn for branch, lsn, *_ in commits if branch == "main") <= newest
        branch, lsn, count, total = commits[-1]
        check_moment(path, branch, lsn, (count, total), activity)


def check_moment(
    path: Path, branch: str, lsn: int, expected: tuple[int, int], activity: str
) -> None:
    try:
        with contextlib.closing(dosql_dbapi.connect(path, branch=branch, as_of=lsn)) as past:
            found = past.execute("select count(*), coalesce(sum(a), 0) from t").fetchone()
            assert found == expected, f"{branch} at LSN {lsn}"
            assert past.execute(TORN).fetchall() == []
    except HistoryExpiredError as error:
        assert activity == "compacting", error
        with open_database(path) as database:
            assert lsn < database.lsn() - KEPT_COMMITS, error
    except BranchNotFoundError:
        # a drop in flight may have happened although nobody was told
        assert activity == "branching"


def check_branches(path: Path, told: list[list[str]]) -> None:
    """Acknowledged branches are there at their fork, dropped ones are gone."""
    with open_database(path) as database:
        there = {str(info.name): info for info in database.branches.list()}
        made = {words[1]: int(words[2]) for words in told if words[0] == "branch"}
        dropped = {words[1] for words in told if words[0] == "dropped"}
        assert not dropped & set(there)
        missing = {name for name in made if name not in there} - dropped
        # the last of them may have been dropped without anybody being told
        assert len(missing) <= 1
        for name, lsn in made.items():
            if name in there:
                assert there[name].fork_lsn == lsn

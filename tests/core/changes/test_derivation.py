"""Walking from commit to commit finds what comparing each with the one before finds."""

from __future__ import annotations

from typing import Any

import pytest

from dosql_core.changes.change_event import ROW_EVENTS, ChangeEvent
from dosql_core.changes.derivation import Derivation
from dosql_core.database import open_database
from dosql_core.identifiers import MAIN_BRANCH, MAIN_BRANCH_ID, Lsn
from dosql_core.rows.page_image import PageImage
from dosql_core.rows.row_change import RowChange, row_change
from dosql_core.rows.row_difference import RowDifferences, TablePairs
from dosql_core.rows.table_layout import read_schema
from fixtures.row_workload import Workload


def compared(history: Any, lsn: int) -> list[RowChange]:
    """What a commit did to rows, found without anything known from the commits before it.

    tests/core/rows compares this with what SQL says.
    """
    views = history.view(Lsn(lsn - 1)), history.view(Lsn(lsn))
    images = [PageImage(view) for view in views]
    tables = TablePairs(*(read_schema(view).tables for view in views))
    changed = views[0].changed_pages(views[1])
    rows = RowDifferences(images[0], images[1], changed, tables)
    return [row_change(tables.by_name[found.table], found) for found in rows.of_tables()]


def check(path: Any, seed: int, commits: int) -> None:
    workload = Workload(path, seed)
    for _ in range(commits):
        workload.commit_something()
    with open_database(path) as database:
        history = database.sealed(MAIN_BRANCH_ID)
        newest = history.newest_lsn
        walks = {
            first: dict[int, list[ChangeEvent]](
                Derivation(history, MAIN_BRANCH, Lsn(first)).up_to(newest)
            )
            for first in (0, workload.random.randrange(newest))
        }
        assert sorted(walks[0]) == list(range(1, newest + 1))
        for lsn in range(1, newest + 1):
            expected = [
                (change.operation.value, change.table, change.key, change.before, change.after)
                for change in compared(history, lsn)
            ]
            events = [event for event in walks[0][lsn] if event.operation in ROW_EVENTS]
            assert [
                (e.operation.value, e.table, e.key, e.before, e.after) for e in events
            ] == expected, f"LSN {lsn}"
        for walk in walks.values():  # an event has the same number wherever a reader began
            assert all(walks[0][lsn] == events for lsn, events in walk.items())
    workload.con.close()


@pytest.mark.parametrize("seed", range(3))
def test_a_walk_tells_what_each_commit_did(database_path, seed):
    check(database_path, seed, commits=40)


@pytest.mark.long
@pytest.mark.parametrize("seed", [5028, *range(100, 160)])  # 5028 failed once
def test_a_walk_tells_what_each_commit_did_for_long(database_path, seed):
    check(database_path, seed, commits=150)


@pytest.mark.parametrize("seed", range(3))
def test_a_follower_hears_what_is_read_afterwards(database_path, seed):
    """It reads commits from the WAL; who comes later reads them from segments."""
    workload = Workload(database_path, seed)
    with open_database(database_path) as database:
        start = database.lsn()
        database.changes.slots.create("s")
        heard: list[ChangeEvent] = []
        with database.changes.slots.consume("s", markers=True) as consumer:
            commits = consumer.commits()
            for number in range(60):
                for _ in range(workload.random.choice([1, 1, 1, 4])):
                    workload.commit_something()
                newest = database.lsn()
                while consumer.changes.lsn < newest:
                    heard += next(commits)[1]
                    if workload.random.random() < 0.1:  # give up in the middle, and begin again
                        commits = consumer.commits()
                    if workload.random.random() < 0.3:
                        consumer.acknowledge()
                if number % 20 == 10:
                    database.compact()
        assert heard == list(database.changes.subscribe(start, markers=True))
    workload.con.close()

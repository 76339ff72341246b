"""Rows that differ, found from pages, are those that a comparison of whole tables finds."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

import dosql_dbapi
from dosql_core.database import open_database
from dosql_core.identifiers import MAIN_BRANCH_ID
from dosql_core.rows.page_image import PageImage, ParsedPages
from dosql_core.rows.row_difference import RowDifference, RowDifferences, TablePairs
from dosql_core.rows.table_layout import read_schema
from fixtures.row_workload import TABLES, Workload


def typed(row: Any) -> Any:
    """A row in which 1 and 1.0 are two values, as they are to SQLite."""
    return None if row is None else tuple((type(value).__name__, value) for value in row)


def contents(path: Any, lsn: int) -> dict[str, dict[Any, Any]]:
    """Each table's rows by what identifies them, read with SQL."""
    with dosql_dbapi.connect(path, as_of=lsn) as con:
        tables = {}
        for table in TABLES:
            if not con.execute("select 1 from sqlite_schema where name = ?", (table,)).fetchall():
                continue
            rowid = "null" if table == "clustered" else "rowid"
            rows = con.execute(f"select {rowid}, * from {table}").fetchall()
            tables[table] = {identity(table, row[1:], row[0]): row[1:] for row in rows}
    con.close()
    return tables


def identity(table: str, row: Any, rowid: Any) -> Any:
    """What `RowDifference` promises to tell rows apart by."""
    key = {"keyless": (), "clustered": row[:2]}.get(table, row[:1])
    return (True, key) if key and None not in key else (False, (rowid,))


def found_identity(difference: RowDifference) -> Any:
    row = difference.after or difference.before
    has_key = identity(difference.table, row, None)[0]
    return has_key, difference.key


def check(path: Any, before_lsn: int, after_lsn: int, parsed: ParsedPages, history: Any) -> None:
    views = history.view(before_lsn), history.view(after_lsn)
    layouts = [read_schema(view).tables for view in views]
    images = [PageImage(view, parsed) for view in views]
    changed = views[0].changed_pages(views[1])
    compared = RowDifferences(images[0], images[1], changed, TablePairs(layouts[0], layouts[1]))
    found = list(compared.of_tables())
    before, after = contents(path, before_lsn), contents(path, after_lsn)
    for table in TABLES:
        original, new = before.get(table, {}), after.get(table, {})
        old = original
        if table in layouts[0] and table in layouts[1]:
            old = {key: with_defaults(row, layouts[1][table]) for key, row in old.items()}
        ours = [difference for difference in found if difference.table == table]
        if table == "keyless":  # VACUUM may renumber its rows, so only what it holds can be said
            gone = Counter(typed(d.before)[:2] for d in ours if d.before is not None)
            come = Counter(typed(d.after)[:2] for d in ours if d.after is not None)
            held = Counter(typed(row)[:2] for row in old.values())
            holds = Counter(typed(row)[:2] for row in new.values())
            assert held - gone + come == holds, f"{before_lsn} -> {after_lsn}"
            continue
        keys = [found_identity(difference) for difference in ours]
        assert len(keys) == len(set(keys)), f"{table} {before_lsn} -> {after_lsn}"
        expected = {
            key for key in old.keys() | new.keys() if typed(old.get(key)) != typed(new.get(key))
        }
        assert set(keys) == expected, f"{table} {before_lsn} -> {after_lsn}"
        for key, difference in zip(keys, ours, strict=True):
            assert typed(difference.after) == typed(new.get(key))
            assert typed(difference.before) == typed(original.get(key))


def with_defaults(row: Any, later: Any) -> Any:
    """A row as it reads in a table with columns added or taken away at its end."""
    return (*row, *later.defaults[len(row) :])[: len(later.columns)]


def run(path: Any, seed: int, commits: int) -> None:
    workload = Workload(path, seed)
    for _ in range(commits):
        workload.commit_something()
    newest = workload.con.lsn
    parsed = ParsedPages()
    with open_database(path) as database:
        history = database.sealed(MAIN_BRANCH_ID)
        for lsn in range(1, newest + 1):
            check(path, lsn - 1, lsn, parsed, history)
        for _ in range(commits // 2):
            before, after = workload.random.choices(range(newest + 1), k=2)
            check(path, before, after, parsed, history)
    workload.con.close()


@pytest.mark.parametrize("seed", range(3))
def test_differences_are_those_of_whole_tables(database_path, seed):
    run(database_path, seed, commits=25)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 160))
def test_differences_are_those_of_whole_tables_for_long(database_path, seed):
    run(database_path, seed, commits=80)


@pytest.fixture
def differing(database_path):
    """The rows a statement makes differ, run on a small database."""
    con = dosql_dbapi.connect(database_path, isolation_level=None)
    con.execute("create table t(id integer primary key, a, b blob)")
    con.execute("insert into t values (1, 'one', zeroblob(9000)), (2, 'two', x'02')")
    con.execute("create table other(k text primary key)")

    def differing(*statements: Any) -> list[RowDifference]:
        before = con.lsn
        for statement in statements:
            if callable(statement):
                statement(con)
            else:
                con.execute(statement)
        with open_database(database_path) as database:
            history = database.sealed(MAIN_BRANCH_ID)
            views = history.view(before), history.view(con.lsn)
            images = [PageImage(view) for view in views]
            tables = [read_schema(view).tables for view in views]
            changed = views[0].changed_pages(views[1])
            return list(
                RowDifferences(images[0], images[1], changed, TablePairs(*tables)).of_tables()
            )

    yield differing
    con.close()


def test_a_blob_written_in_place_is_an_update(differing):
    def write(con):
        with con.blobopen("t", "b", 1) as blob:
            blob.seek(8000)
            blob.write(b"changed")

    (found,) = differing(write)
    assert (found.table, found.key) == ("t", (1,))
    assert found.before[2] == bytes(9000)
    assert found.after[2][8000:8007] == b"changed"


def test_a_row_that_gets_its_first_overflow_page_back_and_other_ones_behind_it(database_path):
    con = dosql_dbapi.connect(database_path, isolation_level=None)
    for sql in (
        "pragma page_size = 512",
        "create table t(id integer primary key, b)",
        "create table u(id integer primary key, b)",
        "insert into u values (1, printf('%.*c', 500, 'u')), (2, printf('%.*c', 500, 'u')),"
        " (3, printf('%.*c', 500, 'u'))",
        "delete from u where id = 2",
        "insert into t values (1, printf('%.*c', 1000, 'a'))",
        "delete from u where id = 1",
        "begin",
        "delete from t where id = 1",
        "delete from u where id = 3",
        "insert into t values (1, printf('%.*c', 100, 'a') || printf('%.*c', 900, 'b'))",
        "commit",
    ):
        con.execute(sql)
    with (
        open_database(database_path) as database,
        database.diff(con.lsn - 1, con.lsn) as difference,
    ):
        changes = [(change.operation.value, change.table) for change in difference.rows()]
    assert sorted(changes) == [("delete", "u"), ("update", "t")]
    con.close()


def test_vacuum_changes_no_row(differing):
    assert differing("insert into other values ('x')") != []
    assert differing("vacuum") == []


def test_a_dropped_table_loses_its_rows_and_a_new_one_gains_them(differing):
    found = differing("drop table t", "create table u(k primary key)", "insert into u values (7)")
    assert [(d.table, d.key, d.after is None) for d in found] == [
        ("t", (1,), True),
        ("t", (2,), True),
        ("u", (7,), False),
    ]


def test_a_table_made_again_in_one_commit_is_compared_row_by_row(differing):
    found = differing(
        "begin",
        "drop table t",
        "create table t(id integer primary key, a, b blob)",
        "insert into t values (2, 'two', x'02'), (3, 'three', null)",
        "commit",
    )
    assert [(d.key, d.before is None, d.after is None) for d in found] == [
        ((1,), False, True),
        ((3,), True, False),
    ]


def test_a_changed_key_is_a_row_gone_and_a_row_come(differing):
    found = differing("update t set id = 9 where id = 2")
    assert [(d.key, d.before and d.before[1], d.after and d.after[1]) for d in found] == [
        ((2,), "two", None),
        ((9,), None, "two"),
    ]


def test_a_value_that_changes_only_its_type_differs(differing):
    differing("update t set a = 1 where id = 2")
    (found,) = differing("update t set a = 1.0 where id = 2")
    assert (found.before[1], found.after[1]) == (1, 1.0)
    assert (type(found.before[1]), type(found.after[1])) == (int, float)


def test_generated_columns_are_left_out_and_real_ones_are_real(differing):
    (found,) = differing(
        "create table g(a real, b int, c as (a + b), d as (b * 2) stored)",
        "insert into g(a, b) values (3, 4)",
    )
    assert found.after == (3.0, 4)
    assert type(found.after[0]) is float


def test_a_column_added_or_dropped_makes_no_row_differ(differing):
    assert differing("alter table t add column c text default 'new'") == []
    assert differing("alter table t drop column c") == []
    (found,) = differing(
        "alter table t add column d int default 5", "update t set d = 6 where id = 1"
    )
    assert (found.key, found.after[-1]) == ((1,), 6)

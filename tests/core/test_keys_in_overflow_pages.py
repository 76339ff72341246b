"""Rows whose keys go on in overflow pages: a page that is overwritten makes them other rows.

The cell in the table's tree may keep every byte then, as it says only how the payload begins.
What the history of rows, differences and change streams tell is compared with what SQL read after
each commit.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dosql_dbapi
from dosql_core.database import open_database

Key = tuple[Any, ...]
Rows = dict[Key, tuple[Any, ...]]

LONG = "p" * 2000
TABLES = {
    "without rowid": "(a text, id text, b, primary key (a desc, id)) without rowid",
    "with rowid": "(a text, id text, b, primary key (a, id))",
    "key behind": "(b, a text, id text, primary key (a, id)) without rowid",
}


class Table:
    """A table of long keys, and what SQL read of it after each commit."""

    def __init__(self, path: Path, definition: str, page_size: int) -> None:
        self.path = path
        self.con = dosql_dbapi.connect(path, isolation_level=None, durability="off")
        self.con.execute(f"pragma page_size = {page_size}")
        self.copies: dict[int, Rows] = {0: {}}
        self.commit(f"create table t{definition}")

    def commit(self, *statements: str) -> None:
        self.con.execute("begin")
        for sql in statements:
            self.con.execute(sql, (LONG,) if "?" in sql else ())
        self.con.execute("commit")
        read = self.con.execute("select a, id, b from t")
        rows = {(a, key): (a, key, b) for a, key, b in read}
        self.copies[self.con.lsn] = rows  # the same where nothing changed, and so nothing came

    def changes(self, before: int, after: int) -> dict[Key, tuple[Any, Any]]:
        """By key what the row was and is, where that is not the same."""
        old, new = self.copies[before], self.copies[after]
        return {
            key: (old.get(key), new.get(key))
            for key in old.keys() | new.keys()
            if old.get(key) != new.get(key)
        }

    def versions(self) -> list[tuple[Any, ...]]:
        """Key and value, from, made by, until, ended by."""
        found: list[tuple[Any, ...]] = []
        current: dict[Key, tuple[Any, int, str]] = {}
        for lsn in sorted(self.copies)[1:]:
            for key, (was, now) in self.changes(lsn - 1, lsn).items():
                if was is not None:
                    ended_by = "update" if now else "delete"
                    found.append((key[1], *current.pop(key), lsn, ended_by))
                if now is not None:
                    current[key] = now[2], lsn, "update" if was else "insert"
        found += [(key[1], *version, None, None) for key, version in current.items()]
        return sorted(found, key=repr)

    def found_versions(self, where: str = "", *parameters: Any) -> list[tuple[Any, ...]]:
        sql = (
            "select id, b, _dosql_lsn, _dosql_operation, _dosql_end_lsn, _dosql_end_operation"
            f" from t for system_time all {where}"
        )
        return sorted(map(tuple, self.con.execute(sql, parameters)), key=repr)

    def check_history(self) -> None:
        expected = self.versions()
        assert self.found_versions() == expected
        for key in {version[0] for version in expected}:
            found = self.found_versions("where a = ? and id = ?", LONG, key)
            assert found == [version for version in expected if version[0] == key]

    def check_differences(self, lows: dict[int, int]) -> None:
        """Those of every commit, as events too, and to the LSNs of `lows` from those it names."""
        with open_database(self.path) as database:
            events: dict[int, list[Any]] = {}
            for event in database.changes.subscribe(1):
                events.setdefault(event.lsn, []).append(event)
            for lsn in range(2, max(self.copies) + 1):
                expected = self.changes(lsn - 1, lsn)
                assert as_changes(events.get(lsn, [])) == expected, f"events of LSN {lsn}"
            for high, low in lows.items():
                with database.diff(low, high) as difference:
                    found = as_changes(difference.rows())
                assert found == self.changes(low, high), f"from LSN {low} to {high}"


def as_changes(told: Iterable[Any]) -> dict[Key, tuple[Any, Any]]:
    """Row changes or events of `t`, in the form of `Table.changes`; no key may be told twice."""
    found = {}
    for change in told:
        if change.table != "t" or change.key is None:
            continue
        key = change.key["a"], change.key["id"]
        assert key not in found
        found[key] = (
            change.before and tuple(change.before[name] for name in ("a", "id", "b")),
            change.after and tuple(change.after[name] for name in ("a", "id", "b")),
        )
    return found


@pytest.fixture(params=TABLES)
def table(request: pytest.FixtureRequest, database_path: Path) -> Iterator[Table]:
    made = Table(database_path, TABLES[request.param], 512)
    yield made
    made.con.close()


def check(table: Table) -> None:
    table.check_history()
    table.check_differences({lsn: lsn - 1 for lsn in range(2, max(table.copies) + 1)})


def test_a_key_that_changes_is_a_row_gone_and_a_row_come(table: Table) -> None:
    table.commit("create table u(x)", "insert into u values (printf('%.*c', 500, 'u'))")
    table.commit("insert into t(a, id, b) values (?1, '30', 'b')")
    table.commit("delete from u")  # so that the pages of a row deleted are taken in their order
    table.commit("update t set id = '51'")
    table.commit("update t set b = 'c'")
    check(table)
    assert ("30", "b", 3, "insert", 5, "delete") in table.found_versions()


def test_keys_change_places(table: Table) -> None:
    table.commit(
        *(f"insert into t(a, id, b) values (?1, '{number}', {number})" for number in range(30, 52))
    )
    table.check_history()  # and goes on from here
    table.commit(
        "update t set id = '99' where id = '30'",
        "update t set id = '30' where id = '51'",
        "update t set id = '51' where id = '99'",
    )
    table.commit("delete from t where id = '51'", "update t set id = '51' where id = '30'")
    check(table)
    assert ("51", 51, 2, "insert", 3, "update") in table.found_versions()


def random_statement(choice: random.Random) -> str:
    one, other = (f"{choice.randrange(10, 24)}" for _ in range(2))
    value = choice.choice(["1", "'x'", "'y'", "null", "printf('%.*c', 900, 'z')", "x'00'"])
    return choice.choice(
        [
            f"insert or replace into t(a, id, b) values (?1, '{one}', {value})",
            f"insert or ignore into t(a, id, b) values (?1, '{one}', {value})",
            f"delete from t where id = '{one}'",
            f"update t set b = {value} where id = '{one}'",
            f"update or ignore t set id = '{other}' where id = '{one}'",
            f"update or replace t set id = '{other}' where id = '{one}'",
        ]
    )


def workload(path: Path, definition: str, seeded_random: random.Random, commits: int) -> None:
    table = Table(path, definition, seeded_random.choice([512, 1024]))
    for _ in range(3):
        for _ in range(commits):
            table.commit(
                *(
                    random_statement(seeded_random)
                    for _ in range(seeded_random.choice([1, 1, 2, 6]))
                )
            )
        table.check_history()
    newest = max(table.copies)
    table.check_differences(
        {high: seeded_random.randrange(1, high) for high in range(2, newest + 1)}
    )
    table.con.close()


@pytest.mark.parametrize("kind", TABLES)
def test_whatever_is_written_is_told_as_sql_read_it(
    kind: str, tmp_path: Path, seeded_random: random.Random, is_long_run: bool
) -> None:
    for number in range(20 if is_long_run else 1):
        workload(tmp_path / f"{number}.db", TABLES[kind], seeded_random, commits=20)

"""Whatever is written and however tables are altered, the history of rows is what the test saw.

The test copies every table after every commit and works the versions of its rows out from the
copies alone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import dosql_dbapi

Typed = tuple[type, Any]
Identity = tuple[Any, ...]


@dataclass
class Copy:
    """A table after a commit; `renamed` and `defaults` are what the commit did to its columns."""

    columns: tuple[str, ...]
    rows: dict[Identity, dict[str, Typed]]
    renamed: dict[str, str] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)


KINDS: dict[str, tuple[str, tuple[str, ...], bool]] = {
    "numbered": ("(id integer primary key, a int, b text)", ("id",), True),
    "worded": ("(id text primary key, a int, b text)", ("id",), True),
    "folded": ("(id text collate nocase primary key, a int, b text)", ("id",), False),
    "keyless": ("(id int, a int, b text)", (), True),
    "clustered": (
        "(id text, a int, b text, primary key (a desc, id)) without rowid",
        ("a", "id"),
        False,
    ),
    "paired": ("(id int, a int, b text, primary key (id, a))", ("id", "a"), True),
    "any": ("(id primary key, a int, b text)", ("id",), True),
}


class Workload:
    """Random commits to one table of a kind, and a copy of it after each."""

    def __init__(self, path: Path, kind: str, seed: int) -> None:
        self.random = random.Random(seed)
        self.kind = kind
        self.definition, self.key, self.has_rowid = KINDS[kind]
        self.con = dosql_dbapi.connect(path, isolation_level=None, durability="off")
        self.con.execute(f"pragma page_size = {self.random.choice([512, 1024, 4096])}")
        self.added = 0
        self.copies: dict[int, Copy | None] = {0: None}
        self.renamed: dict[str, str] = {}
        self.defaults: dict[str, Any] = {}
        self.run(f"create table t{self.definition}")

    def copy(self) -> Copy | None:
        con = self.con
        if con.execute("select 1 from sqlite_schema where name = 't'").fetchone() is None:
            return None
        columns = tuple(name for (name,) in con.execute("select name from pragma_table_info('t')"))
        rowid = "rowid" if self.has_rowid or self.kind == "folded" else "null"
        rows: dict[Identity, dict[str, Typed]] = {}
        for number, *values in con.execute(f"select {rowid}, * from t"):
            row = dict(zip(columns, values, strict=True))
            key = tuple(row[name] for name in self.key)
            identity = ("rowid", number) if not key or None in key else key
            rows[identity] = {name: (type(value), value) for name, value in row.items()}
        return Copy(columns, rows, self.renamed, self.defaults)

    def run(self, *statements: str, parameters: tuple[Any, ...] = ()) -> None:
        con = self.con
        before = con.lsn
        if len(statements) > 1:
            con.execute("begin immediate")
        for sql in statements:
            con.execute(sql, parameters[: sql.count("?")])
        if len(statements) > 1:
            con.execute("commit")
        after = con.lsn
        if after > before:
            assert after == before + 1
            self.copies[after] = self.copy()
            self.renamed, self.defaults = {}, {}

    # -- steps -------------------------------------------------------------------------------------

    def value(self) -> Any:
        roll = self.random.random()
        if roll < 0.1:
            return None
        if roll < 0.3:
            return self.random.choice(["x", "y", "Zoë"]) * self.random.randrange(1, 400)
        if roll < 0.35:
            return self.random.randbytes(2000).hex()
        return f"word {self.random.randrange(50)}"

    def some_key(self) -> Any:
        number = self.random.randrange(60)
        if self.kind in ("worded", "clustered"):
            return f"key {number}"
        if self.kind == "folded":
            return self.random.choice(["key", "KEY", "Key"]) + str(number)
        if self.kind == "any":
            return self.random.choice([number, float(number), f"{number}", bytes([number]), None])
        return number

    def step(self) -> None:
        table = self.copies[max(self.copies)]
        if table is None:
            self.recreate()
            return
        chosen = self.random.choices(
            [self.insert, self.fill, self.update, self.update_many, self.replace, self.move,
             self.delete, self.delete_many, self.several, self.add_column, self.rename_column,
             self.drop_column, self.drop, self.vacuum, self.overwrite],
            [8, 3, 14, 3, 4, 3, 5, 1, 3, 0.6, 0.6, 0.4, 0.15, 0.2, 3],
        )[0]  # fmt: skip
        chosen()

    def column(self) -> str:
        table = self.copies[max(self.copies)]
        assert table is not None
        return self.random.choice([c for c in table.columns if c not in self.key] or ["a"])

    def insert(self) -> None:
        self.run(
            "insert or ignore into t(id, a) values (?, ?)",
            parameters=(self.some_key(), self.random.randrange(9)),
        )

    def fill(self) -> None:
        column = self.column()
        statements = [
            f"insert or ignore into t(id, a) values ({_literal(self.some_key())}, {number % 9})"
            for number in range(25)
        ]
        self.run(
            *statements,
            f"update or ignore t set {column} = '{'w' * self.random.randrange(300)}' where a = 3",
        )

    def update(self) -> None:
        self.run(
            f"update or ignore t set {self.column()} = ? where id = ?",
            parameters=(self.value(), self.some_key()),
        )

    def overwrite(self) -> None:
        self.run(
            f"update or ignore t set {self.column()} = printf('%.*c', 3000, ?) where id = ?",
            parameters=(self.random.choice("pq"), self.some_key()),
        )

    def update_many(self) -> None:
        self.run(
            f"update or ignore t set {self.column()} = ? where a < ?",
            parameters=(self.value(), self.random.randrange(9)),
        )

    def replace(self) -> None:
        self.run(
            "replace into t(id, a) values (?, ?)",
            parameters=(self.some_key(), self.random.randrange(9)),
        )

    def move(self) -> None:
        self.run(
            "update or ignore t set id = ? where id = ?",
            parameters=(self.some_key(), self.some_key()),
        )

    def delete(self) -> None:
        self.run("delete from t where id = ?", parameters=(self.some_key(),))

    def delete_many(self) -> None:
        self.run("delete from t where a >= ?", parameters=(self.random.randrange(9),))

    def several(self) -> None:
        key = _literal(self.some_key())
        self.run(
            f"insert or ignore into t(id, a) values ({key}, 1)",
            f"update or ignore t set {self.column()} = 'between' where id = {key}",
            f"delete from t where id = {_literal(self.some_key())}",
            f"insert or ignore into t(id, a) values ({_literal(self.some_key())}, 2)",
        )

    def add_column(self) -> None:
        self.added += 1
        default = self.random.choice([None, 5, 2.5, "later"])
        name = f"c{self.added}"
        self.defaults = {name: default}
        clause = "" if default is None else f" default {_literal(default)}"
        self.run(f"alter table t add column {name}{clause}")

    def rename_column(self) -> None:
        column = self.column()
        if column in ("a", "id"):
            return
        self.added += 1
        self.renamed = {column: f"r{self.added}"}
        self.run(f"alter table t rename column {column} to r{self.added}")

    def drop_column(self) -> None:
        column = self.column()
        if column not in ("a", "id"):
            self.run(f"alter table t drop column {column}")

    def drop(self) -> None:
        self.run("drop table t")

    def recreate(self) -> None:
        if self.random.random() < 0.7:
            self.run(f"create table t{self.definition}")
        else:
            self.run(f"create table if not exists other{self.random.randrange(9)}(x)")

    def vacuum(self) -> None:
        if self.key and self.kind != "any":  # rows without a key are other rows after VACUUM
            self.run("vacuum")

    # -- what has to be found ----------------------------------------------------------------------

    def mapping(self, lsn: int) -> dict[str, str]:
        """Old names of columns to new ones, for those that outlived the commit."""
        before, after = self.copies[lsn - 1], self.copies[lsn]
        assert before is not None and after is not None
        return {
            name: new
            for name in before.columns
            if (new := after.renamed.get(name, name)) in after.columns
        }

    def shown(self, row: dict[str, Typed], first: int, shape_lsn: int) -> tuple[Typed, ...]:
        """A row of commit `first` with the columns of another one."""
        at = first
        for lsn in range(first + 1, shape_lsn + 1):
            after = self.copies[lsn]
            if after is None:
                continue
            if self.copies[lsn - 1] is not None:
                mapping = self.mapping(lsn)
                row = {mapping[name]: value for name, value in row.items() if name in mapping}
                row |= {n: (type(v), v) for n, v in after.defaults.items()}
            at = lsn
        shape = self.copies[at]
        assert shape is not None
        return tuple(row.get(name, (type(None), None)) for name in shape.columns)

    def versions(self) -> list[tuple[Identity, int, int | None, str, str | None]]:
        """Whose, from, until, made by, ended by."""
        found = []
        current: dict[Identity, tuple[int, str]] = {}
        for lsn in range(1, max(self.copies) + 1):
            before, after = self.copies[lsn - 1], self.copies[lsn]
            rows_before = before.rows if before else {}
            rows_after = after.rows if after else {}
            for identity in [*rows_before.keys() - rows_after.keys()]:
                first, made_by = current.pop(identity)
                found.append((identity, first, lsn, made_by, "delete"))
            for identity, row in rows_after.items():
                was = rows_before.get(identity)
                if was is None:
                    current[identity] = lsn, "insert"
                    continue
                mapping = self.mapping(lsn)
                assert after is not None
                carried = {mapping[n]: v for n, v in was.items() if n in mapping}
                carried |= {
                    n: (type(after.defaults.get(n)), after.defaults.get(n))
                    for n in row.keys() - carried.keys()
                }
                if carried != row:
                    first, made_by = current[identity]
                    found.append((identity, first, lsn, made_by, "update"))
                    current[identity] = lsn, "update"
        return found + [(i, first, None, by, None) for i, (first, by) in current.items()]

    def expected(self, low: int, high: int) -> list[tuple[Any, ...]]:
        shape = max(lsn for lsn in range(high + 1) if self.copies[lsn] is not None)
        rows = []
        for identity, first, end, made_by, ended_by in self.versions():
            if first <= high and (end is None or end > low):
                copy = self.copies[first]
                assert copy is not None
                row = self.shown(copy.rows[identity], first, shape)
                rows.append((*row, first, made_by, end, ended_by))
        return rows

    def found(self, clause: str, *parameters: Any) -> list[tuple[Any, ...]]:
        sql = f"select *, _dosql_end_lsn, _dosql_end_operation from t for system_time {clause}"
        rows = []
        for row in self.con.execute(sql, parameters):
            *values, lsn, operation, _from, _to, end, ended_by = row
            rows.append((*((type(v), v) for v in values), lsn, operation, end, ended_by))
        return rows


def _literal(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    return repr(value) if not isinstance(value, str) else "'" + value.replace("'", "''") + "'"


def _sorted(rows: list[tuple[Any, ...]]) -> list[str]:
    return sorted(map(repr, rows))


@pytest.mark.parametrize("kind", KINDS)
def test_the_history_of_rows_is_what_the_test_saw(
    kind: str, tmp_path: Path, seeded_random: random.Random, is_long_run: bool
) -> None:
    for number in range(20 if is_long_run else 2):
        load = Workload(tmp_path / f"{number}.db", kind, seeded_random.randrange(2**32))
        for _ in range(5):
            for _ in range(40):
                load.step()
            newest = max(load.copies)
            assert _sorted(load.found("all")) == _sorted(load.expected(0, newest))
            for _ in range(3):
                low, high = sorted(seeded_random.choices(range(1, newest + 1), k=2))
                expected = load.expected(low, high)
                assert _sorted(load.found(f"between lsn {low} and lsn {high}")) == _sorted(expected)
        load.con.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_looked_up_by_its_key_has_the_versions_that_all_rows_show(
    kind: str, tmp_path: Path, seeded_random: random.Random, is_long_run: bool
) -> None:
    load = Workload(tmp_path / "app.db", kind, seeded_random.randrange(2**32))
    for _ in range(1000 if is_long_run else 150):
        load.step()
    load.con.close()
    load.con = dosql_dbapi.connect(tmp_path / "app.db", isolation_level=None)
    place = "rowid" if not load.key else None
    condition = "rowid = ?" if place else " and ".join(f"{name} = ?" for name in load.key)
    keys = {identity for copy in load.copies.values() if copy for identity in copy.rows}
    if load.key:
        keys = {key for key in keys if key[0] != "rowid"}
    for key in seeded_random.sample(sorted(keys, key=repr), min(len(keys), 40)):
        wanted = key[1:] if place else key
        found = load.found(f"all where {condition}", *wanted)
        scanned = load.found(f"all where {condition.replace(' = ', ' is +')}", *wanted)
        assert _sorted(found) == _sorted(scanned)
        assert found
    load.con.close()

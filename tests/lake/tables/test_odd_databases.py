"""Databases with whatever SQLite lets into them, copied and followed into the lake."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")

import dosql_dbapi
from dolake.ingest.database_source import DatabaseSource
from dolake.ingest.database_sync import DatabaseSync
from dolake.ingest.lake_tables import SourceKey
from dolake.settings import IngestSettings
from dolake.tables.source_tables import SourceTables
from dolake.tables.table_options import TableOptions
from fixtures.lake_tables import Lake, source_rows
from fixtures.sync_reports import QuietReport

WIDE = ", ".join(f"c{n} {('TEXT', 'INTEGER', 'REAL', 'BLOB', '')[n % 5]}" for n in range(300))
SCHEMA = f"""
create table odd(id integer primary key, i integer, r real, t text, b blob, a any, n numeric,
    d date, ts timestamp, ok boolean, m decimal(9, 2), j json);
create table untyped(k primary key, v);
create table composite(b text, a integer, v, primary key(a, b)) without rowid;
create table keyless(v, w text);
create table generated(id integer primary key, v integer, twice integer as (v * 2) stored,
    thrice as (v * 3));
create table wide(id integer primary key, {WIDE});
create table "select"("from" integer primary key, "group by" text, "ä ö" text, "a""b" text,
    "quote'" text, "dot.ted" text, "😀" text);
create table vacant(id integer primary key, v text);
create table "CaseD"("Id" integer primary key, "VaLue" text);
"""
NAMES = {
    "odd": ["id", "i", "r", "t", "b", "a", "n", "d", "ts", "ok", "m", "j"],
    "untyped": ["k", "v"],
    "composite": ["b", "a", "v"],
    "keyless": ["v", "w"],
    "generated": ["id", "v"],
    "wide": ["id", *(f"c{n}" for n in range(300))],
    "select": ["from", "group by", "ä ö", 'a"b', "quote'", "dot.ted", "😀"],
    "vacant": ["id", "v"],
    "CaseD": ["Id", "VaLue"],
}
SURPRISES: list[Any] = [
    *(None, 0, 1, -1, 2**63 - 1, -(2**63), 2**53 + 1, 0.0, -0.0, 1.5, 1e308, 5e-324),
    *(float("inf"), float("-inf"), "", "text", "12", "1.0", "0x10", "nan", "ä\U0001f600", "a\x00b"),
    *(b"", b"\x00\xff", b"text", "2024-02-30", "2024-02-29", "2024-02-29 12:00:00", "24:00"),
    *("true", "12345678.90", "123456789012.345", '{"a": [1]}', "{not json", "x" * 5000),
]


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def change(con: Any, chance: random.Random, table: str) -> None:
    names = NAMES[table]
    settable = names[1:] if table not in ("untyped", "composite", "keyless") else names
    row: dict[str, Any] = {name: chance.choice(SURPRISES) for name in settable}
    if table == "composite":
        row |= {"a": chance.choice([None, 1, 2, 3, 2**40]) or 7, "b": str(chance.choice("xyz"))}
    elif table != "keyless" and table != "untyped":
        row[names[0]] = chance.choice([1, 2, 3, -(2**63), 2**63 - 1])
    if table in ("select", "CaseD"):
        row = {n: v if not isinstance(v, bytes) else None for n, v in row.items()}
    columns = ", ".join(map(quoted, row))
    marks = ", ".join("?" * len(row))
    statement = f"insert or replace into {quoted(table)}({columns}) values ({marks})"
    con.execute(statement, list(row.values()))
    if chance.random() < 0.3:
        con.execute(
            f"delete from {quoted(table)} where {quoted(names[0])} is ?",
            (chance.choice([1, 2, "x", None, *SURPRISES]),),
        )
    if table == "untyped" and chance.random() < 0.5:
        con.execute("update or ignore untyped set k = ? where k = 1", (chance.choice(SURPRISES),))


def key_of_row(row: Any, table: str) -> str:
    """A row as a text in which values of different types, and 0.0 and -0.0, differ.

    But where the page on types says that they do not: integers in columns of doubles and decimals,
    and numbers as JSON.
    """
    told = []
    for name, value in zip(NAMES[table], row, strict=True):
        if table == "odd" and name in ("r", "n", "m") and type(value) is int:
            value = float(value) if float(value) == value else value
        if table == "odd" and name == "j" and type(value) in (int, float):
            value = str(value)
        told.append((type(value).__name__, value))
    return repr(told)


def assert_equal(lake: Lake, con: Any, table: str) -> None:
    columns = ", ".join(map(quoted, NAMES[table]))
    expected = sorted(
        key_of_row(r, table) for r in con.execute(f"select {columns} from {quoted(table)}")
    )
    for read in (lake.read_with_pyiceberg, lake.read_with_duckdb):
        rows = source_rows(read(table), NAMES[table])
        found = sorted(key_of_row(row.values(), table) for row in rows)
        for one, other in zip(found, expected, strict=True):
            assert one == other, (table, read.__name__)


@pytest.mark.parametrize("version", [3, 2], ids=["v3", "v2"])
def test_whatever_sqlite_holds_is_in_the_mirror(
    lake: Lake, tmp_path: Path, version: int, seeded_random: random.Random, is_long_run: bool
) -> None:
    chance = seeded_random
    path = tmp_path / "shop.db"
    options = TableOptions(format_version=version)

    def open_tables(key: SourceKey) -> SourceTables:
        return SourceTables(lake.registry, lake.warehouse, key.source, options)

    with contextlib.closing(dosql_dbapi.connect(path, isolation_level=None)) as con:
        con.executescript(SCHEMA)
        changed = [name for name in NAMES if name != "vacant"]
        for table in changed:
            for _ in range(4 if table == "wide" else 15):
                change(con, chance, table)
        for _ in range(12 if is_long_run else 3):
            with DatabaseSource(path) as source:
                DatabaseSync(source, open_tables, IngestSettings(), QuietReport()).run(follow=False)
            for table in NAMES:
                assert_equal(lake, con, table)
            for table in changed:
                for _ in range(3):
                    change(con, chance, table)

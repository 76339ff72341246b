"""A mirror as of every LSN, between its snapshots too, by way of its change log."""

from __future__ import annotations

import random
from typing import Any

import pytest

pytest.importorskip("duckdb")

from dolake.errors import LsnNotInLakeError
from dolake.maintenance.data_compaction import compact_table
from dolake.maintenance.maintenance_policy import CompactionPolicy
from dolake.query.lake_query import LakeQuery
from fixtures.lake_tables import Lake, SourceModel, in_order, source_rows

EAGER = CompactionPolicy(files_min=2, dead_share_min=0.1)
TABLES = {
    "orders": ("*id INTEGER", "v TEXT"),
    "lines": ("*a TEXT", "*b INTEGER", "v TEXT"),
    "notes": ("v TEXT",),
}


def change_rows(source: SourceModel, chance: random.Random, table: str) -> None:
    for _ in range(chance.randrange(1, 6)):
        number = chance.randrange(12)
        if source.tables[table] and chance.random() < 0.4:
            source.delete(table, *chance.choice(list(source.tables[table])))
            continue
        value = chance.choice([None, "x", f"{number} {source.lsn}", 7, b"\x00"])
        rows: dict[str, dict[str, Any]] = {
            "orders": {"id": number, "v": value},
            "lines": {"a": "xy"[number % 2], "b": number, "v": value},
            "notes": {"v": value},
        }
        source.put(table, rows[table], rowid=number)


def rows_as_of(query: LakeQuery, table: str, lsn: int) -> list[str]:
    names = [column.lstrip("*").split(" ")[0] for column in TABLES[table]]
    with query.run(f"select * from shop.{table} as of lsn {lsn}") as result:
        return in_order(source_rows(result.table().to_pylist(), names))


@pytest.mark.parametrize("version", [3, 2], ids=["v3", "v2"])
def test_every_lsn_is_answered_as_the_source_was(
    lake: Lake, version: int, seeded_random: random.Random
) -> None:
    chance, source = seeded_random, SourceModel()
    tables = lake.open(format_version=version, has_change_log=True)
    query = LakeQuery(lake.registry)
    for table, columns in TABLES.items():
        source.create(table, *columns)
        while not source.tables[table]:
            change_rows(source, chance, table)
    tables.stage(source.commit())
    tables.flush()
    for _ in range(30):
        for table in chance.sample(list(TABLES), chance.randrange(1, 3)):
            change_rows(source, chance, table)
        tables.stage(source.commit())
        if chance.random() < 0.25:
            tables.flush()
        if chance.random() < 0.1:
            compact_table(lake.registry, lake.warehouse, ("shop", "orders"), EAGER)
        if chance.random() < 0.1:
            tables.flush()
            tables = lake.open(format_version=version, has_change_log=True)
    tables.flush()
    for lsn in range(1, source.lsn + 1):
        for table in TABLES:
            expected = in_order(list(source.states[lsn][table].values()))
            assert rows_as_of(query, table, lsn) == expected, (table, lsn)
    mixed = "select count(*) from shop.orders as of lsn {} where id >= 0 and id < 1000"
    for lsn in range(1, source.lsn + 1):
        with query.run(mixed.format(lsn)) as result:
            assert result.table().column(0).to_pylist() == [len(source.states[lsn]["orders"])]
            assert result.tables[0].lsn is not None


def test_what_the_log_does_not_tell_is_refused(lake: Lake) -> None:
    """Before the log began, across a copy, and across a change of columns."""
    source = SourceModel()
    source.create("orders", "*id INTEGER", "v TEXT")
    query = LakeQuery(lake.registry)

    def commit(tables: Any, count: int) -> None:
        for _ in range(count):
            source.put("orders", {"id": source.lsn % 3, "v": str(source.lsn)})
            tables.stage(source.commit())
        tables.flush()

    commit(lake.open(), 3)
    commit(tables := lake.open(has_change_log=True), 3)  # the log is made with the next schema
    source.alter("orders", "*id INTEGER", "v TEXT", "w TEXT")
    commit(tables, 3)
    commit(tables, 3)
    refused, answered = [], []
    for lsn in range(1, source.lsn + 1):
        try:
            with query.run(f"select id, v from shop.orders as of lsn {lsn}") as result:
                found = sorted(tuple(row.values()) for row in result.table().to_pylist())
        except LsnNotInLakeError as error:
            assert f"exactly LSN {lsn}; it has" in str(error)
            refused.append(lsn)
            continue
        answered.append(lsn)
        state = source.states[lsn]["orders"].values()
        assert found == sorted((row["id"], row["v"]) for row in state), lsn
    assert {3, 6, 9, 10, 11, 12} <= set(answered)
    assert {1, 2, 7, 8} <= set(refused)

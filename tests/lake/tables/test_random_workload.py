"""Random changes, schema changes, flushes, restarts and compactions: the mirror equals a model."""

from __future__ import annotations

import random
from typing import Any

import pytest

pytest.importorskip("pyarrow")

from dolake.maintenance.data_compaction import compact_table
from dolake.maintenance.maintenance_policy import CompactionPolicy
from fixtures.lake_tables import Lake, SourceModel, in_order, source_rows

COMMITS = 30
COMMITS_OF_A_LONG_RUN = 200
EAGER = CompactionPolicy(files_min=2, dead_share_min=0.1)


class Workload:
    """A source whose tables, rows and columns change at random."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.source = SourceModel()
        self.columns: dict[str, list[str]] = {}
        self.numbers = 0
        self.keys = {"i": "*id INTEGER", "k": "*k TEXT", "p": "*a TEXT|*b INTEGER", "r": ""}

    def commit(self) -> Any:
        for _ in range(self.chance.randint(1, 4)):
            table = self.chance.choice(list(self.keys))
            if table not in self.source.tables:
                self.columns[table] = ["v TEXT"]
                self.source.create(table, *self._declared(table))
            elif self.chance.random() < 0.1:
                self._change_schema(table)
            else:
                self._change_rows(table)
        return self.source.commit()

    def _declared(self, table: str) -> list[str]:
        return [*filter(None, self.keys[table].split("|")), *self.columns[table]]

    def _change_rows(self, table: str) -> None:
        chance = self.chance
        for _ in range(chance.randint(1, 12)):
            number = chance.randrange(30)
            if self.source.tables[table] and chance.random() < 0.3:
                self.source.delete(table, *chance.choice(list(self.source.tables[table])))
                continue
            keys: dict[str, dict[str, Any]] = {
                "i": {"id": number},
                "k": {"k": f"k{number}"},
                "p": {"a": "xyz"[number % 3], "b": number},
                "r": {},
            }
            key = keys[table]
            values = {c.split(" ")[0]: self._value() for c in self.columns[table]}
            self.source.put(table, {**key, **values}, rowid=number)

    def _value(self) -> Any:
        number = self.chance.randrange(5)
        return [None, number, f"t{number}", number / 2, bytes([number])][self.chance.randrange(5)]

    def _change_schema(self, table: str) -> None:
        columns, renamed = self.columns[table], {}
        self.numbers += 1
        action = self.chance.choice(["add", "add", "default", "drop", "rename", "type", "table"])
        place = self.chance.randrange(len(columns))
        name, kind = columns[place].split(" ")[:2]
        if action == "table":
            self.source.drop(table)
            return
        if action in ("add", "default"):
            kind = self.chance.choice(["TEXT", "INTEGER", "REAL", "BLOB"])
            default = ' = "d"' if action == "default" else ""
            columns.append(f"c{self.numbers} {kind}{default}")
        elif action == "drop" and len(columns) > 1:
            del columns[place]
        elif action == "rename":
            columns[place] = f"n{self.numbers} {kind}"
            renamed = {name: f"n{self.numbers}"}
        elif action == "type":
            columns[place] = f"{name} {self.chance.choice(['TEXT', 'INTEGER', 'REAL'])}"
        self.source.alter(table, *self._declared(table), renamed=renamed)
        self.columns[table] = [column.split(" = ")[0] for column in columns]


def as_sqlite_compares(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows in which 1.0 is 1: the model has integers in REAL columns, which SQLite has not."""
    return [
        {n: int(v) if isinstance(v, float) and v.is_integer() else v for n, v in row.items()}
        for row in rows
    ]


@pytest.mark.parametrize("version", [3, 2], ids=["v3", "v2"])
def test_every_flushed_lsn_is_as_the_source_was(
    lake: Lake, version: int, seeded_random: random.Random, is_long_run: bool
) -> None:
    chance = seeded_random
    workload = Workload(chance)
    source = workload.source
    schemas: dict[int, dict[str, Any]] = {}
    tables = lake.open(format_version=version, has_change_log=True)
    flushed: list[int] = []
    for _ in range(COMMITS_OF_A_LONG_RUN if is_long_run else COMMITS):
        tables.stage(workload.commit())
        schemas[source.lsn] = dict(source.schemas)
        if chance.random() < 0.3:
            tables.flush()
            flushed.append(source.lsn)
        if chance.random() < 0.1:
            for identifier in lake.registry.list_tables(("shop",)):
                compact_table(lake.registry, lake.warehouse, identifier, EAGER)
        if chance.random() < 0.1:  # what was staged is sent again after a restart
            tables.flush()
            flushed.append(source.lsn)
            tables = lake.open(format_version=version, has_change_log=True)
            assert tables.watermark == source.lsn
    tables.flush()
    for lsn in sorted({*chance.sample(flushed, min(4, len(flushed))), source.lsn}):
        for table, rows in source.states[lsn].items():
            snapshots = lake.snapshot_ids(table)
            snapshot_id = snapshots[max(known for known in snapshots if known <= lsn)]
            names = [c.name for c in schemas[lsn][table].columns]
            expected = in_order(as_sqlite_compares(list(rows.values())))
            for read in (lake.read_with_duckdb, lake.read_with_pyiceberg):
                found = source_rows(read(table, snapshot_id), names)
                assert in_order(as_sqlite_compares(found)) == expected, (
                    read.__name__,
                    table,
                    lsn,
                )

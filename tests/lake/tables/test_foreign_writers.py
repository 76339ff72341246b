"""Other engines write to a mirror through the catalog, and the mirror goes on and stays right."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow")
pytest.importorskip("uvicorn")
pytest.importorskip("pyiceberg")

from dolake.catalog.rest_routes import catalog_application
from dolake.maintenance.data_compaction import compact_table
from dolake.maintenance.maintenance_policy import CompactionPolicy
from fixtures.catalog_server import served
from fixtures.lake_engines import attach, rest_catalog
from fixtures.lake_tables import Lake, SourceModel

T = ("shop", "t")
ROUNDS = 12
ROUNDS_OF_A_LONG_RUN = 100
EAGER = CompactionPolicy(files_min=2, dead_share_min=0.1)
Values = dict[int, tuple[Any, Any]]  # by id: `v`, and `note`, which only others know


class Foreigners:
    """pyiceberg and DuckDB at work on the mirror.

    Shape: `rows` is what the mirror has to hold after the next flush: a second row of an id that is
           there does not stay.
    """

    def __init__(self, url: str, duck: Any, chance: random.Random) -> None:
        self._table = rest_catalog(url).load_table(T)
        self._duck, self._chance = duck, chance
        self.rows: Values = {}
        self.has_note = self.has_doubles = False

    @property
    def actions(self) -> list[Any]:
        made = [self.insert, self.delete, self.update, self.add_column]
        if self._table.format_version == 2:  # pyiceberg writes no version 3
            made += [self.append, self.delete_by_copy, self.overwrite, self.upsert]
        return made

    def _new(self, count: int = 3) -> Values:
        rows: Values = {}
        for i in self._chance.sample(range(40), count):
            note = f"note {i}" if self.has_note and i % 2 else None
            rows[i] = (f"theirs {self._chance.random():.3f}", note)
        return rows

    def _arrow(self, rows: Values) -> Any:
        fields = [pa.field("id", pa.int64(), nullable=False), pa.field("v", pa.string())]
        columns = [list(rows), [v for v, _ in rows.values()]]
        if self.has_note:
            fields.append(pa.field("note", pa.string()))
            columns.append([note for _, note in rows.values()])
        arrays = [pa.array(c, f.type) for c, f in zip(columns, fields, strict=True)]
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))

    def _appended(self, rows: Values) -> None:
        self.has_doubles = any(i in self.rows for i in rows)
        self.rows = {**rows, **self.rows}

    def append(self) -> None:
        rows = self._new()
        self._table.refresh().append(self._arrow(rows))
        self._appended(rows)

    def insert(self) -> None:
        rows = self._new()
        names = "id, v, note" if self.has_note else "id, v"
        width = 3 if self.has_note else 2
        self._duck.executemany(
            f"insert into lake.shop.t({names}) values ({', '.join('?' * width)})",
            [[i, *row][:width] for i, row in rows.items()],
        )
        self._appended(rows)

    def delete(self) -> None:
        low = self._chance.randrange(40)
        self._duck.execute(f"delete from lake.shop.t where id between {low} and {low + 4}")
        self._deleted(low)

    def delete_by_copy(self) -> None:
        low = self._chance.randrange(40)
        self._table.refresh().delete(f"id >= {low} and id <= {low + 4}")
        self._deleted(low)

    def _deleted(self, low: int) -> None:
        self.rows = {i: row for i, row in self.rows.items() if not low <= i <= low + 4}

    def update(self) -> None:
        low = self._chance.randrange(40)
        text = f"updated {self._chance.random():.3f}"
        self._duck.execute(
            f"update lake.shop.t set v = '{text}' where id between {low} and {low + 4}"
        )
        for i, (_, note) in list(self.rows.items()):
            if low <= i <= low + 4:
                self.rows[i] = (text, note)

    def overwrite(self) -> None:
        rows = self._new(2)
        low, high = min(rows), max(rows)
        self._table.refresh().overwrite(self._arrow(rows), f"id >= {low} and id <= {high}")
        self.rows = {i: row for i, row in self.rows.items() if not low <= i <= high} | rows

    def upsert(self) -> None:
        table = self._table.refresh()
        snapshot = table.current_snapshot()
        if snapshot is None or snapshot.schema_id != table.metadata.current_schema_id:
            return  # pyiceberg compares with the columns that the newest snapshot had
        rows = self._new()
        table.upsert(self._arrow(rows), join_cols=["id"])
        self.rows.update(rows)

    def add_column(self) -> None:
        if self.has_note:
            return
        self._duck.execute("alter table lake.shop.t add column note varchar")
        self.has_note = True


@pytest.fixture
def url(lake: Lake) -> Iterator[str]:
    with served(catalog_application(lake.registry)) as address:
        yield address


@pytest.mark.filterwarnings("ignore:Delete operation did not match")  # chance may choose no row
@pytest.mark.parametrize("version", [2, 3], ids=["v2", "v3"])
def test_a_mirror_is_right_after_whatever_others_did(
    lake: Lake, url: str, version: int, seeded_random: random.Random, is_long_run: bool
) -> None:
    chance = seeded_random
    source, tables = SourceModel(), lake.open(format_version=version)
    source.create("t", "*id INTEGER", "v TEXT")
    for number in range(0, 30, 2):
        source.put("t", {"id": number, "v": f"first {number}"})
    tables.stage(source.commit())
    tables.flush()
    with lake.duckdb() as duck:
        duck.execute("set threads = 2")
        attach(duck, url, "lake")
        try:
            others = Foreigners(url, duck, chance)
            others.rows = {key[0]: (row["v"], None) for key, row in source.tables["t"].items()}
            for _ in range(ROUNDS_OF_A_LONG_RUN if is_long_run else ROUNDS):
                history = []
                for _ in range(chance.randrange(3)):
                    action = chance.choice(others.actions)
                    history.append(action.__name__)
                    action()
                    if others.has_doubles:  # which came first is clear until they are rewritten
                        others.has_doubles = False
                        break
                if chance.random() < 0.3:
                    history.append("compact")
                    compact_table(lake.registry, lake.warehouse, T, EAGER)
                if chance.random() < 0.3:
                    history.append("reopen")
                    tables = lake.open(format_version=version)
                changed: dict[int, Any] = {}
                for number in chance.sample(range(40), 4):
                    if (number,) in source.tables["t"] and chance.random() < 0.3:
                        source.delete("t", number)
                        changed[number] = None
                    else:
                        row = {"id": number, "v": f"ours {source.lsn} {number}"}
                        source.put("t", row)
                        changed[number] = row
                tables.stage(source.commit())
                tables.flush()
                for number, row in changed.items():
                    if row is None:
                        others.rows.pop(number, None)
                    else:
                        others.rows[number] = (row["v"], None)
                for read in (lake.read_with_duckdb, lake.read_with_pyiceberg):
                    found = sorted((r["id"], r["v"], r.get("note")) for r in read("t"))
                    expected = sorted((i, *row) for i, row in others.rows.items())
                    assert found == expected, (read.__name__, history)
        finally:
            duck.execute("detach lake")

"""Columns that come, go, change name or type in the source do so in its mirror and change log."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("pyarrow")

from fixtures.lake_tables import Lake, SourceModel, in_order, source_rows


def started(lake: Lake, *columns: str, rows: int = 3, **options: Any) -> tuple[SourceModel, Any]:
    """A table with integer keys and some rows, committed; `v` has a value for each."""
    source, tables = SourceModel(), lake.open(**options)
    source.create("t", *columns)
    for number in range(rows):
        source.put("t", {"id": number, "v": number * 10})
    tables.stage(source.commit())
    tables.flush()
    return source, tables


def flushed(lake: Lake, source: SourceModel, tables: Any) -> None:
    """Commit, flush, and compare what two readers see with the source."""
    tables.stage(source.commit())
    tables.flush()
    names = [c.name for c in source.schemas["t"].columns]
    expected = in_order(list(source.tables["t"].values()))
    for read in (lake.read_with_duckdb, lake.read_with_pyiceberg):
        assert in_order(source_rows(read("t"), names)) == expected, read.__name__
    reopened = lake.open().mirror("t")
    assert reopened.layout == tables.mirror("t").layout


def fields(lake: Lake, table: str = "t") -> dict[str, tuple[int, str]]:
    metadata = lake.metadata(table)
    (schema,) = [s for s in metadata["schemas"] if s["schema-id"] == metadata["current-schema-id"]]
    return {f["name"]: (f["id"], f["type"]) for f in schema["fields"]}


def test_an_added_column_is_null_in_older_rows(lake: Lake) -> None:
    source, tables = started(lake, "*id INTEGER", "v INTEGER")
    source.put("t", {"id": 9, "v": 9})
    source.alter("t", "*id INTEGER", "v INTEGER", "w TEXT")
    source.put("t", {"id": 1, "v": 1, "w": "new"})
    flushed(lake, source, tables)
    assert lake.metadata("t")["snapshots"][-1]["summary"]["total-data-files"] == "2"


def test_an_added_column_with_a_default_has_it_in_older_rows(lake: Lake) -> None:
    source, tables = started(lake, "*id INTEGER", "v INTEGER")
    source.put("t", {"id": 9, "v": 9})
    source.alter("t", "*id INTEGER", "v INTEGER", 'w TEXT = "why"')
    source.put("t", {"id": 1, "v": 1, "w": "new"})
    flushed(lake, source, tables)
    assert [row["w"] for row in lake.read_with_duckdb("t") if row["id"] == 0] == ["why"]


def test_a_dropped_column_is_gone_and_still_there_in_older_snapshots(lake: Lake) -> None:
    source, tables = started(lake, "*id INTEGER", "v INTEGER", "x TEXT")
    (before,) = lake.snapshot_ids("t").values()
    source.alter("t", "*id INTEGER", "x TEXT")
    source.put("t", {"id": 1, "x": "y"})
    flushed(lake, source, tables)
    assert list(fields(lake)) == ["id", "x"]
    assert {row["v"] for row in lake.read_with_pyiceberg("t", before)} == {0, 10, 20}


def test_a_renamed_column_keeps_its_field(lake: Lake) -> None:
    source, tables = started(lake, "*id INTEGER", "v INTEGER")
    number = fields(lake)["v"][0]
    source.put("t", {"id": 5, "v": 5})
    source.alter("t", "*id INTEGER", "w INTEGER", "v TEXT", renamed={"v": "w"})
    source.put("t", {"id": 1, "w": 7, "v": "another v"})
    flushed(lake, source, tables)
    assert fields(lake)["w"] == (number, "long") and fields(lake)["v"][0] > number


def test_misfits_go_with_a_column_that_is_renamed(lake: Lake) -> None:
    source, tables = started(lake, "*id INTEGER", "v INTEGER")
    source.put("t", {"id": 5, "v": "five"})
    flushed(lake, source, tables)
    source.alter("t", "*id INTEGER", "w INTEGER", renamed={"v": "w"})
    flushed(lake, source, tables)
    source.put("t", {"id": 5, "w": 5})
    flushed(lake, source, tables)


def test_a_decimal_that_grows_keeps_its_field(lake: Lake) -> None:
    source, tables = started(lake, "*id INTEGER", "v DECIMAL(4,0)")
    number = fields(lake)["v"][0]
    source.alter("t", "*id INTEGER", "v DECIMAL(9,0)")
    source.put("t", {"id": 5, "v": 123456789})
    flushed(lake, source, tables)
    assert fields(lake)["v"] == (number, "decimal(9, 0)")


@pytest.mark.parametrize("version", [3, 2], ids=["v3", "v2"])
def test_a_column_of_another_type_has_its_old_values_converted(lake: Lake, version: int) -> None:
    source, tables = started(lake, "*id INTEGER", "v INTEGER", format_version=version)
    number = fields(lake)["v"][0]
    source.put("t", {"id": 1, "v": 99})
    source.alter("t", "*id INTEGER", "v ANY")
    source.put("t", {"id": 2, "v": "text"})
    flushed(lake, source, tables)
    assert fields(lake)["v"][0] > number and fields(lake)["v"][1] == "string"
    assert {row["v"] for row in lake.read_with_duckdb("t")} == {"0", "99", "text"}


def test_a_table_with_another_key_begins_anew(lake: Lake) -> None:
    source, tables = started(lake, "*id INTEGER", "v INTEGER")
    for number in range(3):
        source.delete("t", number)
    source.alter("t", "id INTEGER", "*k TEXT")
    for number in range(3):
        source.put("t", {"id": number, "k": f"k{number}"})
    flushed(lake, source, tables)
    source.put("t", {"id": 7, "k": "k1"})
    flushed(lake, source, tables)


def test_a_dropped_table_is_empty_and_may_come_again(lake: Lake) -> None:
    source, tables = started(lake, "*id INTEGER", "v INTEGER")
    (before,) = lake.snapshot_ids("t").values()
    source.drop("t")
    tables.stage(source.commit())
    tables.flush()
    assert lake.read_with_duckdb("t") == []
    assert len(lake.read_with_duckdb("t", before)) == 3
    source.create("t", "*id INTEGER", "v TEXT", "w TEXT")
    source.put("t", {"id": 1, "v": "again", "w": None})
    flushed(lake, source, tables)


def test_a_change_log_keeps_what_its_table_loses(lake: Lake) -> None:
    source, tables = started(lake, "*id INTEGER", "v INTEGER", has_change_log=True)
    source.put("t", {"id": 0, "v": 1})
    source.alter("t", "*id INTEGER", "v TEXT", "w TEXT")
    source.put("t", {"id": 0, "v": "one", "w": "w"})
    source.delete("t", 1)
    tables.stage(source.commit())
    tables.flush()
    tables = lake.open(has_change_log=True)
    source.alter("t", "*id INTEGER", "x TEXT", renamed={"w": "x"})
    source.put("t", {"id": 5, "x": "last"})
    tables.stage(source.commit())
    tables.flush()
    rows = lake.read_with_duckdb("t__changes")
    told = [
        (r["_cdc_sequence"], r["_cdc_operation"], r["_cdc_row_id"], r["v__until_2"], r["v"], r["x"])
        for r in sorted(rows, key=lambda r: (r["_cdc_sequence"], r["_cdc_index"]))
    ]
    assert told == [
        (1, "insert", "0", 0, None, None),
        (1, "insert", "1", 10, None, None),
        (1, "insert", "2", 20, None, None),
        (2, "update", "0", 1, None, None),
        (2, "update", "0", None, "one", "w"),
        (2, "delete", "1", None, 10, None) if told[5][4] == 10 else told[5],
        (3, "insert", "5", None, None, "last"),
    ]

"""A mirror holds what its source holds, at every LSN that was flushed, whatever the keys."""

from __future__ import annotations

import random
from typing import Any

import pytest

pytest.importorskip("pyarrow")

import pyarrow as pa

from fixtures.lake_tables import Lake, SourceModel, in_order, source_rows

VERSIONS = pytest.mark.parametrize("version", [3, 2], ids=["v3", "v2"])


def columns_of(source: SourceModel, table: str) -> list[str]:
    return [column.name for column in source.schemas[table].columns]


def assert_mirrored(lake: Lake, source: SourceModel, table: str, lsn: int) -> None:
    """The snapshot that shows an LSN has the rows that the source had then."""
    snapshots = lake.snapshot_ids(table)
    snapshot_id = snapshots[max(known for known in snapshots if known <= lsn)]
    expected = in_order(list(source.states[lsn][table].values()))
    for read in (lake.read_with_duckdb, lake.read_with_pyiceberg):
        rows = source_rows(read(table, snapshot_id), columns_of(source, table))
        assert in_order(rows) == expected, read.__name__


@VERSIONS
def test_inserted_updated_and_deleted_rows_are_mirrored(lake: Lake, version: int) -> None:
    source, tables = SourceModel(), lake.open(format_version=version)
    source.create("t", "*id INTEGER", "name TEXT", "x REAL", "b BLOB")
    for number in range(5):
        source.put("t", {"id": number, "name": f"n{number}", "x": number / 4, "b": b"\0"})
    tables.stage(source.commit())
    tables.flush()
    source.put("t", {"id": 3, "name": None, "x": None, "b": None})
    source.delete("t", 1)
    tables.stage(source.commit())
    source.put("t", {"id": 1, "name": "again", "x": 1.0, "b": b""})
    source.delete("t", 4)
    tables.stage(source.commit())
    assert tables.staged_rows == 4
    assert tables.flush().lsn == tables.watermark == 3
    assert_mirrored(lake, source, "t", 1)
    assert_mirrored(lake, source, "t", 3)


@VERSIONS
@pytest.mark.parametrize(
    ("columns", "make_key"),
    [
        (("*id INTEGER", "v TEXT"), lambda n: {"id": n * 7 - 50}),
        (("*id BIGINT", "v TEXT"), lambda n: {"id": n if n % 5 else f"text {n}"}),
        (("*k TEXT", "v TEXT"), lambda n: {"k": f"é{n}" if n % 3 else None}),
        (("*k BLOB", "v TEXT"), lambda n: {"k": bytes([n, 255])}),
        (("*a TEXT", "*b INTEGER", "v TEXT"), lambda n: {"a": f"a{n % 4}", "b": n}),
        (("*k REAL", "v TEXT"), lambda n: {"k": n / 8}),
        (("*k DATETIME", "v TEXT"), lambda n: {"k": f"2024-01-01{'T '[n % 2]}10:{n % 60:02}"}),
        (("*k DATE", "v TEXT"), lambda n: {"k": f"2024-01-{n % 28 + 1:02}" if n < 28 else n}),
        (("*k", "v TEXT"), lambda n: {"k": [n, str(n), float(n) + 0.5, bytes([n])][n % 4]}),
        (("v TEXT",), lambda n: {"_rowid_": n}),
    ],
    ids=["integer", "misfit", "null", "blob", "two", "real", "moment", "date", "any", "rowid"],
)
def test_keys_of_every_kind_name_their_rows(
    lake: Lake, version: int, columns: tuple[str, ...], make_key: Any
) -> None:
    chance = random.Random(7)
    source = SourceModel()
    source.create("t", *columns)
    tables = lake.open(format_version=version)
    for commit in range(12):
        for _ in range(8):
            number = chance.randrange(40)
            key = make_key(number)
            rowid = key.pop("_rowid_", number)
            source.put("t", {**key, "v": f"{commit} {number}"}, rowid=rowid)
        for key in chance.sample(list(source.tables["t"]), 2):
            source.delete("t", *key)
        tables.stage(source.commit())
        if commit % 2:
            tables.flush()
        if commit % 4 == 3:
            tables = lake.open(format_version=version)  # the index is read from the files
    tables.flush()
    for lsn in (2, 6, 12):
        assert_mirrored(lake, source, "t", lsn)


def test_values_that_do_not_fit_their_column_stand_beside_it(lake: Lake) -> None:
    source, tables = SourceModel(), lake.open()
    source.create("t", "*id INTEGER", "n INTEGER", "price DECIMAL(6,2)", "day DATE", "a", "j JSON")
    good = {"n": 1, "price": 12.3, "day": "2024-02-29", "a": "text", "j": '{"x": 1}'}
    bad = {"n": "one", "price": 1.005, "day": "2023-02-29", "a": 1, "j": b"\xff"}
    source.put("t", {"id": 1, **good})
    tables.stage(source.commit())
    tables.flush()
    assert [f["name"] for f in lake.metadata("t")["schemas"][-1]["fields"]][-1] == "j"
    source.put("t", {"id": 2, **bad})
    tables.stage(source.commit())
    tables.flush()
    assert_mirrored(lake, source, "t", 2)
    (row,) = [row for row in lake.read_with_duckdb("t") if row["id"] == 2]
    assert (row["n"], row["price"], row["day"], row["j"]) == (None, None, None, None)
    assert row["a"] == "1"


def test_an_initial_copy_is_one_snapshot_of_every_table(lake: Lake) -> None:
    source, tables = SourceModel(), lake.open(rows_per_file_max=100)
    source.create("t", "*id INTEGER", "v")
    source.create("r", "v TEXT")
    for number in range(250):
        source.put("t", {"id": number, "v": str(number)})
        source.put("r", {"v": f"r{number}"}, rowid=number)
    source.commit()
    batches = {
        "t": [
            pa.record_batch({"id": list(range(s, s + 50)), "v": list(map(str, range(s, s + 50)))})
            for s in range(0, 250, 50)
        ],
        "r": [pa.record_batch({"_rowid_": list(range(250)), "v": [f"r{n}" for n in range(250)]})],
    }
    tables.initial_copy(1, [(source.schemas[name], batches[name]) for name in ("t", "r")])
    assert tables.watermark == 1
    for name in ("t", "r"):
        assert_mirrored(lake, source, name, 1)
    source.put("t", {"id": 7, "v": "changed"})
    source.delete("r", 9)
    tables.stage(source.commit())
    tables.flush()
    for name in ("t", "r"):
        assert_mirrored(lake, source, name, 2)


def test_updated_rows_keep_their_row_id_and_tell_when_they_changed(lake: Lake) -> None:
    source, tables = SourceModel(), lake.open()
    source.create("t", "*id INTEGER", "v TEXT")
    for number in range(4):
        source.put("t", {"id": number, "v": "first"})
    tables.stage(source.commit())
    tables.flush()
    before = _lineage(lake)
    source.put("t", {"id": 2, "v": "second"})
    source.put("t", {"id": 9, "v": "new"})
    tables.stage(source.commit())
    tables.flush()
    after = _lineage(lake)
    assert after[2][0] == before[2][0] and after[0] == before[0]
    assert (before[2][1], after[2][1], after[9][1]) == (1, 2, 2)
    assert len({row_id for row_id, _ in after.values()}) == len(after)
    metadata = lake.metadata("t")
    assert metadata["next-row-id"] == sum(s["added-rows"] for s in metadata["snapshots"])


def _lineage(lake: Lake) -> dict[int, tuple[int, int]]:
    """(row id, last updated sequence number) by key, worked out from manifests and files."""
    from dolake.tables.data_file import LINEAGE_FIELDS, field_of, read_columns
    from dolake.tables.snapshot_contents import load_contents, load_deletes, snapshot_of_ref

    contents = load_contents(lake.warehouse, snapshot_of_ref(lake.metadata("t"), "main"))
    deletes = load_deletes(lake.warehouse, contents)
    found = {}
    for path, entry in contents.data_files().items():
        fields = [field_of("id", pa.int64(), 1), *LINEAGE_FIELDS]
        first = entry.data_file.first_row_id
        for position, row in enumerate(read_columns(lake.warehouse, path, fields).to_pylist()):
            if path in deletes and position in deletes[path].positions:
                continue
            assert first is not None and entry.sequence_number is not None
            row_id = row["_row_id"] if row["_row_id"] is not None else first + position
            updated = row["_last_updated_sequence_number"] or entry.sequence_number
            found[row["id"]] = (row_id, updated)
    return found


def test_summaries_tell_true_totals(lake: Lake) -> None:
    source, tables = SourceModel(), lake.open()
    source.create("t", "*id INTEGER", "v TEXT")
    for number in range(10):
        source.put("t", {"id": number, "v": "x"})
    tables.stage(source.commit())
    tables.flush()
    for number in range(3):
        source.put("t", {"id": number, "v": "y"})
    tables.stage(source.commit())
    tables.flush()
    summary = lake.metadata("t")["snapshots"][-1]["summary"]
    assert summary["operation"] == "overwrite"
    assert summary["total-records"] == "13" and summary["total-position-deletes"] == "3"
    assert summary["added-records"] == "3" and summary["added-dvs"] == "1"
    assert (summary["total-data-files"], summary["total-delete-files"]) == ("2", "1")
    assert (summary["dosql.source"], summary["dosql.branch"]) == ("shop", "main")
    assert summary["dosql.lsn"] == "2"


def test_a_file_without_live_rows_is_removed_with_its_deletes(lake: Lake) -> None:
    source, tables = SourceModel(), lake.open()
    source.create("t", "*id INTEGER", "v TEXT")
    for rewritten in range(6):
        for number in range(4):
            source.put("t", {"id": number, "v": str(rewritten)})
        tables.stage(source.commit())
        tables.flush()
    summary = lake.metadata("t")["snapshots"][-1]["summary"]
    assert (summary["total-data-files"], summary["total-delete-files"]) == ("1", "0")
    assert_mirrored(lake, source, "t", 6)


def test_two_keys_of_one_hash_are_two_rows(lake: Lake) -> None:
    from dolake.tables.key_coding import HashedKeys

    source, tables = SourceModel(), lake.open()
    source.create("t", "*k TEXT", "v TEXT")
    source.put("t", {"k": "first", "v": "1"})
    tables.stage(source.commit())
    tables.mirror("t").files._coder = HashedKeys(hash_key=lambda key: len(key) % 2)
    tables.flush()
    for number in range(6):
        source.put("t", {"k": "k" * (number + 1), "v": str(number)})
        if number % 2:
            tables.stage(source.commit())
            tables.flush()
    for _ in range(2):
        source.put("t", {"k": "kk", "v": f"changed {source.lsn}"})
        source.delete("t", next(reversed(source.tables["t"]))[0])
        tables.stage(source.commit())
        tables.flush()
        assert_mirrored(lake, source, "t", source.lsn)
        tables = lake.open()  # the keys are read from the files, and collide again
        tables.mirror("t").files._coder = HashedKeys(hash_key=lambda key: len(key) % 2)

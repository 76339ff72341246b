"""Deletion vectors, manifests, bounds and partitions as others read and compute them."""

from __future__ import annotations

import datetime
import decimal
import random
from typing import Any

import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("pyiceberg")

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg import transforms, types
from pyiceberg.table.deletion_vector import deletion_vectors_from_puffin_file
from pyiceberg.table.puffin import PuffinFile
from pyroaring import BitMap

from dolake.errors import LakeConfigurationError, LakeCorruptError
from dolake.tables import single_values
from dolake.tables.deletion_vector import (
    pack_position_deletes,
    pack_puffin,
    pack_vector,
    unpack_position_deletes,
    unpack_vector,
)
from dolake.tables.partitioning import (
    PartitionField,
    bucket,
    murmur3_32,
    partition_spec,
    split_by_partition,
    truncate,
)
from fixtures.lake_tables import (
    Lake,
    SourceModel,
    duckdb_rows,
    in_order,
)


@pytest.mark.parametrize(
    "positions", [[0], [5, 70_000, 4_000_000_000], range(100_000), range(0, 10**6, 3)]
)
def test_a_deletion_vector_is_read_by_us_and_by_pyiceberg(positions: Any) -> None:
    bitmap = BitMap(positions)
    puffin = pack_puffin(bitmap, "file:///data.parquet")
    blob = puffin.data[puffin.content_offset : puffin.content_offset + puffin.content_bytes]
    assert unpack_vector(blob) == bitmap
    (theirs,) = deletion_vectors_from_puffin_file(PuffinFile(puffin.data))
    assert theirs.referenced_data_file == "file:///data.parquet"
    assert theirs.to_vector().to_pylist() == list(positions)
    told = unpack_position_deletes(pack_position_deletes(bitmap, "file:///data.parquet"))
    assert told == {"file:///data.parquet": bitmap}


def test_a_damaged_deletion_vector_is_refused(seeded_random: random.Random) -> None:
    blob = pack_vector(BitMap(range(0, 500, 7)))
    for _ in range(200):
        place = seeded_random.randrange(4, len(blob))
        damaged = bytearray(blob)
        damaged[place] ^= 1 << seeded_random.randrange(8)
        with pytest.raises(LakeCorruptError):
            unpack_vector(bytes(damaged))
    with pytest.raises(LakeCorruptError):
        unpack_vector(blob[:10])


def test_the_hash_is_the_one_of_the_specification() -> None:
    """The test values of the specification's appendix B."""
    assert murmur3_32(b"iceberg") == 1210000089
    assert murmur3_32(b"\x00\x01\x02\x03") & 0xFFFFFFFF == -188683207 & 0xFFFFFFFF
    assert murmur3_32((34).to_bytes(8, "little")) == 2017239379


VALUES: dict[str, tuple[Any, list[Any]]] = {
    "long": (types.LongType(), [0, -1, 34, 2**62, -(2**62)]),
    "string": (types.StringType(), ["", "iceberg", "été", "x" * 50]),
    "binary": (types.BinaryType(), [b"", b"\x00\x01\x02\x03", b"\xff" * 20]),
    "date": (types.DateType(), [datetime.date(2017, 11, 16), datetime.date(1969, 12, 31)]),
    "timestamp": (
        types.TimestampType(),
        [datetime.datetime(2017, 11, 16, 22, 31, 8), datetime.datetime(1969, 1, 1, 0, 0, 0, 1)],
    ),
}
ARROW = {
    "long": pa.int64(),
    "string": pa.string(),
    "binary": pa.binary(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize(
    "transform", ["identity", "year", "month", "day", "hour", "bucket[16]", "truncate[3]"]
)
def test_partitions_are_those_that_pyiceberg_computes(kind: str, transform: str) -> None:
    theirs = transforms.parse_transform(transform)
    source_type, values = VALUES[kind]
    if not theirs.can_transform(source_type):
        with pytest.raises(LakeConfigurationError):
            text = transform.replace("[", "(").replace("]", ", c)")
            text = text if "(" in text else f"{text}(c)" if text != "identity" else "struct c"
            schema = {"fields": [{"id": 1, "name": "c", "type": kind}]}
            partition_spec((text,), schema)
        return
    field = PartitionField("p", transform, 1, 1000, kind)
    table = pa.table({"c": pa.array([*values, None], ARROW[kind])})
    found: dict[Any, Any] = {}
    for partition, rows in split_by_partition(table, (field,), {1: "c"}):
        for value in table.take(pa.array(rows)).column("c").to_pylist():
            found[value] = partition[0]
    compute = theirs.transform(source_type)
    stored = [single_values.to_stored(value) for value in values]
    expected = {v: compute(s) for v, s in zip(values, stored, strict=True)}
    assert found == {**expected, None: None}


def test_buckets_and_widths_of_single_values() -> None:
    assert bucket("iceberg", 16) == (1210000089 & 0x7FFFFFFF) % 16
    assert (truncate(-1, 10), truncate("iceberg", 3), truncate(b"abc", 2)) == (-10, "ice", b"ab")


@pytest.mark.parametrize(
    ("value", "kind", "theirs"),
    [
        (-5, "long", types.LongType()),
        (1.5, "double", types.DoubleType()),
        ("text", "string", types.StringType()),
        (True, "boolean", types.BooleanType()),
        (datetime.date(1969, 7, 20), "date", types.DateType()),
        (datetime.datetime(2024, 1, 1), "timestamp", types.TimestampType()),
        (decimal.Decimal("-128.00"), "decimal(9, 2)", types.DecimalType(9, 2)),
        (decimal.Decimal("327.67"), "decimal(9, 2)", types.DecimalType(9, 2)),
        (decimal.Decimal("0.00"), "decimal(9, 2)", types.DecimalType(9, 2)),
    ],
)
def test_bounds_are_stored_as_the_specification_says(value: Any, kind: str, theirs: Any) -> None:
    from pyiceberg import conversions

    stored = single_values.to_bytes(value, kind)
    given = value if kind.startswith("decimal") else single_values.to_stored(value)
    assert stored == conversions.to_bytes(theirs, given)


def test_cut_bounds_enclose_their_value() -> None:
    for text in ("a" * 40, "a" * 15 + "\U0010ffff" * 9, "퟿" * 20, "\U0010ffff" * 20):
        lower = single_values.lower_bound(text, "string")
        upper = single_values.upper_bound(text, "string")
        assert lower <= text.encode() and (upper is None or upper > text.encode())
    assert single_values.upper_bound(b"\xff" * 20, "binary") is None
    assert single_values.upper_bound(b"a" + b"\xff" * 20, "binary") == b"b"


def test_rows_are_partitioned_sorted_and_pruned(lake: Lake) -> None:
    source = SourceModel()
    tables = lake.open(
        has_change_log=True,
        partition_by={"t": ("day(at)", "bucket(4, id)")},
        change_log_partition_by={"t": ("truncate(3, v)",)},
        sort_by={"t": ("v desc",)},
    )
    source.create("t", "*id INTEGER", "at DATETIME", "v TEXT")
    for number in range(60):
        at = f"2024-01-{number % 5 + 1:02} 10:00:00"
        source.put("t", {"id": number, "at": at, "v": f"value {number:02}"})
    tables.stage(source.commit())
    tables.flush()
    for number in range(0, 60, 9):
        source.put("t", {"id": number, "at": "2024-02-01 00:00:00", "v": "moved"})
    source.put("t", {"id": 3, "at": None, "v": None})
    tables.stage(source.commit())
    tables.flush()
    expected = [
        {**r, "at": r["at"] and datetime.datetime.fromisoformat(r["at"])}
        for r in source.tables["t"].values()
    ]
    assert in_order(lake.read_with_duckdb("t")) == in_order(expected)
    assert in_order(lake.read_with_pyiceberg("t")) == in_order(expected)
    assert lake.metadata("t")["partition-specs"][0]["fields"][0]["transform"] == "day"

    from pyiceberg.table import StaticTable

    table = StaticTable.from_metadata(lake.location("t"))
    january_2nd = "at >= '2024-01-02T00:00:00' and at < '2024-01-03T00:00:00'"
    scan = table.scan(row_filter=january_2nd)
    files = [task.file for task in scan.plan_files()]
    assert 0 < len(files) <= 4
    assert len(scan.to_arrow()) == sum(
        (r["at"] or "").startswith("2024-01-02") for r in source.tables["t"].values()
    )
    for file in files:
        rows = pq.read_table(pa.BufferReader(lake.warehouse.read(file.file_path)))
        texts = rows.column("v").to_pylist()
        assert texts == sorted(texts, reverse=True)
    place = lake.location("t")
    pruned = duckdb_rows(
        lake.duckdb(),
        f"""select id from iceberg_scan('{place}') where "at" = timestamp '2024-02-01 00:00:00'""",
    )
    assert sorted(row["id"] for row in pruned) == list(range(0, 60, 9))
    partitions = {task.file.partition[0] for task in _plan(lake, "t__changes")}
    assert partitions == {"val", "mov", None}


def _plan(lake: Lake, name: str) -> list[Any]:
    from pyiceberg.table import StaticTable

    return list(StaticTable.from_metadata(lake.location(name)).scan().plan_files())

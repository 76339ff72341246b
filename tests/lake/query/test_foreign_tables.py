"""Queries over tables that other engines made, partitioned in every way."""

from __future__ import annotations

import datetime
import decimal
import random
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("duckdb")
pytest.importorskip("pyiceberg")
pytest.importorskip("uvicorn")

import pyarrow as pa

from dolake.query.lake_query import LakeQuery
from fixtures.catalog_server import CatalogServer
from fixtures.lake_engines import attach, duckdb_with_iceberg, rest_catalog

COLUMNS = {
    "i": ("int", pa.int32()),
    "l": ("long", pa.int64()),
    "s": ("string", pa.string()),
    "b": ("binary", pa.binary()),
    "d": ("date", pa.date32()),
    "t": ("timestamp", pa.timestamp("us")),
    "z": ("timestamptz", pa.timestamp("us", tz="UTC")),
    "m": ("decimal(9,2)", pa.decimal128(9, 2)),
    "o": ("boolean", pa.bool_()),
    "f": ("double", pa.float64()),
}
TRANSFORMS = {
    "identity": "ilsbdtzmo",
    "bucket[4]": "ilsbdtzm",
    "truncate[3]": "ilsbm",
    "year": "dtz",
    "month": "dtz",
    "day": "dtz",
    "hour": "tz",
    "void": "i",
}
EVERYDAY = {("identity", "i"), ("bucket[4]", "s"), ("truncate[3]", "s"), ("day", "t")}
PARTITIONS = [
    pytest.param(name, column, marks=[] if (name, column) in EVERYDAY else pytest.mark.long)
    for name, columns in TRANSFORMS.items()
    for column in columns
]
EPOCH = datetime.datetime(1970, 1, 1)


def values_of(column: str) -> list[Any]:
    moments = [
        EPOCH + datetime.timedelta(hours=hours, microseconds=extra)
        for hours in (-9000, -1, 0, 1, 24, 500_000)
        for extra in (0, 1, 3_599_999_999)
    ]
    made: dict[str, list[Any]] = {
        "i": [-(2**31), -7, -1, 0, 1, 2, 3, 34, 2**31 - 1],
        "l": [-(2**63), -5, -1, 0, 1, 4, 2**40, 2**63 - 1],
        "s": ["", "a", "abc", "abcd", "abd", "ä", "\U0001f600x", "b'c", "z" * 40],
        "b": [b"", b"\x00", b"abc", b"abcd", b"\xff\xff\xff\xff"],
        "d": [m.date() for m in moments],
        "t": moments,
        "z": [m.replace(tzinfo=datetime.UTC) for m in moments],
        "m": [f"{n}" for n in ("-9999999.99", "-0.01", "0.00", "0.02", "1.05", "9999999.99")],
        "o": [True, False],
        "f": [float("nan"), float("inf"), float("-inf"), -0.0, 0.0, 0.1, 1e300],
    }
    return [None, *made[column]]


def literal(column: str, value: Any) -> str:
    if value is None:
        return "null"
    kind = {
        "d": "date",
        "t": "timestamp",
        "z": "timestamptz",
        "f": "double",
        "m": "decimal(9,2)",
    }.get(column)
    if column == "b":
        return "'" + "".join(f"\\x{byte:02x}" for byte in value) + "'::blob"
    text = str(value).replace("'", "''")
    if kind is not None:
        return f"'{text}'::{kind}"
    return f"'{text}'" if column == "s" else text


@pytest.fixture
def duck(catalog_server: CatalogServer, pytestconfig: pytest.Config) -> Iterator[Any]:
    with duckdb_with_iceberg(pytestconfig) as connection:
        attach(connection, catalog_server.url)
        connection.execute("set timezone = 'UTC'")
        yield connection


@pytest.mark.parametrize(("transform", "column"), PARTITIONS)
def test_no_row_is_left_out_whatever_a_table_is_partitioned_by(
    catalog_server: CatalogServer,
    duck: Any,
    transform: str,
    column: str,
    seeded_random: random.Random,
    is_long_run: bool,
) -> None:
    pytest.importorskip("pyiceberg_core")  # pyiceberg's transforms
    registry, chance = catalog_server.registry, seeded_random
    registry.namespaces.create(("shop",))
    fields = [{"id": 1, "name": "n", "required": False, "type": "long"}]
    fields += [
        {"id": number, "name": name, "required": False, "type": kind}
        for number, (name, (kind, _)) in enumerate(COLUMNS.items(), 2)
    ]
    source_id = next(f["id"] for f in fields if f["name"] == column)
    spec = {
        "spec-id": 0,
        "fields": [{"source-id": source_id, "field-id": 1000, "name": "p", "transform": transform}],
    }
    registry.create_table(
        ("shop", "t"),
        {"type": "struct", "schema-id": 0, "fields": fields},
        partition_spec=spec,
        properties={"format-version": "2"},
    )
    table = rest_catalog(catalog_server.url).load_table("shop.t")
    number = 0
    for _ in range(2):
        rows: dict[str, list[Any]] = {name: [] for name in ("n", *COLUMNS)}
        for value in values_of(column):
            rows["n"].append(number)
            number += 1
            for name in COLUMNS:
                chosen = value if name == column else chance.choice(values_of(name))
                if name == "m" and chosen is not None:
                    chosen = decimal.Decimal(chosen)
                rows[name].append(chosen)
        schema = pa.schema([("n", pa.int64()), *((k, a) for k, (_, a) in COLUMNS.items())])
        table.append(pa.table(rows, schema=schema))
    query = LakeQuery(registry)
    duck.execute("create table whole as from lake.shop.t")
    found = duck.execute("select count(*) from whole").fetchall()
    assert found == [(number,)]
    conditions = []
    for _ in range(30 if is_long_run else 8):
        name = column if chance.random() < 0.7 else chance.choice(list(COLUMNS))
        one, other = (literal(name, chance.choice(values_of(name))) for _ in range(2))
        operator = chance.choice(["=", "<", ">", "<=", ">=", "<>", "is not distinct from"])
        conditions += [
            f"{column} = {literal(column, chance.choice(values_of(column)[1:]))}",
            chance.choice(
                [
                    f"{name} {operator} {one}",
                    f"{name} in ({one}, {other})",
                    f"{name} between {one} and {other}",
                    f"{name} is {chance.choice(['', 'not '])}null",
                    f"{name} = {one} or {name} = {other}",
                    f"not ({name} < {one})",
                ]
            ),
        ]
    left_out = 0
    for condition in conditions:
        sql = f"select count(*), sum(n) from {{}} where {condition}"
        with query.run(sql.format("shop.t")) as result:
            answer = [tuple(row.values()) for row in result.table().to_pylist()]
            left_out += sum(bool(p.left_out_by) for p in result.tables[0].plan.files)
        assert answer == duck.execute(sql.format("whole")).fetchall(), condition
    assert left_out or transform == "void" or column in "ob"

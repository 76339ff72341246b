"""What other engines read from a mirror, row by row: DuckDB, pyiceberg, polars and Sail."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("pyarrow")

from fixtures.catalog_server import served
from fixtures.lake_tables import (
    Lake,
    Row,
    SourceModel,
    duckdb_rows,
    duckdb_with_iceberg,
    in_order,
    source_rows,
)

SAIL_SECONDS_MAX = 300
COLUMNS = (
    "*id INTEGER",
    "name TEXT",
    "x REAL",
    "b BLOB",
    "ok BOOLEAN",
    "d DATE",
    "n DECIMAL(12,3)",
)
NAMES = [text.lstrip("*").split(" ")[0] for text in COLUMNS]

# Sail serves Spark's protocol; it reads the table by its location, in a process of its own.
SAIL = """
import json, os, sys
from pysail.spark import SparkConnectServer
server = SparkConnectServer("127.0.0.1", 0)
server.start()
_, port = server.listening_address
from pyspark.sql import SparkSession
spark = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").getOrCreate()
rows = spark.read.format("iceberg").load(sys.argv[1]).collect()
told = [{k: v.hex() if isinstance(v, (bytes, bytearray)) else v for k, v in r.asDict().items()}
        for r in rows]
print("ROWS " + json.dumps(told, default=str), flush=True)
os._exit(0)  # the server has threads that do not end
"""


def read_with_sail(lake: Lake, table: str) -> list[Row]:
    pytest.importorskip("pysail")
    pytest.importorskip("pyspark")
    location = lake.metadata(table)["location"].removeprefix("file://")
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SAIL, location],
        capture_output=True,
        text=True,
        timeout=SAIL_SECONDS_MAX,
        check=False,
    )
    lines = [line for line in ended.stdout.splitlines() if line.startswith("ROWS ")]
    assert lines, ended.stderr
    rows: list[Row] = json.loads(lines[-1].removeprefix("ROWS "))
    for row in rows:
        row["b"] = None if row["b"] is None else bytes.fromhex(row["b"])
        row["n"] = None if row["n"] is None else float(row["n"])
    return rows


def read_with_polars(lake: Lake, table: str) -> list[Row]:
    polars = pytest.importorskip("polars")
    with warnings.catch_warnings():  # it says that planning by pyiceberg is slow
        warnings.simplefilter("ignore")
        rows: list[Row] = polars.scan_iceberg(lake.location(table)).collect().to_dicts()
    return rows


READERS: dict[str, Callable[[Lake, str], list[Row]]] = {
    "duckdb": Lake.read_with_duckdb,
    "pyiceberg": Lake.read_with_pyiceberg,
    "polars": read_with_polars,
    "sail": read_with_sail,
}


def row_of(number: int, generation: int) -> Row:
    return {
        "id": number,
        "name": None if number % 11 == 0 else f"näme {number} {generation}",
        "x": number / 8,
        "b": bytes([number % 256, 0, 255]) if number % 7 else None,
        "ok": number % 2,
        "d": f"2024-0{number % 9 + 1}-{number % 28 + 1:02}",
        "n": None if number % 5 == 0 else number + 0.125,
    }


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Mirrors of both versions, of many files whose deletes are of very unequal size."""
    made = {}
    for version in (3, 2):
        lake = Lake(tmp_path_factory.mktemp(f"v{version}"))
        source, tables = SourceModel(), lake.open(format_version=version)
        source.create("t", *COLUMNS)
        number = 0
        sizes = [3, 400, 50, 1, 1500, 7, 120, 2, 64, 900]
        ranges = []
        for size in sizes:
            for _ in range(size):
                source.put("t", row_of(number, 0))
                number += 1
            ranges.append(range(number - size, number))
            tables.stage(source.commit())
            tables.flush()
        # From one row to all but one, scattered and in runs, in two commits.
        for every, rows in zip((2, 3, 50, 1, 2, 7, 1, 2, 63, 4), ranges, strict=True):
            for key in list(rows)[::every]:
                if every % 2:
                    source.delete("t", key)
                else:
                    source.put("t", row_of(key, 1))
        tables.stage(source.commit())
        tables.flush()
        for key in [*range(460, 800), *range(2500, 2510)]:
            if (key,) in source.tables["t"]:
                source.delete("t", key)
        tables.stage(source.commit())
        tables.flush()
        made[version] = (lake, source)
    yield made
    for lake, _ in made.values():
        lake.registry.close()


@pytest.mark.parametrize("version", [3, 2], ids=["v3", "v2"])
@pytest.mark.parametrize("reader", READERS)
def test_an_engine_reads_what_the_source_holds(filled: Any, version: int, reader: str) -> None:
    lake, source = filled[version]
    summary = lake.metadata("t")["snapshots"][-1]["summary"]
    assert int(summary["total-delete-files"]) >= 6
    rows = source_rows(READERS[reader](lake, "t"), NAMES)
    assert in_order(rows) == in_order(list(source.tables["t"].values()))


@pytest.mark.parametrize("version", [3, 2], ids=["v3", "v2"])
def test_engines_read_a_mirror_through_the_catalog(filled: Any, version: int) -> None:
    pytest.importorskip("uvicorn")
    from pyiceberg.catalog.rest import RestCatalog

    from dolake.catalog.rest_routes import rest_application

    lake, source = filled[version]
    expected = in_order(list(source.tables["t"].values()))
    with served(rest_application(lake.registry)) as url:
        catalog = RestCatalog("lake", uri=url)
        rows = catalog.load_table("shop.t").scan().to_arrow().to_pylist()
        assert in_order(source_rows(rows, NAMES)) == expected
        attached = duckdb_with_iceberg().cursor()
        attached.execute(
            f"attach '' as lake{version} "
            f"(type iceberg, endpoint '{url}', authorization_type 'none')"
        )
        rows = duckdb_rows(attached, f"from lake{version}.shop.t")
        assert in_order(source_rows(rows, NAMES)) == expected
        attached.execute(f"detach lake{version}")


def test_rows_of_every_commit_are_read_as_of_its_lsn(lake: Lake) -> None:
    source, tables = SourceModel(), lake.open()
    source.create("t", "*id INTEGER", "v TEXT")
    for _ in range(5):
        for number in range(source.lsn, 10):
            source.put("t", {"id": number, "v": f"{source.lsn}"})
        tables.stage(source.commit())
        tables.flush()
    for lsn, snapshot_id in lake.snapshot_ids("t").items():
        expected = in_order(list(source.states[lsn]["t"].values()))
        assert in_order(lake.read_with_duckdb("t", snapshot_id)) == expected
        assert in_order(lake.read_with_pyiceberg("t", snapshot_id)) == expected

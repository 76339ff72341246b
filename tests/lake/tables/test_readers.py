"""What other engines read from a mirror, row by row: DuckDB, pyiceberg, polars and Sail."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("pyarrow")

from dolake.catalog.rest_routes import catalog_application
from fixtures.catalog_server import served
from fixtures.lake_engines import attach, rest_catalog, run_in_sail
from fixtures.lake_tables import (
    Lake,
    Row,
    SourceModel,
    duckdb_rows,
    in_order,
    source_rows,
)

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


def read_with_sail(lake: Lake, config: pytest.Config) -> list[Row]:
    """What Sail reads through the catalog, in a process of its own."""
    pytest.importorskip("uvicorn")
    with served(catalog_application(lake.registry)) as url:
        query = f"select {', '.join(NAMES)} from lake.shop.t".replace(" b,", " hex(b),")
        (answer,) = run_in_sail(config, url, [query], lake.root)
    rows = [dict(zip(NAMES, row, strict=True)) for row in answer]
    for row in rows:
        row["b"] = None if row["b"] is None else bytes.fromhex(row["b"])
        row["n"] = None if row["n"] is None else float(row["n"])
    return rows


def read_with_polars(lake: Lake) -> list[Row]:
    polars = pytest.importorskip("polars")
    with warnings.catch_warnings():  # it says that planning by pyiceberg is slow
        warnings.simplefilter("ignore")
        rows: list[Row] = polars.scan_iceberg(lake.location("t")).collect().to_dicts()
    return rows


READERS: dict[str, Callable[[Lake, pytest.Config], list[Row]]] = {
    "duckdb": lambda lake, config: lake.read_with_duckdb("t"),
    "pyiceberg": lambda lake, config: lake.read_with_pyiceberg("t"),
    "polars": lambda lake, config: read_with_polars(lake),
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
def filled(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Any:
    """Mirrors of both versions, of many files whose deletes are of very unequal size."""
    made = {}
    for version in (3, 2):
        lake = Lake(tmp_path_factory.mktemp(f"v{version}"), pytestconfig)
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
def test_an_engine_reads_what_the_source_holds(
    filled: Any, version: int, reader: str, pytestconfig: pytest.Config
) -> None:
    lake, source = filled[version]
    summary = lake.metadata("t")["snapshots"][-1]["summary"]
    assert int(summary["total-delete-files"]) >= 6
    rows = source_rows(READERS[reader](lake, pytestconfig), NAMES)
    assert in_order(rows) == in_order(list(source.tables["t"].values()))


@pytest.mark.parametrize("version", [3, 2], ids=["v3", "v2"])
def test_engines_read_a_mirror_through_the_catalog(filled: Any, version: int) -> None:
    pytest.importorskip("uvicorn")
    lake, source = filled[version]
    expected = in_order(list(source.tables["t"].values()))
    with served(catalog_application(lake.registry)) as url, lake.duckdb() as cursor:
        rows = rest_catalog(url).load_table("shop.t").scan().to_arrow().to_pylist()
        assert in_order(source_rows(rows, NAMES)) == expected
        attach(cursor, url, f"lake{version}")
        rows = duckdb_rows(cursor, f"from lake{version}.shop.t")
        assert in_order(source_rows(rows, NAMES)) == expected
        cursor.execute(f"detach lake{version}")


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

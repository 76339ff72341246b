"""Changes into an Iceberg mirror: how fast, at what cost to readers, and how soon after a restart.

A table of five million rows is copied into the lake; batches of decoded changes (nine in ten
updates of random rows, the others inserts and deletes) are staged and flushed, and DuckDB reads
the table before, after, and once it is compacted. pyiceberg's `upsert` does the same to a table of
its own, in smaller batches, for it rewrites the files it touches.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from measure import Settings, Table, finish, percentiles, run_alone, settings

ROWS_PER_COPIED_BATCH = 100_000
COLUMNS = (("id", "INTEGER"), ("account", "TEXT"), ("amount", "REAL"), ("n", "INTEGER"))


def _schema() -> Any:
    from dolake.changes import Column, TableSchema

    return TableSchema("t", tuple(Column(n, k, key_position=int(n == "id")) for n, k in COLUMNS))


def _open(root: Path) -> tuple[Any, Any, Any]:
    from dolake.catalog.table_registry import TableRegistry
    from dolake.tables.source_tables import SourceTables
    from dolake.warehouse import Warehouse

    warehouse = Warehouse(root / "warehouse")
    registry = TableRegistry(root / "catalog.db", warehouse)
    return warehouse, registry, SourceTables(registry, warehouse, "source")


def _copied_batches(count: int) -> Iterator[Any]:
    import numpy as np
    import pyarrow as pa

    chance = np.random.default_rng(1)  # values that compress no better than those that come later
    for start in range(0, count, ROWS_PER_COPIED_BATCH):
        ids = np.arange(start, min(count, start + ROWS_PER_COPIED_BATCH))
        yield pa.record_batch(
            {
                "id": ids,
                "account": [f"account {n % 50_000}" for n in ids.tolist()],
                "amount": chance.integers(0, 10_000, len(ids)) / 8,
                "n": chance.integers(0, 1000, len(ids)),
            }
        )


def _batch(chance: random.Random, lsn: int, rows: int, changes: int) -> Any:
    """Decoded changes of one commit; deletes take rows that no update of the batch touches."""
    from dolake.changes import Batch, RowChange

    made: list[Any] = []
    for index in range(changes):
        kind = chance.random()
        number = chance.randrange(rows)
        operation = "update" if kind < 0.9 else "insert" if kind < 0.95 else "delete"
        if operation == "insert":
            number = rows + lsn * changes + index
        after = {
            "id": number,
            "account": f"account {number % 50_000}",
            "amount": (number * 7 + lsn) % 10_000 / 8,
            "n": (number * 11 + lsn) % 1000,
        }
        made.append(
            RowChange(
                lsn,
                index,
                0,
                operation,  # type: ignore[arg-type]
                "t",
                {"id": number},
                None,
                None if operation == "delete" else after,
            )
        )
    return Batch("source", "main", lsn - 1, lsn, tuple(made))


def _aggregate_seconds(registry: Any, rounds: int) -> tuple[float, int]:
    """Median processor time of an aggregate over the table in DuckDB, and the rows it found."""
    import glob
    import importlib.util

    import duckdb

    connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    for name in ("avro", "iceberg"):
        found = importlib.util.find_spec(f"duckdb_extension_{name}")
        assert found is not None and found.origin is not None
        folder = Path(found.origin).parent
        (file,) = glob.glob(f"{folder}/extensions/**/{name}.duckdb_extension", recursive=True)
        connection.execute(f"load '{file}'")
    place = registry.load_table(("source", "t")).metadata_location
    spent, count = [], 0
    for _ in range(rounds + 1):
        began = time.process_time()
        answer = connection.execute(
            f"select count(*), sum(amount), count(distinct n) from iceberg_scan('{place}')"
        ).fetchone()
        spent.append(time.process_time() - began)
        assert answer is not None
        count = answer[0]
    return statistics.median(spent[1:]), count


def write_changes(root: str, rows: int, batches: int, changes: int, rounds: int) -> dict[str, Any]:
    """Copy the table, change it, and read it before, after, and compacted."""
    from dolake.maintenance.data_compaction import compact_table
    from dolake.maintenance.maintenance_policy import CompactionPolicy

    warehouse, registry, tables = _open(Path(root))
    began = time.perf_counter()
    tables.initial_copy(1, [(_schema(), _copied_batches(rows))])
    copied = time.perf_counter() - began
    clean, _ = _aggregate_seconds(registry, rounds)
    tables.build_indexes()
    chance = random.Random(1)
    flushes, staging = [], 0.0
    _mark_cpu()
    cpu_before = time.process_time()
    for lsn in range(2, batches + 2):
        batch = _batch(chance, lsn, rows, changes)
        cpu_before += _cpu_since_made()
        began = time.perf_counter()
        tables.stage(batch)
        staged = time.perf_counter()
        tables.flush()
        flushes.append(time.perf_counter() - staged)
        staging += staged - began
        _mark_cpu()
    cpu = time.process_time() - cpu_before
    changed, count = _aggregate_seconds(registry, rounds)
    began = time.process_time()
    policy = CompactionPolicy(files_min=2, dead_share_min=0.01)
    compact_table(registry, warehouse, ("source", "t"), policy)
    compaction = time.process_time() - began
    compacted, count_after = _aggregate_seconds(registry, rounds)
    assert count == count_after
    tables.stage(_batch(chance, batches + 2, rows, changes))
    began = time.process_time()
    tables.flush()
    after_compaction = time.process_time() - began
    return {
        "copied": copied,
        "flushes": flushes,
        "staging": staging,
        "cpu": cpu,
        "clean": clean,
        "changed": changed,
        "compacted": compacted,
        "compaction": compaction,
        "after_compaction": after_compaction,
        "index_bytes": tables.index_bytes,
    }


_marked = [0.0]


def _mark_cpu() -> None:
    _marked[0] = time.process_time()


def _cpu_since_made() -> float:
    """Processor time spent since the last mark: on making a batch, which does not count."""
    return time.process_time() - _marked[0]


def restart(root: str) -> dict[str, Any]:
    """Open the tables again, with the index of all keys."""
    began, cpu = time.perf_counter(), time.process_time()
    _, _, tables = _open(Path(root))
    tables.build_indexes()
    spent = time.perf_counter() - began
    return {
        "seconds": spent,
        "cpu": time.process_time() - cpu,
        "keys": tables.mirror("t").files.row_count,
        "index_bytes": tables.index_bytes,
    }


def upsert_with_pyiceberg(root: str, rows: int, batches: int, changes: int) -> dict[str, Any]:
    """pyiceberg's own way of changing rows by key."""
    import pyarrow as pa
    from pyiceberg.catalog.sql import SqlCatalog

    folder = Path(root)
    folder.mkdir(parents=True, exist_ok=True)
    catalog = SqlCatalog("c", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    catalog.create_namespace("source")
    schema = pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False),
            ("account", pa.string()),
            ("amount", pa.float64()),
            ("n", pa.int64()),
        ]
    )
    table = catalog.create_table("source.t", schema)
    parts = list(_copied_batches(rows))
    table.append(pa.Table.from_batches(parts).cast(schema))
    chance = random.Random(1)
    spent = []
    for lsn in range(batches):
        numbers = chance.sample(range(rows), changes)
        made = pa.Table.from_pylist(
            [{"id": n, "account": f"account {n % 977}", "amount": 0.5, "n": lsn} for n in numbers],
            schema=schema,
        )
        began = time.perf_counter()
        table.upsert(made, join_cols=["id"])
        spent.append(time.perf_counter() - began)
    return {"flushes": spent}


def measured(how: Settings) -> list[Table]:
    rows = how.scaled(5_000_000, 200_000)
    batches, changes = how.scaled(30, 6), 10_000
    theirs, their_changes = how.scaled(3, 2), how.scaled(1_000, 200)
    with tempfile.TemporaryDirectory(dir=how.scratch) as root:
        written = run_alone(write_changes, root, rows, batches, changes, how.rounds(5))
        opened = run_alone(restart, root)
    told = written.value
    with tempfile.TemporaryDirectory(dir=how.scratch) as root:
        upserted = run_alone(upsert_with_pyiceberg, root, rows, theirs, their_changes)
    flushes = percentiles(told["flushes"])
    speed = batches * changes / (told["staging"] + sum(told["flushes"]))
    their_speed = theirs * their_changes / sum(upserted.value["flushes"])
    writing = Table(
        f"Writing into {rows:,} rows",
        ["writer", "changes a commit", "changes/s", "commit p50 ms", "p95 ms", "longest ms"],
    )
    writing.add(
        "dolake", changes, speed, flushes.p50 / 1e3, flushes.p95 / 1e3, flushes.longest / 1e3
    )
    others = percentiles(upserted.value["flushes"])
    writing.add(
        "pyiceberg upsert",
        their_changes,
        their_speed,
        others.p50 / 1e3,
        others.p95 / 1e3,
        others.longest / 1e3,
    )
    writing.notes.append(f"dolake against pyiceberg: {speed / their_speed:,.0f}x")
    writing.notes.append(
        f"by processor time dolake takes {batches * changes / told['cpu']:,.0f} changes/s"
    )
    reading = Table(
        "An aggregate over the whole table in DuckDB",
        ["table", "processor ms", "against clean"],
    )
    reading.add("clean", told["clean"] * 1e3, "1.00x")
    reading.add(
        f"after {batches} commits",
        told["changed"] * 1e3,
        f"{told['changed'] / told['clean']:.2f}x (aim 3)",
    )
    reading.add(
        "compacted",
        told["compacted"] * 1e3,
        f"{told['compacted'] / told['clean']:.2f}x (aim 1.2)",
    )
    other = Table("Beside it", ["what", "takes"])
    other.add("initial copy, rows/s", rows / told["copied"])
    other.add("restart with the index of all keys, seconds", opened.value["seconds"])
    other.add("the same, processor seconds", opened.value["cpu"])
    other.add(
        "memory of the index, bytes a key", opened.value["index_bytes"] / opened.value["keys"]
    )
    other.add("most memory after a restart, MB", opened.peak_bytes / 1e6)
    other.add("most memory while writing, MB", written.peak_bytes / 1e6)
    other.add("compaction of every file, processor seconds", told["compaction"])
    other.add("the first commit after it, processor ms", told["after_compaction"] * 1e3)
    return [writing, reading, other]


def main() -> None:
    with settings(__doc__) as how:
        finish("lake_tables", "Mirrors in the lake", measured(how), how)


if __name__ == "__main__":
    main()

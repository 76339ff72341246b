"""Queries over a lake beside DuckDB's own `iceberg_scan` of the same table, and their planning.

A mirror in five files with five hundredths of its rows replaced by deletion vectors. Each query of
ours runs in a DuckDB of its own, as it does for users; `iceberg_scan` runs in a connection that
stays open, with the extension loaded.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import Table, finish, run_alone, settings

FLUSHES = 5
CONDITIONS = {
    "the whole table": "",
    "one row": " where id = 77",
    "a thousand rows": " where id between 5000 and 5999",
}


def queries(root: str, rows: int, rounds: int) -> dict[str, list[float]]:
    """Median processor time of each query, ours and theirs, and of explaining it, in turns."""
    import lake_tables  # type: ignore[import-not-found]

    from dolake.changes import Batch, RowChange
    from dolake.query.lake_query import LakeQuery

    _, registry, tables = lake_tables._open(Path(root))
    copied = list(lake_tables._copied_batches(rows))
    for part in range(5):
        whole = copied[part * len(copied) // 5 : (part + 1) * len(copied) // 5]
        if part == 0:
            tables.initial_copy(1, [(lake_tables._schema(), iter(whole))])
            continue
        made = [
            RowChange(part + 1, index, 0, "insert", "t", {"id": row["id"]}, None, row)
            for index, row in enumerate(row for batch in whole for row in batch.to_pylist())
        ]
        tables.stage(Batch("source", "main", part, part + 1, tuple(made)))
        tables.flush()
    chance = random.Random(1)
    for flush in range(FLUSHES):
        lsn = 6 + flush
        chosen = chance.sample(range(rows), rows // 100)
        changed = [
            RowChange(lsn, index, 0, "update", "t", {"id": n}, None, {"id": n, "amount": 1.0})
            for index, n in enumerate(chosen)
        ]
        tables.stage(Batch("source", "main", lsn - 1, lsn, tuple(changed)))
        tables.flush()
    query = LakeQuery(registry)
    duck = _duckdb()
    place = registry.load_table(("source", "t")).metadata_location
    found: dict[str, list[float]] = {}
    for name, condition in CONDITIONS.items():
        ours = f"select count(*), sum(amount) from source.t{condition}"
        theirs = f"select count(*), sum(amount) from iceberg_scan('{place}'){condition}"
        spent: tuple[list[float], list[float], list[float]] = ([], [], [])
        for _ in range(rounds + 1):
            began = time.process_time()
            with query.run(ours) as result:
                answer = [tuple(row.values()) for row in result.table().to_pylist()]
            between = time.process_time()
            same = duck.execute(theirs).fetchall()
            after = time.process_time()
            query.explain(ours)
            spent[0].append(between - began)
            spent[1].append(after - between)
            spent[2].append(time.process_time() - after)
            assert answer == same
        found[name] = [statistics.median(times[1:]) * 1e3 for times in spent]
    return found


def _duckdb() -> Any:
    import importlib.util

    import duckdb

    connection = duckdb.connect(config={"autoinstall_known_extensions": "false", "threads": 2})
    for name in ("avro", "iceberg"):
        package = importlib.util.find_spec(f"duckdb_extension_{name}")
        assert package is not None and package.origin is not None
        folder = Path(package.origin).parent / f"extensions/v{duckdb.__version__}"
        connection.execute(f"load '{folder}/{name}.duckdb_extension'")
    return connection


def main() -> None:
    with settings(__doc__) as how:
        rows = 200_000 if how.quick else 1_000_000
        title = f"An aggregate over {rows:,} rows, processor time in ms, in turns"
        table = Table(title, ("rows read", "ours", "iceberg_scan", "of ours, planning"))
        with tempfile.TemporaryDirectory(dir=how.scratch) as root:
            told = run_alone(queries, root, rows, 3 if how.quick else 9)
        for name, (ours, theirs, planning) in told.value.items():
            table.add(name, ours, theirs, planning)
        finish("lake_queries", "Queries over the lake", [table], how)


if __name__ == "__main__":
    main()

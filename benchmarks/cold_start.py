"""Cold start with a large database: from a new process to the first row, and the memory it took.

Once with the file in the operating system's cache and once without (the file's and the history's
pages are dropped first, as far as the system lets a program ask for that). 1 GB (`--quick`: 50 MB).
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import contenders
import filled_database
from measure import Settings, Table, finish, percentiles, run_alone, settings

MEGABYTE = 1_000_000


def prepare(name: str, path: str, stored_bytes: int) -> int:
    connection = contenders.OPENERS[name](Path(path), "off")
    row_count = filled_database.fill(connection, stored_bytes)
    connection.close()
    return row_count


def first_row(name: str, path: str, key: int, past: bool) -> list[float]:
    """Seconds to import the driver, to connect, and to have one row."""
    began = time.perf_counter()
    __import__({"sqlite3": "sqlite3", "apsw": "apsw", "dosql": "dosql_dbapi"}[name])
    imported = time.perf_counter()
    options = {"as_of": 2} if past else {}
    connection = contenders.OPENERS[name](Path(path), "full", **options)
    connected = time.perf_counter()
    connection.execute(filled_database.POINT_READ, (key,)).fetchone()
    answered = time.perf_counter()
    connection.close()
    return [imported - began, connected - imported, answered - connected]


def drop_from_cache(path: Path) -> None:
    """Ask the system to forget the pages of every file of a database nobody has open."""
    beside = path.with_name(path.name + "-dosql")
    for file in [path, *(f for f in beside.rglob("*") if f.is_file())]:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def compare(how: Settings, megabytes: int) -> Table:
    table = Table(
        f"{megabytes:,} MB: a new process to its first row",
        (
            "contender",
            "file cached",
            "import p50 ms",
            "connect p50 ms",
            "first row p50 ms",
            "connect to row p99 ms",
            "peak memory MB",
        ),
    )
    for name in contenders.OPENERS:
        path = how.scratch / f"cold-{name}.db"
        row_count = run_alone(prepare, name, str(path), megabytes * MEGABYTE).value
        for past in (False, True) if name == "dosql" else (False,):
            for cached in (True, False):
                add_row(table, how, name, path, row_count, past, cached)
    return table


def add_row(
    table: Table, how: Settings, name: str, path: Path, row_count: int, past: bool, cached: bool
) -> None:
    parts, peaks = [], []
    for key in filled_database.keys(row_count, how.scaled(21, 5)):
        if not cached:
            drop_from_cache(path)
        told = run_alone(first_row, name, str(path), key, past)
        parts.append(told.value)
        peaks.append(told.peak_bytes)
    imported, connected, answered = (percentiles(column) for column in zip(*parts, strict=True))
    both = percentiles([part[1] + part[2] for part in parts])
    table.add(
        f"{name}{' as_of' if past else ''}",
        "yes" if cached else "no",
        imported.p50 / 1000,
        connected.p50 / 1000,
        answered.p50 / 1000,
        both.p99 / 1000,
        sorted(peaks)[len(peaks) // 2] / MEGABYTE,
    )


def main() -> None:
    with settings(__doc__) as how:
        table = compare(how, how.scaled(1000, 50))
        finish("cold_start", "Cold start", [table], how)


if __name__ == "__main__":
    main()

"""The past: how long a view takes to open, and how fast it reads, against the head.

A database is filled, then changed by many small commits; the moment asked for lies before them, so
that a read must pass over newer versions. 10 MB and 1 GB (`--quick`: 10 MB and 50 MB).
"""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import Any

import contenders
import filled_database
from measure import Settings, Table, alternate, finish, percentiles, ratio, run_alone, settings

MEGABYTE = 1_000_000
COMMITS_SINCE = 2000
OPEN_AIM_MS = 50.0
READ_AIM = 0.7
AS_OF_READ = "select k, body from item for system_time as of lsn ? where id = ?"
RANGE = "select k, body from item where id between ? and ? + 999"
READS = 5000


def prepare(path: str, stored_bytes: int, commits: int) -> list[int]:
    """Fill the database in a process of its own; returns its row count and the LSN to ask for."""
    connection = contenders.open_dosql(Path(path), "off")
    row_count = filled_database.fill(connection, stored_bytes)
    lsn = connection.lsn
    filled_database.update_rows(connection, row_count, commits)
    connection.close()
    return [row_count, lsn]


def open_times(path: str, lsn: int, row_count: int, count: int) -> list[list[float]]:
    """Seconds to open a view and read one row, in a process that began with nothing open.

    The first includes opening the database itself; the rest open further views beside a head that
    stays open. Each asks for another moment, so that no view is found ready.
    """
    importlib.import_module("dosql_dbapi")  # cold_start.py tells what importing costs
    spent = []
    asked = list(filled_database.keys(row_count, count + 1))
    head = None
    for n, key in enumerate(asked):
        began = time.perf_counter()
        past = contenders.open_dosql(Path(path), as_of=lsn + n)
        past.execute(filled_database.POINT_READ, (key,)).fetchone()
        spent.append(time.perf_counter() - began)
        past.close()
        if head is None:
            head = contenders.open_dosql(Path(path))
            head.execute("select 1 from item limit 1").fetchone()
    assert head is not None
    head.close()
    return [spent[:1], spent[1:]]


def compare(how: Settings, megabytes: int, opening: Table, reading: Table) -> None:
    path = how.scratch / f"as-of-{megabytes}.db"
    commits = how.scaled(COMMITS_SINCE, 200)
    prepared = run_alone(prepare, str(path), megabytes * MEGABYTE, commits)
    row_count, lsn = prepared.value
    told = run_alone(open_times, str(path), lsn, row_count, how.scaled(200, 20))
    (first,), others = told.value
    more = percentiles(others)
    within = "yes" if max(first * 1000, more.p99 / 1000) < OPEN_AIM_MS else "no"
    opening.add(
        f"{megabytes:,} MB",
        first * 1000,
        more.p50 / 1000,
        more.p99 / 1000,
        within,
        told.peak_bytes / MEGABYTE,
    )

    head = contenders.open_dosql(path)
    past = contenders.open_dosql(path, as_of=lsn)
    few = list(filled_database.keys(row_count, 200)) * (READS // 200)
    anywhere = list(filled_database.keys(row_count, READS))
    for what, asked in (("200 keys, over and over", few), ("keys anywhere", anywhere)):
        timings = alternate(
            {
                "head": filled_database.point_reader(head, asked),
                "view": filled_database.point_reader(past, asked),
                "clause": filled_database.point_reader(head, asked, AS_OF_READ, lsn),
            },
            len(asked),
            rounds=how.rounds(9),
        )
        add_reading(reading, f"{megabytes:,} MB, point read, {what}", timings)
    starts = list(filled_database.keys(max(1, row_count - 1000), 50))
    timings = alternate(
        {"head": range_reader(head, starts), "view": range_reader(past, starts)},
        len(starts),
        rounds=how.rounds(9),
    )
    add_reading(reading, f"{megabytes:,} MB, 1,000 rows", timings)
    past.close()
    head.close()


def range_reader(connection: Any, starts: list[int]) -> Any:
    def work() -> None:
        for start in starts:
            connection.execute(RANGE, (start, start)).fetchall()

    return work


def add_reading(table: Table, what: str, timings: Any) -> None:
    head, view, clause = timings["head"], timings["view"], timings.get("clause")
    table.add(
        what,
        head.microseconds,
        view.microseconds,
        ratio(view.speed_against(head), READ_AIM),
        clause.microseconds if clause else "",
        ratio(clause.speed_against(head)) if clause else "",
    )


def doltlite(path: str, stored_bytes: int, commits: int, rounds: int) -> list[float]:
    """Microseconds of a head read and of a read through `dolt_at_item`, and of opening that."""
    connection = contenders.open_doltlite(Path(path), "off")
    row_count = filled_database.fill(connection, stored_bytes)
    (moment,) = connection.execute("select dolt_commit('-A', '-m', 'filled')").fetchone()
    filled_database.update_rows(connection, row_count, commits)
    connection.execute("select dolt_commit('-A', '-m', 'changed')").fetchone()
    at = "select k, body from dolt_at_item(?) where id = ?"
    began = time.perf_counter()
    connection.execute(at, (moment, 1)).fetchone()
    opened = time.perf_counter() - began
    asked = list(filled_database.keys(row_count, 200))
    timings = alternate(
        {
            "head": filled_database.point_reader(connection, asked),
            "past": filled_database.point_reader(connection, asked, at, moment),
        },
        len(asked),
        rounds=rounds,
    )
    connection.close()
    past, head = timings["past"], timings["head"]
    return [head.microseconds, past.microseconds, past.speed_against(head), opened * 1000]


def main() -> None:
    with settings(__doc__) as how:
        opening = Table(
            "Opening a view of the past and reading one row",
            ("size", "first in a process ms", "p50 ms", "p99 ms", "< 50 ms", "peak memory MB"),
        )
        reading = Table(
            "Reading, against the head of the same database",
            ("what", "head us", "view us", "view / head", "FOR SYSTEM_TIME us", "clause / head"),
        )
        tables = [opening, reading]
        for megabytes in (10, how.scaled(1000, 50)):
            compare(how, megabytes, opening, reading)
        if contenders.has_doltlite():
            other = Table(
                "DoltLite, 10 MB, point reads through `dolt_at_item`",
                ("head us", "past us", "past / head", "first read of the past ms"),
            )
            path = how.scratch / "doltlite.db"
            told = run_alone(doltlite, str(path), 10 * MEGABYTE, 200, how.rounds(5))
            head, past, speed, opened = told.value
            other.add(head, past, ratio(speed), opened)
            tables.append(other)
        finish("as_of", "Reading the past", tables, how)


if __name__ == "__main__":
    main()

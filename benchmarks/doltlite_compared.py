"""DoltLite, the SQLite with Dolt's storage below it: commits that are kept, and branches.

It replaces the SQLite library of its process, so every contender runs alone in one. What history
weighs is beside ours in `history_bytes.py`.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import contenders
import filled_database
from autocommit import CREATE, repeated, writer
from measure import (
    Settings,
    Table,
    alternate,
    finish,
    percentiles,
    ratio,
    run_alone,
    settings,
)

MEGABYTE = 1_000_000
WRITERS = ("sqlite3", "dosql", "doltlite", "doltlite + dolt_commit")


def inserts(name: str, path: str, durability: str, count: int, rounds: int) -> list[float]:
    """Seconds of each round of `count` autocommit inserts by one contender in its own process."""
    library, _, recorded = name.partition(" + ")
    opener = {**contenders.OPENERS, "doltlite": contenders.open_doltlite}[library]
    connection = opener(Path(path), durability)
    connection.execute(CREATE)
    write = writer(connection, "INSERT")

    def write_and_record() -> None:
        write()
        connection.execute("select dolt_commit('-A', '-m', 'one row')").fetchall()

    work = repeated(write_and_record if recorded else write, count)
    timing = alternate({name: work}, count, rounds=rounds)[name]
    connection.close()
    return list(timing.round_seconds)


def compare_writes(how: Settings) -> Table:
    table = Table(
        "INSERT, each contender alone in its process",
        ("durability", "contender", "us a commit", "of sqlite3's speed", "peak memory MB"),
    )
    count, turns = how.scaled(500, 100), how.rounds(5)
    for durability in ("full", "off"):
        spent: dict[str, list[float]] = {name: [] for name in WRITERS}
        peak_bytes: dict[str, int] = {}
        for turn in range(turns):  # processes take turns, as the machine's mood changes
            for name in WRITERS:
                path = how.scratch / f"alone-{name}-{durability}-{turn}.db"
                told = run_alone(inserts, name, str(path), durability, count, 3)
                spent[name] += told.value
                peak_bytes[name] = told.peak_bytes
        medians = {name: statistics.median(each) / count * 1e6 for name, each in spent.items()}
        for name, microseconds in medians.items():
            speed = ratio(medians["sqlite3"] / microseconds)
            table.add(durability, name, microseconds, speed, peak_bytes[name] / 1e6)
    table.notes.append(
        "DoltLite keeps nothing of a SQLite commit in its history before `dolt_commit` records it; "
        "its `synchronous` NORMAL syncs as often as FULL (counted), so only FULL and OFF compare"
    )
    return table


def doltlite_branches(path: str, stored_bytes: int, count: int) -> list[float]:
    connection = contenders.open_doltlite(Path(path), "full")
    row_count = filled_database.fill(connection, stored_bytes)
    connection.execute("select dolt_commit('-A', '-m', 'filled')").fetchone()
    spent = []
    for n, key in enumerate(filled_database.keys(row_count, count)):
        connection.execute("update item set k = k + 1 where id = ?", (key,))
        connection.execute("select dolt_commit('-A', '-m', 'one')").fetchone()
        began = time.perf_counter()
        connection.execute(f"select dolt_branch('b{n}')").fetchone()
        spent.append(time.perf_counter() - began)
    connection.close()
    return spent


def dosql_branches(path: str, stored_bytes: int, count: int) -> list[float]:
    connection = contenders.open_dosql(Path(path), "full")
    row_count = filled_database.fill(connection, stored_bytes)
    spent = []
    for n, key in enumerate(filled_database.keys(row_count, count)):
        connection.execute("update item set k = k + 1 where id = ?", (key,))
        began = time.perf_counter()
        connection.execute(f"create branch b{n}")
        spent.append(time.perf_counter() - began)
    connection.close()
    return spent


def compare_branches(how: Settings) -> Table:
    table = Table("A branch of 10 MB, after a commit", ("contender", "p50 ms", "p99 ms"))
    for name, make in (("dosql", dosql_branches), ("doltlite", doltlite_branches)):
        path = str(how.scratch / f"branches-{name}.db")
        spent = percentiles(run_alone(make, path, 10 * MEGABYTE, how.scaled(50, 10)).value)
        table.add(name, spent.p50 / 1000, spent.p99 / 1000)
    table.notes.append("DoltLite's are a name for a commit; ours are also synced to the disk")
    return table


def main() -> None:
    with settings(__doc__) as how:
        if not contenders.has_doltlite():
            raise SystemExit("doltlite is not installed: pip install doltlite")
        finish("doltlite", "DoltLite", [compare_writes(how), compare_branches(how)], how)


if __name__ == "__main__":
    main()

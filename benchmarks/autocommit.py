"""Autocommit writes: one INSERT or one UPDATE a commit, at each durability, history on.

The anchor is the standard library's sqlite3 at the same durability. DoSQL keeps every one of these
commits; the others keep none.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import contenders
from measure import (
    Settings,
    Table,
    alternate,
    finish,
    latencies,
    percentiles,
    ratio,
    run_alone,
    settings,
)

DURABILITIES = ("full", "strict", "normal", "off")
CREATE = "create table t(id integer primary key, k integer, body text)"
INSERT = "insert into t(k, body) values (?, ?)"
UPDATE = "update t set k = k + 1 where id = ?"
BODY = "a row of ordinary length, such as an application writes all day long"
ROWS = 1000
AIM = 0.9


def writer(connection: Any, write: str) -> Callable[[], object]:
    """One autocommit write a call."""
    execute, numbers = connection.execute, itertools.count()
    if write == "INSERT":
        return lambda: execute(INSERT, (next(numbers), BODY))
    connection.execute("begin")
    connection.executemany(INSERT, [(n, BODY) for n in range(ROWS)])
    connection.execute("commit")
    return lambda: execute(UPDATE, (next(numbers) * 37 % ROWS + 1,))


def repeated(write: Callable[[], object], count: int) -> Callable[[], None]:
    def work() -> None:
        for _ in range(count):
            write()

    return work


def compare(durability: str, how: Settings) -> tuple[Table, Table]:
    speeds = Table(
        f"durability={durability}: throughput",
        ("write", "sqlite3 us", "apsw us", "dosql us", "apsw", "dosql"),
    )
    tails = Table(
        f"durability={durability}: single commits",
        ("write", "contender", "p50 us", "p95 us", "p99 us", "longest us"),
    )
    slow = durability in ("full", "strict")
    count = how.scaled(400 if slow else 4000, 100)
    for write in ("INSERT", "UPDATE"):
        open_now, singles = [], {}
        for name, opener in contenders.OPENERS.items():
            connection = opener(how.scratch / f"{name}-{durability}-{write}.db", durability)
            connection.execute(CREATE)
            open_now.append(connection)
            singles[name] = writer(connection, write)
        works = {name: repeated(single, count) for name, single in singles.items()}
        timings = alternate(works, count, rounds=how.rounds(11))
        anchor = timings["sqlite3"]
        speeds.add(
            write,
            *(timings[name].microseconds for name in contenders.OPENERS),
            ratio(timings["apsw"].speed_against(anchor)),
            ratio(timings["dosql"].speed_against(anchor), AIM),
        )
        for name, single in singles.items():
            told = percentiles(latencies(single, how.scaled(2000 if slow else 10_000, 200)))
            tails.add(write, name, told.p50, told.p95, told.p99, told.longest)
        for connection in open_now:
            connection.close()
    speeds.notes.append("ratios: how many times as fast as the standard library's sqlite3")
    return speeds, tails


def alone(name: str, path: str, durability: str, count: int, rounds: int) -> list[float]:
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


def against_doltlite(how: Settings) -> Table:
    table = Table(
        "DoltLite: INSERT, each contender alone in its process",
        ("durability", "contender", "us a commit", "of sqlite3's speed", "peak memory MB"),
    )
    count, rounds = how.scaled(500, 100), how.rounds(7)
    for durability in ("full", "off"):
        anchor = None
        for name in ("sqlite3", "dosql", "doltlite", "doltlite + dolt_commit"):
            path = how.scratch / f"alone-{name}-{durability}.db"
            told = run_alone(alone, name, str(path), durability, count, rounds)
            microseconds = statistics.median(told.value) / count * 1e6
            anchor = anchor or microseconds
            speed = ratio(anchor / microseconds)
            table.add(durability, name, microseconds, speed, told.peak_bytes / 1e6)
    table.notes.append(
        "DoltLite keeps nothing of a SQLite commit in its history before `dolt_commit` records it; "
        "its `synchronous` NORMAL syncs as often as FULL (counted), so only FULL and OFF compare"
    )
    return table


def main() -> None:
    with settings(__doc__) as how:
        tables = [table for durability in DURABILITIES for table in compare(durability, how)]
        if contenders.has_doltlite():
            tables.append(against_doltlite(how))
        finish("autocommit", "Autocommit writes", tables, how)


if __name__ == "__main__":
    main()

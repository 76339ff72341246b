"""Autocommit writes: one INSERT or one UPDATE a commit, at each durability, history on.

The anchor is the standard library's sqlite3 at the same durability. DoSQL keeps every one of these
commits; the others keep none. At `normal` and `off` commits come so fast that a companion process
captures them; the first commits of a database, before it is there, are timed on their own.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
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
    count = how.scaled(400 if slow else 20_000, 100)
    for write in ("INSERT", "UPDATE"):
        open_now, singles = [], {}
        for name, opener in contenders.OPENERS.items():
            connection = opener(how.scratch / f"{name}-{durability}-{write}.db", durability)
            connection.execute(CREATE)
            open_now.append(connection)
            singles[name] = writer(connection, write)
        works = {name: repeated(single, count) for name, single in singles.items()}
        timings = alternate(works, count, rounds=how.rounds(11), warm_ups=1 if slow else 3)
        anchor = timings["sqlite3"]
        speeds.add(
            write,
            *(timings[name].microseconds for name in contenders.OPENERS),
            ratio(timings["apsw"].speed_against(anchor)),
            ratio(timings["dosql"].speed_against(anchor), None if durability == "off" else AIM),
        )
        for name, single in singles.items():
            told = percentiles(latencies(single, how.scaled(2000 if slow else 10_000, 200)))
            tails.add(write, name, told.p50, told.p95, told.p99, told.longest)
        for connection in open_now:
            connection.close()
    speeds.notes.append("ratios: how many times as fast as the standard library's sqlite3")
    if durability == "off":
        speeds.notes.append(
            "not at equal durability: sqlite3 and apsw run with synchronous=OFF, DoSQL's `off` "
            "does what `normal` does"
        )
    return speeds, tails


def first_commits(how: Settings) -> Table:
    """So many commits right after a database was made, at `normal`."""
    table = Table(
        "durability=normal: the first commits of a new database",
        ("write", "commits", "sqlite3 us", "dosql us", "dosql"),
    )
    for count in (how.scaled(1000, 100), how.scaled(10_000, 100), how.scaled(50_000, 100)):
        for write in ("INSERT", "UPDATE"):
            spent: dict[str, list[float]] = {"sqlite3": [], "dosql": []}
            for number in range(how.rounds(5)):
                for name, seconds in spent.items():
                    path = how.scratch / f"first-{name}-{write}-{count}-{number}.db"
                    connection = contenders.OPENERS[name](path, "normal")
                    connection.execute(CREATE)
                    work = repeated(writer(connection, write), count)
                    began = time.perf_counter()
                    work()
                    seconds.append(time.perf_counter() - began)
                    connection.close()
            sqlite, dosql = (statistics.median(seconds) for seconds in spent.values())
            table.add(
                write, count, sqlite / count * 1e6, dosql / count * 1e6, ratio(sqlite / dosql, AIM)
            )
    return table


def main() -> None:
    with settings(__doc__) as how:
        tables = [table for durability in DURABILITIES for table in compare(durability, how)]
        tables.append(first_commits(how))
        finish("autocommit", "Autocommit writes", tables, how)


if __name__ == "__main__":
    main()

"""Autocommit writes: one INSERT or one UPDATE a commit, at each durability, history on.

The anchor is the standard library's sqlite3 at the same durability. DoSQL keeps every one of these
commits; the others keep none.
"""

from __future__ import annotations

import itertools
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


def main() -> None:
    with settings(__doc__) as how:
        tables = [table for durability in DURABILITIES for table in compare(durability, how)]
        finish("autocommit", "Autocommit writes", tables, how)


if __name__ == "__main__":
    main()

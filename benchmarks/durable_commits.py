"""Many writers at once, every commit durable: 16 threads of one process, and 4 processes.

Each writer commits single-row transactions for a fixed time and counts the ones that returned. What
is shown: commits per second, how evenly the writers shared, and whether anyone met "database is
locked".
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import contenders
from measure import (
    Percentiles,
    Settings,
    Table,
    finish,
    percentiles,
    ratio,
    run_together,
    settings,
)

THREADS = 16
PROCESSES = 4
CREATE = "create table t(id integer primary key, writer integer, n integer)"
INSERT = "insert into t(writer, n) values (?, ?)"
START_AFTER_SECONDS = 1.5
SPEED_AIM = 2.0
FAIRNESS_AIM = 0.8


class Writer:
    """One writer's count, single times and errors."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.seconds: list[float] = []
        self.errors: list[str] = []

    def write_until(self, connection: Any, deadline: float) -> None:
        clock = time.perf_counter
        execute, number, seconds = connection.execute, self.number, self.seconds
        n = 0
        while True:
            began = clock()
            if began >= deadline:
                return
            try:
                execute(INSERT, (number, n))
            except Exception as error:
                self.errors.append(str(error))
                continue
            seconds.append(clock() - began)
            n += 1


def in_threads(opener: Callable[..., Any], path: Path, durability: str, run_seconds: float) -> Any:
    first = opener(path, durability)
    first.execute(CREATE)
    connections = [opener(path, durability) for _ in range(THREADS)]
    writers = [Writer(number) for number in range(THREADS)]
    deadline = time.perf_counter() + run_seconds
    threads = [
        threading.Thread(target=writer.write_until, args=(connection, deadline))
        for writer, connection in zip(writers, connections, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (stored,) = first.execute("select count(*) from t").fetchone()
    for connection in [first, *connections]:
        connection.close()
    return writers, stored


def in_own_process(
    name: str, path: str, durability: str, number: int, start_at: float, run_seconds: float
) -> Any:
    """One writer process; all begin at the same moment of the wall clock."""
    connection = contenders.OPENERS[name](Path(path), durability)
    writer = Writer(number)
    time.sleep(max(0.0, start_at - time.time()))
    writer.write_until(connection, time.perf_counter() + run_seconds)
    connection.close()
    return [writer.seconds, writer.errors]


def in_processes(name: str, path: Path, durability: str, run_seconds: float) -> Any:
    opener = contenders.OPENERS[name]
    first = opener(path, durability)
    first.execute(CREATE)
    first.close()
    start_at = time.time() + START_AFTER_SECONDS
    calls = [
        (in_own_process, (name, str(path), durability, number, start_at, run_seconds))
        for number in range(PROCESSES)
    ]
    writers = []
    for number, told in enumerate(run_together(calls)):
        writer = Writer(number)
        writer.seconds, writer.errors = told.value
        writers.append(writer)
    last = opener(path, durability)
    (stored,) = last.execute("select count(*) from t").fetchone()
    last.close()
    return writers, stored


def add_rows(
    table: Table,
    runs: dict[tuple[str, str], list[Any]],
    run_seconds: float,
    speed_aim: float | None,
) -> None:
    """One row a contender: the median run by throughput, compared round by round."""
    per_second = {
        key: [sum(len(w.seconds) for w in writers) / run_seconds for writers, _ in rounds]
        for key, rounds in runs.items()
    }
    for (name, durability), rounds in runs.items():
        speeds = per_second[name, durability]
        middle = sorted(range(len(speeds)), key=speeds.__getitem__)[len(speeds) // 2]
        writers, _ = rounds[middle]
        counts = [len(writer.seconds) for writer in writers]
        told: Percentiles = percentiles([s for writer in writers for s in writer.seconds])
        against = statistics.median(
            ours / theirs
            for ours, theirs in zip(speeds, per_second["sqlite3", "full"], strict=True)
        )
        lost = sum(stored - sum(len(w.seconds) for w in writers) for writers, stored in rounds)
        durable_ours = name == "dosql" and durability in ("full", "strict")
        table.add(
            f"{name} {durability}",
            statistics.median(speeds),
            ratio(against, speed_aim if (name, durability) == ("dosql", "full") else None),
            ratio(min(counts) / max(counts), FAIRNESS_AIM if durable_ours else None),
            told.p50 / 1000,
            told.p99 / 1000,
            told.longest / 1000,
            sum(len(w.errors) for writers, _ in rounds for w in writers),
            lost,
        )


HEADERS = (
    "contender",
    "commits/s",
    "of sqlite3 FULL",
    "slowest / fastest writer",
    "p50 ms",
    "p99 ms",
    "longest ms",
    "errors",
    "stored - acknowledged",
)
CASES = (
    ("sqlite3", "full"),
    ("apsw", "full"),
    ("dosql", "full"),
    ("dosql", "strict"),
    ("sqlite3", "normal"),
    ("dosql", "normal"),
)


def compare(how: Settings) -> list[Table]:
    run_seconds, rounds = how.scaled(5, 1), how.rounds(3)
    threads = Table(f"{THREADS} threads, one connection each, single-row commits", HEADERS)
    processes = Table(f"{PROCESSES} processes, one connection each, single-row commits", HEADERS)
    by_threads: dict[tuple[str, str], list[Any]] = {case: [] for case in CASES}
    by_processes: dict[tuple[str, str], list[Any]] = {case: [] for case in CASES}
    for turn in range(rounds):
        for name, durability in CASES:
            path = how.scratch / f"threads-{name}-{durability}-{turn}.db"
            opener = contenders.OPENERS[name]
            by_threads[name, durability].append(in_threads(opener, path, durability, run_seconds))
            path = how.scratch / f"processes-{name}-{durability}-{turn}.db"
            by_processes[name, durability].append(in_processes(name, path, durability, run_seconds))
    add_rows(threads, by_threads, run_seconds, SPEED_AIM)
    add_rows(processes, by_processes, run_seconds, None)
    threads.notes.append(f"{rounds} runs of {run_seconds} s each, in alternation")
    return [threads, processes]


def main() -> None:
    with settings(__doc__) as how:
        finish("durable_commits", "Concurrent durable commits", compare(how), how)


if __name__ == "__main__":
    main()

"""Reading and writing at once: 8 threads, 4 reads to every durable write, with and without a slow
reader that keeps one snapshot open all the while.
"""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import contenders
import filled_database
from measure import Settings, Table, finish, percentiles, ratio, settings

MEGABYTE = 1_000_000
THREADS = 8
READS_PER_WRITE = 4
UPDATE = "update item set k = k + 1 where id = ?"


class Client:
    """One thread's work and what it saw."""

    def __init__(self, connection: Any, row_count: int, seed: int) -> None:
        self.connection = connection
        self.row_count = row_count
        self.chance = random.Random(seed)
        self.read_seconds: list[float] = []
        self.write_seconds: list[float] = []
        self.errors: list[str] = []

    def work_until(self, deadline: float) -> None:
        clock, execute = time.perf_counter, self.connection.execute
        turn = 0
        while (began := clock()) < deadline:
            turn += 1
            key = self.chance.randint(1, self.row_count)
            writes = turn % (READS_PER_WRITE + 1) == 0
            try:
                execute(UPDATE if writes else filled_database.POINT_READ, (key,)).fetchall()
            except Exception as error:
                self.errors.append(str(error))
                continue
            (self.write_seconds if writes else self.read_seconds).append(clock() - began)


def run(
    opener: Callable[..., Any], path: Path, row_count: int, run_seconds: float, slow_reader: bool
) -> list[Client]:
    clients = [Client(opener(path, "full"), row_count, seed) for seed in range(THREADS)]
    held = opener(path, "full")
    if slow_reader:
        held.execute("begin")
        held.execute("select count(*) from item where id < 100").fetchall()
    deadline = time.perf_counter() + run_seconds
    threads = [threading.Thread(target=client.work_until, args=(deadline,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if slow_reader:
        held.execute("rollback")
    for connection in [held, *(client.connection for client in clients)]:
        connection.close()
    return clients


def compare(how: Settings, slow_reader: bool) -> Table:
    table = Table(
        f"{THREADS} threads, durability=full, {'with' if slow_reader else 'without'} a slow reader",
        (
            "contender",
            "operations/s",
            "of sqlite3",
            "read p50 us",
            "read p99 us",
            "write p50 us",
            "write p95 us",
            "write p99 us",
            "slowest / fastest thread",
            "errors",
        ),
    )
    run_seconds, rounds = how.scaled(5, 1), how.rounds(5)
    paths: dict[str, Path] = {}
    runs: dict[str, list[list[Client]]] = {}
    for name, opener in contenders.OPENERS.items():
        paths[name] = how.scratch / f"mixed-{name}-{slow_reader}.db"
        connection = opener(paths[name], "off")
        row_count = filled_database.fill(connection, how.scaled(100, 10) * MEGABYTE)
        connection.close()
        runs[name] = []
    for _ in range(rounds):
        for name, opener in contenders.OPENERS.items():
            runs[name].append(run(opener, paths[name], row_count, run_seconds, slow_reader))
    speeds = {
        name: [sum(map(operation_count, clients)) / run_seconds for clients in per_round]
        for name, per_round in runs.items()
    }
    for name, per_round in runs.items():
        clients = [client for clients in per_round for client in clients]
        reads = percentiles([s for client in clients for s in client.read_seconds])
        writes = percentiles([s for client in clients for s in client.write_seconds])
        pairs = zip(speeds[name], speeds["sqlite3"], strict=True)
        table.add(
            name,
            statistics.median(speeds[name]),
            ratio(statistics.median(ours / theirs for ours, theirs in pairs)),
            reads.p50,
            reads.p99,
            writes.p50,
            writes.p95,
            writes.p99,
            ratio(statistics.median(evenness(clients) for clients in per_round)),
            sum(len(client.errors) for client in clients),
        )
    return table


def operation_count(client: Client) -> int:
    return len(client.read_seconds) + len(client.write_seconds)


def evenness(clients: list[Client]) -> float:
    counts = [len(client.write_seconds) for client in clients]
    return min(counts) / max(counts)


def main() -> None:
    with settings(__doc__) as how:
        tables = [compare(how, slow_reader) for slow_reader in (False, True)]
        finish("mixed", "Mixed reading and writing", tables, how)


if __name__ == "__main__":
    main()

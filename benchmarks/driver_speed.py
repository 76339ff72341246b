"""How fast the driver is: against the standard library's sqlite3 and against apsw without a driver;
and the asynchronous one against aiosqlite and apsw's own.

Each case runs on files of its own, in WAL mode with synchronous=NORMAL: equal durability, and DoSQL
keeps history. Contenders take turns in one process in short rounds, so that a slow moment of the
machine hits all of them. A ratio is the standard library's time divided by ours, the median over
rounds side by side: by the clock on the wall, and by the processor time of the whole process, in
which other programs on the machine do not count. Percentiles are of the mean operation of a round.

    python benchmarks/driver_speed.py [--quick] [--write]
    DRIVER_SPEED_CASES=point_read,bulk_insert python benchmarks/driver_speed.py
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coroutine_cases import ASYNC_CASES, async_contenders
from driver_cases import CASES, CONTENDERS
from measure import Percentiles, Settings, Table, finish, percentiles, ratio, run_alone, settings

AIMS = {
    "point_read": 1.15,
    "fetchall_1000": 1.4,
    "bulk_insert": 1.2,
    "autocommit_insert": 0.9,
    "insert_and_commit": 0.9,
}


# -- taking turns ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Spent:
    """What one contender's rounds took. Units: seconds for one operation."""

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def percentiles(self) -> Percentiles:
        return percentiles(self.wall)

    def ratios(self, anchor: Spent) -> tuple[float, float]:
        """How many times as fast as `anchor`, by the wall's clock and by the processor's."""
        return (
            statistics.median(a / b for a, b in zip(anchor.wall, self.wall, strict=True)),
            statistics.median(a / b for a, b in zip(anchor.processor, self.processor, strict=True)),
        )

    def mean_ratio(self, anchor: Spent) -> float:
        """By the processor's clock over all rounds: those in which history is captured count."""
        return sum(anchor.processor) / sum(self.processor)

    @contextlib.contextmanager
    def timed(self, operations: int, *, counts: bool) -> Any:
        gc.collect()
        gc.disable()
        wall, processor = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            processor_spent = time.process_time() - processor
            wall_spent = time.perf_counter() - wall
            gc.enable()
        if counts:
            self.wall.append(wall_spent / operations)
            self.processor.append(processor_spent / operations)


def measure(case: Any, rounds: int, scratch: Path) -> dict[str, Spent]:
    """The rounds of every contender that can do the case; the first of each warms caches."""
    runs = {}
    for contender in CONTENDERS:
        with contextlib.suppress(NotImplementedError):
            file = scratch / f"{case.__name__}-{contender.name.replace(' ', '-')}.db"
            runs[contender.name] = case(contender, str(file))
    spent = {name: Spent() for name in runs}
    for number in range(rounds + 1):
        for name in runs if number % 2 else reversed(runs):
            run, operations = runs[name]
            with spent[name].timed(operations, counts=number > 0):
                run()
    return spent


def wanted(cases: tuple[Any, ...]) -> list[Any]:
    names = os.environ.get("DRIVER_SPEED_CASES", "")
    return [case for case in cases if not names or case.__name__ in names.split(",")]


def driver_table(how: Settings) -> Table:
    names = [contender.name for contender in CONTENDERS]
    table = Table(
        "One operation, against sqlite3",
        (
            "case",
            "sqlite3 us",
            "dosql us p50 / p95 / p99",
            "dosql, wall",
            "dosql, processor",
            "dosql, mean",
            "without history",
            "plain apsw",
        ),
    )
    for case in wanted(CASES):
        spent = measure(case, how.rounds(31), how.scratch)
        anchor, ours = spent["sqlite3"], spent["dosql"]
        told = ours.percentiles()
        wall, processor = ours.ratios(anchor)
        others = [
            f"{spent[name].ratios(anchor)[1]:.2f}x" if name in spent else "" for name in names[2:]
        ]
        table.add(
            case.__name__.replace("_", " "),
            anchor.percentiles().p50,
            f"{told.p50:.2f} / {told.p95:.2f} / {told.p99:.2f}",
            ratio(wall, AIMS.get(case.__name__)),
            ratio(processor, AIMS.get(case.__name__)),
            f"{ours.mean_ratio(anchor):.2f}x",
            *others,
        )
        print(table.as_markdown().splitlines()[-1], flush=True)
    table.notes += [
        "The last two columns are ratios by processor time.",
        "Ratios are medians over rounds. The mean, by processor time, has the rounds in it in "
        "which a thread of the background captures and compresses history; on a machine with a "
        "core to spare the writer does not wait for it.",
    ]
    return table


async def async_table(how: Settings) -> Table:
    connections = await async_contenders(how.scratch)
    names = list(connections)
    anchor_name = names[0]
    table = Table(
        f"One operation of a coroutine, against {anchor_name}",
        ("case", f"{anchor_name} us", *[f"{name} us p50 / p95 / p99, ratio" for name in names[1:]]),
    )
    for case in wanted(ASYNC_CASES):
        spent = {name: Spent() for name in names}
        for number in range(how.rounds(31) + 1):
            for name in names if number % 2 else reversed(names):
                gc.collect()
                wall = time.perf_counter()
                operations = await case(connections[name])
                elapsed = time.perf_counter() - wall
                if number:
                    spent[name].wall.append(elapsed / operations)
                    spent[name].processor.append(elapsed / operations)
        cells: list[object] = [
            case.__name__.removeprefix("async_").replace("_", " "),
            spent[anchor_name].percentiles().p50,
        ]
        for name in names[1:]:
            told = spent[name].percentiles()
            times = spent[name].ratios(spent[anchor_name])[0]
            cells.append(f"{told.p50:.0f} / {told.p95:.0f} / {told.p99:.0f}, {times:.2f}x")
        table.add(*cells)
    for name, connection in connections.items():
        await (connection.aclose() if name == "apsw.aio" else connection.close())
    table.notes.append("The clock on the wall; each read is execute, fetch and close.")
    return table


# -- memory ----------------------------------------------------------------------------------------


def memory_of(name: str, path: str, connection_count: int, row_count: int) -> int:
    """Runs alone: connections opened, and as many rows fetched as one list."""
    contender = next(contender for contender in CONTENDERS if contender.name == name)
    opened = [contender.connect(path) for _ in range(connection_count)]
    sql = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ?) "
        "SELECT i, 'text ' || i FROM n"
    )
    rows = opened[0].execute(sql, (row_count,)).fetchall()
    return len(rows)


def memory_table(how: Settings) -> Table:
    table = Table(
        "Peak memory of a process, MB",
        ("contender", "1 connection", "200 connections", "1 connection, 500,000 rows in a list"),
    )
    for contender in CONTENDERS:
        cells: list[object] = [contender.name]
        for number, (connections, rows) in enumerate(((1, 1), (200, 1), (1, 500_000))):
            path = how.scratch / f"memory-{contender.name.replace(' ', '-')}-{number}.db"
            peak = run_alone(memory_of, contender.name, str(path), connections, rows).peak_bytes
            cells.append(round(peak / 1e6))
        table.add(*cells)
    table.notes.append("Every process imports all contenders, which is most of the first column.")
    return table


def main() -> None:
    with settings(__doc__) as how:
        tables = [driver_table(how), asyncio.run(async_table(how))]
        if "DRIVER_SPEED_CASES" not in os.environ:
            tables.append(memory_table(how))
        finish("driver", "Driver", tables, how)


if __name__ == "__main__":
    main()

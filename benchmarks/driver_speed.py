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
import sqlite3
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import apsw.aio
from measure import Percentiles, Settings, Table, finish, percentiles, ratio, run_alone, settings

import dosql_dbapi
from dosql_dbapi import aio

ROWS = 10_000


class Contender:
    """One driver under test and how it does what the cases need."""

    name: str

    def connect(self, path: str, **options: Any) -> Any:
        raise NotImplementedError

    def commit(self, connection: Any) -> None:
        connection.commit()


class StandardLibrary(Contender):
    name = "sqlite3"
    row = sqlite3.Row

    def connect(self, path: str, **options: Any) -> Any:
        connection = sqlite3.connect(path, **options)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection


class Dosql(Contender):
    name = "dosql"
    row = dosql_dbapi.Row

    def connect(self, path: str, **options: Any) -> Any:
        return dosql_dbapi.connect(path, durability="normal", **options)


class DosqlWithoutHistory(Contender):
    name = "dosql history=False"
    row = dosql_dbapi.Row

    def connect(self, path: str, **options: Any) -> Any:
        connection = dosql_dbapi.connect(path, history=False, **options)
        connection.execute("PRAGMA journal_mode=WAL").fetchall()
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection


class PlainApsw(Contender):
    name = "apsw"

    def connect(self, path: str, **_options: Any) -> Any:
        connection = apsw.Connection(path)
        connection.execute("PRAGMA journal_mode=WAL").fetchall()
        connection.execute("PRAGMA synchronous=NORMAL").fetchall()
        return connection

    def commit(self, connection: Any) -> None:
        connection.execute("COMMIT")


Run = Callable[[], None]


def filled(contender: Contender, path: str, **options: Any) -> Any:
    """A connection to a new database with the table every case uses."""
    connection = contender.connect(path, **options)
    cursor = connection.cursor()
    cursor.execute(
        "CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, price REAL, stock INTEGER)"
    )
    cursor.execute("CREATE INDEX item_name ON item(name)")
    cursor.execute("BEGIN")
    rows = [(i, f"item {i % 997}", i * 0.25, i % 100) for i in range(1, ROWS + 1)]
    cursor.executemany("INSERT INTO item VALUES (?, ?, ?, ?)", rows)
    contender.commit(connection)
    return connection


def point_read(contender: Contender, path: str) -> tuple[Run, int]:
    cursor = filled(contender, path).cursor()
    execute = cursor.execute
    keys = [(i * 7919 % ROWS + 1,) for i in range(2000)]

    def run() -> None:
        for key in keys:
            execute("SELECT id, name, price FROM item WHERE id = ?", key)
            cursor.fetchone()

    return run, len(keys)


def point_read_by_connection(contender: Contender, path: str) -> tuple[Run, int]:
    execute = filled(contender, path).execute
    keys = [(i * 7919 % ROWS + 1,) for i in range(2000)]

    def run() -> None:
        for key in keys:
            execute("SELECT id, name, price FROM item WHERE id = ?", key).fetchone()

    return run, len(keys)


def point_read_with_description(contender: Contender, path: str) -> tuple[Run, int]:
    cursor = filled(contender, path).cursor()
    keys = [(i * 7919 % ROWS + 1,) for i in range(2000)]

    def run() -> None:
        for key in keys:
            cursor.execute("SELECT id, name, price FROM item WHERE id = ?", key)
            cursor.description  # noqa: B018 - asking is what is measured
            cursor.fetchone()

    return run, len(keys)


def read_nothing_with_description(contender: Contender, path: str) -> tuple[Run, int]:
    if contender.name == "apsw":
        raise NotImplementedError("apsw has no description without a row")
    cursor = filled(contender, path).cursor()

    def run() -> None:
        for _ in range(1000):
            cursor.execute("SELECT id, name, price FROM item WHERE id = ?", (-1,))
            cursor.description  # noqa: B018
            cursor.fetchone()

    return run, 1000


def range_fetch(contender: Contender, path: str) -> tuple[Run, int]:
    cursor = filled(contender, path).cursor()

    def run() -> None:
        for start in range(0, 5000, 50):
            sql = "SELECT id, name, price, stock FROM item WHERE id BETWEEN ? AND ?"
            cursor.execute(sql, (start, start + 20)).fetchall()

    return run, 100


def fetchall_1000(contender: Contender, path: str) -> tuple[Run, int]:
    cursor = filled(contender, path).cursor()

    def run() -> None:
        for _ in range(10):
            cursor.execute("SELECT id, name, price, stock FROM item LIMIT 1000").fetchall()

    return run, 10


def iterate_1000(contender: Contender, path: str) -> tuple[Run, int]:
    cursor = filled(contender, path).cursor()

    def run() -> None:
        for _ in range(10):
            for _row in cursor.execute("SELECT id, name, price, stock FROM item LIMIT 1000"):
                pass

    return run, 10


def fetchmany_100(contender: Contender, path: str) -> tuple[Run, int]:
    if contender.name == "apsw":
        raise NotImplementedError("apsw has no fetchmany")
    cursor = filled(contender, path).cursor()

    def run() -> None:
        for _ in range(10):
            cursor.execute("SELECT id, name, price, stock FROM item LIMIT 1000")
            while cursor.fetchmany(100):
                pass

    return run, 10


def row_fetchall_1000(contender: Contender, path: str) -> tuple[Run, int]:
    if contender.name == "apsw":
        raise NotImplementedError("apsw has no Row")
    connection = filled(contender, path)
    connection.row_factory = contender.row  # type: ignore[attr-defined]
    cursor = connection.cursor()

    def run() -> None:
        for _ in range(10):
            rows = cursor.execute("SELECT id, name, price, stock FROM item LIMIT 1000").fetchall()
            for row in rows:
                row["price"]

    return run, 10


def bulk_insert(contender: Contender, path: str) -> tuple[Run, int]:
    connection = filled(contender, path)
    cursor = connection.cursor()
    rows = [(f"item {i % 997}", i * 0.25, i % 100) for i in range(20_000)]

    def run() -> None:
        cursor.execute("DELETE FROM item")
        contender.commit(connection) if contender.name != "apsw" else None
        cursor.execute("BEGIN")
        cursor.executemany("INSERT INTO item(name, price, stock) VALUES (?, ?, ?)", rows)
        contender.commit(connection)

    return run, len(rows)


def insert_in_transaction(contender: Contender, path: str) -> tuple[Run, int]:
    return _writes_in_transaction(
        contender, path, "INSERT INTO item(name, price, stock) VALUES (?, ?, ?)", ("x", 1.5, 3)
    )


def update_in_transaction(contender: Contender, path: str) -> tuple[Run, int]:
    return _writes_in_transaction(
        contender, path, "UPDATE item SET price = price + ? WHERE id = ?", (1.5, 77)
    )


def _writes_in_transaction(
    contender: Contender, path: str, sql: str, parameters: tuple[Any, ...]
) -> tuple[Run, int]:
    connection = filled(contender, path)
    execute = connection.cursor().execute

    def run() -> None:
        execute("BEGIN IMMEDIATE")
        for _ in range(2000):
            execute(sql, parameters)
        contender.commit(connection)

    return run, 2000


def autocommit_insert(contender: Contender, path: str) -> tuple[Run, int]:
    options = {} if contender.name == "apsw" else {"isolation_level": None}
    connection = filled(contender, path, **options)
    execute = connection.cursor().execute

    def run() -> None:
        for _ in range(500):
            execute("INSERT INTO item(name, price, stock) VALUES (?, ?, ?)", ("x", 1.5, 3))

    return run, 500


def insert_and_commit(contender: Contender, path: str) -> tuple[Run, int]:
    connection = filled(contender, path)
    execute = connection.cursor().execute
    begins = contender.name == "apsw"

    def run() -> None:
        for _ in range(500):
            if begins:
                execute("BEGIN")
            execute("INSERT INTO item(name, price, stock) VALUES (?, ?, ?)", ("x", 1.5, 3))
            contender.commit(connection)

    return run, 500


def python_function(contender: Contender, path: str) -> tuple[Run, int]:
    connection = filled(contender, path)

    def plus_one(value: int) -> int:
        return value + 1

    if contender.name == "apsw":
        connection.create_scalar_function("plus_one", plus_one, 1)
    else:
        connection.create_function("plus_one", 1, plus_one)
    cursor = connection.cursor()

    def run() -> None:
        cursor.execute("SELECT sum(plus_one(stock)) FROM item").fetchall()

    return run, ROWS


def text_never_seen(contender: Contender, path: str) -> tuple[Run, int]:
    cursor = filled(contender, path).cursor()
    number = iter(range(10**9))

    def run() -> None:
        for _ in range(1000):
            cursor.execute(f"SELECT id, name FROM item WHERE id = {next(number)}").fetchone()

    return run, 1000


def open_read_close(contender: Contender, path: str) -> tuple[Run, int]:
    keeps_it_open = filled(contender, path)

    def run() -> None:
        for _ in range(20):
            connection = contender.connect(path)
            connection.execute("SELECT name FROM item WHERE id = 5").fetchone()
            connection.close()
        assert keeps_it_open is not None

    return run, 20


CASES = (
    point_read,
    point_read_by_connection,
    point_read_with_description,
    read_nothing_with_description,
    range_fetch,
    fetchall_1000,
    iterate_1000,
    fetchmany_100,
    row_fetchall_1000,
    bulk_insert,
    insert_in_transaction,
    update_in_transaction,
    autocommit_insert,
    insert_and_commit,
    python_function,
    text_never_seen,
    open_read_close,
)
CONTENDERS = (StandardLibrary(), Dosql(), DosqlWithoutHistory(), PlainApsw())
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


# -- asynchronous ----------------------------------------------------------------------------------


async def filled_async(connection: Any) -> None:
    async def execute(sql: str) -> None:
        await (await connection.execute(sql)).fetchall()

    await execute("CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, price REAL)")
    await execute("BEGIN")
    await execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 5000) "
        "INSERT INTO item SELECT i, 'item ' || i, i * 0.25 FROM n"
    )
    await execute("COMMIT")


async def async_point_read(connection: Any) -> int:
    for key in range(1, 301):
        cursor = await connection.execute("SELECT name, price FROM item WHERE id = ?", (key,))
        await cursor.fetchone()
        await closed(cursor)
    return 300


async def async_point_reads_at_once(connection: Any) -> int:
    async def read(key: int) -> None:
        cursor = await connection.execute("SELECT name, price FROM item WHERE id = ?", (key,))
        await cursor.fetchone()
        await closed(cursor)

    await asyncio.gather(*[read(key) for key in range(1, 301)])
    return 300


async def async_fetchall_1000(connection: Any) -> int:
    for _ in range(10):
        cursor = await connection.execute("SELECT id, name, price FROM item LIMIT 1000")
        await cursor.fetchall()
        await closed(cursor)
    return 10


async def async_iterate_1000(connection: Any) -> int:
    for _ in range(10):
        async for _row in await connection.execute("SELECT id, name, price FROM item LIMIT 1000"):
            pass
    return 10


async def async_insert_in_autocommit(connection: Any) -> int:
    for _ in range(100):
        cursor = await connection.execute("INSERT INTO item(name, price) VALUES ('x', 1.5)")
        await closed(cursor)
    return 100


async def closed(cursor: Any) -> None:
    if not isinstance(cursor, apsw.Cursor):  # apsw closes its cursors by itself
        await cursor.close()


ASYNC_CASES: tuple[Callable[[Any], Awaitable[int]], ...] = (
    async_point_read,
    async_point_reads_at_once,
    async_fetchall_1000,
    async_iterate_1000,
    async_insert_in_autocommit,
)


async def async_contenders(scratch: Path) -> dict[str, Any]:
    connections: dict[str, Any] = {}
    with contextlib.suppress(ImportError):
        import aiosqlite

        connections["aiosqlite"] = await aiosqlite.connect(
            scratch / "async-aiosqlite.db", isolation_level=None
        )
    connections["apsw.aio"] = await apsw.Connection.as_async(str(scratch / "async-apsw.db"))
    for connection in connections.values():
        await (await connection.execute("PRAGMA journal_mode=WAL")).fetchall()
        await (await connection.execute("PRAGMA synchronous=NORMAL")).fetchall()
    connections["dosql"] = await aio.connect(
        scratch / "async-dosql.db", isolation_level=None, durability="normal"
    )
    for connection in connections.values():
        await filled_async(connection)
    return connections


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

"""What the asynchronous driver is measured by: its contenders, and what each of them does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import apsw
import apsw.aio

from dosql_dbapi import aio


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

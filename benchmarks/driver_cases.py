"""What the driver is measured by: each contender, and the operations it does in its own way."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import apsw

import dosql_dbapi

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

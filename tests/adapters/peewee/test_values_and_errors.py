"""What Peewee binds and gets back, and what it raises: the same as on SqliteDatabase."""

from __future__ import annotations

import datetime
import decimal
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("peewee")

import peewee
from peewee import (
    BlobField,
    CharField,
    DataError,
    DateField,
    DateTimeField,
    DecimalField,
    FloatField,
    IntegrityError,
    InterfaceError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    TimeField,
    UUIDField,
)

import dosql_dbapi
from peewee_dosql import DoSQLDatabase, DoSQLModel

VALUES = {
    "amount": decimal.Decimal("12.50"),
    "day": datetime.date(2026, 11, 24),
    "at": datetime.datetime(2026, 11, 24, 10, 30, 0, 125000),
    "clock": datetime.time(10, 30),
    "key": uuid.UUID("12345678123456781234567812345678"),
    "raw": b"\0\xff",
    "ratio": 0.1,
    "text": "naïve",
}


class Sample(DoSQLModel):
    amount = DecimalField(decimal_places=2)
    day = DateField()
    at = DateTimeField()
    clock = TimeField()
    key = UUIDField(unique=True)
    raw = BlobField()
    ratio = FloatField()
    text = CharField()


@pytest.fixture(params=["file", "memory", "stock"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    databases: dict[str, Any] = {
        "file": lambda: DoSQLDatabase(tmp_path / "app.db"),
        "memory": lambda: DoSQLDatabase(":memory:"),
        "stock": lambda: peewee.SqliteDatabase(tmp_path / "stock.db"),
    }
    database = databases[request.param]()
    with database.bind_ctx([Sample]), database.connection_context():
        database.create_tables([Sample])
        yield database


def test_values_come_back_as_they_went(database: Any) -> None:
    Sample.create(**VALUES)
    (row,) = Sample.select().dicts()
    found = {name: row[name] for name in VALUES}
    assert found == {**VALUES, "raw": row["raw"]}
    assert bytes(row["raw"]) == VALUES["raw"]


@pytest.mark.parametrize("name", ["amount", "day", "at", "clock"])
def test_values_are_stored_as_by_sqlite3(database: Any, name: str) -> None:
    expected = {"at": "2026-11-24 10:30:00.125000", "amount": "12.50"}
    (stored,) = database.execute_sql("select ?", (VALUES[name],)).fetchone()
    assert stored == expected.get(name, str(VALUES[name]))


def test_a_uuid_alone_is_refused(database: Any) -> None:
    with pytest.raises((InterfaceError, ProgrammingError)):
        database.execute_sql("select ?", (VALUES["key"],))


@pytest.mark.parametrize(
    ("expected", "sql"),
    [
        (IntegrityError, "insert into sample (id) values (1)"),
        (OperationalError, "select * from nowhere"),
        (OperationalError, "selec 1"),
        (ProgrammingError, "select ?"),
        (DataError, "select zeroblob(2000000000) || zeroblob(2000000000)"),
    ],
)
def test_errors_have_peewees_classes(database: Any, expected: type, sql: str) -> None:
    with pytest.raises(expected):
        database.execute_sql(sql).fetchall()


def test_the_code_of_an_error_is_at_hand(tmp_path: Path) -> None:
    database = DoSQLDatabase(tmp_path / "app.db")
    with database.bind_ctx([Sample]), database.connection_context():
        database.create_tables([Sample])
        Sample.create(**VALUES)
        with pytest.raises(IntegrityError, match=r"UNIQUE .*: sample\.key") as raised:
            Sample.create(**VALUES)
    assert raised.value.orig.code == "DB_CONSTRAINT"
    assert raised.value.orig.sqlite_errorname == "SQLITE_CONSTRAINT_UNIQUE"


def test_every_error_of_the_driver_has_a_class_of_peewees() -> None:
    def descendants(error: type[Exception]) -> Iterator[type[Exception]]:
        for child in error.__subclasses__():
            yield child
            yield from descendants(child)

    found = [e for e in descendants(dosql_dbapi.Error) if e.__module__.startswith("dosql_")]
    assert {error.__name__ for error in found} <= set(peewee.EXCEPTIONS)
    assert peewee.EXCEPTIONS["MissingSegmentError"] is peewee.InternalError


def test_an_error_whose_arguments_are_fields_tells_its_message() -> None:
    from dosql_core.errors import HistoryExpiredError
    from dosql_core.identifiers import Lsn

    with (
        pytest.raises(OperationalError, match="LSN 3 is no longer kept") as raised,
        peewee.__exception_wrapper__,
    ):
        raise HistoryExpiredError(Lsn(3), Lsn(7))
    assert raised.value.orig.oldest == 7


def test_history_is_refused_where_there_is_none() -> None:
    database = DoSQLDatabase(":memory:")
    with pytest.raises(NotSupportedError), database.as_of(1):
        pass


def test_transactions_begin_immediate_so_that_writers_wait(tmp_path: Path) -> None:
    database = DoSQLDatabase(tmp_path / "app.db", timeout=30)
    with database.connection_context():
        database.execute_sql("create table counter (n integer)")
        database.execute_sql("insert into counter values (0)")

    def work() -> None:
        with database.connection_context():
            for _ in range(25):
                with database.atomic():
                    ((n,),) = database.execute_sql("select n from counter")
                    database.execute_sql("update counter set n = ?", (n + 1,))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.connection_context():
        assert database.execute_sql("select n from counter").fetchone() == (100,)

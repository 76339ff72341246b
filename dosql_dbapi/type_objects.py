"""PEP 249's type objects and constructors."""

from __future__ import annotations

import datetime
import time
from typing import Any

Date = datetime.date
Time = datetime.time
Timestamp = datetime.datetime
Binary = memoryview


def DateFromTicks(ticks: float) -> datetime.date:
    """The local date of a number of seconds since the epoch."""
    return Date(*time.localtime(ticks)[:3])


def TimeFromTicks(ticks: float) -> datetime.time:
    """The local time of day of a number of seconds since the epoch."""
    return Time(*time.localtime(ticks)[3:6])


def TimestampFromTicks(ticks: float) -> datetime.datetime:
    """The local date and time of a number of seconds since the epoch."""
    return Timestamp(*time.localtime(ticks)[:6])


class TypeObject:
    """Equal to every declared type that belongs to it, by SQLite's rules of affinity."""

    __slots__ = ("_name", "_words")

    def __init__(self, name: str, *words: str) -> None:
        self._name = name
        self._words = words

    def __eq__(self, other: object) -> bool:
        if isinstance(other, TypeObject):
            return self._name == other._name
        if isinstance(other, str):
            declared = other.upper()
            return any(word in declared for word in self._words)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._name)

    def __repr__(self) -> str:
        return f"dosql_dbapi.{self._name}"


STRING: Any = TypeObject("STRING", "CHAR", "CLOB", "TEXT")
BINARY: Any = TypeObject("BINARY", "BLOB", "BINARY")
NUMBER: Any = TypeObject(
    "NUMBER", "INT", "REAL", "FLOA", "DOUB", "NUMERIC", "DECIMAL", "BOOL", "NUMBER"
)
DATETIME: Any = TypeObject("DATETIME", "DATE", "TIME")
ROWID: Any = TypeObject("ROWID", "INTEGER")

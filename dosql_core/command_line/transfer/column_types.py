"""What a column of a file holds: guessed from its values, and how texts become those values."""

from __future__ import annotations

import enum
import json
import math
import re
from collections.abc import Callable, Iterable
from typing import Any

from dosql_core.command_line.reporting import UsageError
from dosql_core.command_line.values import BLOB_LITERAL
from dosql_core.identifiers import SqlValue

# A number that would not come back as it was written is no number: `007` is a postal code.
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]*)")
_REAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")

_SMALLEST_INTEGER, _LARGEST_INTEGER = -(2**63), 2**63 - 1


class ColumnType(enum.Enum):
    """A column's type, from the narrowest that holds its values; the value is SQLite's word."""

    INTEGER = "integer"
    REAL = "real"
    TEXT = "text"
    BLOB = "blob"
    ANY = "any"
    """Whatever SQLite makes of it: nothing is converted and nothing refused."""


def type_named(word: str) -> ColumnType:
    """The type a user names, by any of its usual words.

    Errors: UsageError.
    """
    lowered = word.lower()
    if lowered in _TYPE_WORDS:
        return _TYPE_WORDS[lowered]
    raise UsageError(
        f"{word} is no type", f"the types are {', '.join(t.value for t in ColumnType)}"
    )


_TYPE_WORDS = {
    **{column_type.value: column_type for column_type in ColumnType},
    "int": ColumnType.INTEGER,
    "bigint": ColumnType.INTEGER,
    "boolean": ColumnType.INTEGER,
    "float": ColumnType.REAL,
    "double": ColumnType.REAL,
    "numeric": ColumnType.ANY,
    "string": ColumnType.TEXT,
    "varchar": ColumnType.TEXT,
    "str": ColumnType.TEXT,
    "bytes": ColumnType.BLOB,
}


def guess(values: Iterable[Any]) -> ColumnType:
    """The narrowest type that holds all values without changing one; text where there are none."""
    guessed: ColumnType | None = None
    for value in values:
        if value is None:
            continue
        guessed = widened(guessed, type_of(value))
        if guessed is ColumnType.TEXT:
            break
    return guessed or ColumnType.TEXT


def widened(known: ColumnType | None, found: ColumnType) -> ColumnType:
    """The type that holds what both hold."""
    if known is None or known is found:
        return found
    if {known, found} == {ColumnType.INTEGER, ColumnType.REAL}:
        return ColumnType.REAL
    if ColumnType.BLOB in (known, found):
        return ColumnType.ANY
    return ColumnType.TEXT


def type_of(value: Any) -> ColumnType:
    """The type of one value; a text is looked into."""
    if isinstance(value, bool | int):
        fits = _SMALLEST_INTEGER <= value <= _LARGEST_INTEGER
        return ColumnType.INTEGER if fits else ColumnType.TEXT
    if isinstance(value, float):
        return ColumnType.REAL
    if isinstance(value, bytes):
        return ColumnType.BLOB
    if isinstance(value, str):
        if _WHOLE.fullmatch(value):
            return type_of(int(value)) if len(value) < 21 else ColumnType.TEXT
        if _REAL.fullmatch(value) and math.isfinite(float(value)):
            return ColumnType.REAL
    return ColumnType.TEXT


Converter = Callable[[Any], SqlValue]


def converter_for(column_type: ColumnType) -> Converter:
    """A function from a value as read to the value stored; ValueError when it does not fit."""
    return _CONVERTERS[column_type]


def _to_integer(value: Any) -> SqlValue:
    if value is None or type(value) is int:
        return value
    number = int(value)
    # int() also takes ' 7', '1_000' and '007', none of which would come back
    if isinstance(value, str) and str(number) != value:
        raise ValueError
    if isinstance(value, float) and number != value:
        raise ValueError
    if not _SMALLEST_INTEGER <= number <= _LARGEST_INTEGER:
        raise ValueError
    return number


def _to_real(value: Any) -> SqlValue:
    if value is None or type(value) is float:
        return value
    if isinstance(value, str) and "_" in value:
        raise ValueError
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _to_text(value: Any) -> SqlValue:
    if value is None or type(value) is str:
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bytes):
        return value
    return str(value)


def _to_blob(value: Any) -> SqlValue:
    if value is None or type(value) is bytes:
        return value
    if isinstance(value, str):
        literal = BLOB_LITERAL.fullmatch(value)
        return bytes.fromhex(literal[1] if literal else value)
    raise ValueError


def _as_it_is(value: Any) -> SqlValue:
    if isinstance(value, bool):
        return int(value)
    if value is None or isinstance(value, int | float | str | bytes):
        return value
    return _to_text(value)


_CONVERTERS: dict[ColumnType, Converter] = {
    ColumnType.INTEGER: _to_integer,
    ColumnType.REAL: _to_real,
    ColumnType.TEXT: _to_text,
    ColumnType.BLOB: _to_blob,
    ColumnType.ANY: _as_it_is,
}

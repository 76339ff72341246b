"""Converters: SQLite's values on their way out, by declared type or column name, as in sqlite3."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from typing import Any, Final

from dosql_dbapi.deprecations import warn_of_default

PARSE_DECLTYPES: Final = 1
PARSE_COLNAMES: Final = 2

Converter = Callable[[bytes], Any]

converters: dict[str, Converter] = {}
"""Converters by upper-case name of the type; shared by every connection, as in sqlite3."""


def register_converter(typename: str, converter: Converter, /) -> None:
    """From now on values of SQL type `typename` come out as `converter(bytes)`.

    Only connections that were opened with `detect_types` use it.
    """
    converters[typename.upper()] = converter


def converter_for_column(
    name: str, declared_type: str | None, detect_types: int
) -> Converter | None:
    """The converter that one result column asks for, by its name first, then by its type."""
    if detect_types & PARSE_COLNAMES and "[" in name:
        typename = name[name.index("[") + 1 :].partition("]")[0]
        converter = converters.get(typename.upper())
        if converter is not None:
            return converter
    if detect_types & PARSE_DECLTYPES and declared_type:
        typename = declared_type.partition("(")[0].partition(" ")[0]
        return converters.get(typename.upper())
    return None


def shown_name(name: str, detect_types: int) -> str:
    """The name of a column without the `[type]` that PARSE_COLNAMES reads from it."""
    if detect_types & PARSE_COLNAMES and "[" in name:
        return name.partition("[")[0].removesuffix(" ")
    return name


def convert_row(
    row: Sequence[Any],
    column_converters: Sequence[Converter | None],
    text_factory: Callable[[bytes], Any],
) -> tuple[Any, ...]:
    """One row with its converters and the connection's `text_factory` applied."""
    converted: list[Any] = []
    for value, converter in zip(row, column_converters, strict=True):
        if value is None:
            converted.append(None)
        elif converter is not None:
            stored = _as_stored(value)
            converted.append(converter(stored) if stored else None)
        elif text_factory is not str and type(value) is str:
            converted.append(text_factory(value.encode("utf-8", "surrogateescape")))
        else:
            converted.append(value)
    return tuple(converted)


def _as_stored(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    return repr(value).encode()


def _convert_date(stored: bytes) -> datetime.date:
    warn_of_default("date converter")
    year, month, day = stored.split(b"-")
    return datetime.date(int(year), int(month), int(day))


def _convert_timestamp(stored: bytes) -> datetime.datetime:
    warn_of_default("timestamp converter")
    date_part, time_part = stored.split(b" ")
    year, month, day = map(int, date_part.split(b"-"))
    whole, _, fraction = time_part.partition(b".")
    hours, minutes, seconds = map(int, whole.split(b":"))
    # A fraction of seconds is padded to microseconds; digits beyond them are dropped.
    microseconds = int(f"{fraction.decode():0<6.6}") if fraction else 0
    return datetime.datetime(year, month, day, hours, minutes, seconds, microseconds)


register_converter("date", _convert_date)
register_converter("timestamp", _convert_timestamp)

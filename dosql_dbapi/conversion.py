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
registrations = [0]
"""How often a converter was registered: what was looked up before that may not hold any more."""


def register_converter(typename: str, converter: Converter, /) -> None:
    """From now on values of SQL type `typename` come out as `converter(bytes)`.

    Only connections that were opened with `detect_types` use it.
    """
    converters[typename.upper()] = converter
    registrations[0] += 1


def asked_converters(
    name: str, declared_type: str | None, detect_types: int
) -> tuple[str | None, str | None]:
    """Whose converters a result column asks for: by its name first, then by its declared type."""
    by_name = by_type = None
    if detect_types & PARSE_COLNAMES and "[" in name:
        by_name = name[name.index("[") + 1 :].partition("]")[0].upper()
    if detect_types & PARSE_DECLTYPES and declared_type:
        by_type = declared_type.partition("(")[0].partition(" ")[0].upper()
    return by_name, by_type


def shown_name(name: str, detect_types: int) -> str:
    """The name of a column without the `[type]` that PARSE_COLNAMES reads from it."""
    if detect_types & PARSE_COLNAMES and "[" in name:
        return name.partition("[")[0].removesuffix(" ")
    return name


RowConverter = Callable[[tuple[Any, ...]], tuple[Any, ...]]


def row_converter(
    column_converters: Sequence[tuple[int, Converter]], text_factory: Callable[[bytes], Any]
) -> RowConverter | None:
    """What applies converters and the connection's `text_factory` to a row; None changes nothing.

    Shape: `column_converters` has the index of each column that is converted.
    """
    if text_factory is not str:
        return _converter_of_all_text(column_converters, text_factory)
    if not column_converters:
        return None

    def convert(row: tuple[Any, ...]) -> tuple[Any, ...]:
        converted = list(row)
        for index, converter in column_converters:
            value = converted[index]
            if value is not None:
                stored = _as_stored(value)
                converted[index] = converter(stored) if stored else None
        return tuple(converted)

    return convert


def _converter_of_all_text(
    column_converters: Sequence[tuple[int, Converter]], text_factory: Callable[[bytes], Any]
) -> RowConverter:
    converter_of = dict(column_converters)

    def convert(row: tuple[Any, ...]) -> tuple[Any, ...]:
        converted: list[Any] = []
        for index, value in enumerate(row):
            if index in converter_of and value is not None:
                stored = _as_stored(value)
                converted.append(converter_of[index](stored) if stored else None)
            elif type(value) is str and index not in converter_of:
                converted.append(text_factory(_as_stored(value)))
            else:
                converted.append(value)
        return tuple(converted)

    return convert


def _as_stored(value: Any) -> bytes:
    if type(value) is str:
        try:
            return value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-8", "surrogateescape")
    if isinstance(value, bytes):
        return value
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

"""What a cursor knows of its result besides the rows: names, converters, rows held in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dosql_dbapi.conversion import (
    Converter,
    RowConverter,
    asked_converters,
    converters,
    registrations,
    row_converter,
    shown_name,
)

Description = tuple[tuple[str, None, None, None, None, None, None], ...]
ColumnTypes = tuple[tuple[str, str | None], ...]

_REMEMBERED_MAX = 1024


class Described:
    """The columns of a result; shared by all results that have these columns.

    `columns` are the kernel's pairs of name and declared type; `row_maker` makes a Row of a tuple,
    once somebody asked for Rows.
    """

    __slots__ = ("_asked", "_convert", "_registrations", "columns", "description", "row_maker")

    def __init__(self, columns: ColumnTypes, detect_types: int) -> None:
        self._asked = [
            (index, by_name, by_type)
            for index, (name, declared_type) in enumerate(columns)
            for by_name, by_type in (asked_converters(name, declared_type, detect_types),)
            if by_name or by_type
        ]
        self._convert: RowConverter | None = None
        self._registrations = -1
        self.columns = columns
        self.row_maker: Callable[[tuple[Any, ...]], Any] | None = None
        self.description: Description = tuple(
            [
                (shown_name(name, detect_types), None, None, None, None, None, None)
                for name, _declared_type in columns
            ]
        )

    def converter(self, text_factory: Callable[[bytes], Any]) -> RowConverter | None:
        """What the converters of the columns, as they are registered now, make of a row."""
        if text_factory is not str:
            return row_converter(self._converters(), text_factory)
        if self._registrations != registrations[0]:
            self._registrations = registrations[0]
            self._convert = row_converter(self._converters(), str)
        return self._convert

    def _converters(self) -> list[tuple[int, Converter]]:
        found = [
            (index, converters.get(by_name or "") or converters.get(by_type or ""))
            for index, by_name, by_type in self._asked
        ]
        return [(index, converter) for index, converter in found if converter is not None]


_remembered: dict[tuple[ColumnTypes, int], Described] = {}


def described_columns(columns: ColumnTypes, detect_types: int) -> Described:
    """What there is to know of columns of these names and types, worked out once."""
    key = (columns, detect_types)
    found = _remembered.get(key)
    if found is None:
        if len(_remembered) >= _REMEMBERED_MAX:
            _remembered.clear()
        found = _remembered[key] = Described(columns, detect_types)
    return found


class Held:
    """A result whose rows are in memory: of RETURNING, of our own statements."""

    __slots__ = ("described", "rows")

    def __init__(self, described: Described, rows: Iterable[tuple[Any, ...]]) -> None:
        self.described = described
        self.rows: Iterator[tuple[Any, ...]] = iter(rows)

    @property
    def description(self) -> Description:
        """That of its columns."""
        return self.described.description

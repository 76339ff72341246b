"""What a cursor knows of its result besides the rows: names, converters, rows held in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dosql_dbapi.conversion import Converter, asked_converters, converters, shown_name

Description = tuple[tuple[str, None, None, None, None, None, None], ...]
ColumnTypes = tuple[tuple[str, str | None], ...]


class Described:
    """The columns of a result; shared by executions of one text while the schema stays.

    `columns` are the kernel's pairs of name and declared type; `row_maker` makes a Row of a tuple,
    once somebody asked for Rows.
    """

    __slots__ = ("_asked", "columns", "description", "row_maker")

    def __init__(self, columns: ColumnTypes, detect_types: int) -> None:
        self._asked = [
            (index, by_name, by_type)
            for index, (name, declared_type) in enumerate(columns)
            for by_name, by_type in (asked_converters(name, declared_type, detect_types),)
            if by_name or by_type
        ]
        self.columns = columns
        self.row_maker: Callable[[tuple[Any, ...]], Any] | None = None
        self.description: Description = tuple(
            [
                (shown_name(name, detect_types), None, None, None, None, None, None)
                for name, _declared_type in columns
            ]
        )

    def converters(self) -> list[tuple[int, Converter]]:
        """The converters that columns ask for, as they are registered now, with their indexes."""
        found = [
            (index, converters.get(by_name or "") or converters.get(by_type or ""))
            for index, by_name, by_type in self._asked
        ]
        return [(index, converter) for index, converter in found if converter is not None]


class Held(Described):
    """A result whose rows are in memory: of RETURNING, of our own statements."""

    __slots__ = ("rows",)

    def __init__(
        self, columns: ColumnTypes, detect_types: int, rows: Iterable[tuple[Any, ...]]
    ) -> None:
        super().__init__(columns, detect_types)
        self.rows: Iterator[tuple[Any, ...]] = iter(rows)

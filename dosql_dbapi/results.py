"""What a cursor knows of its result besides the rows: names, converters, rows held in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dosql_dbapi.conversion import Converter, converter_for_column, shown_name

Description = tuple[tuple[str, None, None, None, None, None, None], ...]
ColumnTypes = tuple[tuple[str, str | None], ...]


class Described:
    """The columns of a result; shared by executions of one text while the schema stays.

    `columns` are the kernel's pairs of name and declared type; `row_maker` makes a Row of a tuple,
    once somebody asked for Rows.
    """

    __slots__ = ("_detect_types", "columns", "description", "row_maker")

    def __init__(self, columns: ColumnTypes, detect_types: int) -> None:
        self._detect_types = detect_types
        self.columns = columns
        self.row_maker: Callable[[tuple[Any, ...]], Any] | None = None
        self.description: Description = tuple(
            [
                (shown_name(name, detect_types), None, None, None, None, None, None)
                for name, _declared_type in columns
            ]
        )

    def converters(self) -> tuple[Converter | None, ...]:
        """The converter each column asks for, as they are registered now."""
        return tuple(
            [
                converter_for_column(name, declared_type, self._detect_types)
                for name, declared_type in self.columns
            ]
        )


class Held(Described):
    """A result whose rows are in memory: of RETURNING, of our own statements."""

    __slots__ = ("rows",)

    def __init__(
        self, columns: ColumnTypes, detect_types: int, rows: Iterable[tuple[Any, ...]]
    ) -> None:
        super().__init__(columns, detect_types)
        self.rows: Iterator[tuple[Any, ...]] = iter(rows)

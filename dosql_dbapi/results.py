"""What a cursor knows of its result besides the rows: names, converters, rows held in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from dosql_dbapi.conversion import Converter, converter_for_column, shown_name

Description = tuple[tuple[str, None, None, None, None, None, None], ...]
ColumnTypes = tuple[tuple[str, str | None], ...]


class Described:
    """The columns of a result. `columns` are the kernel's pairs of name and declared type."""

    __slots__ = ("columns", "converters", "description", "row_maker")

    converters: tuple[Converter | None, ...]
    row_maker: Any

    def __init__(self, columns: ColumnTypes, detect_types: int) -> None:
        self.columns = columns
        self.description: Description = tuple(
            [
                (shown_name(name, detect_types), None, None, None, None, None, None)
                for name, _declared_type in columns
            ]
        )

    def use_converters(self, detect_types: int) -> tuple[Converter | None, ...]:
        """The converter of each column; asked for once per execution, since they may change."""
        self.converters = tuple(
            [
                converter_for_column(name, declared_type, detect_types)
                for name, declared_type in self.columns
            ]
        )
        return self.converters


class Held(Described):
    """A result whose rows are in memory: of RETURNING, of our own statements."""

    __slots__ = ("rows",)

    def __init__(
        self, columns: ColumnTypes, detect_types: int, rows: Iterable[tuple[Any, ...]]
    ) -> None:
        super().__init__(columns, detect_types)
        self.rows: Iterator[tuple[Any, ...]] = iter(rows)

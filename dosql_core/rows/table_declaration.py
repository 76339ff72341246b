"""What a table declares of its columns and its key: types, collations, the index of the key."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dosql_core.identifiers import SqlValue
from dosql_core.kernel.connection import run
from dosql_core.kernel.past_connection import declared_column, past_connection
from dosql_core.kernel.past_vfs import Pages
from dosql_core.rows.table_layout import TableLayout

BINARY = "BINARY"
_KEY_INDEX = """
    SELECT s.rootpage, l.name FROM pragma_index_list(?) AS l
    LEFT JOIN sqlite_schema AS s ON s.name = l.name AND s.type = 'index' WHERE l.origin = 'pk'
"""
_KEY_COLUMNS = 'SELECT "desc", coll FROM pragma_index_xinfo(?) WHERE key ORDER BY seqno'
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")


class Affinity(enum.Enum):
    """What SQLite makes of values before it stores or compares them.

    Source: https://sqlite.org/datatype3.html, "Type Affinity".
    """

    TEXT = "text"
    NUMERIC = "numeric"  # INTEGER and REAL compare alike
    BLOB = "blob"


@dataclass(frozen=True, slots=True)
class DeclaredColumn:
    """A column: its type as it was written, '' for none, and what its text is compared by."""

    name: str
    declared_type: str
    collation: str

    @property
    def affinity(self) -> Affinity:
        """What values are made into."""
        words = self.declared_type.upper()
        if "INT" in words:
            return Affinity.NUMERIC
        if any(word in words for word in ("CHAR", "CLOB", "TEXT")):
            return Affinity.TEXT
        return Affinity.BLOB if not words or "BLOB" in words else Affinity.NUMERIC

    def comparable(self, value: SqlValue) -> tuple[bool, SqlValue]:
        """Whether it is known what SQLite compares the column with for this value; and that."""
        if self.affinity is Affinity.TEXT and isinstance(value, (int, float)):
            return isinstance(value, int), str(value)  # how a float is written is SQLite's to say
        if self.affinity is Affinity.NUMERIC and isinstance(value, str):
            if not value.isascii() or not _NUMBER.fullmatch(value):
                return True, value  # text it stays
            try:
                return True, int(value)
            except ValueError:
                number = float(value)
                return True, int(number) if number.is_integer() and abs(number) < 2**53 else number
        return True, value


@dataclass(frozen=True, slots=True)
class KeyOrder:
    """The b-tree in which rows are found by their primary key.

    Shape: `root_page` is the index, or the table itself where it has no rowids; None where the key
           is the rowid. `descending` and `collations` are those of the key's columns.
    """

    root_page: int | None
    descending: tuple[bool, ...]
    collations: tuple[str, ...]

    @property
    def is_searchable(self) -> bool:
        """Whether the order is one of SQLite's own."""
        return set(self.collations) <= _COLLATIONS.keys()

    def compare(self, one: Sequence[SqlValue], other: Sequence[SqlValue], encoding: str) -> int:
        """Below, at or above 0, as SQLite has the keys in order."""
        for mine, its, descends, collation in zip(
            one, other, self.descending, self.collations, strict=False
        ):
            left, right = _rank(mine, collation, encoding), _rank(its, collation, encoding)
            if left != right:
                return -1 if (left < right) != descends else 1
        return 0


@dataclass(frozen=True, slots=True)
class TableDeclaration:
    """The columns of a table, generated ones left out, and its key."""

    columns: tuple[DeclaredColumn, ...]
    key_order: KeyOrder

    def key_columns(self, layout: TableLayout) -> list[DeclaredColumn]:
        """The columns of the primary key."""
        return [self.columns[place] for place in layout.key_places]


def read_declaration(pages: Pages, layout: TableLayout) -> TableDeclaration:
    """What a moment's table declares."""
    with past_connection(pages) as connection:
        columns = tuple(
            DeclaredColumn(name, *declared_column(connection, layout.name, name))
            for name in layout.columns
        )
        return TableDeclaration(columns, _key_order(connection, layout))


def _key_order(connection: Any, layout: TableLayout) -> KeyOrder:
    for root_page, index in run(connection, _KEY_INDEX, (layout.name,)):
        described = run(connection, _KEY_COLUMNS, (index,))[: len(layout.key)]
        return KeyOrder(
            root_page if layout.has_rowid else layout.root_page,
            tuple(bool(descends) for descends, _ in described),
            tuple(collation.upper() for _, collation in described),
        )
    return KeyOrder(None, (), ())


def _rank(value: SqlValue, collation: str, encoding: str) -> tuple[int, Any]:
    if value is None:
        return 0, 0
    if isinstance(value, (int, float)):
        return 1, value
    if isinstance(value, str):
        return 2, _COLLATIONS[collation](value, encoding)
    return 3, value


_Fold = Callable[[str, str], bytes]
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_COLLATIONS: dict[str, _Fold] = {
    BINARY: lambda text, encoding: text.encode(encoding, "surrogateescape"),
    "NOCASE": lambda text, _encoding: text.translate(_LOWER).encode("utf-8", "surrogateescape"),
    "RTRIM": lambda text, encoding: text.rstrip(" ").encode(encoding, "surrogateescape"),
}

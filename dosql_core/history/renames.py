"""What goes by another name at a later moment: tables and columns told by what they hold.

A schema does not say whether a table was renamed, or dropped and another one made. So the first
rows of both are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dosql_core.history.table_copy import rowid_name
from dosql_core.identifiers import SqlValue
from dosql_core.kernel.connection import run
from dosql_core.kernel.past_connection import past_connection
from dosql_core.kernel.past_vfs import Pages
from dosql_core.language.tokens import quoted_name
from dosql_core.rows.row_change import is_same_value
from dosql_core.rows.table_layout import Schema, TableLayout

_ROWS_COMPARED = 200
_Row = tuple[SqlValue, ...]


class TableThen(NamedTuple):
    """A table as it was at a moment."""

    pages: Pages
    layout: TableLayout

    def first_rows(self, columns: Sequence[str]) -> dict[_Row, _Row]:
        """Columns of its first rows by key."""
        layout = self.layout
        rowid = rowid_name(list(layout.columns))
        key = [quoted_name(name) for name in layout.key] or ([rowid] if rowid else [])
        if not key:
            return {}
        wanted = ", ".join([*key, *map(quoted_name, columns)])
        with past_connection(self.pages) as connection:
            rows = run(
                connection,
                f"SELECT {wanted} FROM {quoted_name(layout.name)}"
                f" ORDER BY {', '.join(key)} LIMIT {_ROWS_COMPARED}",
            )
        return {row[: len(key)]: row[len(key) :] for row in rows}


def renamed_tables(before: tuple[Pages, Schema], after: tuple[Pages, Schema]) -> dict[str, str]:
    """Old name to new name of the tables that are gone, and are there under another name.

    A table that was renamed keeps its tree; one that a migration made anew and filled has the same
    columns.
    """
    (pages_before, schema_before), (pages_after, schema_after) = before, after
    gone = _not_in(schema_before, schema_after)
    new = _not_in(schema_after, schema_before)
    renamed: dict[str, str] = {}
    for was in gone:
        new.sort(key=lambda now: now.root_page != was.root_page)
        for now in new:
            if _is_alike(was, now) and _is_held(
                TableThen(pages_before, was), TableThen(pages_after, now)
            ):
                renamed[was.name] = now.name
                new.remove(now)
                break
    return renamed


def is_column_kept(
    before: TableThen, after: TableThen, was_called: str, is_called: str, *, is_likely: bool
) -> bool:
    """Whether a column under a new name holds what another held.

    Where no value tells, it is only if it was likely before.
    """
    was, now = before.first_rows((was_called,)), after.first_rows((is_called,))
    known = {key: value for key, value in was.items() if value != (None,)}
    kept = [value for key, value in known.items() if now.get(key) == value]
    if not is_likely:
        default = after.layout.defaults[after.layout.columns.index(is_called)]
        kept = [value for value in kept if value != (default,)]
    return 2 * len(kept) >= len(known) and (is_likely or bool(kept))


def _not_in(schema: Schema, other: Schema) -> list[TableLayout]:
    """The tables that only the first has, without what virtual tables keep for themselves."""
    known = {name.casefold() for name in other.tables}
    return [
        layout
        for name, layout in schema.tables.items()
        if name.casefold() not in known and not layout.is_shadow
    ]


def _is_alike(was: TableLayout, now: TableLayout) -> bool:
    if was.has_rowid != now.has_rowid or len(was.key) != len(now.key):
        return False
    return was.root_page == now.root_page or (
        was.key == now.key and set(was.columns) <= set(now.columns)
    )


def _is_held(before: TableThen, after: TableThen) -> bool:
    """Whether at least half of the rows are there with at least half of their values.

    Keys do not count: one and two and three are the keys of many tables.
    """
    was, now = before.layout, after.layout
    pairs = [pair for pair in _columns_alike(was, now) if pair[0] not in was.key]
    rows = before.first_rows([old for old, _ in pairs])
    if not rows:  # then only the tree and the names say something
        return was.root_page == now.root_page and 2 * len(
            set(was.columns) & set(now.columns)
        ) >= len(was.columns)
    there = after.first_rows([new for _, new in pairs])
    kept = 0
    for key, row in rows.items():
        if key in there:
            values = [pair for pair in zip(row, there[key], strict=True) if pair[0] is not None]
            kept += 2 * sum(is_same_value(*pair) for pair in values) >= len(values)
    return 2 * kept >= len(rows)


def _columns_alike(was: TableLayout, now: TableLayout) -> list[tuple[str, str]]:
    """The columns of the same name, or else those at the same place."""
    pairs = [(name, name) for name in was.columns if name in now.columns]
    pairs += [
        (old, new)
        for old, new in zip(was.columns, now.columns, strict=False)
        if old not in now.columns and new not in was.columns
    ]
    return pairs

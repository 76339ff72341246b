"""Which commit gave each column of a row the value that it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dosql_core.errors import ProgrammingError
from dosql_core.history.period_rows import comparable_key, may_be_key, storable
from dosql_core.history.row_history import TableHistory
from dosql_core.identifiers import EMPTY_LSN, Lsn, SqlValue
from dosql_core.rows.row_change import ROWID, is_same_value
from dosql_core.storage.page_history import PageHistory
from dosql_core.storage.segment_format import CommitRecord


@dataclass(frozen=True, slots=True)
class BlamedColumn:
    """A column of a row, its value, and the commit that set it.

    Shape: `commit` is None where the value is older than the history that is kept.
    """

    name: str
    value: SqlValue
    commit: CommitRecord | None


def blame_row(
    history: PageHistory, table: TableHistory, key: Sequence[SqlValue], horizon: Lsn
) -> list[BlamedColumn]:
    """What each column of the row of that key holds at `horizon`, and since which commit.

    Nothing where there is no such row.
    Errors: TableNotFoundError; ProgrammingError for a key of another number of columns.
    """
    shape = table.shape(history, horizon, horizon)
    layout = shape.layout
    names = layout.key or (ROWID,)
    if len(key) != len(names):
        raise ProgrammingError(
            f"the key of {layout.name} has {len(names)} columns ({', '.join(names)}), "
            f"and {len(key)} values were given",
        )
    found_key = comparable_key(shape, key)
    if found_key is None:  # numbers for a key of text, which stand for themselves as text
        found_key = tuple(str(value) if isinstance(value, int) else value for value in key)
    if not may_be_key(layout, found_key):
        return []
    oldest = history.oldest_lsn
    versions, reader = table.versions_of(history, found_key, oldest, horizon, horizon)
    current = [version for version in versions if version[3] is None]
    if not current:
        return []
    identity = current[0][0]
    rows: list[tuple[Lsn, Sequence[SqlValue]]] = []
    for who, payload, first, _, before, _ in reversed(versions):
        if who == identity:
            rows.append((first, reader.row(who, payload, first, shape.epoch)))
            if before is None:
                break
    newest = rows[0][1]
    blamed = []
    for place, name in enumerate(layout.columns):
        setter = rows[0][0]
        for first, row in rows[1:]:
            if not is_same_value(row[place], newest[place]):
                break
            setter = first
        is_known = setter > oldest or oldest == EMPTY_LSN
        blamed.append(
            BlamedColumn(
                name, storable(newest[place]), history.commit(setter) if is_known else None
            )
        )
    return blamed

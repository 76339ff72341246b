"""What happened to one row of a table: each commit that changed it, whoever made it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import OperationalError, ProgrammingError, connections

CHANGES_SHOWN_MAX = 100
_NO_SUCH_TABLE = "STMT_TABLE_NOT_FOUND"


@dataclass(frozen=True, slots=True)
class RowChange:
    """What one commit did to the row.

    Shape: `before` and `after` are values by column; None where there was no row.
    """

    lsn: int
    committed_at: str
    author: str | None
    message: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None

    @property
    def action(self) -> str:
        """Whether the row was added, changed or deleted."""
        if self.before is None:
            return "added"
        return "deleted" if self.after is None else "changed"

    @property
    def changed(self) -> list[tuple[str, Any, Any]]:
        """Column, former value and new value, where they differ."""
        before, after = self.before or {}, self.after or {}
        columns = {**after, **before}
        return [
            (column, before.get(column), after.get(column))
            for column in columns
            if before.get(column) != after.get(column)
        ]


@dataclass(frozen=True, slots=True)
class _Version:
    """What a row held from one commit to another. Shape: a `made_by` of None is not known."""

    values: dict[str, Any]
    lsn: int
    made_by: str | None
    end_lsn: int | None
    ended_by: str | None


def changes_of_row(
    model: Any,
    key: Any,
    using: str,
    *,
    last: int | None = None,
    changes_max: int = CHANGES_SHOWN_MAX,
    hidden: Collection[str] = (),
) -> tuple[list[RowChange], int | None]:
    """The changes of a row up to LSN `last`, newest first; and where to read on.

    At most `changes_max` of them, the `hidden` columns left out. The second value is what the next
    call takes as `last`; None when there are no older ones.
    """
    connection = connections[using]
    quote = connection.ops.quote_name
    sql = (
        f"SELECT *, _dosql_end_lsn, _dosql_end_operation FROM {quote(model._meta.db_table)} "
        f"FOR SYSTEM_TIME ALL WHERE {quote(model._meta.pk.column)} = %s ORDER BY _dosql_lsn"
    )
    value = model._meta.pk.get_db_prep_value(key, connection)
    with connection.cursor() as cursor:
        try:
            cursor.execute(sql, [value])
        except (OperationalError, ProgrammingError) as error:
            if getattr(error.__cause__, "code", "") != _NO_SUCH_TABLE:
                raise
            return [], None
        names = [column[0] for column in cursor.description]
        versions = [_version(dict(zip(names, row, strict=True)), hidden) for row in cursor]
        found = [change for change in _changes(versions) if last is None or change[0] <= last]
        shown, older = found[-changes_max:], found[:-changes_max]
        changes = [RowChange(lsn, *_told(cursor, lsn), *rows) for lsn, *rows in reversed(shown)]
    return changes, older[-1][0] if older else None


def _version(row: dict[str, Any], hidden: Collection[str]) -> _Version:
    ours = {name: cell for name, cell in row.items() if name.startswith("_dosql_")}
    values = {name: cell for name, cell in row.items() if name not in ours and name not in hidden}
    return _Version(
        values,
        ours["_dosql_lsn"],
        ours["_dosql_operation"],
        ours["_dosql_end_lsn"],
        ours["_dosql_end_operation"],
    )


def _changes(
    versions: list[_Version],
) -> Iterator[tuple[int, dict[str, Any] | None, dict[str, Any] | None]]:
    """LSN, values before, values after, oldest first. How the oldest came to be may be unknown."""
    before: dict[str, Any] | None = None
    for version in versions:
        if version.made_by is not None:
            yield version.lsn, before, version.values
        before = version.values
        if version.ended_by == "delete" and version.end_lsn is not None:
            yield version.end_lsn, before, None
            before = None


def _told(cursor: Any, lsn: int) -> tuple[str, str | None, str | None]:
    """When a commit was made, by whom, and why."""
    cursor.execute("SELECT committed_at, author, message FROM dosql_log WHERE lsn = %s", [lsn])
    committed_at, author, message = cursor.fetchone()
    return committed_at, author, message

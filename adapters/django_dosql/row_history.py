"""The versions that one row of a table has had, read commit by commit from the past."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import OperationalError, connections

COMMITS_READ_MAX = 200
HISTORY_EXPIRED = "TT_DATA_GAP"


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


def changes_of_row(
    model: Any,
    key: Any,
    using: str,
    *,
    last: int | None = None,
    commits: int = COMMITS_READ_MAX,
    hidden: Collection[str] = (),
) -> tuple[list[RowChange], int | None]:
    """What the commits up to LSN `last` did to a row, newest first; and where to read on.

    Reads `commits` of them, leaving the `hidden` columns out. The second value is the LSN that the
    next call takes as `last`; None when the history is at its end.
    """
    connection = connections[using]
    quote = connection.ops.quote_name
    until = "" if last is None else "WHERE lsn <= %s "
    log_sql = (
        f"SELECT lsn, committed_at, author, message FROM dosql_log {until}"
        "ORDER BY lsn DESC LIMIT %s"
    )
    row_sql = (
        f"SELECT * FROM {quote(model._meta.db_table)} FOR SYSTEM_TIME AS OF LSN %s "
        f"WHERE {quote(model._meta.pk.column)} = %s"
    )
    value = model._meta.pk.get_db_prep_value(key, connection)
    changes: list[RowChange] = []
    with connection.cursor() as cursor:
        cursor.execute(log_sql, [*([] if last is None else [last]), commits + 1])
        log = cursor.fetchall()
        rows = [_row(cursor, row_sql, lsn, value, hidden) for lsn in _kept(cursor, log)]
    has_more = len(rows) > commits
    for at, (lsn, committed_at, author, message) in enumerate(log[: min(len(rows), commits)]):
        # Before the oldest commit of all there was nothing; what was there before the oldest that
        # is still kept, nobody knows.
        before = rows[at + 1] if at + 1 < len(rows) else None
        is_known = at + 1 < len(rows) or len(rows) == len(log)
        if is_known and before != rows[at]:
            changes.append(RowChange(lsn, committed_at, author, message, before, rows[at]))
    return changes, log[commits][0] if has_more else None


def _kept(cursor: Any, log: list[tuple[Any, ...]]) -> Iterator[int]:
    """The LSNs that can still be read."""
    for lsn, *_ in log:
        try:
            cursor.execute("SELECT 1 FROM sqlite_schema FOR SYSTEM_TIME AS OF LSN %s", [lsn])
        except OperationalError as error:
            if getattr(error.__cause__, "code", "") != HISTORY_EXPIRED:
                raise
            return
        yield lsn


def _row(
    cursor: Any, sql: str, lsn: int, key: Any, hidden: Collection[str]
) -> dict[str, Any] | None:
    try:
        cursor.execute(sql, [lsn, key])
    except OperationalError as error:
        if "no such table" in str(error) or "no such column" in str(error):
            return None
        raise
    row = cursor.fetchone()
    if row is None:
        return None
    names = [column[0] for column in cursor.description]
    return {name: cell for name, cell in zip(names, row, strict=True) if name not in hidden}

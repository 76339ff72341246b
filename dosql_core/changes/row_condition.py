"""A condition on events in SQL, which SQLite decides."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from dosql_core.changes.change_event import ROW_EVENTS, ChangeEvent
from dosql_core.errors import SubscriptionFailedError
from dosql_core.identifiers import SqlValue
from dosql_core.kernel.connection import KernelConnection, KernelError, run
from dosql_core.language.tokens import quoted_name


class RowCondition:
    """Whether a row event fulfils an expression of SQL; other events always do.

    Shape:   a column's name is what the row holds, or held when it was deleted; `before.name` and
             `after.name` are the two images, NULL where there is none.
    Threads: one at a time.
    Errors:  SubscriptionFailedError when SQLite does not understand it for a table.
    """

    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._kernel = KernelConnection(":memory:")
        self._query = lru_cache(256)(self._query_for)

    def __call__(self, event: ChangeEvent) -> bool:
        """Ask SQLite."""
        if event.operation not in ROW_EVENTS:
            return True
        before, after = event.before, event.after
        row = before if after is None else after
        assert row is not None
        images: list[Mapping[str, SqlValue]] = [
            row,
            dict.fromkeys(row) if before is None else before,
            dict.fromkeys(row) if after is None else after,
        ]
        query = self._query(*(tuple(image) for image in images))
        try:
            rows = run(self._kernel, query, [v for image in images for v in image.values()])
        except KernelError as error:
            raise SubscriptionFailedError(
                f"the condition {self._expression!r} cannot be asked of table {event.table!r}: "
                f"{error}",
                hint="name the tables whose columns it uses with tables=",
            ) from error
        return bool(rows and rows[0][0])

    def _query_for(
        self, row: tuple[str, ...], before: tuple[str, ...], after: tuple[str, ...]
    ) -> str:
        # The row is nearer to the expression than the images, so plain names are its columns.
        return (
            f"SELECT (SELECT ({self._expression}) FROM (SELECT {_columns(row, 1)})) "
            f"FROM (SELECT {_columns(before, 1 + len(row))}) AS before, "
            f"(SELECT {_columns(after, 1 + len(row) + len(before))}) AS after"
        )


def _columns(names: tuple[str, ...], first: int) -> str:
    return ", ".join(
        f"?{place} AS {quoted_name(name)}" for place, name in enumerate(names, start=first)
    )

"""Why rows changed in a commit, where the connection that made it noted so."""

from __future__ import annotations

import json

from dosql_core.errors import CorruptStoreError
from dosql_core.identifiers import SqlValue
from dosql_core.rows.row_difference import RowDifference


class Causes:
    """The causes of one commit.

    Source: docs/formats/segment.md, "Commit chunks".
    """

    def __init__(self, text: str) -> None:
        self._whole: dict[str, str] = {}
        self._by_rowid: dict[str, dict[SqlValue, str]] = {}
        try:
            for table, told in json.loads(text).items():
                if isinstance(told, str):
                    self._whole[table] = told
                else:
                    self._by_rowid[table] = {
                        rowid: cause for cause, rowids in told.items() for rowid in rowids
                    }
        except (AttributeError, TypeError, ValueError) as error:
            raise CorruptStoreError(f"these are no causes: {text[:80]!r}") from error

    def of(
        self,
        difference: RowDifference,
        rowids: dict[tuple[str, tuple[SqlValue, ...]], int],
    ) -> str | None:
        """Why the row changed; None where that is not known, or the statement named it.

        Shape: `rowids` are those of the rows whose key is another, by table and key.
        """
        table, key = difference.table, difference.key
        cause = self._whole.get(table)
        by_rowid = self._by_rowid.get(table)
        if by_rowid is not None:
            cause = by_rowid.get(rowids.get((table, key), key[0]))
        return cause

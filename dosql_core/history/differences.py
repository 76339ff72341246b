"""What differs between two moments of a database, on one branch or two: schema, tables, rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from dosql_core.errors import TableNotFoundError
from dosql_core.history.renames import TableThen, is_column_kept, renamed_tables
from dosql_core.history.time_travel import ResolvedMoment, SealedHistory
from dosql_core.rows.changed_leaves import TablePair
from dosql_core.rows.page_image import PageImage
from dosql_core.rows.row_change import Operation, RowChange, row_change
from dosql_core.rows.row_difference import RowDifferences, TablePairs
from dosql_core.rows.table_layout import (
    Schema,
    SchemaChange,
    read_schema,
    renamed_columns,
    schema_changes,
)


class Difference:
    """The difference between two moments; it holds both open until it is closed.

    With another one `beside` it, which begins at the same moment, what that has read of it is not
    read again; the two are closed together.
    Threads: one at a time.
    """

    def __init__(
        self,
        database: SealedHistory,
        before: ResolvedMoment,
        after: ResolvedMoment,
        beside: Difference | None = None,
    ) -> None:
        self.before, self.after = before, after
        view = database.known(after.branch_id).view(after.lsn)
        self._own_views = [view]
        if beside is None or beside.before != before:
            first = database.known(before.branch_id).view(before.lsn)
            self._own_views.append(first)
            self._views = [first, view]
            self._schemas = [read_schema(first), read_schema(view)]
            self._image_before = PageImage(first)
        else:
            self._views = [beside._views[0], view]
            self._schemas = [beside._schemas[0], read_schema(view)]
            self._image_before = beside._image_before
        self._rows = RowDifferences(
            self._image_before,
            PageImage(view),
            self._views[0].changed_pages(self._views[1]),
            TablePairs(self._schemas[0].tables, self._schemas[1].tables),
        )

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables of either moment, but not what virtual tables keep for themselves."""
        return tuple(pair.name for pair in self._rows.pairs if not pair.layout.is_shadow)

    def columns(self, table: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The columns a table had and has, generated ones left out; none where it was not."""
        pair = self._rows.tables.by_name.get(table)
        layouts = (None, None) if pair is None else (pair.before, pair.after)
        before, after = (() if layout is None else layout.columns for layout in layouts)
        return before, after

    @property
    def schemas(self) -> tuple[Schema, Schema]:
        """How the database was and is laid out."""
        return self._schemas[0], self._schemas[1]

    def renamed_columns(self, table: str) -> dict[str, str]:
        """Old name to new name, where columns have other names and rows are what they were."""
        pair = self._rows.tables.by_name[table]
        if pair.before is None or pair.after is None:
            return {}
        return renamed_columns(pair.before, pair.after)

    def keeps_rowids(self, table: str) -> bool:
        """Whether rows of a table are the same where their rowids are; VACUUM gives new ones."""
        pair = self._rows.tables.by_name[table]
        return not pair.layout.key and not self._rows.is_renumbered(pair)

    def schema_changes(self) -> list[SchemaChange]:
        """What was made, dropped or altered, in the order in which it is defined."""
        return schema_changes(*self._schemas)

    def rows(self, table: str | None = None) -> Iterator[RowChange]:
        """The rows that differ, of one table or of all.

        Errors: TableNotFoundError when neither moment has the table.
        """
        pairs = self._rows.tables.by_name
        wanted = set(self.tables) if table is None else {self._named(table, pairs)}
        for found in self._rows.of_tables(wanted.__contains__):
            yield row_change(pairs[found.table], found)

    def all_rows(self) -> Iterator[RowChange]:
        """The rows that differ, also of the tables that virtual tables keep for themselves."""
        pairs = self._rows.tables.by_name
        for found in self._rows.of_tables():
            yield row_change(pairs[found.table], found)

    def renamed_tables(self) -> dict[str, str]:
        """Old name to new name of the tables that are there under another name, by what they hold.

        They are compared as two tables each until `follow` is told of them.
        """
        before, after = zip(self._views, self._schemas, strict=True)
        return renamed_tables(before, after)

    def follow(self, renamed: Mapping[str, str]) -> None:
        """Compare tables that have another name now with what they were, under the new name."""
        before, after = (schema.tables for schema in self._schemas)
        self._rows.tables = TablePairs(before, after, renamed=renamed)

    def is_column_kept(
        self, table: str, was_called: str, is_called: str, *, is_likely: bool
    ) -> bool:
        """Whether a column under a new name holds what another held, going by the first rows.

        Where no value tells, it is only if it was likely before.
        """
        pair = self._rows.tables.by_name[table]
        assert pair.before is not None
        assert pair.after is not None
        before, after = (
            TableThen(view, layout)
            for view, layout in zip(self._views, (pair.before, pair.after), strict=True)
        )
        return is_column_kept(before, after, was_called, is_called, is_likely=is_likely)

    def counts(self) -> dict[str, Counter[Operation]]:
        """How many rows of each table were inserted, updated and deleted."""
        counted: dict[str, Counter[Operation]] = {}
        for change in self.rows():
            counted.setdefault(change.table, Counter())[change.operation] += 1
        return counted

    def close(self) -> None:
        """Let go of both moments."""
        for view in self._own_views:
            view.close()

    def __enter__(self) -> Difference:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    @staticmethod
    def _named(table: str, pairs: dict[str, TablePair]) -> str:
        for name in pairs:
            if name.casefold() == table.casefold():
                return name
        known = ", ".join(sorted(pairs)) or "none"
        raise TableNotFoundError(
            f"neither moment has a table {table!r}", hint=f"tables there are: {known}"
        )

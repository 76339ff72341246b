"""Rows of a branch that is written, and of the three moments of its merge, attached beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dosql_core.history.table_copy import NO_NAME, rowid_name
from dosql_core.history.time_travel import ResolvedMoment
from dosql_core.identifiers import SqlValue
from dosql_core.kernel.attached_views import AttachedViews
from dosql_core.kernel.connection import run
from dosql_core.language.tokens import quoted_name
from dosql_core.merging.conflict import Side
from dosql_core.merging.merged_names import MomentNames
from dosql_core.rows.row_change import NamedValues


class AttachedRows:
    """Looks rows up by what they hold, in `main` and at the moments of a merge.

    Shape: tables and columns go by the names of the merge, which `main` must have by then.
    Errors: KernelError of every method for a table or column that is not there.
    """

    def __init__(
        self, kernel: Any, views: AttachedViews, moments: dict[Side, ResolvedMoment]
    ) -> None:
        self.kernel = kernel
        self._views = views
        self._moments = moments
        self.names: Mapping[Side, MomentNames] = {side: MomentNames() for side in moments}
        self._columns: dict[tuple[str, str], tuple[list[str], list[str]]] = {}

    def schema_of(self, side: Side) -> str:
        """The schema under which a side's moment is attached; attached now if it was not."""
        moment = self._moments[side]
        return self._views.schema_of(moment.branch_id, moment.lsn, keep=len(self._moments))

    def attach_all(self) -> None:
        """Attach every moment, which may take two tries: that must not be inside a transaction."""
        for side in self._moments:
            self.schema_of(side)

    def sides(self) -> list[str]:
        """The schemas of ours and theirs."""
        return [self.schema_of(Side.OURS), self.schema_of(Side.THEIRS)]

    def has_table(self, schema: str, table: str) -> bool:
        """Whether a schema has a table of that name."""
        return bool(
            run(
                self.kernel,
                f"SELECT 1 FROM {quoted_name(schema)}.sqlite_schema"
                " WHERE type = 'table' AND name = ? COLLATE NOCASE",
                (self.names_at(schema).own_table(table),),
            )
        )

    def names_at(self, schema: str) -> MomentNames:
        """How an attached moment, or `main`, calls things."""
        sides = (side for side in self._moments if self.schema_of(side) == schema)
        side = next(sides, None) if schema != "main" else None
        return MomentNames() if side is None else self.names[side]

    def source(self, schema: str, table: str) -> str:
        """SQL for a table, as it stands behind FROM."""
        names = self.names_at(schema)
        own = f"{quoted_name(schema)}.{quoted_name(names.own_table(table))}"
        renamed = names.columns_of(table)
        if not renamed:
            return own
        columns, key = self._layout(schema, table)
        was_called = {merged: name for name, merged in renamed.items()}
        rowid = rowid_name(columns)
        wanted = [] if key or rowid is None else [f"{rowid} AS {rowid}"]
        wanted += [
            f"{quoted_name(was_called.get(name, name))} AS {quoted_name(name)}" for name in columns
        ]
        return f"(SELECT {', '.join(wanted)} FROM {own})"

    def row_at(self, side: Side, table: str, key: NamedValues) -> NamedValues | None:
        """The row of that key at a moment; None when it is not there, or its table is not."""
        schema = self.schema_of(side)
        if not self.has_table(schema, table):
            return None
        if NO_NAME in key:
            return None
        where = " AND ".join(f"c.{quoted_name(name)} IS ?" for name in key)
        found = next(self.where(schema, table, where, (*key.values(),)), None)
        return None if found is None else found[1]

    def where(
        self, schema: str, table: str, condition: str, values: tuple[SqlValue, ...]
    ) -> Iterator[tuple[NamedValues, NamedValues]]:
        """Key and columns of the rows `c` of a table that fulfil a condition."""
        columns, key = self._layout(schema, table)
        rowid = rowid_name(columns)
        wanted = [quoted_name(name) for name in columns]
        if not key and rowid is not None:
            wanted.append(f"c.{rowid}")
        for row in run(
            self.kernel,
            f"SELECT {', '.join(wanted)} FROM {self.source(schema, table)} AS c WHERE {condition}",
            values,
        ):
            named = dict(zip(columns, row, strict=False))
            if key or rowid is None:
                yield {name: named[name] for name in key or columns}, named
            else:
                yield {rowid: row[-1]}, named

    def _layout(self, schema: str, table: str) -> tuple[list[str], list[str]]:
        """The columns that can be written, and those of the primary key."""
        known = self._columns.get((schema, table))
        if known is None or schema == "main":
            names = self.names_at(schema)
            renamed = names.columns_of(table)
            listed = run(
                self.kernel,
                "SELECT name, pk FROM pragma_table_xinfo(?, ?) WHERE hidden = 0 ORDER BY cid",
                (names.own_table(table), schema),
            )
            key = sorted((pk, renamed.get(name, name)) for name, pk in listed if pk)
            known = [renamed.get(name, name) for name, _ in listed], [name for _, name in key]
            self._columns[schema, table] = known
        return known

"""What a merge calls the tables and columns of its three moments, where a side renamed some.

With the names told apart from the rest, a table renamed on one side is the same table on both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dosql_core.language.tokens import quoted_name
from dosql_core.merging.conflict import Conflict, Decide, Side, decided_side, schema_conflict
from dosql_core.merging.table_definition import defined_columns
from dosql_core.rows.row_change import NamedValues, RowChange
from dosql_core.rows.table_layout import Schema, TableLayout

_PLACES = (Side.BASE, Side.OURS, Side.THEIRS)


@dataclass(slots=True)
class MomentNames:
    """What the tables and columns of one moment are called in the merge, where that differs.

    Shape: `tables` by the name of the moment; `columns` by the merged name of the table, then by
           the name of the moment; `spelled` is how definitions write a column's merged name.
    """

    tables: dict[str, str] = field(default_factory=dict)
    columns: dict[str, dict[str, str]] = field(default_factory=dict)
    spelled: dict[str, str] = field(default_factory=dict)

    @property
    def are_other(self) -> bool:
        """Whether anything has another name at that moment."""
        return bool(self.tables or self.columns)

    def own_table(self, merged: str) -> str:
        """What the moment calls a table of the merge."""
        folded = merged.casefold()
        return next((own for own, name in self.tables.items() if name.casefold() == folded), merged)

    def columns_of(self, merged: str) -> dict[str, str]:
        """The columns of a table that have another name, by the name of the moment."""
        return self.columns.get(merged, {})

    def renamed(self, change: RowChange, before: MomentNames) -> RowChange:
        """A change that led to this moment, in the names of the merge."""
        table = self.tables.get(change.table, change.table)
        was, now = before.columns_of(table), self.columns_of(table)
        if table == change.table and not was and not now:
            return change
        return replace(
            change,
            table=table,
            key=_renamed(change.key, was if change.after is None else now) or {},
            before=_renamed(change.before, was),
            after=_renamed(change.after, now),
        )

    def beside(self, other: MomentNames) -> MomentNames:
        """Those of a moment between this one and another, which may have names of either."""
        tables = {**other.tables, **self.tables}
        columns = {
            table: {**other.columns_of(table), **self.columns_of(table)}
            for table in other.columns.keys() | self.columns.keys()
        }
        return MomentNames(tables, columns)

    def statements(self) -> list[str]:
        """What brings a database of the moment to the names of the merge."""
        said = [
            f"ALTER TABLE main.{quoted_name(own)} RENAME TO {quoted_name(merged)}"
            for own, merged in self.tables.items()
        ]
        for table, columns in self.columns.items():
            said += [
                f"ALTER TABLE main.{quoted_name(table)}"
                f" RENAME COLUMN {quoted_name(own)} TO {self.spelled[merged]}"
                for own, merged in columns.items()
            ]
        return said


@dataclass(frozen=True, slots=True)
class SideNames:
    """What one side renamed since the base.

    Shape: `tables` by the name in the base; `columns` by table and column of the base.
    """

    schema: Schema
    tables: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def table(self, was: str) -> TableLayout | None:
        """What became of a table of the base."""
        return self.schema.tables.get(self.tables.get(was, was))


@dataclass(slots=True)
class MergedNames:
    """The names of a merge.

    Shape: `of` the three moments. `contested` says of a table, by its merged name, why its
           definition is in dispute: one side renamed what the other dropped. `swapped` says on
           which side columns of a table took one another's names, which no row shows.
    """

    of: dict[Side, MomentNames] = field(
        default_factory=lambda: {side: MomentNames() for side in _PLACES}
    )
    contested: dict[str, str] = field(default_factory=dict)
    swapped: dict[str, Side] = field(default_factory=dict)
    conflicts: list[Conflict] = field(default_factory=list)


def merge_names(base: Schema, ours: SideNames, theirs: SideNames, decide: Decide) -> MergedNames:
    """The names that stand: a new name of one side, or of both the same.

    Two new names are a conflict, and so is a table's that the other side gave to something else.
    """
    naming = _Naming({Side.BASE: SideNames(base), Side.OURS: ours, Side.THEIRS: theirs}, decide)
    for was, layout in base.tables.items():
        if any(was in known for side in (ours, theirs) for known in (side.tables, side.columns)):
            naming.of_table(layout)
    return naming.names


class _Naming:
    """Finds the names, table by table."""

    def __init__(self, sides: Mapping[Side, SideNames], decide: Decide) -> None:
        self.names = MergedNames()
        self._sides, self._decide = sides, decide

    def of_table(self, base: TableLayout) -> None:
        """Enter what a table of the base and its columns are called."""
        was = base.name
        found = {side: at for side, names in self._sides.items() if (at := names.table(was))}
        called = {side: layout.name for side, layout in found.items()}
        taken = {side: self._other_objects(side, name) for side, name in called.items()}
        merged = self._chosen(was, "name", was, called, taken)
        for side, name in called.items():
            if name != merged:
                self.names.of[side].tables[name] = merged
        if len(called) < len(_PLACES):
            if set(called.values()) != {was}:
                self.names.contested[merged] = "one side dropped it, and the other renamed it"
            return
        for column in base.columns:
            self._of_column(was, merged, column, found)

    def _of_column(
        self, was: str, table: str, column: str, found: Mapping[Side, TableLayout]
    ) -> None:
        called: dict[Side, str] = {}
        taken: dict[Side, set[str]] = {}
        spelled: dict[str, str] = {}
        for side, layout in found.items():
            name = self._sides[side].columns.get(was, {}).get(column, column)
            if name in layout.columns:
                called[side] = name
            defined = defined_columns(layout.sql)
            taken[side] = {other.casefold() for other in defined} - {name.casefold()}
            spelled.update({name: defined[name]} if name in defined else {})
        renamed = {*called.values()} - {column}
        if not renamed:
            return
        if any(name.casefold() in others for name in renamed for others in taken.values()):
            return  # to the other side it is another column; then the definitions contradict
        merged = self._chosen(was, f"column {column}", column, called, taken)
        for side, name in called.items():
            if name != merged:
                names = self.names.of[side]
                names.columns.setdefault(table, {})[name] = merged
                names.spelled[merged] = spelled.get(merged, quoted_name(merged))
        if len(called) < len(_PLACES):
            why = f"one side dropped {column}, and the other renamed it"
            self.names.contested.setdefault(table, why)

    def _chosen(
        self,
        table: str,
        part: str,
        was: str,
        called: Mapping[Side, str],
        taken: Mapping[Side, set[str]],
    ) -> str:
        """The name that stands."""
        ours, theirs = called.get(Side.OURS, was), called.get(Side.THEIRS, was)
        wanted = theirs if ours == was else ours

        def is_free(name: str) -> bool:
            return not any(name.casefold() in others for others in taken.values())

        if theirs in (was, wanted) and is_free(wanted):
            return wanted
        why = f"table {table}: its {part} is {ours} here and {theirs} there"
        if not is_free(wanted):
            why += f", and {wanted} is something else on the other side"
        layouts = (self._sides[side].table(table) for side in _PLACES)
        definitions = (None if layout is None else layout.sql for layout in layouts)
        conflict = schema_conflict("table", table, definitions, why, part=part)
        side = decided_side(conflict, self._decide, self.names.conflicts)
        chosen = {Side.THEIRS: theirs, Side.BASE: was}.get(side or Side.OURS, ours)
        if is_free(chosen):
            return chosen
        if side is not None:
            self.names.conflicts.append(conflict)
        return was

    def _other_objects(self, side: Side, name: str) -> set[str]:
        """What a moment has under the names that tables share, but for the table of that name."""
        objects = self._sides[side].schema.objects
        names = {other.casefold() for kind, other in objects if kind != "trigger"}
        return names - {name.casefold()}


def _renamed(row: NamedValues | None, names: Mapping[str, str]) -> NamedValues | None:
    if row is None or not names:
        return row
    return {names.get(name, name): value for name, value in row.items()}

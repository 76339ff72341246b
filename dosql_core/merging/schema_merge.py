"""Three-way merge of schemas: which side's tables stand, what is added to them; no I/O."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from dosql_core.merging.conflict import Conflict, Decide, Side, decided_side, schema_conflict
from dosql_core.merging.merged_names import MergedNames
from dosql_core.merging.table_definition import (
    added_columns,
    column_named,
    is_same_sql,
    is_virtual,
    names_in_common,
)
from dosql_core.rows.table_layout import SETTINGS, Schema, TableLayout

TABLE = "table"
Names = dict[str, str | None]
_DROPPED = {
    Side.OURS: "we dropped it, and they changed rows of it",
    Side.THEIRS: "they dropped it, and we changed rows of it",
}


@dataclass(slots=True)
class TablePlan:
    """What becomes of one table.

    Shape: `origin` is whose table the merge begins with, None when it is dropped; `takes_rows`
           whether rows of the other side go into it. `base_names`, `our_names` and `their_names`
           say what the columns of each moment are called in it, None for one it does not have:
           where one is spelled in other case. `added` are definitions of columns it gets.
    """

    name: str
    origin: Side | None = Side.OURS
    takes_rows: bool = True
    added: list[str] = field(default_factory=list)
    base_names: Names = field(default_factory=dict)
    our_names: Names = field(default_factory=dict)
    their_names: Names = field(default_factory=dict)

    @property
    def changes_schema(self) -> bool:
        """Whether our table does not stay as it is."""
        return self.origin is not Side.OURS or bool(self.added)


@dataclass(frozen=True, slots=True)
class SchemaObject:
    """An index, view or trigger to make; or a virtual table."""

    kind: str
    name: str
    sql: str


@dataclass(slots=True)
class SchemaPlan:
    """What is done to our schema.

    Shape: `is_renamed`: ours has to get names of theirs first. `tables` are those that change on
           either side, by name; `dropped` and `made` the other objects; `virtual` the virtual
           tables that were not dropped; `settings` new values of PRAGMA user_version and
           application_id.
    """

    is_renamed: bool = False
    tables: dict[str, TablePlan] = field(default_factory=dict)
    dropped: list[tuple[str, str]] = field(default_factory=list)
    made: list[SchemaObject] = field(default_factory=list)
    virtual: list[str] = field(default_factory=list)
    settings: dict[str, int] = field(default_factory=dict)
    conflicts: list[Conflict] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether our schema stays as it is."""
        return not (
            self.is_renamed
            or self.dropped
            or self.made
            or self.settings
            or any(plan.changes_schema for plan in self.tables.values())
        )


@dataclass(frozen=True, slots=True)
class ThreeSchemas:
    """The schemas of the three moments under the names of the merge, and whose rows changed.

    Shape: `written_columns(side, table)` are the columns to which a side gave values in rows: new
           ones, or others than a new row has by itself.
    """

    base: Schema
    ours: Schema
    theirs: Schema
    names: MergedNames
    we_changed: Collection[str]
    they_changed: Collection[str]
    written_columns: Callable[[Side, str], set[str]]


def merge_schemas(found: ThreeSchemas, decide: Decide) -> SchemaPlan:
    """What brings their changes of the schema to us.

    An object that only one side changed merges, and one that both changed to the same. A table
    that only one side altered keeps the rows of both. Two sides that added columns to a table
    merge, too. Everything else is a conflict.
    """
    plan = SchemaPlan(is_renamed=found.names.of[Side.OURS].are_other)
    plan.conflicts += found.names.conflicts
    for kind, name in dict.fromkeys(
        [*found.base.objects, *found.theirs.objects, *found.ours.objects]
    ):
        if kind != TABLE or _is_virtual(found, name):
            _plan_object(plan, found, kind, name, decide)
        elif not _is_shadow(found, name):
            _Table(plan, found, name, decide).plan()
    for name in SETTINGS:
        _plan_setting(plan, found, name, decide)
    return plan


def _plan_setting(plan: SchemaPlan, found: ThreeSchemas, name: str, decide: Decide) -> None:
    base, our, their = (
        schema.settings.get(name, 0) for schema in (found.base, found.ours, found.theirs)
    )
    if their in (base, our):
        return
    if our != base:
        numbers = (f"PRAGMA {name} = {value}" for value in (base, our, their))
        conflict = schema_conflict("pragma", name, numbers, _told("pragma", name))
        if decided_side(conflict, decide, plan.conflicts) is not Side.THEIRS:
            return
    plan.settings[name] = their


def is_of_virtual(name: str, table: str) -> bool:
    """Whether a table is one that a virtual table keeps for itself, going by the names."""
    return table.casefold().startswith(f"{name}_".casefold())


def _is_virtual(found: ThreeSchemas, name: str) -> bool:
    definitions = (s.objects.get((TABLE, name)) for s in (found.base, found.ours, found.theirs))
    return any(is_virtual(sql) for sql in definitions if sql)


def _is_shadow(found: ThreeSchemas, name: str) -> bool:
    layouts = (schema.tables.get(name) for schema in (found.base, found.ours, found.theirs))
    return any(layout.is_shadow for layout in layouts if layout is not None)


def _plan_object(
    plan: SchemaPlan, found: ThreeSchemas, kind: str, name: str, decide: Decide
) -> None:
    base, our, their = (
        schema.objects.get((kind, name)) for schema in (found.base, found.ours, found.theirs)
    )
    result = our
    why = _dropped_and_written(found, name) if (kind, base is None) == (TABLE, False) else None
    is_merged = is_same_sql(their, base) or is_same_sql(our, their) or is_same_sql(our, base)
    if why is not None or not is_merged:
        told = _told(kind, name) if why is None else _told(kind, name, why)
        conflict = schema_conflict(kind, name, (base, our, their), told)
        side = decided_side(conflict, decide, plan.conflicts)
        result = {Side.THEIRS: their, Side.BASE: base}.get(side or Side.OURS, our)
    elif is_same_sql(our, base):
        result = their
    if kind == TABLE and result is not None:
        plan.virtual.append(name)
    if is_same_sql(result, our):
        return
    if our is not None:
        plan.dropped.append((kind, name))
    if result is not None:
        plan.made.append(SchemaObject(kind, name, result))


def _dropped_and_written(found: ThreeSchemas, name: str) -> str | None:
    """That a side dropped the virtual table of which the other changed what it keeps."""
    is_ours, is_theirs = ((TABLE, name) in of.objects for of in (found.ours, found.theirs))
    changed = found.they_changed if is_theirs else found.we_changed
    if is_ours == is_theirs or not any(is_of_virtual(name, table) for table in changed):
        return None
    return _DROPPED[Side.OURS if is_theirs else Side.THEIRS]


class _Table:
    """The plan of one table, as it is made."""

    def __init__(self, plan: SchemaPlan, found: ThreeSchemas, name: str, decide: Decide) -> None:
        self._plan, self._found, self._decide, self.name = plan, found, decide, name
        self.base, self.ours, self.theirs = (
            schema.tables.get(name) for schema in (found.base, found.ours, found.theirs)
        )
        self.we_changed_rows = name in found.we_changed
        self.they_changed_rows = name in found.they_changed

    def plan(self) -> None:
        base, ours, theirs = (_sql(at) for at in (self.base, self.ours, self.theirs))
        they_altered = not is_same_sql(base, theirs)
        we_altered = not is_same_sql(base, ours)
        contested = self._found.names.contested.get(self.name)
        swapped = self._found.names.swapped.get(self.name)
        is_touched = {
            Side.THEIRS: we_altered or self.we_changed_rows,
            Side.OURS: they_altered or self.they_changed_rows,
        }
        if swapped is not None and is_touched[swapped]:
            contested = f"{swapped} renamed columns of it to one another's names"
        if contested is not None:
            self._decided(contested)
        elif not they_altered or is_same_sql(ours, theirs):
            if self.ours is None and self.theirs is not None and self.they_changed_rows:
                self._decided(_DROPPED[Side.OURS])
            elif self.ours is not None and (self.we_changed_rows or self.they_changed_rows):
                self._stands(Side.OURS)
        elif not we_altered:
            if self.theirs is None and self.we_changed_rows:
                self._decided(_DROPPED[Side.THEIRS])
            elif self.theirs is None:
                self._stands(None)
            elif not self._adds_their_columns():
                self._stands(Side.THEIRS)
        elif self.base is None or self.ours is None or self.theirs is None:
            self._decided("both sides made it, or one dropped what the other altered")
        elif not self._adds_their_columns() and not self._adds_our_columns():
            self._decided("both sides altered it")

    def _adds_their_columns(self) -> bool:
        """Have our table stand, with their columns, when they did nothing but add columns."""
        return self._adds(Side.OURS, added_columns(_sql(self.base) or "", _sql(self.theirs) or ""))

    def _adds_our_columns(self) -> bool:
        return self._adds(Side.THEIRS, added_columns(_sql(self.base) or "", _sql(self.ours) or ""))

    def _adds(self, side: Side, columns: list[str]) -> bool:
        if not columns:
            return False
        layout = self.ours if side is Side.OURS else self.theirs
        assert layout is not None
        there = {name.casefold() for name in layout.columns}
        if any(column_named(column).casefold() in there for column in columns):
            return False
        self._stands(side, columns)
        return True

    def _decided(self, why: str) -> None:
        side = self._side(why)
        layout = {Side.OURS: self.ours, Side.THEIRS: self.theirs}.get(side or Side.OURS)
        if layout is not None:
            self._stands(side if side is Side.THEIRS else Side.OURS, is_decided=True)
            if side is None or self.base is None or None in (self.ours, self.theirs):
                self._plan.tables[self.name].takes_rows = False
        elif self.ours is not None and side is not None:
            self._stands(None)

    def _side(self, why: str) -> Side | None:
        """Whose table stands; None when nobody decides, and then the conflict is noted."""
        definitions = base, ours, theirs = [_sql(at) for at in (self.base, self.ours, self.theirs)]
        told = _told(TABLE, self.name, why)
        conflict = schema_conflict(TABLE, self.name, definitions, told)
        side = decided_side(conflict, self._decide, self._plan.conflicts)
        if side is not Side.BASE or base is None:
            return side
        if is_same_sql(base, ours) or is_same_sql(base, theirs):
            return Side.OURS if is_same_sql(base, ours) else Side.THEIRS
        self._plan.conflicts.append(conflict)  # what neither side has is not made again
        return None

    def _stands(
        self, origin: Side | None, added: Iterable[str] = (), *, is_decided: bool = False
    ) -> None:
        """Enter the table, beginning with that side's."""
        added = list(added)
        made = TablePlan(self.name, origin, added=added)
        self._plan.tables[self.name] = made
        stands = self.ours if origin is Side.OURS else self.theirs
        if origin is None or stands is None:
            made.origin, made.takes_rows = None, False
            return
        columns = [*stands.columns, *map(column_named, added)]
        made.base_names, made.our_names, made.their_names = (
            {} if layout is None else names_in_common(layout.columns, columns)
            for layout in (self.base, self.ours, self.theirs)
        )
        others_changed = self.they_changed_rows if origin is Side.OURS else self.we_changed_rows
        other = self.theirs if origin is Side.OURS else self.ours
        if other is None:
            made.takes_rows = False
        elif others_changed and not self._has_same_key(other, stands, made):
            made.takes_rows = False
            self._side("its primary key and rows of it changed")
            return
        other_side = Side.THEIRS if origin is Side.OURS else Side.OURS
        lost = [c for c, merged in made.base_names.items() if merged is None]
        written = self._found.written_columns(other_side, self.name) if lost else set()
        lost = [column for column in lost if column in written]
        if lost and not is_decided:
            side = self._side(f"one side dropped {', '.join(lost)}, and the other wrote it in rows")
            if side is other_side:
                self._stands(other_side, is_decided=True)

    def _has_same_key(self, other: TableLayout, stands: TableLayout, made: TablePlan) -> bool:
        names = made.their_names if other is self.theirs else made.our_names
        return [names.get(column) for column in other.key] == list(stands.key)


def _sql(layout: TableLayout | None) -> str | None:
    return None if layout is None else layout.sql


def _told(kind: str, name: str, why: str = "both sides changed it") -> str:
    return f"{kind} {name}: {why}"

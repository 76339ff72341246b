"""Three-way merge of schemas: which side's tables stand, what is added to them; no I/O."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from dosql_core.merging.conflict import Conflict, ConflictKind, Decide, Side
from dosql_core.merging.table_definition import (
    added_columns,
    column_named,
    is_same_sql,
    is_virtual,
    names_in_common,
    renamed_columns,
)
from dosql_core.rows.row_change import NamedValues
from dosql_core.rows.table_layout import SETTINGS, Schema, TableLayout

TABLE = "table"
Names = dict[str, str | None]


@dataclass(slots=True)
class TablePlan:
    """What becomes of one table.

    Shape: `origin` is whose table the merge begins with, None when it is dropped; `takes_rows`
           whether rows of the other side go into it. `base_names`, `our_names` and `their_names`
           say what the columns of each moment are called in it, None for one it does not have.
           `added` are definitions of columns it gets.
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

    Shape: `tables` are those that change on either side, by name; `dropped` and `made` the other
           objects; `virtual` the virtual tables that were not dropped; `settings` new values of
           PRAGMA user_version and application_id.
    """

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
            self.dropped
            or self.made
            or self.settings
            or any(plan.changes_schema for plan in self.tables.values())
        )


@dataclass(frozen=True, slots=True)
class ThreeSchemas:
    """The schemas of the three moments, and whose rows changed in which tables.

    Shape: `updated_columns(side, table)` are the columns that a side gave other values in rows of
           the base; `is_column_kept(side, table, was, name)` says whether `name` of a side holds
           what `was` of the base held.
    """

    base: Schema
    ours: Schema
    theirs: Schema
    we_changed: Collection[str]
    they_changed: Collection[str]
    updated_columns: Callable[[Side, str], set[str]]
    is_column_kept: Callable[[Side, str, str, str], bool]


def merge_schemas(found: ThreeSchemas, decide: Decide) -> SchemaPlan:
    """What brings their changes of the schema to us.

    An object that only one side changed merges, and one that both changed to the same. A table
    that only one side altered keeps the rows of both. Two sides that added columns to a table
    merge, too. Everything else is a conflict.
    """
    plan = SchemaPlan()
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
        if _side(plan, _conflict("pragma", name, *numbers), decide) is not Side.THEIRS:
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
    if not is_same_sql(their, base) and not is_same_sql(our, their):
        if is_same_sql(our, base):
            result = their
        else:
            conflict = _conflict(kind, name, base, our, their)
            side = _side(plan, conflict, decide)
            result = their if side is Side.THEIRS else base if side is Side.BASE else our
    if kind == TABLE and result is not None:
        plan.virtual.append(name)
    if is_same_sql(result, our):
        return
    if our is not None:
        plan.dropped.append((kind, name))
    if result is not None:
        plan.made.append(SchemaObject(kind, name, result))


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
        if not they_altered or is_same_sql(ours, theirs):
            if self.ours is None and self.theirs is not None and self.they_changed_rows:
                self._decided("we dropped it, and they changed rows of it")
            elif self.ours is not None and (self.we_changed_rows or self.they_changed_rows):
                self._stands(Side.OURS)
        elif not we_altered:
            if self.theirs is None and self.we_changed_rows:
                self._decided("they dropped it, and we changed rows of it")
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
        side = _side(self._plan, self._conflict(why), self._decide)
        layout = {Side.OURS: self.ours, Side.THEIRS: self.theirs}.get(side or Side.OURS)
        if layout is not None:
            self._stands(side if side is Side.THEIRS else Side.OURS, is_decided=True)
            if side is None or self.base is None or None in (self.ours, self.theirs):
                self._plan.tables[self.name].takes_rows = False
        elif self.ours is not None and side is not None:
            self._stands(None)

    def _conflict(self, why: str) -> Conflict:
        base, ours, theirs = (_sql(at) for at in (self.base, self.ours, self.theirs))
        return _conflict(TABLE, self.name, base, ours, theirs, why)

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
        made.base_names = self._names(self.base, stands, columns)
        made.our_names = self._names(self.ours, stands, columns)
        made.their_names = self._names(self.theirs, stands, columns)
        others_changed = self.they_changed_rows if origin is Side.OURS else self.we_changed_rows
        other = self.theirs if origin is Side.OURS else self.ours
        if other is None:
            made.takes_rows = False
        elif others_changed and not self._has_same_key(other, stands, made):
            made.takes_rows = False
            _side(
                self._plan, self._conflict("its primary key and rows of it changed"), self._decide
            )
            return
        other_side = Side.THEIRS if origin is Side.OURS else Side.OURS
        lost = [c for c, merged in made.base_names.items() if merged is None]
        if not is_decided and self._found.updated_columns(other_side, self.name) & {*lost}:
            why = f"one side dropped {', '.join(lost)}, and the other changed it in rows"
            side = _side(self._plan, self._conflict(why), self._decide)
            if side is other_side:
                self._stands(side, is_decided=True)

    def _names(
        self, layout: TableLayout | None, stands: TableLayout, columns: list[str]
    ) -> dict[str, str | None]:
        """What the columns of a layout are called in the one that stands."""
        if layout is None:
            return {}
        names = names_in_common(layout.columns, columns)
        if layout is stands:
            return names
        to_base = {new: old for old, new in self._renamed(layout).items()}
        from_base = self._renamed(stands)
        for name in layout.columns:
            was = to_base.get(name, name)
            is_now = from_base.get(was, was)
            if names[name] is None and is_now in columns:
                names[name] = is_now
        return names

    def _renamed(self, layout: TableLayout) -> dict[str, str]:
        """What columns of the base are called in a layout that has them under another name.

        A column dropped, and another made like it in its place, look the same in the definition.
        """
        if self.base is None or layout is self.base:
            return {}
        side = Side.OURS if layout is self.ours else Side.THEIRS
        return {
            was: name
            for was, name in renamed_columns(self.base.sql, layout.sql).items()
            if self._found.is_column_kept(side, self.name, was, name)
        }

    def _has_same_key(self, other: TableLayout, stands: TableLayout, made: TablePlan) -> bool:
        names = made.their_names if other is self.theirs else made.our_names
        return [names.get(column) for column in other.key] == list(stands.key)


def _side(plan: SchemaPlan, conflict: Conflict, decide: Decide) -> Side | None:
    """Whose definition stands; None when nobody decides, and then the conflict is noted."""
    resolution = decide(conflict)
    if resolution is None or resolution.side is None:
        plan.conflicts.append(conflict)
        return None
    return resolution.side


def _sql(layout: TableLayout | None) -> str | None:
    return None if layout is None else layout.sql


def _conflict(
    kind: str,
    name: str,
    base: str | None,
    ours: str | None,
    theirs: str | None,
    why: str = "both sides changed it",
) -> Conflict:
    def sql(text: str | None) -> NamedValues | None:
        return None if text is None else {"sql": text}

    return Conflict(
        ConflictKind.SCHEMA,
        name,
        {"kind": kind},
        sql(base),
        sql(ours),
        sql(theirs),
        detail=f"{kind} {name}: {why}",
    )

"""The one transaction of a merge: schema, rows, constraints; carried out, or tried and undone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dosql_core.errors import IntegrityError
from dosql_core.history.table_copy import TableObject, copy_rows, table_objects
from dosql_core.kernel.connection import KernelError, run
from dosql_core.kernel.error_translation import translate
from dosql_core.language.tokens import quoted_name
from dosql_core.merging.attached_rows import AttachedRows
from dosql_core.merging.conflict import (
    Conflict,
    ConflictKind,
    Decide,
    Resolution,
    RowName,
    RowResult,
    Side,
    schema_conflict,
)
from dosql_core.merging.references import Orphan, orphans
from dosql_core.merging.renamed_schema import rename_in
from dosql_core.merging.row_application import Refused, apply_rows
from dosql_core.merging.schema_merge import SchemaObject
from dosql_core.merging.three_moments import ThreeMoments
from dosql_core.merging.three_way import is_keyless
from dosql_core.merging.virtual_tables import bring_virtual_tables, brought
from dosql_core.rows.row_change import NamedValues

_ROUNDS_MAX = 100
_SQLITE_ERROR = 1  # a statement that makes no sense to SQLite


class MergeTransaction:
    """Writes what two sides make together into a transaction that is open."""

    def __init__(self, rows: AttachedRows, moments: ThreeMoments, decide: Decide) -> None:
        self._rows, self._kernel, self._decide = rows, rows.kernel, decide
        self._moments = moments
        made, self._plan, self.conflicts, self._crossed = moments.put_together(decide)
        rows.names = moments.names.of
        self._results: dict[RowName, RowResult] = {result.name: result for result in made}
        self._refused: dict[RowName, tuple[RowResult, str]] = {}
        self._orphans: dict[RowName, Orphan] = {}
        self._left_out: set[tuple[str, str]] = set()
        self._chosen: dict[str, Side] = {}

    @property
    def row_count(self) -> int:
        """How many rows are written."""
        return len(self._results)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not self._results and self._plan.is_empty and not self._virtual_changed()

    def _virtual_changed(self) -> bool:
        return bool(brought(self._plan, self._moments.tables_they_changed()))

    def write(self) -> None:
        """Write it all; `conflicts` then also has those that only the merged whole shows.

        What `decide` says about those is done, and all of it written again.
        """
        if any(conflict.kind is ConflictKind.SCHEMA for conflict in self.conflicts):
            return  # without its tables the rest would tell little
        run(self._kernel, "SAVEPOINT _dosql_merge")
        for _ in range(_ROUNDS_MAX):
            found = self._written()
            left = [conflict for conflict in found if not self._settled(conflict)]
            if len(left) == len(found):
                break
            run(self._kernel, "ROLLBACK TO _dosql_merge")
        run(self._kernel, "RELEASE _dosql_merge")
        self.conflicts += left

    # -- writing -----------------------------------------------------------------------------------

    def _written(self) -> list[Conflict]:
        plan, kernel = self._plan, self._kernel
        if plan.is_renamed:
            rename_in(kernel, self._moments.names.of[Side.OURS])
        for kind, name in plan.dropped:
            run(kernel, f"DROP {kind.upper()} IF EXISTS main.{quoted_name(name)}")
        found: list[Conflict] = []
        objects: list[SchemaObject] = []
        for table in plan.tables.values():
            if table.origin is None:
                run(kernel, f"DROP TABLE main.{quoted_name(table.name)}")
            elif table.origin is Side.THEIRS:
                objects += [SchemaObject(*made) for made in self._take_over(table.name)]
            for column in table.added:
                sql = f"ALTER TABLE main.{quoted_name(table.name)} ADD COLUMN {column}"
                found += self._made(SchemaObject("table", table.name, sql))
        # what a row may not be twice has to be known when it comes
        objects += [made for made in plan.made if made.kind != "table"]
        unique = [made for made in objects if "UNIQUE" in made.sql.upper().split("(")[0]]
        later = [made for made in objects if made not in unique]
        for made in unique:
            found += self._made(made)
        found += self._refusals(apply_rows(kernel, self._results.values()))
        names = brought(plan, self._moments.tables_they_changed())
        problems = bring_virtual_tables(self._rows, plan, names, self._crossed, self._chosen)
        found += [self._schema_conflict("table", *problem) for problem in problems]
        for made in later:
            found += self._made(made)
        for name, value in plan.settings.items():
            run(kernel, f"PRAGMA main.{name} = {value}")
        self._continue_counting()
        found += self._orphaned()
        if not found and not plan.is_empty:
            found += self._broken_views()
        return found

    def _take_over(self, table: str) -> list[TableObject]:
        """Make a table of ours what it is on their side; returns what stood on ours."""
        stood = table_objects(self._kernel, "main", table)
        run(self._kernel, f"DROP TABLE IF EXISTS main.{quoted_name(table)}")
        run(self._kernel, self._moments.their_schema.objects["table", table])
        source = self._rows.source(self._rows.schema_of(Side.THEIRS), table)
        copy_rows(self._kernel, source, table)
        return stood[1:]

    def _made(self, made: SchemaObject) -> list[Conflict]:
        """The object made; or why it cannot be."""
        if (made.kind, made.name) in self._left_out:
            return []
        said = _refusal(lambda: run(self._kernel, made.sql))
        if said is None:
            return []
        conflict = self._schema_conflict(made.kind, made.name, said)
        return [conflict]

    def _schema_conflict(self, kind: str, name: str, detail: str) -> Conflict:
        moments = self._moments
        schemas = (moments.base_schema, moments.our_schema, moments.their_schema)
        definitions = (schema.objects.get((kind, name)) for schema in schemas)
        return schema_conflict(kind, name, definitions, detail)

    def _refusals(self, refused: list[Refused]) -> list[Conflict]:
        found = []
        for result, kind, said in refused:
            self._refused[result.name] = result, said
            conflict = self._row_conflict(kind, result.table, result.key, said)
            if result.before is None and is_keyless(result.key, result.after):
                conflict = replace(conflict, base=None, ours=None, theirs=result.after)
            found.append(conflict)
        return found

    def _continue_counting(self) -> None:
        """Have AUTOINCREMENT give no key that either side has given."""
        theirs = self._rows.schema_of(Side.THEIRS)
        tables = self._moments.tables_they_changed() & self._plan.tables.keys()
        if not tables or not self._rows.has_table(theirs, "sqlite_sequence"):
            return
        if not self._rows.has_table("main", "sqlite_sequence"):
            return
        for table in tables:
            for (given,) in run(
                self._kernel,
                f"SELECT seq FROM {quoted_name(theirs)}.sqlite_sequence WHERE name = ?",
                (self._rows.names_at(theirs).own_table(table),),
            ):
                run(
                    self._kernel,
                    "UPDATE main.sqlite_sequence SET seq = max(seq, ?) WHERE name = ?",
                    (given, table),
                )

    def _orphaned(self) -> list[Conflict]:
        whole = [table.name for table in self._plan.tables.values() if table.changes_schema]
        open_rows = {conflict.name for conflict in self.conflicts}
        found = []
        for orphan in orphans(self._rows, self._results.values(), whole):
            if orphan.name in open_rows or self._parent_is_open(orphan):
                continue  # the conflict of that row decides it
            self._orphans[orphan.name] = orphan
            reference = orphan.reference
            conflict = self._row_conflict(
                ConflictKind.FOREIGN_KEY, reference.child, orphan.key, str(orphan)
            )
            found.append(replace(conflict, columns=reference.columns))
        return found

    def _row_conflict(
        self, kind: ConflictKind, table: str, key: NamedValues, detail: str
    ) -> Conflict:
        base, ours, theirs = (
            self._rows.row_at(side, table, key) for side in (Side.BASE, Side.OURS, Side.THEIRS)
        )
        return Conflict(kind, table, key, base, ours, theirs, detail=detail)

    def _parent_is_open(self, orphan: Orphan) -> bool:
        return any(
            state is not None and orphan.parent.items() <= state.items()
            for conflict in self.conflicts
            if conflict.table.casefold() == orphan.reference.parent.casefold()
            for state in (conflict.base, conflict.ours, conflict.theirs)
        )

    def _broken_views(self) -> list[Conflict]:
        """Views that cannot be read any more, though both sides' could."""
        found = []
        for (name,) in run(self._kernel, "SELECT name FROM main.sqlite_schema WHERE type = 'view'"):
            if ("view", name) in self._left_out:
                continue
            said = _refusal(lambda name=name: self._looked_at("main", name))  # type: ignore[misc]
            if said is not None and not any(
                _refusal(lambda side=side, name=name: self._looked_at(side, name))  # type: ignore[misc]
                for side in self._rows.sides()
                if run(
                    self._kernel,
                    f"SELECT 1 FROM {quoted_name(side)}.sqlite_schema WHERE name = ?",
                    (name,),
                )
            ):
                found.append(self._schema_conflict("view", name, said))
        return found

    def _looked_at(self, schema: str, view: str) -> None:
        run(self._kernel, f"EXPLAIN SELECT * FROM {quoted_name(schema)}.{quoted_name(view)}")

    # -- deciding ----------------------------------------------------------------------------------

    def _settled(self, conflict: Conflict) -> bool:
        """Change what is written by what is decided; False when nothing is, or it does not help."""
        resolution = self._decide(conflict)
        if resolution is None:
            return False
        if conflict.kind is ConflictKind.SCHEMA:
            key = str(conflict.key["kind"]), conflict.table
            if conflict.table in self._crossed and resolution.side is not None:
                self._chosen[conflict.table] = resolution.side
                return True
            if resolution.side is not Side.OURS or key in self._left_out:
                return False
            self._left_out.add(key)
            return True
        orphan = self._orphans.pop(conflict.name, None)
        if orphan is not None:
            return self._settled_orphan(conflict, orphan, resolution)
        result, said = self._refused.pop(conflict.name, (None, ""))
        if result is None:
            return False
        return self._change(self._decided_result(conflict, result, resolution, said))

    def _decided_result(
        self, conflict: Conflict, result: RowResult, resolution: Resolution, said: str
    ) -> RowResult:
        table, key, before, after = result.table, result.key, result.before, result.after
        if resolution.side is None:
            row = None if resolution.row is None else {**(after or {}), **resolution.row}
            return RowResult(table, key, before, row)
        if resolution.side is Side.OURS:
            return RowResult(table, key, before, conflict.ours)
        if resolution.side is Side.BASE:
            return RowResult(table, key, before, conflict.base)
        if conflict.kind is ConflictKind.UNIQUE:
            return RowResult(table, key, before, after, evicts=True)
        return RowResult(table, key, before, conflict.theirs)

    def _settled_orphan(self, conflict: Conflict, orphan: Orphan, resolution: Resolution) -> bool:
        """The row, and with a side's state of it also that of its parent."""
        child, parent = orphan.reference.child, orphan.reference.parent
        if resolution.side is None:
            row = None if resolution.row is None else {**orphan.row, **resolution.row}
            return self._change(self._to_become(child, orphan.key, row))
        side = resolution.side
        changed = self._change(
            self._to_become(child, orphan.key, self._rows.row_at(side, child, orphan.key))
        )
        where = " AND ".join(f"c.{quoted_name(name)} IS ?" for name in orphan.parent)
        values = (*orphan.parent.values(),)
        schema = self._rows.schema_of(side)
        if self._rows.has_table(schema, parent):
            for key, row in self._rows.where(schema, parent, where, values):
                changed |= self._change(self._to_become(parent, key, row))
        return changed

    def _to_become(self, table: str, key: Any, row: Any) -> RowResult:
        plan = self._plan.tables.get(table)
        origin = plan.origin if plan is not None and plan.origin is not None else Side.OURS
        return RowResult(table, key, self._rows.row_at(origin, table, key), row)

    def _change(self, result: RowResult) -> bool:
        known = self._results.get(result.name)
        if known == result:
            return False
        if result.before == result.after:
            if known is None:
                return False
            del self._results[result.name]
        else:
            self._results[result.name] = result
        return True


def _refusal(act: Callable[[], Any]) -> str | None:
    """What SQLite says against doing it; None when it is done."""
    try:
        act()
    except KernelError as cause:
        error = translate(cause)
        if (
            isinstance(error, IntegrityError)
            or getattr(error, "sqlite_errorcode", None) == _SQLITE_ERROR
        ):
            return str(error)
        raise error from cause
    return None

"""What two sides did since their best common moment: read from history, and put together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from dosql_core.history.differences import Difference
from dosql_core.history.table_copy import NO_NAME, rowid_name
from dosql_core.history.time_travel import ResolvedMoment, SealedHistory
from dosql_core.merging.conflict import Conflict, Decide, RowResult, Side
from dosql_core.merging.merged_names import MergedNames, SideNames, merge_names
from dosql_core.merging.renamed_schema import in_merged_names
from dosql_core.merging.schema_merge import (
    Names,
    SchemaPlan,
    TablePlan,
    ThreeSchemas,
    is_of_virtual,
    merge_schemas,
)
from dosql_core.merging.table_definition import counts_its_keys, renamed_columns, renamed_row
from dosql_core.merging.three_way import (
    is_keyless,
    is_same_row,
    merge_rows,
    shifted,
    with_moved_rows_matched,
)
from dosql_core.merging.virtual_tables import plan_content
from dosql_core.rows.row_change import ROWID, Operation, RowChange, is_same_value

Changes = dict[str, list[RowChange]]


class ThreeMoments:
    """The common moment and both sides, open until they are closed.

    `bases` are the common moments that none of the others contains: more than one where branches
    were merged crosswise. Then the base is what those make together, as far as they agree; `roots`
    are what each but the first has in common with the first.
    """

    def __init__(
        self,
        database: SealedHistory,
        bases: tuple[ResolvedMoment, ...],
        ours: ResolvedMoment,
        theirs: ResolvedMoment,
        roots: tuple[ResolvedMoment, ...] = (),
    ) -> None:
        self.ours, self.theirs = ours, theirs
        self._opened: list[Difference] = []
        try:
            self._our_difference = self._open(database, bases[0], ours)
            self._their_difference = self._open(
                database, bases[0], theirs, beside=self._our_difference
            )
            self._follow_renamed_tables()
            self._crossing = [
                (self._open(database, root, bases[0]), self._open(database, root, other))
                for root, other in zip(roots, bases[1:], strict=True)
            ]
        except BaseException:
            self.close()
            raise

    def _open(
        self,
        database: SealedHistory,
        before: ResolvedMoment,
        after: ResolvedMoment,
        beside: Difference | None = None,
    ) -> Difference:
        self._opened.append(Difference(database, before, after, beside))
        return self._opened[-1]

    def _follow_renamed_tables(self) -> None:
        both = (self._our_difference, self._their_difference)
        found = [difference.renamed_tables() for difference in both]
        for own, other, difference in zip(found, reversed(found), both, strict=True):
            was, now = (schema.tables for schema in difference.schemas)
            for old, new in other.items():  # what is called the same here is the same
                if old not in now and new in now and new not in {*was, *own.values()}:
                    own.setdefault(old, new)
            difference.follow(own)
        self._renamed_tables = found

    def close(self) -> None:
        """Let go of all moments."""
        for difference in self._opened:
            difference.close()

    def __enter__(self) -> ThreeMoments:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    @property
    def we_changed(self) -> bool:
        """Whether our side did anything."""
        return bool(self._changes[0] or self._our_difference.schema_changes())

    def _shifts(self) -> Iterator[RowChange]:
        """What leads from the first of several bases to what they make together."""
        for to_first, to_other in self._crossing:
            first = _by_table(to_first.rows())
            for table, rows in _by_table(to_other.rows()).items():
                layouts = [s.tables.get(table) for s in (*to_first.schemas, *to_other.schemas)]
                if len({None if layout is None else layout.sql for layout in layouts}) > 1:
                    continue
                results, conflicts = merge_rows(first.get(table, ()), rows, lambda _: None)
                disputed = {conflict.name for conflict in conflicts}
                for result in results:
                    if result.key and result.name not in disputed:
                        yield _as_change(result)

    def put_together(
        self, decide: Decide
    ) -> tuple[list[RowResult], SchemaPlan, list[Conflict], set[str]]:
        """The rows to write, what is done to the schema, the conflicts left; the virtual tables
        whose own tables both changed.

        From here on everything goes by the names of the merge.
        """
        self._go_by(self.find_names(decide))
        ours, theirs = self._changes
        schemas = ThreeSchemas(
            self.base_schema,
            self.our_schema,
            self.their_schema,
            self.names,
            ours.keys(),
            theirs.keys(),
            self._written_columns,
        )
        plan = merge_schemas(schemas, decide)
        crossed = self._crossed_virtual(plan)
        plan_content(plan, crossed, self.our_schema, self.their_schema)
        results: list[RowResult] = []
        conflicts = list(plan.conflicts)
        for table in plan.tables.values():
            if not table.takes_rows or table.origin is None:
                continue
            stands = self.our_schema if table.origin is Side.OURS else self.their_schema
            is_counted = counts_its_keys(stands.tables[table.name].sql)
            made, left = merge_rows(
                _renamed(ours.get(table.name, ()), table, table.our_names),
                _renamed(theirs.get(table.name, ()), table, table.their_names),
                decide,
                origin=table.origin,
                counted_tables=(table.name,) if is_counted else (),
            )
            results += made
            conflicts += left
        return results, plan, conflicts, crossed

    def find_names(self, decide: Decide) -> MergedNames:
        """What a merge calls tables and columns; `decide` chooses where both renamed one."""
        ours, theirs = (
            SideNames(difference.schemas[1], tables, self._renamed_columns(difference, tables))
            for difference, tables in zip(
                (self._our_difference, self._their_difference), self._renamed_tables, strict=True
            )
        )
        names = merge_names(self._our_difference.schemas[0], ours, theirs, decide)
        for side, difference in (
            (Side.OURS, self._our_difference),
            (Side.THEIRS, self._their_difference),
        ):
            for table in _with_swapped_names(difference):
                merged = names.of[side].tables.get(table, table)
                names.swapped[merged] = side
        return names

    def _go_by(self, names: MergedNames) -> None:
        self.names, of = names, names.of
        base, ours = self._our_difference.schemas
        self.base_schema = in_merged_names(base, of[Side.BASE])
        self.our_schema = in_merged_names(ours, of[Side.OURS])
        self.their_schema = in_merged_names(self._their_difference.schemas[1], of[Side.THEIRS])
        before = of[Side.BASE]
        shifts = [before.renamed(change, before) for change in self._shifts()]
        self._changes = (
            self._named_changes(self._our_difference, Side.OURS, shifts),
            self._named_changes(self._their_difference, Side.THEIRS, shifts),
        )

    def _named_changes(
        self, difference: Difference, side: Side, shifts: Iterable[RowChange]
    ) -> Changes:
        """The rows a side changed, by table, virtual tables' own tables included."""
        before, after = self.names.of[Side.BASE], self.names.of[side]
        changes = _by_table(after.renamed(c, before) for c in _with_free_names(difference))
        for table, shift in _by_table(shifts).items():
            changes[table] = list(shifted(changes.get(table, ()), shift))
        return {
            table: with_moved_rows_matched(rows) if _has_no_key(rows) else rows
            for table, rows in changes.items()
            if rows
        }

    @staticmethod
    def _renamed_columns(
        difference: Difference, tables: Mapping[str, str]
    ) -> dict[str, dict[str, str]]:
        """What columns of the base are called on a side that has them under another name.

        A column dropped, and another made like it in its place, look the same in the definition.
        """
        found = {}
        was, now = (schema.tables for schema in difference.schemas)
        for table, layout in was.items():
            name = tables.get(table, table)
            if name not in now or layout.is_shadow or now[name].sql == layout.sql:
                continue
            renamed: dict[str, str] = {}
            for old, new, is_likely in renamed_columns(layout.sql, now[name].sql):
                if old not in layout.columns or new not in now[name].columns:
                    continue  # a generated one
                if old in renamed or new in renamed.values():
                    continue
                if difference.is_column_kept(name, old, new, is_likely=is_likely):
                    renamed[old] = new
            if renamed:
                found[table] = renamed
        return found

    def _written_columns(self, side: Side, table: str) -> set[str]:
        """The columns in which a side gave rows values; new rows' own defaults are none."""
        layout = self.our_schema if side is Side.OURS else self.their_schema
        defaults = dict(
            zip(layout.tables[table].columns, layout.tables[table].defaults, strict=True)
        )
        return {
            name
            for change in self._changes[0 if side is Side.OURS else 1].get(table, ())
            for name, value in (change.after or {}).items()
            if not is_same_value(value, (change.before or defaults).get(name))
            and (value is not None or change.before is not None)
        }

    def tables_they_changed(self) -> set[str]:
        """Tables, those of virtual tables included, of which their rows differ from the base."""
        return set(self._changes[1])

    def _crossed_virtual(self, plan: SchemaPlan) -> set[str]:
        """Virtual tables whose own tables both sides changed."""
        ours, theirs = self._changes
        return {
            name
            for name in plan.virtual
            if any(is_of_virtual(name, table) for table in ours)
            and any(is_of_virtual(name, table) for table in theirs)
        }


def _with_free_names(difference: Difference) -> Iterator[RowChange]:
    """The rows that differ; a rowid under a name that no column has."""
    taken: dict[str, str | None] = {}
    for schema in difference.schemas:
        for layout in schema.tables.values():
            if any(name.casefold() == ROWID for name in layout.columns):
                is_key = tuple(name.casefold() for name in layout.key) == (ROWID,)
                taken[layout.name] = None if is_key else rowid_name(list(layout.columns)) or NO_NAME
    for change in difference.all_rows():
        name = taken.get(change.table)
        if name is not None and tuple(change.key) == (ROWID,):
            yield replace(change, key={name: change.key[ROWID]})
        else:
            yield change


def _with_swapped_names(difference: Difference) -> Iterator[str]:
    """The tables in whose tree, which changed nothing, columns go by names that others had."""
    was, now = (schema.tables for schema in difference.schemas)
    for table in was.keys() & now.keys():
        before, after = was[table], now[table]
        if before.root_page != after.root_page or before.columns == after.columns:
            continue
        kept = [name for name in before.columns if name in after.columns]
        places = zip(kept, (name for name in after.columns if name in kept), strict=True)
        if any(
            old != new and difference.is_column_kept(table, old, new, is_likely=False)
            for old, new in places
        ):
            yield table


def _by_table(changes: Iterable[RowChange]) -> Changes:
    by_table: Changes = {}
    for change in changes:
        by_table.setdefault(change.table, []).append(change)
    return by_table


def _has_no_key(rows: list[RowChange]) -> bool:
    return is_keyless(rows[0].key, rows[0].after or rows[0].before)


def _as_change(result: RowResult) -> RowChange:
    operation = Operation.UPDATE
    if result.before is None or result.after is None:
        operation = Operation.INSERT if result.before is None else Operation.DELETE
    return RowChange(result.table, operation, result.key, result.before, result.after)


def _renamed(rows: Iterable[RowChange], table: TablePlan, names: Names) -> Iterable[RowChange]:
    """The changes with the columns of the merged table; those it does not see left out."""
    if all(name == merged for of in (names, table.base_names) for name, merged in of.items()):
        yield from rows
        return
    for change in rows:
        before = renamed_row(change.before, table.base_names)
        after = renamed_row(change.after, names)
        if not is_same_row(before, after):
            of_key = table.base_names if change.after is None else names
            key = {of_key.get(name) or name: value for name, value in change.key.items()}
            yield replace(change, key=key, before=before, after=after)

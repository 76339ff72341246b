"""Foreign keys of the merged whole: rows whose parent is missing now, and was not on either side.

Only rows that the merge wrote, and rows that refer to rows it took away, are looked at, unless a
table was taken over whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from dosql_core.identifiers import SqlValue
from dosql_core.kernel.connection import KernelError, run
from dosql_core.language.tokens import quoted_name
from dosql_core.merging.attached_rows import AttachedRows
from dosql_core.merging.conflict import RowName, RowResult, row_name
from dosql_core.rows.row_change import NamedValues, is_same_value


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """One foreign key: which columns of which table refer to which of which other."""

    child: str
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]

    def without_parent(self, parents: str) -> str:
        """The condition of a row `c` whose parent is missing from `parents`, SQL for a table."""
        refers = " AND ".join(f"c.{quoted_name(name)} IS NOT NULL" for name in self.columns)
        meets = " AND ".join(
            f"p.{quoted_name(there)} = c.{quoted_name(here)}"
            for here, there in zip(self.columns, self.parent_columns, strict=True)
        )
        return f"{refers} AND NOT EXISTS (SELECT 1 FROM {parents} AS p WHERE {meets})"


@dataclass(frozen=True, slots=True)
class Orphan:
    """A row whose parent is missing."""

    key: NamedValues
    row: NamedValues
    reference: ForeignKey

    @property
    def name(self) -> RowName:
        """Which row it is."""
        return row_name(self.reference.child, self.key)

    @property
    def parent(self) -> NamedValues:
        """What the missing parent would hold."""
        values = (self.row[name] for name in self.reference.columns)
        return dict(zip(self.reference.parent_columns, values, strict=True))

    def __str__(self) -> str:
        reference = self.reference
        return (
            f"{reference.child}({', '.join(reference.columns)}) refers to a row of "
            f"{reference.parent} that is not there"
        )


def foreign_keys(kernel: Any) -> list[ForeignKey]:
    """The foreign keys of all tables."""
    listed = run(
        kernel,
        'SELECT m.name, f.id, f."table", f."from", f."to" FROM main.sqlite_schema AS m,'
        " pragma_foreign_key_list(m.name, 'main') AS f WHERE m.type = 'table'"
        " ORDER BY m.name, f.id, f.seq",
    )
    grouped: dict[tuple[str, int, str], list[tuple[str, str | None]]] = {}
    for child, number, parent, here, there in listed:
        grouped.setdefault((child, number, parent), []).append((here, there))
    found = []
    for (child, _, parent), pairs in grouped.items():
        there = tuple(name for _, name in pairs if name is not None)
        if len(there) < len(pairs):  # the parent's primary key is meant
            key = "SELECT name FROM pragma_table_info(?, 'main') WHERE pk ORDER BY pk"
            there = tuple(name for (name,) in run(kernel, key, (parent,)))
        if len(there) == len(pairs):
            found.append(ForeignKey(child, tuple(here for here, _ in pairs), parent, there))
    return found


def orphans(
    rows: AttachedRows, results: Iterable[RowResult], whole_tables: Collection[str]
) -> list[Orphan]:
    """The rows without a parent that the merge made so.

    Foreign keys are off in SQLite unless a connection turns them on, so either side may have had
    such rows for long; those are left as they are.
    """
    kernel = rows.kernel
    keys = foreign_keys(kernel)
    if not keys:
        return []
    whole = {table.casefold() for table in whole_tables}
    by_table: dict[str, list[RowResult]] = {}
    for result in results:
        by_table.setdefault(result.table.casefold(), []).append(result)
    found: dict[tuple[RowName, ForeignKey], Orphan] = {}
    for key in keys:
        written = by_table.get(key.child.casefold(), [])
        taken = by_table.get(key.parent.casefold(), [])
        if not ({key.child.casefold(), key.parent.casefold()} & whole or written or taken):
            continue
        is_whole = bool({key.child.casefold(), key.parent.casefold()} & whole)
        for orphan in _of(rows, key, written, taken, is_whole):
            if not _was_one(rows, orphan):
                found[orphan.name, key] = orphan
    return list(found.values())


def _of(
    rows: AttachedRows,
    key: ForeignKey,
    written: list[RowResult],
    taken: list[RowResult],
    is_whole: bool,
) -> Iterator[Orphan]:
    condition = key.without_parent(rows.source("main", key.parent))
    if not rows.has_table("main", key.parent):
        condition = " AND ".join(f"c.{quoted_name(name)} IS NOT NULL" for name in key.columns)
    if is_whole:
        yield from _selected(rows, key, condition, ())
        return
    for result in written:
        if result.after is not None and _refers_anew(result, key):
            where = " AND ".join(f"c.{quoted_name(name)} IS ?" for name in result.after)
            yield from _selected(rows, key, f"{where} AND {condition}", (*result.after.values(),))
    lost = [values for result in taken if (values := _lost(result, key)) is not None]
    if lost:
        names = ", ".join(f"v{place}" for place in range(len(key.columns)))
        run(rows.kernel, f"CREATE TEMP TABLE _dosql_lost({names})")
        try:
            places = ", ".join("?" * len(key.columns))
            for values in lost:
                run(rows.kernel, f"INSERT INTO temp._dosql_lost VALUES ({places})", values)
            refers = ", ".join(f"c.{quoted_name(name)}" for name in key.columns)
            chosen = f"({refers}) IN (SELECT {names} FROM temp._dosql_lost) AND {condition}"
            yield from list(_selected(rows, key, chosen, ()))
        finally:
            run(rows.kernel, "DROP TABLE temp._dosql_lost")


def _selected(
    rows: AttachedRows, key: ForeignKey, condition: str, values: tuple[SqlValue, ...]
) -> Iterator[Orphan]:
    for row_key, row in rows.where("main", key.child, condition, values):
        yield Orphan(row_key, row, key)


def _refers_anew(result: RowResult, key: ForeignKey) -> bool:
    after, before = _folded(result.after), _folded(result.before)
    return any(
        name not in before or not is_same_value(before[name], after.get(name))
        for name in (column.casefold() for column in key.columns)
    )


def _lost(result: RowResult, key: ForeignKey) -> tuple[SqlValue, ...] | None:
    """What rows that referred to the row hold, when it is not there any more under that."""
    if result.before is None:
        return None
    before, after = _folded(result.before), _folded(result.after)
    columns = [column.casefold() for column in key.parent_columns]
    if any(column not in before for column in columns):
        return None
    is_kept = result.after is not None and all(
        is_same_value(before[column], after.get(column)) for column in columns
    )
    return None if is_kept else tuple(before[column] for column in columns)


def _folded(row: NamedValues | None) -> NamedValues:
    return {name.casefold(): value for name, value in (row or {}).items()}


def _was_one(rows: AttachedRows, orphan: Orphan) -> bool:
    """Whether the row was without that parent on one of the sides already."""
    key = orphan.reference
    where = " AND ".join(f"c.{quoted_name(name)} IS ?" for name in orphan.key)
    same = " AND ".join(f"c.{quoted_name(name)} IS ?" for name in key.columns)
    values = (*orphan.key.values(), *(orphan.row[name] for name in key.columns))
    for schema in rows.sides():
        if not rows.has_table(schema, key.parent):
            missing = "1"
        else:
            missing = key.without_parent(rows.source(schema, key.parent))
        try:
            if any(rows.where(schema, key.child, f"{where} AND {same} AND {missing}", values)):
                return True
        except KernelError:  # the side has no such table, or not these columns
            continue
    return False

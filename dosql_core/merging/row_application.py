"""Put merged rows into a branch: statements on a connection whose transaction is open."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from dosql_core.errors import IntegrityError
from dosql_core.kernel.connection import KernelError, run
from dosql_core.kernel.error_translation import translate
from dosql_core.language.tokens import quoted_name
from dosql_core.merging.three_way import Conflict, ConflictKind, RowResult
from dosql_core.rows.row_change import NamedValues


def apply_rows(kernel: Any, results: Iterable[RowResult]) -> list[Conflict]:
    """Carry the results out; those that break a constraint come back as conflicts.

    A row may have to wait for another to make room for its unique values, so what fails is tried
    again for as long as anything else succeeds. Triggers and foreign keys must be off.
    """
    waiting = sorted(results, key=_deletes_first)
    while waiting:
        failed = [r for r in waiting if _constraint_broken_by(partial(_apply, kernel, r))]
        if len(failed) == len(waiting):
            return _swapped_or_conflicts(kernel, failed)
        waiting = failed
    return []


BrokenReference = tuple[str, int | None, str, int]
"""A row without its parent: its table and rowid, the parent's table, which key of the table."""


def broken_references(kernel: Any, schema: str, tables: Iterable[str]) -> set[BrokenReference]:
    """The rows without a parent in the tables, or in those that refer to them, of a schema."""
    return {
        found
        for table in _with_referring_tables(kernel, schema, set(tables))
        for found in run(kernel, f"PRAGMA {schema}.foreign_key_check({quoted_name(table)})")
    }


def reference_conflicts(broken: Iterable[BrokenReference]) -> list[Conflict]:
    """A conflict for each row without its parent."""
    return [
        Conflict(
            ConflictKind.FOREIGN_KEY,
            child,
            {"rowid": rowid},
            None,
            None,
            None,
            detail=f"the row refers to a row of {parent} that is not there",
        )
        for child, rowid, parent, _ in sorted(broken, key=repr)
    ]


def _deletes_first(result: RowResult) -> int:
    return 0 if result.after is None else 1 if result.before is not None else 2


def _constraint_broken_by(act: Callable[[], None]) -> str | None:
    """What the constraint says that the act breaks; None when it breaks none."""
    try:
        act()
    except KernelError as cause:
        error = translate(cause)
        if isinstance(error, IntegrityError):
            return str(error)
        raise error from cause
    return None


def _apply(kernel: Any, result: RowResult) -> None:
    if result.after is None:
        _delete(kernel, result.table, result.key)
    elif result.before is None:
        _insert(kernel, result.table, result.after)
    else:
        before = result.before
        changed = {
            name: value
            for name, value in result.after.items()
            if name not in before or before[name] != value or type(before[name]) is not type(value)
        }
        if changed:
            _update(kernel, result.table, result.key, changed)


def _swapped_or_conflicts(kernel: Any, results: list[RowResult]) -> list[Conflict]:
    """Rows that wait for each other: all are taken out, then put in again one by one."""
    for result in results:
        if result.before is not None:
            _delete(kernel, result.table, result.key)
    conflicts = []
    for result in results:
        assert result.after is not None
        broken = _constraint_broken_by(partial(_insert, kernel, result.table, result.after))
        if broken is not None:
            kind = ConflictKind.UNIQUE if "UNIQUE" in broken else ConflictKind.CHECK
            conflicts.append(
                Conflict(
                    kind,
                    result.table,
                    result.key,
                    result.before,
                    result.before,
                    result.after,
                    detail=broken,
                )
            )
    return conflicts


def _insert(kernel: Any, table: str, row: NamedValues) -> None:
    names = ", ".join(map(quoted_name, row))
    places = ", ".join("?" * len(row))
    run(
        kernel,
        f"INSERT INTO main.{quoted_name(table)}({names}) VALUES ({places})",
        tuple(row.values()),
    )


def _update(kernel: Any, table: str, key: NamedValues, changed: NamedValues) -> None:
    assigned = ", ".join(f"{quoted_name(name)} = ?" for name in changed)
    run(
        kernel,
        f"UPDATE main.{quoted_name(table)} SET {assigned} WHERE {_is_row(key)}",
        (*changed.values(), *key.values()),
    )


def _delete(kernel: Any, table: str, key: NamedValues) -> None:
    run(kernel, f"DELETE FROM main.{quoted_name(table)} WHERE {_is_row(key)}", tuple(key.values()))


def _is_row(key: NamedValues) -> str:
    return " AND ".join(f"{quoted_name(name)} = ?" for name in key)


def _with_referring_tables(kernel: Any, schema: str, tables: set[str]) -> set[str]:
    referring = run(
        kernel,
        f'SELECT m.name, f."table" FROM {schema}.sqlite_schema AS m,'
        " pragma_foreign_key_list(m.name, ?) AS f WHERE m.type = 'table'",
        (schema.strip('"'),),
    )
    folded = {name.casefold() for name in tables}
    children = {name for name, parent in referring if parent.casefold() in folded}
    have_keys = {name for name, _ in referring}
    return (tables & have_keys) | children

"""Put merged rows into a branch: statements on a connection whose transaction is open."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from dosql_core.errors import IntegrityError
from dosql_core.history.table_copy import rowid_name
from dosql_core.identifiers import SqlValue
from dosql_core.kernel.connection import KernelError, run
from dosql_core.kernel.error_translation import translate
from dosql_core.language.tokens import quoted_name
from dosql_core.merging.conflict import ConflictKind, RowResult
from dosql_core.merging.three_way import is_keyless
from dosql_core.rows.row_change import NamedValues, is_same_value

Refused = tuple[RowResult, ConflictKind, str]
"""A row that could not be written, in which way, and what SQLite said."""

_GONE = "the row is not there any more as it was"


def apply_rows(kernel: Any, results: Iterable[RowResult]) -> list[Refused]:
    """Carry the results out; those that break a constraint come back.

    A row may have to wait for another to make room for its unique values, so what fails is tried
    again for as long as anything else succeeds. Triggers and foreign keys must be off.
    """
    waiting = sorted(results, key=_deletes_first)
    while waiting:
        failed = [r for r in waiting if broken_constraint(partial(_apply, kernel, r))]
        if len(failed) == len(waiting):
            return _swapped_or_refused(kernel, failed)
        waiting = failed
    return []


def broken_constraint(act: Callable[[], None]) -> str | None:
    """What the constraint says that the act breaks; None when it breaks none."""
    try:
        act()
    except _GoneError:
        return _GONE
    except KernelError as cause:
        error = translate(cause)
        if isinstance(error, IntegrityError):
            return str(error)
        raise error from cause
    return None


class _GoneError(Exception):
    """A row without a key is not found by what it held."""


def _deletes_first(result: RowResult) -> int:
    return 0 if result.after is None else 1 if result.before is not None else 2


def _apply(kernel: Any, result: RowResult) -> None:
    if result.after is None:
        _delete(kernel, result)
    elif result.before is None:
        _insert(kernel, result)
    else:
        before = result.before
        changed = {
            name: value
            for name, value in result.after.items()
            if name not in before or not is_same_value(before[name], value)
        }
        if changed:
            _update(kernel, result, changed)


def _swapped_or_refused(kernel: Any, results: Sequence[RowResult]) -> list[Refused]:
    """Rows that wait for each other: all are taken out, then put in again one by one."""
    refused: list[Refused] = []
    out: list[RowResult] = []
    for result in results:
        said = None
        if result.before is not None:
            said = broken_constraint(partial(_delete, kernel, result))
        if said is None:
            out.append(result)
        else:
            refused.append((result, ConflictKind.MODIFY_MODIFY, said))
    for result in out:
        said = broken_constraint(partial(_insert, kernel, result))
        if said is not None:
            refused.append((result, _kind_of(said), said))
    for result, kind, _ in refused:  # the row as it was, for what is looked at next
        if result.before is not None and kind is not ConflictKind.MODIFY_MODIFY:
            was = RowResult(result.table, result.key, None, result.before)
            broken_constraint(partial(_insert, kernel, was))
    return refused


def _kind_of(said: str) -> ConflictKind:
    if "UNIQUE" in said or "PRIMARY KEY" in said:
        return ConflictKind.UNIQUE
    return ConflictKind.NOT_NULL if "NOT NULL" in said else ConflictKind.CHECK


def _insert(kernel: Any, result: RowResult) -> None:
    assert result.after is not None
    row = result.after
    names = ", ".join(map(quoted_name, row))
    places = ", ".join("?" * len(row))
    run(
        kernel,
        f"INSERT{_evicting(result)} INTO main.{quoted_name(result.table)}({names})"
        f" VALUES ({places})",
        tuple(row.values()),
    )


def _update(kernel: Any, result: RowResult, changed: NamedValues) -> None:
    assigned = ", ".join(f"{quoted_name(name)} = ?" for name in changed)
    where, values = _place(kernel, result)
    run(
        kernel,
        f"UPDATE{_evicting(result)} main.{quoted_name(result.table)} SET {assigned} WHERE {where}",
        (*changed.values(), *values),
    )


def _delete(kernel: Any, result: RowResult) -> None:
    where, values = _place(kernel, result)
    run(kernel, f"DELETE FROM main.{quoted_name(result.table)} WHERE {where}", values)


def _evicting(result: RowResult) -> str:
    return " OR REPLACE" if result.evicts else ""


def _place(kernel: Any, result: RowResult) -> tuple[str, tuple[SqlValue, ...]]:
    """A condition that only the row fulfils.

    A rowid that no column holds may have become another row's: the row is looked for by what it
    held, first at that rowid.
    """
    if not is_keyless(result.key, result.before):
        return " AND ".join(f"{quoted_name(n)} = ?" for n in result.key), (*result.key.values(),)
    assert result.before is not None
    rowid = rowid_name(list(result.before))
    if rowid is None:
        raise _GoneError
    holds = " AND ".join(f"{quoted_name(name)} IS ?" for name in result.before)
    table = f"main.{quoted_name(result.table)}"
    for condition, more in ((f"{rowid} = ? AND ", (*result.key.values(),)), ("", ())):
        found = run(
            kernel,
            f"SELECT {rowid} FROM {table} WHERE {condition}{holds} LIMIT 1",
            (*more, *result.before.values()),
        )
        if found:
            return f"{rowid} = ?", found[0]
    raise _GoneError

"""Put merged rows into a branch: statements on a connection whose transaction is open."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

from dosql_core.errors import IntegrityError
from dosql_core.history.table_copy import rowid_name
from dosql_core.identifiers import SqlValue
from dosql_core.kernel.connection import KernelError, run, run_many
from dosql_core.kernel.error_translation import translate
from dosql_core.language.tokens import quoted_name
from dosql_core.merging.conflict import ConflictKind, RowResult
from dosql_core.merging.three_way import is_keyless
from dosql_core.rows.row_change import NamedValues, is_same_value

Refused = tuple[RowResult, ConflictKind, str]
"""A row that could not be written, in which way, and what SQLite said."""

_Statement = tuple[str, tuple[SqlValue, ...]]
_GONE = "the row is not there any more as it was"


def apply_rows(kernel: Any, results: Iterable[RowResult]) -> list[Refused]:
    """Carry the results out; those that break a constraint come back.

    A row may have to wait for another to make room for its unique values, so what fails is tried
    again for as long as anything else succeeds. Triggers and foreign keys must be off.
    """
    waiting = sorted(results, key=_deletes_first)
    if _applied_at_once(kernel, waiting):
        return []
    while waiting:
        failed = [r for r in waiting if broken_constraint(partial(_apply, kernel, r))]
        if len(failed) == len(waiting):
            return _swapped_or_refused(kernel, failed)
        waiting = failed
    return []


def _applied_at_once(kernel: Any, results: Sequence[RowResult]) -> bool:
    """Carry all results out in few calls; False, and nothing done, when a row has to wait."""
    if any(is_keyless(result.key, result.before or result.after) for result in results):
        return False  # where such a row is depends on what was done before
    statements = (made for result in results for made in _statements(kernel, result))
    run(kernel, "SAVEPOINT _dosql_rows")
    try:
        for sql, group in groupby(statements, key=itemgetter(0)):
            run_many(kernel, sql, [values for _, values in group])
    except KernelError as cause:
        run(kernel, "ROLLBACK TO _dosql_rows")
        error = translate(cause)
        if isinstance(error, IntegrityError):
            return False
        raise error from cause
    finally:
        if kernel.in_transaction:
            run(kernel, "RELEASE _dosql_rows")
    return True


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
    for sql, values in _statements(kernel, result):
        run(kernel, sql, values)


def _statements(kernel: Any, result: RowResult) -> Iterator[_Statement]:
    """What makes the row what it has to become; nothing where no column changes."""
    if result.after is None:
        yield _deletion(kernel, result)
    elif result.before is None:
        yield _insertion(result)
    elif changed := _changed(result.before, result.after):
        yield _updating(kernel, result, changed)


def _changed(before: NamedValues, after: NamedValues) -> NamedValues:
    return {
        name: value
        for name, value in after.items()
        if name not in before or not is_same_value(before[name], value)
    }


def _swapped_or_refused(kernel: Any, results: Sequence[RowResult]) -> list[Refused]:
    """Rows that wait for each other: all are taken out, then put in again one by one."""
    refused: list[Refused] = []
    out: list[RowResult] = []
    for result in results:
        said = None
        if result.before is not None:
            said = broken_constraint(partial(_apply, kernel, replace(result, after=None)))
        if said is None:
            out.append(result)
        else:
            refused.append((result, ConflictKind.MODIFY_MODIFY, said))
    for result in out:
        said = broken_constraint(partial(_apply, kernel, replace(result, before=None)))
        if said is not None:
            refused.append((result, _kind_of(said), said))
    for result, kind, _ in refused:  # the row as it was, for what is looked at next
        if result.before is not None and kind is not ConflictKind.MODIFY_MODIFY:
            was = RowResult(result.table, result.key, None, result.before)
            broken_constraint(partial(_apply, kernel, was))
    return refused


def _kind_of(said: str) -> ConflictKind:
    if "UNIQUE" in said or "PRIMARY KEY" in said:
        return ConflictKind.UNIQUE
    return ConflictKind.NOT_NULL if "NOT NULL" in said else ConflictKind.CHECK


def _insertion(result: RowResult) -> _Statement:
    assert result.after is not None
    row = result.after
    names = ", ".join(map(quoted_name, row))
    places = ", ".join("?" * len(row))
    return (
        f"INSERT{_evicting(result)} INTO main.{quoted_name(result.table)}({names})"
        f" VALUES ({places})",
        tuple(row.values()),
    )


def _updating(kernel: Any, result: RowResult, changed: NamedValues) -> _Statement:
    assigned = ", ".join(f"{quoted_name(name)} = ?" for name in changed)
    where, values = _place(kernel, result)
    return (
        f"UPDATE{_evicting(result)} main.{quoted_name(result.table)} SET {assigned} WHERE {where}",
        (*changed.values(), *values),
    )


def _deletion(kernel: Any, result: RowResult) -> _Statement:
    where, values = _place(kernel, result)
    return f"DELETE FROM main.{quoted_name(result.table)} WHERE {where}", values


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

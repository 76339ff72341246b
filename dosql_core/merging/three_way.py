"""Three-way merge of rows: what becomes of a row that both sides may have changed; no I/O.

`ours` is the branch that is merged into, `theirs` the one that is merged.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dosql_core.identifiers import SqlValue
from dosql_core.rows.row_change import ROWID, NamedValues, Operation, RowChange, is_same_value

RowName = tuple[str, tuple[tuple[str, SqlValue], ...]]


class ConflictKind(enum.StrEnum):
    """In which way two changes contradict each other."""

    MODIFY_MODIFY = "modify/modify"
    MODIFY_DELETE = "modify/delete"
    DELETE_MODIFY = "delete/modify"
    ADD_ADD = "add/add"
    UNIQUE = "unique"
    FOREIGN_KEY = "foreign key"
    CHECK = "check"
    SCHEMA = "schema"


@dataclass(frozen=True, slots=True)
class Conflict:
    """A row, or an object of the schema, of which the two sides do not agree.

    Shape: `base`, `ours` and `theirs` are the whole row at the three moments, None where it is not
           there; `columns` are those changed to different values. For a conflict of the schema they
           hold the SQL under "sql", and `key` the kind of the object.
    """

    kind: ConflictKind
    table: str
    key: NamedValues
    base: NamedValues | None
    ours: NamedValues | None
    theirs: NamedValues | None
    columns: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RowResult:
    """What a row of ours has to become: `after` None deletes it, `before` None inserts it.

    Shape: `key` is empty for a new row of a table that has none: it may get any rowid.
    """

    table: str
    key: NamedValues
    before: NamedValues | None
    after: NamedValues | None


Decision = NamedValues | None
Policy = Callable[[Conflict], Decision]
"""What a row in conflict shall be: its values by column, or None for no row.

Errors: raise `UnresolvedError` to leave the conflict as one.
"""


class UnresolvedError(Exception):
    """A policy does not decide this conflict."""


def keep_ours(conflict: Conflict) -> Decision:
    """Our values where both changed; their other columns still merge."""
    return _decided(conflict, conflict.ours)


def take_theirs(conflict: Conflict) -> Decision:
    """Their values where both changed; our other columns still merge."""
    return _decided(conflict, conflict.theirs)


def decide_nothing(conflict: Conflict) -> Decision:
    """Leave every conflict to the user."""
    raise UnresolvedError


def merge_rows(
    ours: Iterable[RowChange], theirs: Iterable[RowChange], policy: Policy
) -> tuple[list[RowResult], list[Conflict]]:
    """What to do to our rows, and the conflicts the policy did not decide."""
    own = {_name(change): change for change in ours}
    results: list[RowResult] = []
    conflicts: list[Conflict] = []
    for their in theirs:
        our = own.get(_name(their))
        if our is not None and _are_strangers(our, their):
            results.append(RowResult(their.table, {}, None, their.after))
            continue
        if our is None:
            results.append(RowResult(their.table, their.key, their.before, their.after))
            continue
        conflict = _conflict(our, their)
        if conflict is None:
            after = _merged(our, their)
        else:
            try:
                after = policy(conflict)
            except UnresolvedError:
                conflicts.append(conflict)
                continue
        if not _is_same(after, our.after):
            results.append(RowResult(their.table, their.key, our.after, after))
    return results, conflicts


def _are_strangers(our: RowChange, their: RowChange) -> bool:
    """Whether two new rows share but a rowid, which says nothing in a table without a key."""
    both_new = our.operation is Operation.INSERT and their.operation is Operation.INSERT
    return both_new and tuple(their.key) == (ROWID,) and ROWID not in (their.after or {})


def _conflict(our: RowChange, their: RowChange) -> Conflict | None:
    """Why the two changes of one row cannot both be had; None when they can."""
    if _is_same(our.after, their.after):
        return None
    if our.after is None or their.after is None:
        kind = ConflictKind.DELETE_MODIFY if our.after is None else ConflictKind.MODIFY_DELETE
        columns: tuple[str, ...] = ()
    else:
        columns = _disputed(our, their)
        if not columns:
            return None
        is_new = our.operation is Operation.INSERT
        kind = ConflictKind.ADD_ADD if is_new else ConflictKind.MODIFY_MODIFY
    return Conflict(kind, their.table, their.key, their.before, our.after, their.after, columns)


def _disputed(our: RowChange, their: RowChange) -> tuple[str, ...]:
    """The columns that both gave another value, and not the same one."""
    assert our.after is not None
    assert their.after is not None
    base = their.before
    return tuple(
        name
        for name, value in their.after.items()
        if name in our.after
        and not is_same_value(our.after[name], value)
        and (
            base is None
            or name not in base
            or not (is_same_value(base[name], value) or is_same_value(base[name], our.after[name]))
        )
    )


def _merged(our: RowChange, their: RowChange) -> NamedValues | None:
    """The row with the columns that each side changed."""
    if our.after is None or their.after is None:
        return None
    return _with_their_columns(their.before, our.after, their.after)


def _decided(conflict: Conflict, winner: NamedValues | None) -> Decision:
    if conflict.ours is None or conflict.theirs is None or winner is None:
        return winner
    merged = _with_their_columns(conflict.base, conflict.ours, conflict.theirs)
    return {**merged, **{name: winner[name] for name in conflict.columns}}


def _with_their_columns(
    base: NamedValues | None, ours: NamedValues, theirs: NamedValues
) -> NamedValues:
    merged = dict(ours)
    for name, value in theirs.items():
        if base is None or name not in base or not is_same_value(base[name], value):
            merged[name] = value
    return merged


def _name(change: RowChange) -> RowName:
    return change.table, tuple(change.key.items())


def _is_same(one: NamedValues | None, other: NamedValues | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.keys() == other.keys() and all(
        is_same_value(value, other[k]) for k, value in one.items()
    )

"""Three-way merge of rows: what becomes of a row that both sides may have changed; no I/O.

`ours` is the branch that is merged into, `theirs` the one that is merged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from dosql_core.history.table_copy import NO_NAME, ROWID_NAMES
from dosql_core.merging.conflict import (
    Conflict,
    ConflictKind,
    Decide,
    Resolution,
    RowName,
    RowResult,
    Side,
    row_name,
)
from dosql_core.rows.row_change import NamedValues, Operation, RowChange, is_same_value


def merge_rows(
    ours: Iterable[RowChange],
    theirs: Iterable[RowChange],
    decide: Decide,
    *,
    origin: Side = Side.OURS,
    counted_tables: Collection[str] = (),
) -> tuple[list[RowResult], list[Conflict]]:
    """What to do to the rows that `origin` left, and the conflicts nobody decided.

    Both sides' rows must have the columns of the merged table by now. New rows of
    `counted_tables`, whose keys AUTOINCREMENT gave, collide without either side having chosen.
    """
    own = _by_name(ours)
    other = _by_name(theirs)
    results: list[RowResult] = []
    conflicts: list[Conflict] = []
    for name, change in (other if origin is Side.OURS else own).items():
        our, their = own.get(name), other.get(name)
        if our is None or their is None or _are_strangers(our, their):
            results.append(RowResult(change.table, change.key, change.before, change.after))
            continue
        before = our.after if origin is Side.OURS else their.after
        conflict = _conflict(our, their, counted_tables)
        if conflict is None:
            after = _merged(our, their)
        else:
            resolution = decide(conflict)
            if resolution is None:
                conflicts.append(conflict)
                # what the rest of the merge is looked at with
                after = decided_row(conflict, Resolution(Side.OURS))
            else:
                after = decided_row(conflict, resolution)
        if not is_same_row(after, before):
            results.append(RowResult(change.table, change.key, before, after))
    return results, conflicts


def decided_row(conflict: Conflict, resolution: Resolution) -> NamedValues | None:
    """The row that a resolution makes; the columns that are not disputed merge all the same."""
    if resolution.side is not None:
        if resolution.side is Side.BASE:
            return conflict.base
        winner = conflict.ours if resolution.side is Side.OURS else conflict.theirs
        if conflict.ours is None or conflict.theirs is None or winner is None:
            return winner
        merged = _with_their_columns(conflict.base, conflict.ours, conflict.theirs)
        return {**merged, **{name: winner[name] for name in conflict.columns}}
    if resolution.row is None:
        return None
    if conflict.ours is not None and conflict.theirs is not None:
        known = _with_their_columns(conflict.base, conflict.ours, conflict.theirs)
        known.update({name: conflict.ours[name] for name in conflict.columns})
    else:
        known = dict(conflict.ours or conflict.theirs or {})
    return {**known, **resolution.row}


def shifted(changes: Iterable[RowChange], shift: Iterable[RowChange]) -> Iterator[RowChange]:
    """The changes as they are from a moment that lies `shift` after the one they began at."""
    later = _by_name(shift)
    for change in changes:
        moved = later.pop(row_name(change.table, change.key), None)
        if moved is None:
            yield change
        elif not is_same_row(moved.after, change.after):
            yield _between(change, moved.after, change.after)
    for moved in later.values():  # what did not change since the first moment
        yield _between(moved, moved.after, moved.before)


def _between(change: RowChange, before: NamedValues | None, after: NamedValues | None) -> RowChange:
    if before is None:
        operation = Operation.INSERT
    else:
        operation = Operation.DELETE if after is None else Operation.UPDATE
    return replace(change, operation=operation, before=before, after=after)


def with_moved_rows_matched(changes: Iterable[RowChange]) -> list[RowChange]:
    """The changes of a table without a key, rows that only got another rowid left out.

    A merge gives new rows of the other side any rowid, and VACUUM numbers all anew. So the row
    that is gone from one rowid may be the one that is new at another.
    """
    changes = list(changes)
    gone: dict[RowName, list[int]] = {}
    for index, change in enumerate(changes):
        if change.before is not None:
            gone.setdefault(_content(change.before), []).append(index)
    found: set[int] = set()
    arrived: set[int] = set()
    for index, change in enumerate(changes):
        if change.after is None:
            continue
        places = gone.get(_content(change.after))
        if places:
            found.add(places.pop())
            arrived.add(index)
    matched: list[RowChange] = []
    for index, change in enumerate(changes):
        before = None if index in found else change.before
        after = None if index in arrived else change.after
        if before is not None or after is not None:
            matched.append(_between(change, before, after))
    return matched


def _content(row: NamedValues) -> RowName:
    return "", tuple((name, (type(value), value)) for name, value in row.items())  # type: ignore[misc]


def _by_name(changes: Iterable[RowChange]) -> dict[RowName, RowChange]:
    """The changes by row; a row that left one table of a name for another is one change."""
    found: dict[RowName, RowChange] = {}
    for change in changes:
        name = row_name(change.table, change.key)
        other = found.pop(name, None)
        if other is not None:
            before = change.before if other.before is None else other.before
            after = change.after if other.after is None else other.after
            if is_same_row(before, after):
                continue
            change = _between(change, before, after)
        found[name] = change
    return found


def _are_strangers(our: RowChange, their: RowChange) -> bool:
    """Whether a new row shares but a rowid with another, which says nothing without a key.

    After VACUUM a new row may have the rowid that a row of the base had.
    """
    is_new = our.before is None or their.before is None
    return is_new and is_keyless(their.key, their.after or their.before)


def is_keyless(key: NamedValues, row: NamedValues | None) -> bool:
    """Whether only its rowid, which no column holds, tells the row from others."""
    (name, *more) = key
    return not more and name in (*ROWID_NAMES, NO_NAME) and name not in (row or {})


def _conflict(our: RowChange, their: RowChange, counted_tables: Collection[str]) -> Conflict | None:
    """Why the two changes of one row cannot both be had; None when they can."""
    if is_same_row(our.after, their.after):
        return None
    detail = ""
    if our.after is None or their.after is None:
        if _only_fills(our) or _only_fills(their):
            return None
        kind = ConflictKind.DELETE_MODIFY if our.after is None else ConflictKind.MODIFY_DELETE
        columns: tuple[str, ...] = ()
    else:
        columns = _disputed(our, their)
        if not columns:
            return None
        kind = ConflictKind.MODIFY_MODIFY
        if our.operation is Operation.INSERT:
            kind = ConflictKind.ADD_ADD
            if their.table in counted_tables:
                kind = ConflictKind.AUTOINCREMENT
                detail = "AUTOINCREMENT gave this key to a new row on both sides"
    base = their.before if their.before is not None else our.before
    return Conflict(kind, their.table, their.key, base, our.after, their.after, columns, detail)


def _only_fills(change: RowChange) -> bool:
    """Whether a row got values in columns only that it did not have, as a migration gives them."""
    before, after = change.before, change.after
    return (
        before is not None
        and after is not None
        and all(
            name in after and is_same_value(value, after[name]) for name, value in before.items()
        )
    )


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


def _with_their_columns(
    base: NamedValues | None, ours: NamedValues, theirs: NamedValues
) -> NamedValues:
    merged = dict(ours)
    for name, value in theirs.items():
        if base is None or name not in base or not is_same_value(base[name], value):
            merged[name] = value
    return merged


def is_same_row(one: NamedValues | None, other: NamedValues | None) -> bool:
    """Whether two rows have the same columns with the same values."""
    if one is None or other is None:
        return one is other
    return one.keys() == other.keys() and all(
        is_same_value(value, other[k]) for k, value in one.items()
    )

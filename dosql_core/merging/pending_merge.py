"""A merge that waits for its conflicts to be resolved: a checked document beside the branch.

The refs name it, so that what it reads is kept; a document that they do not name is what a crash
left, and counts for nothing.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from dosql_core.errors import CorruptStoreError, InvalidMergeOperationError
from dosql_core.history.refs import PendingMergeRef
from dosql_core.history.time_travel import ResolvedMoment
from dosql_core.identifiers import BranchId, Lsn, SqlValue
from dosql_core.merging.conflict import Conflict, ConflictKind, Resolution, RowName, Side
from dosql_core.merging.merge_task import MergedDatabase, MergeTask, TaskKind
from dosql_core.merging.three_way import is_same_row
from dosql_core.rows.row_change import NamedValues
from dosql_core.storage.checked_document import read_document, write_document
from dosql_core.storage.durable_files import remove_quietly

FORMAT_VERSION = 1
DOCUMENT_PREFIX = "pending_merge-"
_KIND = "pending merge"


@dataclass(frozen=True, slots=True)
class OpenConflict:
    """A conflict of a pending merge, and what is decided about it; None when nothing is yet."""

    conflict: Conflict
    resolution: Resolution | None = None


@dataclass(frozen=True, slots=True)
class PendingMerge:
    """A merge with conflicts, as it was left.

    Shape: `target_lsn` is what the target was when the conflicts were found.
    """

    id: str
    task: MergeTask
    target_lsn: Lsn
    conflicts: tuple[OpenConflict, ...]

    @property
    def unresolved(self) -> tuple[Conflict, ...]:
        """The conflicts that nothing is decided about."""
        return tuple(open.conflict for open in self.conflicts if open.resolution is None)

    def decide(self, conflict: Conflict) -> Resolution | None:
        """What is decided about the same conflict."""
        known = {_place(open.conflict): open for open in self.conflicts}
        found = known.get(_place(conflict))
        if found is None:
            return self._decided_before_renaming(conflict)
        if not _is_same(found.conflict, conflict):
            return None
        return found.resolution

    def _decided_before_renaming(self, conflict: Conflict) -> Resolution | None:
        """Which side was chosen while the table or a column had the other of two names."""
        if not any("part" in open.conflict.key for open in self.conflicts):
            return None
        alike = [
            open.resolution
            for open in self.conflicts
            if open.conflict.kind is conflict.kind and _values(open.conflict) == _values(conflict)
        ]
        chosen = alike[0] if len(alike) == 1 else None
        return chosen if chosen is not None and chosen.side is not None else None

    def resolved(
        self, decided: Callable[[int, OpenConflict], Resolution | bool | None]
    ) -> PendingMerge:
        """The same with other resolutions; `decided` answers False to leave one as it is."""
        conflicts = []
        for number, known in enumerate(self.conflicts, 1):
            resolution = decided(number, known)
            if resolution is False:
                conflicts.append(known)
            else:
                assert not isinstance(resolution, bool)
                conflicts.append(replace(known, resolution=resolution))
        return replace(self, conflicts=tuple(conflicts))


def new_pending_merge(
    task: MergeTask, target_lsn: Lsn, conflicts: Iterable[Conflict], known: PendingMerge | None
) -> PendingMerge:
    """A merge that is left with these conflicts; what was decided about the same ones stays."""
    decide = known.decide if known is not None else lambda _: None
    return PendingMerge(
        uuid.uuid4().hex,
        task,
        target_lsn,
        tuple(OpenConflict(conflict, decide(conflict)) for conflict in conflicts),
    )


def find_pending_merge(database: MergedDatabase, target_id: BranchId) -> PendingMerge | None:
    """The merge that is pending into a branch; None when there is none.

    Errors: CorruptStoreError when its document is damaged or gone.
    """
    named = database.refs().pending_merges.get(target_id)
    if named is None:
        return None
    path = _path(database, target_id, named.id)
    try:
        stored = read_document(path, _KIND, FORMAT_VERSION)
    except FileNotFoundError:
        raise CorruptStoreError(f"{path} is missing, though a merge is pending") from None
    try:
        found = _from_json(stored)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptStoreError(f"{path} does not hold a pending merge: {error}") from error
    if found.id != named.id:
        raise CorruptStoreError(f"{path} is of another merge than the one that is pending")
    return found


def pending_merge_of(database: MergedDatabase, target: str) -> PendingMerge:
    """The merge that is pending into the branch of that name.

    Errors: InvalidMergeOperationError when there is none.
    """
    branch = database.refs().branch(target)
    found = find_pending_merge(database, branch.id)
    if found is None:
        raise InvalidMergeOperationError(f"no merge into branch {branch.name!r} is pending")
    return found


def save_pending_merge(database: MergedDatabase, pending: PendingMerge) -> None:
    """Keep it, in place of the one that was pending into its target."""
    target_id = pending.task.target_id
    named = PendingMergeRef(
        pending.id,
        target_id,
        tuple((moment.branch_id, moment.lsn) for moment in pending.task.moments),
    )
    path = _path(database, target_id, pending.id)
    with database.updated_refs() as refs:  # which name a document that is there
        write_document(path, _KIND, FORMAT_VERSION, _to_json(pending))
        refs.pending_merges[target_id] = named
    _remove_others(database, target_id)


def save_resolutions(database: MergedDatabase, pending: PendingMerge) -> None:
    """Keep what is decided about the conflicts of the merge that is pending.

    Errors: InvalidMergeOperationError when it is pending no more.
    """
    target_id = pending.task.target_id
    with database.held_refs() as refs:
        named = refs.pending_merges.get(target_id)
        if named is None or named.id != pending.id:
            raise InvalidMergeOperationError("the merge that was pending has ended meanwhile")
        path = _path(database, target_id, pending.id)
        write_document(path, _KIND, FORMAT_VERSION, _to_json(pending))


def forget_pending_merge(database: MergedDatabase, pending: PendingMerge) -> None:
    """Have it pending no more."""
    target_id = pending.task.target_id
    with database.updated_refs() as refs:
        named = refs.pending_merges.get(target_id)
        if named is not None and named.id == pending.id:
            del refs.pending_merges[target_id]
    _remove_others(database, target_id)


def _remove_others(database: MergedDatabase, target_id: BranchId) -> None:
    """Remove documents of merges that are pending no more, a crash's leftovers among them."""
    directory = database.branch_directory(target_id)
    with database.held_refs() as refs:
        named = refs.pending_merges.get(target_id)
        kept = None if named is None else f"{DOCUMENT_PREFIX}{named.id}.json"
        for name in os.listdir(directory):
            if name.startswith(DOCUMENT_PREFIX) and name != kept:
                remove_quietly(os.path.join(directory, name))


def _path(database: MergedDatabase, target_id: BranchId, pending_id: str) -> str:
    return os.path.join(database.branch_directory(target_id), f"{DOCUMENT_PREFIX}{pending_id}.json")


def _place(conflict: Conflict) -> tuple[ConflictKind, RowName]:
    return conflict.kind, conflict.name


def _values(conflict: Conflict) -> list[list[SqlValue] | None]:
    """Key and states without the names of columns."""
    states = (conflict.key, conflict.base, conflict.ours, conflict.theirs)
    return [None if state is None else [*state.values()] for state in states]


def _is_same(one: Conflict, other: Conflict) -> bool:
    return one.columns == other.columns and all(
        is_same_row(getattr(one, state), getattr(other, state))
        for state in ("base", "ours", "theirs")
    )


# -- as JSON, which has no bytes -------------------------------------------------------------------


def row_to_json(row: NamedValues | None) -> dict[str, Any] | None:
    """A row as JSON has it: bytes become an object of their hexadecimal digits."""
    if row is None:
        return None
    return {
        name: {"hex": value.hex()} if isinstance(value, bytes) else value
        for name, value in row.items()
    }


def row_from_json(row: dict[str, Any] | None) -> NamedValues | None:
    """The row that `row_to_json` made this of."""
    if row is None:
        return None
    return {
        name: bytes.fromhex(value["hex"]) if isinstance(value, dict) else value
        for name, value in row.items()
    }


def _pairs(row: NamedValues | None) -> list[list[Any]] | None:
    """A row in the order of its columns, which a checked document would sort."""
    jsonable = row_to_json(row)
    return None if jsonable is None else [[name, value] for name, value in jsonable.items()]


def _from_pairs(pairs: list[list[Any]] | None) -> NamedValues | None:
    return None if pairs is None else row_from_json(dict(pairs))


def _to_json(pending: PendingMerge) -> dict[str, Any]:
    return {
        "id": pending.id,
        "task": asdict(pending.task),
        "target_lsn": pending.target_lsn,
        "conflicts": [
            {
                "kind": known.conflict.kind,
                "table": known.conflict.table,
                "columns": known.conflict.columns,
                "detail": known.conflict.detail,
                **{
                    part: _pairs(getattr(known.conflict, part))
                    for part in ("key", "base", "ours", "theirs")
                },
                "resolution": known.resolution
                and {"side": known.resolution.side, "row": _pairs(known.resolution.row)},
            }
            for known in pending.conflicts
        ],
    }


def _from_json(stored: dict[str, Any]) -> PendingMerge:
    return PendingMerge(
        stored["id"],
        _task_from(stored["task"]),
        Lsn(stored["target_lsn"]),
        tuple(map(_conflict_from, stored["conflicts"])),
    )


def _conflict_from(stored: dict[str, Any]) -> OpenConflict:
    conflict = Conflict(
        ConflictKind(stored["kind"]),
        stored["table"],
        _from_pairs(stored["key"]) or {},
        _from_pairs(stored["base"]),
        _from_pairs(stored["ours"]),
        _from_pairs(stored["theirs"]),
        tuple(stored["columns"]),
        stored["detail"],
    )
    decided = stored["resolution"]
    if decided is None:
        return OpenConflict(conflict)
    side = None if decided["side"] is None else Side(decided["side"])
    return OpenConflict(conflict, Resolution(side, _from_pairs(decided["row"])))


def _task_from(stored: dict[str, Any]) -> MergeTask:
    def moment(of: dict[str, Any]) -> ResolvedMoment:
        return ResolvedMoment(BranchId(of["branch_id"]), Lsn(of["lsn"]))

    return MergeTask(
        TaskKind(stored["kind"]),
        BranchId(stored["target_id"]),
        stored["source"],
        tuple(map(moment, stored["bases"])),
        moment(stored["theirs"]),
        tuple(map(moment, stored["roots"])),
        stored["author"],
        stored["message"],
        stored["undoes"] and tuple(stored["undoes"]),
    )

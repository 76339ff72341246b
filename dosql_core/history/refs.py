"""The names a database knows: branches, snapshots, slots; one checked document, `refs.json`."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from dosql_core.errors import (
    BranchExistsError,
    BranchNotFoundError,
    CorruptStoreError,
    InvalidBranchNameError,
    SnapshotNotFoundError,
)
from dosql_core.identifiers import (
    MAIN_BRANCH,
    MAIN_BRANCH_ID,
    BranchId,
    BranchName,
    Lsn,
    Microseconds,
)
from dosql_core.options import Retention
from dosql_core.storage.checked_document import read_document, write_document
from dosql_core.storage.lock_files import exclusive_lock

FORMAT_VERSION = 1
_KIND = "refs"
_NAME_LENGTH_MAX = 255
_NAMES_IN_A_HINT = 10
_BRANCH_ID = re.compile(r"[a-z0-9-]+-[0-9a-f]{12,}")  # what `new_branch_id` makes


def directory_of(path: str) -> str:
    """Where the history of the database file at `path` lives."""
    return path + "-dosql"


@dataclass(frozen=True, slots=True)
class BranchRef:
    """One branch. Shape: `parent_id` is None for main, which has no parent and no fork LSN."""

    id: BranchId
    name: BranchName
    parent_id: BranchId | None
    fork_lsn: Lsn
    created_at: Microseconds
    is_protected: bool = False
    is_overlay: bool = False


@dataclass(frozen=True, slots=True)
class SnapshotRef:
    """A named moment."""

    name: str
    branch_id: BranchId
    lsn: Lsn
    created_at: Microseconds


@dataclass(frozen=True, slots=True)
class SlotRef:
    """How far a reader of changes has come; the commits after `lsn` are kept for it.

    Shape: `is_lost` once it fell further behind than `lag_bytes_max`; then nothing is kept for it.
    """

    name: str
    branch_id: BranchId
    lsn: Lsn
    created_at: Microseconds
    tables: tuple[str, ...] | None = None
    lag_bytes_max: int | None = None
    is_lost: bool = False


@dataclass(frozen=True, slots=True)
class MergeRef:
    """A merge that was made: commit `target_lsn` holds what the source was at `source_lsn`.

    Shape: `source_name` is what the source was called then, "" for what came along with another
           branch. `is_equal`: both were the same then. `committed_at` is the time of the commit
           until that is known to have been made; before, the merge may never have happened.
           `is_undone`: a later commit took it back.
    """

    target_id: BranchId
    target_lsn: Lsn
    source_id: BranchId
    source_lsn: Lsn
    source_name: str = ""
    is_equal: bool = False
    committed_at: Microseconds | None = None
    is_undone: bool = False


@dataclass(frozen=True, slots=True)
class PendingMergeRef:
    """A merge that waits for its conflicts to be resolved; the file of that `id` has the rest.

    Shape: `moments` are what it reads, and what is kept for it.
    """

    id: str
    target_id: BranchId
    moments: tuple[tuple[BranchId, Lsn], ...]


@dataclass(slots=True)
class RefsContent:
    """What refs.json says, to be changed inside `Refs.update` only."""

    branches: dict[BranchId, BranchRef] = field(default_factory=dict)
    snapshots: dict[str, SnapshotRef] = field(default_factory=dict)
    retention: Retention = field(default_factory=Retention)
    slots: dict[str, SlotRef] = field(default_factory=dict)
    merges: list[MergeRef] = field(default_factory=list)
    pending_merges: dict[BranchId, PendingMergeRef] = field(default_factory=dict)

    def find_branch(self, name: str) -> BranchRef | None:
        """The branch of that name in any case of its letters; None when there is none."""
        for branch in self.branches.values():
            if branch.name == name or branch.name.casefold() == name.casefold():
                return branch
        return None

    def branch(self, name: str) -> BranchRef:
        """The branch of that name, in any case of its letters.

        Errors: BranchNotFoundError naming those there are.
        """
        found = self.find_branch(name)
        if found is not None:
            return found
        known = _nearest(name, [branch.name for branch in self.branches.values()])
        raise BranchNotFoundError(
            f"there is no branch {name!r}", hint=f"branches of this database: {known}"
        )

    def snapshot(self, name: str) -> SnapshotRef:
        """The snapshot of that name.

        Errors: SnapshotNotFoundError naming those there are.
        """
        found = self.snapshots.get(name)
        if found is None:
            known = _nearest(name, list(self.snapshots))
            raise SnapshotNotFoundError(
                f"there is no snapshot {name!r}", hint=f"snapshots of this database: {known}"
            )
        return found

    def children(self, branch_id: BranchId) -> list[BranchRef]:
        """The branches forked directly from a branch."""
        return [branch for branch in self.branches.values() if branch.parent_id == branch_id]

    def add_branch(self, branch: BranchRef) -> None:
        """Enter a new branch.

        Errors: BranchExistsError.
        """
        self.refuse_taken_name(branch.name)
        self.branches[branch.id] = branch

    def refuse_taken_name(self, name: str) -> None:
        """Errors: BranchExistsError when a branch has the name, in any case of its letters."""
        branch = self.find_branch(name)
        if branch is not None:
            raise BranchExistsError(
                f"a branch {branch.name!r} exists already",
                hint="CREATE BRANCH IF NOT EXISTS leaves it as it is; or choose another name",
            )

    def forget_merges_after(self, branch_id: BranchId, lsn: Lsn) -> None:
        """Have a branch contain nothing any more that was merged into it after an LSN."""
        self.merges = [
            replace(merge, is_undone=True)
            if merge.target_id == branch_id and merge.target_lsn > lsn
            else merge
            for merge in self.merges
        ]

    def new_branch_id(self, name: str) -> BranchId:
        """A directory name no branch of this database has had: readable, then a number."""
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "branch"
        return BranchId(f"{slug}-{time.time_ns() // 1000:x}")

    def orphans(self, directories: Iterable[str]) -> list[str]:
        """Those of the directories below `branches` that were made for a branch there is not."""
        return sorted(
            name
            for name in directories
            if BranchId(name) not in self.branches and _BRANCH_ID.fullmatch(name)
        )

    def replace_branch(self, branch_id: BranchId, **changes: Any) -> None:
        """Change fields of one branch."""
        self.branches[branch_id] = replace(self.branches[branch_id], **changes)


class Refs:
    """The refs of one database, read afresh when another process changed them."""

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, "refs.json")
        self._lock_path = os.path.join(directory, "refs.lock")
        self._read_at: tuple[int, int, int] | None = None
        self._content = RefsContent()

    @staticmethod
    def create(directory: str) -> Refs:
        """Write the refs of a new database, which has one branch: main."""
        refs = Refs(directory)
        now = Microseconds(time.time_ns() // 1000)
        main = BranchRef(MAIN_BRANCH_ID, MAIN_BRANCH, None, Lsn(0), now, is_protected=True)
        write_document(
            refs._path, _KIND, FORMAT_VERSION, _to_json(RefsContent({MAIN_BRANCH_ID: main}))
        )
        return refs

    @property
    def content(self) -> RefsContent:
        """The present refs; do not change them."""
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            raise CorruptStoreError(f"{self._path} is missing") from None
        signature = (found.st_ino, found.st_mtime_ns, found.st_size)
        if signature != self._read_at:
            self._content = _from_json(read_document(self._path, _KIND, FORMAT_VERSION), self._path)
            self._read_at = signature
        return self._content

    @contextlib.contextmanager
    def held(self) -> Iterator[RefsContent]:
        """The refs, which nobody changes within the block; do not change them either."""
        with exclusive_lock(self._lock_path):
            self._read_at = None
            yield self.content

    @contextlib.contextmanager
    def update(self) -> Iterator[RefsContent]:
        """Change the refs: nobody else does meanwhile, and all of it or nothing is written.

        Whoever holds the database's own lock may wait here, so the block must not ask for it.
        """
        with self.held() as content:
            working = RefsContent(
                dict(content.branches),
                dict(content.snapshots),
                content.retention,
                dict(content.slots),
                list(content.merges),
                dict(content.pending_merges),
            )
            yield working
            write_document(self._path, _KIND, FORMAT_VERSION, _to_json(working))
            self._read_at = None


def _nearest(wanted: str, names: list[str]) -> str:
    """Names for a hint: all of them while they are few, else those that look most like `wanted`."""
    if len(names) <= _NAMES_IN_A_HINT:
        return ", ".join(sorted(names)) or "none yet"
    shown = difflib.get_close_matches(wanted, names, _NAMES_IN_A_HINT) or sorted(names)
    shown = shown[:_NAMES_IN_A_HINT]
    return f"{', '.join(shown)} and {len(names) - len(shown)} others"


def check_branch_name(name: str) -> BranchName:
    """The name, when it follows the rules.

    Errors: InvalidBranchNameError saying which rule it breaks.
    """
    if not isinstance(name, str) or not name:
        raise InvalidBranchNameError(f"{name!r} is not a name for a branch: it is empty")
    broken = None
    if len(name) > _NAME_LENGTH_MAX:
        broken = f"it has {len(name)} characters"
    elif ".." in name:
        broken = "it contains '..'"
    elif name.endswith(".lock"):
        broken = "it ends in '.lock'"
    elif name[0] in "._" or name.startswith("refs/"):
        broken = f"it begins with {'refs/' if name.startswith('refs/') else name[0]!r}"
    elif name != name.strip() or any(not character.isprintable() for character in name):
        broken = "it has blanks at an end or control characters"
    elif "@" in name or ":" in name:
        broken = "it contains '@' or ':', which moments use"
    if broken:
        raise InvalidBranchNameError(f"{name[:60]!r} is not a name for a branch: {broken}")
    return BranchName(name)


def _to_json(content: RefsContent) -> dict[str, Any]:
    return {
        "branches": [asdict(branch) for branch in content.branches.values()],
        "snapshots": [asdict(snapshot) for snapshot in content.snapshots.values()],
        "retention": asdict(content.retention),
        "slots": [asdict(slot) for slot in content.slots.values()],
        "merges": [asdict(merge) for merge in content.merges],
        "pending_merges": [asdict(merge) for merge in content.pending_merges.values()],
    }


def _from_json(stored: dict[str, Any], path: str) -> RefsContent:
    try:
        return RefsContent(
            {BranchId(row["id"]): BranchRef(**row) for row in stored["branches"]},
            {row["name"]: SnapshotRef(**row) for row in stored["snapshots"]},
            Retention(**stored["retention"]),
            {row["name"]: _slot_from(row) for row in stored.get("slots", [])},
            [MergeRef(**row) for row in stored.get("merges", [])],
            {row["target_id"]: _pending_from(row) for row in stored.get("pending_merges", [])},
        )
    except (KeyError, TypeError) as error:
        raise CorruptStoreError(f"{path} does not hold what refs hold: {error}") from error


def _slot_from(row: dict[str, Any]) -> SlotRef:
    tables = row.pop("tables")
    return SlotRef(**row, tables=None if tables is None else tuple(tables))


def _pending_from(row: dict[str, Any]) -> PendingMergeRef:
    moments = tuple((BranchId(branch_id), Lsn(lsn)) for branch_id, lsn in row.pop("moments"))
    return PendingMergeRef(**row, moments=moments)

"""Named moments: create, drop, list. A snapshot pins the pages it needs."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from dosql_core.errors import ProgrammingError, SnapshotExistsError
from dosql_core.history.branching import BranchedDatabase
from dosql_core.history.log import utc
from dosql_core.history.moments import AsOf, moment_from, now
from dosql_core.history.refs import SnapshotRef
from dosql_core.history.time_travel import ResolvedMoment, resolve
from dosql_core.identifiers import MAIN_BRANCH, BranchName, Lsn

_NAME_LENGTH_MAX = 255


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """A snapshot as a list shows it; times are UTC."""

    name: str
    branch: BranchName
    lsn: Lsn
    committed_at: datetime.datetime | None
    created_at: datetime.datetime


class Snapshots:
    """The snapshots of one database."""

    def __init__(self, database: BranchedDatabase) -> None:
        self._database = database

    def create(
        self,
        name: str,
        as_of: AsOf | None = None,
        branch: str = MAIN_BRANCH,
        *,
        if_not_exists: bool = False,
    ) -> SnapshotInfo:
        """Name a moment: the present of `branch`, or another one.

        Errors: SnapshotExistsError, and those of looking a moment up.
        """
        if not name or len(name) > _NAME_LENGTH_MAX or not name.isprintable():
            raise ProgrammingError(f"{name[:60]!r} is not a name for a snapshot")
        database = self._database
        if if_not_exists and name in database.refs().snapshots:
            return self.get(name)
        branch_id = database.refs().branch(branch).id
        if as_of is None:
            resolved = ResolvedMoment(branch_id, database.sealed(branch_id).newest_lsn)
        else:
            resolved = resolve(moment_from(as_of), branch_id, database)
        history = database.known(resolved.branch_id)
        with database.updated_refs() as refs:
            if name in refs.snapshots:
                raise SnapshotExistsError(f"a snapshot {name!r} exists already")
            history.refresh()
            history.view(resolved.lsn).close()  # nothing is dropped while the refs are held
            refs.snapshots[name] = SnapshotRef(name, resolved.branch_id, resolved.lsn, now())
        return self.get(name)

    def drop(self, name: str, *, if_exists: bool = False) -> None:
        """Forget a name; what only it needed goes with the next compaction.

        Errors: SnapshotNotFoundError.
        """
        with self._database.updated_refs() as refs:
            if if_exists and name not in refs.snapshots:
                return
            del refs.snapshots[refs.snapshot(name).name]

    def get(self, name: str) -> SnapshotInfo:
        """One snapshot. Errors: SnapshotNotFoundError."""
        refs = self._database.refs()
        snapshot = refs.snapshot(name)
        committed_at = None
        if snapshot.lsn:
            history = self._database.known(snapshot.branch_id)
            committed_at = utc(history.commit(snapshot.lsn).committed_at)
        return SnapshotInfo(
            snapshot.name,
            refs.branches[snapshot.branch_id].name,
            snapshot.lsn,
            committed_at,
            utc(snapshot.created_at),
        )

    def list(self) -> list[SnapshotInfo]:
        """All snapshots, oldest first."""
        snapshots = sorted(self._database.refs().snapshots.values(), key=lambda s: s.created_at)
        return [self.get(snapshot.name) for snapshot in snapshots]

"""Which side wrote a row last: the policy "newest", by the times of commits."""

from __future__ import annotations

from collections.abc import Iterator

from dosql_core.history.differences import Difference
from dosql_core.history.time_travel import ResolvedMoment
from dosql_core.identifiers import Lsn, Microseconds
from dosql_core.merging.conflict import (
    Conflict,
    Resolution,
    RowName,
    Side,
    decide_nothing,
    row_name,
)
from dosql_core.merging.merge_task import MergedDatabase, MergeTask, present_of
from dosql_core.merging.merged_names import MomentNames
from dosql_core.merging.three_moments import ThreeMoments
from dosql_core.rows.row_change import RowChange

_Written = tuple[Microseconds, RowChange]


class LastWriter:
    """Decides for the side that changed what is in dispute last; for ours when both did at once.

    Conflicts that only the merged whole shows, and those of schemas, it leaves open.
    """

    def __init__(self, database: MergedDatabase, task: MergeTask) -> None:
        base = task.bases[0]
        history = database.known(base.branch_id)
        since = history.commit(base.lsn).committed_at if base.lsn else Microseconds(0)
        ours = present_of(database, task.target_id)
        with ThreeMoments(database, task.bases, ours, task.theirs, task.roots) as moments:
            of = moments.find_names(decide_nothing).of
        base_names = of[Side.BASE]
        self._ours = _Writes(database, ours, since, of[Side.OURS].beside(base_names))
        self._theirs = _Writes(database, task.theirs, since, of[Side.THEIRS].beside(base_names))

    def __call__(self, conflict: Conflict) -> Resolution | None:
        """The side that wrote last."""
        if conflict.kind.is_of_constraint or "kind" in conflict.key:
            return None
        ours, theirs = self._ours.last(conflict), self._theirs.last(conflict)
        if ours is None or theirs is None:
            return None
        return Resolution(Side.THEIRS if theirs > ours else Side.OURS)


class _Writes:
    """The rows one side wrote, newest first, as far back as anybody has asked."""

    def __init__(
        self,
        database: MergedDatabase,
        present: ResolvedMoment,
        since: Microseconds,
        names: MomentNames,
    ) -> None:
        self._names = names
        self._seen: dict[RowName, list[_Written]] = {}
        self._commits = self._backwards(database, present, since)

    def last(self, conflict: Conflict) -> Microseconds | None:
        """When what is in dispute was written last; None when that is not kept."""
        while True:
            for at, change in self._seen.get(conflict.name, ()):
                changed = change.changed_columns
                if not conflict.columns or not changed or set(changed) & set(conflict.columns):
                    return at
            written = next(self._commits, None)
            if written is None:
                return None
            for at, said in written:
                change = self._names.renamed(said, self._names)
                self._seen.setdefault(row_name(change.table, change.key), []).append((at, change))

    @staticmethod
    def _backwards(
        database: MergedDatabase, present: ResolvedMoment, since: Microseconds
    ) -> Iterator[list[_Written]]:
        history = database.known(present.branch_id)
        for record in history.commits_backwards(present.lsn):
            if record.committed_at <= since:
                return
            before = ResolvedMoment(present.branch_id, Lsn(record.lsn - 1))
            after = ResolvedMoment(present.branch_id, record.lsn)
            with Difference(database, before, after) as difference:
                yield [(record.committed_at, change) for change in difference.rows()]

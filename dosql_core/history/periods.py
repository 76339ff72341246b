"""Look a period up: on which branch, from which LSN to which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dosql_core.errors import HistoryExpiredError, MomentNotFoundError, TimeTravelSyntaxError
from dosql_core.history.moments import Moment
from dosql_core.history.time_travel import (
    ResolvedMoment,
    SealedHistory,
    resolve,
    told_time,
)
from dosql_core.identifiers import EMPTY_LSN, BranchId, Lsn, Microseconds
from dosql_core.language.moments import MomentKind
from dosql_core.language.periods import PeriodKind
from dosql_core.storage.page_history import PageHistory

NOTHING = Lsn(-1)


@dataclass(frozen=True, slots=True)
class ResolvedPeriod:
    """A period looked up.

    Shape: it means the versions of rows that were valid at some LSN from `low` to `high`, none if
           `high` is NOTHING; with `is_contained` only those that began and ended therein. The
           columns are those of `shape_lsn`. Nothing committed behind `horizon` is known.
    """

    branch_id: BranchId
    low: Lsn
    high: Lsn
    shape_lsn: Lsn
    horizon: Lsn
    is_contained: bool = False


def resolve_period(
    kind: PeriodKind,
    moments: Sequence[Moment],
    branch_id: BranchId,
    as_of: Lsn | None,
    database: SealedHistory,
) -> ResolvedPeriod:
    """Look a period up, seen from a branch and, perhaps, from a moment of it.

    Errors: the TT_* family; HistoryExpiredError, too, when only the beginning is no longer kept.
    """
    if kind is PeriodKind.ALL:
        history = database.sealed(branch_id)
        horizon = history.newest_lsn if as_of is None else as_of
        low = min(history.oldest_lsn, horizon)
        return ResolvedPeriod(branch_id, low, horizon, horizon, horizon)
    begin, end = moments
    last = resolve(end, branch_id, database)
    first = _resolve_begin(begin, branch_id, database)
    history = database.sealed(last.branch_id)
    _require_one_past(first, history)
    if first.lsn < history.oldest_lsn:
        oldest = history.oldest_lsn
        raise HistoryExpiredError(first.lsn, oldest, told_time(history, oldest))
    are_times = begin.kind is end.kind is MomentKind.TIMESTAMP
    if (begin.value > end.value) if are_times else (first.lsn > last.lsn):  # type: ignore[operator]
        raise TimeTravelSyntaxError(
            f"the period ends before it begins: {begin} (LSN {first.lsn}) lies behind {end} "
            f"(LSN {last.lsn})",
            hint="name the earlier moment first",
        )
    horizon = history.newest_lsn
    if as_of is not None and branch_id == last.branch_id:
        horizon = max(as_of, last.lsn)
    low, high = first.lsn, last.lsn
    if kind is PeriodKind.FROM:
        if begin == end or (not are_times and low == high):
            high = NOTHING
        elif _is_of_commit(end, last.lsn, history):
            high = Lsn(high - 1)
    elif kind is PeriodKind.CONTAINED and not _is_of_commit(begin, low, history):
        low = Lsn(low + 1)
    return ResolvedPeriod(
        last.branch_id, low, high, last.lsn, horizon, kind is PeriodKind.CONTAINED
    )


def _resolve_begin(begin: Moment, branch_id: BranchId, database: SealedHistory) -> ResolvedMoment:
    """Where a period begins; before the first commit there was nothing, and it is known."""
    try:
        return resolve(begin, branch_id, database)
    except MomentNotFoundError:
        at = begin
        if begin.kind is MomentKind.BRANCH and begin.inner is not None:
            branch_id, at = database.refs().branch(str(begin.value)).id, begin.inner
        if at.kind is not MomentKind.TIMESTAMP:
            raise
        return ResolvedMoment(branch_id, EMPTY_LSN)


def _require_one_past(first: ResolvedMoment, history: PageHistory) -> None:
    """Check that the beginning lies in the past of the branch on which the period ends."""
    layer: PageHistory | None = history
    limit: int | None = None
    while layer is not None:
        if layer.own.branch_id == first.branch_id and (limit is None or first.lsn <= limit):
            return
        limit = layer.own.fork_lsn if limit is None else min(limit, layer.own.fork_lsn)
        layer = layer.parent
    raise TimeTravelSyntaxError(
        f"the period begins at LSN {first.lsn} of one branch and ends on another, which does not "
        "come from there",
        hint="both moments belong to one branch; dosql_diff compares two branches",
    )


def _is_of_commit(moment: Moment, lsn: Lsn, history: PageHistory) -> bool:
    """Whether a moment is just that of a commit, and not some time behind it."""
    at = moment.inner if moment.kind is MomentKind.BRANCH and moment.inner else moment
    if at.kind is not MomentKind.TIMESTAMP:
        return True
    return lsn != EMPTY_LSN and history.commit(lsn).committed_at == Microseconds(int(at.value))

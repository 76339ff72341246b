"""Look a moment up: which branch and which LSN it is, or why it is none."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from dosql_core.errors import (
    BranchNotFoundError,
    FutureMomentError,
    HistoryExpiredError,
    LsnNotAvailableError,
    MomentBranchNotFoundError,
    MomentNotFoundError,
    SnapshotNotFoundError,
)
from dosql_core.history.moments import Moment, format_time, now
from dosql_core.history.refs import RefsContent
from dosql_core.identifiers import BranchId, Lsn, Microseconds
from dosql_core.language.moments import MomentKind
from dosql_core.storage.page_history import PageHistory

_BRANCH_AT_LSN = re.compile(r"(.+)@(\d+)")


@dataclass(frozen=True, slots=True)
class ResolvedMoment:
    """A moment looked up: the state of a branch at an LSN that history has sealed."""

    branch_id: BranchId
    lsn: Lsn


class SealedHistory(Protocol):
    """What looking moments up needs to know of a database."""

    def refs(self) -> RefsContent:
        """The present refs."""

    def sealed(self, branch_id: BranchId, *, settled: bool = False) -> PageHistory:
        """History of a branch up to the present: every commit made so far is sealed in it.

        `settled`: also wait until no commit is half way, so that a time up to now means the same
        for ever.
        """

    def known(self, branch_id: BranchId) -> PageHistory:
        """History of a branch as it was sealed last, which may be a little behind."""


def resolve(moment: Moment, branch_id: BranchId, database: SealedHistory) -> ResolvedMoment:
    """Look `moment` up, on `branch_id` unless it names another branch.

    Errors: the TT_* family of dosql_core.errors, each saying what there is instead.
    """
    if moment.kind is MomentKind.BRANCH:
        return _resolve_branch(moment, database)
    if moment.kind is MomentKind.SNAPSHOT:
        return _resolve_snapshot(str(moment.value), database)
    if moment.kind is MomentKind.LSN:
        lsn = _lsn_on(int(moment.value), branch_id, database)
    else:
        lsn = _lsn_at(Microseconds(int(moment.value)), branch_id, database)
    return ResolvedMoment(branch_id, lsn)


def _resolve_branch(moment: Moment, database: SealedHistory) -> ResolvedMoment:
    try:
        branch = database.refs().branch(str(moment.value))
    except BranchNotFoundError as error:
        raise MomentBranchNotFoundError(str(error), hint=error.hint) from None
    if moment.inner is not None:
        return resolve(moment.inner, branch.id, database)
    return ResolvedMoment(branch.id, database.sealed(branch.id).newest_lsn)


def _resolve_snapshot(name: str, database: SealedHistory) -> ResolvedMoment:
    refs = database.refs()
    at_lsn = _BRANCH_AT_LSN.fullmatch(name)
    if name not in refs.snapshots and at_lsn is not None:
        branch = refs.find_branch(at_lsn[1])
        if branch is not None:
            return ResolvedMoment(branch.id, _lsn_on(int(at_lsn[2]), branch.id, database))
    try:
        snapshot = refs.snapshot(name)
    except SnapshotNotFoundError as error:
        raise SnapshotNotFoundError(str(error), hint=error.hint) from None
    return ResolvedMoment(snapshot.branch_id, snapshot.lsn)


def _lsn_on(asked: int, branch_id: BranchId, database: SealedHistory) -> Lsn:
    history = database.known(branch_id)
    if asked < 0 or asked > history.newest_lsn:
        history = database.sealed(branch_id)
    lsn = Lsn(history.newest_lsn + asked if asked < 0 else asked)
    if lsn < 0 or lsn > history.newest_lsn:
        told = f"LSN {lsn}" if asked >= 0 else f"LSN {asked}, so many before the newest,"
        raise LsnNotAvailableError(
            f"{told} is not a commit of this branch; its commits are 0 to {history.newest_lsn}"
        )
    return _readable(history, lsn)


def _readable(history: PageHistory, lsn: Lsn) -> Lsn:
    """The LSN, when its pages are kept. Errors: HistoryExpiredError naming the oldest moment."""
    try:
        history.require(lsn)
    except HistoryExpiredError as error:
        raise _with_its_time(error, history) from None
    return lsn


def _with_its_time(error: HistoryExpiredError, history: PageHistory) -> HistoryExpiredError:
    return HistoryExpiredError(error.asked, error.oldest, told_time(history, error.oldest))


def _lsn_at(at: Microseconds, branch_id: BranchId, database: SealedHistory) -> Lsn:
    present = now()
    if at > present:
        raise FutureMomentError(
            f"{format_time(at)} has not happened yet; it is {format_time(present)} UTC"
        )
    history = database.known(branch_id)
    newest = history.newest_lsn
    if newest == 0 or at >= history.commit(newest).committed_at:
        history = database.sealed(branch_id, settled=True)
    try:
        lsn = history.newest_at(at)
    except HistoryExpiredError as error:
        raise _with_its_time(error, history) from None
    if lsn is not None:
        return _readable(history, lsn)
    first = f"; its first commit is of {told_time(history, Lsn(1))}" if history.newest_lsn else ""
    raise MomentNotFoundError(f"the branch had no commit yet at {format_time(at)}{first}")


def told_time(history: PageHistory, lsn: Lsn) -> str:
    """When a commit happened, as text."""
    return format_time(history.commit(lsn).committed_at) + " UTC"

"""Carry out the statements that merge, revert, pick and rebase, for a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dosql_core.errors import UncommittedChangesError
from dosql_core.language import merge_commands as commands
from dosql_core.merging.merge_task import MergeResult
from dosql_core.sessions.command_result import CommandResult

if TYPE_CHECKING:
    from dosql_core.sessions.head_session import HeadSession

_MERGED = ("lsn", "rows", "conflicts", "fast_forward")


def _merge_branch(session: HeadSession, command: Any, _moment: object) -> CommandResult:
    _refuse_in_transaction(session, "MERGE BRANCH")
    done = session.database.branches.merge(
        command.source,
        _target(session, command),
        _using(command.options),
        dry_run=command.options.is_dry_run,
        squash=command.options.is_squash,
        fast_forward_only=command.options.is_fast_forward_only,
    )
    return _answer(done, f"branch {done.source} merged into {done.target}")


def _commit_merge(session: HeadSession, command: Any, _moment: object) -> CommandResult:
    _refuse_in_transaction(session, "COMMIT MERGE")
    done = session.database.branches.complete(_target(session, command))
    return _answer(done, f"{done.source} merged into {done.target}")


def _abort_merge(session: HeadSession, command: Any, _moment: object) -> CommandResult:
    target = _target(session, command)
    session.database.branches.abort(target)
    return CommandResult(message=f"branch {target} stays as it is")


def _resolve_conflicts(session: HeadSession, command: Any, _moment: object) -> CommandResult:
    branches, target = session.database.branches, _target(session, command)
    way = command.using.value.lower()
    if command.first is None:
        count = branches.resolve(way, target, table=command.table)
    else:
        count = branches.resolve_numbered({command.first: way}, target)
    return CommandResult(("resolved",), ((count,),), f"{count} resolved: {way}")


def _revert(session: HeadSession, command: Any, _moment: object) -> CommandResult:
    _refuse_in_transaction(session, "REVERT")
    done = session.database.branches.revert(
        command.first,
        command.last,
        _target(session, command),
        _using(command.options),
        dry_run=command.options.is_dry_run,
    )
    return _answer(done, f"{done.source} reverted")


def _cherry_pick(session: HeadSession, command: Any, _moment: object) -> CommandResult:
    _refuse_in_transaction(session, "CHERRY PICK")
    done = session.database.branches.cherry_pick(
        command.first,
        command.source,
        _target(session, command),
        _using(command.options),
        through=command.last,
        dry_run=command.options.is_dry_run,
    )
    return _answer(done, f"{done.source} picked")


def _rebase_branch(session: HeadSession, command: Any, _moment: object) -> CommandResult:
    _refuse_in_transaction(session, "REBASE BRANCH")
    done = session.database.branches.rebase(
        command.name, command.onto, _using(command.options), squash=command.options.is_squash
    )
    columns = ("fork_lsn", "lsn", "commits", "skipped")
    row = (done.fork_lsn, done.lsn, done.commits, done.skipped)
    return CommandResult(columns, (row,), f"branch {done.branch} rebased onto {done.onto}")


def _refuse_in_transaction(session: HeadSession, what: str) -> None:
    if session.kernel.in_transaction:
        raise UncommittedChangesError(f"{what} cannot run inside a transaction")


def _target(session: HeadSession, command: Any) -> str:
    return str(command.target or session.branch)


def _using(options: commands.MergeOptions) -> str | None:
    return None if options.using is None else options.using.value.lower()


def _answer(done: MergeResult, message: str) -> CommandResult:
    row = (done.lsn, done.rows, len(done.conflicts), int(done.is_fast_forward))
    return CommandResult(_MERGED, (row,), message)


MERGE_RUNNERS = {
    commands.MergeBranch: _merge_branch,
    commands.CommitMerge: _commit_merge,
    commands.AbortMerge: _abort_merge,
    commands.ResolveConflicts: _resolve_conflicts,
    commands.Revert: _revert,
    commands.CherryPick: _cherry_pick,
    commands.RebaseBranch: _rebase_branch,
}

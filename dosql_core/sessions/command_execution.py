"""Carry out DoSQL's own statements for a session; what they mean is in `history`."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dosql_core.errors import NotSupportedError, ReadOnlyMomentError, UncommittedChangesError
from dosql_core.errors.moments import OPENED_READ_ONLY
from dosql_core.history.log import walk_log
from dosql_core.history.moments import Moment, format_time
from dosql_core.history.restore import restore_branch
from dosql_core.history.table_restore import restore_table
from dosql_core.kernel.connection import run
from dosql_core.language import commands
from dosql_core.language.classify import Statement
from dosql_core.language.moments import MomentKind
from dosql_core.sessions.command_result import CommandResult
from dosql_core.sessions.merge_execution import MERGE_RUNNERS

if TYPE_CHECKING:
    from dosql_core.sessions.head_session import HeadSession


def run_command(session: Any, statement: Statement, parameters: Any) -> CommandResult:
    """Carry out one statement of ours."""
    assert statement.command is not None
    command, values = commands.bind_command(statement.command, parameters)
    _refuse_what_changes(session, command)
    clause = getattr(command, "moment", None)
    moment = session.moment_of(clause, values) if clause is not None else None
    return _RUNNERS[type(command)](session, command, moment)


def _refuse_what_changes(session: Any, command: Any) -> None:
    """A connection that only reads changes nothing by our statements either.

    One to the past may still make a branch or a snapshot of what it reads.
    """
    if _only_reads(command):
        return
    what = re.sub("(?<=.)(?=[A-Z])", " ", type(command).__name__).upper()
    if session.as_of is not None:
        if isinstance(command, commands.CreateBranch | commands.CreateSnapshot):
            return
        raise ReadOnlyMomentError(
            f"{what} changes the present, and this connection reads LSN {session.as_of}",
            hint="use a connection without as_of",
        )
    ((is_read_only,),) = run(session.kernel, "PRAGMA query_only")
    if is_read_only:
        hint = OPENED_READ_ONLY if session.read_only else None
        raise ReadOnlyMomentError(
            f"{what} changes the database, and this connection is read-only", hint=hint
        )


def _only_reads(command: Any) -> bool:
    if isinstance(command, commands.UseBranch):
        return command.if_missing is commands.IfMissing.REFUSE
    options = getattr(command, "options", None)
    return type(command) in _READING or (options is not None and options.is_dry_run)


def _create_branch(session: HeadSession, command: Any, moment: Moment | None) -> CommandResult:
    source = command.source or session.branch
    if moment is None and session.as_of is not None and command.source is None:
        moment = Moment(MomentKind.LSN, session.as_of)
    info = session.database.branches.create(
        command.name, source, moment, if_not_exists=command.if_not_exists
    )
    return CommandResult(message=f"branch {info.name} forked at LSN {info.fork_lsn}")


def _drop_branch(session: HeadSession, command: Any, _moment: Moment | None) -> CommandResult:
    session.database.branches.drop(command.name, force=command.force, if_exists=command.if_exists)
    return CommandResult(message=f"branch {command.name} dropped")


def _rename_branch(session: HeadSession, command: Any, _moment: Moment | None) -> CommandResult:
    session.database.branches.rename(command.name, command.new_name)
    return CommandResult(message=f"branch {command.name} is called {command.new_name} now")


def _protect_branch(session: HeadSession, command: Any, _moment: Moment | None) -> CommandResult:
    session.database.branches.protect(command.name, command.is_protected)
    return CommandResult(message=f"branch {command.name} protected: {command.is_protected}")


def _use_branch(session: HeadSession, command: Any, _moment: Moment | None) -> CommandResult:
    if session.kernel.in_transaction:
        raise UncommittedChangesError(f"a transaction is open; {command.name!r} cannot be used")
    if command.if_missing is not commands.IfMissing.REFUSE:
        may_exist = command.if_missing is commands.IfMissing.CREATE
        session.database.branches.create(command.name, session.branch, if_not_exists=may_exist)
    session.use_branch(command.name)
    return CommandResult(message=f"on branch {command.name}")


def _show_branches(session: HeadSession, command: Any, _moment: Moment | None) -> CommandResult:
    columns = (
        "name", "parent", "fork_lsn", "lsn", "ahead", "behind", "merged", "own_bytes",
        "protected", "hydrated", "current",
    )  # fmt: skip
    rows = tuple(
        (
            b.name, b.parent, b.fork_lsn, b.lsn, b.ahead, b.behind, int(b.is_merged), b.own_bytes,
            int(b.is_protected), int(b.is_hydrated), int(b.id == session.branch_id),
        )
        for b in session.database.branches.list()
        if _is_like(b.name, command.pattern)
    )  # fmt: skip
    return CommandResult(columns, rows)


def _hydrate_branch(session: HeadSession, command: Any, _moment: Moment | None) -> CommandResult:
    path = session.database.branches.hydrate(command.name)
    return CommandResult(("path",), ((path,),), f"branch {command.name} is a stock SQLite file now")


def _create_snapshot(session: HeadSession, command: Any, moment: Moment | None) -> CommandResult:
    if moment is None and session.as_of is not None:
        moment = Moment(MomentKind.LSN, session.as_of)
    info = session.database.snapshots.create(
        command.name, moment, session.branch, if_not_exists=command.if_not_exists
    )
    return CommandResult(message=f"snapshot {info.name} is LSN {info.lsn} of {info.branch}")


def _drop_snapshot(session: HeadSession, command: Any, _moment: Moment | None) -> CommandResult:
    session.database.snapshots.drop(command.name, if_exists=command.if_exists)
    return CommandResult(message=f"snapshot {command.name} dropped")


def _show_snapshots(session: HeadSession, command: Any, _moment: Moment | None) -> CommandResult:
    rows = tuple(
        (s.name, s.branch, s.lsn, _text(s.committed_at), _text(s.created_at))
        for s in session.database.snapshots.list()
        if _is_like(s.name, command.pattern)
    )
    return CommandResult(("name", "branch", "lsn", "committed_at", "created_at"), rows)


def _show_log(session: HeadSession, command: Any, _moment: Moment | None) -> CommandResult:
    rows: list[tuple[Any, ...]] = []
    for record in walk_log(session.database.sealed(session.branch_id), last=session.as_of):
        if command.limit is not None and len(rows) >= command.limit:
            break
        rows.append(
            (
                record.lsn, format_time(record.committed_at), record.version_count,
                record.stored_bytes, record.author, record.message,
            )
        )  # fmt: skip
    columns = ("lsn", "committed_at", "pages", "bytes", "author", "message")
    return CommandResult(columns, tuple(rows))


def _restore(session: HeadSession, command: Any, moment: Moment | None) -> CommandResult:
    if session.kernel.in_transaction:
        raise UncommittedChangesError("RESTORE cannot run inside a transaction")
    assert moment is not None
    branch = command.branch or session.branch
    lsn = restore_branch(session.database, moment, branch)
    return CommandResult(("lsn",), ((lsn,),), f"branch {branch} restored, as LSN {lsn}")


def _restore_table(session: HeadSession, command: Any, moment: Moment | None) -> CommandResult:
    assert moment is not None
    count = restore_table(
        session, session.attach_moment(moment), command.table, into=command.new_name
    )
    return CommandResult(("rows",), ((count,),), f"{command.table}: {count} rows")


def _compact(session: HeadSession, _command: Any, _moment: Moment | None) -> CommandResult:
    if session.kernel.in_transaction:
        raise UncommittedChangesError("COMPACT HISTORY cannot run inside a transaction")
    totals = session.database.compact()
    columns = ("bytes_before", "bytes_after", "versions_dropped")
    return CommandResult(
        columns, ((totals.bytes_before, totals.bytes_after, totals.versions_dropped),)
    )


def _set_transaction(session: HeadSession, command: Any, _moment: Moment | None) -> CommandResult:
    """Every level is served by what SQLite gives: serializable writers, snapshot readers."""
    if command.read_only is not None:
        if session.as_of is not None and not command.read_only:
            raise NotSupportedError(
                "a connection to the past is read-only",
                hint=f"CREATE BRANCH ... AS OF LSN {session.as_of} makes a place to go on from",
            )
        if session.read_only and not command.read_only:
            raise ReadOnlyMomentError(
                "this connection was opened read-only, and stays so", hint=OPENED_READ_ONLY
            )
        if session.as_of is None:
            flag = "ON" if command.read_only else "OFF"
            run(session.kernel, f"PRAGMA query_only = {flag}")
    return CommandResult(message="SERIALIZABLE")


def _set_commit_author(session: HeadSession, command: Any, _moment: Moment | None) -> CommandResult:
    session.describe_commit(author=command.author)
    return CommandResult()


def _set_commit_message(
    session: HeadSession, command: Any, _moment: Moment | None
) -> CommandResult:
    session.describe_commit(message=command.message)
    return CommandResult()


def _is_like(name: str, pattern: str | None) -> bool:
    if pattern is None:
        return True
    glob = pattern.replace("[", "[[]").replace("*", "[*]").replace("%", "*").replace("_", "?")
    return fnmatch.fnmatchcase(name.casefold(), glob.casefold())


def _text(moment: Any) -> str | None:
    return None if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S.%f")


_READING = (
    commands.ShowBranches,
    commands.ShowSnapshots,
    commands.ShowLog,
    commands.SetTransaction,
    commands.SetCommitAuthor,  # waits for a commit; in an open transaction SQLite refuses it
    commands.SetCommitMessage,
)
_RUNNERS: dict[type, Callable[[Any, Any, Moment | None], CommandResult]] = {
    **MERGE_RUNNERS,
    commands.CreateBranch: _create_branch,
    commands.DropBranch: _drop_branch,
    commands.RenameBranch: _rename_branch,
    commands.ProtectBranch: _protect_branch,
    commands.UseBranch: _use_branch,
    commands.ShowBranches: _show_branches,
    commands.HydrateBranch: _hydrate_branch,
    commands.CreateSnapshot: _create_snapshot,
    commands.DropSnapshot: _drop_snapshot,
    commands.ShowSnapshots: _show_snapshots,
    commands.ShowLog: _show_log,
    commands.Restore: _restore,
    commands.RestoreTable: _restore_table,
    commands.Compact: _compact,
    commands.SetTransaction: _set_transaction,
    commands.SetCommitAuthor: _set_commit_author,
    commands.SetCommitMessage: _set_commit_message,
}

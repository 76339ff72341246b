"""Pragmas on a head: which run as they are, which we answer ourselves, which would lose history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dosql_core.errors import NotSupportedError, ReadOnlyMomentError
from dosql_core.errors.moments import OPENED_READ_ONLY
from dosql_core.language.classify import Pragma, Statement
from dosql_core.options import Durability
from dosql_core.sessions.command_result import CommandResult

if TYPE_CHECKING:
    from dosql_core.sessions.head_session import HeadSession

_DURABILITY_OF_SYNCHRONOUS = {
    "0": Durability.OFF,
    "off": Durability.OFF,
    "1": Durability.NORMAL,
    "normal": Durability.NORMAL,
    "2": Durability.FULL,
    "full": Durability.FULL,
    "3": Durability.STRICT,
    "extra": Durability.STRICT,
}
_SYNCHRONOUS_OF_DURABILITY = {
    Durability.OFF: 0,
    Durability.NORMAL: 1,
    Durability.FULL: 2,
    Durability.STRICT: 3,
}


def answer_pragma(session: HeadSession, statement: Statement) -> CommandResult | None:
    """None when SQLite may run the pragma; else our answer.

    Errors: NotSupportedError for a pragma that would take the WAL away from history.
    """
    pragma = statement.pragma
    if pragma is None or (pragma.schema or "main").lower() != "main":
        return None
    value = None if pragma.value_text is None else pragma.value_text.strip("'\"").lower()
    answer = _ANSWERS.get(pragma.name.lower())
    return None if answer is None else answer(session, pragma, value)


def _journal_mode(session: HeadSession, pragma: Pragma, value: str | None) -> CommandResult:
    # history is read from the WAL; SQLite, too, answers with the mode in force when it keeps it
    return CommandResult(("journal_mode",), (("wal",),))


def _locking_mode(session: HeadSession, pragma: Pragma, value: str | None) -> CommandResult:
    # exclusive would keep history from reading the WAL
    return CommandResult(("locking_mode",), (("normal",),))


def _query_only(session: HeadSession, pragma: Pragma, value: str | None) -> CommandResult | None:
    if session.read_only and value in ("0", "off", "false", "no"):
        raise ReadOnlyMomentError(
            "this connection was opened read-only, and stays so", hint=OPENED_READ_ONLY
        )
    return None


def _wal_checkpoint(session: HeadSession, pragma: Pragma, value: str | None) -> CommandResult:
    return CommandResult(("busy", "log", "checkpointed"), (session.checkpoint(),))


def _wal_autocheckpoint(session: HeadSession, pragma: Pragma, value: str | None) -> CommandResult:
    # programs set this in passing; the WAL is captured and recycled by size whatever they say
    return CommandResult(("wal_autocheckpoint",), ((0,),))


def _writable_schema(
    session: HeadSession, pragma: Pragma, value: str | None
) -> CommandResult | None:
    if value is None or value in ("0", "off", "false", "no", "reset"):
        return None
    raise NotSupportedError("writable_schema could make a head that SQLite cannot read any more")


def _mmap_size(session: HeadSession, pragma: Pragma, value: str | None) -> CommandResult | None:
    if session.branch == "main" or value is None:
        return None
    return CommandResult(("mmap_size",), ((0,),))


def _busy_timeout(session: HeadSession, pragma: Pragma, value: str | None) -> CommandResult:
    if value is not None:
        session.set_timeout(int(value) / 1000 if value.isdecimal() else 0.0)
    return CommandResult(("timeout",), ((round(session.timeout_seconds * 1000),),))


def _synchronous(session: HeadSession, pragma: Pragma, value: str | None) -> CommandResult:
    if value is None:
        level = _SYNCHRONOUS_OF_DURABILITY[session.durability]
        return CommandResult(("synchronous",), ((level,),))
    session.set_durability(_DURABILITY_OF_SYNCHRONOUS.get(value, Durability.FULL))
    return CommandResult()


def _file_format(session: HeadSession, pragma: Pragma, value: str | None) -> CommandResult | None:
    if value is None or not session.choose_format(pragma.name.lower(), value):
        return None
    return CommandResult()


_ANSWERS = {
    "page_size": _file_format,
    "auto_vacuum": _file_format,
    "encoding": _file_format,
    "journal_mode": _journal_mode,
    "locking_mode": _locking_mode,
    "wal_checkpoint": _wal_checkpoint,
    "wal_autocheckpoint": _wal_autocheckpoint,
    "query_only": _query_only,
    "writable_schema": _writable_schema,
    "mmap_size": _mmap_size,
    "busy_timeout": _busy_timeout,
    "synchronous": _synchronous,
}

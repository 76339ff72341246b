"""Callbacks that watch a connection: authorizer, progress handler, trace; none may raise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dosql_core.errors import DataError
from dosql_core.kernel.sqlite_library import SQLITE_DENY
from dosql_dbapi.user_functions import report

Authorizer = Callable[[int, str | None, str | None, str | None, str | None], int]


def guarded_authorizer(callback: Authorizer) -> Authorizer:
    """An authorizer for the kernel that denies when the program's raises or answers nonsense."""

    def authorize(
        action: int,
        first: str | None,
        second: str | None,
        database: str | None,
        trigger: str | None,
    ) -> int:
        try:
            verdict = callback(action, first, second, database, trigger)
        except Exception as error:
            report(error, callback)
            return SQLITE_DENY
        if type(verdict) is not int or not -(1 << 31) <= verdict < 1 << 31:
            return SQLITE_DENY
        return verdict

    return authorize


def guarded_progress(callback: Callable[[], Any]) -> Callable[[], bool]:
    """A progress handler for the kernel that stops the statement when the program's raises."""

    def go_on() -> bool:
        try:
            return bool(callback())
        except Exception as error:
            report(error, callback)
            return True

    return go_on


def tracer(callback: Callable[[str], Any]) -> Callable[[Any, str, Any], bool]:
    """What the kernel calls before each statement, with the values in the place of parameters."""

    def trace(cursor: Any, sql: str, _parameters: Any) -> bool:
        if not sql:  # no statement: the driver ends the one before in this way
            return True
        try:
            expanded = cursor.expanded_sql
        except Exception:  # the kernel says "out of memory" of a text over the length limit
            expanded = None
        try:
            if expanded is None:
                expanded = sql
                report(DataError("Expanded SQL string exceeds the maximum string length"), callback)
            callback(expanded)
        except Exception as error:
            report(error, callback)
        return True

    return trace

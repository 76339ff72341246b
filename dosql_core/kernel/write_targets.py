"""Which statements take the write lock of main: SQLite is asked, and runs nothing.

A write of a TEMP table or of an attached database does not wait in SQLite for who writes main, so
it must not wait for a turn to write main either. Only who would have to wait asks.
"""

from __future__ import annotations

from typing import Any

import apsw

from dosql_core.kernel.connection import run_untraced
from dosql_core.kernel.sqlite_library import NULL_BINDINGS

_REMEMBERED_MAX = 1024
# What is wrong with a statement itself; running it will say so, without any lock.
_REFUSED = (apsw.SQLError, apsw.AuthError, apsw.TooBigError)


class WriteTargets:
    """What the statements of one connection would write, in the schemas as they are now.

    Shape: only texts that write main are remembered: those are the ones that meet a queue again
           and again.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._writing_main: set[str] = set()
        self.forget = self._writing_main.clear
        """Called when what names stand for may have changed, at every rollback for instance."""

    def includes_main(self, sql: str) -> bool:
        """Whether a statement would take main's write lock; False where SQLite refuses it.

        True where nobody can tell: whoever waits for a turn needlessly has only waited.
        """
        if sql in self._writing_main:
            return True
        try:
            instructions = run_untraced(self._connection, f"EXPLAIN {sql}", NULL_BINDINGS)
        except _REFUSED:
            return self._compiles(sql)  # there may be a `;` before it
        except apsw.Error:  # the schema could not be read just now
            return True
        includes = any(map(_locks_main, instructions))
        if includes:
            if len(self._writing_main) >= _REMEMBERED_MAX:
                self._writing_main.clear()
            self._writing_main.add(sql)
        return includes

    def _compiles(self, sql: str) -> bool:
        cursor = apsw.Cursor(self._connection)
        cursor.exec_trace = _stop
        try:
            cursor.execute(sql, NULL_BINDINGS, can_cache=False)  # compiled now, not earlier
        except apsw.ExecTraceAbort:
            return True
        except apsw.Error:
            return False
        finally:
            cursor.close(True)
        return True


def _stop(_cursor: apsw.Cursor, _sql: str, _parameters: Any) -> bool:
    return False


def _locks_main(instruction: tuple[Any, ...]) -> bool:
    """Shape: (address, opcode, p1, p2...), of a listing by EXPLAIN.

    Source: https://sqlite.org/opcode.html, "Transaction" and "Vacuum".
    """
    _address, opcode, database, detail = instruction[:4]
    if database != 0:
        return False
    if opcode == "Transaction":
        return bool(detail)  # else it only reads
    return opcode == "Vacuum" and not detail  # else it is VACUUM INTO

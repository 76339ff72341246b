"""Put one table back to a moment, inside an ordinary transaction of a session."""

from __future__ import annotations

from typing import Any, Protocol

from dosql_core.errors import ProgrammingError, TableNotFoundError, UncommittedChangesError
from dosql_core.history.table_copy import copy_rows, table_objects
from dosql_core.kernel.connection import ENABLE_TRIGGER, run
from dosql_core.language.tokens import TokenKind, quoted_name, tokenize


class Writer(Protocol):
    """A connection to a head that takes its turn among the writers."""

    kernel: Any

    def enter_write(self) -> None:
        """Wait for this writer's turn."""

    def leave_write(self) -> None:
        """Give it up."""


def restore_table(session: Writer, past_schema: str, table: str, *, into: str | None = None) -> int:
    """Make `table` what it is in the attached past, or `into` a copy of it; returns its rows.

    Where the table looks as it did then, its rows are replaced in place and foreign keys are
    checked at the commit; triggers do not fire. A table dropped or altered since is made again
    with its indexes and triggers.
    Errors: TableNotFoundError when there was no such table; UncommittedChangesError.
    """
    kernel = session.kernel
    if kernel.in_transaction:
        raise UncommittedChangesError("RESTORE TABLE cannot run inside a transaction")
    objects = table_objects(kernel, past_schema, table)
    if not objects:
        raise TableNotFoundError(f"there was no table {table!r} at that moment")
    _, name, created_by = objects[0]
    session.enter_write()
    triggers_before = kernel.config(ENABLE_TRIGGER, -1)
    kernel.config(ENABLE_TRIGGER, 0)
    try:
        _rows(kernel, "BEGIN IMMEDIATE")
        try:
            _rows(kernel, "PRAGMA defer_foreign_keys = ON")
            if into is not None:
                target = into
                _refuse_existing(kernel, into)
                _rows(kernel, _renamed(created_by, into))
            else:
                target = name
                present = _rows(
                    kernel,
                    "SELECT sql FROM main.sqlite_schema WHERE type='table' AND name=?",
                    (name,),
                )
                if present and present[0][0] == created_by:
                    _rows(kernel, f"DELETE FROM main.{quoted_name(name)}")
                    objects = []
                else:
                    if present:
                        _rows(kernel, f"DROP TABLE main.{quoted_name(name)}")
                    _rows(kernel, created_by)
            copy_rows(kernel, f"{quoted_name(past_schema)}.{quoted_name(name)}", target)
            if into is None:
                for made in objects[1:]:
                    _rows(kernel, made.sql)
            (count,) = _rows(kernel, f"SELECT count(*) FROM main.{quoted_name(target)}")[0]
            _rows(kernel, "COMMIT")
        except BaseException:
            if kernel.in_transaction:
                _rows(kernel, "ROLLBACK")
            raise
    finally:
        kernel.config(ENABLE_TRIGGER, triggers_before)
        session.leave_write()
    return int(count)


def _rows(kernel: Any, sql: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    return run(kernel, sql, parameters)


def _refuse_existing(kernel: Any, name: str) -> None:
    if _rows(kernel, "SELECT 1 FROM main.sqlite_schema WHERE name = ? COLLATE NOCASE", (name,)):
        raise ProgrammingError(f"a table or view {name!r} exists already")


def _renamed(created_by: str, name: str) -> str:
    """The CREATE TABLE statement with another name.

    sqlite_schema normalises the beginning of the statement, so the name is what stands between
    the keywords and the parenthesis, USING or AS.
    """
    words = [token for token in tokenize(created_by) if token.kind is not TokenKind.BLANK]
    at = next(i for i, token in enumerate(words) if token.text.upper() == "TABLE") + 1
    return created_by[: words[at].start] + quoted_name(name) + created_by[words[at].end :]

"""A script of SQL, such as a dump, run in one transaction: all of it, or nothing."""

from __future__ import annotations

from collections.abc import Callable

from dosql_core.command_line.opening import Connection
from dosql_core.command_line.reporting import ProgressReport
from dosql_core.command_line.transfer.file_source import BadRowError, FileSource
from dosql_core.command_line.transfer.import_transaction import import_transaction
from dosql_core.errors import Error
from dosql_core.language.splitting import split_statements

_STATEMENTS_A_REPORT = 256
_OF_THE_TRANSACTION = ("BEGIN", "COMMIT", "END", "ROLLBACK")
_SWITCHES_FOREIGN_KEYS = "PRAGMA FOREIGN_KEYS"


def import_script(
    connection: Connection,
    path: str,
    report: ProgressReport | None = None,
    checkpoint: Callable[[], None] = lambda: None,
) -> int:
    """Run every statement of the file; the number of rows they changed.

    Its own BEGIN and COMMIT are left out: the file is one transaction, whatever it says. Foreign
    keys are checked at the end, since a dump may fill a child before its parent.
    Errors: BadRowError naming the line; CommandFailedError when the file cannot be read.
    """
    source = FileSource(path)
    try:
        text = source.stream.read().decode("utf-8-sig", errors="surrogateescape")
    finally:
        source.close()
    total = len(text)
    before = connection.total_changes
    done = 0
    with import_transaction(connection):
        connection.execute("PRAGMA defer_foreign_keys = ON")
        for number, statement in enumerate(split_statements(text), start=1):
            # The splitter drops what separates statements, so the place is looked for.
            done = text.index(statement, done)
            if not _is_left_out(statement):
                try:
                    connection.execute(statement).fetchall()
                except Error as error:
                    line_number = text.count("\n", 0, done) + 1
                    raise BadRowError(line_number, str(error), error.hint) from error
            done += len(statement)
            if not number % _STATEMENTS_A_REPORT:
                checkpoint()
                if report:
                    report(done, total)
    return connection.total_changes - before


def _is_left_out(statement: str) -> bool:
    opening = " ".join(statement.split(None, 3)[:3]).upper().rstrip(";")
    return opening.startswith(_SWITCHES_FOREIGN_KEYS) or opening.split(" ")[0] in (
        _OF_THE_TRANSACTION
    )

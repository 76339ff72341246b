"""What to do with a text of SQL, decided once per text and remembered by the connection."""

from __future__ import annotations

from typing import Final

from dosql_core.errors import ProgrammingError
from dosql_core.language.classify import Statement, StatementKind, classify

# Plans are small integers because the driver compares one for every statement it runs.
READ: Final = 1
WRITE: Final = 2
OTHER: Final = 3

REMEMBERED_TEXTS_MAX = 4096


class PlanBook(dict[str, int]):
    """The plan of every text a connection ran lately; a text it does not hold is decided on.

    `statements` has the classified form of texts whose plan is OTHER. Both are emptied when they
    grow too large, as they would for a program that formats values into its SQL.
    With `looks_at_parameters` every plan is OTHER, so that each parameter passes an adapter and
    each cursor learns of a text_factory.
    """

    __slots__ = ("looks_at_parameters", "statements")

    def __init__(self, looks_at_parameters: bool = False) -> None:
        super().__init__()
        self.looks_at_parameters = looks_at_parameters
        self.statements: dict[str, Statement] = {}

    def __missing__(self, sql: str) -> int:
        """Decide on a text.

        Errors: TypeError for anything but a str; ProgrammingError for a text with a NUL in it or
        with a second statement.
        """
        if not isinstance(sql, str):
            raise TypeError(f"execute() argument 1 must be str, not {type(sql).__name__}")
        if len(self) >= REMEMBERED_TEXTS_MAX:
            self.clear()
            self.statements.clear()
        if "\0" in sql:
            raise ProgrammingError("the query contains a null character")
        statement = classify(sql)
        if statement.tail and not _is_open_comment(statement.tail):
            raise ProgrammingError(
                "You can only execute one statement at a time.",
                hint="executescript() runs several",
            )
        plan = OTHER
        if statement.text is sql and statement.as_of is None and not self.looks_at_parameters:
            if statement.kind is StatementKind.SELECT:
                plan = READ
            elif statement.kind is StatementKind.DML and not statement.has_returning:
                plan = WRITE
        if plan == OTHER:
            self.statements[sql] = statement
        self[sql] = plan
        return plan

    def statement(self, sql: str) -> Statement:
        """The classified form of a text."""
        known = self.statements.get(sql)
        if known is None:
            known = self.statements[sql] = classify(sql)
        return known


def _is_open_comment(tail: str) -> bool:
    """A comment that is never closed reaches to the end of the text and is no statement."""
    tail = tail.lstrip(" \t\r\n\f;")
    return tail.startswith("/*") and "*/" not in tail

"""What to do with a text of SQL, decided once per text and remembered by the connection."""

from __future__ import annotations

from typing import Final

from dosql_core.errors import ProgrammingError
from dosql_core.language.classify import Statement, StatementKind, classify
from dosql_core.language.limits import steady_limits
from dosql_core.language.splitting import start_of_statement
from dosql_dbapi.remembered_texts import RememberedTexts

# Plans are small integers because the driver compares one for every statement it runs.
READ: Final = 1
WRITE: Final = 2
RETURNING: Final = 3
CONTROL: Final = 4
LIMITED: Final = 5
OTHER: Final = 6

_CONTROLS = frozenset(
    (
        StatementKind.BEGIN,
        StatementKind.COMMIT,
        StatementKind.ROLLBACK,
        StatementKind.SAVEPOINT,
        StatementKind.RELEASE,
        StatementKind.ROLLBACK_TO,
    )
)

# How nearly every text begins. Such a text is classified only when it holds a word or a character
# that could make it something else; that would cost more than many a statement takes to run.
_PLAN_OF_START = {
    word + blank: plan
    for word, plan in (
        ("select", READ),
        ("insert", WRITE),
        ("update", WRITE),
        ("delete", WRITE),
    )
    for blank in " \n\t"
}


class PlanBook(RememberedTexts[int]):
    """The plan of every text a connection ran lately; a text it does not hold is decided on.

    `statements` has the classified form of texts whose plan is CONTROL or OTHER, `steady` what to
    run for those whose plan is LIMITED.
    With `looks_at_parameters` every plan is OTHER, so that each parameter passes an adapter and
    each cursor learns of a text_factory. With `describes_commit` no plan is WRITE or RETURNING, so
    that the next write takes along what SET COMMIT said of it.
    """

    __slots__ = ("describes_commit", "looks_at_parameters", "statements", "steady")

    def __init__(self, looks_at_parameters: bool = False, describes_commit: bool = False) -> None:
        super().__init__()
        self.looks_at_parameters = looks_at_parameters
        self.describes_commit = describes_commit
        self.statements: dict[str, Statement] = {}
        self.steady: dict[str, str] = {}

    def __missing__(self, sql: str) -> int:
        """Decide on a text.

        Errors: TypeError for anything but a str; ProgrammingError for a text with a NUL in it or
        with a second statement.
        """
        if not isinstance(sql, str):
            raise TypeError(f"execute() argument 1 must be str, not {type(sql).__name__}")
        self.make_room(sql)
        lowered = sql.lower()
        plan = _PLAN_OF_START.get(lowered[:7], OTHER)
        if (
            plan == OTHER
            or self.looks_at_parameters
            or self.describes_commit
            or ";" in sql
            or "of" in lowered
            or "system_time" in lowered
            or "dosql_diff" in lowered
            or "returning" in lowered
            or "branch" in lowered  # DELETE BRANCH is ours
            or "\0" in sql
        ):
            plan = self._look_closer(sql)
        if plan == READ and (steady := steady_limits(sql)) is not None:
            self.steady[sql] = steady
            plan = LIMITED
        self[sql] = plan
        return plan

    def _look_closer(self, sql: str) -> int:
        if "\0" in sql:
            raise ProgrammingError("the query contains a null character")
        statement = classify(sql)
        if statement.tail and not _is_open_comment(statement.tail):
            raise ProgrammingError(
                "You can only execute one statement at a time.",
                hint="executescript() runs several",
            )
        if statement.text is sql and statement.as_of is None and not self.looks_at_parameters:
            if statement.kind is StatementKind.SELECT:
                return READ
            if (
                statement.kind is StatementKind.DML
                and not self.describes_commit
                and begins_implicitly(statement)
            ):
                return RETURNING if statement.has_returning else WRITE
            if statement.kind in _CONTROLS and not self.describes_commit:
                self.statements[sql] = statement
                return CONTROL
        self.statements[sql] = statement
        return OTHER

    def clear(self) -> None:
        """Forget every text."""
        super().clear()
        self.statements.clear()
        self.steady.clear()

    def statement(self, sql: str) -> Statement:
        """The classified form of a text."""
        known = self.statements.get(sql)
        if known is None:
            known = self.statements[sql] = classify(sql)
        return known


def begins_implicitly(statement: Statement) -> bool:
    """Whether a write begins a transaction where none is open.

    One behind WITH does not in sqlite3, which goes by the first word, so programs do not commit it.
    """
    start = start_of_statement(statement.text)
    return statement.text[start : start + 4].upper() != "WITH"


def _is_open_comment(tail: str) -> bool:
    """A comment that is never closed reaches to the end of the text and is no statement."""
    tail = tail.lstrip(" \t\r\n\f;")
    return tail.startswith("/*") and "*/" not in tail

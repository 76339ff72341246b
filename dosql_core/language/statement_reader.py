"""Reads one of our own statements word by word: what all of their grammars need."""

from __future__ import annotations

from collections.abc import Callable

from dosql_core.errors import ProgrammingError
from dosql_core.language.commands import Command, Name
from dosql_core.language.moments import MomentClause, parse_moment, take_name
from dosql_core.language.parameters import Parameter
from dosql_core.language.token_cursor import TokenCursor
from dosql_core.language.tokens import TokenKind, unquoted


class StatementReader:
    """A statement being read, and how it is written, for the errors."""

    def __init__(self, sql: str) -> None:
        self.cursor = TokenCursor(sql)
        self.usage = ""
        while self.cursor.is_at_operator(";"):
            self.cursor.advance()

    def error(self, expected: str) -> ProgrammingError:
        """What stands here instead of what was expected, and how the statement is written."""
        found = self.cursor.found()
        return ProgrammingError(
            self.cursor.located(f"found {found}, expected {expected}"),
            code="STMT_SYNTAX",
            hint=f"write {self.usage}",
        )

    def expect(self, *words: str) -> None:
        if not self.cursor.take(*words):
            raise self.error(" ".join(words))

    def expect_end(self) -> None:
        while self.cursor.is_at_operator(";"):
            self.cursor.advance()
        if self.cursor.token.kind is not TokenKind.END:
            raise self.error("the end of the statement")

    def name(self, of_what: str) -> Name:
        """A name in any quotes, bare, or a parameter that will say it."""
        text = self.text()
        if text is None:
            text = take_name(self.cursor)
        if text is None:
            raise self.error(f"the name of {of_what}")
        return text

    def text(self) -> Name | None:
        """A string or a parameter; None where neither stands."""
        token = self.cursor.token
        if token.kind is TokenKind.STRING:
            return unquoted(self.cursor.advance())
        if token.kind is TokenKind.PARAMETER:
            return self.cursor.parameters[self.cursor.advance().start]
        return None

    def number(self) -> int | Parameter | None:
        """A whole number or a parameter; None where neither stands."""
        token = self.cursor.token
        if token.kind is TokenKind.PARAMETER:
            return self.cursor.parameters[self.cursor.advance().start]
        if token.kind is TokenKind.NUMBER and token.text.isdecimal():
            return int(self.cursor.advance().text)
        return None

    def is_at_moment(self) -> bool:
        return self.cursor.is_at("AS", "OF") or self.cursor.is_at("FOR", "SYSTEM_TIME")

    def optional_moment(self) -> MomentClause | None:
        """`[FOR SYSTEM_TIME] AS OF moment`, if it comes next."""
        if not self.is_at_moment():
            return None
        self.cursor.take("FOR", "SYSTEM_TIME")
        self.expect("AS", "OF")
        return parse_moment(self.cursor)

    def moment_to_restore(self) -> MomentClause:
        """`TO moment`, `AS OF moment` or both words in a row."""
        if self.cursor.take("TO"):
            return self.optional_moment() or parse_moment(self.cursor)
        moment = self.optional_moment()
        if moment is None:
            raise self.error("TO and a moment")
        return moment


Parser = Callable[[StatementReader], Command]
Forms = dict[str, tuple[tuple[tuple[str, ...], Parser, str], ...]]
"""By first word, then by the words that follow, the longer before the shorter: how it is read, and
how it is written."""

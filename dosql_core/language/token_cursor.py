"""A place in a statement's tokens, and the small steps every parser of ours takes from it."""

from __future__ import annotations

from dosql_core.errors import ProgrammingError, TimeTravelSyntaxError
from dosql_core.language.parameters import Parameter, number_parameters
from dosql_core.language.tokens import Token, TokenKind, place, significant_tokens


class TokenCursor:
    """Walks over the tokens of one statement that are neither blanks nor comments.

    The last token is END and stays the current one however often it is taken.
    """

    __slots__ = ("_last", "index", "parameters", "sql", "tokens")

    def __init__(self, sql: str) -> None:
        self.sql = sql
        self.tokens = significant_tokens(sql)
        self.index = 0
        self._last = len(self.tokens) - 1
        self.parameters: dict[int, Parameter] = number_parameters(self.tokens)

    @property
    def token(self) -> Token:
        """The current token."""
        return self.tokens[self.index]

    def peek(self, ahead: int = 1) -> Token:
        """The token `ahead` places on; the first or last one where there is none."""
        return self.tokens[max(0, min(self.index + ahead, self._last))]

    def advance(self) -> Token:
        """Step over the current token, which comes back."""
        token = self.tokens[self.index]
        if self.index < self._last:
            self.index += 1
        return token

    def is_at(self, *words: str, ahead: int = 0) -> bool:
        """Whether these unquoted words come next, or `ahead` places on."""
        return all(self.peek(ahead + i).word == word for i, word in enumerate(words))

    def is_at_operator(self, *operators: str) -> bool:
        """Whether one of these operators comes next."""
        token = self.token
        return token.kind is TokenKind.OPERATOR and token.text in operators

    def take(self, *words: str) -> bool:
        """Step over these words if they come next, all of them or none."""
        if not self.is_at(*words):
            return False
        for _ in words:
            self.advance()
        return True

    def skip_parentheses(self) -> None:
        """Step over `( ... )`, from its opening to behind its closing parenthesis.

        Errors: ProgrammingError when it is never closed.
        """
        opening = self.token
        depth = 0
        while True:
            if self.is_at_operator("("):
                depth += 1
            elif self.is_at_operator(")"):
                depth -= 1
            elif self.token.kind is TokenKind.END:
                raise ProgrammingError(self.located("this parenthesis is never closed", opening))
            self.advance()
            if depth == 0:
                return

    def located(self, message: str, token: Token | None = None) -> str:
        """The message behind the line and column of a token, the current one if none is given."""
        return f"{place(self.sql, (token or self.token).start)}: {message}"

    def time_travel_error(
        self, message: str, hint: str, token: Token | None = None
    ) -> TimeTravelSyntaxError:
        """An error about a moment, with where it is and what to write instead."""
        return TimeTravelSyntaxError(self.located(message, token), hint=hint)

    def found(self) -> str:
        """The current token as an error message names it."""
        token = self.token
        return "the end of the statement" if token.kind is TokenKind.END else token.text

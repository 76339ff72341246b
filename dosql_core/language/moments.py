"""Moments as they are written: `LSN 5`, `TIMESTAMP '-1 hour'`, `BRANCH 'dev' SNAPSHOT 'x'`.

What a moment *means* (which branch, which LSN) is decided elsewhere; here it is found in the text,
and where its value ends.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from dosql_core.identifiers import SqlValue
from dosql_core.language.parameters import Parameter
from dosql_core.language.token_cursor import TokenCursor
from dosql_core.language.tokens import (
    NO_BARE_ALIAS,
    Token,
    TokenKind,
    quoted_string,
    unquoted,
)


class MomentKind(enum.Enum):
    """What the value of a moment is."""

    LSN = "LSN"
    TIMESTAMP = "TIMESTAMP"
    SNAPSHOT = "SNAPSHOT"
    BRANCH = "BRANCH"


@dataclass(frozen=True, slots=True)
class MomentClause:
    """A moment as the user wrote it; equal clauses mean the same moment within one statement.

    Shape: `value_sql` is an expression that `SELECT` can evaluate on its own, its parameters
    numbered ?1, ?2 ... in the order of `parameters`. `literal` is the value itself where it is a
    plain string or number, else None. `inner` is the moment on a branch, for BRANCH only.
    """

    kind: MomentKind
    value_sql: str
    parameters: tuple[Parameter, ...] = ()
    literal: SqlValue = None
    inner: MomentClause | None = None

    @property
    def is_parameter(self) -> bool:
        """Whether the value is exactly one parameter, so that there is nothing to evaluate."""
        return self.value_sql == "?1"

    @property
    def all_parameters(self) -> tuple[Parameter, ...]:
        """This moment's own parameters, then its inner moment's."""
        return self.parameters + (self.inner.parameters if self.inner else ())


FORMS = (
    "write LSN n, TIMESTAMP 'time', SNAPSHOT 'name', BRANCH 'name' or BRANCH 'name' LSN n; "
    "a value may be a parameter"
)

_KINDS = {
    "LSN": MomentKind.LSN,
    "VERSION": MomentKind.LSN,
    "TIMESTAMP": MomentKind.TIMESTAMP,
    "SNAPSHOT": MomentKind.SNAPSHOT,
    "BRANCH": MomentKind.BRANCH,
}
_NAMED_KINDS = (MomentKind.SNAPSHOT, MomentKind.BRANCH)
_LITERALS = (TokenKind.STRING, TokenKind.NUMBER, TokenKind.BLOB)
_SIGNS = ("+", "-", "~")
_BINARY_OPERATORS = ("+", "-", "*", "/", "%", "||", "&", "|", "<<", ">>", "->", "->>")
_VALUE_WORDS = frozenset(("NULL", "CAST", "CURRENT_TIMESTAMP", "CURRENT_DATE", "CURRENT_TIME"))
_LARGEST_INTEGER = 2**63 - 1


def is_at_moment_kind(cursor: TokenCursor, ahead: int = 0) -> bool:
    """Whether a word that introduces a moment's value comes next: LSN, VERSION, SYSTEM TIME ..."""
    word = cursor.peek(ahead).word
    return word in _KINDS or (word == "SYSTEM" and cursor.is_at("TIME", ahead=ahead + 1))


def is_at_as_of(cursor: TokenCursor, ahead: int = 0) -> bool:
    """Whether an AS OF clause, long or short, comes next.

    No statement of SQLite's own holds these words in this order outside of quotes: FOR, SYSTEM_TIME
    and OF may be names there, but no name follows another name.
    """
    if cursor.is_at("FOR", "SYSTEM_TIME", "AS", "OF", ahead=ahead):
        return True
    return cursor.is_at("AS", "OF", ahead=ahead) and is_at_moment_kind(cursor, ahead + 2)


def parse_moment(cursor: TokenCursor) -> MomentClause:
    """Read the moment behind AS OF, or behind TO where a command has that; a bare value is a time.

    Errors: TimeTravelSyntaxError when there is no value, or what stands there is none.
    """
    if is_at_moment_kind(cursor):
        introduction = cursor.token.text
        kind = _take_kind(cursor)
    else:
        if cursor.token.kind is TokenKind.WORD and not _is_at_value(cursor):
            raise cursor.time_travel_error(f"{cursor.found()} is no moment", FORMS)
        introduction = "AS OF" if cursor.is_at("OF", ahead=-1) else cursor.peek(-1).text
        kind = MomentKind.TIMESTAMP
    clause = _parse_value(cursor, kind, introduction)
    if kind is not MomentKind.BRANCH:
        return clause
    inner = _parse_inner(cursor)
    if inner is None:
        return clause
    return MomentClause(kind, clause.value_sql, clause.parameters, clause.literal, inner)


def _take_kind(cursor: TokenCursor) -> MomentKind:
    if cursor.take("SYSTEM", "TIME"):
        return MomentKind.TIMESTAMP
    return _KINDS[cursor.advance().word]


def _parse_inner(cursor: TokenCursor) -> MomentClause | None:
    """The moment on the branch just named, if one follows.

    `lsn` or `snapshot` may as well be the alias of the table, or behind a comma the next table: it
    is a moment only where a value follows that could follow neither.
    """
    ahead = 1 if cursor.is_at_operator(",") else 0
    if not is_at_moment_kind(cursor, ahead):
        return None
    value_ahead = ahead + (2 if cursor.peek(ahead).word == "SYSTEM" else 1)
    value = cursor.peek(value_ahead)
    is_name = (
        ahead == 0
        and cursor.peek().kind in (TokenKind.WORD, TokenKind.QUOTED)
        and cursor.token.word in ("SNAPSHOT", "BRANCH")
        and value.word not in NO_BARE_ALIAS
    )
    is_call = ahead == 1 and value.text == "("  # `, lsn(...)` is a table function
    if is_call or not (is_name or _is_at_value(cursor, value_ahead)):
        return None
    if ahead:
        cursor.advance()
    if cursor.is_at("BRANCH"):
        raise cursor.time_travel_error(
            "a moment on a branch cannot be another branch",
            "name one branch, then LSN, TIMESTAMP or SNAPSHOT",
        )
    introduction = cursor.token.text
    return _parse_value(cursor, _take_kind(cursor), introduction)


def _parse_value(cursor: TokenCursor, kind: MomentKind, introduction: str) -> MomentClause:
    name = take_name(cursor) if kind in _NAMED_KINDS else None
    if name is not None:
        return MomentClause(kind, quoted_string(name), (), name)
    first = cursor.index
    _skip_expression(cursor, introduction)
    tokens = cursor.tokens[first : cursor.index]
    for index in range(first, cursor.index):
        if is_at_as_of(cursor, index - cursor.index):
            raise cursor.time_travel_error(
                "a moment cannot itself be looked up in the past",
                "read the value with a query of its own and pass it as a parameter",
                cursor.tokens[index],
            )
    return _clause_of(cursor, kind, tokens)


def take_name(cursor: TokenCursor) -> str | None:
    """A name given bare, in double quotes, backticks or brackets; None if no name comes next."""
    token = cursor.token
    is_bare = token.kind is TokenKind.WORD and not _is_at_value(cursor)
    if not (is_bare and token.word not in NO_BARE_ALIAS) and token.kind is not TokenKind.QUOTED:
        return None
    cursor.advance()
    if token.kind is TokenKind.WORD and cursor.is_at_operator("-", "/", ".", "@"):
        raise cursor.time_travel_error(
            f"the name that begins with {token.text} holds {cursor.found()}",
            f"put the name in quotes: '{token.text}{cursor.found()}...'",
            token,
        )
    return unquoted(token)


def _clause_of(cursor: TokenCursor, kind: MomentKind, tokens: list[Token]) -> MomentClause:
    literal = _literal_of(tokens)
    order: dict[Parameter, int] = {}
    pieces: list[str] = []
    position = tokens[0].start
    for token in tokens:
        if token.kind is TokenKind.PARAMETER:
            number = order.setdefault(cursor.parameters[token.start], len(order) + 1)
            pieces += cursor.sql[position : token.start], f"?{number}"
            position = token.end
    pieces.append(cursor.sql[position : tokens[-1].end])
    return MomentClause(kind, "".join(pieces), tuple(order), literal)


def _literal_of(tokens: list[Token]) -> SqlValue:
    """The value of a string, or of a number with or without signs; None for anything else."""
    last = tokens[-1]
    signs = [token.text for token in tokens[:-1]]
    if last.kind is TokenKind.STRING and not signs:
        return unquoted(last)
    if last.kind is not TokenKind.NUMBER or not set(signs) <= {"+", "-"}:
        return None
    sign = -1 if signs.count("-") % 2 else 1
    try:
        number = int(last.text, 0 if last.text[:2] in ("0x", "0X") else 10)
    except ValueError:
        try:
            return sign * float(last.text)
        except ValueError:
            return None  # 1__0, which SQLite will refuse
    return sign * number if number <= _LARGEST_INTEGER else None


# -- how far an expression goes --------------------------------------------------------------------


def _is_at_value(cursor: TokenCursor, ahead: int = 0) -> bool:
    """Whether what comes next begins a value and can be neither a name nor an alias."""
    token = cursor.peek(ahead)
    if token.kind is TokenKind.OPERATOR:
        return token.text == "(" or token.text in _SIGNS
    if token.kind is TokenKind.WORD:
        following = cursor.peek(ahead + 1)
        is_call = following.kind is TokenKind.OPERATOR and following.text == "("
        return token.word in _VALUE_WORDS or token.word == "CASE" or is_call
    return token.kind in _LITERALS or token.kind is TokenKind.PARAMETER


def _skip_expression(cursor: TokenCursor, introduction: str) -> None:
    """Step over a value: operands joined by arithmetic, || or ->, and nothing behind them.

    Comparisons and AND are left alone, so an alias, a join's ON or the WHERE behind a table is
    never taken for a part of its moment.
    """
    _skip_operand(cursor, introduction)
    while cursor.is_at_operator(*_BINARY_OPERATORS):
        operator = cursor.advance()
        _skip_operand(cursor, operator.text)


def _skip_operand(cursor: TokenCursor, introduction: str) -> None:
    while cursor.is_at_operator(*_SIGNS):
        introduction = cursor.advance().text
    if not _is_at_value(cursor):
        found = cursor.found()
        if cursor.token.text.startswith('"'):
            raise cursor.time_travel_error(
                f"{introduction} needs a value, found the name {found}",
                "text stands in single quotes",
            )
        if cursor.token.kind is TokenKind.WORD and cursor.token.word not in NO_BARE_ALIAS:
            raise cursor.time_travel_error(
                f"{introduction} needs a value, found the name {found}",
                "a moment is one value for the whole statement and cannot depend on columns; "
                "write a literal, a parameter or an expression of them",
            )
        raise cursor.time_travel_error(f"{introduction} needs a value, found {found}", FORMS)
    if cursor.is_at_operator("("):
        cursor.skip_parentheses()
    elif cursor.is_at("CASE"):
        _skip_case(cursor)
    else:
        is_word = cursor.token.kind is TokenKind.WORD
        cursor.advance()
        if is_word and cursor.is_at_operator("("):
            cursor.skip_parentheses()


def _skip_case(cursor: TokenCursor) -> None:
    opening = cursor.token
    depth = 0
    while True:
        if cursor.is_at("CASE"):
            depth += 1
        elif cursor.is_at("END"):
            depth -= 1
        elif cursor.token.kind is TokenKind.END:
            raise cursor.time_travel_error("this CASE has no END", FORMS, opening)
        cursor.advance()
        if depth == 0:
            return

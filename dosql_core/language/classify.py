"""What kind of statement a text is: asked once for every distinct text, and remembered by callers.

A common statement is told by its first word and a few searches for substrings; tokens are looked at
only where those say that something of ours may be there.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final

from dosql_core.language.as_of import AsOfQuery, find_as_of
from dosql_core.language.commands import Command
from dosql_core.language.splitting import end_of_statement, has_returning_clause, start_of_statement
from dosql_core.language.statements import SHARED_FIRST_WORDS, parse_command
from dosql_core.language.tokens import (
    GAP,
    NAME_CHARACTERS,
    Token,
    TokenKind,
    compiled_when_needed,
    significant_tokens,
    unquoted,
)


class StatementKind(enum.Enum):
    """What a driver has to know about a statement before it runs it."""

    SELECT = "select"
    DML = "dml"
    BEGIN = "begin"
    COMMIT = "commit"
    ROLLBACK = "rollback"
    SAVEPOINT = "savepoint"
    RELEASE = "release"
    ROLLBACK_TO = "rollback to"
    DDL = "ddl"
    PRAGMA = "pragma"
    ATTACH = "attach"
    DETACH = "detach"
    VACUUM = "vacuum"
    EXPLAIN = "explain"
    COMMAND = "command"
    EMPTY = "empty"
    OTHER = "other"

    __hash__ = object.__hash__  # that of enumerations is not in C, and costs 0.1 us a look


@dataclass(frozen=True, slots=True)
class Pragma:
    """What a PRAGMA names: `name` in lower case, the others without quotes, None if not there."""

    schema: str | None
    name: str
    value_text: str | None


# Not frozen, which would take 0.9 us to fill in instead of 0.2, half the time of classify(); that
# nobody changes a Statement is left to mypy.
@dataclass(slots=True)
class Statement:
    """A text, classified; callers share it, so it is never changed.

    Shape: `text` is the first statement, the very object classified when nothing had to be cut;
           `tail` what follows its `;`, '' unless that holds another statement. `begin_mode` is
           deferred, immediate or exclusive where BEGIN says so, `savepoint` the name in SAVEPOINT,
           RELEASE and ROLLBACK TO; `pragma`, `command` and `as_of` are None for other statements.
    """

    kind: Final[StatementKind]
    text: Final[str]
    tail: Final[str] = ""
    has_returning: Final[bool] = False
    begin_mode: Final[str | None] = None
    savepoint: Final[str | None] = None
    pragma: Final[Pragma | None] = None
    command: Final[Command | None] = None
    as_of: Final[AsOfQuery | None] = None


_KIND_OF_WORD = {
    "SELECT": StatementKind.SELECT,
    "VALUES": StatementKind.SELECT,
    "WITH": StatementKind.SELECT,
    "INSERT": StatementKind.DML,
    "REPLACE": StatementKind.DML,
    "UPDATE": StatementKind.DML,
    "DELETE": StatementKind.DML,
    "BEGIN": StatementKind.BEGIN,
    "COMMIT": StatementKind.COMMIT,
    "END": StatementKind.COMMIT,
    "ROLLBACK": StatementKind.ROLLBACK,
    "SAVEPOINT": StatementKind.SAVEPOINT,
    "RELEASE": StatementKind.RELEASE,
    "CREATE": StatementKind.DDL,
    "DROP": StatementKind.DDL,
    "ALTER": StatementKind.DDL,
    "REINDEX": StatementKind.DDL,
    "ANALYZE": StatementKind.DDL,
    "PRAGMA": StatementKind.PRAGMA,
    "ATTACH": StatementKind.ATTACH,
    "DETACH": StatementKind.DETACH,
    "VACUUM": StatementKind.VACUUM,
    "EXPLAIN": StatementKind.EXPLAIN,
}
_MAY_CONTAIN_AS_OF = frozenset(
    (StatementKind.SELECT, StatementKind.DML, StatementKind.DDL, StatementKind.EXPLAIN)
)
_MODES = ("DEFERRED", "IMMEDIATE", "EXCLUSIVE")
_WRITING_WORDS = ("insert", "update", "delete", "replace")
_WHITESPACE = " \t\n\f\r\ufeff"  # wherever it stands; a \v is blank behind another blank only

_FIRST_WORD = re.compile(rf"(?:{GAP}|;)*+([A-Za-z]*+)(?![{NAME_CHARACTERS}])")
_WORD_OF = compiled_when_needed(rf"(?<![{NAME_CHARACTERS}])of(?![{NAME_CHARACTERS}])")


def classify(sql: str) -> Statement:
    """Say what the first statement of a text is. Incomplete text goes by its first word.

    Errors: ProgrammingError, TimeTravelSyntaxError or NotSupportedError where our own additions to
            SQL are written wrongly; every other mistake is left to SQLite.
    """
    match = _FIRST_WORD.match(sql)
    if match is None:  # it begins with a digit or another letter, as no statement does
        text, tail = (sql, "") if ";" not in sql else _cut(sql, start_of_statement(sql))
        return Statement(StatementKind.OTHER, text, tail)
    start, word = match.start(1), match[1].upper()
    kind = _KIND_OF_WORD.get(word)
    text, tail = (sql, "") if ";" not in sql else _cut(sql, start)
    lowered = text.lower()
    if kind is StatementKind.SELECT:
        if word == "WITH" and any(writing in lowered for writing in _WRITING_WORDS):
            kind = _kind_behind_with(text)
    elif kind is None or (
        word in SHARED_FIRST_WORDS
        and ("branch" in lowered or "snapshot" in lowered or "merge" in lowered)
    ):
        command = parse_command(text, word)
        if command is not None:
            return Statement(StatementKind.COMMAND, text, tail, command=command)
        if kind is None:
            kind = StatementKind.EMPTY if start == len(sql) else StatementKind.OTHER
    as_of = None
    if kind in _MAY_CONTAIN_AS_OF and (
        ("of" in lowered and _WORD_OF().search(lowered))
        or "system_time" in lowered
        or "dosql_diff" in lowered
    ):
        as_of = find_as_of(text)
    if kind is StatementKind.SELECT:
        return Statement(kind, text, tail, as_of=as_of)
    if kind is StatementKind.DML:
        has_returning = "returning" in lowered and has_returning_clause(text)
        return Statement(kind, text, tail, has_returning, as_of=as_of)
    if kind in _READERS:
        return _READERS[kind](text, tail)
    return Statement(kind, text, tail, as_of=as_of)


def _cut(sql: str, start: int) -> tuple[str, str]:
    """The first statement and what follows it."""
    semicolon = sql.find(";", start)
    if semicolon < 0 or not sql[semicolon + 1 :].strip(_WHITESPACE):
        return sql, ""  # nothing stands behind it, so it does not matter whether it is an end
    end = end_of_statement(sql, start)
    behind = start_of_statement(sql, end)
    if behind < len(sql):
        return sql[:end], sql[end:]
    if sql[end:].strip(_WHITESPACE + ";"):
        return sql[:end], ""  # a comment behind the `;` would count as another statement
    return sql, ""


def _kind_behind_with(text: str) -> StatementKind:
    """SELECT or DML, by the verb behind the common table expressions."""
    depth = 0
    before = ""
    for token in significant_tokens(text):
        if token.text == "(":
            depth += 1
        elif token.text == ")":
            depth -= 1
        elif depth == 0 and before == ")" and _KIND_OF_WORD.get(token.word) is StatementKind.DML:
            return StatementKind.DML
        before = token.text
    return StatementKind.SELECT


# -- statements that carry a name or a word --------------------------------------------------------


def _begin(text: str, tail: str) -> Statement:
    word = _tokens_of(text)[1].word
    mode = word.lower() if word in _MODES else None
    return Statement(StatementKind.BEGIN, text, tail, begin_mode=mode)


def _rollback(text: str, tail: str) -> Statement:
    tokens = _tokens_of(text)
    for index, token in enumerate(tokens):
        if token.word == "TO":
            return Statement(
                StatementKind.ROLLBACK_TO, text, tail, savepoint=_savepoint(tokens[index + 1 :])
            )
    return Statement(StatementKind.ROLLBACK, text, tail)


def _savepoint_statement(text: str, tail: str) -> Statement:
    name = _savepoint(_tokens_of(text)[1:])
    return Statement(StatementKind.SAVEPOINT, text, tail, savepoint=name)


def _release(text: str, tail: str) -> Statement:
    return Statement(StatementKind.RELEASE, text, tail, savepoint=_savepoint(_tokens_of(text)[1:]))


def _savepoint(tokens: list[Token]) -> str | None:
    """The name behind an optional SAVEPOINT, which may itself be the name."""
    if len(tokens) > 1 and tokens[0].word == "SAVEPOINT" and tokens[1].text not in ("", ";"):
        tokens = tokens[1:]
    return unquoted(tokens[0]) if tokens and tokens[0].text not in ("", ";") else None


def _pragma(text: str, tail: str) -> Statement:
    tokens = [token for token in _tokens_of(text)[1:] if token.text not in ("", ";")]
    schema = None
    if len(tokens) > 1 and tokens[1].text == ".":
        schema, tokens = unquoted(tokens[0]), tokens[2:]
    if not tokens:
        return Statement(StatementKind.PRAGMA, text, tail)
    value = None
    if len(tokens) > 2:
        values = tokens[2:-1] if tokens[1].text == "(" and tokens[-1].text == ")" else tokens[2:]
        value = "".join(unquoted(token) for token in values)
    pragma = Pragma(schema, unquoted(tokens[0]).lower(), value)
    return Statement(StatementKind.PRAGMA, text, tail, pragma=pragma)


def _tokens_of(text: str) -> list[Token]:
    tokens = significant_tokens(text, start_of_statement(text))
    return [*tokens, Token(TokenKind.END, "", len(text))]


_READERS = {
    StatementKind.BEGIN: _begin,
    StatementKind.ROLLBACK: _rollback,
    StatementKind.SAVEPOINT: _savepoint_statement,
    StatementKind.RELEASE: _release,
    StatementKind.PRAGMA: _pragma,
}

"""What could come next in a line being typed; knows nothing of terminals.

Only the text before the cursor is looked at, and only roughly understood: a completion that is not
wanted costs nothing, one that is missing is missed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dosql_core.command_line.results.layouts import LAYOUTS
from dosql_core.command_line.schema import describe_table, table_names
from dosql_core.command_line.shell.shell import Shell
from dosql_core.command_line.sql_words import (
    DOSQL_KEYWORDS,
    FUNCTIONS,
    SQLITE_KEYWORDS,
    name_for_sql,
)
from dosql_core.errors import Error
from dosql_core.language.tokens import Token, TokenKind, significant_tokens, unquoted

_WORD_AT_END = re.compile(r"[A-Za-z0-9_$\x80-\U0010ffff]*\Z")
_TABLE_FOLLOWS = frozenset({"FROM", "JOIN", "INTO", "UPDATE", "TABLE"})
_NO_ALIAS = frozenset(word.upper() for word in SQLITE_KEYWORDS)
_PARAMETER_WORDS = ("clear", "init", "list", "set", "unset")
_PERIOD_WORDS = ("all", "as of", "between", "contained in", "from")
_MOMENT_KINDS = ("lsn", "timestamp", "snapshot", "branch")
_MOMENT_WORDS = ("lsn:", "snapshot:", "branch:", "now")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A text that could stand where the word at the cursor does, and what it is."""

    text: str
    kind: str


@dataclass(frozen=True, slots=True)
class Suggestions:
    """All of them, and how many characters before the cursor they replace."""

    replaced: int
    found: list[Suggestion]


class Completer:
    """Completes for one shell; remembers the schema until it changes."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._schema_state: object = None
        self._columns: dict[str, list[str]] = {}

    def suggest(self, text: str) -> Suggestions:
        """What could complete the text, whose end is where the cursor is."""
        if text.startswith("."):
            return self._complete_dot_command(text)
        return self._complete_sql(text)

    # -- dot-commands ------------------------------------------------------------------------------

    def _complete_dot_command(self, text: str) -> Suggestions:
        name, blank, rest = text[1:].partition(" ")
        if not blank:
            return _matching(name, ((known, "command") for known in sorted(self._shell.commands)))
        command = self._shell.commands.get(name)
        if command is None:
            return Suggestions(0, [])
        before, _, word = rest.lstrip().rpartition(" ")
        position = len(before.split())
        kinds = command.completes
        kind = kinds[min(position, len(kinds) - 1)] if kinds else ""
        if kind == "sql" or (kind == "chart" and position and "sql" in kinds):
            return self._complete_sql(rest)
        if kind == "file":
            return _files(word)
        return _matching(word, ((text, kind) for text in self._words_of_kind(kind)))

    def _words_of_kind(self, kind: str) -> Iterable[str]:
        match kind:
            case "mode":
                return sorted(LAYOUTS)
            case "switch":
                return ("on", "off")
            case "table":
                return self._tables()
            case "branch":
                return self._branches()
            case "snapshot":
                return self._snapshots()
            case "parameter":
                return _PARAMETER_WORDS
            case "chart":
                return ("bar", "spark")
            case "dot-command":
                return sorted(self._shell.commands)
            case "moment":
                return (
                    *_MOMENT_WORDS,
                    *(f"snapshot:{name}" for name in self._snapshots()),
                    *(f"branch:{name}" for name in self._branches()),
                )
        return ()

    # -- SQL ---------------------------------------------------------------------------------------

    def _complete_sql(self, text: str) -> Suggestions:
        word = _word_at_end(text)
        tokens = significant_tokens(text[: len(text) - len(word)])[:-1]
        if tokens and tokens[-1].kind is TokenKind.ILLEGAL:
            return Suggestions(0, [])  # inside a text, a quoted name or a comment
        if len(tokens) >= 2 and tokens[-1].text == ".":
            return self._complete_column_of(word, tokens)
        last = tokens[-1].word if tokens else ""
        if last in ("BRANCH", "SNAPSHOT"):
            names = self._branches() if last == "BRANCH" else self._snapshots()
            if names:
                return _matching(word, ((name_for_sql(name), last.lower()) for name in names))
        if last == "SYSTEM_TIME":
            periods = (text.upper() if word.isupper() else text for text in _PERIOD_WORDS)
            return _matching(word, ((text, "moment") for text in periods))
        if last == "OF":
            kinds = (kind.upper() if word.isupper() else kind for kind in _MOMENT_KINDS)
            return _matching(word, ((kind, "moment") for kind in kinds))
        candidates: list[tuple[str, str]] = []
        if last not in _TABLE_FOLLOWS:
            candidates += self._columns_in_scope(text)
        candidates += [(name_for_sql(name), "table") for name in self._tables()]
        if last not in _TABLE_FOLLOWS:
            upper = word.isupper()
            candidates += [
                (keyword.upper() if upper else keyword, "keyword")
                for keyword in sorted({*SQLITE_KEYWORDS, *DOSQL_KEYWORDS})
            ]
            candidates += [(f"{name}(", "function") for name in FUNCTIONS]
        return _matching(word, candidates)

    def _complete_column_of(self, word: str, tokens: list[Token]) -> Suggestions:
        """Columns of the table, or of the alias, in front of the dot."""
        qualifier = unquoted(tokens[-2])
        # The alias may be given behind the cursor's place in the text, so all of it counts.
        table = _aliases(tokens).get(qualifier.lower(), qualifier)
        columns = self._columns_of(table)
        return _matching(word, ((name_for_sql(name), "column") for name in columns))

    def _columns_in_scope(self, text: str) -> list[tuple[str, str]]:
        """Columns of the tables the text mentions, or of all tables while it mentions none."""
        mentioned = {
            unquoted(token).lower()
            for token in significant_tokens(text)
            if token.kind in (TokenKind.WORD, TokenKind.QUOTED)
        }
        tables = self._tables()
        in_scope = [name for name in tables if name.lower() in mentioned] or tables
        names = dict.fromkeys(column for table in in_scope for column in self._columns_of(table))
        return [(name_for_sql(name), "column") for name in names]

    # -- what there is -----------------------------------------------------------------------------

    def _tables(self) -> list[str]:
        self._refresh()
        return list(self._columns)

    def _columns_of(self, table: str) -> list[str]:
        self._refresh()
        for name, columns in self._columns.items():
            if name.lower() == table.lower():
                return columns
        return []

    def _refresh(self) -> None:
        """Read the schema again if it may have changed since; keep the old one if that fails."""
        connection = self._shell.connection
        try:
            (version,) = connection.execute("PRAGMA schema_version").fetchone()
            state = (id(connection), self._shell.branch, version)
            if state == self._schema_state:
                return
            columns = {}
            for name in table_names(connection):
                table = describe_table(connection, name)
                columns[name] = [column.name for column in table.columns]
        except Error:
            return
        self._columns, self._schema_state = columns, state

    def _branches(self) -> list[str]:
        return self._names("SHOW BRANCHES")

    def _snapshots(self) -> list[str]:
        return self._names("SHOW SNAPSHOTS")

    def _names(self, statement: str) -> list[str]:
        try:
            columns, rows = self._shell.query(statement)
        except Error:
            return []
        at = columns.index("name") if "name" in columns else 0
        return [str(row[at]) for row in rows]


def _word_at_end(text: str) -> str:
    match = _WORD_AT_END.search(text)
    assert match is not None  # the pattern may match nothing
    return match[0]


def _matching(word: str, candidates: Iterable[tuple[str, str]]) -> Suggestions:
    lowered = word.lower()
    found: dict[str, Suggestion] = {}
    for text, kind in candidates:
        if text.lower().startswith(lowered):
            found.setdefault(text, Suggestion(text, kind))
    return Suggestions(len(word), list(found.values()))


def _aliases(tokens: list[Token]) -> dict[str, str]:
    """Aliases of tables in the text: `FROM account a`, `JOIN account AS a`, with AS OF between."""
    aliases: dict[str, str] = {}
    names = list(_table_references(tokens))
    for table, alias in names:
        aliases[alias.lower()] = table
    return aliases


def _table_references(tokens: list[Token]) -> Iterator[tuple[str, str]]:
    named = (TokenKind.WORD, TokenKind.QUOTED)
    for index, token in enumerate(tokens):
        if token.word not in _TABLE_FOLLOWS or index + 2 >= len(tokens):
            continue
        table = tokens[index + 1]
        following = tokens[index + 2 :]
        if table.kind not in named:
            continue
        for position, candidate in enumerate(following[:8]):
            if candidate.word == "AS" and position + 1 < len(following):
                after = following[position + 1]
                if after.word == "OF":
                    continue
                yield unquoted(table), unquoted(after)
                break
            is_alias = candidate.kind in named and candidate.word not in _NO_ALIAS
            if is_alias and candidate.word not in ("SYSTEM_TIME", "LSN", "SNAPSHOT", "TIMESTAMP"):
                yield unquoted(table), unquoted(candidate)
                break
            if candidate.word in _TABLE_FOLLOWS or candidate.text in (",", ";", ")"):
                break


def _files(word: str) -> Suggestions:
    typed = word.strip("'\"")
    folder, _, start = typed.rpartition("/")
    try:
        entries = sorted(
            os.scandir(Path(folder or "/" if typed.startswith("/") else folder or ".")),
            key=lambda entry: entry.name,
        )
    except OSError:
        return Suggestions(0, [])
    found = [
        Suggestion(entry.name + ("/" if entry.is_dir() else ""), "file")
        for entry in entries
        if entry.name.startswith(start)
        and (start.startswith(".") or not entry.name.startswith("."))
    ]
    return Suggestions(len(start), found)

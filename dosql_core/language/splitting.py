"""Where one statement of a text ends and the next begins; no statement is understood here.

The work is done by a pattern that walks over code inside the regular expression engine and stops
only at a `;` outside of quotes and comments, so a dump of any size is split in little time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from dosql_core.language.tokens import (
    BLANK,
    GAP,
    NAME_BEGINNINGS,
    NAME_CHARACTERS,
    PARAMETER,
    UNCLOSED_PARAMETER,
    WORD,
    compiled_when_needed,
)

# What code consists of, apart from `;` and words. Every alternative is a whole token, or a run in
# which neither a quote nor a `;` can hide, so a match never stops inside a token. What is never
# closed is not matched.
_CODE = (
    rf"[^'\"`\[/$@:;{NAME_BEGINNINGS}-]++"
    r"|'[^']*+'|\"[^\"]*+\"|`[^`]*+`|\[[^\]]*+\]"
    r"|--[^\n]*+\n|/\*(?:[^*]|\*(?!/))*+\*/|-(?!-)|/(?!\*)"
    rf"|{PARAMETER}|{UNCLOSED_PARAMETER}|[$@:](?:::)*+"
)
_UP_TO_SEMICOLON = re.compile(f"(?:{_CODE}|{WORD})*+")
_UP_TO_RETURNING = compiled_when_needed(
    rf"(?:{_CODE}|;|(?!RETURNING(?![{NAME_CHARACTERS}])){WORD})*+RETURNING",
    re.IGNORECASE | re.ASCII,
)

_BETWEEN = re.compile(f"{GAP}|;")
_ALL_BETWEEN = re.compile(f"(?:{GAP}|;)*+")
_ALL_BUT_COMMENTS = re.compile(f"(?:{BLANK}|;)*+")
_CREATE_TRIGGER = re.compile(
    rf"(?:EXPLAIN{GAP}++(?:QUERY{GAP}++PLAN{GAP}++)?)?"
    rf"CREATE{GAP}++(?:TEMP(?:ORARY)?{GAP}++)?TRIGGER(?![{NAME_CHARACTERS}])",
    re.IGNORECASE | re.ASCII,
)
_END_OF_TRIGGER = compiled_when_needed(
    rf"{GAP}*+END(?![{NAME_CHARACTERS}])", re.IGNORECASE | re.ASCII
)


def start_of_statement(sql: str, start: int = 0) -> int:
    """The offset of the first token at or behind `start` that is not a `;`; len(sql) if none."""
    match = _ALL_BETWEEN.match(sql, start)
    assert match is not None  # the pattern may match nothing, so it always matches
    return match.end()


def end_of_statement(sql: str, start: int = 0) -> int:
    """The offset behind the `;` that ends the statement at `start`; len(sql) when none does.

    Shape: `start` is where the statement's first token begins. The body of a CREATE TRIGGER belongs
    to its statement. A quote or comment that is never closed reaches to the end of the text.
    """
    return _end_and_completeness(sql, start)[0]


def split_statements(script: str) -> Iterator[str]:
    """Each statement of a script with its `;`, in order; blanks and comments alone are none.

    A comment in front of a statement stays with it. The last one may lack its `;` and may be
    incomplete: SQLite will say what is wrong with it.
    """
    position = 0
    while (start := start_of_statement(script, position)) < len(script):
        end = end_of_statement(script, start)
        # A pattern, not lstrip(): a \v is blank behind another blank only.
        before = _ALL_BUT_COMMENTS.match(script, position)
        assert before is not None  # the pattern may match nothing, so it always matches
        yield script[before.end() : end]
        position = end


def is_complete(sql: str) -> bool:
    """Whether the text ends with a whole statement, so that a shell may run it.

    True for a lone `;` and False for nothing at all, as SQLite's sqlite3_complete() has it.
    """
    position, is_whole = 0, False
    while (start := start_of_statement(sql, position)) < len(sql):
        position, is_whole = _end_and_completeness(sql, start)
    if ends_in_comment(sql, position):
        return False
    return is_whole or any(match[0] == ";" for match in _BETWEEN.finditer(sql, position))


def ends_in_comment(sql: str, start: int = 0) -> bool:
    """Whether the blanks, comments and `;` from `start` on end in a comment that goes on."""
    last = ""
    for match in _BETWEEN.finditer(sql, start):
        last = match[0]
    return last.startswith("/*") and (len(last) < len("/**/") or not last.endswith("*/"))


def has_returning_clause(sql: str) -> bool:
    """Whether the word RETURNING, which is never a name, stands outside of quotes and comments."""
    return _UP_TO_RETURNING().match(sql) is not None


def _end_and_completeness(sql: str, start: int) -> tuple[int, bool]:
    end, is_whole = _behind_semicolon(sql, start)
    if _CREATE_TRIGGER.match(sql, start) is None:
        return end, is_whole
    # No statement of a trigger's body can begin with END, so `; END` is always the body's end.
    is_body_over = False
    while is_whole and not is_body_over:
        is_body_over = _END_OF_TRIGGER().match(sql, end) is not None
        end, is_whole = _behind_semicolon(sql, end)
    return end, is_whole


def _behind_semicolon(sql: str, start: int) -> tuple[int, bool]:
    match = _UP_TO_SEMICOLON.match(sql, start)
    assert match is not None
    end = match.end()
    return (end + 1, True) if sql.startswith(";", end) else (len(sql), False)

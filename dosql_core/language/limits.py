"""LIMIT with a parameter, in words that SQLite compiles once.

SQLite's planner looks at the value that is bound to a LIMIT when a statement is compiled, and so
compiles the statement anew each time another one is bound, even the same again. Behind a `+`, which
changes no value, it does not look (docs/decisions/0023).
"""

from __future__ import annotations

import functools
import re

from dosql_core.language.tokens import Token, TokenKind, significant_tokens

# Without one of these behind a LIMIT there is nothing to look for, and looking takes longer than
# SQLite takes to compile most statements.
_PERHAPS = re.compile(r"limit\s*(?:[?:@$/-]|\S+\s*[,/-])", re.IGNORECASE)
_REMEMBERED_TEXTS, _REMEMBERED_CHARACTERS = 512, 4000
_BEHIND_A_LIMIT = frozenset(("", ")", ";", ",", "OFFSET"))


def steady_limits(sql: str) -> str | None:
    """The text with a `+` before each parameter that is a whole LIMIT; None where there is none."""
    if _PERHAPS.search(sql) is None:
        return None
    # What one connection has run others will, and in some programs each has one to itself.
    return (_known if len(sql) <= _REMEMBERED_CHARACTERS else _found)(sql)


def _found(sql: str) -> str | None:
    tokens = significant_tokens(sql)
    places = []
    for number, token in enumerate(tokens[:-2]):
        if token.word != "LIMIT":
            continue
        at = number + 1
        if _is_whole(tokens[at : at + 2]):
            places.append(tokens[at].start)
        if tokens[at + 1].text == "," and _is_whole(tokens[at + 2 : at + 4]):
            places.append(tokens[at + 2].start)  # LIMIT offset, limit
    if not places:
        return None
    pieces, done = [], 0
    for place in places:
        pieces.append(sql[done:place])
        done = place
    return "+".join([*pieces, sql[done:]])


_known = functools.lru_cache(_REMEMBERED_TEXTS)(_found)


def _is_whole(tokens: list[Token]) -> bool:
    """Whether the first token is a parameter and the second does not go on with it."""
    if len(tokens) < 2:
        return False
    first, second = tokens
    return first.kind is TokenKind.PARAMETER and (second.word or second.text) in _BEHIND_A_LIMIT

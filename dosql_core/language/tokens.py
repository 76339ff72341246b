"""SQL text as SQLite's own tokenizer sees it: tokens, quoting, and where in the text something is.

Nothing here knows a statement. The patterns follow SQLite's tokenizer, its oddities included
(`[a]`, `1_000`, `$a::b(c)`, a comment that is never closed), because the text we do not change is
handed to SQLite verbatim, and both must agree on where a string ends.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import NamedTuple


class TokenKind(enum.Enum):
    """What a token is, by how it is written; END stands behind the last one."""

    BLANK = "blank"
    COMMENT = "comment"
    STRING = "string"
    QUOTED = "quoted name"
    BLOB = "blob"
    NUMBER = "number"
    PARAMETER = "parameter"
    WORD = "word"
    OPERATOR = "operator"
    ILLEGAL = "illegal"
    END = "end"


class Token(NamedTuple):
    """A piece of SQL text; `start` is its offset in the text, in characters."""

    kind: TokenKind
    text: str
    start: int

    @property
    def end(self) -> int:
        """The offset just behind the token."""
        return self.start + len(self.text)

    @property
    def word(self) -> str:
        """The token in upper case when it is an unquoted word, else ''.

        Only ASCII words: SQLite's keywords fold no other letters, and `ſet` is not SET.
        """
        return self.text.upper() if self.kind is TokenKind.WORD and self.text.isascii() else ""


def compiled_when_needed(pattern: str, flags: int = 0) -> Callable[[], re.Pattern[str]]:
    """Gives the pattern, compiled at the first call: some take 20 ms, and few programs need all."""
    return cache(partial(re.compile, pattern, flags))


NAME_BEGINNINGS = r"A-Za-z_\x80-\U0010ffff"
"""What an unquoted name may begin with, for use inside the brackets of a pattern."""

NAME_CHARACTERS = rf"{NAME_BEGINNINGS}0-9$"
WORD = rf"[{NAME_BEGINNINGS}][{NAME_CHARACTERS}]*+"

BLANK = r"(?:[ \t\n\f\r][ \t\n\v\f\r]*+|\ufeff)"
# `/*` that nobody closes reaches to the end of the text; `/*` that is itself the end of the text is
# two operators.
COMMENT = r"(?:--[^\n]*+|/\*(?=[\s\S])(?:[^*]|\*(?!/))*+(?:\*/|\Z))"
GAP = rf"(?:{BLANK}|{COMMENT})"
"""One piece of what may stand between two tokens."""

# `$a::b(c)` comes from Tcl, whose names may end in an index; the index holds no blank.
_NAMED = rf"[$@:](?:::)*+[{NAME_CHARACTERS}](?:[{NAME_CHARACTERS}]|::)*+"
PARAMETER = rf"(?:\?[0-9]*+|{_NAMED}(?:(?!\()|\([^ \t\n\v\f\r)]*+\)))"
UNCLOSED_PARAMETER = rf"{_NAMED}\([^ \t\n\v\f\r)]*+"

_NUMBER = (
    r"(?:0[xX][0-9a-fA-F][0-9a-fA-F_]*+"
    r"|(?:[0-9][0-9_]*+(?:\.[0-9_]*+)?+|\.[0-9][0-9_]*+)(?:[eE][+-]?[0-9][0-9_]*+)?+)"
)

# In this order: an alternative stands before whatever its beginning could be mistaken for.
_PATTERNS = (
    (TokenKind.BLANK, BLANK),
    (TokenKind.COMMENT, COMMENT),
    (TokenKind.BLOB, r"[xX]'(?:[0-9a-fA-F]{2})*+'"),
    (TokenKind.ILLEGAL, r"[xX]'[^']*+'?"),
    (TokenKind.WORD, WORD),
    (TokenKind.STRING, r"'[^']*+(?:''[^']*+)*+'"),
    (TokenKind.QUOTED, r'"[^"]*+(?:""[^"]*+)*+"|`[^`]*+(?:``[^`]*+)*+`|\[[^\]]*+\]'),
    (TokenKind.NUMBER, rf"{_NUMBER}(?![{NAME_CHARACTERS}])"),
    (TokenKind.ILLEGAL, rf"{_NUMBER}[{NAME_CHARACTERS}]++"),
    (TokenKind.PARAMETER, PARAMETER),
    (TokenKind.ILLEGAL, rf"{UNCLOSED_PARAMETER}|[$@:#](?:::)*+"),
    (TokenKind.OPERATOR, r"->>?|\|\||<[=<>]|>[=>]|==|!=|[-+*/%&|~<>=,;.()]"),
    (TokenKind.ILLEGAL, r"""['"`\[][\s\S]*+|[\s\S]"""),
)
_TOKEN = compiled_when_needed("|".join(f"({pattern})" for _, pattern in _PATTERNS))
_KIND_OF_GROUP = (TokenKind.END, *(kind for kind, _ in _PATTERNS))


def tokenize(sql: str) -> Iterator[Token]:
    """Every token of the text, blanks and comments included; their texts add up to the text.

    A text SQLite would refuse is no error: what it could not read is ILLEGAL.
    """
    for match in _TOKEN().finditer(sql):
        group = match.lastindex
        assert group is not None  # the last pattern takes any character
        yield Token(_KIND_OF_GROUP[group], match[0], match.start())


def significant_tokens(sql: str, start: int = 0) -> list[Token]:
    """The tokens from `start` on without blanks and comments, then one END."""
    tokens = []
    for match in _TOKEN().finditer(sql, start):
        group = match.lastindex
        assert group is not None
        if group > 2:  # the first two groups are BLANK and COMMENT
            tokens.append(Token(_KIND_OF_GROUP[group], match[0], match.start()))
    tokens.append(Token(TokenKind.END, "", len(sql)))
    return tokens


def unquoted(token: Token) -> str:
    """The name or text a token stands for: without quotes, doubled quotes halved."""
    if token.kind in (TokenKind.STRING, TokenKind.QUOTED):
        quote = token.text[-1]
        inner = token.text[1:-1]
        return inner if quote == "]" else inner.replace(quote * 2, quote)
    return token.text


def quoted_name(name: str) -> str:
    """The name as SQL, in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def quoted_string(text: str) -> str:
    """The text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def place(sql: str, offset: int) -> str:
    """Where an offset is, for people: 'line 2, column 7', both counted from 1."""
    line = sql.count("\n", 0, offset) + 1
    column = offset - (sql.rfind("\n", 0, offset) + 1) + 1
    return f"line {line}, column {column}"


_RESERVED = """
    ADD ALL ALTER AND AS AUTOINCREMENT BETWEEN CASE CHECK COLLATE COMMIT CONSTRAINT CREATE DEFAULT
    DEFERRABLE DELETE DISTINCT DROP ELSE ESCAPE EXCEPT EXISTS FOREIGN FROM GROUP HAVING IN INDEX
    INSERT INTERSECT INTO IS ISNULL JOIN LIMIT NOT NOTHING NOTNULL NULL ON OR ORDER PRIMARY
    REFERENCES RETURNING SELECT SET TABLE THEN TO TRANSACTION UNION UNIQUE UPDATE USING VALUES WHEN
    WHERE
"""
_BEGINS_A_JOIN = "CROSS FULL INDEXED INNER LEFT NATURAL OUTER RIGHT"

RESERVED_WORDS = frozenset(_RESERVED.split())
"""The words SQLite never takes for a name unless they are quoted."""

NO_BARE_ALIAS = RESERVED_WORDS | frozenset(_BEGINS_A_JOIN.split())
"""The words that cannot be the alias of a table without AS in front."""

"""What two definitions of a table have to do with each other: CREATE TABLE taken apart; no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dosql_core.language.tokens import Token, TokenKind, tokenize, unquoted
from dosql_core.rows.row_change import NamedValues

_CONSTRAINTS = frozenset(("CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"))
_GAPS = (TokenKind.BLANK, TokenKind.COMMENT)


def is_same_sql(one: str | None, other: str | None) -> bool:
    """Whether two definitions differ only in blanks, comments and quotes that need not be."""
    if one is None or other is None:
        return one is other
    return one == other or _spelled(one) == _spelled(other)


def is_virtual(create_table: str) -> bool:
    """Whether a definition of a table is one of a virtual table."""
    return [word.word for word in _words(create_table)[:2]] == ["CREATE", "VIRTUAL"]


def counts_its_keys(create_table: str) -> bool:
    """Whether AUTOINCREMENT gives new rows their keys."""
    return any(word.word == "AUTOINCREMENT" for word in _words(create_table))


def added_columns(before: str, after: str) -> list[str]:
    """The definitions of the columns that `after` has at its end more than `before`.

    Empty when anything else differs, too.
    """
    old, new = _definitions(before), _definitions(after)
    if not old or len(new) <= len(old):
        return []
    if any(_spelled(was) != _spelled(now) for was, now in zip(old, new, strict=False)):
        return []
    return new[len(old) :]


def column_named(definition: str) -> str:
    """The name of the column that a definition defines."""
    return unquoted(_words(definition)[0])


def renamed_columns(before: str, after: str) -> list[tuple[str, str, bool]]:
    """Columns that `before` has alone, each with every one that `after` has alone; if it is likely.

    Likely are those that stand at the same place with the rest of their definition, and they come
    first. All are guesses: a column may have been dropped, and another made like it in its place.
    """
    old, new = _columns(before), _columns(after)
    old_names, new_names = ({name.casefold() for name, _ in columns} for columns in (old, new))
    pairs = [
        (was, now, (place, how) == (new_place, new_how))
        for place, (was, how) in enumerate(old)
        for new_place, (now, new_how) in enumerate(new)
        if was.casefold() not in new_names and now.casefold() not in old_names
    ]
    return sorted(pairs, key=lambda pair: not pair[2])


def defined_columns(create_table: str) -> dict[str, str]:
    """The columns, generated ones included: each name, and how it is spelled, quoted or not."""
    spelled = {}
    for definition in _definitions(create_table):
        words = _words(definition)
        if words and words[0].word not in _CONSTRAINTS:
            spelled[unquoted(words[0])] = words[0].text
    return spelled


def renamed_row(row: NamedValues | None, names: Mapping[str, str | None]) -> NamedValues | None:
    """The row under other names; without the columns that have none."""
    if row is None:
        return None
    return {named: value for name, value in row.items() if (named := names.get(name)) is not None}


def _columns(create_table: str) -> list[tuple[str, tuple[str, ...]]]:
    """The columns with the rest of their definition."""
    columns = []
    for definition in _definitions(create_table):
        words = _words(definition)
        if words and words[0].word not in _CONSTRAINTS:
            columns.append((unquoted(words[0]), tuple(_spelling(word) for word in words[1:])))
    return columns


def _spelled(sql: str) -> list[str]:
    return [_spelling(token) for token in _words(sql)]


def _spelling(token: Token) -> str:
    """A token without quotes that a name need not have: ALTER TABLE puts some where none were."""
    return unquoted(token) if token.kind is TokenKind.QUOTED else token.text


def _definitions(create_table: str) -> list[str]:
    """What stands between the commas of CREATE TABLE's parentheses; empty if there are none."""
    parts: list[str] = []
    depth, start = 0, 0
    for token in _words(create_table):
        if token.text == "(":
            depth += 1
            if depth == 1:
                start = token.end
        elif token.text == ")":
            depth -= 1
            if depth == 0:
                return [*parts, create_table[start : token.start].strip()]
        elif token.text == "," and depth == 1:
            parts.append(create_table[start : token.start].strip())
            start = token.end
    return []


def _words(sql: str) -> list[Token]:
    return [token for token in tokenize(sql) if token.kind not in _GAPS]


def names_in_common(columns: Iterable[str], merged: Iterable[str]) -> dict[str, str | None]:
    """Each column under its own name where the merged table has it; names fold case."""
    known = {name.casefold(): name for name in merged}
    return {name: known.get(name.casefold()) for name in columns}

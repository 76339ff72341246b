"""Which rows the triggers and foreign keys of a schema may change: read off their definitions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dosql_core.errors import ProgrammingError
from dosql_core.kernel.change_causes import FOREIGN_KEY, Effect, Effects, Target
from dosql_core.kernel.connection import pragma_value, run
from dosql_core.language.token_cursor import TokenCursor
from dosql_core.language.tokens import Token, TokenKind, unquoted

_INSERT, _UPDATE, _DELETE = "INSERT", "UPDATE", "DELETE"
_EVENTS = (_INSERT, _UPDATE, _DELETE)
_TRIGGERS = r"""
    SELECT name, sql FROM main.sqlite_schema WHERE type = 'trigger' AND sql IS NOT NULL
    UNION ALL SELECT name, sql FROM temp.sqlite_schema WHERE type = 'trigger' AND sql IS NOT NULL
    AND name NOT LIKE '\_dosql\_%' ESCAPE '\'
"""
_TABLES = "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table'"
_FOREIGN_KEYS = """
    SELECT l.name, f."table", f.on_update, f.on_delete
    FROM pragma_table_list AS l JOIN pragma_foreign_key_list(l.name) AS f
    WHERE l.schema = 'main' AND l.type = 'table'
"""
_DOES_NOTHING = ("NO ACTION", "RESTRICT")


def effects_of_schema(connection: Any, *, has_handlers: bool = False) -> Effects:
    """What the triggers and foreign keys that a connection sees may do."""
    triggers = run(connection, _TRIGGERS)
    are_enforced = pragma_value(connection, "foreign_keys")
    foreign_keys = [
        key
        for key in (run(connection, _FOREIGN_KEYS) if are_enforced else ())
        if not (key[2] in _DOES_NOTHING and key[3] in _DOES_NOTHING)
    ]
    if not triggers and not foreign_keys and not has_handlers:
        return Effects()
    tables = run(connection, _TABLES)
    names = {name.casefold(): name for name, _ in tables}
    effects = [effect for _, sql in triggers if (effect := trigger_effect(sql, names)) is not None]
    for child, parent, on_update, on_delete in foreign_keys:
        parent = names.get(parent.casefold(), parent)
        for event, action in ((_UPDATE, on_update), (_DELETE, on_delete)):
            if action not in _DOES_NOTHING:
                does = _DELETE if (event, action) == (_DELETE, "CASCADE") else _UPDATE
                writes = frozenset(((does, child),))
                effects.append(Effect(FOREIGN_KEY, (event, parent), True, writes))
    return Effects(tuple(effects), frozenset(name for name, wr in tables if wr), has_handlers)


def trigger_effect(sql: str, names: dict[str, str]) -> Effect | None:
    """What one trigger may do; None when its text is not understood.

    Shape: `names` are the tables of the schema by their case-folded names.
    """
    try:
        return _Definition(sql, names).effect()
    except (ProgrammingError, IndexError):
        return None


class _Definition:
    """The text of a trigger, as SQLite keeps it."""

    def __init__(self, sql: str, names: dict[str, str]) -> None:
        self._at = TokenCursor(sql)
        self._names = names

    def effect(self) -> Effect | None:
        at = self._at
        while not at.take("TRIGGER"):
            at.advance()
        at.take("IF", "NOT", "EXISTS")
        name = unquoted(at.advance())
        if at.is_at_operator("."):
            at.advance()
            name = unquoted(at.advance())
        is_after = at.take("AFTER")
        event = self._find(_EVENTS)
        while not at.is_at("ON"):
            at.advance()
        at.advance()
        table = self._table(at.advance())
        self._find(("BEGIN",))
        return Effect(f"trigger {name}", (event, table), is_after, frozenset(self._writes()))

    def _find(self, words: tuple[str, ...]) -> str:
        """Step behind the next of these words; it comes back."""
        at = self._at
        while at.token.kind is not TokenKind.END:
            word = at.advance().word
            if word in words:
                return word
        raise IndexError(words)

    def _table(self, token: Token) -> str:
        name = unquoted(token)
        return self._names.get(name.casefold(), name)

    def _writes(self) -> Iterator[Target]:
        at = self._at
        inserts_into = ""
        begins_statement = True
        while at.token.kind is not TokenKind.END:
            word = at.advance().word
            if begins_statement and word in ("INSERT", "REPLACE"):
                self._find(("INTO",))
                inserts_into = self._table(at.advance())
                yield _INSERT, inserts_into
                yield _DELETE, inserts_into  # what it replaces
            elif begins_statement and word == "DELETE":
                self._find(("FROM",))
                yield _DELETE, self._table(at.advance())
            elif begins_statement and word == "UPDATE":
                if at.take("OR"):
                    at.advance()
                table = self._table(at.advance())
                yield _UPDATE, table
                yield _DELETE, table
            elif word == "DO" and at.is_at("UPDATE"):
                yield _UPDATE, inserts_into
            begins_statement = at.peek(-1).text == ";"

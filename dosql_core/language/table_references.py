"""Where a statement refers to tables as of a moment, and where it may not.

Not a parser of SQL: SQLite is that. One walk over the tokens keeps just enough of the grammar
(which parentheses we are in, whether a FROM clause is open, which names WITH declares) to tell a
table reference from everything that looks like one.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from dosql_core.language.moments import (
    FORMS,
    MomentClause,
    is_at_as_of,
    is_at_moment_kind,
    parse_moment,
)
from dosql_core.language.periods import (
    PERIOD_WORDS,
    DifferenceClause,
    PeriodClause,
    parse_period,
)
from dosql_core.language.token_cursor import TokenCursor
from dosql_core.language.tokens import (
    NO_BARE_ALIAS,
    RESERVED_WORDS,
    Token,
    TokenKind,
    unquoted,
)


@dataclass(frozen=True, slots=True)
class PastReference:
    """A table reference with a moment or a period, or one to `dosql_diff`.

    Shape: `alias` is the name to be given to it at `alias_at`, where it has none of its own.
    Units: offsets into the text: the name with its schema is `name_start` to `name_end`, the clause
           `clause_start` to `clause_end`.
    """

    table: str
    name_start: int
    name_end: int
    clause_start: int
    clause_end: int
    clause: MomentClause | PeriodClause | DifferenceClause
    alias: str | None
    alias_at: int


class _Place(enum.Enum):
    """What a pair of parentheses (or the statement itself) is to the text around it."""

    EXPRESSION = "expression"
    SUBQUERY = "a subquery"
    JOIN = "a join in parentheses"
    FUNCTION = "a table-valued function"
    CTE_BODY = "the body of a common table expression"


@dataclass(slots=True)
class _Scope:
    """What is known between one pair of parentheses; the statement itself is the outermost."""

    place: _Place
    parent: _Scope | None
    in_from: bool = False
    expects_table: bool = False
    in_with: bool = False
    declares_next: bool = False
    difference: tuple[Token, str] | None = None
    declared: set[str] = field(default_factory=set)

    def knows(self, name: str) -> bool:
        """Whether a WITH here or further out declares the name."""
        scope: _Scope | None = self
        while scope is not None:
            if name.lower() in scope.declared:
                return True
            scope = scope.parent
        return False


# The words that end a FROM clause. ON and USING do not: the comma behind them goes on with it.
_ENDS_FROM = frozenset(
    {"EXCEPT", "GROUP", "HAVING", "INTERSECT", "LIMIT", "ORDER", "RETURNING", "SELECT", "SET"}
    | {"UNION", "VALUES", "WHERE"}
)
_LOG_TABLE = "dosql_log"
_DIFFERENCE = "dosql_diff"
_VALUES = (TokenKind.STRING, TokenKind.NUMBER, TokenKind.PARAMETER)
_ONLY_AT_TABLES = "put AS OF right behind a table's name in FROM, JOIN or IN"


def find_past_references(cursor: TokenCursor) -> list[PastReference]:
    """The statement's table references that carry a moment or a period, in the order of the text.

    Errors: TimeTravelSyntaxError where a clause is written wrongly or stands where it cannot.
    """
    return _Walk(cursor).references()


class _Walk:
    """One pass over a statement; what it keeps is named by `_Scope`."""

    def __init__(self, cursor: TokenCursor) -> None:
        self.cursor = cursor
        self.scope = _Scope(_Place.EXPRESSION, None)
        self.found: list[PastReference] = []
        # A WITH declares names for what stands in front of their declaration, too, so whether a
        # name is a table is settled when everything has been seen.
        self.unsettled: list[tuple[_Scope, Token]] = []

    def references(self) -> list[PastReference]:
        kind = self._kind_of_definition()
        if kind == "VIRTUAL":
            return []  # what stands between its parentheses is the module's own language
        if kind in ("VIEW", "TRIGGER"):
            self._refuse_everywhere(kind)
            return []
        while self.cursor.token.kind is not TokenKind.END:
            self._step()
        for scope, name in self.unsettled:
            if scope.knows(unquoted(name)):
                raise self.cursor.time_travel_error(
                    f"{name.text} is a common table expression, which has no past",
                    "put AS OF on the tables that the expression reads",
                    name,
                )
        return self.found

    def _kind_of_definition(self) -> str:
        """The word behind CREATE [TEMP], '' for other statements."""
        ahead = 0
        if self.cursor.is_at("EXPLAIN"):
            ahead = 3 if self.cursor.is_at("QUERY", "PLAN", ahead=1) else 1
        if not self.cursor.is_at("CREATE", ahead=ahead):
            return ""
        if self.cursor.peek(ahead + 1).word in ("TEMP", "TEMPORARY"):
            ahead += 1
        return self.cursor.peek(ahead + 1).word

    def _refuse_everywhere(self, kind: str) -> None:
        while self.cursor.token.kind is not TokenKind.END:
            if is_at_as_of(self.cursor) or self._is_at_period():
                hint = "put AS OF behind the view's name in the query that reads it"
                if kind == "TRIGGER":
                    hint = "read the past in the program and pass the value, or use a table"
                raise self.cursor.time_travel_error(
                    f"the definition of a {kind.lower()} cannot read the past: it is stored in the "
                    "database file, which every SQLite must be able to read",
                    hint,
                )
            self.cursor.advance()

    def _step(self) -> None:
        cursor, scope = self.cursor, self.scope
        if scope.expects_table:
            scope.expects_table = False
            self._table_reference()
        elif scope.declares_next:
            scope.declares_next = False
            scope.declared.add(unquoted(cursor.advance()).lower())
        elif is_at_as_of(cursor):
            raise cursor.time_travel_error("AS OF does not follow a table here", _ONLY_AT_TABLES)
        elif cursor.token.kind is TokenKind.OPERATOR:
            self._operator()
        else:
            self._word(cursor.token.word)

    def _operator(self) -> None:
        cursor, scope = self.cursor, self.scope
        if cursor.is_at_operator("("):
            is_body = scope.in_with and cursor.peek(-1).word in ("AS", "MATERIALIZED")
            self._open(_Place.CTE_BODY if is_body else _Place.EXPRESSION)
        elif cursor.is_at_operator(")"):
            self._close()
        else:
            scope.expects_table = scope.in_from and cursor.is_at_operator(",")
            cursor.advance()

    def _word(self, word: str) -> None:
        cursor, scope = self.cursor, self.scope
        before = cursor.peek(-1).word
        cursor.advance()
        if word == "FROM":
            if before == "DELETE":
                self._target()
            elif not (before == "DISTINCT" and cursor.peek(-3).word in ("IS", "NOT")):
                scope.in_from = scope.expects_table = True
        elif word == "JOIN":
            scope.expects_table = scope.in_from
        elif word == "IN":
            if not cursor.is_at_operator("("):
                self._named_table(is_operand=True)
        elif word == "INTO":
            self._target()
        elif word == "UPDATE" and before not in ("DO", "ON"):
            if cursor.take("OR"):
                cursor.advance()
            self._target()
        elif word == "WITH":
            if self._is_at_declaration():
                cursor.take("RECURSIVE")
                scope.in_with = scope.declares_next = True
        elif word in _ENDS_FROM or (word == "WINDOW" and cursor.is_at("AS", ahead=1)):
            scope.in_from = False

    def _is_at_declaration(self, ahead: int = 0) -> bool:
        """Whether the name of a common table expression comes next, after an optional RECURSIVE."""
        cursor = self.cursor
        for name_ahead in (
            (ahead, ahead + 1) if cursor.is_at("RECURSIVE", ahead=ahead) else (ahead,)
        ):
            behind = cursor.peek(name_ahead + 1)
            if _is_name(cursor.peek(name_ahead)) and (behind.word == "AS" or behind.text == "("):
                return True
        return False

    # -- parentheses -------------------------------------------------------------------------------

    def _open(self, place: _Place) -> None:
        is_join = place is _Place.JOIN
        self.scope = _Scope(place, self.scope, in_from=is_join, expects_table=is_join)
        self.cursor.advance()

    def _close(self) -> None:
        closed = self.scope
        self.cursor.advance()
        if closed.parent is None:
            return  # one `)` too many: SQLite will say so
        self.scope = closed.parent
        if closed.place is _Place.CTE_BODY:
            self.scope.declares_next = self.cursor.is_at_operator(",")
            self.scope.in_with = self.scope.declares_next
            if self.scope.declares_next:
                self.cursor.advance()
        elif closed.place is not _Place.EXPRESSION:
            behind = self.cursor.peek(-1).end
            has_alias = self._refuse_moment_of(closed.place)
            if closed.difference is not None:
                name, table = closed.difference
                self.found.append(
                    PastReference(
                        table=table,
                        name_start=name.start,
                        name_end=name.end,
                        clause_start=behind,
                        clause_end=behind,
                        clause=DifferenceClause(table),
                        alias=None if has_alias else _DIFFERENCE,
                        alias_at=behind,
                    )
                )

    # -- table references --------------------------------------------------------------------------

    def _table_reference(self) -> None:
        """Read what stands where FROM, JOIN or a comma of FROM wants a table."""
        if not self.cursor.is_at_operator("("):
            self._named_table(is_operand=False)
            return
        is_query = self.cursor.peek().word in ("SELECT", "VALUES") or (
            self.cursor.is_at("WITH", ahead=1) and self._is_at_declaration(2)
        )
        self._open(_Place.SUBQUERY if is_query else _Place.JOIN)

    def _named_table(self, is_operand: bool) -> None:
        """Read `[schema.]table` with its alias and moment; behind IN there is no alias."""
        cursor, scope = self.cursor, self.scope
        name = self._take_table_name()
        if name is None:
            return
        schema, table = name
        if cursor.is_at_operator("("):
            self._open(_Place.FUNCTION)
            is_difference = schema is None and unquoted(table).lower() == _DIFFERENCE
            is_literal = cursor.token.kind is TokenKind.STRING and cursor.peek().text in (",", ")")
            if is_difference and is_literal and not is_operand:
                self.scope.difference = table, unquoted(cursor.token)
            return
        has_alias, clause = False, None
        while True:
            if self._is_at_clause():
                if clause is not None:
                    raise cursor.time_travel_error(
                        f"{table.text} has a moment already", "give every reference one moment"
                    )
                clause = self._take_clause(unquoted(table))
            elif not is_operand and not has_alias and self._take_alias():
                has_alias = True
            elif is_operand or not self._take_index_choice():
                break
        if clause is None:
            return
        self._check_schema(schema)
        if unquoted(table).lower() == _LOG_TABLE:
            raise cursor.time_travel_error(
                f"{table.text} is the log of all moments, not a table that has one",
                "compare its lsn or committed_at, or connect with as_of=",
                table,
            )
        if schema is None:
            self.unsettled.append((scope, table))
        taken, clause_start, clause_end = clause
        if is_operand and isinstance(taken, PeriodClause):
            raise cursor.time_travel_error(
                f"the history of {table.text} has several columns, and IN compares one",
                "write IN (SELECT column FROM table FOR SYSTEM_TIME ...)",
                table,
            )
        self.found.append(
            PastReference(
                table=unquoted(table),
                name_start=(schema or table).start,
                name_end=table.end,
                clause_start=clause_start,
                clause_end=clause_end,
                clause=taken,
                alias=None if has_alias or is_operand else unquoted(table),
                alias_at=table.end,
            )
        )

    def _target(self) -> None:
        """Step over the table a statement writes to, which can have no moment."""
        if self._take_table_name() is None:
            return
        if self.cursor.is_at("AS") and not is_at_as_of(self.cursor):
            self._take_alias()
        if self._is_at_clause():
            raise self.cursor.time_travel_error(
                "the past cannot be written to",
                "write to the table as it is; AS OF belongs to the tables that are read",
            )

    def _take_table_name(self) -> tuple[Token | None, Token] | None:
        """Step over `[schema.]table`, both of which come back; None where no name stands."""
        cursor = self.cursor
        if not _is_name(cursor.token):
            return None
        first = cursor.advance()
        if not cursor.is_at_operator(".") or not _is_name(cursor.peek()):
            return None, first
        cursor.advance()
        return first, cursor.advance()

    def _take_alias(self) -> bool:
        cursor = self.cursor
        if cursor.is_at("AS"):
            cursor.advance()
            if _is_name(cursor.token):
                cursor.advance()
            return True
        token = cursor.token
        if not _is_name(token) or token.word in NO_BARE_ALIAS:
            return False
        if token.word == "WINDOW" and cursor.is_at("AS", ahead=2):
            return False  # the WINDOW clause, not an alias
        cursor.advance()
        return True

    def _take_index_choice(self) -> bool:
        if self.cursor.take("INDEXED", "BY"):
            self.cursor.advance()
            return True
        return self.cursor.take("NOT", "INDEXED")

    def _check_schema(self, schema: Token | None) -> None:
        name = unquoted(schema).lower() if schema else "main"
        if schema is None or name == "main":
            return
        if name == "temp":
            message, hint = "temporary tables have no past", "keep what you need in a real table"
        else:
            message = f"{schema.text} is not the database whose history is kept here"
            hint = "open that file with DoSQL by itself and ask there"
        raise self.cursor.time_travel_error(message, hint, schema)

    def _refuse_moment_of(self, place: _Place) -> bool:
        """Refuse AS OF behind what is no table, with or without an alias, or say if it has one."""
        if not self.scope.in_from and place is not _Place.FUNCTION:
            return False
        has_alias = not self._is_at_clause() and self._take_alias()
        if self._is_at_clause():
            hint = "put AS OF on each table inside the parentheses"
            if place is _Place.FUNCTION:
                hint = "a table-valued function is computed now; only tables and views have a past"
            raise self.cursor.time_travel_error(f"{place.value} has no past of its own", hint)
        return has_alias

    def _is_at_period(self) -> bool:
        """Whether a period comes next; not one with FROM, for a column may be called `for`, and be
        shown as system_time."""
        cursor = self.cursor
        if not cursor.is_at("FOR", "SYSTEM_TIME"):
            return False
        word = cursor.peek(2).word
        return word in PERIOD_WORDS and word != "FROM"

    # -- the clause --------------------------------------------------------------------------------

    def _is_at_clause(self) -> bool:
        """Whether AS OF comes next behind a table.

        Errors: TimeTravelSyntaxError for what is no SQL at all and was surely meant as AS OF.
        """
        cursor = self.cursor
        if is_at_as_of(cursor) or cursor.is_at("FOR", "SYSTEM_TIME"):
            return True
        if cursor.is_at("AS", "OF") and cursor.peek(2).kind in _VALUES:
            raise cursor.time_travel_error(
                "AS OF does not say what its value is", f"{FORMS}; or write FOR SYSTEM_TIME AS OF"
            )
        is_misspelt = cursor.is_at("FOR") and (
            cursor.peek().word in ("SYSTEMTIME", "SYSTEM", "SYS_TIME")
            or (is_at_moment_kind(cursor, 1) and cursor.is_at("AS", "OF", ahead=2))
        )
        if is_misspelt:
            raise cursor.time_travel_error(
                f"FOR {cursor.peek().text} is not known", "write FOR SYSTEM_TIME AS OF"
            )
        return False

    def _take_clause(self, table: str) -> tuple[MomentClause | PeriodClause, int, int]:
        cursor = self.cursor
        start = cursor.token.start
        if cursor.take("FOR", "SYSTEM_TIME"):
            if cursor.token.word in PERIOD_WORDS:
                period = parse_period(cursor, table)
                return period, start, cursor.peek(-1).end
            if not cursor.is_at("AS", "OF"):
                raise cursor.time_travel_error(
                    f"FOR SYSTEM_TIME is followed by {cursor.found()}, "
                    "expected AS OF, BETWEEN, FROM, CONTAINED IN or ALL",
                    FORMS,
                )
        cursor.take("AS", "OF")
        moment = parse_moment(cursor)
        return moment, start, cursor.peek(-1).end


def _is_name(token: Token) -> bool:
    """Whether the token may name a table or be an alias; SQLite takes a string for a name, too."""
    if token.kind is TokenKind.WORD:
        return token.word not in RESERVED_WORDS
    return token.kind in (TokenKind.QUOTED, TokenKind.STRING)

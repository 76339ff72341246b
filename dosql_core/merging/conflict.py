"""Conflicts of a merge, what may be decided about them, and the rows a merge makes; no I/O."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dosql_core.errors import ProgrammingError
from dosql_core.identifiers import SqlValue
from dosql_core.rows.row_change import NamedValues

RowName = tuple[str, tuple[tuple[str, SqlValue], ...]]
"""What tells a row from all others of a database: its table and its key."""


class ConflictKind(enum.StrEnum):
    """In which way two changes contradict each other."""

    MODIFY_MODIFY = "modify/modify"
    MODIFY_DELETE = "modify/delete"
    DELETE_MODIFY = "delete/modify"
    ADD_ADD = "add/add"
    AUTOINCREMENT = "autoincrement"
    UNIQUE = "unique"
    NOT_NULL = "not null"
    CHECK = "check"
    FOREIGN_KEY = "foreign key"
    SCHEMA = "schema"

    @property
    def is_of_constraint(self) -> bool:
        """Whether only the merged whole shows it."""
        return self in _OF_CONSTRAINTS


_OF_CONSTRAINTS = frozenset(
    (ConflictKind.UNIQUE, ConflictKind.NOT_NULL, ConflictKind.CHECK, ConflictKind.FOREIGN_KEY)
)


class Side(enum.StrEnum):
    """Whose state of something."""

    OURS = "ours"
    THEIRS = "theirs"
    BASE = "base"


@dataclass(frozen=True, slots=True)
class Conflict:
    """A row, or an object of the schema, of which the two sides do not agree.

    Shape: `base`, `ours` and `theirs` are the whole row at the three moments, None where it is not
           there; `columns` are those changed to different values. For a conflict of the schema they
           hold the SQL under "sql", and `key` the kind of the object.
    """

    kind: ConflictKind
    table: str
    key: NamedValues
    base: NamedValues | None
    ours: NamedValues | None
    theirs: NamedValues | None
    columns: tuple[str, ...] = ()
    detail: str = ""

    @property
    def name(self) -> RowName:
        """Which row it is about."""
        return row_name(self.table, self.key)


@dataclass(frozen=True, slots=True)
class Resolution:
    """What is decided about a conflict: a side's state, or the `row` given, None for no row."""

    side: Side | None = None
    row: NamedValues | None = None


Decide = Callable[[Conflict], Resolution | None]
"""What a conflict is decided to; None leaves it open."""


@dataclass(frozen=True, slots=True)
class RowResult:
    """What a row has to become: `after` None deletes it, `before` None inserts it.

    Shape: a new row of a table without a key gets any rowid, whatever `key` says. `evicts`: rows
           that hold its unique values have to go.
    """

    table: str
    key: NamedValues
    before: NamedValues | None
    after: NamedValues | None
    evicts: bool = False

    @property
    def name(self) -> RowName:
        """Which row it is about."""
        return row_name(self.table, self.key)


class UnresolvedError(Exception):
    """A policy does not decide this conflict."""


Policy = Callable[[Conflict], "NamedValues | str | None"]
"""What a row in conflict shall be: its values by column, None for no row, or "ours", "theirs".

Columns it does not name merge. Errors: raise `UnresolvedError` to leave the conflict as one.
"""


def row_name(table: str, key: NamedValues) -> RowName:
    """What tells the row from all others."""
    return table, tuple(key.items())


def schema_conflict(
    kind: str,
    name: str,
    definitions: Iterable[str | None],
    detail: str,
    *,
    part: str | None = None,
) -> Conflict:
    """A conflict about the definition of an object, or what a part of it is called.

    Shape: `definitions` are those of the base, ours and theirs.
    """
    key: NamedValues = {"kind": kind} if part is None else {"kind": kind, "part": part}
    rows: list[NamedValues | None] = [None if sql is None else {"sql": sql} for sql in definitions]
    base, ours, theirs = rows
    return Conflict(ConflictKind.SCHEMA, name, key, base, ours, theirs, detail=detail)


def decided_side(conflict: Conflict, decide: Decide, left: list[Conflict]) -> Side | None:
    """Whose definition stands; None when nobody decides, and then the conflict is one more left."""
    resolution = decide(conflict)
    if resolution is None or resolution.side is None:
        left.append(conflict)
        return None
    return resolution.side


def decide_nothing(_conflict: Conflict) -> Resolution | None:
    """Leave every conflict to the user."""
    return None


def deciding_by(policy: Policy) -> Decide:
    """What a function of a user decides."""

    def decide(conflict: Conflict) -> Resolution | None:
        try:
            decided = policy(conflict)
        except UnresolvedError:
            return None
        return resolution_from(decided)

    return decide


def resolution_from(decided: NamedValues | str | None) -> Resolution:
    """The resolution a user gave: a row, None for no row, or the name of a side.

    Errors: ProgrammingError for anything else.
    """
    if isinstance(decided, str):
        sides = [side.value for side in Side]
        if decided.lower() not in sides:
            raise ProgrammingError(
                f"found {decided!r} as a resolution, expected {', '.join(sides)}, a row or None"
            )
        return Resolution(Side(decided.lower()))
    if decided is not None and not isinstance(decided, dict):
        raise ProgrammingError(
            f"found {type(decided).__name__} as a resolution, expected a dict of values by column"
        )
    return Resolution(row=decided)

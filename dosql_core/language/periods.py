"""Periods as they are written: `BETWEEN LSN 1 AND LSN 5`, `FROM a TO b`, `CONTAINED IN (a, b)`."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from dosql_core.language.moments import FORMS, MomentClause, parse_moment
from dosql_core.language.parameters import Parameter
from dosql_core.language.token_cursor import TokenCursor


class PeriodKind(enum.Enum):
    """Which versions of rows a period means."""

    BETWEEN = "BETWEEN"
    FROM = "FROM"
    CONTAINED = "CONTAINED"
    ALL = "ALL"


@dataclass(frozen=True, slots=True)
class PeriodClause:
    """The history of the rows of one table, as the user wrote it.

    Shape: `moments` are where the period begins and where it ends; none for ALL.
    """

    table: str
    kind: PeriodKind
    moments: tuple[MomentClause, ...] = ()

    @property
    def all_parameters(self) -> tuple[Parameter, ...]:
        """The parameters of the beginning, then those of the end."""
        return tuple(parameter for moment in self.moments for parameter in moment.all_parameters)


@dataclass(frozen=True, slots=True)
class DifferenceClause:
    """`dosql_diff('table', ...)`, which has the columns of the table that it names."""

    table: str

    @property
    def all_parameters(self) -> tuple[Parameter, ...]:
        """None: the moments are arguments, and stay where they are."""
        return ()


PERIOD_WORDS = frozenset(kind.value for kind in PeriodKind)
PERIOD_FORMS = (
    "write BETWEEN moment AND moment, FROM moment TO moment, CONTAINED IN (moment, moment) or ALL; "
    f"for a moment {FORMS}"
)


def parse_period(cursor: TokenCursor, table: str) -> PeriodClause:
    """Read what stands behind FOR SYSTEM_TIME where that is no AS OF.

    Errors: TimeTravelSyntaxError when it is no period.
    """
    kind = PeriodKind(cursor.advance().word)
    if kind is PeriodKind.ALL:
        return PeriodClause(table, kind)
    if kind is PeriodKind.CONTAINED:
        if not cursor.take("IN") or not cursor.is_at_operator("("):
            raise cursor.time_travel_error(
                f"CONTAINED is followed by {cursor.found()}, expected IN (", PERIOD_FORMS
            )
        cursor.advance()
    begin = parse_moment(cursor)
    if kind is PeriodKind.CONTAINED:
        _expect(cursor, kind, ",")
        end = parse_moment(cursor)
        _expect(cursor, kind, ")")
    else:
        _expect(cursor, kind, "AND" if kind is PeriodKind.BETWEEN else "TO")
        end = parse_moment(cursor)
    return PeriodClause(table, kind, (begin, end))


def _expect(cursor: TokenCursor, kind: PeriodKind, expected: str) -> None:
    token = cursor.token
    if token.word != expected and not cursor.is_at_operator(expected):
        raise cursor.time_travel_error(
            f"FOR SYSTEM_TIME {kind.value} has {cursor.found()} where {expected} was expected",
            PERIOD_FORMS,
        )
    cursor.advance()

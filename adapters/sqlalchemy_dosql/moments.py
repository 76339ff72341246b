"""Tables and mapped classes as of a moment, to be selected from and joined like any alias."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Join, TableClause, bindparam, inspect
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Mapper, aliased
from sqlalchemy.sql.selectable import AliasedReturnsRows, FromClauseAlias
from sqlalchemy.sql.util import ClauseAdapter
from sqlalchemy.sql.visitors import InternalTraversal

import dosql_dbapi
from sqlalchemy_dosql.driver import Place


class PastAlias(FromClauseAlias):
    """An alias of a table as it was.

    Shape: `words` is what follows AS OF, with a `?` for each of `values`. Only the words are part
           of the text that SQLAlchemy caches, so all moments of a kind share one compiled query.
    """

    __visit_name__ = "past_alias"
    inherit_cache = True
    _traverse_internals = [  # noqa: RUF012
        *AliasedReturnsRows._traverse_internals,
        ("words", InternalTraversal.dp_string),
        ("values", InternalTraversal.dp_clauseelement_tuple),
    ]

    words: str
    values: tuple[Any, ...]
    place: Place

    def _init(self, selectable: Any, *, name: str | None = None, place: Any = None) -> None:
        self.place = place
        words, values = moment_words(place)
        self.words = words
        self.values = tuple(bindparam(None, value, unique=True) for value in values)
        super()._init(selectable, name=name)


def as_of(
    source: Any, moment: Any = None, *, branch: str | None = None, name: str | None = None
) -> Any:
    """A mapped class, or a table, as of a moment: an alias for use in any SELECT.

    `moment` is an LSN, a datetime, "snapshot:name", "branch:name" or "-1 hour"; with `branch` it is
    a moment of that branch, and may be left away for its present.
    Errors: ArgumentError for something that is neither a table nor mapped to tables.
    """
    if moment is None and branch is None:
        raise ArgumentError("as_of() needs a moment or a branch")
    place = Place(branch, moment)
    inspected = inspect(source, raiseerr=False)
    if isinstance(inspected, Mapper):
        return aliased(inspected.class_, _past(inspected.selectable, place, None), name=name)
    return _past(source, place, name)


def _past(selectable: Any, place: Place, name: str | None) -> Any:
    if isinstance(selectable, TableClause):
        return PastAlias._construct(selectable, place=place, name=name)
    if isinstance(selectable, Join):
        left, right = _past(selectable.left, place, None), _past(selectable.right, place, None)
        condition = ClauseAdapter(left).chain(ClauseAdapter(right)).traverse(selectable.onclause)
        return Join(left, right, condition, selectable.isouter, selectable.full)
    raise ArgumentError(
        f"as_of() takes a table or a class that is mapped to tables, not {selectable!r}; "
        "read a query as of a moment with .execution_options(as_of=...)"
    )


def moment_words(place: Place) -> tuple[str, list[Any]]:
    """What follows AS OF for a place, and the values of its parameters."""
    if place.as_of is None:
        return "BRANCH ?", [place.branch]
    try:
        words, values = dosql_dbapi.as_of_clause(place.as_of)
    except dosql_dbapi.Error as error:
        raise ArgumentError(
            f"{place.as_of!r} is no moment; it may be an LSN, a datetime, 'snapshot:name', "
            "'branch:name' or '-1 hour'"
        ) from error
    if place.branch is None:
        return words, list(values)
    return f"BRANCH ? {words}", [place.branch, *values]


def literal_moment(place: Place) -> str:
    """What follows AS OF for a place, its values written out: definitions take no parameters."""
    words, values = moment_words(place)
    for value in values:
        text = str(value) if isinstance(value, int) else quoted(str(value))
        words = words.replace("?", text, 1)
    return words


def quoted(text: str) -> str:
    """A string literal of SQL."""
    return "'" + text.replace("'", "''") + "'"

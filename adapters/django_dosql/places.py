"""Where a query goes: a branch of a database and perhaps a moment, and the alias that says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

_MARK = "@"


@dataclass(frozen=True, slots=True)
class Place:
    """A branch, and for the past the LSN there.

    As an alias of Django's it is written `default@dev` or `default@main@57`. Branches, unlike what
    a program may call its databases, have no `@` in their names.
    """

    database: str
    branch: str
    lsn: int | None = None

    @property
    def alias(self) -> str:
        """What stands for it where Django wants the alias of a database."""
        parts = [self.database, self.branch]
        if self.lsn is not None:
            parts.append(str(self.lsn))
        return _MARK.join(parts)


def is_place(alias: str) -> bool:
    """Whether the alias names a branch or a moment, not a database of the settings."""
    return _MARK in alias


def place_of(alias: str) -> Place:
    """The place that an alias was made from."""
    database, branch, *lsn = alias.split(_MARK, 2)
    return Place(database, branch, int(lsn[0]) if lsn and lsn[0].isdecimal() else None)


def database_of(alias: str) -> str:
    """The alias in the settings that the alias of a place was made from."""
    return alias.partition(_MARK)[0]


# Context variables belong to a thread or to a task of asyncio, and Django hands a task's on to the
# threads that run its queries.
_places: ContextVar[Mapping[str, Place] | None] = ContextVar("dosql_places", default=None)


def current_place(database: str) -> Place | None:
    """Where the present block has sent this database; None outside of such blocks."""
    places = _places.get()
    return places.get(database) if places else None


@contextmanager
def sent_to(database: str, place: Place | None) -> Iterator[None]:
    """Send a database's queries to a place within the block; None sends them home again."""
    places = dict(_places.get() or {})
    if place is None:
        places.pop(database, None)
    else:
        places[database] = place
    token = _places.set(places)
    try:
        yield
    finally:
        _places.reset(token)

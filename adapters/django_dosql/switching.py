"""`as_of` and `branch`: what Django asks of a database inside of them, another place answers.

Django finds its way to a database in two steps. The router chooses an alias, the connection handler
turns it into a connection. Both are taught here to know places: the handler, so that raw cursors,
`atomic()` and migrations follow too; the router, so that an object that was read in the past keeps
the past as its database, and is refused when somebody saves it.
"""

from __future__ import annotations

import asyncio
import datetime
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from asgiref.local import Local
from django.db import DEFAULT_DB_ALIAS, ConnectionHandler, connections, router
from django.db.utils import ConnectionRouter, NotSupportedError, OperationalError

from django_dosql.places import (
    Place,
    current_place,
    database_of,
    is_place,
    place_of,
    sent_to,
)

Moment = int | str | datetime.datetime | datetime.date

_OPEN_PLACES_MAX = 16

_opened: Any = Local(thread_critical=True)  # as Django's own connections are kept


@contextmanager
def as_of(moment: Moment | None, using: str = DEFAULT_DB_ALIAS) -> Iterator[None]:
    """Within the block, everything that reads a database reads it as it was; writes are refused.

    `moment` is an LSN, a datetime (a naive one is in Django's time zone), `"-1 hour"`,
    `"snapshot:name"`, `"branch:name"`; None is the present.
    Errors: what the driver says of a moment that cannot be read, as Django's classes.
    """
    with sent_to(using, None if moment is None else past_of(using, moment)):
        yield


@contextmanager
def branch(name: str, using: str = DEFAULT_DB_ALIAS) -> Iterator[None]:
    """Within the block, everything that reads or writes a database does so on a branch.

    A transaction that is open on the database stays open where it is, and knows nothing of this.
    Errors: as Django's OperationalError when there is no such branch.
    """
    with sent_to(using, check_branch(name, using)):
        yield


def check_branch(name: str, database: str) -> Place:
    """The place where a branch of a database is.

    Errors: OperationalError when there is none of that name.
    """
    place = Place(database, name)
    install()
    if place_of(place.alias) != place:
        raise OperationalError(f"there is no branch {name!r}")
    wrapper = _with_history(database)
    if _is_in_event_loop():  # where Django lets nobody use its connections
        wrapper.check_branch(name)
    else:
        connections[place.alias].ensure_connection()
    return place


def _is_in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def past_of(alias: str, moment: Moment) -> Place:
    """The place where a database is as it was, seen from the branch that it is on now."""
    install()
    database = database_of(alias)
    here = place_of(alias) if is_place(alias) else current_place(database)
    branch_name, lsn = _with_history(database).resolve(moment, here.branch if here else None)
    return Place(database, branch_name, lsn)


def _with_history(database: str) -> Any:
    """The connection to a database itself, which must be on DoSQL."""
    wrapper = _Connections.settled(connections, database)
    if not hasattr(wrapper, "resolve"):
        raise NotSupportedError(
            f"settings.DATABASES[{database!r}] is on {wrapper.vendor}, which keeps no history; "
            "expected ENGINE to be django_dosql"
        )
    return wrapper


def install() -> None:
    """Teach Django's connection handler and router about places; once is enough."""
    if type(connections) is ConnectionHandler:
        connections.__class__ = _Connections
    if type(router) is ConnectionRouter:
        router.__class__ = _Router


class _Connections(ConnectionHandler):
    """Gives the connection of the place that the present block has sent a database to."""

    def __getitem__(self, alias: str) -> Any:
        if is_place(alias):
            return self._at(place_of(alias))
        place = current_place(alias)
        return super().__getitem__(alias) if place is None else self._at(place)

    def settled(self, alias: str) -> Any:
        """The connection to a database itself, wherever the present block sends its queries."""
        return super().__getitem__(alias)

    def _at(self, place: Place) -> Any:
        opened = _opened_here()
        wrapper = opened.get(place.alias)
        if wrapper is None:
            settings = self.settings.get(place.database)
            if settings is None:
                raise self.exception_class(f"The connection '{place.alias}' doesn't exist.")
            options = {**settings["OPTIONS"], "branch": place.branch, "as_of": place.lsn}
            wrapper = import_module(f"{settings['ENGINE']}.base").DatabaseWrapper(
                {**settings, "OPTIONS": options}, place.alias
            )
            opened[place.alias] = wrapper
            _close_longest_unused(opened)
        opened.move_to_end(place.alias)
        return wrapper

    def all(self, initialized_only: bool = False) -> list[Any]:
        """The connections of this thread, with those to places it has been to."""
        settled = [
            self.settled(alias)
            for alias in self
            if not initialized_only or hasattr(self._connections, alias)
        ]
        return [*settled, *_opened_here().values()]

    def close_all(self) -> None:
        """Close every connection of this thread, and forget the places."""
        for wrapper in self.all(initialized_only=True):
            wrapper.close()
        _opened_here().clear()


class _Router(ConnectionRouter):
    """Turns the database that others chose into the past of it, inside of `as_of`."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        """The alias to read from."""
        return _in_the_past(super().db_for_read(model, **hints))

    def db_for_write(self, model: Any, **hints: Any) -> str:
        """The alias to write to: also the past, which then refuses."""
        return _in_the_past(super().db_for_write(model, **hints))

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        """What is decided for a database holds for its branches."""
        return super().allow_migrate(database_of(db), app_label, **hints)  # type: ignore[no-any-return]


def _in_the_past(alias: str) -> str:
    place = None if is_place(alias) else current_place(alias)
    return alias if place is None or place.lsn is None else place.alias


def close_places(database: str) -> None:
    """Close the connections of this thread to branches and moments of a database."""
    opened = _opened_here()
    for alias in [alias for alias in opened if database_of(alias) == database]:
        opened.pop(alias).close()


def _opened_here() -> OrderedDict[str, Any]:
    try:
        opened: OrderedDict[str, Any] = _opened.wrappers
    except AttributeError:
        opened = _opened.wrappers = OrderedDict()
    return opened


def _close_longest_unused(opened: OrderedDict[str, Any]) -> None:
    excess = len(opened) - _OPEN_PLACES_MAX
    idle = [alias for alias, wrapper in opened.items() if not wrapper.in_atomic_block]
    for alias in idle[: max(0, excess)]:
        opened.pop(alias).close()

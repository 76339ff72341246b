"""The ORM's session over history: `Session(as_of=..., branch=...)`, and objects that know when.

An object read as of a moment is another object than the present one with the same primary key: its
place is its identity token. What it loads later comes from its own moment, and it is never written.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Engine, Select, event, inspect
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import ORMExecuteState
from sqlalchemy.orm import Session as StockSession
from sqlalchemy.orm.interfaces import UserDefinedOption
from sqlalchemy.orm.util import AliasedInsp

import dosql_dbapi
from sqlalchemy_dosql.driver import HERE, Place
from sqlalchemy_dosql.moments import PastAlias
from sqlalchemy_dosql.past_entities import PastEntity
from sqlalchemy_dosql.pools import place_of


class PastObjectError(InvalidRequestError):
    """An object of the past was changed, or a session on the past has something to write."""


class ReadAt(UserDefinedOption):
    """Carried by everything a statement loads, so that what is loaded later is of that place."""

    propagate_to_loaders = True


class HistorySession(StockSession):
    """What makes a session one over history; to be mixed into a session class of your own."""

    def __init__(
        self, *arguments: Any, as_of: Any = None, branch: str | None = None, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self.place = Place(branch, as_of)
        self._placed: dict[Any, Any] = {}

    def get_bind(self, *arguments: Any, **options: Any) -> Any:
        """The engine for an operation, at this session's branch and moment."""
        bind = super().get_bind(*arguments, **options)
        if self.place == HERE:
            return bind
        placed = self._placed.get(bind)
        if placed is None:
            placed = self._placed[bind] = self._at_place(bind)
        return placed

    def _at_place(self, bind: Any) -> Any:
        if not isinstance(bind, Engine):
            if bind.connection.dbapi_connection.place != self.place:
                raise InvalidRequestError(
                    "a session that is bound to a connection is where that connection is; "
                    "give branch and as_of to the connection's execution_options()"
                )
            return bind
        place = self.place
        if place.is_moving:  # the moment is the one at which the session was used first
            with bind.execution_options(branch=place.branch, as_of=place.as_of).connect() as there:
                found: Any = there.connection.dbapi_connection
                self.place = place = Place(found.branch, found.as_of)
        return bind.execution_options(branch=place.branch, as_of=place.as_of)

    def get(self, entity: Any, ident: Any, **options: Any) -> Any:
        """As the stock session's; `execution_options` may name another moment or branch."""
        if options.get("identity_token") is None:
            place = self._wanted(options.get("execution_options") or {})
            if place.as_of is not None or place.branch not in (None, self.place.branch):
                options["identity_token"] = self._pinned(place, {"mapper": inspect(entity)})
        return super().get(entity, ident, **options)

    def _identity_lookup(
        self, mapper: Any, primary_key_identity: Any, *arguments: Any, **options: Any
    ) -> Any:
        """What a lazy load finds without asking the database: an object of the same moment."""
        loaded_from = options.get("lazy_loaded_from")
        if loaded_from is not None and options.get("identity_token") is None:
            options["identity_token"] = loaded_from.identity_token
        return super()._identity_lookup(mapper, primary_key_identity, *arguments, **options)

    def _wanted(self, options: Any) -> Place:
        """The place that execution options mean in this session."""
        asked = place_of(options)
        if asked.branch is None and asked.as_of is not None:
            return Place(self.place.branch, asked.as_of)
        return self.place if asked == HERE else asked

    def _pinned(self, place: Place, bind_arguments: Any) -> Place:
        """The same place by its LSN, where it is told in words that mean another one later."""
        if place.as_of is not None and not place.is_moving:
            return place
        if place == self.place:
            self.get_bind(**bind_arguments)
            return self.place
        connection = self.connection(bind_arguments=bind_arguments)
        here = connection.connection.dbapi_connection
        visitor: Any = connection.dialect
        try:
            view = visitor.visit(here, place, connection.engine)
        except dosql_dbapi.Error as error:
            connection._handle_dbapi_exception_noconnection(error, visitor, connection.engine)
        return Place(view.branch, view.as_of)


class Session(HistorySession):
    """SQLAlchemy's session over history."""


@event.listens_for(HistorySession, "do_orm_execute")
def _read_at_the_right_moment(state: ORMExecuteState) -> None:
    session = state.session
    assert isinstance(session, HistorySession)
    place = _place_of_execution(state, session)
    if place is not None:
        if state.is_insert or state.is_update or state.is_delete:
            raise PastObjectError(
                f"a statement as of {place} can only read; to write on a branch, use a session "
                "or an engine on it"
            )
        if state.is_orm_statement:
            _read_at(state, session, session._pinned(place, state.bind_arguments))
    elif (
        state.is_orm_statement
        and state.is_select
        and not (state.is_relationship_load or state.is_column_load)
    ):
        _identify_past_entities(state)


def _place_of_execution(state: ORMExecuteState, session: HistorySession) -> Place | None:
    """Where a statement is to be read, when that is not simply where the session is."""
    for option in state.user_defined_options:
        if isinstance(option, ReadAt):
            place: Place | None = option.payload
            return place
    options = state.execution_options
    if "as_of" in options or "branch" in options:
        place = session._wanted(options)
        return place if place.as_of is not None or place.branch != session.place.branch else None
    if session.place.as_of is not None:
        return session.place
    if not state.is_select:
        return None
    token = getattr(state.load_options, "_identity_token", None)
    if token is None and state.lazy_loaded_from is not None:
        token = state.lazy_loaded_from.identity_token
    return token if isinstance(token, Place) else None


def _read_at(state: ORMExecuteState, session: HistorySession, place: Place) -> None:
    statement: Any = state.statement
    if isinstance(statement, Select) and not any(
        isinstance(option, ReadAt) for option in state.user_defined_options
    ):
        state.statement = statement.options(ReadAt(place))
    if place == session.place:
        state.update_execution_options(identity_token=place)
    else:
        state.update_execution_options(identity_token=place, as_of=place.as_of, branch=place.branch)


def _identify_past_entities(state: ORMExecuteState) -> None:
    """Give entities made by `as_of()` their own identity."""
    statement: Any = state.statement
    if not isinstance(statement, Select):
        return
    places = {}
    for description in statement.column_descriptions:
        if description["expr"] is description.get("entity"):
            places[description["expr"]] = _place_of_entity(description["entity"])
    if not any(places.values()):
        return
    if len(set(places.values())) == 1:
        (place,) = set(places.values())
        state.statement = statement.options(ReadAt(place))
        state.update_execution_options(identity_token=place)
        return
    state.statement = statement.with_only_columns(
        *(
            PastEntity(description["entity"], place, state.session)
            if (place := places.get(description["expr"])) is not None
            else description["expr"]
            for description in statement.column_descriptions
        ),
        maintain_column_froms=True,
    )
    state.update_execution_options(compiled_cache=None)


def _place_of_entity(entity: Any) -> Place | None:
    inspected = inspect(entity, raiseerr=False)
    if not isinstance(inspected, AliasedInsp):
        return None
    for element in inspected.selectable._from_objects:
        if isinstance(element, PastAlias):
            return element.place
    return None


@event.listens_for(HistorySession, "before_flush")
def _refuse_to_write_the_past(session: Any, _context: Any, _instances: Any) -> None:
    for instance in _to_be_written(session):
        place = inspect(instance).identity_token
        if isinstance(place, Place) or session.place.as_of is not None:
            raise PastObjectError(
                f"{type(instance).__name__} was read as of {place or session.place} or belongs to "
                "a session on the past, and cannot be flushed; bring it into the present with "
                "present_copy(session, instance), or expunge it"
            )


def _to_be_written(session: Any) -> Iterator[Any]:
    yield from session.new
    yield from session.deleted
    yield from (instance for instance in session.dirty if session.is_modified(instance))


def present_copy(session: StockSession, instance: Any) -> Any:
    """The present object of the session with what `instance`, an object of the past, holds.

    Its columns are copied, not its relationships; an object that is gone is made again. Nothing is
    written before the next flush.
    """
    state = inspect(instance)
    copy = state.mapper.class_manager.new_instance()
    for attribute in state.mapper.column_attrs:
        setattr(copy, attribute.key, getattr(instance, attribute.key))
    return session.merge(copy)

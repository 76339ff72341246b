"""Entities of several moments in one row: each object of the past put together by hand.

SQLAlchemy gives all objects of one statement the same identity token. Where a statement returns
whole entities of more than one place, those of the past are therefore read as columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.orm import Bundle, Session, make_transient_to_detached
from sqlalchemy.orm.attributes import set_committed_value

from sqlalchemy_dosql.driver import Place


class PastEntity(Bundle[Any]):
    """The columns of an entity made by `as_of()`, which become its object in a session.

    It holds the session, so a statement with one must not be cached.
    """

    inherit_cache = False

    def __init__(self, entity: Any, place: Place, session: Session) -> None:
        self.past_mapper = inspect(entity).mapper
        self.keys = [a.key for a in self.past_mapper.column_attrs if not a.deferred]
        self.place = place
        self.session = session
        columns = [getattr(entity, key).label(None) for key in self.keys]
        super().__init__(inspect(entity).name, *columns, single_entity=True)

    def create_row_processor(
        self, query: Any, procs: Sequence[Callable[[Any], Any]], labels: Sequence[str]
    ) -> Callable[[Any], Any]:
        def object_of(row: Any) -> Any:
            return self._object_of(
                {key: read(row) for key, read in zip(self.keys, procs, strict=True)}
            )

        return object_of

    def _object_of(self, values: dict[str, Any]) -> Any:
        mapper = self.past_mapper
        key_attributes = [mapper.get_property_by_column(c).key for c in mapper.primary_key]
        primary_key = tuple(values[key] for key in key_attributes)
        if None in primary_key:  # nothing on this side of an outer join
            return None
        identity = mapper.identity_key_from_primary_key(primary_key, identity_token=self.place)
        known = self.session.identity_map.get(identity)
        if known is not None:
            return known
        if mapper.polymorphic_on is not None:
            kind = values[mapper.get_property_by_column(mapper.polymorphic_on).key]
            mapper = mapper.polymorphic_map[kind]
        instance = mapper.class_manager.new_instance()
        for key, value in values.items():
            set_committed_value(instance, key, value)
        inspect(instance).identity_token = self.place
        make_transient_to_detached(instance)
        self.session.add(instance)
        return instance

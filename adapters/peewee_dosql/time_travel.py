"""A model as of a moment: an alias whose table is read from the past.

Several of them, of several moments, and models of the present join in one query.
"""

from __future__ import annotations

from typing import Any

from peewee import (
    SCOPE_SOURCE,
    SQL,
    Context,
    Model,
    ModelAlias,
    NotSupportedError,
    __exception_wrapper__,
)

import dosql_dbapi

_WRITING = frozenset(
    [
        *("create", "insert", "insert_many", "insert_from", "replace", "replace_many", "update"),
        *("delete", "delete_by_id", "set_by_id", "bulk_create", "bulk_update", "get_or_create"),
        *("create_table", "drop_table", "truncate_table", "add_index"),
    ]
)


class PastModel(ModelAlias):
    """What `as_of` returns: an alias of a model, as of a moment. Nothing can be written to it."""

    def __init__(self, model: type[Model], moment: Any, alias: str | None = None) -> None:
        super().__init__(model, alias)
        self.__dict__["moment"] = moment

    def __getattr__(self, attribute: str) -> Any:
        """What an alias has, but for what would write to the present table."""
        if attribute in _WRITING:
            raise NotSupportedError(
                f"{self.model.__name__} as of {self.moment!r} cannot be written; "
                f"use {self.model.__name__}.{attribute} for the present"
            )
        return super().__getattr__(attribute)

    # Peewee's aliases take these from the model, and would read the present.

    def get(self, *query: Any, **filters: Any) -> Any:
        """As Model.get: the first row of the past that matches."""
        if len(query) == 1 and isinstance(query[0], int) and self._meta.auto_increment:
            return self.get_by_id(query[0])
        matching = self.select().where(*query) if query else self.select()
        return matching.filter(**filters).get()

    def get_or_none(self, *query: Any, **filters: Any) -> Any:
        """As Model.get_or_none."""
        try:
            return self.get(*query, **filters)
        except self.DoesNotExist:
            return None

    def get_by_id(self, key: Any) -> Any:
        """As Model.get_by_id."""
        primary = self._meta.primary_key
        names = getattr(primary, "field_names", None)
        if names is None:
            return self.get(getattr(self, primary.name) == key)
        return self.get(*(getattr(self, name) == of for name, of in zip(names, key, strict=True)))

    def filter(self, *nodes: Any, **filters: Any) -> Any:
        """As Model.filter."""
        return self.select().filter(*nodes, **filters)

    def __sql__(self, ctx: Context) -> Context:
        is_table_reference = ctx.scope == SCOPE_SOURCE
        super().__sql__(ctx)
        if is_table_reference:
            ctx.literal(" FOR SYSTEM_TIME AS OF ").sql(moment_clause(self.moment))
        return ctx


class DoSQLModel(Model):
    """A base class for models that can be read as of a moment."""

    @classmethod
    def as_of(cls, moment: Any, alias: str | None = None) -> PastModel:
        """This model as it was: `User.as_of(5).select()`; see the function `as_of`."""
        return as_of(cls, moment, alias)


def as_of(model: type[Model], moment: Any, alias: str | None = None) -> PastModel:
    """`model` as it was at `moment`, to select from and to join with.

    Shape: `moment` is an LSN (below 0: so many commits ago), a datetime (naive: UTC), or text:
           "-1 hour", "snapshot:name", "branch:name", "branch:name@5", a timestamp.
    """
    return PastModel(model, moment, alias)


def moment_clause(moment: Any) -> SQL:
    """What stands behind AS OF for a moment, its values parameters."""
    with __exception_wrapper__:
        words, values = dosql_dbapi.as_of_clause(moment)
    return SQL(words, values)

"""A model as of a moment: an alias whose table is read from the past.

Several of them, of several moments, and models of the present join in one query.
"""

from __future__ import annotations

from typing import Any

from peewee import SCOPE_SOURCE, SQL, Context, Model, ModelAlias, __exception_wrapper__

import dosql_dbapi


class PastModel(ModelAlias):
    """What `as_of` returns: an alias of a model, as of a moment. Nothing can be written to it."""

    def __init__(self, model: type[Model], moment: Any, alias: str | None = None) -> None:
        super().__init__(model, alias)
        self.__dict__["moment"] = moment

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

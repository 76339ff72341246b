"""Adapters: Python objects on their way into SQLite, as in the standard library's sqlite3."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

from dosql_core.errors import ProgrammingError, UnsupportedParameterError
from dosql_dbapi.deprecations import warn_of_default


class PrepareProtocol:
    """What an object is asked to conform to before it is bound (PEP 246)."""


adapters: dict[tuple[type, Any], Callable[[Any], Any]] = {}
"""Adapters by (type, protocol); shared by every connection, as in sqlite3."""

_STORED_AS_THEY_ARE = (int, float, str, bytes, bytearray)
_NOT_GIVEN = object()


class BaseTypes:
    """Whether an adapter was registered for a type that SQLite stores as it is (or a subclass).

    The kernel asks for a conversion only of what it cannot store, so such an adapter makes every
    connection look at each of its parameters.
    """

    are_adapted = False


def register_adapter(type_: type, adapter: Callable[[Any], Any], /) -> None:
    """From now on objects of exactly `type_` are bound as `adapter(object)`."""
    if issubclass(type_, _STORED_AS_THEY_ARE):
        BaseTypes.are_adapted = True
    adapters[(type_, PrepareProtocol)] = adapter


def adapt(value: Any, protocol: Any = PrepareProtocol, alternative: Any = _NOT_GIVEN, /) -> Any:
    """What `value` is bound as under `protocol`.

    Errors: ProgrammingError "can't adapt" when nobody knows and no alternative is given.
    """
    adapter = adapters.get((type(value), protocol))
    if adapter is not None:
        return adapter(value)
    for owner, method_name, argument in (
        (protocol, "__adapt__", value),
        (value, "__conform__", protocol),
    ):
        method = getattr(owner, method_name, None)
        if method is not None:
            try:
                adapted = method(argument)
            except TypeError:  # this one does not know; that is not the program's mistake
                continue
            if adapted is not None:
                return adapted
    if alternative is not _NOT_GIVEN:
        return alternative
    raise ProgrammingError("can't adapt")


def bind_converted(_cursor: Any, number: int, value: Any) -> Any:
    """What the kernel binds for a value it cannot store itself; it calls this."""
    adapted = adapt(value, PrepareProtocol, value)
    if adapted is None or isinstance(adapted, _STORED_AS_THEY_ARE):
        return adapted
    try:
        return memoryview(adapted)
    except TypeError:
        raise UnsupportedParameterError(
            f"Error binding parameter {number}: type '{type(value).__name__}' is not supported"
        ) from None


def adapt_base_type(value: Any) -> Any:
    """`value` through its adapter where its type, or a subclass of a stored type, has one."""
    if type(value) in _STORED_AS_THEY_ARE and (type(value), PrepareProtocol) not in adapters:
        return value
    return adapt(value, PrepareProtocol, value)


def _adapt_date(value: datetime.date) -> str:
    warn_of_default("date adapter")
    return value.isoformat()


def _adapt_datetime(value: datetime.datetime) -> str:
    warn_of_default("datetime adapter")
    return value.isoformat(" ")


adapters[(datetime.date, PrepareProtocol)] = _adapt_date
adapters[(datetime.datetime, PrepareProtocol)] = _adapt_datetime

"""The parameters a program gives, made into what SQLite can bind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dosql_core.errors import UnsupportedParameterError

Bindable = tuple[Any, ...] | Mapping[str, Any]


def bindable(parameters: Any) -> Bindable:
    """A tuple or a mapping that holds the parameters.

    Shape:  a list or another sequence is copied, so that an adapter that changes it while it is
            bound cannot pull values away from under SQLite.
    Errors: ProgrammingError for a set, an iterator, None and anything else without an order.
    """
    if type(parameters) is tuple:
        return parameters
    if type(parameters) is list:
        return tuple(parameters)
    if isinstance(parameters, Mapping):
        return parameters
    if hasattr(type(parameters), "__getitem__") and hasattr(type(parameters), "__len__"):
        return tuple(parameters[index] for index in range(len(parameters)))
    raise UnsupportedParameterError(
        "parameters are of unsupported type", hint="give a sequence, or a mapping of names"
    )

"""SQLite's numbering of parameters, and sharing out the values a user binds to them.

When part of a statement is taken out of it (a moment behind AS OF, a name in one of our statements)
its parameters go with it: the values bound must be divided the same way, and the parameters left in
the statement numbered anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from dosql_core.errors import BindingCountError, MissingParameterError
from dosql_core.language.tokens import Token, TokenKind

Parameters = Sequence[Any] | Mapping[str, Any]
"""What a user binds: values by position, or by name."""


class Parameter(NamedTuple):
    """A parameter of the user's statement.

    Shape: `position` counts from 0, as SQLite numbers it less one; `name` is how a mapping calls
    it: what stands behind the `:`, `@` or `$` (or the digits of a `?5`), None for a bare `?`.
    """

    position: int
    name: str | None


def number_parameters(tokens: Iterable[Token]) -> dict[int, Parameter]:
    """The parameter each PARAMETER token stands for, by the offset of the token.

    Source: https://www.sqlite.org/lang_expr.html, "Parameters": a `?` is one more than the largest
    number so far, and so is a name when it is first met.
    """
    numbered: dict[int, Parameter] = {}
    by_name: dict[str, Parameter] = {}
    count = 0
    for token in tokens:
        if token.kind is not TokenKind.PARAMETER:
            continue
        text = token.text
        if text == "?":
            parameter = Parameter(count, None)
        elif text[0] == "?":
            parameter = Parameter(int(text[1:]) - 1, text[1:])
        else:
            parameter = by_name.setdefault(text, Parameter(count, text[1:]))
        numbered[token.start] = parameter
        count = max(count, parameter.position + 1)
    return numbered


def count_parameters(numbered: Iterable[Parameter]) -> int:
    """How many values a statement with these parameters takes: its largest number."""
    return max((parameter.position + 1 for parameter in numbered), default=0)


def values_of(
    wanted: Iterable[Parameter], parameters: Parameters | None, count: int
) -> tuple[Any, ...]:
    """The values bound to the wanted parameters of a statement that takes `count`.

    Errors: ProgrammingError when a value is missing, there are too many, or a `?` would have to be
            found in a mapping.
    """
    if isinstance(parameters, Mapping):
        return tuple(_named_value(parameter, parameters) for parameter in wanted)
    values = () if parameters is None else parameters
    if len(values) != count:
        raise BindingCountError(
            "Incorrect number of bindings supplied. "
            f"The current statement uses {count}, and there are {len(values)} supplied."
        )
    return tuple(values[parameter.position] for parameter in wanted)


def _named_value(parameter: Parameter, parameters: Mapping[str, Any]) -> Any:
    if parameter.name is None:
        raise MissingParameterError(
            f"Binding {parameter.position + 1} has no name, but you supplied a dictionary "
            "(which has only names).",
            hint="give a sequence with a value for every ? of the statement",
        )
    try:
        return parameters[parameter.name]
    except LookupError as cause:
        raise MissingParameterError(
            f"You did not supply a value for binding parameter :{parameter.name}."
        ) from cause

"""What the running interpreter's own sqlite3 deprecates: a program is told the same here.

DoSQL keeps all of it; the warnings keep a program able to go back to the standard library.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_DRIVER = os.path.dirname(__file__)
_CONNECT_PARAMETERS = (
    "timeout",
    "detect_types",
    "isolation_level",
    "check_same_thread",
    "factory",
    "cached_statements",
    "uri",
)


def warn_of_default(kind: str) -> None:
    """Tell that sqlite3's default adapters and converters are deprecated since Python 3.12."""
    if sys.version_info >= (3, 12):
        warnings.warn(
            f"The default {kind} is deprecated as of Python 3.12; "
            "see the sqlite3 documentation for suggested replacement recipes",
            DeprecationWarning,
            skip_file_prefixes=(_DRIVER,),
        )


def warn_of_positional_options() -> None:
    """Tell that options of `connect` should be named, as Python 3.13 began to."""
    if sys.version_info >= (3, 13):
        warnings.warn(
            "Passing more than 1 positional argument to sqlite3.connect() is deprecated. "
            f"Parameters {_listed(_CONNECT_PARAMETERS)} will become keyword-only parameters in "
            "Python 3.15.",
            DeprecationWarning,
            skip_file_prefixes=(_DRIVER,),
        )


def takes_keywords(
    *names: str,
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Let a method's positional-only parameters be given by name, too.

    sqlite3 takes these by name and deprecates that in Python 3.13.
    Errors: TypeError when one of `names` is not given at all.
    """

    def decorate(method: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        called: Callable[..., Result] = method

        @wraps(method)
        def take(*arguments: Any, **options: Any) -> Any:
            if options and not options.keys().isdisjoint(names):
                _warn_of_keywords(method.__name__, names)
                for name in names[len(arguments) - 1 :]:  # the first argument is the connection
                    if name not in options:
                        raise TypeError(f"{method.__name__}() missing required argument '{name}'")
                    arguments += (options.pop(name),)
            return called(*arguments, **options)

        return take

    return decorate


def _warn_of_keywords(method: str, names: tuple[str, ...]) -> None:
    if sys.version_info >= (3, 13):
        plural = "s" if len(names) > 1 else ""
        warnings.warn(
            f"Passing keyword argument{plural} {_listed(names)} to "
            f"_sqlite3.Connection.{method}() is deprecated. Parameter{plural} {_listed(names)} "
            "will become positional-only in Python 3.15.",
            DeprecationWarning,
            skip_file_prefixes=(_DRIVER,),
        )


def _listed(names: tuple[str, ...]) -> str:
    quoted = [f"'{name}'" for name in names]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)

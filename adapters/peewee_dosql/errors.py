"""How our errors become Peewee's: by the PEP 249 class they descend from.

Peewee translates by the name of a class, or of its first base, alone. The original stays reachable
as `error.orig`, with its `code`, `hint` and `sqlite_errorcode`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import peewee

import dosql_dbapi


def teach_peewee_our_errors() -> None:
    """From now on Peewee translates every one of our errors, with its whole message."""
    for error in _descendants(dosql_dbapi.Error):
        if error.__name__ in peewee.EXCEPTIONS:
            continue
        parents = (base.__name__ for base in error.__mro__)
        translated = next(peewee.EXCEPTIONS[name] for name in parents if name in peewee.EXCEPTIONS)
        if error.__str__ is not Exception.__str__:  # its arguments are fields, not the message
            translated = partial(_with_message, translated)
        peewee.EXCEPTIONS[error.__name__] = translated


def _descendants(error: type[Exception]) -> Iterator[type[Exception]]:
    for child in error.__subclasses__():
        yield child
        yield from _descendants(child)


def _with_message(translated: Any, error: Exception, *_fields: Any) -> Any:
    return translated(error, str(error))

"""What the tables, views and namespaces of a catalog are called, and what may be a name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from dolake.errors import TableMetadataError

Namespace = tuple[str, ...]
TableIdentifier = tuple[str, ...]
"""The levels of the namespace, then the name."""

Kind = Literal["table", "view"]

LEVEL_SEPARATOR = "\x1f"
"""Joins the levels of a namespace: in the REST specification, and in the database."""

_NAME_CHARACTERS_MAX = 1024


def checked_names(levels: Sequence[str]) -> None:
    """Make sure that the levels of a namespace, or of an identifier, may be names.

    Errors: TableMetadataError.
    """
    if not levels:
        raise TableMetadataError("a namespace without a level was given")
    for level in levels:
        if not level or len(level) > _NAME_CHARACTERS_MAX or not level.isprintable():
            raise TableMetadataError(
                f"{level[:80]!r} is no name: 1 to {_NAME_CHARACTERS_MAX} printable characters were "
                "expected"
            )


def shown_name(levels: Sequence[str]) -> str:
    """A namespace or an identifier as a message shows it."""
    return repr(".".join(levels))


def joined(levels: Namespace) -> str:
    """A namespace as one text, its levels joined by the unit separator."""
    return LEVEL_SEPARATOR.join(levels)


def levels_of(joined_levels: str) -> Namespace:
    """The namespace that `joined` made a text of."""
    return tuple(joined_levels.split(LEVEL_SEPARATOR))

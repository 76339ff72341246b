"""Metadata while a commit's updates are applied to it: what those of tables and views share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from dolake.catalog.json_fields import Json, mapping, object_of, properties_of, shown, text, texts
from dolake.errors import TableMetadataError

LAST_ADDED = -1


class MetadataDraft:
    """A table's or a view's metadata to be changed; the metadata it began with stays as it is.

    Nothing nested is changed in place: lists and dictionaries of the top level are copies, and what
    they hold is replaced, never altered.
    """

    actions: ClassVar[Mapping[str, Callable[[Any, Json], None]]]
    """What the specification calls each update, and the method that applies it."""

    def __init__(self, base: Json, lists: Iterable[str]) -> None:
        self.metadata: Json = dict(base)
        for name in lists:
            if name in base:
                self.metadata[name] = list(base[name])
        self.metadata["properties"] = dict(base.get("properties") or {})

    def apply(self, updates: Iterable[Any]) -> None:
        """Apply updates in order.

        Errors: TableMetadataError for one that the specification or the table does not allow,
                CommitConflictError for a snapshot that somebody else's overtook.
        """
        for update in updates:
            update = object_of(update, "an update")
            action = update.get("action")
            apply = self.actions.get(action) if isinstance(action, str) else None
            if apply is None:
                raise TableMetadataError(
                    f"the action of an update is {shown(action)}; one of "
                    f"{', '.join(self.actions)} was expected"
                )
            apply(self, update)

    def set_location(self, update: Json) -> None:
        self.metadata["location"] = text(update, "location", "set-location").rstrip("/")

    def set_properties(self, update: Json) -> None:
        mapping(update, "updates", "set-properties")
        self.metadata["properties"].update(properties_of(update, "updates", "set-properties"))

    def remove_properties(self, update: Json) -> None:
        for name in texts(update, "removals", "remove-properties"):
            self.metadata["properties"].pop(name, None)


def or_last_added(given: int, last_added: int | None, what: str) -> int:
    """The id given, or that of what this commit added last where -1 stands for it.

    Errors: TableMetadataError when it added none.
    """
    if given != LAST_ADDED:
        return given
    if last_added is None:
        raise TableMetadataError(f"the last added {what} was named, but this commit adds none")
    return last_added


def next_id(items: Iterable[Json], key: str, *, first: int = 0) -> int:
    """The id of what is added to a list."""
    return max((item[key] for item in items), default=first - 1) + 1

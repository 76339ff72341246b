"""The views of a catalog. What a view says is for engines and queries; nothing here runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dolake.catalog.identifiers import Namespace, TableIdentifier, checked_names, shown_name
from dolake.catalog.json_fields import Json
from dolake.catalog.locations import free_location, inside, next_metadata_location
from dolake.catalog.metadata_files import write_metadata
from dolake.catalog.pointers import OvertakenError, Pointer, Pointers, Swap
from dolake.catalog.view_metadata import (
    apply_view_updates,
    check_view_requirements,
    checked_view_metadata,
    new_view_metadata,
)
from dolake.errors import (
    AlreadyExistsError,
    LakeViewNotFoundError,
)
from dolake.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class LoadedView:
    """A view as it is now."""

    identifier: TableIdentifier
    metadata: Json
    metadata_location: str


class ViewRegistry:
    """The views of one warehouse, beside its tables and with them in one space of names."""

    def __init__(self, pointers: Pointers, warehouse: Warehouse) -> None:
        self._pointers = pointers
        self._warehouse = warehouse

    def list_views(self, namespace: Namespace) -> list[TableIdentifier]:
        """The views of a namespace, by name. Errors: NamespaceNotFoundError."""
        return self._pointers.names(tuple(namespace), "view")

    def create_view(
        self,
        identifier: TableIdentifier,
        schema: Json,
        version: Json,
        *,
        location: str | None = None,
        properties: dict[str, str] | None = None,
    ) -> LoadedView:
        """Make a view.

        Errors: AlreadyExistsError, NamespaceNotFoundError, TableMetadataError.
        """
        checked_names(identifier)
        self._pointers.must_be_free(tuple(identifier))
        if location is None:
            location = free_location(self._warehouse, tuple(identifier), self._pointers.is_taken)
        location = inside(self._warehouse, location, "the location")
        metadata = new_view_metadata(schema, version, location=location, properties=properties)
        return self._swapped(self._pointers.swap, tuple(identifier), None, metadata)

    def load_view(self, identifier: TableIdentifier) -> LoadedView:
        """A view as it is now. Errors: LakeViewNotFoundError."""
        pointer = self._pointer(identifier)
        metadata = checked_view_metadata(self._warehouse.read(pointer.metadata_location))
        return LoadedView(pointer.identifier, metadata, pointer.metadata_location)

    def view_exists(self, identifier: TableIdentifier) -> bool:
        """Whether there is such a view."""
        pointer = self._pointers.find(tuple(identifier))
        return pointer is not None and pointer.kind == "view"

    def replace_view(
        self, identifier: TableIdentifier, requirements: list[Any], updates: list[Any]
    ) -> LoadedView:
        """Change a view by the REST specification's requirements and updates.

        Errors: LakeViewNotFoundError, CommitConflictError, TableMetadataError.
        """

        def work(swap: Swap) -> LoadedView:
            pointer = self._pointer(identifier)
            base = checked_view_metadata(self._warehouse.read(pointer.metadata_location))
            check_view_requirements(base, requirements)
            metadata = apply_view_updates(base, updates)
            metadata["location"] = inside(self._warehouse, metadata["location"], "the location")
            return self._swapped(swap, tuple(identifier), pointer, metadata)

        return self._pointers.swap_in_turn(work)

    def register_view(self, identifier: TableIdentifier, metadata_location: str) -> LoadedView:
        """Enter a view whose metadata file is in the warehouse already.

        Errors: AlreadyExistsError, NamespaceNotFoundError, TableMetadataError.
        """
        checked_names(identifier)
        place = inside(self._warehouse, metadata_location, "the metadata location")
        metadata = checked_view_metadata(self._warehouse.read(place))
        inside(self._warehouse, metadata["location"], "the view's location")
        self._pointers.swap([(None, _pointer_to(identifier, metadata, place))])
        return LoadedView(tuple(identifier), metadata, place)

    def rename_view(self, source: TableIdentifier, target: TableIdentifier) -> None:
        """Give a view another name or namespace.

        Errors: LakeViewNotFoundError, AlreadyExistsError, NamespaceNotFoundError.
        """
        if not self._pointers.rename(tuple(source), tuple(target), "view"):
            raise _no_such_view(source)

    def drop_view(self, identifier: TableIdentifier) -> None:
        """Remove a view from the catalog. Errors: LakeViewNotFoundError."""
        while True:
            try:
                self._pointers.drop(self._pointer(identifier))
            except OvertakenError:
                continue  # somebody changed it in between
            return

    def _pointer(self, identifier: TableIdentifier) -> Pointer:
        pointer = self._pointers.find(tuple(identifier))
        if pointer is None or pointer.kind != "view":
            raise _no_such_view(identifier)
        return pointer

    def _swapped(
        self, swap: Swap, identifier: TableIdentifier, before: Pointer | None, metadata: Json
    ) -> LoadedView:
        previous = before.metadata_location if before else None
        place = next_metadata_location(self._warehouse, metadata, previous)
        write_metadata(self._warehouse, place, metadata)
        try:
            swap([(before, _pointer_to(identifier, metadata, place))])
        except (OvertakenError, AlreadyExistsError):
            self._warehouse.forget([place])
            raise
        return LoadedView(identifier, metadata, place)


def _pointer_to(identifier: TableIdentifier, metadata: Json, place: str) -> Pointer:
    return Pointer(tuple(identifier), "view", metadata["view-uuid"], metadata["location"], place)


def _no_such_view(identifier: TableIdentifier) -> LakeViewNotFoundError:
    return LakeViewNotFoundError(f"there is no view {shown_name(identifier)}")

"""The catalog: namespaces, tables, and commits to one or several tables at once.

Metadata files are written first; what counts is the pointer in the database, which is swapped in
one transaction. The REST routes and our own writers are both callers of `TableRegistry`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import dosql_dbapi
from dolake.catalog.catalog_database import CatalogDatabase
from dolake.catalog.commit_turns import CommitTurns
from dolake.catalog.identifiers import Kind, Namespace, TableIdentifier, checked_names, shown_name
from dolake.catalog.json_fields import Json
from dolake.catalog.locations import (
    free_location,
    inside,
    make_folders,
    next_metadata_location,
    remove_files,
)
from dolake.catalog.metadata_files import TableMetadataFiles, write_metadata
from dolake.catalog.namespaces import Namespaces
from dolake.catalog.pointers import OvertakenError, Pointer, Pointers, Swap
from dolake.catalog.requirements import check_requirements, creates_table
from dolake.catalog.table_metadata import (
    apply_updates,
    checked_metadata,
    metadata_from_updates,
    new_table_metadata,
)
from dolake.catalog.view_registry import ViewRegistry
from dolake.errors import (
    AlreadyExistsError,
    CommitConflictError,
    CommitStateUnknownError,
    TableMetadataError,
    TableNotFoundError,
)
from dolake.warehouse import Warehouse

_DELETE_OLD_METADATA = "write.metadata.delete-after-commit.enabled"


@dataclass(frozen=True, slots=True)
class LoadedTable:
    """A table as it is now. Its metadata is shared: whoever changes it changes a copy."""

    identifier: TableIdentifier
    metadata: Json
    metadata_location: str


@dataclass(frozen=True, slots=True)
class TableChange:
    """What a commit wants of one table.

    Shape: requirements and updates are the REST specification's JSON.
    """

    identifier: TableIdentifier
    requirements: list[Json]
    updates: list[Json]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A change of one table worked out against the pointer that was read."""

    before: Pointer | None
    after: Pointer
    metadata: Json
    outdated: tuple[str, ...]  # metadata files that the new metadata no longer names


class TableRegistry:
    """The tables of one warehouse. Safe for any number of threads and processes.

    `as_of` is a moment of the catalog's own history, as `dosql_dbapi.connect` takes it: what the
    catalog held then, read-only.
    """

    def __init__(self, database: str | Path, warehouse: Warehouse, *, as_of: Any = None) -> None:
        self.warehouse = warehouse
        self._path = database
        self._database = CatalogDatabase(database, as_of=as_of)
        self.namespaces = Namespaces(self._database)
        self.pointers = Pointers(self._database)
        self.views = ViewRegistry(self.pointers, warehouse)
        self._metadata_files = TableMetadataFiles(warehouse)
        self._turns = CommitTurns()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the catalog's connections to its database."""
        self._database.close()

    @property
    def lsn(self) -> int:
        """The LSN of the catalog's database: `as_of(lsn)` gives this state again."""
        return self._database.lsn

    def as_of(self, moment: Any) -> TableRegistry:
        """The catalog as it was at a moment: an LSN, a time, "snapshot:name"...; close it after."""
        return TableRegistry(self._path, self.warehouse, as_of=moment)

    # -- tables ------------------------------------------------------------------------------------

    def list_tables(self, namespace: Namespace) -> list[TableIdentifier]:
        """The tables of a namespace, by name. Errors: NamespaceNotFoundError."""
        return self.pointers.names(tuple(namespace), "table")

    def create_table(
        self,
        identifier: TableIdentifier,
        schema: Json,
        *,
        partition_spec: Json | None = None,
        sort_order: Json | None = None,
        location: str | None = None,
        properties: dict[str, str] | None = None,
    ) -> LoadedTable:
        """Make a table without rows. Its field ids are given afresh, from 1 on.

        Errors: AlreadyExistsError, NamespaceNotFoundError, TableMetadataError.
        """
        staged = self.stage_table(
            identifier,
            schema,
            partition_spec=partition_spec,
            sort_order=sort_order,
            location=location,
            properties=properties,
        )
        prepared = self._prepared(identifier, None, staged, None)
        with self._all_or_none([prepared]):
            self._write(prepared)
            self.pointers.swap([(None, prepared.after)])
        return self._loaded(prepared)

    def stage_table(
        self,
        identifier: TableIdentifier,
        schema: Json,
        *,
        partition_spec: Json | None = None,
        sort_order: Json | None = None,
        location: str | None = None,
        properties: dict[str, str] | None = None,
    ) -> Json:
        """The metadata of a table that a later commit is to make; nobody sees it before.

        Errors: AlreadyExistsError, NamespaceNotFoundError, TableMetadataError.
        """
        checked_names(identifier)
        self.pointers.must_be_free(tuple(identifier))
        metadata = new_table_metadata(
            schema,
            location=self._location(identifier, location),
            partition_spec=partition_spec,
            sort_order=sort_order,
            properties=properties,
        )
        make_folders(self.warehouse, metadata["location"])
        return metadata

    def load_table(self, identifier: TableIdentifier) -> LoadedTable:
        """A table as it is now. Errors: TableNotFoundError."""
        return self._load(self._pointer(identifier))

    def load_tables(self, identifiers: Sequence[TableIdentifier]) -> list[LoadedTable]:
        """Several tables as they are at one moment. Errors: TableNotFoundError."""
        loaded = []
        found = self.pointers.find_all([tuple(identifier) for identifier in identifiers])
        for identifier, pointer in zip(identifiers, found, strict=True):
            if pointer is None or pointer.kind != "table":
                raise _no_such_table(identifier)
            loaded.append(self._load(pointer))
        return loaded

    def table_exists(self, identifier: TableIdentifier) -> bool:
        """Whether there is such a table."""
        pointer = self.pointers.find(tuple(identifier))
        return pointer is not None and pointer.kind == "table"

    def register_table(
        self, identifier: TableIdentifier, metadata_location: str, *, overwrite: bool = False
    ) -> LoadedTable:
        """Enter a table whose metadata file is in the warehouse already.

        Errors: AlreadyExistsError unless it may be overwritten, NamespaceNotFoundError,
                TableMetadataError when the file is no table metadata of this warehouse.
        """
        checked_names(identifier)
        place = inside(self.warehouse, metadata_location, "the metadata location")
        metadata = checked_metadata(self.warehouse.read(place))
        inside(self.warehouse, metadata["location"], "the table's location")
        before = self.pointers.find(tuple(identifier)) if overwrite else None
        if before is not None and before.kind != "table":
            raise AlreadyExistsError(f"there is a view {shown_name(identifier)} already")
        after = _pointer_to(identifier, "table", metadata, place)
        try:
            self.pointers.swap([(before, after)])
        except OvertakenError as error:
            raise CommitConflictError(f"{shown_name(identifier)} was changed meanwhile") from error
        return LoadedTable(tuple(identifier), metadata, place)

    def rename_table(self, source: TableIdentifier, target: TableIdentifier) -> None:
        """Give a table another name or namespace; its files stay where they are.

        Errors: TableNotFoundError, AlreadyExistsError, NamespaceNotFoundError.
        """
        if not self.pointers.rename(tuple(source), tuple(target), "table"):
            raise _no_such_table(source)

    def drop_table(self, identifier: TableIdentifier, *, purge: bool = False) -> None:
        """Remove a table from the catalog and, with `purge`, its files.

        Errors: TableNotFoundError; TableMetadataError when the files may not be purged, because the
                table says so (`gc.enabled`) or because another table keeps its files there, too.
        """
        while True:
            pointer = self._pointer(identifier)
            if purge:
                self._must_be_purgeable(pointer)
            try:
                self.pointers.drop(pointer)
            except OvertakenError:
                continue  # somebody committed to it in between
            break
        if purge:
            remove_files(self.warehouse, pointer.location)

    # -- commits -----------------------------------------------------------------------------------

    def commit(self, changes: Sequence[TableChange]) -> list[LoadedTable]:
        """Change tables, all of them or none, and give them back as they are then.

        A change that another commit came before is worked out again on what is there now; only when
        one of its requirements no longer holds is it refused.

        Errors: CommitConflictError, TableNotFoundError, AlreadyExistsError, TableMetadataError;
                CommitStateUnknownError when the database failed and whether it took the commit
                could not be found out.
        """
        identifiers = [tuple(change.identifier) for change in changes]
        if len(set(identifiers)) != len(identifiers):
            raise TableMetadataError("a commit names a table twice")
        prepared: list[_Prepared] = []

        def work(swap: Swap) -> None:
            prepared[:] = [self._prepare(change) for change in changes]
            for item in prepared:
                self._write(item)
            try:
                swap([(item.before, item.after) for item in prepared])
            except OvertakenError:
                self._forget(prepared)
                raise

        with self._turns.of(identifiers):
            with self._all_or_none(prepared):
                self.pointers.swap_in_turn(work)
            for item in prepared:
                self.warehouse.forget(item.outdated)
            return [self._loaded(item) for item in prepared]

    def _prepare(self, change: TableChange) -> _Prepared:
        identifier = tuple(change.identifier)
        before = self.pointers.find(identifier)
        if creates_table(change.requirements):
            if before is not None:
                raise AlreadyExistsError(
                    f"there is a {before.kind} {shown_name(identifier)} already"
                )
            checked_names(identifier)
            self.namespaces.properties(identifier[:-1])
            check_requirements(None, change.requirements)
            metadata = metadata_from_updates(
                change.updates, default_location=self._location(identifier, None)
            )
            metadata["location"] = self._location(identifier, metadata["location"])
            make_folders(self.warehouse, metadata["location"])
            return self._prepared(identifier, None, metadata, None)
        if before is None or before.kind != "table":
            raise _no_such_table(identifier)
        base = self._metadata_files.read(before.metadata_location)
        check_requirements(base, change.requirements)
        metadata = apply_updates(base, change.updates, metadata_location=before.metadata_location)
        if metadata["location"] != base["location"]:
            metadata["location"] = inside(self.warehouse, metadata["location"], "the location")
        return self._prepared(identifier, before, metadata, base)

    def _prepared(
        self, identifier: TableIdentifier, before: Pointer | None, metadata: Json, base: Json | None
    ) -> _Prepared:
        if before is not None and metadata is base:
            return _Prepared(before, before, metadata, ())
        previous = before.metadata_location if before else None
        place = next_metadata_location(self.warehouse, metadata, previous)
        outdated: set[str] = set()
        if base is not None and metadata["properties"].get(_DELETE_OLD_METADATA) == "true":
            kept = {entry["metadata-file"] for entry in metadata["metadata-log"]}
            outdated = {entry["metadata-file"] for entry in base["metadata-log"]} - kept
        return _Prepared(
            before,
            _pointer_to(identifier, "table", metadata, place),
            metadata,
            tuple(file for file in outdated if file.startswith(self.warehouse.uri + "/")),
        )

    def _write(self, prepared: _Prepared) -> None:
        if prepared.after != prepared.before:
            write_metadata(self.warehouse, prepared.after.metadata_location, prepared.metadata)

    @contextlib.contextmanager
    def _all_or_none(self, prepared: Sequence[_Prepared]) -> Iterator[None]:
        """What is said of the pointers when the block ends in an error of the database; metadata
        files that nobody names then are removed."""
        try:
            yield
        except dosql_dbapi.OperationalError as error:
            if self._is_made(prepared, error):
                return
            self._forget(prepared)
            raise
        except dosql_dbapi.Error:
            self._forget(prepared)
            raise

    def _is_made(self, prepared: Sequence[_Prepared], cause: dosql_dbapi.Error) -> bool:
        """Whether a commit that ended in an error was made all the same."""
        try:
            found = [self.pointers.find(item.after.identifier) for item in prepared]
        except dosql_dbapi.Error:
            _raise_unknown(cause)
        return all(
            pointer == item.after for pointer, item in zip(found, prepared, strict=True)
        ) and any(item.before != item.after for item in prepared)

    def _forget(self, prepared: Sequence[_Prepared]) -> None:
        self.warehouse.forget(
            item.after.metadata_location for item in prepared if item.after != item.before
        )

    # -- what is there -----------------------------------------------------------------------------

    def _pointer(self, identifier: TableIdentifier) -> Pointer:
        pointer = self.pointers.find(tuple(identifier))
        if pointer is None or pointer.kind != "table":
            raise _no_such_table(identifier)
        return pointer

    def _load(self, pointer: Pointer) -> LoadedTable:
        place = pointer.metadata_location
        return LoadedTable(pointer.identifier, self._metadata_files.read(place), place)

    def _loaded(self, prepared: _Prepared) -> LoadedTable:
        self._metadata_files.keep(prepared.after.metadata_location, prepared.metadata)
        return LoadedTable(
            prepared.after.identifier, prepared.metadata, prepared.after.metadata_location
        )

    def _location(self, identifier: TableIdentifier, wanted: str | None) -> str:
        """Where a new table goes: where it wants to, if that is nobody else's, or a free place."""
        if wanted is None:
            return free_location(
                self.warehouse,
                tuple(identifier),
                self.pointers.is_taken,
            )
        location = inside(self.warehouse, wanted, "the location")
        others = self.pointers.at_location(location)
        if others:
            raise TableMetadataError(
                f"the location {location} belongs to {shown_name(others[0])} already"
            )
        return location

    def _must_be_purgeable(self, pointer: Pointer) -> None:
        properties = self._load(pointer).metadata["properties"]
        if properties.get("gc.enabled", "true").lower() == "false":
            raise TableMetadataError(
                f"{shown_name(pointer.identifier)} has gc.enabled=false: its files may not be "
                "purged"
            )
        others = [
            other
            for other in self.pointers.at_location(pointer.location)
            if other != pointer.identifier
        ]
        if others:
            raise TableMetadataError(
                f"{shown_name(others[0])} keeps files in {pointer.location}, too: drop "
                f"{shown_name(pointer.identifier)} without purging it"
            )


def _pointer_to(
    identifier: TableIdentifier, kind: Kind, metadata: Json, metadata_location: str
) -> Pointer:
    return Pointer(
        tuple(identifier), kind, metadata["table-uuid"], metadata["location"], metadata_location
    )


def _no_such_table(identifier: Sequence[str]) -> TableNotFoundError:
    return TableNotFoundError(f"there is no table {shown_name(identifier)}")


def _raise_unknown(cause: dosql_dbapi.Error) -> NoReturn:
    raise CommitStateUnknownError(
        f"the catalog's database failed, and whether it took the commit is not known: {cause}"
    ) from cause

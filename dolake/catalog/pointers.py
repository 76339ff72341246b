"""Where the metadata of each table and view of a catalog is, and how that changes.

A pointer is swapped for another only while it is what it was read as, so of two who change a table
one comes first, and the other notices.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import dosql_dbapi
from dolake.catalog.catalog_database import CatalogDatabase
from dolake.catalog.identifiers import (
    Kind,
    Namespace,
    TableIdentifier,
    checked_names,
    joined,
    levels_of,
    shown_name,
)
from dolake.catalog.namespaces import namespace_properties
from dolake.errors import AlreadyExistsError

_FREE_ATTEMPTS_MAX = 3
_PAUSE_SECONDS_MAX = 0.05


@dataclass(frozen=True, slots=True)
class Pointer:
    """Where the metadata of a table or a view is."""

    identifier: TableIdentifier
    kind: Kind
    uuid: str
    location: str
    metadata_location: str


class OvertakenError(Exception):
    """A pointer was not what it was read as: nothing was changed, and reading again may help."""


Result = TypeVar("Result")
Changes = Sequence[tuple[Pointer | None, Pointer]]
"""Pointers as they were read (None for one that is to be new) and as they are to be."""

Swap = Callable[[Changes], None]


class Pointers:
    """The pointers of one catalog. Safe for any number of threads and processes."""

    def __init__(self, database: CatalogDatabase) -> None:
        self._database = database

    def find(self, identifier: TableIdentifier) -> Pointer | None:
        """The pointer of a table or view; None when there is none."""
        with self._database.connection() as connection:
            return _pointer(connection, identifier)

    def find_all(self, identifiers: Sequence[TableIdentifier]) -> list[Pointer | None]:
        """The pointers of several tables or views at one moment."""
        with self._database.connection() as connection:
            connection.execute("begin")
            try:
                return [_pointer(connection, identifier) for identifier in identifiers]
            finally:
                connection.execute("rollback")

    def must_be_free(self, identifier: TableIdentifier) -> None:
        """Make sure that a new table or view may have this name.

        Errors: AlreadyExistsError, NamespaceNotFoundError.
        """
        with self._database.connection() as connection:
            _must_be_free(connection, identifier)

    def names(
        self, namespace: Namespace, kind: Kind, *, after: str = "", limit: int = -1
    ) -> list[TableIdentifier]:
        """The tables or the views of a namespace, in order of their names, those after `after`.

        Errors: NamespaceNotFoundError.
        """
        with self._database.connection() as connection:
            namespace_properties(connection, namespace)
            found = connection.execute(
                "select name from lake_pointer where namespace = ? and kind = ? and name > ? "
                "order by name limit ?",
                (joined(namespace), kind, after, limit),
            ).fetchall()
        return [(*namespace, name) for (name,) in found]

    def is_taken(self, location: str) -> bool:
        """Whether a folder is some table's or view's, or lies in one, or holds one."""
        return bool(self.at_location(location))

    def at_location(self, location: str) -> list[TableIdentifier]:
        """The tables and views whose folder is this one, lies in it, or holds it."""
        with self._database.connection() as connection:
            found = connection.execute(
                "select namespace, name from lake_pointer where location = ?1 or "
                "substr(location, 1, length(?1) + 1) = ?1 || '/' or "
                "substr(?1, 1, length(location) + 1) = location || '/'",
                (location,),
            ).fetchall()
        return [(*levels_of(namespace), name) for namespace, name in found]

    def swap(self, changes: Changes) -> None:
        """Put new pointers in the place of those they were made from, all of them or none.

        Errors: OvertakenError when one is no longer what it was read as, NamespaceNotFoundError.
        """
        with self._database.changing() as connection:
            _swap(connection, changes)

    def swap_in_turn(self, work: Callable[[Swap], Result]) -> Result:
        """What `work` gives, which reads pointers and swaps them with the function it is given.

        Where others came first it is called again, and after a few times holding the database's
        write lock, for which processes queue: then nobody can come first, however slow this one is.

        Errors: those of `work`, but OvertakenError; those of the database when the lock is given up
                or the commit fails.
        """
        for attempt in range(_FREE_ATTEMPTS_MAX):
            try:
                return work(self.swap)
            except OvertakenError:
                time.sleep(random.uniform(0, _PAUSE_SECONDS_MAX * attempt / _FREE_ATTEMPTS_MAX))
        with self._database.changing() as connection:
            return work(partial(_swap, connection))

    def drop(self, pointer: Pointer) -> None:
        """Remove a pointer.

        Errors: OvertakenError when it is no longer what it was read as.
        """
        with self._database.changing() as connection:
            gone = connection.execute(
                "delete from lake_pointer where namespace = ? and name = ? and "
                "metadata_location = ?",
                (*_key(pointer.identifier), pointer.metadata_location),
            ).rowcount
            if gone != 1:
                raise OvertakenError

    def rename(self, source: TableIdentifier, target: TableIdentifier, kind: Kind) -> bool:
        """Give a table or a view another name or namespace; False when there is no such one.

        Errors: AlreadyExistsError, NamespaceNotFoundError.
        """
        checked_names(target)
        with self._database.changing() as connection:
            found = _pointer(connection, source)
            if found is None or found.kind != kind:
                return False
            _must_be_free(connection, target)
            connection.execute(
                "update lake_pointer set namespace = ?, name = ? where namespace = ? and name = ?",
                (*_key(target), *_key(source)),
            )
        return True


def _swap(connection: dosql_dbapi.Connection, changes: Changes) -> None:
    """Put new pointers in the place of those they were made from, within a transaction.

    Errors: OvertakenError when one is no longer what it was read as, NamespaceNotFoundError.
    """
    for before, after in changes:
        if before is None:
            _insert(connection, after)
            continue
        changed = connection.execute(
            "update lake_pointer set uuid = ?, location = ?, metadata_location = ? "
            "where namespace = ? and name = ? and kind = ? and metadata_location = ?",
            (
                *(after.uuid, after.location, after.metadata_location),
                *(*_key(after.identifier), after.kind, before.metadata_location),
            ),
        ).rowcount
        if changed != 1:
            raise OvertakenError


def _insert(connection: dosql_dbapi.Connection, pointer: Pointer) -> None:
    """Enter a new pointer, within a transaction.

    Errors: AlreadyExistsError, NamespaceNotFoundError.
    """
    _must_be_free(connection, pointer.identifier)
    connection.execute(
        "insert into lake_pointer values (?, ?, ?, ?, ?, ?)",
        (
            *(*_key(pointer.identifier), pointer.kind),
            *(pointer.uuid, pointer.location, pointer.metadata_location),
        ),
    )


def _must_be_free(connection: dosql_dbapi.Connection, identifier: TableIdentifier) -> None:
    namespace_properties(connection, identifier[:-1])
    there = _pointer(connection, identifier)
    if there is not None:
        raise AlreadyExistsError(f"there is a {there.kind} {shown_name(identifier)} already")


def _key(identifier: TableIdentifier) -> tuple[str, str]:
    return joined(identifier[:-1]), identifier[-1]


def _pointer(connection: dosql_dbapi.Connection, identifier: TableIdentifier) -> Pointer | None:
    found = connection.execute(
        "select kind, uuid, location, metadata_location from lake_pointer "
        "where namespace = ? and name = ?",
        _key(identifier),
    ).fetchone()
    return None if found is None else Pointer(identifier, *found)

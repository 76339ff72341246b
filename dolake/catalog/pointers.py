"""The catalog's rows in a DoSQL database: namespaces, and for each table or view its metadata file.

A change of the catalog is one SQL transaction, and the database's own history is the catalog's.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import orjson

import dosql_dbapi
from dolake.errors import (
    AlreadyExistsError,
    CatalogReadOnlyError,
    LakeConfigurationError,
    NamespaceNotEmptyError,
    NamespaceNotFoundError,
    TableMetadataError,
)

Namespace = tuple[str, ...]
TableIdentifier = tuple[str, ...]
"""The levels of the namespace, then the name."""

Kind = Literal["table", "view"]

LEVEL_SEPARATOR = "\x1f"
_AFTER_SEPARATOR = "\x20"
_NAME_CHARACTERS_MAX = 1024
_LOCK_WAIT_SECONDS = 30.0
_FREE_ATTEMPTS_MAX = 3
_PAUSE_SECONDS_MAX = 0.05

_TABLES = (
    """
    create table if not exists lake_namespace(
        levels text primary key,      -- joined by the unit separator, 0x1F
        properties text not null      -- a JSON object of texts
    ) without rowid
    """,
    """
    create table if not exists lake_pointer(
        namespace text not null references lake_namespace(levels),
        name text not null,
        kind text not null check (kind in ('table', 'view')),
        uuid text not null,
        location text not null,
        metadata_location text not null,
        primary key (namespace, name)
    ) without rowid
    """,
)

_COUNT_OF_TABLES = """
select count(*) from sqlite_schema where name in ('lake_namespace', 'lake_pointer')
"""


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
    """The pointers of one catalog. Safe for any number of threads and processes.

    Errors: those of the database, such as OperationalError where another process holds the write
            lock for half a minute.
    """

    def __init__(self, database: str | Path, *, as_of: Any = None) -> None:
        self._database = str(database)
        self._as_of = as_of
        self._idle: list[dosql_dbapi.Connection] = []
        self._lock = threading.Lock()
        self._is_closed = False
        # Opened at once, so that a moment that is not kept is told here.
        with self._connection() as connection:
            (count,) = connection.execute(_COUNT_OF_TABLES).fetchone()
        if count == len(_TABLES):
            return
        if as_of is not None:
            self.close()
            raise LakeConfigurationError(f"there was no catalog yet as of {as_of!r}")
        with self.changing() as connection:
            for statement in _TABLES:
                connection.execute(statement)

    @property
    def is_read_only(self) -> bool:
        """Whether this is the catalog of a past moment."""
        return self._as_of is not None

    @property
    def lsn(self) -> int:
        """The LSN of the catalog's database, or that of the moment."""
        with self._connection() as connection:
            return int(connection.lsn)

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            idle, self._idle, self._is_closed = self._idle, [], True
        for connection in idle:
            connection.close()

    # -- namespaces --------------------------------------------------------------------------------

    def namespace_properties(self, namespace: Namespace) -> dict[str, str]:
        """The properties of a namespace.

        Errors: NamespaceNotFoundError.
        """
        with self._connection() as connection:
            return _properties(connection, namespace)

    def namespaces(
        self, parent: Namespace = (), *, after: str = "", limit: int = -1
    ) -> list[Namespace]:
        """The namespaces directly below a parent, in order of their names.

        Shape:  `after` is a last level: only those that come after it.
        Errors: NamespaceNotFoundError for a parent that is not there.
        """
        prefix = _joined((*parent, "")) if parent else ""
        with self._connection() as connection:
            if parent:
                _properties(connection, parent)
            found = connection.execute(
                "select levels from lake_namespace where levels > ?1 || ?2 and (?1 = '' or "
                "levels < ?3) and instr(substr(levels, length(?1) + 1), ?4) = 0 "
                "order by levels limit ?5",
                (prefix, after, prefix[:-1] + _AFTER_SEPARATOR, LEVEL_SEPARATOR, limit),
            ).fetchall()
        return [tuple(levels.split(LEVEL_SEPARATOR)) for (levels,) in found]

    def add_namespace(
        self, namespace: Namespace, properties: dict[str, str], *, if_not_exists: bool
    ) -> None:
        """Make a namespace; its parent must be there.

        Errors: AlreadyExistsError, NamespaceNotFoundError for its parent.
        """
        checked_names(namespace)
        with self.changing() as connection:
            if namespace[:-1]:
                _properties(connection, namespace[:-1])
            made = connection.execute(
                "insert into lake_namespace values (?, ?) on conflict do nothing",
                (_joined(namespace), _dumped(properties)),
            ).rowcount
        if not made and not if_not_exists:
            raise AlreadyExistsError(f"there is a namespace {shown_name(namespace)} already")

    def change_namespace(
        self, namespace: Namespace, removals: Sequence[str], updates: dict[str, str]
    ) -> tuple[list[str], list[str]]:
        """Change properties of a namespace: (which were removed, which were not there).

        Errors: NamespaceNotFoundError.
        """
        with self.changing() as connection:
            properties = _properties(connection, namespace)
            removed = [name for name in removals if name in properties]
            missing = [name for name in removals if name not in properties]
            kept = {name: value for name, value in properties.items() if name not in removed}
            connection.execute(
                "update lake_namespace set properties = ? where levels = ?",
                (_dumped({**kept, **updates}), _joined(namespace)),
            )
        return removed, missing

    def drop_namespace(self, namespace: Namespace) -> None:
        """Remove an empty namespace.

        Errors: NamespaceNotFoundError, NamespaceNotEmptyError.
        """
        joined = _joined(namespace)
        with self.changing() as connection:
            _properties(connection, namespace)
            held = connection.execute(
                "select (select count(*) from lake_pointer where namespace = ?1), "
                "(select count(*) from lake_namespace where levels > ?2 and levels < ?3)",
                (joined, joined + LEVEL_SEPARATOR, joined + _AFTER_SEPARATOR),
            ).fetchone()
            if held != (0, 0):
                raise NamespaceNotEmptyError(
                    f"the namespace {shown_name(namespace)} holds {held[0]} tables and views "
                    f"and {held[1]} namespaces"
                )
            connection.execute("delete from lake_namespace where levels = ?", (joined,))

    # -- pointers ----------------------------------------------------------------------------------

    def find(self, identifier: TableIdentifier) -> Pointer | None:
        """The pointer of a table or view; None when there is none."""
        with self._connection() as connection:
            return _pointer(connection, identifier)

    def find_all(self, identifiers: Sequence[TableIdentifier]) -> list[Pointer | None]:
        """The pointers of several tables or views at one moment."""
        with self._connection() as connection:
            connection.execute("begin")
            try:
                return [_pointer(connection, identifier) for identifier in identifiers]
            finally:
                connection.execute("rollback")

    def names(
        self, namespace: Namespace, kind: Kind, *, after: str = "", limit: int = -1
    ) -> list[TableIdentifier]:
        """The tables or the views of a namespace, in order of their names, those after `after`.

        Errors: NamespaceNotFoundError.
        """
        with self._connection() as connection:
            _properties(connection, namespace)
            found = connection.execute(
                "select name from lake_pointer where namespace = ? and kind = ? and name > ? "
                "order by name limit ?",
                (_joined(namespace), kind, after, limit),
            ).fetchall()
        return [(*namespace, name) for (name,) in found]

    def at_location(self, location: str) -> list[TableIdentifier]:
        """The tables and views whose folder is this one, lies in it, or holds it."""
        with self._connection() as connection:
            found = connection.execute(
                "select namespace, name from lake_pointer where location = ?1 or "
                "substr(location, 1, length(?1) + 1) = ?1 || '/' or "
                "substr(?1, 1, length(location) + 1) = location || '/'",
                (location,),
            ).fetchall()
        return [(*namespace.split(LEVEL_SEPARATOR), name) for namespace, name in found]

    @contextlib.contextmanager
    def changing(self) -> Iterator[dosql_dbapi.Connection]:
        """One transaction, committed at the end of the block unless it raises.

        Errors: CatalogReadOnlyError for a past moment.
        """
        if self.is_read_only:
            raise CatalogReadOnlyError(f"the catalog as of {self._as_of!r} takes no changes")
        with self._connection() as connection:
            connection.execute("begin immediate")
            try:
                yield connection
                connection.execute("commit")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("rollback")
                raise

    def swap(self, changes: Changes) -> None:
        """Put new pointers in the place of those they were made from, all of them or none.

        Errors: OvertakenError when one is no longer what it was read as, NamespaceNotFoundError.
        """
        with self.changing() as connection:
            swap(connection, changes)

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
        with self.changing() as connection:
            return work(partial(swap, connection))

    def drop(self, pointer: Pointer) -> None:
        """Remove a pointer.

        Errors: OvertakenError when it is no longer what it was read as.
        """
        with self.changing() as connection:
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
        with self.changing() as connection:
            found = _pointer(connection, source)
            if found is None or found.kind != kind:
                return False
            _properties(connection, target[:-1])
            there = _pointer(connection, target)
            if there is not None:
                raise AlreadyExistsError(f"there is a {there.kind} {shown_name(target)} already")
            connection.execute(
                "update lake_pointer set namespace = ?, name = ? where namespace = ? and name = ?",
                (*_key(target), *_key(source)),
            )
        return True

    # -- connections -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _connection(self) -> Iterator[dosql_dbapi.Connection]:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = dosql_dbapi.connect(
                self._database,
                timeout=_LOCK_WAIT_SECONDS,
                isolation_level=None,
                check_same_thread=False,
                as_of=self._as_of,
                create=self._as_of is None,
            )
        try:
            yield connection
        finally:
            with self._lock:
                is_kept = not self._is_closed
                if is_kept:
                    self._idle.append(connection)
            if not is_kept:
                connection.close()


def swap(connection: dosql_dbapi.Connection, changes: Changes) -> None:
    """Put new pointers in the place of those they were made from, within a transaction.

    Errors: OvertakenError when one is no longer what it was read as, NamespaceNotFoundError.
    """
    for before, after in changes:
        if before is None:
            insert(connection, after)
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


def insert(connection: dosql_dbapi.Connection, pointer: Pointer) -> None:
    """Enter a new pointer, within a transaction.

    Errors: AlreadyExistsError, NamespaceNotFoundError.
    """
    _properties(connection, pointer.identifier[:-1])
    there = _pointer(connection, pointer.identifier)
    if there is not None:
        raise AlreadyExistsError(
            f"there is a {there.kind} {shown_name(pointer.identifier)} already"
        )
    connection.execute(
        "insert into lake_pointer values (?, ?, ?, ?, ?, ?)",
        (
            *(*_key(pointer.identifier), pointer.kind),
            *(pointer.uuid, pointer.location, pointer.metadata_location),
        ),
    )


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


def _joined(levels: Namespace) -> str:
    return LEVEL_SEPARATOR.join(levels)


def _key(identifier: TableIdentifier) -> tuple[str, str]:
    return _joined(identifier[:-1]), identifier[-1]


def _dumped(properties: dict[str, str]) -> str:
    return orjson.dumps(properties).decode()


def _properties(connection: dosql_dbapi.Connection, namespace: Namespace) -> dict[str, str]:
    found = connection.execute(
        "select properties from lake_namespace where levels = ?", (_joined(namespace),)
    ).fetchone()
    if found is None:
        raise NamespaceNotFoundError(f"there is no namespace {shown_name(namespace)}")
    properties: dict[str, str] = orjson.loads(found[0])
    return properties


def _pointer(connection: dosql_dbapi.Connection, identifier: TableIdentifier) -> Pointer | None:
    found = connection.execute(
        "select kind, uuid, location, metadata_location from lake_pointer "
        "where namespace = ? and name = ?",
        _key(identifier),
    ).fetchone()
    return None if found is None else Pointer(identifier, *found)

"""The namespaces of a catalog: their names, their properties, and what lies below them."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

import dosql_dbapi
from dolake.catalog.catalog_database import CatalogDatabase
from dolake.catalog.identifiers import (
    LEVEL_SEPARATOR,
    Namespace,
    checked_names,
    joined,
    levels_of,
    shown_name,
)
from dolake.errors import AlreadyExistsError, NamespaceNotEmptyError, NamespaceNotFoundError

_AFTER_SEPARATOR = "\x20"


class Namespaces:
    """The namespaces of one catalog. Safe for any number of threads and processes."""

    def __init__(self, database: CatalogDatabase) -> None:
        self._database = database

    def properties(self, namespace: Namespace) -> dict[str, str]:
        """The properties of a namespace.

        Errors: NamespaceNotFoundError.
        """
        with self._database.connection() as connection:
            return namespace_properties(connection, namespace)

    def below(self, parent: Namespace = (), *, after: str = "", limit: int = -1) -> list[Namespace]:
        """The namespaces directly below a parent, in order of their names.

        Shape:  `after` is a last level: only those that come after it.
        Errors: NamespaceNotFoundError for a parent that is not there.
        """
        prefix = joined((*parent, "")) if parent else ""
        with self._database.connection() as connection:
            if parent:
                namespace_properties(connection, parent)
            found = connection.execute(
                "select levels from lake_namespace where levels > ?1 || ?2 and (?1 = '' or "
                "levels < ?3) and instr(substr(levels, length(?1) + 1), ?4) = 0 "
                "order by levels limit ?5",
                (prefix, after, prefix[:-1] + _AFTER_SEPARATOR, LEVEL_SEPARATOR, limit),
            ).fetchall()
        return [levels_of(levels) for (levels,) in found]

    def create(
        self,
        namespace: Namespace,
        properties: dict[str, str] | None = None,
        *,
        if_not_exists: bool = False,
    ) -> None:
        """Make a namespace; the namespace above it must be there.

        Errors: AlreadyExistsError, NamespaceNotFoundError for its parent.
        """
        checked_names(namespace)
        with self._database.changing() as connection:
            if namespace[:-1]:
                namespace_properties(connection, namespace[:-1])
            made = connection.execute(
                "insert into lake_namespace values (?, ?) on conflict do nothing",
                (joined(namespace), _dumped(properties or {})),
            ).rowcount
        if not made and not if_not_exists:
            raise AlreadyExistsError(f"there is a namespace {shown_name(namespace)} already")

    def change(
        self, namespace: Namespace, removals: Sequence[str], updates: dict[str, str]
    ) -> tuple[list[str], list[str]]:
        """Change properties of a namespace: (which were removed, which were not there).

        Errors: NamespaceNotFoundError.
        """
        with self._database.changing() as connection:
            properties = namespace_properties(connection, namespace)
            removed = [name for name in removals if name in properties]
            missing = [name for name in removals if name not in properties]
            kept = {name: value for name, value in properties.items() if name not in removed}
            connection.execute(
                "update lake_namespace set properties = ? where levels = ?",
                (_dumped({**kept, **updates}), joined(namespace)),
            )
        return removed, missing

    def drop(self, namespace: Namespace) -> None:
        """Remove an empty namespace.

        Errors: NamespaceNotFoundError, NamespaceNotEmptyError.
        """
        levels = joined(namespace)
        with self._database.changing() as connection:
            namespace_properties(connection, namespace)
            held = connection.execute(
                "select (select count(*) from lake_pointer where namespace = ?1), "
                "(select count(*) from lake_namespace where levels > ?2 and levels < ?3)",
                (levels, levels + LEVEL_SEPARATOR, levels + _AFTER_SEPARATOR),
            ).fetchone()
            if held != (0, 0):
                raise NamespaceNotEmptyError(
                    f"the namespace {shown_name(namespace)} holds {held[0]} tables and views "
                    f"and {held[1]} namespaces"
                )
            connection.execute("delete from lake_namespace where levels = ?", (levels,))


def namespace_properties(
    connection: dosql_dbapi.Connection, namespace: Namespace
) -> dict[str, str]:
    """The properties of a namespace, within a transaction. Errors: NamespaceNotFoundError."""
    found = connection.execute(
        "select properties from lake_namespace where levels = ?", (joined(namespace),)
    ).fetchone()
    if found is None:
        raise NamespaceNotFoundError(f"there is no namespace {shown_name(namespace)}")
    properties: dict[str, str] = orjson.loads(found[0])
    return properties


def _dumped(properties: dict[str, str]) -> str:
    return orjson.dumps(properties).decode()

"""The database wrapper: Django's own for SQLite, with DoSQL's driver underneath."""

from __future__ import annotations

import datetime
import decimal
import os
import re
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from difflib import get_close_matches
from functools import lru_cache
from inspect import signature
from itertools import chain
from threading import get_ident
from typing import Any, NamedTuple

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db.backends.sqlite3 import base as sqlite
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime, parse_time

import dosql_dbapi as Database
from django_dosql.client import DatabaseClient
from django_dosql.creation import DatabaseCreation
from django_dosql.features import DatabaseFeatures
from django_dosql.introspection import DatabaseIntrospection
from django_dosql.kept_open import keep_open, let_go_of_all, let_go_of_replaced
from django_dosql.operations import DatabaseOperations
from django_dosql.schema import DatabaseSchemaEditor
from dosql_dbapi.shared_cursor import SharedCursor

_REMEMBERED_TEXTS_MAX = 2048
_TAKEN = frozenset(signature(Database.Connection).parameters)
_SET_ELSEWHERE = frozenset({"database", "check_same_thread", "uri", "factory", "isolation_level"})
_PLACEHOLDER = re.compile(r"(?<!%)%s")


def _of_text(parse: Callable[[str], Any]) -> Callable[[bytes], Any]:
    return lambda raw: parse(raw.decode())


# The same values that Django's SQLite backend registers with sqlite3, for raw SQL; fields of models
# have converters of their own.
Database.register_converter("bool", b"1".__eq__)
Database.register_converter("date", _of_text(parse_date))
Database.register_converter("time", _of_text(parse_time))
Database.register_converter("datetime", _of_text(parse_datetime))
Database.register_converter("timestamp", _of_text(parse_datetime))

Database.register_adapter(decimal.Decimal, str)
Database.register_adapter(datetime.date, datetime.date.isoformat)
Database.register_adapter(datetime.datetime, lambda value: value.isoformat(" "))


class DatabaseWrapper(sqlite.DatabaseWrapper):
    """A connection to one database of `settings.DATABASES`.

    OPTIONS takes what `dosql_dbapi.connect` takes: `branch`, `as_of`, `durability`, `history`,
    `retention`, `timeout`...; and Django's `transaction_mode` and `init_command`.
    """

    Database = Database
    SchemaEditorClass = DatabaseSchemaEditor
    client_class = DatabaseClient
    creation_class = DatabaseCreation
    features_class = DatabaseFeatures
    introspection_class = DatabaseIntrospection
    ops_class = DatabaseOperations

    creation: DatabaseCreation

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        _wrappers.add(self)

    def get_connection_params(self) -> dict[str, Any]:
        """The keyword arguments of `dosql_dbapi.connect`.

        Errors: ImproperlyConfigured.
        """
        parameters: dict[str, Any] = super().get_connection_params()
        if "transaction_mode" not in self.settings_dict["OPTIONS"]:
            # A block that reads first and then writes can only be lost to another writer when it
            # was begun without the write lock, so atomic() takes its turn at the beginning.
            self.transaction_mode = "IMMEDIATE"
        for name in parameters:
            if name not in _TAKEN:
                raise ImproperlyConfigured(_unknown(self.alias, name))
        branch = parameters.get("branch")
        if not isinstance(branch, str | None):
            raise ImproperlyConfigured(
                f"{_option(self.alias, 'branch')} is {branch!r}; it must be the name of a branch"
            )
        if "retention" in parameters:
            parameters["retention"] = _retention(self.alias, parameters["retention"])
        return parameters

    def get_new_connection(self, conn_params: dict[str, Any]) -> Database.Connection:
        let_go_of_replaced(conn_params["database"])
        connection = Database.connect(**conn_params)
        keep_open(conn_params)
        sqlite.register_functions(_Registrar(connection))
        connection.execute("PRAGMA foreign_keys = ON")
        for command in self.init_commands:
            if command := command.strip():
                connection.execute(command)
        return connection

    # -- history -----------------------------------------------------------------------------------

    @property
    def lsn(self) -> int:
        """The LSN this connection sees; after a commit, that commit's."""
        self.ensure_connection()
        with self.wrap_database_errors:
            return int(self.connection.lsn)

    @property
    def branch(self) -> str | None:
        """The branch this connection is on; None for a database without history."""
        self.ensure_connection()
        with self.wrap_database_errors:
            found: str | None = self.connection.branch
            return found

    def resolve(self, moment: Any, branch: str | None = None) -> tuple[str, int]:
        """The branch and LSN that a moment is, seen from `branch`."""
        if isinstance(moment, datetime.datetime) and timezone.is_naive(moment) and settings.USE_TZ:
            moment = timezone.make_aware(moment)
        elsewhere = {"as_of": moment} if branch is None else {"as_of": moment, "branch": branch}
        with self._visit(**elsewhere) as connection:
            return str(connection.branch), int(connection.as_of or 0)

    def check_branch(self, name: str) -> None:
        """Make sure that there is a branch of this name.

        Errors: OperationalError when there is none.
        """
        with self._visit(branch=name, as_of=None):
            pass

    @contextmanager
    def _visit(self, **elsewhere: Any) -> Iterator[Database.Connection]:
        """A connection of the driver alone, for a look: Django's own stays as it is."""
        parameters = self.get_connection_params() | elsewhere
        with self.wrap_database_errors, closing(Database.connect(**parameters)) as connection:
            yield connection

    # -- what Django calls -------------------------------------------------------------------------

    def create_cursor(self, name: str | None = None) -> CursorWrapper:
        return self.connection.cursor(factory=CursorWrapper)  # type: ignore[no-any-return]


class _Registrar:
    """What Django registers its functions with, in the place of the connection.

    It also asks SQLite what it was built with. That statement would read the database, which fails
    on one in memory while another connection writes; any database can answer it.
    """

    def __init__(self, connection: Database.Connection) -> None:
        self.create_function = connection.create_function
        self.create_aggregate = connection.create_aggregate

    def execute(self, sql: str) -> _Answer:
        return _answer(sql)


class _Answer(NamedTuple):
    row: tuple[Any, ...]

    def fetchone(self) -> tuple[Any, ...]:
        return self.row


@lru_cache
def _answer(sql: str) -> _Answer:
    with closing(Database.connect(":memory:")) as connection:
        return _Answer(connection.execute(sql).fetchone())


_wrappers: weakref.WeakSet[DatabaseWrapper] = weakref.WeakSet()


def _close_before_fork() -> None:
    """Before fork(): close what is idle, so that parent and child each open the file anew.

    A child cannot use a file that was open when it was forked. What a transaction or another thread
    holds stays open, and the driver tells the child so.
    """
    let_go_of_all()
    for wrapper in list(_wrappers):
        is_own = wrapper.connection is not None and wrapper._thread_ident == get_ident()
        if is_own and not wrapper.in_atomic_block:
            wrapper.close()


def _connect_anew() -> None:
    """After fork(): a database in memory was copied, but the child needs a connection of its own.

    Only the inherited one knows `:memory:`; there the driver says whose it is.
    """
    for wrapper in list(_wrappers):
        if not wrapper.in_atomic_block and wrapper.settings_dict["NAME"] != ":memory:":
            wrapper.connection = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_close_before_fork, after_in_child=_connect_anew)


class CursorWrapper(SharedCursor):
    """A cursor that takes Django's `%s` and `%(name)s` for parameters."""

    __slots__ = ()

    def execute(  # type: ignore[override]
        self, sql: str, parameters: Any = None, /
    ) -> Database.Cursor:
        if parameters is None:
            return SharedCursor.execute(self, sql)
        if isinstance(parameters, Mapping):
            return SharedCursor.execute(self, _with_named(sql, parameters), parameters)
        return SharedCursor.execute(self, with_question_marks(sql), parameters)

    def executemany(  # type: ignore[override]
        self, sql: str, parameters: Iterable[Any], /
    ) -> Database.Cursor:
        remaining = iter(parameters)
        first = next(remaining, None)
        if first is None:
            return SharedCursor.executemany(self, with_question_marks(sql), ())
        text = _with_named(sql, first) if isinstance(first, Mapping) else with_question_marks(sql)
        return SharedCursor.executemany(self, text, chain((first,), remaining))


@lru_cache(maxsize=_REMEMBERED_TEXTS_MAX)
def with_question_marks(sql: str) -> str:
    """The SQL with `?` for every `%s`, and `%` for every `%%`."""
    return _PLACEHOLDER.sub("?", sql).replace("%%", "%")


def _with_named(sql: str, names: Iterable[str]) -> str:
    return sql % {name: f":{name}" for name in names}


def _option(alias: str, name: str) -> str:
    return f"settings.DATABASES[{alias!r}]['OPTIONS'][{name!r}]"


def _unknown(alias: str, name: str) -> str:
    """What is wrong with an option that neither the driver nor Django's backend has."""
    taken = sorted((_TAKEN | {"transaction_mode", "init_command"}) - _SET_ELSEWHERE)
    similar = get_close_matches(name, taken, 1)
    meant = f"did you mean {similar[0]!r}? " if similar else ""
    return f"{_option(alias, name)}: there is no such option; {meant}there are {', '.join(taken)}"


def _retention(alias: str, settings: Any) -> Database.Retention | None:
    if settings is None or isinstance(settings, Database.Retention):
        return settings
    known = ("age_seconds", "commits_max", "history_bytes_max")
    if not isinstance(settings, Mapping):
        raise ImproperlyConfigured(
            f"{_option(alias, 'retention')} is {settings!r}; it must be a dictionary of "
            f"{', '.join(known)}"
        )
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ImproperlyConfigured(
            f"{_option(alias, 'retention')} has {', '.join(unknown)}; it takes {', '.join(known)}"
        )
    return Database.Retention(**settings)

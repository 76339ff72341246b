"""The dialect: SQLite's own, on DoSQL's driver, with branches and moments as execution options."""

from __future__ import annotations

import functools
import operator
import os
import re
import weakref
from collections.abc import Callable, Mapping
from typing import Any, cast

from sqlalchemy import event
from sqlalchemy.dialects.sqlite.base import SQLiteExecutionContext
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import URL, Engine, reflection
from sqlalchemy.exc import ArgumentError, InvalidRequestError
from sqlalchemy.sql.compiler import InsertmanyvaluesSentinelOpts
from sqlalchemy.util import asbool

import dosql_dbapi
from sqlalchemy_dosql.compiler import DoSQLCompiler
from sqlalchemy_dosql.connection import Connection
from sqlalchemy_dosql.driver import (
    AUTOCOMMIT,
    HERE,
    ISOLATION_LEVELS,
    READ_UNCOMMITTED,
    SERIALIZABLE,
    DriverConnection,
    Place,
)
from sqlalchemy_dosql.pools import PlacedEngine, PlacePools, place_of, wanted_place

# Statements of ours that begin with these words need no transaction.
_DEFINITION = re.compile(
    r"\s*(?:CREATE|DROP|ALTER|REINDEX)\s+(?!BRANCH\b|SNAPSHOT\b)", re.IGNORECASE
)
_DROPPED_BRANCH = re.compile(
    r"""\s*DROP\s+BRANCH\s+(?:IF\s+EXISTS\s+)?(?:["'`\[](?P<quoted>.+?)["'`\]]|(?P<bare>[^\s;]+))""",
    re.IGNORECASE,
)
_USED_BRANCH = re.compile(r"\s*USE\s+BRANCH\b", re.IGNORECASE)
_PLACES_VISITED_MAX = 8
# Of errors after which a connection is of no use: closed, inherited by fork(), a failed sync.
_DISCONNECTED = frozenset({"DB_CLOSED", "DB_FORKED", "TXN_WAL_FAILURE"})


def _moment(text: str) -> int | str:
    return int(text) if re.fullmatch(r"-?\d+", text) else text


# What a URL may say beside what the stock dialect knows.
_URL_OPTIONS: dict[str, Callable[[str], Any]] = {
    "branch": str,
    "as_of": _moment,
    "durability": str,
    "history": asbool,
    "changes": asbool,
    "create": asbool,
    "read_only": asbool,
    "companion": asbool,
}
_STOCK_URL_OPTIONS = (
    "uri",
    "timeout",
    "isolation_level",
    "detect_types",
    "check_same_thread",
    "cached_statements",
)


class DoSQLExecutionContext(SQLiteExecutionContext):
    """One execution; a statement may ask to read at another place than its connection's."""

    def create_default_cursor(self) -> Any:
        options = self.execution_options
        if "as_of" in options or "branch" in options:
            return self._cursor()
        return self._dbapi_connection.cursor()

    def _cursor(self, **options: Any) -> Any:
        place = place_of(self.execution_options)
        connection: Any = self._dbapi_connection.dbapi_connection
        if place in (HERE, connection.place) or (
            place.as_of is None and place.branch == connection.branch
        ):
            return connection.cursor(**options)
        self._refuse_entities_without_identity()
        dialect = cast(DoSQLDialect, self.dialect)
        view = dialect.visit(connection, place, self.root_connection.engine)
        return view.cursor(**options)

    def fetchall_for_returning(self, cursor: Any) -> Any:
        """The rows of INSERT ... RETURNING, which gives them as SQLite inserted them.

        Where SQLAlchemy matches objects to their keys by sorting the keys, they must have been
        given out in rising order. SQLite does so until the largest key there can be is taken; then
        it draws keys by lot. Keys without a gap were not drawn by lot, in whatever order they come:
        SQLAlchemy's own tests shuffle them.
        """
        rows = cursor.fetchall()
        insert = getattr(self.compiled, "_insertmanyvalues", None)
        if insert is not None and insert.implicit_sentinel:
            keys = [row[-1] for row in rows]
            is_rising = not any(map(operator.gt, keys, keys[1:]))
            if not is_rising and max(keys) - min(keys) >= len(keys):
                raise InvalidRequestError(
                    "keys were not given out in rising order, so rows cannot be matched to their "
                    "objects; insert these one by one (use_insertmanyvalues=False)"
                )
        return rows

    def _refuse_entities_without_identity(self) -> None:
        """ORM objects of two moments must not be taken for one another; our session sees to that.

        The identity map of a stock session would answer with the present object instead.
        """
        state = getattr(self.compiled, "compile_state", None)
        if not getattr(state, "_has_mapper_entities", False):
            return
        load_options = self.execution_options.get("_sa_orm_load_options")
        if not isinstance(getattr(load_options, "_identity_token", None), Place):
            raise InvalidRequestError(
                "this session cannot tell objects of the past from those of the present; use "
                "sqlalchemy_dosql.Session (sessionmaker(class_=...)), or select columns"
            )


class DoSQLDialect(SQLiteDialect_pysqlite):
    """`dosql://`: everything the SQLite dialect does, plus the past and branches."""

    driver = "dosql"
    supports_statement_cache = True
    execution_ctx_cls = DoSQLExecutionContext
    statement_compiler = DoSQLCompiler
    connection_factory = DriverConnection
    # Many rows go into one statement, also where their new keys are asked for; see
    # `fetchall_for_returning`.
    insertmanyvalues_implicit_sentinel = InsertmanyvaluesSentinelOpts.ANY_AUTOINCREMENT

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.pools = PlacePools()

    @classmethod
    def import_dbapi(cls) -> Any:
        return dosql_dbapi

    def retrieve_dbapi_version(self, dbapi: Any) -> Any:
        """The version of SQLite, which is what a program may want to know of the driver."""
        from sqlalchemy.util import VersionInfo

        return VersionInfo(dbapi.sqlite_version_info)

    # -- connecting --------------------------------------------------------------------------------

    def create_connect_args(self, url: URL) -> Any:
        own = {name: url.query[name] for name in url.query if name in _URL_OPTIONS}
        stock = url.difference_update_query(list(own))
        unknown = sorted(set(stock.query) - set(_STOCK_URL_OPTIONS))
        if unknown and not asbool(stock.query.get("uri", "false")):
            raise ArgumentError(
                f"a DoSQL URL has no option {', '.join(map(repr, unknown))}; it has "
                f"{', '.join([*_URL_OPTIONS, *_STOCK_URL_OPTIONS])}"
            )
        arguments, options = super().create_connect_args(stock)
        for name, value in own.items():
            if not isinstance(value, str):
                raise ArgumentError(f"the option {name!r} of a DoSQL URL is given more than once")
            options[name] = _URL_OPTIONS[name](value)
        options.setdefault("factory", self.connection_factory)
        return arguments, options

    def connect(self, *arguments: Any, **options: Any) -> Any:
        place = wanted_place.get()
        if place.branch is not None:
            options["branch"] = place.branch
            options["as_of"] = place.as_of  # the moment in the URL is one of another branch
        elif place.as_of is not None:
            options["as_of"] = place.as_of
        connection = super().connect(*arguments, **options)
        connection.place = place
        return connection

    @classmethod
    def engine_created(cls, engine: Engine) -> None:
        """Give the engine our connections and pools, and new ones to a process forked from it."""
        engine._connection_cls = Connection
        engine._option_cls = PlacedEngine
        pools = cast("DoSQLDialect", engine.dialect).pools
        had_listeners = "_has_events" in vars(engine)

        @event.listens_for(engine, "engine_disposed")
        def dispose_pools(_engine: Engine) -> None:
            pools.dispose()

        # That listens to nothing that happens to statements, so they need not look for listeners
        # unless there are others: of this engine, or of the class Engine.
        if not had_listeners:
            del engine._has_events
        _engines.add(engine)
        _watch_forks()

    def set_engine_execution_options(self, engine: Engine, opts: Mapping[str, Any]) -> None:
        engine._connection_cls = Connection
        super().set_engine_execution_options(engine, opts)

    def set_connection_execution_options(self, connection: Any, opts: Mapping[str, Any]) -> None:
        super().set_connection_execution_options(connection, opts)
        if "as_of" in opts or "branch" in opts:
            self._move(connection, place_of(connection.get_execution_options()))

    def _move(self, connection: Any, place: Place) -> None:
        """Exchange the DB-API connection of a connection for one that is at `place`."""
        if connection.connection.dbapi_connection.place == place:
            return
        if connection.in_transaction():
            raise InvalidRequestError(
                "branch and as_of may not be altered in a transaction; commit() or rollback() first"
            )
        base = connection.engine
        pool = self.pools.at(place, getattr(base, "_root", base).pool)
        former = connection._dbapi_connection
        try:
            connection._dbapi_connection = pool.connect()
        except dosql_dbapi.Error as error:  # as SQLAlchemy's, as where an engine connects
            connection._handle_dbapi_exception_noconnection(error, self, base)
        former.close()

    def visit(self, connection: Any, place: Place, engine: Any) -> Any:
        """A connection that reads at `place`, kept by `connection` for the next statement there."""
        visited = connection.visited
        known = visited.get(place)
        if known is not None:
            visited.move_to_end(place)
            return known
        start: Place = connection.place
        branch = start.branch if place.branch is None else place.branch
        # A branch without a moment is read as it is when the statement begins.
        as_of = f"branch:{branch}" if place.as_of is None else place.as_of
        view = self.pools.at(
            Place(None if place.as_of is None else branch, as_of),
            getattr(engine, "_root", engine).pool,
        ).connect()
        if place.is_moving or place.as_of is None:
            place = Place(view.branch, view.as_of)
            if place in visited:
                view.close()
                return visited[place]
        visited[place] = view
        if len(visited) > _PLACES_VISITED_MAX:
            visited.popitem(last=False)[1].close()
        return view

    # -- transactions ------------------------------------------------------------------------------

    def do_begin(self, dbapi_connection: Any) -> None:
        if dbapi_connection.dbapi_connection.level == SERIALIZABLE:
            dbapi_connection.begin()

    def do_savepoint(self, connection: Any, name: str) -> None:
        connection.connection.begin_write()
        super().do_savepoint(connection, name)

    def do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        if context is not None and (context.isddl or context.is_text or not context.compiled):
            self._prepare_for_definition(statement, context)
        cursor.execute(statement, parameters)

    def _prepare_for_definition(self, statement: str, context: Any) -> None:
        if _DEFINITION.match(statement):
            context._dbapi_connection.begin_definition()
            return
        dropped = _DROPPED_BRANCH.match(statement)
        if dropped:
            self.pools.dispose(dropped["quoted"] or dropped["bare"])
        elif _USED_BRANCH.match(statement):
            # The next to borrow the connection from the pool must not find it on that branch.
            pooled = context.root_connection.connection
            home = pooled.dbapi_connection.branch
            pooled._connection_record.finalize_callback.append(functools.partial(_go_home, home))

    @reflection.cache
    def get_schema_names(self, connection: Any, **options: Any) -> Any:
        """The program's schemas: not the moments of the past that its connection has attached."""
        names = super().get_schema_names(connection, **options)
        return [name for name in names if not name.startswith("_dosql_")]

    def get_isolation_level_values(self, dbapi_connection: Any) -> Any:
        return list(ISOLATION_LEVELS)

    def get_isolation_level(self, dbapi_connection: Any) -> Any:
        if self.detect_autocommit_setting(dbapi_connection):
            return AUTOCOMMIT
        return dbapi_connection.level

    def set_isolation_level(self, dbapi_connection: Any, level: str) -> None:
        dbapi_connection.level = level
        dbapi_connection.isolation_level = None if level == AUTOCOMMIT else ""
        cursor = dbapi_connection.cursor()
        cursor.execute(f"PRAGMA read_uncommitted = {int(level == READ_UNCOMMITTED)}")
        cursor.close()

    # -- errors ------------------------------------------------------------------------------------

    def is_disconnect(self, e: Any, connection: Any, cursor: Any) -> bool:
        """Whether the connection is of no use any more."""
        code = getattr(e, "code", None)
        return code in _DISCONNECTED or super().is_disconnect(e, connection, cursor)


def _go_home(branch: str, dbapi_connection: Any) -> None:
    """Bring a connection back to the branch that its pool is for."""
    cursor = dbapi_connection.cursor()
    cursor.execute('USE BRANCH "{}"'.format(branch.replace('"', '""')))
    cursor.close()


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


@functools.cache
def _watch_forks() -> None:
    """From now on close idle connections before a fork, so that parent and child open their own.

    SQLite's locks do not outlive a fork: a child may open no file that its parent had open. So a
    server may use its engines before it forks its workers, if no connection is checked out then;
    where one is, the driver refuses the file to the child. Connections of asyncio close in their
    loops only, and are left to the driver, too.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_close_idle_connections, after_in_child=_forget_connections)


def _close_idle_connections() -> None:
    for engine in list(_engines):
        if not engine.dialect.is_async and _is_file_database(engine):
            cast(DoSQLDialect, engine.dialect).pools.dispose()
            former = engine.pool
            engine.pool = former.recreate()
            former.dispose()


def _forget_connections() -> None:
    for engine in list(_engines):
        if _is_file_database(engine):
            cast(DoSQLDialect, engine.dialect).pools.forget()
            engine.pool = engine.pool.recreate()


def _is_file_database(engine: Engine) -> bool:
    return bool(cast(DoSQLDialect, engine.dialect)._is_url_file_db(engine.url))

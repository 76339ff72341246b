"""The driver beside sqlite3: the same calls, drawn by chance, and the same things seen after each.

What is meant to differ is listed in docs/driver.md and left out of the draw.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dosql_dbapi

EXAMPLES_EVERY_DAY = {"memory": 60, "file": 12}
EXAMPLES_LONG = 1000
LEVELS = (None, "", "DEFERRED", "IMMEDIATE", "EXCLUSIVE")

STATEMENTS = (
    "insert into t(a, b) values (1, 'x')",
    "insert into t(a, b) values (?, ?)",
    "insert into t(a, b) values (:a, :b)",
    "insert or replace into t(id, a) values (2, 9)",
    "insert into t(id, a) values (1, 1)",
    "insert into t(a) select a + 1 from t",
    "update t set b = 'y' where a > 1",
    "update t set a = a + 1 where a > 2",
    "delete from t where a = 1",
    "delete from t",
    "select id, a, b from t order by id",
    'select a as "n [integer]", count(*) from t group by a order by a',
    "select 1 where 0",
    "select ?",
    "select :a",
    "select * from missing",
    "selec",
    "select 1; select 2",
    "values (1), (2), (3)",
    "with w(n) as (values (1), (2)) select n from w",
    "begin",
    "begin immediate",
    "commit",
    "rollback",
    "savepoint s",
    "release s",
    "rollback to s",
    "create table if not exists u(n)",
    "drop table if exists u",
    "pragma user_version",
    "pragma user_version = 5",
    "pragma table_info(t)",
    "create temp table if not exists v(n)",
    "reindex",
)
# sqlite3 goes by whether a statement is read-only, we by its first word.
MANY = tuple(sql for sql in STATEMENTS if not sql.startswith(("begin", "pragma", "values")))
PARAMETERS: tuple[Any, ...] = (
    (),
    (1,),
    (1, "two"),
    [2, b"three"],
    {"a": 1, "b": None},
    {"a": 2.5, "b": "x", "c": 1},
    {},
    (float("nan"), float("inf")),
    ("\ud800", 1),
    ("\0", "a\0b"),
    (bytearray(b"x"), memoryview(b"y")),
    (True, None),
)
SCRIPTS = (
    "insert into t(a) values (7); insert into t(a) values (8);",
    "create table if not exists u(n); -- done",
    "begin; insert into t(a) values (9); commit;",
    "insert into t(a) values (1); select * from missing; insert into t(a) values (2);",
    "",
)

Step = Callable[[Any, Any, Any], Any]


def calls() -> st.SearchStrategy[tuple[str, Step]]:
    """A name to show, and what is done with the module, a connection and one of its cursors."""
    statement, parameters = st.sampled_from(STATEMENTS), st.sampled_from(PARAMETERS)
    return st.one_of(
        st.builds(execute, statement, parameters),
        st.builds(execute, statement, st.just(())),
        st.builds(execute_many, st.sampled_from(MANY), st.lists(parameters, max_size=3)),
        st.builds(execute_script, st.sampled_from(SCRIPTS)),
        st.builds(fetch_many, st.sampled_from((-1, 1, 2, 3))),
        st.builds(set_level, st.sampled_from(LEVELS)),
        st.builds(set_row_factory, st.booleans()),
        st.sampled_from(PLAIN_CALLS),
    )


def execute(sql: str, parameters: Any) -> tuple[str, Step]:
    return f"execute({sql!r}, {parameters!r})", lambda _module, _con, cursor: bool(
        cursor.execute(sql, parameters)
    )


def execute_many(sql: str, sets: list[Any]) -> tuple[str, Step]:
    return f"executemany({sql!r}, {sets!r})", lambda _module, _con, cursor: bool(
        cursor.executemany(sql, sets)
    )


def execute_script(script: str) -> tuple[str, Step]:
    return f"executescript({script!r})", lambda _module, _con, cursor: bool(
        cursor.executescript(script)
    )


def fetch_many(size: int) -> tuple[str, Step]:
    return f"fetchmany({size})", lambda _module, _con, cursor: plain(cursor.fetchmany(size))


def set_level(level: str | None) -> tuple[str, Step]:
    return f"isolation_level = {level!r}", lambda _module, con, _cursor: setattr(
        con, "isolation_level", level
    )


def set_row_factory(is_row: bool) -> tuple[str, Step]:
    return f"row_factory = {'Row' if is_row else None}", lambda module, _con, cursor: setattr(
        cursor, "row_factory", module.Row if is_row else None
    )


def use_as_block(_module: Any, con: Any, cursor: Any) -> None:
    with con:
        cursor.execute("insert into t(a) values (11)")


def fail_in_block(_module: Any, con: Any, cursor: Any) -> None:
    with contextlib.suppress(KeyError), con:
        cursor.execute("insert into t(a) values (12)")
        raise KeyError


PLAIN_CALLS: tuple[tuple[str, Step], ...] = (
    ("fetchone()", lambda _module, _con, cursor: plain(cursor.fetchone())),
    ("fetchall()", lambda _module, _con, cursor: plain(cursor.fetchall())),
    ("list()", lambda _module, _con, cursor: plain(list(cursor))),
    ("commit()", lambda _module, con, _cursor: con.commit()),
    ("rollback()", lambda _module, con, _cursor: con.rollback()),
    ("with con", use_as_block),
    ("with con: raise", fail_in_block),
    ("iterdump()", lambda _module, con, _cursor: list(con.iterdump())),
    ("cursor.close()", lambda _module, _con, cursor: cursor.close()),
)


def plain(value: Any) -> Any:
    """Rows as tuples, so that those of two modules compare."""
    if isinstance(value, list):
        return [plain(row) for row in value]
    if isinstance(value, sqlite3.Row):
        return (tuple(value), tuple(value.keys()))
    return repr(value)  # nan is not equal to itself


def error_name(module: Any, error: Exception) -> str:
    """The class of PEP 249, or the plain one; ours are finer below it."""
    for name in (
        "IntegrityError",
        "ProgrammingError",
        "OperationalError",
        "DataError",
        "InternalError",
        "NotSupportedError",
        "InterfaceError",
        "DatabaseError",
        "Warning",
    ):
        if isinstance(error, getattr(module, name)):
            return name
    return type(error).__name__


class Side:
    """One of the two modules with a database of its own, and what can be seen of it."""

    def __init__(self, module: Any, path: str) -> None:
        self.module = module
        self.con = module.connect(path, timeout=0.1)
        self.con.execute("create table t(id integer primary key, a unique, b text)")
        self.cursors = [self.con.cursor(), self.con.cursor()]
        self.is_closed = [False, False]

    def do(self, shown: str, call: Step, which: int) -> Any:
        cursor = self.cursors[which]
        try:
            outcome = call(self.module, self.con, cursor)
        except Exception as error:
            outcome = (
                error_name(self.module, error),
                getattr(error, "sqlite_errorname", None),
            )
        if self.is_closed[which]:
            return outcome, self.con.in_transaction
        self.is_closed[which] = shown == "cursor.close()"
        return outcome, self.con.in_transaction, cursor.rowcount, cursor.description

    def rows(self) -> list[Any]:
        return plain(self.con.execute("select * from t order by id").fetchall())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of names bound to a sequence
@pytest.mark.parametrize("place", ["memory", "file"])
def test_the_same_calls_show_the_same_things(place, tmp_path, is_long_run):
    number = iter(range(1_000_000))

    @settings(
        max_examples=EXAMPLES_LONG if is_long_run else EXAMPLES_EVERY_DAY[place],
        derandomize=not is_long_run,
    )
    @given(steps=st.lists(st.tuples(calls(), st.integers(0, 1)), max_size=12))
    def compare(steps: list[tuple[tuple[str, Step], int]]) -> None:
        name = f"{next(number)}.db"
        sides = []
        for module in (sqlite3, dosql_dbapi):
            path = ":memory:" if place == "memory" else str(tmp_path / f"{module.__name__}-{name}")
            sides.append(Side(module, path))
        theirs, ours = sides
        with contextlib.closing(theirs.con), contextlib.closing(ours.con):
            for (shown, call), which in steps:
                assert ours.do(shown, call, which) == theirs.do(shown, call, which), shown
            assert ours.rows() == theirs.rows()

    compare()


@pytest.mark.parametrize("module", [sqlite3, dosql_dbapi], ids=lambda module: module.__name__)
def test_a_write_behind_with_begins_no_transaction(module, tmp_path):
    with contextlib.closing(module.connect(tmp_path / "app.db")) as con:
        con.execute("create table t(a)")
        con.execute("with w(n) as (values (5)) insert into t select n from w")
        assert not con.in_transaction
    with contextlib.closing(module.connect(tmp_path / "app.db")) as con:
        assert con.execute("select a from t").fetchall() == [(5,)]


@pytest.mark.parametrize("module", [sqlite3, dosql_dbapi], ids=lambda module: module.__name__)
def test_executemany_runs_what_changes_something(module):
    with contextlib.closing(module.connect(":memory:")) as con:
        cursor = con.executemany("create table if not exists t(a)", [(), ()])
        assert cursor.rowcount == -1
        assert con.execute("select count(*) from sqlite_master").fetchone() == (1,)


@pytest.mark.parametrize("sql", ["begin", "", "-- nothing"])
@pytest.mark.parametrize("module", [sqlite3, dosql_dbapi], ids=lambda module: module.__name__)
def test_what_returns_nothing_ends_the_statement_before(module, sql):
    with contextlib.closing(module.connect(":memory:", isolation_level=None)) as con:
        con.execute("create table t(a)")
        cursor = con.execute("values (1), (2), (3)")
        cursor.execute(sql)
        con.execute("drop table t")  # which a statement that runs would lock


def test_a_trace_shows_the_statements_of_a_script_and_nothing_else():
    def traced(module: Any) -> list[str]:
        seen: list[str] = []
        with contextlib.closing(module.connect(":memory:")) as con:
            con.set_trace_callback(seen.append)
            con.executescript("begin; select 1; /* nothing */; commit")
        return [text.strip() for text in seen]

    assert traced(dosql_dbapi) == traced(sqlite3) != []


def test_no_class_of_a_connection_or_cursor_has_getattr():
    # with one, CPython looks every slot up the slow way, ten times for each statement
    for kind in (dosql_dbapi.Connection, dosql_dbapi.Cursor):
        assert not any("__getattr__" in vars(base) for base in kind.__mro__)


def test_a_connection_that_was_never_opened_says_so():
    connection = dosql_dbapi.Connection.__new__(dosql_dbapi.Connection)
    for use in (connection.commit, connection.cursor, connection.close, connection.interrupt):
        with pytest.raises(dosql_dbapi.ProgrammingError, match=r"Connection\.__init__ not called"):
            use()
    with pytest.raises(dosql_dbapi.ProgrammingError, match=r"Connection\.__init__ not called"):
        connection.execute("select 1")


def test_a_cursor_asked_again_after_its_last_row_has_none():
    connection = dosql_dbapi.connect(":memory:")
    cursor = connection.execute("select 1 union all select 2")
    assert cursor.fetchmany(2) == [(1,), (2,)]
    assert (cursor.fetchmany(2), cursor.fetchone(), cursor.fetchall()) == ([], None, [])
    assert connection.execute("select 1").fetchmany(5) == [(1,)]
    assert connection.execute("select 1").fetchall() == [(1,)]
    assert connection.execute("select 1 where 0").fetchall() == []
    cursor.close()
    with pytest.raises(dosql_dbapi.ProgrammingError):
        cursor.fetchone()
    connection.close()


@pytest.mark.parametrize("module", [sqlite3, dosql_dbapi], ids=["sqlite3", "dosql"])
@pytest.mark.parametrize("how", ["tuple", "list", "names", "literal"])
def test_a_shared_in_memory_database_can_be_attached(module, how):
    uri = f"file:attached-{how}-{module.__name__}?mode=memory&cache=shared"
    given = {"tuple": (uri,), "list": [uri], "names": {"uri": uri}, "literal": ()}[how]
    place = {"names": ":uri", "literal": f"'{uri}'"}.get(how, "?")
    with contextlib.closing(module.connect(uri, uri=True)) as con:
        con.executescript("create table t(a); insert into t values (7)")
        with contextlib.closing(module.connect(":memory:", uri=True)) as other:
            other.execute(f"attach {place} as shared", given)
            assert other.execute("select a from shared.t").fetchall() == [(7,)]

"""What waits for whom: the driver beside sqlite3 while another connection has the write lock.

Nothing here may wait at all, so whoever would is told at once that the database is locked. After
every step both say the same: done or locked, and whether a transaction is open.
"""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dosql_dbapi
from dosql_core.errors import DatabaseLockedError
from fixtures.crash import child_environment

Mode = tuple[str, Any]
"""An attribute of a connection that says when transactions begin, and its value."""

MODES: tuple[Mode, ...] = tuple(
    ("isolation_level", level) for level in (None, "", "DEFERRED", "IMMEDIATE", "EXCLUSIVE")
)
if sys.version_info >= (3, 12):
    MODES += (("autocommit", True), ("autocommit", False))

SCHEMA = """
create table t(a integer primary key, b);
create table n(a unique);
create table copied(a);
create view v as select a, b from t;
create trigger v_insert instead of insert on v begin insert into t(b) values (new.b); end;
insert into t(b) values (1), (2), (3);
"""
OWN = (
    "create temp table x(a)",
    "insert into temp.x values (1), (2)",
    "create temp table noted(a)",
    "create temp trigger note_x after insert on noted begin insert into t(b) values (new.a); end",
    "create temp table loud(a)",
    "create temp trigger read_t after insert on loud begin select count(*) from t; end",
    "create temp view w as select a from temp.x",
    "create temp trigger w_insert instead of insert on w begin insert into x values (new.a); end",
    "create temp table n(a)",  # there is one in main, too
)
ELSEWHERE = (
    "insert into x values (3)",
    "insert into temp.x values (3)",
    "insert into x select b from t",
    "insert into x values (4) returning a",
    "with q as (select 5) insert into x select * from q",
    "replace into x values (6)",
    "update x set a = a + 1",
    "update x set a = 0 where a = 99",
    "delete from x",
    "insert into n values (7)",
    "insert into loud values (8)",
    "insert into w values (9)",
    "insert into other.o(a) values (10)",
    "insert into o(a) select b from t",
    "update o set a = 1",
    "create temp table y(a)",
    "create temp table x(a)",
    "create temp table y as select * from t",
    "create temp view y as select * from t",
    "create temp trigger y after insert on t begin insert into x values (new.b); end",
    "create index temp.x_a on x(a)",
    "alter table x add column c",
    "alter table x rename to y",
    "drop table x",
    "drop trigger note_x",
    "drop view w",
    "reindex temp.n",
    "analyze temp",
    "analyze other",
    "create table if not exists other.z(a)",
    "drop table if exists other.z",
    "drop table if exists absent",
    "create table if not exists t(a)",
    "vacuum other",
    "vacuum temp",
    "pragma other.user_version = 5",
    "pragma temp.user_version = 5",
    "pragma foreign_keys = on",
    "pragma user_version",
    "select * from t",
    "select * from x",
    "insert into absent values (1)",
    "insert into t(absent) values (1)",
    "insert into t(a, b) values (1)",
    "delete from sqlite_master",
    "create table t(a)",
)
IN_MAIN = (
    "insert into t(b) values (1)",
    "insert into main.n values (1)",
    "insert into noted values (1)",
    "insert into v(b) values (1)",
    "insert into t(b) values (1) returning a",
    "with q as (select 5) insert into t(b) select * from q",
    "update t set b = 0 where a = 99",
    "update t set b = b + 1",
    "delete from t where 0",
    "create table z(a)",
    "create index t_b on t(b)",
    "drop table copied",
    "alter table t add column c",
    "reindex t",
    "analyze",
    "vacuum",
    "pragma user_version = 5",
    "pragma main.application_id = 6",
    "pragma incremental_vacuum",
)
CONTROLS = ("begin", "begin deferred", "begin immediate", "begin exclusive", "savepoint s")
COURSES: tuple[tuple[str, ...], ...] = (
    *((statement,) for statement in (*ELSEWHERE, *IN_MAIN)),
    *(
        (control, statement)
        for control in CONTROLS
        for statement in ("insert into x values (3)", "insert into t(b) values (1)")
    ),
    ("begin", "select * from t", "insert into x values (3)", "insert into t(b) values (1)"),
    ("begin", "insert into x values (3)", "select * from t", "insert into t(b) values (1)"),
    ("begin", "insert into t(b) values (1)", "insert into x values (3)", "commit"),
    ("savepoint s", "insert into x values (3)", "release s"),
    ("begin", "savepoint s", "insert into x values (3)", "select * from t", "rollback to s"),
    ("begin", "insert into x values (3)", "vacuum"),
    ("begin", "create temp table y(a)", "insert into y values (1)", "commit"),
    ("insert into x values (3)", "insert into t(b) values (1)", "insert into x values (4)"),
    ("insert into t(b) values (1)", "insert into t(b) values (1)", "rollback"),
    ("insert into t(b) values (1)", "begin", "insert into x values (3)"),
    ("insert into x values (3)", "begin"),
    ("insert into main.n values (1), (1)", "insert into absent values (1)"),
    ("insert into t(b) values (1)", "insert into absent values (1)", "select count(*) from t"),
    ("insert into absent values (1)", "insert into x values (1)", "insert into absent values (1)"),
    ("many insert into absent values (?)", "many insert into t(b) values (?)"),
    ("insert into n values (1)", "drop table temp.n", "insert into n values (1)"),
    ("begin", "drop table temp.n", "insert into n values (1)", "rollback", "insert into n values (2)"),  # noqa: E501
    ("detach other", "insert into o(a) values (1)", "insert into x values (1)"),
    ("many insert into x values (?)",),
    ("many insert into t(b) values (?)",),
    ("many insert into noted values (?)",),
    ("begin", "many insert into x values (?)", "many insert into t(b) values (?)"),
    ("many insert into x values (?)", "insert into t(b) values (1)"),
    ("script insert into x values (3); create temp table y(a); insert into y values (1)",),
    ("script insert into x values (3); insert into t(b) values (1)",),
    ("script begin; insert into x values (3); insert into t(b) values (1); commit",),
    ("insert into x values (3)", "script insert into x values (4)"),
)  # fmt: skip


def test_the_same_waits_as_in_sqlite3(tmp_path: Path, lock_holder: Holder) -> None:
    """One process, or two: the queue of this process's writers, or that of processes."""
    differences = []
    ours = Side(dosql_dbapi, tmp_path / "ours")
    theirs = Side(sqlite3, tmp_path / "theirs")
    with lock_holder(ours.path), theirs.holding():
        for mode in MODES:
            for course in COURSES:
                found, expected = ours.outcomes(mode, course), theirs.outcomes(mode, course)
                if found != expected:
                    differences.append((mode, course, found, expected))
    assert differences == []


def test_the_same_others_wait_as_in_sqlite3(tmp_path: Path) -> None:
    """Whoever has not written main, in an open transaction, keeps nobody from writing it."""
    differences = []
    ours, theirs = Side(dosql_dbapi, tmp_path / "ours"), Side(sqlite3, tmp_path / "theirs")
    with contextlib.closing(ours.open()), contextlib.closing(theirs.open()):
        for mode in MODES:
            for course in COURSES:
                if not course[0].startswith(("vacuum", "drop table copied")):
                    found = ours.outcomes(mode, course, others_try=True)
                    expected = theirs.outcomes(mode, course, others_try=True)
                    if found != expected:
                        differences.append((mode, course, found, expected))
    assert differences == []


def test_a_lock_of_an_attached_database_keeps_nobody_from_writing_main(tmp_path: Path) -> None:
    differences = []
    ours, theirs = Side(dosql_dbapi, tmp_path / "ours"), Side(sqlite3, tmp_path / "theirs")
    with (
        contextlib.closing(ours.open()),
        ours.holding("other.db"),
        contextlib.closing(theirs.open()),
        theirs.holding("other.db"),
    ):
        for mode in MODES:
            for course in COURSES:
                if not course[0].startswith(("detach", "drop table copied")):
                    found, expected = ours.outcomes(mode, course), theirs.outcomes(mode, course)
                    if found != expected:
                        differences.append((mode, course, found, expected))
    assert differences == []


class Side:
    """One of the two modules, with a database of its own."""

    def __init__(self, module: Any, folder: Path) -> None:
        folder.mkdir()
        self.module, self.folder = module, folder
        self.path = folder / "app.db"
        for name, script in (("app.db", SCHEMA), ("other.db", "create table o(a)")):
            with contextlib.closing(self.open(name)) as con:
                con.execute("pragma journal_mode = wal")
                con.executescript(script)

    def open(self, name: str = "app.db") -> Any:
        # what is attached is SQLite's alone
        history = {} if name == "app.db" or self.module is sqlite3 else {"history": False}
        return self.module.connect(self.folder / name, timeout=0, isolation_level=None, **history)

    @contextlib.contextmanager
    def holding(self, name: str = "app.db") -> Iterator[None]:
        """Another connection has the write lock."""
        with contextlib.closing(self.open(name)) as holder:
            holder.execute("begin immediate")
            yield
            holder.execute("rollback")

    def outcomes(
        self, mode: Mode, course: tuple[str, ...], others_try: bool = False
    ) -> list[tuple[Any, ...]]:
        """What became of each step, and whether a transaction was open after it."""
        with contextlib.closing(self.open()) as con:
            con.execute("attach ? as other", (str(self.folder / "other.db"),))
            con.execute("pragma synchronous = off")
            con.execute("pragma other.synchronous = off")
            for sql in OWN:
                con.execute(sql)
            setattr(con, *mode)
            told: list[tuple[Any, ...]] = []
            for step in course:
                told.append((self._outcome(con, step), con.in_transaction))
                if others_try:
                    told.append(("others", self._can_another_write()))
            if con.in_transaction:
                con.execute("rollback")
            told.append(("rows", self._outcome(con, "select count(*) from temp.x")))
            return told

    def _outcome(self, con: Any, step: str) -> Any:
        try:
            kind, _, sql = step.partition(" ")
            if kind == "many":
                con.executemany(sql, [(1,), (2,)])
            elif kind == "script":
                con.executescript(sql)
            else:
                return con.execute(step).fetchall()
        except self.module.Error as error:
            parents = ("OperationalError", "IntegrityError", "ProgrammingError")
            parent = next(name for name in parents if isinstance(error, getattr(self.module, name)))
            return parent, error.sqlite_errorname
        return "done"

    def _can_another_write(self) -> bool:
        with contextlib.closing(self.open()) as other:
            try:
                other.execute("begin immediate")
            except self.module.OperationalError:
                return False
            other.rollback()
            return True


HOLDER = """
import sys, dosql_dbapi
con = dosql_dbapi.connect(sys.argv[1], isolation_level=None)
con.execute("begin immediate")
print("held", flush=True)
sys.stdin.readline()
con.execute("rollback")
con.close()
"""

Holder = Callable[[Path], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def held_here(path: Path) -> Iterator[None]:
    with contextlib.closing(dosql_dbapi.connect(path, isolation_level=None)) as holder:
        holder.execute("begin immediate")
        yield
        holder.execute("rollback")


@contextlib.contextmanager
def held_by_another_process(path: Path) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=child_environment(),
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield
    finally:
        process.communicate("\n", timeout=60)


@pytest.fixture(params=[held_here, held_by_another_process])
def lock_holder(request: pytest.FixtureRequest) -> Holder:
    """Has another connection hold the write lock of the database at a path."""
    holder: Holder = request.param
    return holder


def test_a_statement_behind_a_semicolon_waits_for_its_turn(database_path: Path) -> None:
    with contextlib.closing(dosql_dbapi.connect(database_path, timeout=0)) as con:
        con.execute("create table t(a)")
        with held_here(database_path), pytest.raises(DatabaseLockedError):
            con.execute("; insert into t values (1)")
        con.rollback()
        con.execute("; insert into t values (2)")
        assert con.execute("select a from t").fetchall() == [(2,)]


def test_a_write_of_a_temp_table_in_a_transaction_may_be_rolled_back(database_path: Path) -> None:
    """However many others commit while the transaction begins to read."""
    with (
        contextlib.closing(dosql_dbapi.connect(database_path, isolation_level=None)) as con,
        contextlib.closing(dosql_dbapi.connect(database_path, isolation_level=None)) as other,
    ):
        con.execute("create table t(a)")
        con.execute("create temp table x(a)")
        con.execute("begin")
        con.execute("insert into x values (1)")
        with committing_beside(con, other):
            con.execute("select * from t").fetchall()
        con.execute("rollback")
        assert con.execute("select * from x").fetchall() == []


def test_a_savepoint_stays_open_when_its_transaction_begins_to_read(database_path: Path) -> None:
    with (
        contextlib.closing(dosql_dbapi.connect(database_path, isolation_level=None)) as con,
        contextlib.closing(dosql_dbapi.connect(database_path, isolation_level=None)) as other,
    ):
        con.execute("create table t(a)")
        for beginning in ((), ("begin",)):
            for sql in (*beginning, "savepoint s"):
                con.execute(sql)
            with committing_beside(con, other):
                con.execute("select * from t").fetchall()
            con.execute("release s")


def test_the_lsn_is_exact_when_others_commit_while_a_transaction_begins(
    database_path: Path,
) -> None:
    with (
        contextlib.closing(dosql_dbapi.connect(database_path, isolation_level=None)) as con,
        contextlib.closing(dosql_dbapi.connect(database_path, isolation_level=None)) as other,
    ):
        con.execute("create table t(a)")
        con.execute("begin")
        with committing_beside(con, other):
            rows = con.execute("select count(*) from t").fetchall()
        lsn = con.lsn
        con.execute("commit")
        assert con.execute(f"select count(*) from t as of lsn {lsn}").fetchall() == rows


@contextlib.contextmanager
def committing_beside(con: Any, other: Any) -> Iterator[None]:
    """While `con` runs its first statement within the block, `other` commits, once."""
    is_done = False

    def commit() -> None:
        nonlocal is_done
        if not is_done:
            is_done = True
            other.execute("insert into t values (0)")

    con.set_progress_handler(commit, 1)
    try:
        yield
    finally:
        con.set_progress_handler(None, 0)
    assert is_done

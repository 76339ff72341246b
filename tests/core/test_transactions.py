"""Transactions as SQL begins and describes them: isolation levels, read-only ones, savepoints."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

import dosql_dbapi
from dosql_core.errors import (
    NotSupportedError,
    ProgrammingError,
    ReadOnlyMomentError,
    SerializationFailure,
    TransactionTimeoutError,
    UncommittedChangesError,
)

LEVELS = ["READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SNAPSHOT", "SERIALIZABLE"]


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "app.db")


@pytest.fixture
def con(path: str) -> Iterator[Any]:
    connection = dosql_dbapi.connect(path)
    connection.execute("create table t(x)")
    yield connection
    connection.close()


@pytest.fixture
def other(con: Any, path: str) -> Iterator[Any]:
    connection = dosql_dbapi.connect(path, timeout=0.05)
    yield connection
    connection.close()


def count(con: Any) -> int:
    ((number,),) = con.execute("select count(*) from t").fetchall()
    return int(number)


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_reads_one_snapshot_and_serializes_writers(
    con: Any, other: Any, level: str
) -> None:
    con.execute(f"set transaction isolation level {level}")
    con.execute("begin")
    assert count(con) == 0
    other.execute("insert into t values (1)")
    assert count(con) == 0  # nothing uncommitted is seen
    other.commit()
    lsn = con.lsn
    assert count(con) == 0  # and what was read stays
    with pytest.raises(SerializationFailure) as told:
        con.execute("insert into t values (2)")
    assert (told.value.code, told.value.is_retryable) == ("TXN_SERIALIZATION_FAILURE", True)
    assert told.value.sqlite_errorname == "SQLITE_BUSY_SNAPSHOT"
    con.rollback()
    assert count(con) == 1
    assert other.lsn == lsn + 1


def test_an_unknown_level_is_refused_with_those_there_are(con: Any) -> None:
    with pytest.raises(ProgrammingError, match="SNAPSHOT or SERIALIZABLE"):
        con.execute("set transaction isolation level chaos")


def test_read_only_holds_until_read_write(con: Any, path: str) -> None:
    con.execute("set transaction isolation level snapshot, read only")
    for _ in range(2):
        with pytest.raises(ReadOnlyMomentError) as told:
            con.execute("insert into t values (1)")
        assert told.value.code == "DB_READ_ONLY"
        assert "SET TRANSACTION READ WRITE" in told.value.hint
        con.rollback()
    con.execute("set transaction read write")
    con.execute("insert into t values (1)")
    con.commit()
    past = dosql_dbapi.connect(path, as_of=1)
    past.execute("set transaction read only")
    with pytest.raises(NotSupportedError):
        past.execute("set transaction read write")
    past.close()


def test_a_read_only_block_refuses_and_then_allows(con: Any) -> None:
    with pytest.raises(ReadOnlyMomentError), con.transaction(read_only=True):
        assert count(con) == 0
        con.execute("insert into t values (1)")
    con.execute("insert into t values (1)")
    con.commit()
    assert count(con) == 1


def test_a_block_inside_a_block_is_a_savepoint(con: Any) -> None:
    with con.transaction():
        con.execute("insert into t values (1)")
        with pytest.raises(ZeroDivisionError), con.transaction():
            con.execute("insert into t values (2)")
            raise ZeroDivisionError
        with con.transaction():
            con.execute("insert into t values (3)")
    assert con.execute("select x from t").fetchall() == [(1,), (3,)]
    assert con.lsn == 2


@pytest.mark.parametrize("end", ["commit", "release a", "end"])
def test_savepoints_nest_and_make_one_commit(con: Any, end: str) -> None:
    con.isolation_level = None
    con.execute("begin immediate" if end != "release a" else "savepoint a")
    con.execute("insert into t values (1)")
    con.execute("savepoint b")
    con.execute("insert into t values (2)")
    con.execute("savepoint b")
    con.execute("insert into t values (3)")
    con.execute("rollback to b")
    con.execute("release b")
    con.execute("rollback to savepoint b")
    con.execute(end)
    assert not con.in_transaction
    assert con.execute("select x from t").fetchall() == [(1,)]
    assert con.lsn == 2


def test_a_transaction_over_its_time_is_rolled_back(con: Any) -> None:
    endless = "with recursive c(x) as (select 1 union all select x + 1 from c) select sum(x) from c"
    with pytest.raises(TransactionTimeoutError) as told, con.transaction(timeout=0.05):
        con.execute("insert into t values (1)")
        con.execute(endless).fetchall()
    assert (told.value.code, told.value.is_retryable) == ("TXN_TIMEOUT", True)
    assert (con.in_transaction, count(con), con.lsn) == (False, 0, 1)


def test_nothing_committed_takes_no_lsn(con: Any) -> None:
    con.execute("begin immediate")
    con.commit()
    con.execute("begin immediate")
    con.execute("insert into t values (1)")
    con.rollback()
    con.execute("delete from t where x = 1")
    con.commit()
    assert con.lsn == 1


@pytest.mark.parametrize("sql", ["restore to lsn 1", "restore table t to lsn 1", "compact history"])
def test_what_needs_the_whole_branch_is_refused_inside_a_transaction(con: Any, sql: str) -> None:
    con.execute("begin immediate")
    with pytest.raises(UncommittedChangesError, match="cannot run inside a transaction") as told:
        con.execute(sql)
    assert told.value.code == "UNCOMMITTED_CHANGES"
    con.rollback()
    con.execute(sql)


WRITES_OF_OURS = (
    "create branch other",
    "checkout branch if not exists other",
    "alter branch dev rename to other",
    "alter branch dev protect",
    "drop branch dev",
    "hydrate branch dev",
    "drop snapshot s",
    "create snapshot other",
    "restore to lsn 1",
    "restore branch dev to lsn 1",
    "restore table t to lsn 1",
    "compact history",
    "merge branch dev",
    "revert lsn 1",
    "rebase branch dev",
)


@pytest.mark.parametrize("how", ["opened so", "set so", "a block"])
def test_our_statements_do_not_write_where_nothing_may(con: Any, path: str, how: str) -> None:
    con.execute("create branch dev")
    con.execute("create snapshot s")
    before = con.execute("show branches").fetchall()
    with contextlib.closing(dosql_dbapi.connect(path, read_only=how == "opened so")) as reader:
        if how == "set so":
            reader.execute("set transaction read only")
        with reader.transaction(read_only=True) if how == "a block" else contextlib.nullcontext():
            for statement in WRITES_OF_OURS:
                with pytest.raises(ReadOnlyMomentError):
                    reader.execute(statement)
            assert reader.execute("show branches").fetchall() == before
        assert len(reader.execute("show snapshots").fetchall()) == 1
    assert con.execute("show branches").fetchall() == before


def test_a_connection_to_the_past_changes_nothing_but_may_fork(con: Any, path: str) -> None:
    con.execute("insert into t values (1)")
    con.commit()
    con.execute("create branch dev")
    con.execute("create snapshot s")
    with contextlib.closing(dosql_dbapi.connect(path, as_of=1)) as past:
        for statement in WRITES_OF_OURS:
            if not statement.startswith(("create", "checkout")):
                with pytest.raises(ReadOnlyMomentError):
                    past.execute(statement)
        past.execute("create branch before")
        past.execute("create snapshot at_first")
    assert con.execute("select count(*) from t as of branch before").fetchone() == (0,)
    assert con.execute("select count(*) from t as of snapshot at_first").fetchone() == (0,)
    assert count(con) == 1


def test_what_was_opened_to_be_read_stays_so(con: Any, path: str) -> None:
    with contextlib.closing(dosql_dbapi.connect(path, read_only=True)) as reader:
        for statement in ("set transaction read write", "pragma query_only = 0"):
            with pytest.raises(ReadOnlyMomentError, match="opened read-only") as told:
                reader.execute(statement)
        with pytest.raises(ReadOnlyMomentError) as told:
            reader.execute("insert into t values (1)")
        assert "SET TRANSACTION" not in told.value.hint
        reader.execute("set transaction read only")
    assert count(con) == 0


def test_a_pragma_that_would_cost_the_history_is_refused(con: Any) -> None:
    before = con.execute("pragma writable_schema").fetchall()
    with pytest.raises(NotSupportedError, match="writable_schema"):
        con.execute("pragma writable_schema = on")
    assert con.execute("pragma writable_schema").fetchall() == before


@pytest.mark.parametrize(
    ("pragma", "in_force"),
    [("journal_mode = delete", "wal"), ("locking_mode = exclusive", "normal")],
)
def test_a_mode_that_would_cost_the_history_stays_as_it_is(
    con: Any, pragma: str, in_force: str
) -> None:
    assert con.execute(f"pragma {pragma}").fetchall() == [(in_force,)]
    assert con.execute(f"pragma {pragma.partition(' ')[0]}").fetchall() == [(in_force,)]

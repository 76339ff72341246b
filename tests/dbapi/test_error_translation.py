"""Every error the kernel can raise has one of ours, and what SQLite refuses keeps SQLite's code."""

from __future__ import annotations

import pickle
import sqlite3

import apsw
import pytest

import dosql_dbapi
from dosql_core import errors
from dosql_core.errors import Error
from dosql_core.identifiers import Lsn
from dosql_core.kernel.error_translation import PEP_249_CLASS, translate

PEP_249 = {
    name: getattr(dosql_dbapi, name)
    for name in (
        "DataError",
        "DatabaseError",
        "Error",
        "IntegrityError",
        "InterfaceError",
        "InternalError",
        "NotSupportedError",
        "OperationalError",
        "ProgrammingError",
    )
}


def test_every_apsw_error_has_a_pep_249_class():
    raised = {
        error
        for error in vars(apsw).values()
        if isinstance(error, type) and issubclass(error, apsw.Error)
    }
    assert raised - {apsw.Error} == set(PEP_249_CLASS)
    assert all(issubclass(ours, Error) for ours in PEP_249_CLASS.values())


@pytest.mark.parametrize("raised", PEP_249_CLASS, ids=lambda raised: raised.__name__)
def test_an_apsw_error_is_translated_with_its_message(raised):
    ours = translate(raised("what happened"))
    if raised is apsw.NoMemError:
        assert type(ours) is MemoryError  # as in the standard library
        return
    assert isinstance(ours, PEP_249_CLASS[raised])
    assert str(ours) == "what happened"
    assert ours.code and type(ours.is_retryable) is bool


@pytest.mark.parametrize("name", PEP_249)
def test_the_classes_are_sqlite3s_too_and_the_connections(name):
    error = PEP_249[name]
    assert error is getattr(errors, name)
    assert issubclass(error, getattr(sqlite3, name))
    assert getattr(dosql_dbapi.Connection, name) is error
    assert issubclass(error, dosql_dbapi.Error)


@pytest.fixture
def con(tmp_path):
    connection = dosql_dbapi.connect(tmp_path / "app.db", isolation_level=None, timeout=0)
    connection.execute("create table t(n)")
    yield connection
    connection.close()


def refusal(call):
    with pytest.raises(dosql_dbapi.Error) as raised:
        call()
    error = raised.value
    assert error.sqlite_errorcode == getattr(dosql_dbapi, error.sqlite_errorname)
    assert isinstance(error.__cause__, (Exception, type(None)))
    return type(error), error.sqlite_errorname, error.code, error.is_retryable


def test_a_database_that_others_write_is_locked(con, tmp_path):
    other = dosql_dbapi.connect(tmp_path / "app.db", isolation_level=None)
    other.execute("begin immediate")
    locked = (errors.DatabaseLockedError, "SQLITE_BUSY", "TXN_LOCK_TIMEOUT", True)
    assert refusal(lambda: con.execute("insert into t values (1)")) == locked
    other.close()


def test_a_transaction_whose_snapshot_is_old_cannot_write(con, tmp_path):
    other = dosql_dbapi.connect(tmp_path / "app.db", isolation_level=None)
    con.execute("begin")
    con.execute("select * from t").fetchall()
    other.execute("insert into t values (1)")
    assert refusal(lambda: con.execute("insert into t values (2)")) == (
        errors.SerializationFailure,
        "SQLITE_BUSY_SNAPSHOT",
        "TXN_SERIALIZATION_FAILURE",
        True,
    )
    other.close()


def test_a_table_that_is_read_cannot_be_dropped(con):
    con.execute("insert into t values (1), (2)")
    half_read = con.execute("select n from t")
    locked = (errors.TableLockedError, "SQLITE_LOCKED", "TXN_LOCK_FAILED", False)
    assert refusal(lambda: con.execute("drop table t")) == locked
    half_read.close()


def test_an_interrupted_statement_says_so(con):
    con.create_function("stop", 0, con.interrupt)
    sql = (
        "with recursive n(i) as (select stop() union all select i + 1 from n) select max(i) from n"
    )
    interrupted = (errors.InterruptedStatementError, "SQLITE_INTERRUPT", "STMT_INTERRUPTED", True)
    assert refusal(lambda: con.execute(sql)) == interrupted


def test_an_authorizer_denies(con):
    con.set_authorizer(lambda *_asked: dosql_dbapi.SQLITE_DENY)
    denied = (errors.AccessDeniedError, "SQLITE_AUTH", "DB_NOT_AUTHORIZED", False)
    assert refusal(lambda: con.execute("select * from t")) == denied


def test_a_read_only_connection_cannot_write(con, tmp_path):
    other = dosql_dbapi.connect(tmp_path / "app.db", read_only=True, isolation_level=None)
    read_only = (errors.ReadOnlyMomentError, "SQLITE_READONLY", "DB_READ_ONLY", False)
    assert refusal(lambda: other.execute("insert into t values (1)")) == read_only
    other.close()


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "letter.txt").write_text("Dear reader, " * 100)
    with pytest.raises(dosql_dbapi.DatabaseError) as raised:
        dosql_dbapi.connect(tmp_path / "letter.txt")
    assert raised.value.code == "DB_NOT_A_DATABASE"
    assert raised.value.hint


def test_an_error_can_be_told_as_json_and_to_a_user(con):
    with pytest.raises(dosql_dbapi.Error) as raised:
        con.execute("select * from nowhere")
    told = raised.value.to_json()
    assert told["error"] == "OperationalError"
    assert told["message"] == "no such table: nowhere"
    assert told["sqlite_errorname"] == "SQLITE_ERROR"
    assert raised.value.to_user_message().startswith("no such table: nowhere\nhint: look the name")


def test_errors_travel_between_processes(con):
    with pytest.raises(dosql_dbapi.Error) as raised:
        con.execute("select * from nowhere")
    others = (
        errors.HistoryExpiredError(Lsn(3), Lsn(5), "then"),
        errors.MissingExtraError("this", "that"),
    )
    for error in (raised.value, *others):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert (again.code, again.hint) == (error.code, error.hint)
        assert again.to_json().keys() == error.to_json().keys()


def test_an_error_holds_no_statement(con):
    """The traceback leads to the cursor; the statement must be over even so."""
    con.execute("insert into t values (1), (2)")
    con.create_function("fails", 1, lambda value: 1 // 0 if value == 2 else value)
    kept = []
    try:
        con.execute("select fails(n) from t").fetchall()
    except dosql_dbapi.OperationalError as error:
        kept.append(error)
    con.execute("drop table t")
    assert kept


@pytest.mark.parametrize(
    ("sql", "parameters", "hint"),
    [
        ("select * from t as of lsn ?", (), "one value for each parameter"),
        ("select * from t as of lsn :n", {}, "every :name"),
        ("select * from t as of lsn ?", {"n": 1}, "every ?"),
        ("select ?", {1}, "give a sequence"),
        ("drop index nosuch", (), "PRAGMA index_list"),
        ("select 'a' < 'b' collate nosuch", (), "create_collation"),
        (" union all ".join(["select 1 from t as of lsn {}"] * 130), (), "in another statement"),
    ],
)
def test_a_mistake_comes_with_a_hint(con, sql, parameters, hint):
    for number in range(sql.count("{}")):
        con.execute("insert into t values (?)", (number,))
        con.commit()
    moments = range(con.lsn, con.lsn - sql.count("{}"), -1)
    with pytest.raises(dosql_dbapi.Error) as told:
        con.execute(sql.format(*moments), parameters)
    assert hint in told.value.hint

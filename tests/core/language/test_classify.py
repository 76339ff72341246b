"""What a text is, told by its first words."""

from __future__ import annotations

from typing import Any

import pytest

from dosql_core.errors import ProgrammingError
from dosql_core.language.classify import Pragma, StatementKind, classify

K = StatementKind

KINDS = [
    (K.SELECT, "select 1"),
    (K.SELECT, "SELECT 'insert' returning_ "),
    (K.SELECT, "  /* c */ -- d\n ;; Select 1"),
    (K.SELECT, "\ufeffselect 1"),
    (K.SELECT, "values (1), (2)"),
    (K.SELECT, "with c as (select 1) select * from c"),
    (K.SELECT, "with c as (select 'delete') select * from c -- update"),
    (K.SELECT, "with c(update_) as (select 1), replace as (select 2) select replace(1, 2, 3)"),
    (K.SELECT, "with replace(x) as (select 2) select * from replace"),
    (K.SELECT, "with c as (select 1), [insert] as materialized (select 2) values (1)"),
    (K.SELECT, "select"),
    (K.DML, "insert into t values (1)"),
    (K.DML, "INSERT OR REPLACE INTO t DEFAULT VALUES"),
    (K.DML, "replace into t values (1)"),
    (K.DML, "update t set x = 1"),
    (K.DML, "delete from t"),
    (K.DML, "delete"),
    (K.DML, "with c as (select 1) insert into t select * from c"),
    (K.DML, "WITH RECURSIVE c(x) AS NOT MATERIALIZED (SELECT 1), d AS (SELECT 2) DELETE FROM t"),
    (K.DML, "with replace as (select 1) replace into t select * from replace"),
    (K.DML, "with c as (values (')')) update t set x = 1"),
    (K.BEGIN, "begin"),
    (K.COMMIT, "commit transaction"),
    (K.COMMIT, "END"),
    (K.ROLLBACK, "rollback;"),
    (K.ROLLBACK, "rollback transaction"),
    (K.SAVEPOINT, "savepoint a"),
    (K.RELEASE, "release a"),
    (K.ROLLBACK_TO, "rollback to a"),
    (K.DDL, "create table t(x)"),
    (K.DDL, "create table branch(snapshot)"),
    (K.DDL, "create unique index branch on snapshot(x)"),
    (K.DDL, "drop table snapshot"),
    (K.DDL, "alter table branch add column x"),
    (K.DDL, "reindex"),
    (K.DDL, "analyze t"),
    (K.PRAGMA, "pragma foreign_keys"),
    (K.ATTACH, "attach 'x.db' as x"),
    (K.DETACH, "detach x"),
    (K.VACUUM, "vacuum into 'x'"),
    (K.EXPLAIN, "explain query plan select 1"),
    (K.DML, "delete from branch where snapshot"),
    (K.COMMAND, "create branch dev"),
    (K.COMMAND, " ; -- c\n CREATE /**/ SNAPSHOT 'x';"),
    (K.EMPTY, ""),
    (K.EMPTY, " \n;; -- nothing\n/* at all"),
    (K.OTHER, "selects 1"),
    (K.OTHER, "(select 1)"),
    (K.OTHER, "'select'"),
    (K.OTHER, "foo"),
    (K.OTHER, "12"),
    (K.OTHER, "grüße"),
    (K.OTHER, "ſelect 1"),
    (K.OTHER, "\0"),
]


@pytest.mark.parametrize(("kind", "sql"), KINDS)
def test_a_statement_is_known_by_its_first_words(kind: StatementKind, sql: str) -> None:
    statement = classify(sql)
    assert statement.kind is kind
    assert statement.text is sql
    assert statement.tail == ""


@pytest.mark.parametrize("kind", K)
def test_every_kind_is_shown_once(kind: StatementKind) -> None:
    assert kind in {shown for shown, _ in KINDS}


TAILS = [
    ("select 1; select 2", "select 1;", " select 2"),
    ("select 1; -- c", "select 1;", ""),
    ("select 1; /* open", "select 1;", ""),
    ("; select 1;;; select 2; select 3", "; select 1;", ";; select 2; select 3"),
    ("select ';'; ;; x", "select ';';", " ;; x"),
    ("create branch x; select 2", "create branch x;", " select 2"),
    ("begin; insert into t values (1); commit", "begin;", " insert into t values (1); commit"),
    ("create trigger r before delete on t begin select 1; select 2; end; x",
     "create trigger r before delete on t begin select 1; select 2; end;", " x"),
    ("select 1; 'open", "select 1;", " 'open"),
    ("0;0", "0;", "0"),
    ("select 1;\v", "select 1;", "\v"),  # a \v is blank behind another blank only
    ("select 1; \v;", "select 1;", ""),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "text", "tail"), TAILS)
def test_a_second_statement_is_the_tail(sql: str, text: str, tail: str) -> None:
    statement = classify(sql)
    assert (statement.text, statement.tail) == (text, tail)


@pytest.mark.parametrize(
    "sql",
    ["select 1;", "select 1 ; \n", "select ';'", "select ';';", "select 'open;", "select 1;;; ;"],
)
def test_a_single_statement_comes_back_as_the_same_object(sql: str) -> None:
    assert classify(sql).text is sql


RETURNING = [
    ("insert into t values (1) returning x", True),
    ("INSERT INTO t VALUES (1) RETURNING(x)", True),
    ("delete from t where 'returning' returning\n*", True),
    ("with c as (select 1) update t set x = 1 returning 1", True),
    ("insert into İ values ('returning') returning x", True),
    ("insert into İ values ('returning')", False),
    ("insert into t values ('x returning y')", False),
    ('insert into t("returning") values (1)', False),
    ("insert into t values (1) -- returning x", False),
    ("insert into t values (1) /* returning x", False),
    ("insert into returning_ values (1)", False),
    ("insert into t(a$returning) values (1)", False),
    ("insert into t values (:returning)", False),
    ("insert into t values ($a::returning)", False),
    ("create table t(returning_)", False),
    ("select 'returning'", False),
]


@pytest.mark.parametrize(("sql", "has_returning"), RETURNING)
def test_returning_counts_only_as_a_clause(sql: str, has_returning: bool) -> None:
    assert classify(sql).has_returning is has_returning


TRANSACTIONS: list[tuple[str, dict[str, Any]]] = [
    ("begin", {"begin_mode": None}),
    ("begin transaction", {"begin_mode": None}),
    ("BEGIN DEFERRED", {"begin_mode": "deferred"}),
    ("/**/begin/**/immediate transaction;", {"begin_mode": "immediate"}),
    ("begin exclusive", {"begin_mode": "exclusive"}),
    ("savepoint a", {"savepoint": "a"}),
    ('savepoint "a ""b"', {"savepoint": 'a "b'}),
    ("savepoint savepoint", {"savepoint": "savepoint"}),
    ("savepoint", {"savepoint": None}),
    ("release [a b];", {"savepoint": "a b"}),
    ("release savepoint a", {"savepoint": "a"}),
    ("release savepoint", {"savepoint": "savepoint"}),
    ("rollback to 'a'", {"savepoint": "a"}),
    ("rollback transaction to savepoint a -- c", {"savepoint": "a"}),
    ("rollback to", {"savepoint": None}),
]


@pytest.mark.parametrize(("sql", "fields"), TRANSACTIONS)
def test_transactions_tell_their_mode_and_name(sql: str, fields: dict[str, Any]) -> None:
    statement = classify(sql)
    assert {name: getattr(statement, name) for name in fields} == fields


PRAGMAS = [
    ("pragma foreign_keys", Pragma(None, "foreign_keys", None)),
    ("PRAGMA Foreign_Keys;", Pragma(None, "foreign_keys", None)),
    ("pragma main.cache_size = -2000", Pragma("main", "cache_size", "-2000")),
    ("pragma cache_size=+5;", Pragma(None, "cache_size", "+5")),
    ("pragma journal_mode = 'wal'", Pragma(None, "journal_mode", "wal")),
    ("pragma journal_mode(delete)", Pragma(None, "journal_mode", "delete")),
    ('pragma "aux".table_info("a ""b") ; ', Pragma("aux", "table_info", 'a "b')),
    ("pragma wal_checkpoint(truncate) -- c", Pragma(None, "wal_checkpoint", "truncate")),
    ("pragma synchronous =", Pragma(None, "synchronous", None)),
    ("pragma", None),
]


@pytest.mark.parametrize(("sql", "pragma"), PRAGMAS)
def test_a_pragma_tells_what_it_names(sql: str, pragma: Pragma | None) -> None:
    assert classify(sql).pragma == pragma


def test_the_tail_of_a_statement_is_not_looked_at() -> None:
    statement = classify("select 1; select * from t as of lsn; create branch")
    assert statement.as_of is None
    with pytest.raises(ProgrammingError):
        classify(statement.tail)

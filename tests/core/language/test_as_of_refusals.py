"""Where AS OF may not stand, and what the error says about it."""

from __future__ import annotations

import apsw
import pytest

from dosql_core.errors import TimeTravelSyntaxError
from dosql_core.language.classify import StatementKind, classify

REFUSED = [
    # sql, column of the place named, words of the message, words of the hint
    ("insert into t for system_time as of lsn 1 values (1)", 15, "cannot be written", "read"),
    ("insert into t as x as of lsn 1 select 1", 20, "cannot be written", "read"),
    ("replace into t as of lsn 1 values (1)", 16, "cannot be written", "read"),
    ("update t as of lsn 1 set x = 1", 10, "cannot be written", "read"),
    ("update or replace t as u for system_time as of lsn 1 set x = 1", 26, "cannot be", "read"),
    ("delete from main.t as of lsn 1 where x", 20, "cannot be written", "read"),
    ("with c as (select 1) delete from t as of lsn 1", 36, "cannot be written", "read"),
    ("explain delete from t as of lsn 1", 23, "cannot be written", "read"),
    ("select * from (select 1) as of lsn 1", 26, "a subquery", "each table inside"),
    ("select * from (select 1) s as of lsn 1", 28, "a subquery", "each table inside"),
    ("select * from (select 1) as s for system_time as of lsn 1", 31, "a subquery", "each table"),
    ("select * from (values (1)) as of lsn 1", 28, "a subquery", "each table"),
    ("select * from (with c as (select 1) select * from c) as of lsn 1", 54, "a subquery", "each"),
    ("select * from (t join u) as of lsn 1", 26, "a join in parentheses", "each table"),
    ("select * from json_each('[]') as of lsn 1", 31, "table-valued function", "computed"),
    ("select * from main.generate_series(1, 2) g as of lsn 1", 44, "table-valued", "computed"),
    ("select 1 in json_each('[]') as of lsn 1", 29, "table-valued", "computed"),
    ("with c as (select 1) select * from c as of lsn 1", 36, "common table expression", "reads"),
    ("with c as (select * from d as of lsn 1), d as (select 1) select 1", 26, "common", "reads"),
    ("select * from (with c as (select 1) select * from (select * from C as of lsn 1))", 66,
     "common table", "reads"),
    ("with recursive c(x) as (select 1 union select * from c as of lsn 1) select 1", 54,
     "common table", "reads"),
    ("create view v as select * from t as of lsn 1", 34, "a view", "behind the view's name"),
    ("create temp view if not exists v as select * from t for system_time as of lsn 1", 53,
     "a view", "behind the view's name"),
    ("create trigger r after insert on t begin select * from t as of lsn 1; end", 58,
     "a trigger", "pass the value"),
    ("select * from temp.t as of lsn 1", 15, "temporary tables", "real table"),
    ("select * from dosql_log as of lsn 1", 15, "log of all moments", "compare its lsn"),
    ("select * from aux1.t as of lsn 1", 15, "aux1 is not the database", "by itself"),
    ("select x as of lsn 1 from t", 10, "does not follow a table", "right behind"),
    ("select * from t where x as of lsn 1", 25, "does not follow a table", "right behind"),
    ("select * from t order by x for system_time as of lsn 1", 28, "does not follow", "right"),
    ("select (select 1) as of lsn 1", 19, "does not follow a table", "right behind"),
    ("create index i on t(x) where x as of lsn 1", 32, "does not follow a table", "right"),
    ("select * from t as of lsn 1 as of lsn 2", 29, "t has a moment already", "one moment"),
    ("select * from t as of lsn", 26, "lsn needs a value, found the end", "LSN n"),
    ("select * from t as of lsn where x", 27, "lsn needs a value, found where", "LSN n"),
    ("select * from t as of lsn, u", 26, "lsn needs a value, found ,", "LSN n"),
    ("select * from t as of lsn 5 +", 30, "+ needs a value, found the end", "LSN n"),
    ("select * from t as of branch", 29, "branch needs a value", "BRANCH 'name'"),
    ("select * from t as of snapshot join u", 32, "snapshot needs a value, found join", "LSN n"),
    ("select * from t as of timestamp x", 33, "the name x", "cannot depend on columns"),
    ('select * from t as of timestamp "2026-01-01"', 33, 'the name "2026', "single quotes"),
    ("select * from t for system_time as of", 38, "AS OF needs a value", "LSN n"),
    ("select * from t for system_time as of yesterday", 39, "yesterday is no moment", "LSN n"),
    ("select * from t for system_time as of lsm 5", 39, "lsm is no moment", "LSN n"),
    ("select * from t for system_time", 32, "followed by the end", "LSN n"),
    ("select * from t for system_time at lsn 5", 33, "followed by at", "LSN n"),
    ("select * from t for system_time as lsn 5", 33, "followed by as", "LSN n"),
    ("select * from t for system time as of lsn 5", 17, "FOR system is not", "FOR SYSTEM_TIME"),
    ("select * from t for systemtime as of lsn 5", 17, "FOR systemtime is not", "FOR SYSTEM_TIME"),
    ("select * from t for version as of 5", 17, "FOR version is not known", "FOR SYSTEM_TIME"),
    ("select * from t as of 5", 17, "does not say what", "LSN n"),
    ("select * from t as of '2026-01-01'", 17, "does not say what", "FOR SYSTEM_TIME"),
    ("select * from t u as of ?", 19, "does not say what", "LSN n"),
    ("select * from t as of branch feature/login", 30, "holds /", "'feature/...'"),
    ("select * from t as of branch release-2", 30, "holds -", "quotes"),
    ("select * from t as of branch a branch b", 32, "cannot be another branch", "one branch"),
    ("select * from t as of lsn case 1 when 1 then 2", 27, "no END", "LSN n"),
    ("select * from t as of lsn (select x from t as of lsn 1)", 44, "a moment cannot itself",
     "parameter"),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "column", "message", "hint"), REFUSED)
def test_a_misplaced_or_misspelt_moment_is_refused(
    sql: str, column: int, message: str, hint: str
) -> None:
    with pytest.raises(TimeTravelSyntaxError) as caught:
        classify(sql)
    assert str(caught.value).startswith(f"line 1, column {column}: ")
    assert message in str(caught.value)
    assert hint in caught.value.hint
    assert caught.value.code == "TT_INVALID_SYNTAX"


@pytest.mark.parametrize(("sql", "column", "message", "hint"), REFUSED)
def test_what_we_refuse_is_no_sql_of_sqlite(sql: str, column: int, message: str, hint: str) -> None:
    """So nothing that works without us stops working because of us."""
    connection = apsw.Connection("")
    connection.execute("create table t(x); create table u(x); create table C(x)")
    with pytest.raises(apsw.SQLError, match=r"syntax error|incomplete input"):
        connection.execute(sql, (1,) * sql.count("?"))


def test_the_place_counts_lines() -> None:
    with pytest.raises(TimeTravelSyntaxError, match=r"^line 3, column 18: "):
        classify("select *\nfrom t\n  /*x*/ as of lsn")


# Texts that come close to our syntax and are SQLite's own, or nobody's: they must pass unchanged.
NOT_OURS = [
    "select * from t as of",
    "select of.x from t as of where of.x",
    "select * from t of, t as lsn",
    "select * from t for",
    "select x for, x system_time, x of from t",
    "select * from t as of left join t as branch",
    "select * from t as of, u as timestamp",
    "select * from t as of cross join u",
    "select * from t system_time, u as for",
    "select x as of from t as of order by of",
    "select x as of, x as lsn from t",
    "create table v(a, for system_time as (a))",
    "create table w(as_of, system_time, lsn)",
    "create trigger r after update of x on t begin select x as of from t; end",
    "create trigger r instead of insert on v begin select 1; end",
    "insert into t as of select * from t where true on conflict do nothing",
    "insert into t as of values (1)",
    "update t as of set x = of.x",
    "delete from t as of where of.x = 1",
    "with of as (select 1) select * from of as system_time",
    "with system_time as of (select 1) select 1",
    "select 'for system_time as of lsn 1' from t",
    "select * from t -- for system_time as of lsn 1",
    "select * from t /* as of lsn 1 */ where 1",
    'select "as of lsn 1" from t as "for system_time as of lsn 1"',
    "select [as of lsn 1], `as of lsn 1` from t",
    "select x'ff', 'as of lsn 5' as of from t",
    "select * from t where x is distinct from x as of",
    "select * from t for system_time_ as of",
    "select $as::of(lsn) from t as of",
    "select * from t window w as (order by x), of as (order by x)",
    "create virtual table v using fts5(x for system_time as of lsn 5)",
    "pragma table_info('t for system_time as of lsn 5')",
    "selct * from t for system_time as of lsn 5",
    "select * from (select 1",
    "select * from t, , as of",
    "select ) from t as of",
    "select * from for system_time_as of",
]


@pytest.mark.parametrize("sql", NOT_OURS)
def test_what_only_looks_like_ours_is_left_to_sqlite(sql: str) -> None:
    statement = classify(sql)
    assert statement.as_of is None
    assert statement.text is sql
    assert statement.kind is not StatementKind.COMMAND

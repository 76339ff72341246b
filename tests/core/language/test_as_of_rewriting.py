"""AS OF queries, rewritten and run by SQLite against attached databases that play the past.

Each case is a query in our SQL beside the same query as one would write it by hand, naming the
attached schema; both must give the same rows. The past here is fixed: a moment is looked up in
`MOMENTS`, and each schema holds the same tables with its own numbers in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from dosql_core.language.as_of import AsOfQuery, Clause
from dosql_core.language.classify import classify
from dosql_core.language.moments import MomentClause

MOMENTS = {
    ("LSN", 1): "lsn_1",
    ("LSN", 2): "lsn_2",
    ("LSN", -3): "three_back",
    ("LSN", "-3"): "three_back",
    ("TIMESTAMP", "2026-11-23 10:00:00"): "at_ten",
    ("TIMESTAMP", "-1 hour"): "hour_ago",
    ("SNAPSHOT", "x"): "snapshot_x",
    ("SNAPSHOT", "main@5"): "snapshot_x",
    ("BRANCH", "dev"): "dev",
    ("BRANCH", "feature/login"): "dev",
    ("BRANCH", "dev", "LSN", 5): "dev_5",
    ("BRANCH", "dev", "TIMESTAMP", "2026-11-23 10:00:00"): "dev_5",
    ("BRANCH", "dev", "SNAPSHOT", "x"): "dev_5",
}

TABLES = """
    create table {schema}.account(id integer primary key, owner text, balance real);
    insert into {schema}.account
        values (1, 'ann', {n}), (2, 'bob', {n} + 1), ({n} + 10, 'new', {n} + 2);
    create index {schema}.by_owner on account(owner);
    create view {schema}.rich as select * from account where balance > {n};
    create table {schema}.side(id integer, note text);
    insert into {schema}.side values (1, 'one of {n}'), (2, 'two of {n}');
    create table {schema}."odd ""name"(x); insert into {schema}."odd ""name" values ({n});
    create table {schema}.system_time(x); insert into {schema}.system_time values ({n});
    create table {schema}.of(x); insert into {schema}.of values ({n});
    create table {schema}.lsn(x); insert into {schema}.lsn values ({n});
    create table {schema}.branch(x); insert into {schema}.branch values ({n});
    create table {schema}.[for](x); insert into {schema}.[for] values ({n});
    create table {schema}.with_(x); insert into {schema}.with_ values ({n});
"""


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[apsw.Connection]:
    """main, and beside it every schema that plays a moment."""
    opened = apsw.Connection(str(tmp_path / "main.db"))
    opened.execute("pragma journal_mode = off; pragma synchronous = off")
    opened.execute(TABLES.format(schema="main", n=100))
    for number, schema in enumerate(dict.fromkeys(MOMENTS.values()), 1):
        opened.execute("attach ? as " + schema, (str(tmp_path / f"{schema}.db"),))
        opened.execute(f"pragma {schema}.journal_mode = off; pragma {schema}.synchronous = off")
        opened.execute(TABLES.format(schema=schema, n=number))
    yield opened
    opened.close()


def schema_of(connection: apsw.Connection, clause: Clause, values: tuple[Any, ...]) -> str:
    """The schema that plays a moment, its value evaluated by SQLite itself."""
    assert isinstance(clause, MomentClause)
    key: tuple[Any, ...] = ()
    moment: MomentClause | None = clause
    while moment is not None:
        own, values = values[: len(moment.parameters)], values[len(moment.parameters) :]
        evaluated = connection.execute(f"select {moment.value_sql}", own).fetchall()[0][0]
        assert moment.literal is None or moment.literal == evaluated
        key += moment.kind.value, evaluated
        moment = moment.inner
    return MOMENTS[key]


def run(connection: apsw.Connection, sql: str, parameters: Any = ()) -> list[Any]:
    statement = classify(sql)
    assert isinstance(statement.as_of, AsOfQuery), "no AS OF found"
    values, remaining = statement.as_of.split_parameters(parameters)
    schemas = [
        schema_of(connection, clause, own)
        for clause, own in zip(statement.as_of.clauses, values, strict=True)
    ]
    return connection.execute(statement.as_of.render(schemas), remaining).fetchall()


READS = [
    # the clause and its alias
    ("select * from account for system_time as of lsn 1", "select * from lsn_1.account"),
    ("select * from account FOR SYSTEM_TIME AS OF LSN 1;", "select * from lsn_1.account"),
    ("select * from account as of lsn 1", "select * from lsn_1.account"),
    (
        "select old.balance from account for system_time as of lsn 1 old",
        "select balance from lsn_1.account",
    ),
    (
        "select old.balance from account for system_time as of lsn 1 as old",
        "select balance from lsn_1.account",
    ),
    (
        "select old.balance from account old for system_time as of lsn 1",
        "select balance from lsn_1.account",
    ),
    (
        "select old.balance from account as old as of lsn 1 where old.id = 1",
        "select balance from lsn_1.account where id = 1",
    ),
    (
        "select account.owner from account for system_time as of lsn 1",
        "select owner from lsn_1.account",
    ),
    (
        "select account.owner from main.account for system_time as of lsn 1",
        "select owner from lsn_1.account",
    ),
    ("select * from MAIN . account as of lsn 1", "select * from lsn_1.account"),
    ("select * from account as of lsn 1 'old'", "select * from lsn_1.account"),
    (
        'select * from"account"for system_time as of lsn\'-3\'"o"',
        "select * from three_back.account",
    ),
    ("select of.balance from account as of as of lsn 1", "select balance from lsn_1.account"),
    ("select * from account as of lsn 1 limit 1", "select * from lsn_1.account limit 1"),
    ("select * from account as of lsn 1 order by id", "select * from lsn_1.account order by id"),
    # comments and layout
    (
        "select * -- all\nfrom account -- the\nfor system_time -- moment\nas of lsn 1 -- one\n"
        "where id = 1",
        "select * from lsn_1.account where id = 1",
    ),
    ("select*from account/**/as/**/of/**/lsn/**/1/**/o", "select * from lsn_1.account"),
    (
        "select 'for system_time as of lsn 2', \"owner\" from account as of lsn 1",
        "select 'for system_time as of lsn 2', owner from lsn_1.account",
    ),
    (
        "select id /* as of lsn 2 */ from account as of lsn 1 -- as of lsn 2",
        "select id from lsn_1.account",
    ),
    # moments
    (
        "select * from account for system_time as of timestamp '2026-11-23 10:00:00'",
        "select * from at_ten.account",
    ),
    (
        "select * from account for system_time as of '2026-11-23 10:00:00'",
        "select * from at_ten.account",
    ),
    (
        "select * from account as of system time '2026-11-23 10:00:00' a",
        "select * from at_ten.account",
    ),
    ("select * from account for system_time as of '-1 hour'", "select * from hour_ago.account"),
    ("select * from account as of version 2", "select * from lsn_2.account"),
    ("select * from account as of lsn -3", "select * from three_back.account"),
    ("select * from account as of lsn - - - 3", "select * from three_back.account"),
    ("select * from account as of lsn 0x2", "select * from lsn_2.account"),
    ("select * from account as of lsn 1 + 1 a", "select * from lsn_2.account"),
    ("select * from account as of lsn (1 + 1) a", "select * from lsn_2.account"),
    ("select * from account as of lsn abs(-2) a", "select * from lsn_2.account"),
    ("select * from account as of lsn cast('2' as integer) a", "select * from lsn_2.account"),
    (
        "select * from account as of lsn case when 1 then case 2 when 2 then 2 end end a",
        "select * from lsn_2.account",
    ),
    ("select * from account as of lsn (select min(2, 3)) a", "select * from lsn_2.account"),
    ("select * from account as of timestamp '-1' || ' hour' a", "select * from hour_ago.account"),
    (
        "select * from account for system_time as of replace('-1 day', 'day', 'hour') a",
        "select * from hour_ago.account",
    ),
    ("select * from account as of snapshot 'x'", "select * from snapshot_x.account"),
    ("select * from account as of snapshot x", "select * from snapshot_x.account"),
    ('select * from account as of snapshot "x" a', "select * from snapshot_x.account"),
    ("select * from account as of snapshot 'main@5' a", "select * from snapshot_x.account"),
    ("select * from account as of branch dev", "select * from dev.account"),
    ("select * from account as of branch 'dev' dev", "select * from dev.account"),
    ("select * from account as of branch [feature/login]", "select * from dev.account"),
    ("select * from account as of branch 'feature/' || 'login' a", "select * from dev.account"),
    ("select * from account as of branch dev lsn 5", "select * from dev_5.account"),
    ("select * from account as of branch dev, lsn 5 a", "select * from dev_5.account"),
    ("select * from account as of branch 'dev' version 5 a", "select * from dev_5.account"),
    (
        "select * from account as of branch dev timestamp '2026-11-23 10:00:00' a",
        "select * from dev_5.account",
    ),
    (
        "select * from account as of branch dev system time '2026-11-23 10:00:00' a",
        "select * from dev_5.account",
    ),
    ("select * from account as of branch dev snapshot x a", "select * from dev_5.account"),
    ("select * from account as of branch dev snapshot 'x' a", "select * from dev_5.account"),
    # words of the clause as names
    ("select lsn.owner from account as of branch dev lsn", "select owner from dev.account"),
    (
        "select * from account as of branch dev lsn join side on side.id = lsn.id",
        "select * from dev.account lsn join side on side.id = lsn.id",
    ),
    (
        "select * from account as of branch dev snapshot left join side using (id)",
        "select * from dev.account left join side using (id)",
    ),
    ("select * from account as of branch dev, lsn", "select * from dev.account, lsn"),
    ("select * from account as of branch dev, lsn l", "select * from dev.account, lsn l"),
    ("select * from system_time as of lsn 1", "select * from lsn_1.system_time"),
    ("select * from of for system_time as of lsn 1", "select * from lsn_1.of"),
    ("select * from lsn as of lsn 1 lsn", "select * from lsn_1.lsn"),
    ("select * from branch as of branch dev branch", "select * from dev.branch"),
    ("select * from for for system_time as of lsn 1", "select * from lsn_1.[for]"),
    ("select of.x of, o.x from of as of, of as of lsn 1 o", "select 100, 1"),
    ('select * from "odd ""name" as of lsn 1', 'select * from lsn_1."odd ""name"'),
    ('select "odd ""name".x from [odd "name] as of lsn 1', 'select * from lsn_1."odd ""name"'),
    # joins
    (
        "select a.balance, o.balance from account a join account for system_time as of lsn 1 o"
        " using (id) where a.balance <> o.balance",
        "select a.balance, o.balance from main.account a join lsn_1.account o using (id)",
    ),
    (
        "select * from account as of lsn 1 a, account as of lsn 2 b where a.id = b.id",
        "select * from lsn_1.account a, lsn_2.account b where a.id = b.id",
    ),
    (
        "select * from account as of lsn 1 natural left outer join side as of lsn 2",
        "select * from lsn_1.account natural left outer join lsn_2.side",
    ),
    (
        "select * from side cross join account as of lsn 1 on account.id = side.id, of as of lsn 2",
        "select * from side cross join lsn_1.account on account.id = side.id, lsn_2.of",
    ),
    (
        "select * from (account as of lsn 1 a join side as of lsn 2 s on a.id = s.id)",
        "select * from lsn_1.account a join lsn_2.side s on a.id = s.id",
    ),
    (
        "select * from ((account as of lsn 1 a), (side s join of as of lsn 2 o))",
        "select * from lsn_1.account a, side s, lsn_2.of o",
    ),
    ("select * from account as of lsn 1, side", "select * from lsn_1.account, side"),
    (
        "select * from account as of lsn 1 a full join of on 1",
        "select * from lsn_1.account full join of on 1",
    ),
    # indexes
    (
        "select * from account as of lsn 1 indexed by by_owner where owner = 'ann'",
        "select * from lsn_1.account where owner = 'ann'",
    ),
    (
        "select * from account as of lsn 1 a not indexed where owner = 'ann'",
        "select * from lsn_1.account where owner = 'ann'",
    ),
    (
        "select * from account a indexed by by_owner as of lsn 1 where owner = 'ann'",
        "select * from lsn_1.account where owner = 'ann'",
    ),
    # subqueries, everywhere
    (
        "select (select max(balance) from account as of lsn 1), max(balance) from account",
        "select (select max(balance) from lsn_1.account), max(balance) from account",
    ),
    (
        "select * from (select * from account as of lsn 1) a join account as of lsn 2 b using (id)",
        "select * from (select * from lsn_1.account) a join lsn_2.account b using (id)",
    ),
    (
        "select * from account where exists (select 1 from account as of lsn 1 o"
        " where o.id = account.id)",
        "select * from account where exists (select 1 from lsn_1.account o"
        " where o.id = account.id)",
    ),
    (
        "select * from account where id not in (select id from account as of lsn 1)",
        "select * from account where id not in (select id from lsn_1.account)",
    ),
    ("select 1 in of as of lsn 1, 100 in of", "select 1, 1"),
    ("select 1 where 1 in main.of as of lsn 1 and 1", "select 1"),
    (
        "select case when id in (select id from side as of lsn 1) then 1 end from account",
        "select case when id in (select id from side) then 1 end from account",
    ),
    (
        "select * from account order by (select x from of as of lsn 1), id limit"
        " (select x from of as of lsn 1)",
        "select * from account order by id limit 1",
    ),
    (
        "select count(*) from account group by (select x from of as of lsn 1)"
        " having count(*) > (select x from of as of lsn 1)",
        "select 3",
    ),
    ("select 1 is distinct from x from of as of lsn 1", "select 0"),
    ("select 1 is not distinct from (select x from of as of lsn 1)", "select 1"),
    (
        "select sum(x) over w, 5 from of as of lsn 2 window w as (order by x), v as (order by x)",
        "select x, 5 from lsn_2.of",
    ),
    ("values ((select x from of as of lsn 2))", "select 2"),
    # compounds and WITH
    (
        "select x from of as of lsn 1 union all select x from of as of lsn 2 union all"
        " select x from of",
        "values (1), (2), (100)",
    ),
    ("select x from of as of lsn 1 except select 2 order by 1", "select 1"),
    (
        "with c as (select * from account as of lsn 1), d(a, b) as materialized"
        " (select x, x from of as of lsn 2) select * from c, d",
        "select a.*, 2, 2 from lsn_1.account a",
    ),
    (
        "with recursive n(i) as (select x from of as of lsn 1 union all select i + 1 from n"
        " where i < 4) select * from n",
        "values (1), (2), (3), (4)",
    ),
    (
        "with of as (select 5 x) select * from main.of as of lsn 1, of",
        "select 1, 5",
    ),
    (
        "select (with of as (select 5 x) select x from of), x from of as of lsn 1",
        "select 5, 1",
    ),
    (
        "select * from (with c as (select x from of as of lsn 1) select * from c) join of",
        "select 1, 100",
    ),
    ("with replace as (select 1) select * from replace, of as of lsn 2", "select 1, 2"),
    # views, the schema, functions beside them
    ("select * from rich as of lsn 1", "select * from lsn_1.rich"),
    (
        "select name from sqlite_schema as of lsn 1 where type = 'view'",
        "select 'rich'",
    ),
    (
        "select value, x from json_each('[7]'), of as of lsn 1",
        "select 7, 1",
    ),
    (
        "select value, x from of as of lsn 1 o join json_each(json_array(o.x)) as j",
        "select 1, 1",
    ),
]


@pytest.mark.parametrize(("sql", "by_hand"), READS)
def test_a_query_reads_the_schema_of_its_moment(
    connection: apsw.Connection, sql: str, by_hand: str
) -> None:
    expected = connection.execute(by_hand).fetchall()
    assert expected
    assert run(connection, sql) == expected


WRITES = [
    (
        "insert into side select id, owner from account as of lsn 1 where id < 3",
        "select * from side",
        [(1, "one of 100"), (2, "two of 100"), (1, "ann"), (2, "bob")],
    ),
    (
        "insert into side as s select id, owner from account as of lsn 1 where id = 1"
        " on conflict do nothing",
        "select count(*) from side",
        [(3,)],
    ),
    (
        "insert into side with c as (select x from of as of lsn 2) select x, 'new' from c",
        "select * from side where note = 'new'",
        [(2, "new")],
    ),
    (
        "insert into side(id) values ((select x from of as of lsn 2)) returning id",
        "select count(*) from side",
        [(3,)],
    ),
    (
        "replace into account select * from account as of lsn 2",
        "select balance from account where id <= 2",
        [(2.0,), (3.0,)],
    ),
    (
        "with c as (select * from of as of lsn 2) insert into of select * from c",
        "select * from of",
        [(100,), (2,)],
    ),
    (
        "insert into account values (1, 'x', 0) on conflict (id) do update"
        " set balance = (select x from of as of lsn 2), owner = 'y'",
        "select owner, balance from account where id = 1",
        [("y", 2.0)],
    ),
    (
        "update account set balance = (select balance from account as of lsn 1 o"
        " where o.id = account.id) where id <= 2",
        "select balance from account where id <= 2",
        [(1.0,), (2.0,)],
    ),
    (
        "update or ignore account as a set balance = o.balance, owner = 'z'"
        " from account as of lsn 1 as o, side where o.id = a.id",
        "select owner, balance from account where id <= 2",
        [("z", 1.0), ("z", 2.0)],
    ),
    (
        "delete from account where id in (select id from account for system_time as of lsn 1)",
        "select id from account",
        [(110,)],
    ),
    (
        "create table copy as select * from account for system_time as of lsn 1",
        "select balance from copy",
        [(1.0,), (2.0,), (3.0,)],
    ),
    (
        "create temp table if not exists copy as with c as (select x from of as of lsn 2)"
        " select * from c",
        "select * from copy",
        [(2,)],
    ),
]


@pytest.mark.parametrize(("sql", "check", "expected"), WRITES)
def test_a_write_may_read_the_past(
    connection: apsw.Connection, sql: str, check: str, expected: list[Any]
) -> None:
    run(connection, sql)
    assert connection.execute(check).fetchall() == expected


def test_an_explained_query_is_rewritten_too(connection: apsw.Connection) -> None:
    plan = run(connection, "explain query plan select * from account as of lsn 1 o where o.id = 1")
    assert "o" in plan[0][3]


def test_everything_around_a_reference_stays_as_it_was() -> None:
    sql = "select  a . x ,\n\t[b]from main.[t t]  AS OF LSN 1  as  q\n where 'x' -- end"
    as_of = classify(sql).as_of
    assert as_of is not None
    rendered = as_of.render(["past"])
    assert rendered == 'select  a . x ,\n\t[b]from "past"."t t"  as  q\n where \'x\' -- end'


def test_the_name_of_a_schema_is_quoted() -> None:
    as_of = classify("select * from t as of lsn 1").as_of
    assert as_of is not None
    assert as_of.render(['a"b']) == 'select * from "a""b"."t" AS "t"'


def test_equal_moments_share_a_clause() -> None:
    as_of = classify(
        "select * from a as of lsn 5, b for system_time as of LSN 5, c as of lsn :l, d as of lsn :l"
        ", e as of lsn ?, f as of lsn ?, g as of branch x lsn 5, h as of branch x"
    ).as_of
    assert as_of is not None
    assert [clause for clause, _ in as_of.references] == [0, 0, 1, 1, 2, 3, 4, 5]
    assert [table for _, table in as_of.references] == list("abcdefgh")
    assert len(as_of.clauses) == 6

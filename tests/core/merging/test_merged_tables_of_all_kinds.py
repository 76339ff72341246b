"""Tables that are named, keyed, stored or spelled in uncommon ways merge like any other."""

from __future__ import annotations

import contextlib

import pytest

import dosql_dbapi

ONE = "create table r(id integer primary key, v)"
CASES = {
    "quotes in names": (
        ('create table "a ""b"("x y" integer primary key, "select" int)',
         'insert into "a ""b" values (1, 1), (2, 2)'),
        ('update "a ""b" set "select" = 5 where "x y" = 1',),
        ('update "a ""b" set "select" = 6 where "x y" = 2',
         'alter table "a ""b" add column "new one" default \'x\''),
        'select * from "a ""b"',
        [(1, 5, "x"), (2, 6, "x")],
    ),
    "a column that hides the rowid": (
        ("create table r(rowid text, v)", "insert into r values ('a', 1), ('b', 2)"),
        ("update r set v = 5 where rowid = 'a'",),
        ("update r set v = 6 where rowid = 'b'", "insert into r values ('c', 7)"),
        "select * from r",
        [("a", 5), ("b", 6), ("c", 7)],
    ),
    "a primary key called rowid": (
        ("create table r(rowid integer primary key, v)", "insert into r values (1, 1), (2, 2)"),
        ("update r set v = 5 where rowid = 1",),
        ("update r set v = 6 where rowid = 2", "insert into r values (9, 9)"),
        "select * from r",
        [(1, 5), (2, 6), (9, 9)],
    ),
    "a primary key that is NULL in several rows": (
        ("create table r(k text primary key, v)", "insert into r values (null, 1), (null, 2)"),
        ("update r set v = 5 where v = 1",),
        ("update r set v = 6 where v = 2", "insert into r values (null, 9)"),
        "select v from r",
        [(5,), (6,), (9,)],
    ),
    "values beyond their page": (
        ("create table r(id integer primary key, x, y)",
         "insert into r values (1, zeroblob(20000), 1)"),
        ("update r set y = 2",),
        ("update r set x = zeroblob(20001)",),
        "select length(x), y from r",
        [(20001, 2)],
    ),
    "UTF-16": (
        ("pragma encoding = 'utf-16'", ONE, "insert into r values (1, 'é')"),
        ("insert into r values (2, 'ü')",),
        ("update r set v = 'ñ' where id = 1",),
        "select v from r",
        [("ñ",), ("ü",)],
    ),
    "STRICT": (
        ("create table r(id int primary key, v int) strict", "insert into r values (1, 1)"),
        ("update r set v = 5",),
        ("insert into r values (2, 2)",),
        "select * from r",
        [(1, 5), (2, 2)],
    ),
    "a view that spells out main": (
        (ONE, "create view seen as select * from main.r"),
        ("insert into r values (1, 1)",),
        ("insert into r values (2, 2)", "create table n(a)"),
        "select * from seen",
        [(1, 1), (2, 2)],
    ),
    "a table that became one without rowids": (
        (ONE, "insert into r values (1, 1), (2, 2)"),
        ("update r set v = 3 where id = 1",),
        ("create table x(id integer primary key, v) without rowid",
         "insert into x select * from r", "drop table r", "alter table x rename to r"),
        "select * from r",
        [(1, 3), (2, 2)],
    ),
    "statistics on both sides": (
        (ONE, "create index r_v on r(v)", "insert into r values (1, 1), (2, 2)"),
        ("analyze",),
        ("analyze", "update r set v = 9 where id = 1"),
        "select v from r where v > 1",
        [(2,), (9,)],
    ),
    "another case of its name": (
        ("create table T1(id integer primary key, v)", "insert into t1 values (1, 1)"),
        ("update T1 set v = 2",),
        ("alter table t1 add column w",),
        "select * from t1",
        [(1, 2, None)],
    ),
    "a cascade that took rows on one side": (
        ("create table p(id integer primary key)",
         "create table c(id integer primary key, p references p on delete cascade)",
         "insert into p values (1), (2)", "insert into c values (1, 1), (2, 2)"),
        ("pragma foreign_keys = on", "delete from p where id = 1"),
        ("insert into c values (3, 2)",),
        "select id from c",
        [(2,), (3,)],
    ),
    "full text over another table": (
        ("create table d(id integer primary key, body)",
         "create virtual table f using fts5(body, content='d', content_rowid='id')",
         "create trigger t after insert on d begin"
         " insert into f(rowid, body) values (new.id, new.body); end"),
        ("insert into d values (1, 'apple')",),
        ("insert into d values (2, 'pear')",),
        "select rowid from f where f match 'apple OR pear'",
        [(1,), (2,)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("into", ["main", "dev"])
def test_it_merges(database_path, name, into):
    base, ours, theirs, query, expected = CASES[name]
    with contextlib.ExitStack() as closing:
        main = dosql_dbapi.connect(database_path, isolation_level=None, durability="off")
        closing.callback(main.close)
        for sql in base:
            main.execute(sql)
        main.execute("create branch dev")
        dev = dosql_dbapi.connect(
            database_path, isolation_level=None, branch="dev", durability="off"
        )
        closing.callback(dev.close)
        for con, statements in ((main, ours), (dev, theirs)):
            for sql in statements:
                con.execute(sql)
        source = "dev" if into == "main" else "main"
        main.execute(f"merge branch {source} into {into} using abort")
        merged = main if into == "main" else dev
        assert merged.execute(query).fetchall() == expected
        assert merged.execute("pragma integrity_check").fetchall() == [("ok",)]

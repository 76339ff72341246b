"""`dosql diff --sql`: applied to the first moment, its statements give the second."""

from __future__ import annotations

import random
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import dosql_dbapi
from dosql_core.command_line.difference_sql import difference_as_sql
from dosql_core.database import open_database
from fixtures.programs import run_sqlite

SCHEMA = (
    "create table account(id integer primary key, name text unique, balance real default 1.5)",
    "create table keyless(a, b)",
    "create table clustered(p, q, r, primary key (p, q)) without rowid",
    "create table optional(k text primary key, v)",
    "create table log(n)",
    "create index by_balance on account(balance)",
    "create view rich as select * from account where balance > 5",
    "create trigger t1 after insert on account begin insert into log values (new.id); end",
)
STEPS = (
    "insert or ignore into account(id, name) values (abs(random() % 30), 'n' || random() % 30)",
    "update or ignore account set name = 'm' || random() % 20, balance = 3 where id % 3 = 1",
    "update account set balance = random() % 50 where id < 9",
    "delete from account where id = abs(random() % 30)",
    "insert into keyless values (random() % 9, randomblob(7)), (null, 1e300 * random())",
    "update keyless set b = char(0) || 'it''s' where rowid % 3 = 0",
    "delete from keyless where rowid % 5 = 1",
    "insert or replace into clustered values (random() % 9, 'x''y', null)",
    "update clustered set r = 9e999 where p > 2",
    "insert or ignore into optional values (null, random()), ('k' || random() % 30, 1)",
    "update optional set v = coalesce(v, 0) + 1 where k is null",
    "alter table account add column note text default 'none'",
    "alter table account drop column note",
    "alter table keyless rename column b to c",
    "alter table keyless rename column c to b",
    "drop table if exists extra",
    "create table if not exists extra(x, y unique)",
    "insert or ignore into extra select id, name from account",
    "drop view if exists rich",
    "create view if not exists rich as select name from account",
    "create index if not exists by_name on account(name, balance)",
    "drop index if exists by_name",
    "drop trigger if exists t1",
    "create trigger if not exists t1 after update on account begin delete from log; end",
    "vacuum",
)


def content(path: Path) -> dict[str, Any]:
    """Everything that can be seen of a database, by SQLite itself."""
    with closing(dosql_dbapi.connect(path, history=False)) as con:
        schema = con.execute(
            "select type, name, tbl_name, sql from sqlite_schema where name not like 'sqlite_%'"
        ).fetchall()
        found: dict[str, Any] = {"": sorted(schema, key=repr)}
        for kind, name, *_ in schema:
            if kind == "table":
                rows = con.execute(f'select * from "{name}"').fetchall()
                found[name] = sorted(rows, key=repr)
        return found


def test_the_statements_make_one_moment_into_another(
    tmp_path: Path, seeded_random: random.Random, is_long_run: bool
) -> None:
    path = tmp_path / "app.db"
    with closing(dosql_dbapi.connect(path, isolation_level=None, durability="off")) as con:
        for sql in SCHEMA:
            con.execute(sql)
        for _ in range(400 if is_long_run else 120):
            with suppress(dosql_dbapi.OperationalError):  # a column that is not there now
                con.execute(seeded_random.choice(STEPS))
        newest = con.lsn
    pairs = [sorted(seeded_random.choices(range(newest + 1), k=2)) for _ in range(8)]
    pairs += [[newest, len(SCHEMA)], [0, newest]]
    with open_database(path) as database:
        for number, (begin, end) in enumerate(pairs):
            one, other = tmp_path / f"{number}-one.db", tmp_path / f"{number}-other.db"
            database.export(one, begin)
            database.export(other, end)
            with database.diff(begin, end) as difference:
                script = "\n".join(difference_as_sql(difference))
            with closing(dosql_dbapi.connect(one, history=False, isolation_level=None)) as con:
                con.executescript(script)
            assert content(one) == content(other), f"{begin} to {end}:\n{script}"


def test_a_script_runs_in_any_sqlite(dosql: Any, tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with closing(dosql_dbapi.connect(path, isolation_level=None)) as con:
        con.execute("create table [my table](id integer primary key, [order] text unique)")
        con.execute("insert into [my table] values (1, 'a'), (2, 'b'), (3, 'gone')")
        con.execute("begin")
        con.execute("update [my table] set [order] = 'z' where id = 1")
        con.execute("update [my table] set [order] = 'a' where id = 2")
        con.execute("update [my table] set [order] = 'b' where id = 1")
        con.execute("delete from [my table] where id = 3")
        con.execute("commit")
    assert dosql.ok("diff", path, "2", "--sql").splitlines()[3:-3] == [
        'DELETE FROM "my table" WHERE id = 1;',
        'DELETE FROM "my table" WHERE id = 2;',
        'DELETE FROM "my table" WHERE id = 3;',
        'INSERT INTO "my table"(id, "order") VALUES (1, \'b\');',
        'INSERT INTO "my table"(id, "order") VALUES (2, \'a\');',
    ]
    with open_database(path) as database:
        database.export(tmp_path / "then.db", 2)
    run_sqlite(tmp_path / "then.db", *dosql.ok("diff", path, "2", "--sql").splitlines())
    assert content(tmp_path / "then.db") == content(path)
    assert dosql.ok("diff", path, "3", "--sql") == ""
    assert dosql.run("diff", path, "2", "--sql", "--json").status == 2


def test_one_table_alone_can_be_scripted(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with closing(dosql_dbapi.connect(path, isolation_level=None)) as con:
        con.execute("create table a(x)")
        con.execute("create table b(x)")
        con.execute("begin")
        con.execute("insert into a values (1)")
        con.execute("insert into b values (1)")
        con.execute("commit")
    with open_database(path) as database, database.diff(2) as difference:
        script = list(difference_as_sql(difference, "B"))
    assert script[3:-3] == ["INSERT INTO b(rowid, x) VALUES (1, 1);"]

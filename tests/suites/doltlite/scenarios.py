"""Merges that DoSQL and DoltLite are both asked to make: what the base is, and what each side does.

DoltLite's documentation of merges (cell-wise merge, conflicts, schema conflicts, constraint
violations, keyless tables) gave the first; the rest are our own. `because` explains where the two
differ; it is checked to be there exactly where they do.
"""

from __future__ import annotations

from dataclasses import dataclass

ITEMS = (
    "create table t(id integer primary key, a int, b text)",
    "insert into t values (1, 1, 'one'), (2, 2, 'two'), (3, 3, 'three')",
)
FAMILY = (
    "create table parent(id integer primary key, n text unique)",
    "create table child(id integer primary key, p int references parent(id))",
    "insert into parent values (1, 'a'), (2, 'b')",
    "insert into child values (1, 1)",
)
KEYLESS = ("create table line(x, y)", "insert into line values (1, 1), (2, 2)")


@dataclass(frozen=True, slots=True)
class Scenario:
    """One merge of `theirs` into `ours`."""

    name: str
    base: tuple[str, ...]
    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    because: str = ""


SCENARIOS = (
    Scenario("nothing on either side", ITEMS, (), ()),
    Scenario("only they changed (fast forward)", ITEMS, (), ("update t set a = 9 where id = 1",)),
    Scenario("only we changed", ITEMS, ("update t set a = 9 where id = 1",), ()),
    Scenario(
        "different rows updated",
        ITEMS,
        ("update t set a = 9 where id = 1",),
        ("update t set a = 8 where id = 2",),
    ),
    Scenario(
        "different columns of one row",
        ITEMS,
        ("update t set a = 9 where id = 1",),
        ("update t set b = 'x' where id = 1",),
    ),
    Scenario(
        "one column to two values",
        ITEMS,
        ("update t set a = 9 where id = 1",),
        ("update t set a = 8 where id = 1",),
    ),
    Scenario(
        "one column to two values, another merges",
        ITEMS,
        ("update t set a = 9 where id = 1",),
        ("update t set a = 8, b = 'x' where id = 1",),
    ),
    Scenario(
        "the same update on both sides",
        ITEMS,
        ("update t set a = 9 where id = 1",),
        ("update t set a = 9 where id = 1",),
    ),
    Scenario(
        "to NULL here, to a value there",
        ITEMS,
        ("update t set a = null where id = 1",),
        ("update t set a = 8 where id = 1",),
    ),
    Scenario(
        "rows inserted under different keys",
        ITEMS,
        ("insert into t values (4, 4, 'ours')",),
        ("insert into t values (5, 5, 'theirs')",),
    ),
    Scenario(
        "the same row inserted on both sides",
        ITEMS,
        ("insert into t values (4, 4, 'same')",),
        ("insert into t values (4, 4, 'same')",),
    ),
    Scenario(
        "different rows under one key",
        ITEMS,
        ("insert into t values (4, 4, 'ours')",),
        ("insert into t values (4, 4, 'theirs')",),
    ),
    Scenario(
        "different rows deleted",
        ITEMS,
        ("delete from t where id = 1",),
        ("delete from t where id = 2",),
    ),
    Scenario(
        "the same row deleted on both sides",
        ITEMS,
        ("delete from t where id = 1",),
        ("delete from t where id = 1",),
    ),
    Scenario(
        "updated here, deleted there",
        ITEMS,
        ("update t set a = 9 where id = 1",),
        ("delete from t where id = 1",),
    ),
    Scenario(
        "deleted here, updated there",
        ITEMS,
        ("delete from t where id = 1",),
        ("update t set a = 9 where id = 1",),
    ),
    Scenario(
        "deleted and inserted again the same here, updated there",
        ITEMS,
        ("delete from t where id = 1", "insert into t values (1, 1, 'one')"),
        ("update t set a = 9 where id = 1",),
    ),
    Scenario(
        "a key changed here, the row updated there",
        ITEMS,
        ("update t set id = 11 where id = 1",),
        ("update t set a = 9 where id = 1",),
    ),
    Scenario(
        "all rows deleted here, one inserted there",
        ITEMS,
        ("delete from t",),
        ("insert into t values (4, 4, 'theirs')",),
    ),
    Scenario(
        "an integer here, the equal real there",
        ("create table v(id integer primary key, x)", "insert into v values (1, null)"),
        ("update v set x = 1",),
        ("update v set x = 1.0",),
        because=(
            "to SQLite 1 and 1.0 are equal but stored and shown apart (typeof, division); "
            "DoSQL merges values as they are stored"
        ),
    ),
    Scenario(
        "composite key, different columns",
        (
            "create table c(x int, y int, a, b, primary key(x, y))",
            "insert into c values (1, 2, 0, 0)",
        ),
        ("update c set a = 1",),
        ("update c set b = 2",),
    ),
    Scenario(
        "WITHOUT ROWID, different columns",
        (
            "create table w(k text primary key, a, b) without rowid",
            "insert into w values ('x', 0, 0)",
        ),
        ("update w set a = 1",),
        ("update w set b = 2",),
    ),
    Scenario(
        "keyless, a row inserted on each side",
        KEYLESS,
        ("insert into line values (3, 3)",),
        ("insert into line values (4, 4)",),
    ),
    Scenario(
        "keyless, the same row inserted on both sides",
        KEYLESS,
        ("insert into line values (3, 3)",),
        ("insert into line values (3, 3)",),
    ),
    Scenario(
        "keyless, different rows deleted",
        KEYLESS,
        ("delete from line where x = 1",),
        ("delete from line where x = 2",),
    ),
    Scenario(
        "keyless, one row updated to two values",
        KEYLESS,
        ("update line set y = 8 where x = 1",),
        ("update line set y = 9 where x = 1",),
    ),
    Scenario(
        "keyless, updated here, deleted there",
        KEYLESS,
        ("update line set y = 8 where x = 1",),
        ("delete from line where x = 1",),
    ),
    Scenario(
        "one unique value in two new rows",
        FAMILY,
        ("insert into parent values (3, 'same')",),
        ("insert into parent values (4, 'same')",),
    ),
    Scenario(
        "a unique value given up here, taken there",
        FAMILY,
        ("update parent set n = 'c' where id = 1",),
        ("insert into parent values (5, 'e')", "update parent set n = 'd' where id = 2"),
    ),
    Scenario(
        "unique values swapped there",
        FAMILY,
        ("insert into child values (9, 2)",),
        (
            "update parent set n = 'tmp' where id = 1",
            "update parent set n = 'a' where id = 2",
            "update parent set n = 'b' where id = 1",
        ),
    ),
    Scenario(
        "parent deleted here, child inserted there",
        FAMILY,
        ("delete from parent where id = 2",),
        ("insert into child values (2, 2)",),
    ),
    Scenario(
        "child inserted here, parent deleted there",
        FAMILY,
        ("insert into child values (2, 2)",),
        ("delete from parent where id = 2",),
    ),
    Scenario(
        "columns that break a CHECK together",
        (
            "create table s(id integer primary key, lo int, hi int, check(lo < hi))",
            "insert into s values (1, 1, 10)",
        ),
        ("update s set lo = 8",),
        ("update s set hi = 2",),
    ),
    Scenario(
        "AUTOINCREMENT gives one key twice",
        (
            "create table j(id integer primary key autoincrement, w text)",
            "insert into j(w) values ('first')",
        ),
        ("insert into j(w) values ('ours')",),
        ("insert into j(w) values ('theirs')",),
        because=(
            "DoltLite gives our row another key, and what refers to it elsewhere, in our "
            "tables or outside, would mean theirs; DoSQL reports the collision as what it is"
        ),
    ),
    Scenario(
        "a trigger fires there only",
        (
            *ITEMS,
            "create table log(w text)",
            "create trigger tr after insert on t begin insert into log values (new.b); end",
        ),
        ("update t set a = 9 where id = 1",),
        ("insert into t values (4, 4, 'theirs')",),
    ),
    Scenario(
        "generated column, its sources on two sides",
        (
            "create table g(id integer primary key, a int, b int, c int as (a + b) stored)",
            "insert into g(id, a, b) values (1, 1, 1)",
        ),
        ("update g set a = 10",),
        ("update g set b = 20",),
    ),
    Scenario("a table made there", ITEMS, ("update t set a = 9",), ("create table n(x int)",)),
    Scenario(
        "one table made the same on both sides",
        ITEMS,
        ("create table n(id integer primary key)", "insert into n values (1)"),
        ("create table n(id integer primary key)", "insert into n values (2)"),
    ),
    Scenario(
        "one table made differently on both sides",
        ITEMS,
        ("create table n(id integer primary key, x int)",),
        ("create table n(id integer primary key, y text)",),
    ),
    Scenario("a table dropped there", (*ITEMS, *KEYLESS), (), ("drop table line",)),
    Scenario(
        "a table dropped there, rows of it changed here",
        ITEMS,
        ("update t set a = 9 where id = 1",),
        ("drop table t",),
    ),
    Scenario(
        "a column added there, rows changed here",
        ITEMS,
        ("update t set a = 9 where id = 1",),
        ("alter table t add column c int default 7",),
    ),
    Scenario(
        "a column added and filled there, rows changed here",
        ITEMS,
        ("update t set a = 9 where id = 1",),
        ("alter table t add column c int", "update t set c = id * 10"),
    ),
    Scenario(
        "different columns added on both sides",
        ITEMS,
        ("alter table t add column c int default 1",),
        ("alter table t add column d int default 2",),
    ),
    Scenario(
        "one column added with two types",
        ITEMS,
        ("alter table t add column c int",),
        ("alter table t add column c text",),
    ),
    Scenario(
        "a column renamed there, rows changed here",
        ITEMS,
        ("update t set a = 9 where id = 1",),
        ("alter table t rename column b to name",),
    ),
    Scenario(
        "a column dropped there, another changed here",
        ITEMS,
        ("update t set a = 9 where id = 1",),
        ("alter table t drop column b",),
    ),
    Scenario(
        "a column dropped there and changed here",
        ITEMS,
        ("update t set b = 'x' where id = 1",),
        ("alter table t drop column b",),
        because=(
            "DoltLite refuses the merge without a conflict that could be resolved; in DoSQL "
            "the definition of either side may be chosen"
        ),
    ),
    Scenario(
        "a column dropped there, a row with a value in it inserted here",
        ITEMS,
        ("insert into t values (9, 9, 'x')",),
        ("alter table t drop column b",),
        because=(
            "DoltLite drops the inserted value without a word; in DoSQL the definition of "
            "either side may be chosen"
        ),
    ),
    Scenario(
        "a column renamed there, an index on it made here",
        ITEMS,
        ("create index i on t(b)",),
        ("alter table t rename column b to name",),
    ),
    Scenario(
        "a table renamed there, rows changed here",
        ITEMS,
        ("update t set a = 9 where id = 1",),
        ("alter table t rename to u",),
    ),
    Scenario(
        "a table renamed to two names",
        ITEMS,
        ("alter table t rename to u",),
        ("alter table t rename to v",),
        because=(
            "DoltLite ends with two tables of the same rows; to DoSQL it is one, whose name "
            "either side may choose"
        ),
    ),
    Scenario(
        "a column renamed to two names",
        ITEMS,
        ("alter table t rename column b to x",),
        ("alter table t rename column b to y",),
    ),
    Scenario(
        "a table made anew by a migration there, rows changed here",
        ITEMS,
        ("update t set a = 9 where id = 1",),
        (
            "create table u(id integer primary key, a int, b text, c int default 0)",
            "insert into u(id, a, b) select id, a, b from t",
            "drop table t",
            "alter table u rename to t",
        ),
    ),
    Scenario("an index made there", ITEMS, ("update t set a = 9",), ("create index i on t(a)",)),
    Scenario(
        "an index made differently on both sides",
        ITEMS,
        ("create index i on t(a)",),
        ("create index i on t(b)",),
        because=("the same conflict: DoltLite names the table, DoSQL the index"),
    ),
    Scenario(
        "a unique index made there, broken here",
        ITEMS,
        ("update t set b = 'two' where id = 1",),
        ("create unique index u on t(b)",),
        because=(
            "the same conflict: DoltLite names the table whose rows break the index, DoSQL "
            "the index that cannot be made"
        ),
    ),
    Scenario(
        "a view made differently on both sides",
        ITEMS,
        ("create view v as select a from t",),
        ("create view v as select b from t",),
    ),
    Scenario(
        "a trigger made there",
        ITEMS,
        ("update t set a = 9 where id = 1",),
        ("create trigger tr after delete on t begin select 1; end",),
    ),
)

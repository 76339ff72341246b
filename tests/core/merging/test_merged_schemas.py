"""Schemas of two branches merged: what one side defined comes along, with the rows of both."""

from __future__ import annotations

from contextlib import closing

import pytest

import dosql_dbapi
from dosql_core.errors import MergeConflictError
from dosql_core.merging.conflict import ConflictKind

REBUILD = (
    "create table new_person(id integer primary key, email text unique, name text not null,"
    " years int default 0)",
    "insert into new_person(id, email, name, years) select id, email, name, age from person",
    "drop table person",
    "alter table new_person rename to person",
)


@pytest.mark.parametrize("we_alter", [False, True])
def test_a_table_rebuilt_by_a_migration_keeps_the_rows_of_the_other_side(fork, we_alter):
    altering, writing = (fork.ours, fork.theirs) if we_alter else (fork.theirs, fork.ours)
    for sql in REBUILD:
        altering.execute(sql)
    writing.execute("insert into person values (4, 'dee', 'dee@x', 60)")
    writing.execute("update person set name = 'anna' where id = 1")
    writing.execute("delete from person where id = 2")
    fork.merge()
    # the migration renamed age by copying, which the values tell
    assert fork.rows("select id, email, name, years from person") == [
        (1, "ann@x", "anna", 30),
        (3, "cid@x", "cid", 50),
        (4, "dee@x", "dee", 60),
    ]


@pytest.mark.parametrize("we_alter", [False, True])
def test_a_column_dropped_on_one_side_keeps_the_rest_of_the_rows(fork, we_alter):
    altering, writing = (fork.ours, fork.theirs) if we_alter else (fork.theirs, fork.ours)
    altering.execute("alter table person drop column age")
    writing.execute("update person set name = 'anna' where id = 1")
    writing.execute("insert into person(id, name, email) values (4, 'dee', 'dee@x')")
    fork.merge()
    assert fork.rows("select * from person where id in (1, 4)") == [
        (1, "anna", "ann@x"), (4, "dee", "dee@x")
    ]  # fmt: skip


@pytest.mark.parametrize("we_alter", [False, True])
@pytest.mark.parametrize("using", ["ours", "theirs"])
def test_a_column_dropped_on_one_side_and_changed_on_the_other_is_a_conflict(fork, we_alter, using):
    altering, writing = (fork.ours, fork.theirs) if we_alter else (fork.theirs, fork.ours)
    altering.execute("alter table person drop column age")
    altering.execute("update person set name = 'altered' where id = 2")
    writing.execute("update person set age = 99, name = 'anna' where id = 1")
    (conflict,) = fork.conflicts(using="abort")
    assert (conflict.kind, conflict.table) == (ConflictKind.SCHEMA, "person")
    assert "dropped age" in conflict.detail
    fork.merge(using=using)
    names = [row[1] for row in fork.rows("pragma table_info(person)")]
    assert ("age" in names) == (we_alter == (using == "theirs"))
    assert fork.rows("select name from person") == [("anna",), ("altered",), ("cid",)]
    if "age" in names:
        assert fork.rows("select age from person") == [(99,), (40,), (50,)]


@pytest.mark.parametrize("we_alter", [False, True])
@pytest.mark.parametrize("using", ["ours", "theirs", "base"])
def test_a_value_inserted_in_a_dropped_column_is_a_conflict(fork, we_alter, using):
    altering, writing = (fork.ours, fork.theirs) if we_alter else (fork.theirs, fork.ours)
    altering.execute("alter table person drop column age")
    writing.execute("insert into person values (4, 'dee', 'dee@x', 60)")
    (conflict,) = fork.conflicts()
    assert (conflict.kind, conflict.table) == (ConflictKind.SCHEMA, "person")
    assert "dropped age" in conflict.detail
    fork.database.branches.resolve(using)
    fork.database.branches.complete()
    is_kept = using == "base" or we_alter == (using == "theirs")
    columns = "name, age" if is_kept else "*"
    row = ("dee", 60) if is_kept else (4, "dee", "dee@x")
    assert fork.rows(f"select {columns} from person where id = 4") == [row]


@pytest.mark.parametrize("we_alter", [False, True])
@pytest.mark.parametrize("value", ["null", "5"])
def test_a_dropped_column_that_new_rows_leave_to_its_default_is_no_conflict(fork, we_alter, value):
    fork.ours.execute(f"alter table word add column size int default {value}")
    fork.merge("main", "dev")
    altering, writing = (fork.ours, fork.theirs) if we_alter else (fork.theirs, fork.ours)
    altering.execute("alter table word drop column size")
    writing.execute("insert into word(w, n) values ('c', 3)")
    fork.merge()
    assert fork.rows("select * from word where w = 'c'") == [("c", 3)]


@pytest.mark.parametrize("we_alter", [False, True])
def test_a_column_dropped_and_another_added_is_not_taken_for_renamed(fork, we_alter):
    altering, writing = (fork.ours, fork.theirs) if we_alter else (fork.theirs, fork.ours)
    altering.execute("alter table person drop column age")
    altering.execute("alter table person add column shoe_size int")
    writing.execute("update person set name = 'anna' where id = 1")
    fork.merge()
    assert fork.rows("select id, shoe_size from person") == [(1, None), (2, None), (3, None)]


def test_our_indexes_and_triggers_stay_on_a_table_taken_over(fork):
    fork.ours.execute("create index word_n on word(n)")
    fork.ours.execute("create trigger word_t after insert on word begin select 1; end")
    fork.theirs.execute("alter table word rename column w to spelling")
    fork.theirs.execute("create index word_s on word(spelling)")
    fork.merge()
    names = {name for (name,) in fork.rows("select name from sqlite_schema where sql is not null")}
    assert {"word_n", "word_t", "word_s"} <= names


def test_an_index_of_a_column_that_is_gone_is_a_conflict(fork):
    fork.ours.execute("create index word_n on word(n)")
    fork.theirs.execute("alter table word drop column n")
    (conflict,) = fork.conflicts()
    assert (conflict.kind, conflict.table) == (ConflictKind.SCHEMA, "word_n")
    assert "no such column: n" in conflict.detail


def test_a_view_of_a_column_that_is_gone_is_a_conflict(fork):
    fork.ours.execute("create view aged as select age from person")
    fork.theirs.execute("alter table person drop column age")
    (conflict,) = fork.conflicts()
    assert (conflict.kind, conflict.table) == (ConflictKind.SCHEMA, "aged")


def test_objects_changed_on_one_side_are_replaced(fork):
    for sql in (
        "create view v as select 1 as a",
        "create index i on person(age)",
        "create trigger t after insert on pet begin select 1; end",
    ):
        fork.ours.execute(sql)
    fork.database.branches.create("later")
    later = dosql_dbapi.connect(fork.path, isolation_level=None, branch="later")
    for sql in (
        "drop view v",
        "create view v as select 2 as a",
        "drop index i",
        "create index i on person(name)",
        "drop trigger t",
        "pragma user_version = 7",
    ):
        later.execute(sql)
    later.close()
    fork.ours.execute("update person set age = 1 where id = 1")
    fork.merge("later")
    assert fork.rows("select a from v") == [(2,)]
    assert fork.rows("select sql from sqlite_schema where name = 'i'") == [
        ("CREATE INDEX i on person(name)",)
    ]
    assert fork.rows("select * from sqlite_schema where name = 't'") == []
    assert fork.rows("pragma user_version") == [(7,)]


@pytest.mark.parametrize(
    ("ours", "theirs", "name"),
    [
        ("create view v as select 1", "create view v as select 2", "v"),
        ("create index i on person(age)", "create index i on person(name)", "i"),
        (
            "create trigger t after insert on pet begin select 1; end",
            "create trigger t after insert on pet begin select 2; end",
            "t",
        ),
        ("pragma user_version = 1", "pragma user_version = 2", "user_version"),
        (
            "alter table person add column a int",
            "alter table person add column a text",
            "person",
        ),
    ],
)
@pytest.mark.parametrize("using", ["ours", "theirs"])
def test_definitions_that_contradict_are_a_conflict_and_a_side_may_win(
    fork, ours, theirs, name, using
):
    fork.ours.execute(ours)
    fork.theirs.execute(theirs)
    (conflict,) = fork.conflicts(using="abort")
    assert (conflict.kind, conflict.table) == (ConflictKind.SCHEMA, name)
    fork.merge(using=using)
    winner = fork.theirs if using == "theirs" else fork.ours
    schema = "select name, sql from sqlite_schema where name not like '%dosql%' order by name"
    assert fork.rows(schema) == fork.rows(schema, winner)
    assert fork.rows("pragma user_version") == fork.rows("pragma user_version", winner)


def test_columns_added_on_both_sides_keep_the_rows_of_both(fork):
    fork.ours.execute("alter table person add column a int default 1")
    fork.ours.execute("update person set a = 5 where id = 1")
    fork.theirs.execute("alter table person add column b int default 2")
    fork.theirs.execute("update person set b = 6, age = 0 where id = 1")
    fork.theirs.execute("insert into person values (4, 'dee', 'dee@x', 60, 7)")
    fork.merge()
    assert fork.rows("select id, age, a, b from person where id in (1, 4)") == [
        (1, 0, 5, 6),
        (4, 60, 1, 7),
    ]


def test_a_column_added_on_one_side_meets_one_renamed_on_the_other(fork):
    fork.ours.execute("alter table person rename column age to years")
    fork.theirs.execute("alter table person add column city text default 'rome'")
    fork.theirs.execute("update person set age = 31, city = 'oslo' where id = 1")
    fork.merge()
    assert fork.rows("select years, city from person where id < 3") == [(31, "oslo"), (40, "rome")]


def test_a_primary_key_changed_under_changed_rows_is_a_conflict(fork):
    for sql in (
        "create table w(w text, n int, primary key(w, n)) without rowid",
        "insert into w select * from word",
        "drop table word",
        "alter table w rename to word",
    ):
        fork.theirs.execute(sql)
    fork.ours.execute("update word set n = 5 where w = 'a'")
    (conflict,) = fork.conflicts()
    assert "primary key" in conflict.detail
    fork.merge(using="theirs")
    assert fork.rows("select w, n from word") == [("a", 1), ("b", 2)]


def test_a_table_dropped_on_both_sides_or_made_the_same_is_no_conflict(fork):
    for con in (fork.ours, fork.theirs):
        con.execute("drop table word")
        con.execute("create table note(id integer primary key, t text)")
    fork.ours.execute("insert into note values (1, 'ours')")
    fork.theirs.execute("insert into note values (2, 'theirs')")
    fork.merge()
    assert fork.rows("select t from note") == [("ours",), ("theirs",)]


@pytest.mark.parametrize("using", ["ours", "theirs"])
def test_a_table_dropped_here_and_written_there_goes_by_the_side_that_wins(fork, using):
    fork.ours.execute("drop table word")
    fork.theirs.execute("insert into word values ('c', 3)")
    fork.merge(using=using)
    expected = [] if using == "ours" else [("a",), ("b",), ("c",)]
    there = fork.rows("select 1 from sqlite_schema where name = 'word'")
    assert (fork.rows("select w from word") if there else []) == expected


def test_a_table_renamed_on_one_side_comes_along(fork):
    fork.theirs.execute("alter table word rename to lemma")
    fork.theirs.execute("insert into lemma values ('c', 3)")
    fork.ours.execute("update person set age = 1 where id = 1")
    fork.merge()
    assert fork.rows("select w from lemma") == [("a",), ("b",), ("c",)]
    assert fork.rows("select 1 from sqlite_schema where name = 'word'") == []


def test_generated_columns_follow_the_columns_they_are_made_of(fork):
    fork.ours.execute("create table g(id integer primary key, a, b, c as (a + b), d as (a) stored)")
    fork.ours.execute("insert into g(id, a, b) values (1, 1, 1)")
    fork.database.branches.create("calc")
    with closing(dosql_dbapi.connect(fork.path, isolation_level=None, branch="calc")) as calc, calc:
        calc.execute("update g set a = 10")
    fork.ours.execute("update g set b = 20")
    fork.merge("calc")
    assert fork.rows("select a, b, c, d from g") == [(10, 20, 30, 10)]


FULL_TEXT = "create virtual table doc using fts5(body)"


def found(fork, word):
    return [row for (row,) in fork.rows(f"select rowid from doc where doc match '{word}'")]


def test_a_full_text_table_that_one_side_made_or_changed_comes_along(fork):
    fork.theirs.execute(FULL_TEXT)
    fork.theirs.execute("insert into doc(rowid, body) values (1, 'an apple')")
    fork.ours.execute("update person set age = 1 where id = 1")
    fork.merge()
    assert found(fork, "apple") == [1]
    fork.theirs.execute("update doc set body = 'a pear' where rowid = 1")
    fork.ours.execute("update person set age = 2 where id = 1")
    fork.merge()
    assert (found(fork, "apple"), found(fork, "pear")) == ([], [1])
    fork.ours.execute("insert into doc(doc) values ('integrity-check')")


def test_a_full_text_table_that_both_sides_changed_is_built_anew(fork):
    fork.ours.execute(FULL_TEXT)
    fork.ours.execute("insert into doc(rowid, body) values (1, 'an apple'), (2, 'a plum')")
    fork.database.branches.create("texts")
    with (
        closing(dosql_dbapi.connect(fork.path, isolation_level=None, branch="texts")) as texts,
        texts,
    ):
        texts.execute("update doc set body = 'a pear' where rowid = 1")
        texts.execute("insert into doc(rowid, body) values (3, 'a fig')")
    fork.ours.execute("update doc set body = 'a nut' where rowid = 2")
    fork.merge("texts")
    assert [found(fork, word) for word in ("apple", "pear", "nut", "fig")] == [[], [1], [2], [3]]
    fork.ours.execute("insert into doc(doc) values ('integrity-check')")


@pytest.mark.parametrize("using", ["ours", "theirs"])
def test_a_full_text_table_dropped_here_and_written_there_goes_by_the_side_that_wins(fork, using):
    fork.ours.execute(FULL_TEXT)
    fork.ours.execute("insert into doc(rowid, body) values (1, 'an apple')")
    fork.merge("main", "dev")
    fork.ours.execute("drop table doc")
    fork.theirs.execute("insert into doc(rowid, body) values (2, 'an apple pie')")
    (conflict,) = fork.conflicts(using="abort")
    assert (conflict.kind, conflict.table) == (ConflictKind.SCHEMA, "doc")
    fork.merge(using=using)
    there = fork.rows("select 1 from sqlite_schema where name = 'doc'")
    assert (found(fork, "apple") if there else []) == ([] if using == "ours" else [1, 2])


def test_another_virtual_table_that_both_sides_changed_is_a_conflict(fork):
    fork.ours.execute("create virtual table place using rtree(id, x0, x1)")
    fork.database.branches.create("moves")
    with (
        closing(dosql_dbapi.connect(fork.path, isolation_level=None, branch="moves")) as moves,
        moves,
    ):
        moves.execute("insert into place values (1, 0, 1)")
    fork.ours.execute("insert into place values (2, 5, 6)")
    with pytest.raises(MergeConflictError, match="cannot be built anew"):
        fork.merge("moves", using="abort")
    fork.merge("moves", using="theirs")
    assert fork.rows("select id from place") == [(1,)]

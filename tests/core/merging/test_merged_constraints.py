"""Constraints that only the merged whole breaks: told as what they are, and decided."""

from __future__ import annotations

import pytest

import dosql_dbapi
from dosql_core.errors import MergeConflictError
from dosql_core.merging.conflict import ConflictKind


def branched(fork, *sqls):
    """A branch that begins with more than the fork's."""
    for sql in sqls:
        fork.ours.execute(sql)
    fork.database.branches.create("more")
    return dosql_dbapi.connect(fork.path, isolation_level=None, branch="more")


def only_conflict(fork, source="dev"):
    with pytest.raises(MergeConflictError) as refused:
        fork.merge(source, using="abort")
    (conflict,) = refused.value.conflicts
    return conflict


@pytest.mark.parametrize(("using", "ids"), [("ours", [7]), ("theirs", [8])])
def test_of_two_rows_with_one_unique_value_a_side_s_stays(fork, using, ids):
    fork.ours.execute("insert into person values (7, 'o', 'same@x', 1)")
    fork.theirs.execute("insert into person values (8, 't', 'same@x', 1)")
    conflict = only_conflict(fork)
    assert (conflict.kind, conflict.ours) == (ConflictKind.UNIQUE, None)
    assert fork.merge(dry_run=True).conflicts == (conflict,)
    fork.merge(using=using)
    assert fork.rows("select id from person where id > 3") == [(i,) for i in ids]


def test_a_row_given_may_have_another_unique_value(fork):
    fork.ours.execute("insert into person values (7, 'o', 'same@x', 1)")
    fork.theirs.execute("insert into person values (8, 't', 'same@x', 1)")
    fork.merge(using=lambda conflict: {"email": "other@x"})
    assert fork.rows("select email from person where id > 3") == [("same@x",), ("other@x",)]


@pytest.mark.parametrize(("using", "there"), [("ours", False), ("theirs", True)])
def test_a_row_whose_parent_we_deleted(fork, using, there):
    fork.ours.execute("delete from person where id = 2")
    fork.theirs.execute("insert into pet values (5, 2, 'tom')")
    conflict = only_conflict(fork)
    assert (conflict.kind, conflict.key, conflict.columns) == (
        ConflictKind.FOREIGN_KEY, {"id": 5}, ("owner",)
    )  # fmt: skip
    fork.merge(using=using)
    assert fork.rows("select id from person where id = 2") == [(2,)] * there
    assert fork.rows("select id from pet where id = 5") == [(5,)] * there
    assert fork.rows("pragma foreign_key_check") == []


@pytest.mark.parametrize(("using", "there"), [("ours", True), ("theirs", False)])
def test_a_row_of_ours_whose_parent_they_deleted(fork, using, there):
    fork.ours.execute("insert into pet values (5, 2, 'tom')")
    fork.theirs.execute("delete from person where id = 2")
    assert only_conflict(fork).kind is ConflictKind.FOREIGN_KEY
    fork.merge(using=using)
    assert fork.rows("select id from person where id = 2") == [(2,)] * there
    assert fork.rows("select id from pet where id = 5") == [(5,)] * there
    assert fork.rows("pragma foreign_key_check") == []


def test_a_row_that_had_no_parent_before_is_left_alone(fork):
    fork.ours.execute("insert into pet values (6, 77, 'stray')")
    fork.theirs.execute("update person set age = 1 where id = 1")
    fork.theirs.execute("insert into pet values (7, 78, 'stray of theirs')")
    fork.merge()
    assert fork.rows("select id from pet where id > 5") == [(6,), (7,)]


def test_a_foreign_key_of_two_columns_in_a_table_without_rowids(fork):
    more = branched(
        fork,
        "create table spot(x int, y int, primary key(x, y)) without rowid",
        "create table flag(n text primary key, a int, b int,"
        " foreign key(a, b) references spot(x, y)) without rowid",
        "insert into spot values (1, 1), (2, 2)",
    )
    fork.ours.execute("delete from spot where x = 2")
    more.execute("insert into flag values ('red', 2, 2), ('blue', 1, 1), ('none', null, 2)")
    more.close()
    conflict = only_conflict(fork, "more")
    assert (conflict.kind, conflict.key) == (ConflictKind.FOREIGN_KEY, {"n": "red"})
    fork.merge("more", using="theirs")
    assert fork.rows("select x from spot") == [(1,), (2,)]


@pytest.mark.parametrize(("using", "kept"), [("ours", (8, 10)), ("theirs", (1, 2))])
def test_columns_that_fit_each_side_but_not_together_break_a_check(fork, using, kept):
    more = branched(
        fork,
        "create table span(id integer primary key, low int, high int, check(low < high))",
        "insert into span values (1, 1, 10)",
    )
    fork.ours.execute("update span set low = 8")
    more.execute("update span set high = 2")
    more.close()
    conflict = only_conflict(fork, "more")
    assert conflict.kind is ConflictKind.CHECK
    assert (conflict.base, conflict.ours, conflict.theirs) == (
        {"id": 1, "low": 1, "high": 10},
        {"id": 1, "low": 8, "high": 10},
        {"id": 1, "low": 1, "high": 2},
    )
    fork.merge("more", using=using)
    assert fork.rows("select low, high from span") == [kept]


def test_a_column_that_may_not_be_null_any_more_is_told(fork):
    more = branched(
        fork, "create table n(id integer primary key, a)", "insert into n values (1, 1)"
    )
    for sql in (
        "create table m(id integer primary key, a not null)",
        "insert into m select * from n",
        "drop table n",
        "alter table m rename to n",
    ):
        more.execute(sql)
    more.close()
    fork.ours.execute("insert into n values (2, null)")
    assert only_conflict(fork, "more").kind is ConflictKind.NOT_NULL


def test_keys_that_autoincrement_gave_twice_are_told_as_that(fork):
    more = branched(
        fork,
        "create table job(id integer primary key autoincrement, what text)",
        "insert into job(what) values ('first')",
    )
    fork.ours.execute("insert into job(what) values ('ours')")
    more.execute("insert into job(what) values ('theirs')")
    conflict = only_conflict(fork, "more")
    assert (conflict.kind, conflict.key) == (ConflictKind.AUTOINCREMENT, {"id": 2})
    assert "AUTOINCREMENT" in conflict.detail
    fork.merge("more", using="ours")
    assert fork.rows("select what from job") == [("first",), ("ours",)]
    more.close()


def test_keys_that_autoincrement_gave_to_rows_long_gone_are_not_given_again(fork):
    more = branched(
        fork,
        "create table job(id integer primary key autoincrement, what text)",
        "insert into job(what) values ('first')",
    )
    more.execute("insert into job(id, what) values (50, 'gone')")
    more.execute("delete from job where id = 50")
    more.execute("insert into job(what) values ('kept')")
    more.close()
    fork.ours.execute("insert into job(what) values ('ours')")
    fork.merge("more")
    fork.ours.execute("insert into job(what) values ('next')")
    assert fork.rows("select id from job") == [(1,), (2,), (51,), (52,)]


def test_a_unique_index_of_theirs_that_our_rows_break_is_a_conflict(fork):
    fork.ours.execute("update person set name = 'ann' where id = 2")
    fork.theirs.execute("create unique index one_name on person(name)")
    conflict = only_conflict(fork)
    assert (conflict.kind, conflict.table) == (ConflictKind.SCHEMA, "one_name")
    fork.merge(using="ours")
    assert fork.rows("select 1 from sqlite_schema where name = 'one_name'") == []


def test_a_unique_index_of_theirs_counts_for_the_rows_of_both(fork):
    fork.theirs.execute("create unique index one_age on person(age)")
    fork.theirs.execute("insert into person values (4, 'dee', 'dee@x', 31)")
    fork.ours.execute("update person set age = 31 where id = 1")
    conflict = only_conflict(fork)
    assert (conflict.kind, conflict.key) == (ConflictKind.UNIQUE, {"id": 4})


def test_keys_that_differ_only_in_case_collide(fork):
    more = branched(fork, "create table tag(name text primary key collate nocase, n int)")
    fork.ours.execute("insert into tag values ('Red', 1)")
    more.execute("insert into tag values ('red', 2)")
    more.close()
    assert only_conflict(fork, "more").kind is ConflictKind.UNIQUE
    fork.merge("more", using="theirs")
    assert fork.rows("select * from tag") == [("red", 2)]


def test_primary_keys_may_be_swapped(fork):
    more = branched(
        fork,
        "create table pair(k text primary key, v) without rowid",
        "insert into pair values ('a', 1), ('b', 2)",
    )
    more.execute("update pair set k = case k when 'a' then 'b' else 'a' end where k = 'zzz'")
    more.execute("delete from pair")
    more.execute("insert into pair values ('a', 2), ('b', 1)")
    more.close()
    fork.ours.execute("update person set age = 1 where id = 1")
    fork.merge("more")
    assert fork.rows("select * from pair") == [("a", 2), ("b", 1)]

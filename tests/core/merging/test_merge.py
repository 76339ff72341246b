"""Branches merged: what both did is there, what contradicts is told, and nothing is half done."""

from __future__ import annotations

import pytest

import dosql_dbapi
from dosql_core.errors import MergeConflictError, ProgrammingError
from dosql_core.merging.conflict import ConflictKind


def test_rows_that_only_one_side_changed_merge(fork):
    fork.ours.execute("update person set age = 31 where id = 1")
    fork.theirs.execute("update person set age = 41 where id = 2")
    fork.theirs.execute("delete from person where id = 3")
    fork.theirs.execute("insert into person values (4, 'dee', 'dee@x', 60)")
    fork.theirs.execute("update word set n = 9 where w = 'b'")
    result = fork.merge(author="ann", message="dev is done")
    assert result.rows == 4
    assert fork.rows("select id, age from person") == [(1, 31), (2, 41), (4, 60)]
    assert fork.rows("select n from word") == [(1,), (9,)]
    newest = fork.database.log(limit=1)[0]
    assert (newest.lsn, newest.author, newest.message) == (result.lsn, "ann", "dev is done")


def test_columns_of_one_row_merge(fork):
    fork.ours.execute("update person set age = 31 where id = 1")
    fork.theirs.execute("update person set name = 'anna' where id = 1")
    fork.merge()
    assert fork.rows("select name, age from person where id = 1") == [("anna", 31)]


def test_the_same_change_on_both_sides_is_no_conflict(fork):
    for con in (fork.ours, fork.theirs):
        con.execute("update person set age = 99 where id = 1")
        con.execute("delete from person where id = 2")
        con.execute("insert into person values (9, 'new', 'new@x', 1)")
    assert fork.merge().lsn is None


def test_without_changes_of_ours_it_is_a_fast_forward(fork):
    fork.theirs.execute("update person set age = 41 where id = 2")
    result = fork.merge()
    assert result.is_fast_forward
    assert fork.rows("select age from person where id = 2") == [(41,)]
    assert fork.merge().lsn is None


@pytest.mark.parametrize(
    ("ours", "theirs", "kind", "columns"),
    [
        (
            "update person set age = 1, name = 'x' where id = 1",
            "update person set age = 2 where id = 1",
            ConflictKind.MODIFY_MODIFY,
            ("age",),
        ),
        (
            "update person set age = 1 where id = 1",
            "delete from person where id = 1",
            ConflictKind.MODIFY_DELETE,
            (),
        ),
        (
            "delete from person where id = 2",
            "update person set age = 2 where id = 2",
            ConflictKind.DELETE_MODIFY,
            (),
        ),
        (
            "insert into person values (7, 'o', 'o@x', 1)",
            "insert into person values (7, 't', 't@x', 1)",
            ConflictKind.ADD_ADD,
            ("name", "email"),
        ),
    ],
)
def test_a_contradiction_is_told_and_nothing_merged(fork, ours, theirs, kind, columns):
    fork.ours.execute(ours)
    fork.theirs.execute(theirs)
    fork.theirs.execute("update person set age = 77 where id = 3")
    (conflict,) = fork.conflicts()
    assert (conflict.kind, conflict.table, conflict.columns) == (kind, "person", columns)
    assert fork.rows("select age from person where id = 3") == [(50,)]


def test_a_policy_decides(fork):
    fork.ours.execute("update person set age = 1, name = 'ours' where id = 1")
    fork.theirs.execute("update person set age = 2, email = 'theirs@x' where id = 1")
    dry = fork.merge(dry_run=True)
    assert (dry.lsn, len(dry.conflicts)) == (None, 1)
    fork.merge(using=lambda conflict: {**conflict.ours, "age": 42})
    assert fork.rows("select name, email, age from person where id = 1") == [("ours", "ann@x", 42)]


@pytest.mark.parametrize(("using", "age"), [("ours", 1), ("theirs", 2)])
def test_ours_and_theirs_decide_only_what_is_disputed(fork, using, age):
    fork.ours.execute("update person set age = 1, name = 'ours' where id = 1")
    fork.theirs.execute("update person set age = 2, email = 'theirs@x' where id = 1")
    fork.merge(using=using)
    assert fork.rows("select name, email, age from person where id = 1") == [
        ("ours", "theirs@x", age)
    ]


def test_theirs_may_take_a_row_away(fork):
    fork.ours.execute("update person set age = 1 where id = 2")
    fork.theirs.execute("delete from person where id = 2")
    fork.merge(using="theirs")
    assert fork.rows("select id from person") == [(1,), (3,)]


def test_a_unique_value_that_both_took_is_a_conflict(fork):
    fork.ours.execute("insert into person values (7, 'o', 'same@x', 1)")
    fork.theirs.execute("insert into person values (8, 't', 'same@x', 1)")
    (conflict,) = fork.conflicts()
    assert (conflict.kind, conflict.key) == (ConflictKind.UNIQUE, {"id": 8})
    assert "person.email" in conflict.detail


def test_unique_values_may_be_swapped(fork):
    fork.theirs.execute("update person set email = 'tmp' where id = 1")
    fork.theirs.execute("update person set email = 'ann@x' where id = 2")
    fork.theirs.execute("update person set email = 'bob@x' where id = 1")
    fork.merge()
    assert fork.rows("select email from person order by id") == [("bob@x",), ("ann@x",), ("cid@x",)]


def test_a_row_whose_parent_is_gone_is_a_conflict(fork):
    fork.ours.execute("delete from person where id = 2")
    fork.theirs.execute("insert into pet values (5, 2, 'tom')")
    (conflict,) = fork.conflicts()
    assert (conflict.kind, conflict.table) == (ConflictKind.FOREIGN_KEY, "pet")


def test_rows_without_a_key_are_all_kept(fork):
    fork.ours.execute("insert into line values ('ours')")
    fork.theirs.execute("insert into line values ('theirs')")
    fork.merge()
    assert fork.rows("select t from line order by t") == [("first",), ("ours",), ("theirs",)]


def test_triggers_do_not_fire_again(fork):
    fork.ours.execute("create table audit(what)")
    fork.database.branches.create("again")
    again = dosql_dbapi.connect(fork.path, isolation_level=None, branch="again")
    again.execute(
        "create trigger t after insert on person begin insert into audit values (new.name); end"
    )
    again.execute("insert into person values (5, 'eve', 'eve@x', 1)")
    again.close()
    fork.merge("again")
    assert fork.rows("select what from audit") == [("eve",)]
    fork.ours.execute("insert into person values (6, 'fay', 'fay@x', 1)")
    assert fork.rows("select what from audit") == [("eve",), ("fay",)]


def test_merging_again_begins_where_the_last_one_ended(fork):
    fork.ours.execute("update person set age = 1 where id = 1")
    fork.theirs.execute("update person set age = 2 where id = 1")
    fork.merge(using="ours")
    fork.theirs.execute("update person set name = 'later' where id = 2")
    result = fork.merge()
    assert result.rows == 1
    assert fork.rows("select name, age from person where id < 3") == [("ann", 1), ("later", 40)]
    fork.merge("main", "dev")
    people = "select * from person"
    assert fork.rows(people, fork.theirs) == fork.rows(people)
    fork.theirs.execute("update person set age = 5 where id = 1")
    assert fork.merge().rows == 1
    assert fork.rows("select age from person where id = 1") == [(5,)]


def test_schema_that_only_one_side_changed_merges(fork):
    fork.theirs.execute("create table note(a)")
    fork.theirs.execute("insert into note values (1)")
    fork.theirs.execute("create index note_a on note(a)")
    fork.theirs.execute("create view old as select * from person where age > 45")
    fork.theirs.execute("alter table person add column city text default 'rome'")
    fork.theirs.execute("update person set city = 'oslo' where id = 3")
    fork.theirs.execute("drop table word")
    fork.ours.execute("update person set age = 60 where id = 1")
    fork.merge()
    assert fork.rows("select a from note") == [(1,)]
    assert fork.rows("select id, city from old") == [(1, "rome"), (3, "oslo")]
    names = [name for (name,) in fork.rows("select name from sqlite_schema")]
    assert "note_a" in names
    assert "word" not in names


def test_columns_added_on_both_sides_are_both_there(fork):
    fork.ours.execute("alter table person add column a int default 1")
    fork.theirs.execute("alter table person add column b int default 2")
    fork.theirs.execute("update person set b = 3 where id = 1")
    fork.merge()
    assert fork.rows("select a, b from person") == [(1, 3), (1, 2), (1, 2)]


def test_a_table_rebuilt_on_one_side_is_taken_over_whole(fork):
    fork.theirs.execute("alter table word rename column n to number")
    fork.theirs.execute("update word set number = 7 where w = 'a'")
    fork.merge()
    assert fork.rows("select w, number from word") == [("a", 7), ("b", 2)]


@pytest.mark.parametrize("we_alter", [False, True])
def test_a_column_renamed_on_one_side_keeps_the_rows_of_the_other(fork, we_alter):
    altering, writing = (fork.ours, fork.theirs) if we_alter else (fork.theirs, fork.ours)
    altering.execute("alter table word rename column n to number")
    altering.execute("update word set number = 7 where w = 'a'")
    writing.execute("insert into word values ('c', 3)")
    writing.execute("update word set n = 22 where w = 'b'")
    fork.merge()
    assert fork.rows("select w, number from word") == [("a", 7), ("b", 22), ("c", 3)]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("alter table word rename column n to x", "alter table word rename column n to y"),
        ("insert into word values ('c', 3)", "drop table word"),
        ("drop table word", "insert into word values ('c', 3)"),
        ("create table t(a)", "create table t(b)"),
    ],
)
def test_schemas_that_contradict_are_a_conflict(fork, ours, theirs):
    fork.ours.execute(ours)
    fork.theirs.execute(theirs)
    (conflict,) = fork.conflicts()
    assert conflict.kind is ConflictKind.SCHEMA


def test_branches_of_branches_merge_at_where_they_part(fork):
    fork.theirs.execute("update person set age = 41 where id = 2")
    fork.database.branches.create("deep", "dev")
    deep = dosql_dbapi.connect(fork.path, isolation_level=None, branch="deep")
    deep.execute("update person set age = 51 where id = 3")
    deep.close()
    fork.merge("deep")
    assert fork.rows("select age from person") == [(30,), (41,), (51,)]


def test_a_merge_can_be_undone(fork):
    before = fork.database.lsn("main")
    fork.theirs.execute("delete from person")
    fork.merge()
    fork.database.restore(before)
    assert len(fork.rows("select * from person")) == 3


def test_what_makes_no_sense_is_refused(fork):
    with pytest.raises(ProgrammingError, match="into itself"):
        fork.merge("main", "main")
    with pytest.raises(ProgrammingError, match="no way to merge"):
        fork.merge(using="magic")


def test_sql_merges_into_the_branch_of_the_connection(fork):
    fork.theirs.execute("update person set age = 41 where id = 2")
    dry = fork.ours.execute("merge branch dev dry run").fetchone()
    assert dry == (None, 1, 0, 1)
    (lsn, rows, conflicts, _) = fork.ours.execute("merge branch dev into main").fetchone()
    assert (lsn, rows, conflicts) == (fork.database.lsn("main"), 1, 0)
    assert fork.rows("select age from person where id = 2") == [(41,)]
    fork.ours.execute("update person set age = 1 where id = 1")
    fork.theirs.execute("update person set age = 2 where id = 1")
    with pytest.raises(MergeConflictError):
        fork.ours.execute("merge branch dev")
    fork.ours.execute("merge branch 'dev' using theirs")
    assert fork.rows("select age from person where id = 1") == [(2,)]
    with pytest.raises(ProgrammingError, match="OURS, THEIRS, NEWEST or ABORT"):
        fork.ours.execute("merge branch dev using force")


def test_a_merged_branch_can_be_dropped_and_what_is_left_compacted(fork):
    fork.theirs.execute("update person set age = 41 where id = 2")
    fork.merge()
    fork.theirs.close()
    fork.database.branches.drop("dev")
    fork.database.compact()
    (merge,) = fork.database.refs().merges
    assert (merge.source_name, merge.target_lsn) == ("dev", fork.database.lsn("main"))

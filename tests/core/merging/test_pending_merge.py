"""A merge with conflicts waits: they are looked at and decided in SQL and Python, then it ends."""

from __future__ import annotations

import json
import os
from contextlib import closing

import pytest

import dosql_dbapi
from dosql_core.errors import (
    BranchInUseError,
    CorruptStoreError,
    InvalidMergeOperationError,
    MergeConflictError,
    NotFastForwardError,
    ProgrammingError,
    UncommittedChangesError,
)


@pytest.fixture
def disputed(fork):
    """Two rows both changed, and a row only the branch did; the merge is pending."""
    fork.ours.execute("update person set age = 1, name = 'ours' where id = 1")
    fork.ours.execute("update person set age = 1 where id = 2")
    fork.ours.execute("update word set n = 5 where w = 'a'")
    fork.theirs.execute("update person set age = 2, email = 'theirs@x' where id = 1")
    fork.theirs.execute("delete from person where id = 2")
    fork.theirs.execute("update word set n = 6 where w = 'a'")
    fork.theirs.execute("insert into line values ('theirs')")
    with pytest.raises(MergeConflictError, match="3 conflicts") as refused:
        fork.ours.execute("merge branch dev")
    assert "COMMIT MERGE" in refused.value.hint
    return fork


def numbers(fork, condition="true"):
    rows = fork.rows(f"select number from dosql_conflicts where {condition}")
    return [number for (number,) in rows]


def test_conflicts_are_a_table(disputed):
    rows = disputed.rows("select kind, table_name, key, columns, base, ours, theirs, source"
                         " from dosql_conflicts order by table_name, key")  # fmt: skip
    parsed = [(*row[:4], *(text and json.loads(text) for text in row[4:7]), row[7]) for row in rows]
    assert parsed == [
        (
            "modify/modify", "person", '{"id": 1}', "age",
            {"id": 1, "name": "ann", "email": "ann@x", "age": 30},
            {"id": 1, "name": "ours", "email": "ann@x", "age": 1},
            {"id": 1, "name": "ann", "email": "theirs@x", "age": 2},
            "dev",
        ),
        (
            "modify/delete", "person", '{"id": 2}', "",
            {"id": 2, "name": "bob", "email": "bob@x", "age": 40},
            {"id": 2, "name": "bob", "email": "bob@x", "age": 1},
            None,
            "dev",
        ),
        ("modify/modify", "word", '{"w": "a"}', "n", {"w": "a", "n": 1}, {"w": "a", "n": 5},
         {"w": "a", "n": 6}, "dev"),
    ]  # fmt: skip
    assert disputed.rows("select ours->>'n', theirs->>'n' from dosql_conflicts('word')") == [(5, 6)]
    assert disputed.rows("select 1 from dosql_conflicts('person', 'dev')") == []
    assert disputed.rows("select 1 from dosql_conflicts where branch = 'dev'") == []
    assert disputed.rows("select 1 from dosql_conflicts", disputed.theirs) == []


def test_the_target_is_untouched_and_goes_on_meanwhile(disputed):
    assert disputed.rows("select t from line") == [("first",)]
    disputed.ours.execute("insert into line values ('meanwhile')")
    disputed.ours.execute("resolve conflicts using theirs")
    disputed.ours.execute("commit merge")
    assert disputed.rows("select t from line order by t") == [
        ("first",), ("meanwhile",), ("theirs",)
    ]  # fmt: skip


def test_each_row_is_decided_on_its_own_by_update(disputed):
    update = "update dosql_conflicts set resolution = ? where "
    disputed.ours.execute(update + "key->>'id' = 1", ('{"age": 42}',))
    disputed.ours.execute(update + "kind = 'modify/delete'", ("theirs",))
    with pytest.raises(MergeConflictError, match="1 conflict "):
        disputed.ours.execute("commit merge")
    assert disputed.rows("select table_name from dosql_conflicts where resolution is null") == [
        ("word",)
    ]
    disputed.ours.execute(update + "table_name = 'word'", ("delete",))
    lsn, rows, conflicts, _ = disputed.ours.execute("commit merge").fetchone()
    assert (lsn, rows, conflicts) == (disputed.database.lsn(), 4, 0)
    assert disputed.rows("select name, email, age from person where id < 3") == [
        ("ours", "theirs@x", 42)
    ]
    assert disputed.rows("select w from word") == [("b",)]
    assert numbers(disputed) == []
    assert disputed.rows("select parents from dosql_log limit 1") == [
        (f"main@{lsn - 1} dev@{disputed.database.lsn('dev')}",)
    ]


def test_a_decision_can_be_taken_back_and_rolled_back(disputed):
    disputed.ours.execute("update dosql_conflicts set resolution = 'ours'")
    assert numbers(disputed, "resolution = 'ours'") == numbers(disputed)
    disputed.ours.execute("update dosql_conflicts set resolution = null where number = 1")
    disputed.ours.execute("begin")
    disputed.ours.execute("update dosql_conflicts set resolution = 'theirs'")
    assert len(numbers(disputed, "resolution = 'theirs'")) == 3
    with pytest.raises(UncommittedChangesError):
        disputed.ours.execute("commit merge")
    disputed.ours.execute("rollback")
    assert numbers(disputed, "resolution is null") == [1]
    assert disputed.rows("select count(*) from dosql_conflicts where resolution = 'ours'") == [(2,)]


def test_statements_resolve_all_or_those_of_a_table_or_one(disputed):
    run = disputed.ours.execute
    assert run("resolve conflicts on word using ours").fetchone() == (1,)
    (number,) = numbers(disputed, "kind = 'modify/delete'")
    assert run(f"resolve conflict {number} into main using base").fetchone() == (1,)
    assert run("resolve conflict ? using theirs", (numbers(disputed)[0],)).fetchone() == (1,)
    run("commit merge into main")
    assert disputed.rows("select id, age from person") == [(1, 2), (2, 40), (3, 50)]
    assert disputed.rows("select n from word where w = 'a'") == [(5,)]


def test_python_resolves_rows_tables_and_by_a_function(disputed):
    branches = disputed.database.branches
    assert branches.resolve({"n": 7}, table="word", key={"w": "a"}) == 1
    assert branches.resolve(lambda conflict: conflict.ours, table="person", key={"id": 2}) == 1
    assert [open.conflict.key for open in branches.conflicts() if open.resolution is None] == [
        {"id": 1}
    ]
    assert branches.pending_merge().unresolved[0].columns == ("age",)
    branches.resolve("newest", key={"id": 1})
    done = branches.complete(author="ann", message="together")
    assert disputed.rows("select id, age from person") == [(1, 2), (2, 1), (3, 50)]
    newest = disputed.database.log(limit=1)[0]
    assert (newest.lsn, newest.author, newest.message) == (done.lsn, "ann", "together")


def test_the_last_writer_of_each_value_wins(fork):
    fork.theirs.execute("update person set age = 2 where id = 1")
    fork.ours.execute("update person set age = 1 where id = 1")
    fork.ours.execute("update person set age = 1 where id = 2")
    fork.theirs.execute("update person set age = 2 where id = 2")
    fork.theirs.execute("update person set name = 'later' where id = 1")  # not in dispute
    fork.ours.execute("delete from word where w = 'a'")
    fork.theirs.execute("update word set n = 6 where w = 'a'")
    fork.merge(using="newest")
    assert fork.rows("select id, name, age from person where id < 3") == [
        (1, "later", 1), (2, "bob", 2)
    ]  # fmt: skip
    assert fork.rows("select n from word where w = 'a'") == [(6,)]


def test_an_aborted_merge_leaves_nothing(disputed):
    before = disputed.database.lsn()
    disputed.ours.execute("abort merge")
    assert (disputed.database.lsn(), numbers(disputed)) == (before, [])
    for act in ("abort merge", "commit merge", "resolve conflicts using ours"):
        with pytest.raises(InvalidMergeOperationError) as refused:
            disputed.ours.execute(act)
        assert refused.value.code == "INVALID_OPERATION"


def test_abort_asked_for_keeps_no_conflicts(fork):
    fork.ours.execute("update person set age = 1")
    fork.theirs.execute("update person set age = 2")
    with pytest.raises(MergeConflictError):
        fork.ours.execute("merge branch dev using abort")
    assert numbers(fork) == []


def test_merging_the_same_branch_again_begins_anew(disputed):
    disputed.ours.execute("resolve conflicts using ours")
    disputed.theirs.execute("update person set age = 77 where id = 3")
    with pytest.raises(MergeConflictError):
        disputed.ours.execute("merge branch dev")
    assert len(numbers(disputed, "resolution is null")) == 3
    disputed.ours.execute("merge branch dev using theirs")
    assert numbers(disputed) == []
    assert disputed.rows("select age from person where id = 3") == [(77,)]


def test_another_merge_waits_until_this_one_has_ended(disputed):
    disputed.database.branches.create("other")
    with pytest.raises(InvalidMergeOperationError, match="merge of dev into 'main' is pending"):
        disputed.ours.execute("merge branch other")
    with pytest.raises(InvalidMergeOperationError):
        disputed.ours.execute(f"revert lsn {disputed.database.lsn()}")
    disputed.theirs.close()
    with pytest.raises(BranchInUseError, match="pending"):
        disputed.database.branches.drop("dev")


def test_a_target_that_moved_brings_its_new_conflicts(disputed):
    disputed.ours.execute("resolve conflicts using theirs")
    disputed.ours.execute("update person set age = 3 where id = 1")
    disputed.ours.execute("insert into person values (9, 'new', 'theirs@x', 1)")
    with pytest.raises(MergeConflictError, match="2 conflicts"):
        disputed.ours.execute("commit merge")
    assert disputed.rows(
        "select kind, key from dosql_conflicts where resolution is null order by kind"
    ) == [("modify/modify", '{"id": 1}'), ("unique", '{"id": 1}')]
    assert disputed.rows("select table_name, resolution from dosql_conflicts "
                         "where resolution is not null order by 1") == [
        ("person", "theirs"), ("word", "theirs")
    ]  # fmt: skip
    disputed.ours.execute("resolve conflicts using ours")
    disputed.ours.execute("commit merge")
    assert disputed.rows("select email, age from person where id = 1") == [("ann@x", 3)]


def test_what_is_pending_is_kept_for_others_and_through_compaction(disputed):
    from dosql_core.options import Retention

    disputed.database.set_retention(Retention(commits_max=1))
    for age in range(20):
        disputed.ours.execute("update person set age = ? where id = 3", (age,))
        disputed.theirs.execute("update pet set name = ?", (str(age),))
    disputed.database.compact()
    disputed.close()
    with closing(dosql_dbapi.connect(disputed.path, isolation_level=None)) as con, con:
        assert con.execute("select count(*) from dosql_conflicts").fetchone() == (3,)
        con.execute("resolve conflicts using theirs")
        con.execute("commit merge")
        assert con.execute("select age from person where id = 1").fetchone() == (2,)
    con.close()


def test_values_of_every_kind_survive_the_wait(fork):
    fork.ours.execute("create table v(id integer primary key, x)")
    fork.ours.execute("insert into v values (1, null), (2, null), (3, null), (4, null)")
    fork.database.branches.create("values")
    big, blob = 2**62 + 1, bytes(range(256))
    with closing(dosql_dbapi.connect(fork.path, isolation_level=None, branch="values")) as con, con:
        con.executemany(
            "update v set x = ? where id = ?",
            [(big, 1), (blob, 2), (1e300, 3), ("é\x00\U0001f600", 4)],
        )
        expected = con.execute("select x, typeof(x) from v").fetchall()
    fork.ours.execute("update v set x = 'ours'")
    with pytest.raises(MergeConflictError):
        fork.ours.execute("merge branch 'values'")
    fork.ours.execute("resolve conflicts using theirs")
    fork.ours.execute("commit merge")
    assert fork.rows("select x, typeof(x) from v") == expected


@pytest.mark.parametrize(
    ("resolution", "message"),
    [("nobody", "expected ours, theirs, base"), ("{broken", "no JSON"), (17, "expected ours")],
)
def test_what_is_no_resolution_is_refused(disputed, resolution, message):
    with pytest.raises(ProgrammingError, match=message):
        disputed.ours.execute("update dosql_conflicts set resolution = ?", (resolution,))
    assert numbers(disputed, "resolution is not null") == []


def test_conflicts_are_neither_added_nor_deleted(disputed):
    with pytest.raises(dosql_dbapi.OperationalError, match="COMMIT MERGE or ABORT MERGE"):
        disputed.ours.execute("delete from dosql_conflicts")
    with pytest.raises(dosql_dbapi.OperationalError, match="found by a merge"):
        disputed.ours.execute("insert into dosql_conflicts(kind) values ('mine')")


def test_a_damaged_document_is_damage_not_an_answer(disputed):
    directory = disputed.database.branch_directory("main")
    (name,) = [name for name in os.listdir(directory) if name.startswith("pending_merge-")]
    path = os.path.join(directory, name)
    with open(path, "rb") as file:
        content = file.read()
    with open(path, "wb") as file:
        file.write(content.replace(b"theirs@x", b"theirs@y"))
    with pytest.raises(CorruptStoreError):
        disputed.database.branches.pending_merge()
    with open(path, "wb") as file:
        file.write(content)
    assert len(numbers(disputed)) == 3


def test_only_a_fast_forward_may_be_asked_for(fork):
    fork.theirs.execute("update person set age = 2 where id = 1")
    assert fork.ours.execute("merge branch dev fast forward only").fetchone()[3] == 1
    fork.theirs.execute("update person set age = 3 where id = 1")
    fork.ours.execute("insert into line values ('ours')")
    with pytest.raises(NotFastForwardError) as refused:
        fork.ours.execute("merge branch dev fast forward only")
    assert refused.value.code == "NOT_FAST_FORWARD"
    assert fork.rows("select age from person where id = 1") == [(2,)]


def test_a_squashed_merge_has_one_parent_and_is_not_remembered(fork):
    fork.theirs.execute("update person set age = 2 where id = 1")
    fork.ours.execute("merge branch dev squash")
    log = fork.database.log(limit=1)[0]
    assert (len(log.parents), "squashed" in log.message) == (1, True)
    assert not fork.database.branches.get("dev").is_merged
    assert fork.database.branches.merge("dev").lsn is None  # the same change on both sides
    assert fork.database.branches.get("dev").is_merged


def test_a_policy_leaves_no_pending_merge_behind(fork):
    fork.ours.execute("update person set age = 1")
    fork.theirs.execute("update person set age = 2")
    fork.ours.execute("merge branch dev using theirs")
    assert fork.database.branches.pending_merge() is None
    with pytest.raises(InvalidMergeOperationError):
        fork.database.branches.complete()

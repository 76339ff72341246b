"""Commits taken back, made again elsewhere, and branches begun anew on the present."""

from __future__ import annotations

from contextlib import closing

import pytest

import dosql_dbapi
from dosql_core.errors import (
    BranchInUseError,
    CommitNotFoundError,
    MergeConflictError,
    ProgrammingError,
)


def ages(fork, con=None):
    return [value for (value,) in fork.rows("select age from person order by id", con)]


def test_a_commit_is_taken_back_and_what_came_later_stays(fork):
    fork.ours.execute("update person set age = 0 where id in (1, 2)")
    lsn = fork.database.lsn()
    fork.ours.execute("update person set age = 7 where id = 3")
    fork.ours.execute("update person set name = 'later' where id = 1")
    reverted, rows, conflicts, _ = fork.ours.execute(f"revert lsn {lsn}").fetchone()
    assert (reverted, rows, conflicts) == (lsn + 3, 2, 0)
    assert ages(fork) == [30, 40, 7]
    assert fork.rows("select name from person where id = 1") == [("later",)]
    log = fork.database.log(limit=1)[0]
    assert (log.message, log.parents) == (f"reverted LSN {lsn}", (f"main@{lsn + 2}",))


def test_a_revert_can_be_reverted(fork):
    fork.ours.execute("delete from person where id = 3")
    lsn = fork.database.branches.revert(fork.database.lsn(), author="ann").lsn
    assert ages(fork) == [30, 40, 50]
    fork.ours.execute(f"revert lsn {lsn}")
    assert ages(fork) == [30, 40]
    assert fork.database.log(limit=2)[1].author == "ann"


def test_a_range_is_taken_back_as_one(fork):
    first = fork.database.lsn() + 1
    for age in (1, 2, 3):
        fork.ours.execute("update person set age = ? where id = 1", (age,))
    fork.ours.execute("insert into line values ('later')")
    fork.ours.execute(f"revert lsn {first} to {first + 2}")
    assert ages(fork)[0] == 30
    assert fork.rows("select count(*) from line") == [(2,)]


def test_what_changed_since_in_another_way_is_a_conflict_that_can_wait(fork):
    fork.ours.execute("update person set age = 0 where id = 1")
    lsn = fork.database.lsn()
    fork.ours.execute("update person set age = 5 where id = 1")
    with pytest.raises(MergeConflictError, match=f"between LSN {lsn} and main"):
        fork.ours.execute(f"revert lsn {lsn}")
    assert fork.rows("select base->>'age', ours->>'age', theirs->>'age' from dosql_conflicts") == [
        (0, 5, 30)
    ]
    fork.ours.execute("resolve conflicts using theirs")
    fork.ours.execute("commit merge")
    assert ages(fork)[0] == 30


def test_a_table_made_or_dropped_is_taken_back(fork):
    fork.ours.execute("create table note(a)")
    made = fork.database.lsn()
    fork.ours.execute("drop table word")
    dropped = fork.database.lsn()
    fork.ours.execute(f"revert lsn {made}")
    fork.ours.execute(f"revert lsn {dropped}")
    assert fork.rows("select w from word") == [("a",), ("b",)]
    assert fork.rows("select 1 from sqlite_schema where name = 'note'") == []


def test_the_first_commit_of_all_can_be_taken_back(database_path):
    with closing(dosql_dbapi.connect(database_path, isolation_level=None)) as con, con:
        con.execute("create table only(a)")
        con.execute("revert lsn 1")
        made = "select count(*) from sqlite_schema where name = 'only'"
        assert con.execute(made).fetchone() == (0,)
    con.close()


def test_a_merge_is_undone_and_can_be_made_again(fork):
    fork.theirs.execute("update person set age = 1 where id = 1")
    fork.ours.execute("update person set age = 2 where id = 2")
    lsn = fork.merge().lsn
    fork.ours.execute("update person set name = 'later' where id = 3")
    fork.ours.execute(f"revert lsn {lsn}")
    assert ages(fork) == [30, 2, 50]
    assert not fork.database.branches.get("dev").is_merged
    fork.merge(using="abort")
    assert ages(fork) == [1, 2, 50]
    assert fork.rows("select name from person where id = 3") == [("later",)]


def test_a_dry_run_takes_nothing_back(fork):
    fork.ours.execute("delete from person where id = 3")
    lsn = fork.database.lsn()
    assert fork.ours.execute(f"revert lsn {lsn} dry run").fetchone() == (None, 1, 0, 1)
    assert fork.database.lsn() == lsn


@pytest.mark.parametrize("lsn", [0, 999])
def test_a_commit_that_is_not_there_is_refused(fork, lsn):
    for statement in (f"revert lsn {lsn}", f"cherry pick lsn {lsn} from branch dev"):
        with pytest.raises(CommitNotFoundError) as refused:
            fork.ours.execute(statement)
        assert refused.value.code == "COMMIT_NOT_FOUND"


def test_one_commit_of_a_branch_is_made_here_with_its_author(fork):
    fork.theirs.execute("update person set age = 1 where id = 1")
    with fork.theirs.transaction(author="dee", message="fix two"):
        fork.theirs.execute("update person set age = 2 where id = 2")
    lsn = fork.database.lsn("dev")
    fork.theirs.execute("update person set age = 3 where id = 3")
    fork.ours.execute("update person set name = 'ours' where id = 2")
    fork.ours.execute(f"cherry pick lsn {lsn} from branch dev into main")
    assert ages(fork) == [30, 2, 50]
    log = fork.database.log(limit=1)[0]
    assert (log.author, log.message) == ("dee", "fix two")
    fork.merge(using="abort")  # the same change on both sides by now
    assert ages(fork) == [1, 2, 3]


def test_a_range_is_picked_as_one_commit(fork):
    first = fork.database.lsn("dev") + 1
    for age in (1, 2):
        fork.theirs.execute("update person set age = ? where id = 1", (age,))
    fork.theirs.execute("update person set age = 3 where id = 2")
    before = fork.database.lsn()
    fork.ours.execute("cherry pick lsn ? to ? from branch dev", (first, first + 1))
    assert (ages(fork), fork.database.lsn()) == ([2, 40, 50], before + 1)


def rebased(fork):
    for age in (1, 2):
        with fork.theirs.transaction(author="dee", message=f"age {age}"):
            fork.theirs.execute("update person set age = ? where id = 1", (age,))
    fork.ours.execute("update person set age = 9 where id = 2")
    fork.theirs.close()


def test_a_rebased_branch_begins_at_the_present_with_its_own_commits(fork):
    rebased(fork)
    parent = fork.database.lsn()
    row = fork.ours.execute("rebase branch dev").fetchone()
    assert row == (parent, parent + 2, 2, 0)
    info = fork.database.branches.get("dev")
    assert (info.fork_lsn, info.ahead, info.behind) == (parent, 2, 0)
    told = [(c.author, c.message) for c in fork.database.log("dev", limit=2)]
    assert told == [("dee", "age 2"), ("dee", "age 1")]
    with closing(dosql_dbapi.connect(fork.path, branch="dev")) as dev, dev:
        assert ages(fork, dev) == [2, 9, 50]
    dev.close()
    assert [b.name for b in fork.database.branches.list()] == ["main", "dev"]
    assert fork.merge().is_fast_forward


def test_a_rebase_squashes_and_moves_to_another_parent(fork):
    fork.database.branches.create("stage")
    with (
        closing(dosql_dbapi.connect(fork.path, branch="stage", isolation_level=None)) as stage,
        stage,
    ):
        stage.execute("update person set age = 8 where id = 3")
    stage.close()
    rebased(fork)
    done = fork.database.branches.rebase("dev", "stage", squash=True, message="both")
    assert (done.onto, done.commits) == ("stage", 1)
    assert fork.database.branches.get("dev").parent == "stage"
    assert fork.database.log("dev", limit=1)[0].message == "both"
    with closing(dosql_dbapi.connect(fork.path, branch="dev")) as dev, dev:
        assert ages(fork, dev) == [2, 40, 8]
    dev.close()


def test_what_the_parent_has_already_is_not_made_again(fork):
    fork.theirs.execute("update person set age = 1 where id = 1")
    fork.merge()
    fork.theirs.execute("update person set age = 2 where id = 2")
    fork.ours.execute("update person set age = 3 where id = 3")
    fork.theirs.close()
    done = fork.database.branches.rebase("dev")
    assert (done.commits, done.skipped) == (1, 0)
    with closing(dosql_dbapi.connect(fork.path, branch="dev")) as dev, dev:
        assert ages(fork, dev) == [1, 2, 3]
    dev.close()


def test_a_commit_that_contradicts_leaves_the_branch_as_it_was(fork):
    rebased(fork)
    fork.ours.execute("update person set age = 7 where id = 1")
    before = fork.database.branches.get("dev")
    with pytest.raises(MergeConflictError, match="of dev contradicts"):
        fork.ours.execute("rebase branch dev")
    assert fork.database.branches.get("dev") == before
    assert [b.name for b in fork.database.branches.list()] == ["main", "dev"]
    fork.ours.execute("rebase branch dev using theirs")
    with closing(dosql_dbapi.connect(fork.path, branch="dev")) as dev, dev:
        assert ages(fork, dev)[:2] == [2, 9]
    dev.close()


def test_a_branch_that_is_open_or_needed_is_not_rebased(fork):
    with pytest.raises(BranchInUseError):
        fork.ours.execute("rebase branch dev")
    fork.theirs.close()
    fork.database.branches.create("child", "dev")
    with pytest.raises(BranchInUseError, match="'child' need"):
        fork.ours.execute("rebase branch dev")
    fork.database.branches.drop("child")
    with pytest.raises(ProgrammingError, match="no parent"):
        fork.ours.execute("rebase branch main")
    fork.ours.execute("rebase branch dev")

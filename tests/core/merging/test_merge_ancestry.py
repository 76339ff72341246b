"""From which moment branches are compared, and what lists and logs tell of merges."""

from __future__ import annotations

import random
from contextlib import closing
from typing import Any

import pytest

import dosql_dbapi
from dosql_core.database import open_database
from dosql_core.history.ancestry import common_moments, contained_lsns
from dosql_core.history.refs import BranchRef, MergeRef, RefsContent
from dosql_core.history.time_travel import ResolvedMoment
from dosql_core.identifiers import BranchId, BranchName, Lsn, Microseconds


def refs_with(*branches: tuple[str, str | None, int], merges: Any = ()) -> RefsContent:
    return RefsContent(
        {
            BranchId(name): BranchRef(
                BranchId(name),
                BranchName(name),
                None if parent is None else BranchId(parent),
                Lsn(fork),
                Microseconds(number),
            )
            for number, (name, parent, fork) in enumerate(branches)
        },
        merges=[
            MergeRef(BranchId(t), Lsn(tl), BranchId(s), Lsn(sl), source_name=s)
            for t, tl, s, sl in merges
        ],
    )


def at(name: str, lsn: int) -> ResolvedMoment:
    return ResolvedMoment(BranchId(name), Lsn(lsn))


def test_without_merges_it_is_where_the_lines_part():
    refs = refs_with(("main", None, 0), ("a", "main", 5), ("b", "a", 7))
    assert common_moments(refs, at("main", 9), at("b", 12)) == [at("main", 5)]
    assert common_moments(refs, at("a", 6), at("b", 12)) == [at("a", 6)]


def test_after_a_merge_it_is_what_was_merged():
    branches = ("main", None, 0), ("dev", "main", 5)
    refs = refs_with(*branches, merges=[("main", 9, "dev", 8)])
    assert common_moments(refs, at("main", 12), at("dev", 20)) == [at("dev", 8)]
    refs = refs_with(*branches, merges=[("main", 9, "dev", 8), ("dev", 11, "main", 10)])
    assert common_moments(refs, at("main", 12), at("dev", 20)) == [at("main", 10)]


def test_what_came_through_a_third_branch_is_in_common():
    refs = refs_with(
        ("main", None, 0),
        ("a", "main", 5),
        ("b", "main", 5),
        merges=[("b", 6, "a", 7), ("main", 6, "a", 7)],
    )
    assert common_moments(refs, at("main", 9), at("b", 9)) == [at("a", 7)]


def test_branches_merged_crosswise_have_two():
    refs = refs_with(
        ("main", None, 0),
        ("dev", "main", 2),
        ("mix", "main", 4),
        merges=[("main", 5, "dev", 3), ("mix", 5, "dev", 3)],
    )
    assert common_moments(refs, at("main", 9), at("mix", 9)) == [at("main", 4), at("dev", 3)]


def paths(refs: RefsContent, moment: ResolvedMoment) -> set[tuple[BranchId, Lsn]]:
    """Every commit a moment comes from, walked one by one: the definition."""
    found: set[tuple[BranchId, Lsn]] = set()
    todo = [(moment.branch_id, moment.lsn)]
    while todo:
        branch_id, lsn = todo.pop()
        branch = refs.branches[branch_id]
        if branch.parent_id is not None and lsn <= branch.fork_lsn:
            branch_id = branch.parent_id
            todo.append((branch_id, lsn))
            continue
        if lsn < 0 or (branch_id, lsn) in found:
            continue
        found.add((branch_id, lsn))
        todo.append((branch_id, Lsn(lsn - 1)))
        todo += [
            (merge.source_id, merge.source_lsn)
            for merge in refs.merges
            if (merge.target_id, merge.target_lsn) == (branch_id, lsn)
        ]
    return found


def test_what_is_contained_agrees_with_walking_every_commit(seeded_random: random.Random):
    for _ in range(60):
        names = ["main", "a", "b", "c"]
        lsns = {"main": 3}
        branches: list[tuple[str, str | None, int]] = [("main", None, 0)]
        for number, name in enumerate(names[1:], 1):
            parent = seeded_random.choice(names[:number])
            lsns[name] = lsns[parent]
            branches.append((name, parent, lsns[parent]))
        merges = []
        for _ in range(seeded_random.randrange(6)):
            for name in names:
                lsns[name] += seeded_random.randrange(2)
            target, source = seeded_random.sample(names, 2)
            lsns[target] += 1
            merges.append((target, lsns[target], source, lsns[source]))
        refs = refs_with(*branches, merges=merges)
        one, other = (at(name, lsns[name]) for name in seeded_random.sample(names, 2))
        walked = paths(refs, one)
        for branch_id, lsn in contained_lsns(refs, one.branch_id, one.lsn).items():
            assert paths(refs, ResolvedMoment(branch_id, lsn)) <= walked
        common = walked & paths(refs, other)
        assert common == set().union(*(paths(refs, m) for m in common_moments(refs, one, other)))


def age(con: Any) -> int:
    return int(con.execute("select age from person where id = 1").fetchone()[0])


def test_a_value_that_came_round_through_a_third_branch_is_no_conflict(fork):
    fork.database.branches.create("third")
    fork.theirs.execute("update person set age = 2 where id = 1")
    fork.merge("dev", "third")
    fork.merge("dev", "main")
    fork.ours.execute("update person set age = 3 where id = 1")
    with (
        closing(dosql_dbapi.connect(fork.path, branch="third", isolation_level=None)) as third,
        third,
    ):
        third.execute("insert into line values ('third')")
    fork.merge("third", "main", using="abort")
    assert age(fork.ours) == 3


def test_branches_merged_crosswise_keep_what_was_decided_later(fork):
    """Either of the two common moments alone would find conflicts where there are none."""
    fork.ours.execute("update person set age = 31 where id = 1")  # main
    fork.theirs.execute("update person set age = 41 where id = 2")  # dev
    fork.database.branches.create("mix")
    fork.merge("dev", "main")
    fork.merge("dev", "mix")
    with closing(dosql_dbapi.connect(fork.path, branch="mix", isolation_level=None)) as mix, mix:
        mix.execute("update person set age = 32 where id = 1")
        fork.ours.execute("update person set age = 42 where id = 2")
        fork.merge("mix", "main", using="abort")
        assert fork.rows("select age from person") == [(32,), (42,), (50,)]
        fork.merge("main", "mix", using="abort")
        assert fork.rows("select age from person", mix) == [(32,), (42,), (50,)]


def test_lists_know_what_was_merged(fork):
    def listed() -> Any:
        rows = fork.ours.execute("show branches").fetchall()
        names = [column[0] for column in fork.ours.execute("show branches").description]
        (dev,) = [dict(zip(names, row, strict=True)) for row in rows if row[0] == "dev"]
        return dev["ahead"], dev["behind"], dev["merged"]

    assert listed() == (0, 0, 1)
    fork.theirs.execute("update person set age = 2 where id = 1")
    fork.theirs.execute("update person set age = 2 where id = 2")
    assert listed() == (2, 0, 0)
    fork.merge()  # a fast forward: both are the same now
    assert listed() == (0, 0, 1)
    fork.ours.execute("insert into line values ('a')")
    fork.theirs.execute("insert into line values ('b')")
    assert listed() == (1, 1, 0)
    fork.merge()
    assert listed() == (0, 2, 1)
    fork.merge("main", "dev")
    assert listed() == (0, 0, 1)


def test_the_log_names_the_parents_of_a_merge_also_when_its_branch_is_gone(fork):
    fork.ours.execute("insert into line values ('a')")
    fork.theirs.execute("insert into line values ('b')")
    theirs = fork.database.lsn("dev")
    lsn = fork.merge().lsn
    fork.database.branches.rename("dev", "feature")
    query = f"select parents from dosql_log where lsn >= {lsn - 1} order by lsn desc"
    assert fork.rows(query) == [(f"main@{lsn - 1} feature@{theirs}",), (f"main@{lsn - 2}",)]
    fork.theirs.close()
    fork.database.branches.drop("feature")
    assert fork.database.log(limit=1)[0].parents == (f"main@{lsn - 1}", f"dev@{theirs}")


def test_a_fork_names_its_parent_s_commits_as_its_parent_s(fork):
    fork.theirs.execute("insert into line values ('b')")
    lsn = fork.database.lsn("dev")
    assert [commit.parents for commit in fork.database.log("dev", limit=2)] == [
        (f"main@{lsn - 1}",), (f"main@{lsn - 2}",)
    ]  # fmt: skip


def test_what_a_dropped_branch_brought_along_stays_in_common(fork):
    fork.theirs.execute("update person set age = 2 where id = 1")
    fork.database.branches.create("between")
    fork.merge("dev", "between")
    fork.merge("between", "main")
    fork.database.branches.drop("between")
    fork.ours.execute("update person set age = 3 where id = 1")
    fork.theirs.execute("insert into line values ('b')")
    fork.merge("dev", "main", using="abort")
    assert age(fork.ours) == 3


def test_a_merge_undone_by_restore_can_be_made_again(fork):
    before = fork.database.lsn()
    fork.theirs.execute("update person set age = 2 where id = 1")
    fork.merge()
    fork.database.restore(before)
    assert (age(fork.ours), fork.database.branches.get("dev").is_merged) == (30, False)
    assert fork.merge().rows == 1
    assert age(fork.ours) == 2


def test_common_moments_are_kept_from_compaction(fork):
    from dosql_core.options import Retention

    fork.database.set_retention(Retention(commits_max=1))
    fork.theirs.execute("update person set age = 2 where id = 1")
    fork.merge()
    for number in range(20):
        fork.ours.execute("update pet set name = ?", (str(number),))
        fork.theirs.execute("update person set name = ? where id = 2", (str(number),))
    fork.database.compact()
    fork.merge(using="abort")
    assert fork.rows("select name from person where id = 2") == [("19",)]


@pytest.mark.parametrize("through", [1, 3])
def test_branches_far_apart_merge_through_their_ancestors(database_path, through):
    with closing(dosql_dbapi.connect(database_path, isolation_level=None)) as con, con:
        con.execute("create table t(id integer primary key, v)")
        con.executemany("insert into t values (?, 0)", [(n,) for n in range(4)])
    with open_database(database_path) as database:
        for side in ("left", "right"):
            parent = "main"
            for depth in range(through):
                name = f"{side}{depth}"
                database.branches.create(name, parent)
                with (
                    closing(
                        dosql_dbapi.connect(database_path, branch=name, isolation_level=None)
                    ) as branch,
                    branch,
                ):
                    branch.execute(
                        "update t set v = v + 1 where id = ?", (0 if side == "left" else 1,)
                    )
                branch.close()
                parent = name
        last = through - 1
        database.branches.merge(f"left{last}", f"right{last}", using="abort")
        with closing(dosql_dbapi.connect(database_path, branch=f"right{last}")) as con, con:
            assert con.execute("select v from t").fetchall() == [(through,), (through,), (0,), (0,)]
        con.close()

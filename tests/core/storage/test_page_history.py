"""Pages as of an LSN, through forks of forks."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from dosql_core.errors import HistoryExpiredError, LsnNotAvailableError
from dosql_core.identifiers import Lsn
from fixtures.histories import CommitPlan, RememberedBranch

PAGE_SIZE = 512


def content(text: str) -> bytes:
    return (text.encode() * PAGE_SIZE)[:PAGE_SIZE]


def pages(text: str, numbers: range) -> dict[int, bytes]:
    return {number: content(f"{text}{number}") for number in numbers}


@pytest.fixture
def main(tmp_path: Path) -> RememberedBranch:
    branch = RememberedBranch(tmp_path / "main", PAGE_SIZE)
    branch.seal([CommitPlan(10, pages("main ", range(1, 11)))])
    return branch


def test_twelve_forks_deep_every_moment_reads_the_same(main: RememberedBranch) -> None:
    branch = main
    for depth in range(1, 13):
        branch.seal([CommitPlan(10, pages(f"late {depth} ", range(9, 11)))])
        name = f"depth-{depth}"
        directory = main.directory.parent / name
        fork_lsn = branch.newest - 1
        branch = RememberedBranch(directory, PAGE_SIZE, branch, fork_lsn, name)
        branch.seal([CommitPlan(10, {depth % 10 + 1: content(f"depth {depth}")})])
    branch.check()
    listed = [record.lsn for record in branch.page_history.commits(Lsn(1), Lsn(branch.newest))]
    assert listed == list(range(1, branch.newest + 1))
    backwards = branch.page_history.commits_backwards(Lsn(branch.newest))
    assert [record.lsn for record in backwards] == listed[::-1]


def test_pages_cut_off_before_a_fork_do_not_come_back_in_it(main: RememberedBranch) -> None:
    """The grandchild grows over pages that its parent gave up but its grandparent still had."""
    root = main.directory.parent
    child = RememberedBranch(root / "child", PAGE_SIZE, main, 1, "child")
    child.seal([CommitPlan(2, {1: content("child")})])
    grandchild = RememberedBranch(root / "grandchild", PAGE_SIZE, child, 2, "grandchild")
    grandchild.seal([CommitPlan(10, {10: content("grown")})])
    view = grandchild.page_history.view(Lsn(3))
    assert [view.read_page(page) for page in range(3, 10)] == [bytes(PAGE_SIZE)] * 7
    grandchild.check()
    assert view.changed_pages(main.page_history.view(Lsn(1))) == [1, *range(3, 11)]


def test_a_time_before_the_fork_is_the_parents(main: RememberedBranch) -> None:
    main.seal([CommitPlan(10, {1: content(f"change {number}")}) for number in range(5)])
    fork = RememberedBranch(main.directory.parent / "fork", PAGE_SIZE, main, 3, "fork")
    history = fork.page_history
    assert history.newest_at(main.records[2].committed_at) == 2
    assert history.newest_at(main.records[6].committed_at) == 3  # the fork saw no later one
    fork.seal([CommitPlan(10, {1: content("fork")})])
    assert history.newest_at(fork.records[4].committed_at) == 4
    assert history.newest_at(main.records[3].committed_at) == 3


def test_a_page_outside_the_database_is_refused(main: RememberedBranch) -> None:
    view = main.page_history.view(Lsn(1))
    for page in (0, -1, 11):
        with pytest.raises(ValueError, match=f"page {page} of 10"):
            view.read_page(page)
        assert view.version_lsn(page) is None
    view.close()
    with pytest.raises(ValueError, match="page 1 of 0"):
        view.read_page(1)


def test_moments_that_are_not_there_are_refused(main: RememberedBranch) -> None:
    for lsn in (-1, 2, 10**12):
        with pytest.raises(LsnNotAvailableError):
            main.page_history.view(Lsn(lsn))


def test_a_fork_whose_moment_the_parent_dropped_says_so(main: RememberedBranch) -> None:
    main.seal([CommitPlan(10, {1: content(f"change {number}")}) for number in range(5)])
    fork = RememberedBranch(main.directory.parent / "fork", PAGE_SIZE, main, 3, "fork")
    fork.seal([CommitPlan(10, {1: content("fork")})])
    main.forks.clear()  # nobody pins LSN 3
    main.compact(5)
    with pytest.raises(HistoryExpiredError, match="LSN 3 is no longer kept"):
        fork.page_history.view(Lsn(4))


def test_the_oldest_moment_of_a_fork_is_the_one_it_pins(main: RememberedBranch) -> None:
    main.seal([CommitPlan(10, {1: content(f"change {number}")}) for number in range(5)])
    fork = RememberedBranch(main.directory.parent / "fork", PAGE_SIZE, main, 3, "fork")
    before, after = main.records[2].committed_at, main.records[4].committed_at
    history = fork.page_history
    assert history.oldest_lsn == 0
    main.compact(5)
    assert history.oldest_lsn == 3
    for ask in (lambda: history.view(Lsn(2)), lambda: history.newest_at(before)):
        with pytest.raises(HistoryExpiredError, match="the oldest moment available is LSN 3"):
            ask()
    assert history.newest_at(after) == 3


def test_changed_pages_are_those_written_between(main: RememberedBranch) -> None:
    writes = [{3: content("a")}, {5: content("b")}, {3: content("c")}, {7: content("d")}]
    main.seal([CommitPlan(10, written) for written in writes])
    history = main.page_history
    assert history.changed_pages(Lsn(1), Lsn(5)) == [3, 5, 7]
    assert history.changed_pages(Lsn(5), Lsn(1)) == [3, 5, 7]
    assert history.changed_pages(Lsn(3), Lsn(4)) == [3]
    assert history.changed_pages(Lsn(2), Lsn(2)) == []
    main.seal([CommitPlan(8, {})])
    assert history.changed_pages(Lsn(5), Lsn(6)) == [9, 10]


def test_changed_pages_of_sibling_forks_leave_out_what_they_share(main: RememberedBranch) -> None:
    main.seal([CommitPlan(10, {2: content("shared")})])
    root = main.directory.parent
    one = RememberedBranch(root / "one", PAGE_SIZE, main, 2, "one")
    two = RememberedBranch(root / "two", PAGE_SIZE, main, 2, "two")
    one.seal([CommitPlan(10, {4: content("one")})])
    two.seal([CommitPlan(10, {5: content("two")})])
    view_one, view_two = one.page_history.view(Lsn(3)), two.page_history.view(Lsn(3))
    assert view_one.changed_pages(view_two) == [4, 5]
    assert view_one.changed_pages(main.page_history.view(Lsn(2))) == [4]
    assert view_one.changed_pages(main.page_history.view(Lsn(1))) == [2, 4]


def test_one_view_serves_many_threads(main: RememberedBranch) -> None:
    main.seal([CommitPlan(10, {n % 10 + 1: content(f"change {n}")}) for n in range(200)])
    view, state = main.page_history.view(Lsn(150)), main.states[150]
    errors = []

    def read_often() -> None:
        try:
            for _ in range(30):
                main.check_state(view, state)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=read_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []

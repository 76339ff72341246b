"""Whatever is sealed, forked, compacted, merged and reopened: every kept moment reads the same."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from dosql_core.identifiers import Lsn
from dosql_core.storage import sealing
from dosql_core.storage.compaction import merge_small
from dosql_core.storage.page_history import PageView
from dosql_core.storage.segment_format import CommitFlag
from fixtures.histories import CommitPlan, RememberedBranch, State

PAGE_COUNT_MAX = 12

# A page is told by a seed and some edits, so that neighbouring versions have much in common.
edits = st.lists(st.tuples(st.integers(0, 511), st.integers(0, 255)), max_size=3)
writes = st.dictionaries(
    st.integers(1, PAGE_COUNT_MAX), st.tuples(st.integers(0, 3), edits), max_size=4
)
texts = st.none() | st.text(max_size=5)
commit_plans = st.lists(
    st.tuples(st.integers(-6, 4), writes, texts, texts, st.sampled_from(CommitFlag)),
    min_size=1,
    max_size=40,
)
fractions = st.floats(0, 1)


def page_content(page_size: int, seed: int, edited: list[tuple[int, int]], old: bytes) -> bytes:
    content = bytearray(old if seed == 0 else (b"%d page " % seed) * page_size)[:page_size]
    for offset, value in edited:
        content[offset] = value
    return bytes(content)


class Histories(RuleBasedStateMachine):
    """Branches of one database; every rule acts on one of them."""

    batch_pages: int | None = None

    @initialize(page_size=st.sampled_from([512, 512, 1024, 4096, 65536]))
    def begin(self, page_size: int) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="dosql-histories-"))
        self.page_size = page_size
        self.batch_bytes = sealing.BATCH_BYTES
        if self.batch_pages is not None:
            sealing.BATCH_BYTES = self.batch_pages * page_size
        self.branches = [RememberedBranch(self.root / "main", page_size)]
        self.held: list[tuple[PageView, State]] = []

    @rule(which=fractions, planned=commit_plans, reverse=st.booleans())
    def seal(self, which, planned, reverse) -> None:
        branch = self.pick(which)
        state = branch.states[branch.newest]
        page_count, pages = state.page_count, dict(state.pages)
        plans = []
        for growth, written, author, message, flags in planned:
            page_count = min(PAGE_COUNT_MAX, max(0, page_count + growth))
            zeros = bytes(self.page_size)
            contents = {
                page: page_content(self.page_size, seed, edited, pages.get(page, zeros))
                for page, (seed, edited) in written.items()
            }
            pages.update(contents)
            plans.append(CommitPlan(page_count, contents, author, message, flags))
        branch.seal(plans, reverse=reverse and self.batch_pages is None)

    @rule(which=fractions, fraction=fractions, pins=st.lists(fractions, max_size=3))
    def compact(self, which, fraction, pins) -> None:
        branch = self.pick(which)
        lsns = sorted(branch.states)
        keep_from = lsns[round(fraction * (len(lsns) - 1))]
        branch.compact(keep_from, [lsns[round(pin * (len(lsns) - 1))] for pin in pins])

    @rule(which=fractions, live_max=st.integers(1, 3))
    def merge(self, which, live_max) -> None:
        branch = self.pick(which)
        merge_small(branch.history, live_max=live_max)
        assert len(branch.history.manifest.segments) <= live_max

    @rule(which=fractions)
    def reopen(self, which) -> None:
        self.pick(which).reopen()

    @precondition(lambda self: len(self.branches) < 5)
    @rule(which=fractions, fraction=fractions)
    def fork(self, which, fraction) -> None:
        parent = self.pick(which)
        lsns = sorted(parent.states)
        fork_lsn = lsns[round(fraction * (len(lsns) - 1))]
        while parent.parent is not None and fork_lsn <= parent.fork_lsn:
            parent = parent.parent  # the moment is the parent's: fork from where it is kept
        name = f"branch-{len(self.branches)}"
        self.branches.append(
            RememberedBranch(self.root / name, self.page_size, parent, fork_lsn, name)
        )

    @rule(which=fractions, fraction=fractions)
    def hold_a_view(self, which, fraction) -> None:
        branch = self.pick(which)
        lsns = sorted(branch.states)
        lsn = lsns[round(fraction * (len(lsns) - 1))]
        self.held.append((branch.page_history.view(Lsn(lsn)), branch.states[lsn]))

    @rule(which=fractions, one=fractions, other=fractions)
    def compare_two_moments(self, which, one, other) -> None:
        branch, second = self.pick(which), self.pick(other)
        lsns, others = sorted(branch.states), sorted(second.states)
        a, b = lsns[round(one * (len(lsns) - 1))], others[round(one * (len(others) - 1))]
        view_a, view_b = branch.page_history.view(Lsn(a)), second.page_history.view(Lsn(b))
        changed = view_a.changed_pages(view_b)
        assert changed == sorted(set(changed)) == view_b.changed_pages(view_a)
        state_a, state_b = branch.states[a], second.states[b]
        for page in range(1, max(state_a.page_count, state_b.page_count) + 1):
            if page not in changed:
                assert page <= min(state_a.page_count, state_b.page_count)
                assert state_a.pages.get(page) == state_b.pages.get(page)

    def teardown(self) -> None:
        try:
            for branch in getattr(self, "branches", []):
                branch.check()
                branch.check_integrity()
                for segment in branch.history.stack().segments:
                    assert segment.header.page_size == self.page_size
            for view, state in getattr(self, "held", []):
                zeros = bytes(self.page_size)
                for page in range(1, state.page_count + 1):
                    assert view.read_page(page) == state.pages.get(page, zeros)
        finally:
            if hasattr(self, "root"):
                sealing.BATCH_BYTES = self.batch_bytes
                shutil.rmtree(self.root)

    def pick(self, fraction: float) -> RememberedBranch:
        return self.branches[round(fraction * (len(self.branches) - 1))]


class HistoriesInBatches(Histories):
    """The same with batches of a few pages, so that one seal takes many."""

    batch_pages = 5


common = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestHistories = Histories.TestCase
TestHistories.settings = common
TestHistoriesInBatches = HistoriesInBatches.TestCase
TestHistoriesInBatches.settings = common

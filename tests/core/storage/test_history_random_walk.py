"""Long random lives of a few branches: deep chains, interior drops, shrinking and growing again.

The stateful test beside this one explores shapes; these walks are long enough for chains of blocks
to reach their limit and for retention to cut through the middle of them.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from dosql_core.identifiers import Lsn
from dosql_core.storage import newest_versions, sealing
from dosql_core.storage.compaction import merge_small
from fixtures.histories import CommitPlan, RememberedBranch


class RandomWalk:
    """Branches of one database, driven by a seeded source of chance."""

    def __init__(self, root: Path, seed: int, page_size: int) -> None:
        self.root = root
        self.chance = random.Random(seed)
        self.page_size = page_size
        self.page_count_max = self.chance.choice([2, 6, 20])
        self.branches = [RememberedBranch(root / "main", page_size)]
        self.held: list[Any] = []

    def step(self) -> None:
        steps = [self.seal, self.compact, self.merge, self.hold_a_view, self.fork, self.compare]
        (step,) = self.chance.choices(steps, weights=[10, 3, 2, 1, 1, 2])
        branch = self.chance.choice(self.branches)
        if self.chance.random() < 0.1:
            branch.reopen()
        step(branch)

    def seal(self, branch: RememberedBranch) -> None:
        state = branch.states[branch.newest]
        page_count, pages, plans = state.page_count, dict(state.pages), []
        for _ in range(self.chance.choice([1, 2, 5, 40])):
            step = self.chance.choice([0, 0, 0, 0, 1, 2, -1, self.page_count_max, -page_count])
            page_count = min(self.page_count_max, max(0, page_count + step))
            writes = {}
            for _ in range(self.chance.choice([0, 1, 1, 1, 3])):
                page = self.chance.randint(1, self.page_count_max)
                writes[page] = pages[page] = self.edit(pages.get(page, bytes(self.page_size)))
            plans.append(CommitPlan(page_count, writes))
        branch.seal(plans)

    def edit(self, old: bytes) -> bytes:
        if self.chance.random() < 0.1:
            return self.chance.randbytes(self.page_size // 4) * 4
        new = bytearray(old)
        at = self.chance.randrange(self.page_size - 8)
        new[at : at + 8] = self.chance.randbytes(8)
        return bytes(new)

    def compact(self, branch: RememberedBranch) -> None:
        lsns = sorted(branch.states)
        recent = lsns[-self.chance.choice([1, 3, 30, len(lsns)]) :]
        pins = self.chance.sample(lsns, min(len(lsns), self.chance.choice([0, 1, 4])))
        branch.compact(self.chance.choice(recent), pins)

    def merge(self, branch: RememberedBranch) -> None:
        merge_small(branch.history, live_max=self.chance.randint(1, 4))

    def hold_a_view(self, branch: RememberedBranch) -> None:
        lsn = self.chance.choice(sorted(branch.states))
        self.held.append((branch, branch.page_history.view(Lsn(lsn)), branch.states[lsn]))

    def fork(self, branch: RememberedBranch) -> None:
        if len(self.branches) < 5:
            lsn = self.chance.choice(sorted(branch.states))
            while branch.parent is not None and lsn <= branch.fork_lsn:
                branch = branch.parent
            name = f"branch-{len(self.branches)}"
            fork = RememberedBranch(self.root / name, self.page_size, branch, lsn, name)
            self.branches.append(fork)

    def compare(self, branch: RememberedBranch) -> None:
        other = self.chance.choice(self.branches)
        lsn, other_lsn = (self.chance.choice(sorted(b.states)) for b in (branch, other))
        changed = branch.page_history.view(Lsn(lsn)).changed_pages(
            other.page_history.view(Lsn(other_lsn))
        )
        here, there = branch.states[lsn], other.states[other_lsn]
        for page in range(1, max(here.page_count, there.page_count) + 1):
            if page not in changed:
                assert page <= min(here.page_count, there.page_count)
                assert here.pages.get(page) == there.pages.get(page)

    def check(self) -> None:
        for branch in self.branches:
            branch.check_integrity()
            branch.check()
        for branch, view, state in self.held:
            branch.check_state(view, state)


@pytest.mark.parametrize("page_size", [512, 4096, 32768, 65536])
@pytest.mark.parametrize("seed", range(6))
def test_every_kept_moment_reads_as_it_was(tmp_path: Path, seed: int, page_size: int) -> None:
    walk = RandomWalk(tmp_path, seed, page_size)
    for _ in range(60):
        walk.step()
    walk.check()


@pytest.mark.parametrize("seed", range(6))
def test_batches_of_a_few_pages_change_nothing(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "BATCH_BYTES", 5 * 4096)
    monkeypatch.setattr(newest_versions, "BYTES_MAX", 4096)
    walk = RandomWalk(tmp_path, seed, 4096)
    for _ in range(60):
        walk.step()
    walk.check()

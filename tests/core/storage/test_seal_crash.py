"""A writer is killed while it seals, merges and compacts: what it promised is there, and whole.

The child writes commits whose pages can be computed from page and LSN, so the parent can tell what
every moment must hold. A moment is promised once `seal` has returned.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from dosql_core.identifiers import BranchId, Lsn
from dosql_core.storage.branch_history import BranchHistory
from dosql_core.storage.compaction import merge_small
from dosql_core.storage.integrity import Severity, verify_history
from dosql_core.storage.page_history import PageHistory

CHILD = """
    import sys
    from dosql_core.storage.branch_history import BranchHistory
    from dosql_core.storage.compaction import compact, fixed_pins, merge_small
    from dosql_core.storage.segment_format import NewCommit

    history = BranchHistory.open(sys.argv[1])
    while True:
        first = history.newest_lsn + 1
        commits = [NewCommit(lsn, lsn * 10, 8) for lsn in range(first, first + 5)]
        versions = [
            (page, commit.lsn, b"%08d" % (page * 1_000_000 + commit.lsn) * 64)
            for commit in commits
            for page in {1, commit.lsn % 8 + 1}
        ]
        history.seal(commits, versions, captured={"at": commits[-1].lsn})
        acknowledge(commits[-1].lsn)
        merge_small(history, live_max=3)
        if first % 4 == 0:
            compact(history, keep_from=max(history.oldest_lsn, first - 20), pins=fixed_pins([8, 9]))
"""


def expected_page(page: int, lsn: int) -> bytes:
    while lsn > 0 and not (page == 1 or page == lsn % 8 + 1):
        lsn -= 1
    return b"%08d" % (page * 1_000_000 + lsn) * 64 if lsn else bytes(512)


ROUNDS = [0, 1, 2, *(pytest.param(number, marks=pytest.mark.long) for number in range(3, 40))]


@pytest.mark.parametrize("round_number", ROUNDS)
def test_what_was_sealed_survives_a_kill(tmp_path: Path, crash, round_number: int) -> None:
    directory = str(tmp_path / "history")
    BranchHistory.create(directory, page_size=512, branch_id=BranchId("main"), fork_lsn=Lsn(0))
    promised = 0
    for _ in range(3):
        report = crash(CHILD, directory, seconds_max=0.05, acknowledgements_max=25)
        assert report.was_killed
        promised = int(report.acknowledgements[-1])
        history = BranchHistory.open(directory)
        assert history.captured == {"at": history.newest_lsn}
        assert promised <= history.newest_lsn <= promised + 5
        assert [f for f in verify_history(history) if f.severity is Severity.ERROR] == []
        readable = {*range(history.oldest_lsn, history.newest_lsn + 1), *history.pinned}
        for lsn in readable - {0}:
            view = PageHistory(history, None).view(Lsn(lsn))
            for page in range(1, 9):
                assert view.read_page(page) == expected_page(page, lsn)
    merge_small(history)
    assert verify_history(history) == []  # the next writer has tidied up

"""The ring of commit times after a disk kept some of its sectors and lost others."""

from __future__ import annotations

from pathlib import Path

from dosql_core.identifiers import Microseconds
from dosql_core.kernel.commit_times import RING_BYTES, CommitTimes
from dosql_core.kernel.wal_index import MX_FRAME_WORD, SALT_1_WORD

SECTOR_BYTES = 512


class StandingIndex:
    """The words of a WAL index that `CommitTimes.record` reads."""

    def __init__(self, salt: int, frames: int) -> None:
        self.words = {SALT_1_WORD: salt, MX_FRAME_WORD: frames}


def test_entries_that_were_lost_are_unknown_and_not_the_year_1970(tmp_path: Path) -> None:
    path = tmp_path / "commit_times.ring"
    ring = CommitTimes(str(path), not_before=lambda: Microseconds(0))
    for number in range(100):
        ring.record(StandingIndex(7, number), Microseconds(5000 + number))  # type: ignore[arg-type]
    ring.close()
    content = bytearray(path.read_bytes())
    assert len(content) == RING_BYTES
    content[2 * SECTOR_BYTES : 3 * SECTOR_BYTES] = bytes(SECTOR_BYTES)
    path.write_bytes(content)
    ring = CommitTimes(str(path), not_before=lambda: Microseconds(0))
    known = ring.since(0)
    ring.close()
    assert sorted(known.times[place] for place in known.places.values()) == [
        5000 + number for number in range(100) if not 60 <= number < 92
    ]

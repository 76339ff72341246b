"""Where in a mirror's files the row of each key is: two arrays of integers, sorted by key.

A key is an integer: the row's own, or the hash of what else it is (`key_coding`). A location is a
file's number and a position in it. Most of the index is one sorted run; keys that came since stand
in smaller runs, merged as they grow, so that a batch costs about as much as it holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

ABSENT = -1
_MERGE_FACTOR = 4
_POSITION_BITS = 32


def locations_of(file_number: int, positions: Integers) -> Integers:
    """Locations of rows of one file."""
    return positions + (file_number << _POSITION_BITS)


def files_of(locations: Integers) -> Integers:
    return locations >> _POSITION_BITS


def positions_of(locations: Integers) -> Integers:
    return locations & ((1 << _POSITION_BITS) - 1)


@dataclass(slots=True)
class _Run:
    keys: Integers  # ascending, each once
    locations: Integers  # ABSENT where the row is gone


class KeyIndex:
    """Locations by key. A key is in one run at most; not safe for several threads."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []

    @classmethod
    def build(cls, keys: Integers, locations: Integers) -> tuple[KeyIndex, Integers]:
        """An index of these rows, and the locations of those whose key came again.

        Shape: of several rows with one key the first stays in the index.
        """
        index = cls()
        keys, locations, surplus = _sorted(keys, locations)
        if len(keys):
            index._runs.append(_Run(keys, locations))
        return index, surplus

    def __len__(self) -> int:
        return sum(int(np.count_nonzero(run.locations != ABSENT)) for run in self._runs)

    @property
    def nbytes(self) -> int:
        return sum(run.keys.nbytes + run.locations.nbytes for run in self._runs)

    def find(self, keys: Integers) -> Integers:
        """The location of each key, ABSENT where there is none."""
        found = np.full(len(keys), ABSENT, dtype=np.int64)
        for run in self._runs:
            places, is_there = _places(run, keys)
            found[is_there] = run.locations[places[is_there]]
        return found

    def put(self, keys: Integers, locations: Integers) -> None:
        """Set the location of each key. Shape: each key once; ABSENT takes a key out."""
        is_new = locations != ABSENT
        for run in self._runs:
            places, is_there = _places(run, keys)
            run.locations[places[is_there]] = locations[is_there]
            is_new &= ~is_there
        if is_new.any():
            fresh, theirs, _ = _sorted(keys[is_new], locations[is_new])
            self._runs.append(_Run(fresh, theirs))
            self._merge()

    def put_where_absent(self, keys: Integers, locations: Integers) -> Integers:
        """Set the locations of keys that have none; the locations left out, as others have theirs.

        Shape: a key that comes again is left out, too.
        """
        keys, locations, surplus = _sorted(keys, locations)
        is_free = np.ones(len(keys), dtype=np.bool_)
        is_new = is_free.copy()
        for run in self._runs:
            places, is_there = _places(run, keys)
            is_new &= ~is_there
            is_free[is_there] = run.locations[places[is_there]] == ABSENT
            is_set = is_there & is_free
            run.locations[places[is_set]] = locations[is_set]
        if is_new.any():
            self._runs.append(_Run(keys[is_new], locations[is_new]))
            self._merge()
        return np.concatenate((surplus, locations[~is_free]))

    def take_out_files(self, numbers: Integers) -> None:
        """Take out the keys of all rows that are in these files."""
        for run in self._runs:
            run.locations[np.isin(files_of(run.locations), numbers)] = ABSENT
            # After a compaction most of a run may be gone: what is left is searched sooner.
            is_there = run.locations != ABSENT
            if 2 * int(np.count_nonzero(is_there)) < len(is_there):
                run.keys, run.locations = run.keys[is_there], run.locations[is_there]
        self._runs = [run for run in self._runs if len(run.keys)]

    def take_out(self, locations: Integers) -> None:
        """Take out the keys of the rows at these locations."""
        for run in self._runs:
            run.locations[np.isin(run.locations, locations)] = ABSENT

    def _merge(self) -> None:
        """Keep each run several times as long as the next."""
        while len(self._runs) > 1 and (
            len(self._runs[-2].keys) < _MERGE_FACTOR * len(self._runs[-1].keys)
        ):
            newer, older = self._runs.pop(), self._runs.pop()
            keys = np.concatenate((older.keys, newer.keys))
            locations = np.concatenate((older.locations, newer.locations))
            is_kept = locations != ABSENT
            if not is_kept.all():
                keys, locations = keys[is_kept], locations[is_kept]
            keys, locations, _ = _sorted(keys, locations)
            if len(keys):
                self._runs.append(_Run(keys, locations))


def _places(run: _Run, keys: Integers) -> tuple[Integers, NDArray[np.bool_]]:
    places = np.searchsorted(run.keys, keys)
    places[places == len(run.keys)] = 0
    return places, run.keys[places] == keys


def _sorted(keys: Integers, locations: Integers) -> tuple[Integers, Integers, Integers]:
    """Both by ascending key, each key once; and the locations of the rows that were left out."""
    rises = keys[1:] > keys[:-1]
    if not rises.all():
        order = np.argsort(keys, kind="stable")  # linear where two sorted runs follow each other
        keys, locations = keys[order], locations[order]
        is_first = np.ones(len(keys), dtype=np.bool_)
        is_first[1:] = keys[1:] != keys[:-1]
        if not is_first.all():
            return keys[is_first], locations[is_first], locations[~is_first]
    return keys, locations, np.empty(0, dtype=np.int64)

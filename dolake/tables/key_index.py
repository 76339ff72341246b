"""Where in a mirror's files the row of each key is: two arrays of integers, sorted by key.

A key is an integer: the row's own, or the hash of what else it is (`key_coding`). A location is a
file's number and a position in it. Most of the index is one sorted run; keys that came since stand
in smaller runs, merged as they grow, so that a batch costs about as much as it holds.
"""

from __future__ import annotations

from collections.abc import Iterable
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


class FileNumbers:
    """A set of files, asked about many locations at once."""

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        members = np.fromiter(numbers, np.int64)
        # ABSENT is in the file -1, which is the last place: that of no file.
        self._is_member = np.zeros(members.max() + 2 if len(members) else 1, dtype=np.bool_)
        self._is_member[members] = True

    def __len__(self) -> int:
        return int(np.count_nonzero(self._is_member))

    def hold(self, locations: Integers) -> NDArray[np.bool_]:
        """Which of the locations are in one of the files."""
        if not len(self):
            return np.zeros(len(locations), dtype=np.bool_)
        return self._is_member[np.minimum(files_of(locations), len(self._is_member) - 1)]


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
    def is_empty(self) -> bool:
        return not self._runs

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

    def put_where_free(
        self, keys: Integers, locations: Integers, gone: FileNumbers
    ) -> tuple[Integers, int]:
        """Set the locations of keys that have none, or one in a file that is gone.

        Shape: the locations left out, as other rows have their keys or keys came again; and how
               many keys were in a file that is gone. That is how rows which a compaction moved are
               followed, at the cost of finding them.
        """
        keys, locations, surplus = _sorted(keys, locations)
        is_free = np.ones(len(keys), dtype=np.bool_)
        is_new = is_free.copy()
        moved = 0
        for run in self._runs:
            places, is_there = _places(run, keys)
            is_new &= ~is_there
            at = run.locations[places]
            is_moved = is_there & gone.hold(at)
            moved += int(np.count_nonzero(is_moved))
            is_set = is_moved | (is_there & (at == ABSENT))
            is_free[is_there & ~is_set] = False
            run.locations[places[is_set]] = locations[is_set]
        if is_new.any():
            self._runs.append(_Run(keys[is_new], locations[is_new]))
            self._merge()
        return np.concatenate((surplus, locations[~is_free])), moved

    def take_out_files(self, gone: FileNumbers) -> None:
        """Take out the keys of all rows that are in these files."""
        for run in self._runs:
            run.locations[gone.hold(run.locations)] = ABSENT
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

"""Keys of rows as integers for the index: an integer key is itself, any other its hash.

Python's 64-bit hash gives 1 and 1.0 one number, as SQLite's comparison does. Two keys of one hash
would be taken for one row, so whoever finds a row where it expects none reads that row's key, and
gives the newcomer a number of its own (`HashedKeys.set_apart`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dolake.tables.key_index import Integers

Key = Any  # a value of SQLite, or a tuple of them where the key has several columns


class NotAnIntegerKeyError(Exception):
    """A key of a table coded by its integers is none: the index must be built by hashes."""


class IntegerKeys:
    """Keys that are integers themselves; none is ever mistaken for another."""

    can_collide = False

    def codes(self, keys: Sequence[Key]) -> Integers:
        """Errors: NotAnIntegerKeyError."""
        if set(map(type, keys)) - {int}:
            raise NotAnIntegerKeyError
        try:
            return np.array(keys, dtype=np.int64)
        except OverflowError as error:  # no database has such keys, but they may be sent
            raise NotAnIntegerKeyError from error


class HashedKeys:
    """Keys by a hash, which differs from process to process.

    Shape: `hash_key` gives a signed 64-bit integer.
    """

    can_collide = True

    def __init__(self, hash_key: Callable[[Key], int] = hash) -> None:
        self._hash = hash_key
        self._set_apart: dict[Key, int] = {}

    def codes(self, keys: Sequence[Key]) -> Integers:
        """The number of each key."""
        if self._set_apart:
            known, hashed = self._set_apart, self._hash
            return np.array([known[k] if k in known else hashed(k) for k in keys], dtype=np.int64)
        return np.fromiter(map(self._hash, keys), np.int64, len(keys))

    def set_apart(self, key: Key, is_taken: Callable[[int], bool]) -> int:
        """Give a key whose hash another row has a number that no row has, from now on."""
        number = 1
        while is_taken(code := hash((number, key))):
            number += 1
        self._set_apart[key] = code
        return code

"""The index of keys against a dictionary."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("pyarrow")

import numpy as np

from dolake.tables.key_coding import HashedKeys, IntegerKeys, NotAnIntegerKeyError
from dolake.tables.key_index import (
    ABSENT,
    FileNumbers,
    KeyIndex,
    files_of,
    locations_of,
    positions_of,
)


def array(values: object) -> np.ndarray:
    return np.array(list(values), dtype=np.int64)  # type: ignore[call-overload]


def test_an_index_is_a_dictionary(seeded_random: random.Random) -> None:
    chance = seeded_random
    known = {key * 3: chance.randrange(10**12) for key in range(-500, 500)}
    index, surplus = KeyIndex.build(array(known), array(known.values()))
    assert len(surplus) == 0
    for _ in range(200):
        keys = chance.sample(range(-2000, 2000), chance.randint(1, 60))
        changes = {
            key: ABSENT if chance.random() < 0.4 else chance.randrange(10**12) for key in keys
        }
        index.put(array(changes), array(changes.values()))
        known.update(changes)
        if chance.random() < 0.2:
            gone = {location for location in known.values() if location % 7 == 0}
            index.take_out(array(gone))
            known = {key: ABSENT if at in gone else at for key, at in known.items()}
        asked = array(range(-2000, 2000))
        assert index.find(asked).tolist() == [known.get(key, ABSENT) for key in asked.tolist()]
    assert len(index) == sum(at != ABSENT for at in known.values())


def test_keys_that_come_twice_are_told() -> None:
    index, surplus = KeyIndex.build(array([5, 3, 5, 9, 3]), array([50, 30, 51, 90, 31]))
    assert index.find(array([3, 5, 9, 1])).tolist() == [30, 50, 90, ABSENT]
    assert sorted(surplus.tolist()) == [31, 51]


def test_keys_that_are_there_are_left_as_they_are(seeded_random: random.Random) -> None:
    chance = seeded_random
    known = {key: key * 10 for key in chance.sample(range(300), 100)}
    index, _ = KeyIndex.build(array(known), array(known.values()))
    for _ in range(20):
        gone = chance.sample(sorted(known), min(len(known), 30))
        index.put(array(gone), array([ABSENT] * len(gone)))
        for key in gone:
            del known[key]
        more = [(chance.randrange(300), chance.randrange(10**9)) for _ in range(60)]
        left_out, _ = index.put_where_free(
            array(k for k, _ in more), array(at for _, at in more), FileNumbers()
        )
        expected = []
        for key, at in more:
            if key in known:
                expected.append(at)
            else:
                known[key] = at
        assert sorted(left_out.tolist()) == sorted(expected)
        assert index.find(array(range(300))).tolist() == [known.get(k, ABSENT) for k in range(300)]


def test_files_are_taken_out_whole() -> None:
    locations = np.concatenate((locations_of(1, array(range(5))), locations_of(2, array([7]))))
    index, _ = KeyIndex.build(array(range(6)), locations)
    assert files_of(locations).tolist() == [1, 1, 1, 1, 1, 2]
    assert positions_of(locations).tolist() == [0, 1, 2, 3, 4, 7]
    index.take_out_files(FileNumbers([1]))
    assert index.find(array(range(6))).tolist() == [ABSENT] * 5 + [int(locations[5])]


def test_rows_of_files_that_are_gone_may_be_elsewhere_now(seeded_random: random.Random) -> None:
    chance = seeded_random
    known = {key: (chance.randrange(5), n) for n, key in enumerate(chance.sample(range(500), 300))}

    def located(told: tuple[int, int]) -> int:
        return int(locations_of(told[0], array([told[1]]))[0])

    index, _ = KeyIndex.build(array(known), array(map(located, known.values())))
    for key in chance.sample(sorted(known), 40):  # a run of its own, and keys without a row
        known[key] = (chance.randrange(5), 1000 + key)
        index.put(array([key]), array([located(known[key])]))
    for key in chance.sample(sorted(known), 20):
        del known[key]
        index.put(array([key]), array([ABSENT]))
    more = {key: (7, n) for n, key in enumerate(chance.sample(range(500), 400))}
    expected = {key: at for key, at in more.items() if key not in known or known[key][0] in (1, 3)}
    left_out, moved = index.put_where_free(
        array(more), array(map(located, more.values())), FileNumbers([3, 1])
    )
    assert moved == sum(key in known for key in expected)
    assert set(left_out.tolist()) == {
        located(at) for key, at in more.items() if key not in expected
    }
    index.take_out_files(FileNumbers([1, 3]))
    now = {key: at for key, at in known.items() if at[0] not in (1, 3)} | expected
    found = index.find(array(range(500))).tolist()
    assert found == [located(now[key]) if key in now else ABSENT for key in range(500)]


def test_integers_are_their_own_codes_and_nothing_else_is() -> None:
    assert IntegerKeys().codes([3, -(2**63), 2**63 - 1]).tolist() == [3, -(2**63), 2**63 - 1]
    for wrong in ("3", 3.0, None, b"3", (3,)):
        with pytest.raises(NotAnIntegerKeyError):
            IntegerKeys().codes([1, wrong])


def test_keys_that_sqlite_holds_equal_have_one_code() -> None:
    coder = HashedKeys()
    assert coder.codes([1, (1, "a")]).tolist() == coder.codes([1.0, (1.0, "a")]).tolist()
    apart = coder.set_apart("key", lambda code: False)
    assert coder.codes(["key", "other"]).tolist() == [apart, hash("other")]

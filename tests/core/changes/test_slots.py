"""Slots: they remember, they keep what they need, one reads at a time, and none fills the disk."""

from __future__ import annotations

import pytest

from dosql_core.database import open_database
from dosql_core.errors import (
    ChangesNotKeptError,
    LsnNotAvailableError,
    ProgrammingError,
    SlotExistsError,
    SlotInUseError,
    SlotLostError,
    SlotNotFoundError,
)
from dosql_core.options import Retention


@pytest.fixture
def slots(database):
    return database.changes.slots


def insert(con, count):
    for _ in range(count):
        con.execute("insert into t(a) values (randomblob(100))")


def test_a_slot_goes_on_where_it_was_acknowledged(con, slots):
    slots.create("s")
    insert(con, 5)
    with slots.consume("s", follow=False) as consumer:
        for lsn, _events in consumer.commits():
            if lsn == 3:
                consumer.acknowledge(lsn)
    assert slots.get("s").lsn == 3
    with slots.consume("s", follow=False) as consumer:
        assert [event.lsn for event in consumer] == [4, 5, 6]
        consumer.acknowledge()
    assert (slots.get("s").lsn, slots.get("s").lag_commits) == (6, 0)


def test_a_slot_outlives_the_database_being_closed(con, slots, database_path):
    slots.create("s", tables=["t"])
    insert(con, 2)
    con.close()
    with open_database(database_path) as again:
        found = again.changes.slots.get("s")
        assert (found.lsn, found.tables, found.lag_commits) == (1, ("t",), 2)


def test_a_slot_keeps_what_it_has_not_read(con, database, slots):
    slots.create("s")
    insert(con, 40)
    database.set_retention(Retention(commits_max=3))
    database.compact()
    with slots.consume("s", follow=False) as consumer:
        assert len(list(consumer)) == 40
        consumer.acknowledge()
    database.compact()
    with pytest.raises(ChangesNotKeptError):
        database.changes.subscribe(1)


def test_a_slot_on_a_fork_keeps_what_it_reads_of_the_parent(con, database, slots, database_path):
    insert(con, 20)
    con.execute("create branch dev")
    slots.create("s", "dev", from_lsn=5)
    insert(con, 20)
    database.set_retention(Retention(commits_max=2))
    database.compact()
    with slots.consume("s", follow=False) as consumer:
        assert [event.lsn for event in consumer] == list(range(6, 22))


def test_one_reader_at_a_time(con, slots):
    slots.create("s")
    with slots.consume("s"):
        assert slots.get("s").is_active
        with pytest.raises(SlotInUseError) as refused, slots.consume("s"):
            pass
        assert refused.value.is_retryable
        with pytest.raises(SlotInUseError):
            slots.drop("s")
    assert not slots.get("s").is_active
    slots.drop("s")


def test_a_forgotten_slot_is_lost_rather_than_the_disk_filled(con, database, slots):
    slots.create("s", lag_bytes_max=2000)
    slots.create("patient")
    insert(con, 100)
    database.set_retention(Retention(commits_max=3))
    database.compact()
    assert (slots.get("s").is_lost, slots.get("patient").is_lost) == (True, False)
    with pytest.raises(SlotLostError, match="2000 bytes") as lost, slots.consume("s"):
        pass
    assert lost.value.code == "CDC_BUFFER_OVERFLOW"
    with pytest.raises(SlotLostError):
        slots.advance("s", 50)
    slots.drop("s")
    slots.create("s")


def test_a_list_tells_the_lag(con, slots):
    slots.create("s")
    insert(con, 3)
    con.execute("select count(*) from t").fetchall()
    with slots.consume("s", follow=False) as consumer:
        list(consumer)
    (found,) = slots.list()
    assert found.lag_commits == 3
    assert found.lag_bytes > 0
    assert found.lag_seconds > 0


def test_a_slot_never_goes_back_and_never_beyond_the_end(con, slots):
    slots.create("s")
    insert(con, 3)
    assert slots.advance("s", 3).lsn == 3
    assert slots.advance("s", 2).lsn == 3
    with pytest.raises(LsnNotAvailableError):
        slots.advance("s", 99)


def test_wrong_names_are_refused(con, slots):
    slots.create("s")
    with pytest.raises(SlotExistsError):
        slots.create("s")
    assert slots.create("s", if_not_exists=True).name == "s"
    for name in ("", "a/b", "x" * 64, "line\nbreak"):
        with pytest.raises(ProgrammingError):
            slots.create(name)
    for act in (slots.get, slots.drop, lambda name: slots.advance(name, 1)):
        with pytest.raises(SlotNotFoundError, match="nosuch"):
            act("nosuch")
    with pytest.raises(LsnNotAvailableError):
        slots.create("later", from_lsn=77)

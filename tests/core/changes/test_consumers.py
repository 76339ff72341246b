"""Consumers of slots: functions that are called with events, at least once or exactly once."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time

import pytest

import dosql_dbapi
from dosql_core.changes.delivery import DeadLetterFile, RetryPolicy
from dosql_core.database import open_database
from dosql_core.errors import ChangesTurnedOffError, DeliveryFailedError
from dosql_core.options import DatabaseOptions

SOON = RetryPolicy(first_pause_seconds=0.001)


@pytest.fixture(autouse=True)
def slot(database):
    database.changes.slots.create("s")


def insert(con, *keys):
    for key in keys:
        con.execute("insert into t(id) values (?)", (key,))


def consume(database, **options):
    return database.changes.slots.consume("s", follow=False, **options)


def test_a_function_is_called_with_each_event_and_the_slot_moves(con, database):
    insert(con, 1, 2, 3)
    seen = []
    with consume(database) as consumer:
        consumer.run(lambda event: seen.append(event.key["id"]))
    assert seen == [1, 2, 3]
    assert database.changes.slots.get("s").lag_commits == 0


def test_pauses_between_tries_double_up_to_the_longest():
    assert list(RetryPolicy().pauses()) == [0.1, 0.2]
    patient = RetryPolicy(tries_max=10)
    assert list(patient.pauses())[-3:] == [6.4, 10.0, 10.0]


def test_what_cannot_be_handled_stops_the_consumer_before_its_commit(con, database):
    insert(con, 1, 2, 3)
    seen = []

    def handler(event):
        seen.append(event.key["id"])
        if event.key["id"] == 2:
            raise ValueError("not this one")

    with consume(database) as consumer, pytest.raises(DeliveryFailedError, match="3 tries") as why:
        consumer.run(handler, retry=SOON)
    assert isinstance(why.value.__cause__, ValueError)
    assert seen == [1, 2, 2, 2]
    with consume(database) as consumer:
        consumer.run(lambda event: seen.append(event.key["id"]))
    assert seen == [1, 2, 2, 2, 2, 3]


def test_dead_letters_let_the_others_pass(con, database, tmp_path):
    insert(con, 1, 2, 3)
    dead = DeadLetterFile(tmp_path / "dead.jsonl")
    seen = []

    def handler(event):
        if event.key["id"] == 2:
            raise ValueError("not this one")
        seen.append(event.key["id"])

    with consume(database) as consumer:
        consumer.run(handler, retry=SOON, dead_letters=dead)
    assert seen == [1, 3]
    assert [letter["event"]["key"]["id"] for letter in dead.read()] == [2]
    assert database.changes.slots.get("s").lag_commits == 0


def test_a_consumer_pauses_goes_on_and_stops(con, database):
    seen: list[object] = []
    with database.changes.slots.consume("s") as consumer:
        consumer.pause()
        thread = threading.Thread(
            target=consumer.run, args=(lambda event: seen.append(event.key["id"]),)
        )
        thread.start()
        insert(con, 1, 2)
        time.sleep(0.05)
        assert seen == []
        consumer.resume()
        deadline = time.monotonic() + 60
        while seen != [1, 2] or database.changes.slots.get("s").lag_commits:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        consumer.stop()
        thread.join(60)
        assert not thread.is_alive()


@pytest.mark.parametrize("connect", [sqlite3.connect, dosql_dbapi.connect])
def test_what_was_applied_is_not_applied_again(con, database, tmp_path, connect):
    """The acknowledgement is lost each time; the consumer's own database knows better."""
    lsn = database.changes.slots.get("s").lsn
    with contextlib.closing(connect(tmp_path / "copy.db")) as target:
        target.execute("create table copy(id)")
        target.commit()

        def apply(connection, events):
            for event in events:
                connection.execute("insert into copy values (?)", (event.key["id"],))
                if event.key["id"] == 4 and not failed:
                    failed.append(True)
                    raise ValueError("in the middle of a commit")

        failed: list[bool] = []
        insert(con, 1, 2)
        for _ in range(2):
            with consume(database) as consumer:
                consumer.run_into(target, apply)
            with database.updated_refs() as refs:
                refs.slots["s"] = type(refs.slots["s"])(
                    *(
                        lsn if name == "lsn" else getattr(refs.slots["s"], name)
                        for name in refs.slots["s"].__dataclass_fields__
                    )
                )
        con.execute("insert into t(id) values (3), (4), (5)")
        with consume(database) as consumer, pytest.raises(ValueError, match="in the middle"):
            consumer.run_into(target, apply)
        with consume(database) as consumer:
            consumer.run_into(target, apply)
        assert target.execute("select id from copy order by 1").fetchall() == [
            (1,), (2,), (3,), (4,), (5,)
        ]  # fmt: skip


def test_a_database_with_changes_off_refuses_and_says_how_to_turn_them_on(tmp_path):
    with open_database(tmp_path / "off.db", DatabaseOptions(changes=False)) as database:
        for act in (
            lambda: database.changes.slots.create("s"),
            lambda: database.changes.subscribe(0),
        ):
            with pytest.raises(ChangesTurnedOffError, match="changes=False") as refused:
                act()
            assert refused.value.code == "CDC_SUBSCRIPTION_FAILED"
            assert "changes=True" in refused.value.hint

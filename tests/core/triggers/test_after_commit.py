"""Handlers after the commit: off the change stream, tried again, and remembered by a slot."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

import dosql_dbapi
from dosql_core.changes.delivery import DeadLetterFile, RetryPolicy
from dosql_core.database import open_database
from dosql_core.errors import InvalidTriggerError
from fixtures.programs import run_program

SOON = RetryPolicy(first_pause_seconds=0.001)


@pytest.fixture
def con(database_path):
    con = dosql_dbapi.connect(database_path, isolation_level=None)
    con.execute("create table t(id integer primary key, a)")
    yield con
    con.close()


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_handler_hears_of_commits_of_every_process(con, database_path):
    seen: list[object] = []
    with open_database(database_path) as database:
        database.triggers.register(
            "hear", "t", "after_commit", ["insert"], lambda event: seen.append(event.after["a"])
        )
        con.execute("insert into t(a) values ('here')")
        con.execute("begin")
        con.execute("insert into t(a) values ('never')")
        con.execute("rollback")
        con.execute("update t set a = a")
        run_program(
            """
            import dosql_dbapi, sys
            con = dosql_dbapi.connect(sys.argv[1], isolation_level=None)
            con.execute("insert into t(a) values ('there')")
            con.close()
            """,
            database_path,
        )
        wait_until(lambda: len(seen) == 2)
        database.triggers.disable("hear")
        con.execute("insert into t(a) values ('unheard')")
        database.triggers.enable("hear")
        con.execute("insert into t(a) values ('again')")
        wait_until(lambda: len(seen) == 3)
    assert seen == ["here", "there", "again"]


def test_a_slot_remembers_while_nobody_listens(con, database_path):
    seen: list[object] = []

    def listen(database):
        database.triggers.register(
            "hear", "t", "after_commit", "insert", lambda e: seen.append(e.key["id"]), slot="hear"
        )

    with open_database(database_path) as database:
        listen(database)
        con.execute("insert into t(id) values (1)")
        wait_until(lambda: seen == [1])
        wait_until(lambda: database.changes.slots.get("hear").lag_commits == 0)
        database.triggers.drop("hear")
        con.execute("insert into t(id) values (2)")
        listen(database)
        wait_until(lambda: seen == [1, 2])


def test_what_fails_is_tried_again_and_then_set_aside(con, database_path, tmp_path):
    tried: list[object] = []
    dead = DeadLetterFile(tmp_path / "dead.jsonl")

    def handler(event):
        tried.append(event.key["id"])
        if event.key["id"] == 2 or tried == [1]:
            raise ValueError("not this one")

    with open_database(database_path) as database:
        database.triggers.register(
            "h", "t", "after_commit", "insert", handler, retry=SOON, dead_letters=dead
        )
        con.executemany("insert into t(id) values (?)", [(1,), (2,), (3,)])
        wait_until(lambda: 3 in tried)
    assert tried == [1, 1, 2, 2, 2, 3]
    (letter,) = dead.read()
    assert (letter["event"]["key"], letter["tries"]) == ({"id": 2}, 3)
    assert letter["error"] == "ValueError: not this one"


def test_a_handler_may_write_and_drop_itself(con, database_path):
    done = threading.Event()
    with open_database(database_path) as database:

        def once(event):
            writer = dosql_dbapi.connect(database_path, isolation_level=None)
            writer.execute("update t set a = 'seen' where id = ?", (event.key["id"],))
            writer.close()
            database.triggers.drop("once")
            done.set()

        database.triggers.register("once", "t", "after_commit", "insert", once)
        con.execute("insert into t(id) values (1)")
        assert done.wait(60)
    assert con.execute("select a from t").fetchall() == [("seen",)]


def test_wrong_definitions_are_refused(con, database_path):
    mistakes: tuple[dict[str, Any], ...] = ({"timeout": 1}, {"batch": 5})
    with open_database(database_path) as database:
        for options in mistakes:
            with pytest.raises(InvalidTriggerError):
                database.triggers.register("x", "t", "after_commit", "insert", print, **options)
        assert len(database.triggers) == 0

"""Streams of changes: every commit of whoever made it, in order, from any LSN on."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

import dosql_dbapi
from dosql_core.changes.change_event import ROW_EVENTS, EventKind
from dosql_core.database import open_database
from dosql_core.errors import BranchNotFoundError, ChangesNotKeptError
from dosql_core.options import Retention
from fixtures.crash import child_environment
from fixtures.programs import run_program, run_sqlite


@pytest.fixture
def stream_schema():
    return "create table account(id integer primary key, owner text, balance real)"


def told(events):
    """Events as one tells them: operation, table, key, before, after."""
    return [(e.operation.value, e.table, e.key, e.before, e.after) for e in events]


def test_a_commit_has_its_changes_with_both_images(con, database):
    start = con.lsn
    con.execute("insert into account values (1, 'ann', 10)")
    con.execute("begin")
    con.execute("update account set balance = 7 where id = 1")
    con.execute("insert into account values (2, 'bob', 20)")
    con.execute("commit")
    con.execute("delete from account where id = 1")
    ann = {"id": 1, "owner": "ann", "balance": 10.0}
    poorer = {**ann, "balance": 7.0}
    bob = {"id": 2, "owner": "bob", "balance": 20.0}
    events = list(database.changes.subscribe(start))
    assert told(events) == [
        ("insert", "account", {"id": 1}, None, ann),
        ("update", "account", {"id": 1}, ann, poorer),
        ("insert", "account", {"id": 2}, None, bob),
        ("delete", "account", {"id": 1}, poorer, None),
    ]
    assert [event.lsn for event in events] == [start + 1, start + 2, start + 2, start + 3]
    assert len({event.token for event in events}) == 4


def test_what_was_rolled_back_never_appears(con, database):
    start = con.lsn
    con.execute("begin")
    con.execute("insert into account values (1, 'ann', 10)")
    con.execute("savepoint s")
    con.execute("insert into account values (2, 'bob', 20)")
    con.execute("rollback to s")
    con.execute("commit")
    con.execute("begin")
    con.execute("insert into account values (3, 'cid', 30)")
    con.execute("rollback")
    assert [event.key for event in database.changes.subscribe(start)] == [{"id": 1}]


def test_triggers_cascades_and_replaced_rows_are_there(con, database):
    con.execute("pragma foreign_keys = on")
    con.execute(
        "create table entry(id integer primary key, a references account on delete cascade)"
    )
    con.execute("create table audit(what text)")
    con.execute(
        "create trigger t after delete on account begin insert into audit values (old.owner); end"
    )
    con.execute("insert into account values (1, 'ann', 10)")
    con.execute("insert into entry values (5, 1)")
    start = con.lsn
    con.execute("delete from account where id = 1")
    con.execute("insert into account values (2, 'bob', 1)")
    con.execute("replace into account values (2, 'rob', 2)")
    con.execute("insert into account values (2, '', 0) on conflict do update set owner = 'bobby'")
    happened = [(e.operation.value, e.table) for e in database.changes.subscribe(start)]
    assert sorted(happened[:3]) == [("delete", "account"), ("delete", "entry"), ("insert", "audit")]
    assert happened[3:] == [("insert", "account"), ("update", "account"), ("update", "account")]


def test_schema_changes_are_events_before_the_rows_that_need_them(con, database):
    start = con.lsn
    con.execute("begin")
    con.execute("create table note(a)")
    con.execute("insert into note values (1)")
    con.execute("commit")
    con.execute("alter table note add column b default 'x'")
    con.execute("drop table note")
    events = list(database.changes.subscribe(start))
    assert [(e.operation.value, e.table) for e in events] == [
        ("schema", "note"),
        ("insert", "note"),
        ("schema", "note"),
        ("schema", "note"),
        ("delete", "note"),
    ]
    assert events[2].after == {"sql": "CREATE TABLE note(a, b default 'x')"}
    assert events[3].after is None


def test_markers_carry_author_and_message(con, database):
    start = con.lsn
    with con.transaction(author="ann", message="the first") as _:
        con.execute("insert into account values (1, 'ann', 10)")
    events = list(database.changes.subscribe(start, markers=True))
    assert [event.operation for event in events] == ["begin", "insert", "commit"]
    assert (events[0].author, events[0].message) == ("ann", "the first")


def test_filters_choose_and_do_not_renumber(con, database):
    start = con.lsn
    con.execute("create table other(a)")
    con.execute("begin")
    con.execute("insert into other values (1)")
    con.execute("insert into account values (1, 'ann', 10), (2, 'bob', 20)")
    con.execute("commit")
    everything = {event.token: event for event in database.changes.subscribe(start)}
    subscribe = database.changes.subscribe
    chosen = [
        *subscribe(start, tables=["ACCOUNT"]),
        *subscribe(start, operations=["schema"]),
        *subscribe(start, where=lambda event: bool(event.after) and event.after.get("id") == 2),
    ]
    assert [event.table for event in chosen] == ["account", "account", "other", "account"]
    assert all(everything[event.token] == event for event in chosen)
    with pytest.raises(ValueError, match="upsert"):
        subscribe(start, operations=["upsert"])


def test_commits_of_other_programs_have_their_changes(con, database, database_path):
    start = con.lsn
    run_sqlite(database_path, "insert into account values (1, 'ann', 10)")
    run_sqlite(database_path, "update account set balance = 11")
    events = list(database.changes.subscribe(start))
    assert [event.operation.value for event in events] == ["insert", "update"]


def test_what_happened_unseen_is_told_as_a_gap_with_its_net_difference(database_path):
    con = dosql_dbapi.connect(database_path, isolation_level=None)
    con.execute("create table account(id integer primary key, owner text)")
    con.execute("insert into account values (1, 'ann')")
    start = con.lsn
    con.close()
    run_sqlite(
        database_path,
        "insert into account values (2, 'bob')",
        "update account set owner = 'rob' where id = 2",
        "delete from account where id = 1",
        "pragma wal_checkpoint(truncate)",
    )
    with open_database(database_path) as database:
        events = list(database.changes.subscribe(start))
    assert events[0].operation is EventKind.GAP
    assert told(events[1:]) == [
        ("delete", "account", {"id": 1}, {"id": 1, "owner": "ann"}, None),
        ("insert", "account", {"id": 2}, None, {"id": 2, "owner": "rob"}),
    ]


def test_a_branch_has_its_own_changes_and_its_parents_before_the_fork(con, database, database_path):
    con.execute("insert into account values (1, 'ann', 10)")
    con.execute("create branch dev")
    dev = dosql_dbapi.connect(database_path, isolation_level=None, branch="dev")
    dev.execute("insert into account values (2, 'on dev', 0)")
    con.execute("insert into account values (3, 'on main', 0)")
    owners = [
        [event.after["owner"] for event in database.changes.subscribe(1, branch)]
        for branch in ("dev", "main")
    ]
    dev.close()
    assert owners == [["ann", "on dev"], ["ann", "on main"]]


def test_following_gives_what_this_and_other_processes_commit(con, database, database_path):
    subscription = database.changes.subscribe(follow=True)
    program = """
        import dosql_dbapi, sys
        con = dosql_dbapi.connect(sys.argv[1], isolation_level=None)
        for number in range(20):
            con.execute("insert into account(owner) values ('other')")
        con.close()
    """
    writer = threading.Thread(target=run_program, args=(program, database_path))
    writer.start()
    for _ in range(20):
        con.execute("insert into account(owner) values ('this')")
    seen = [next(subscription) for _ in range(40)]
    writer.join()
    assert sorted(event.after["owner"] for event in seen) == ["other"] * 20 + ["this"] * 20
    assert [event.lsn for event in seen] == list(range(2, 42))
    subscription.close()


def test_closing_ends_a_wait(con, database):
    subscription = database.changes.subscribe(follow=True)
    ended = []
    waiter = threading.Thread(target=lambda: ended.append(list(subscription)))
    waiter.start()
    time.sleep(0.05)
    subscription.close()
    waiter.join(timeout=60)
    assert ended == [[]]


def test_coroutines_read_too(con, database):
    async def read():
        found = []
        async for event in database.changes.subscribe(0, follow=True, operations=["insert"]):
            found.append(event.key)
            if len(found) == 2:
                return found
        return None

    con.execute("insert into account values (1, 'ann', 1)")
    con.execute("insert into account values (2, 'bob', 2)")
    assert asyncio.run(read()) == [{"id": 1}, {"id": 2}]


def test_batches_hold_what_is_there(con, database):
    con.execute("begin")
    con.executemany("insert into account(owner) values (?)", [(str(i),) for i in range(25)])
    con.execute("commit")
    subscription = database.changes.subscribe(1)
    assert [len(batch) for batch in subscription.batches(10)] == [10, 10, 5]


def test_an_event_is_a_line_of_json(con, database):
    con.execute("create table b(k text primary key, v blob)")
    start = con.lsn
    con.execute("insert into b values ('ö', x'00ff')")
    (event,) = database.changes.subscribe(start)
    line = json.loads(event.to_json())
    assert line["after"] == {"k": "ö", "v": {"base16": "00ff"}}
    assert line["key"] == {"k": "ö"}


def test_changes_that_are_not_kept_are_an_error_that_says_from_when(con, database):
    for number in range(30):
        con.execute("insert into account(balance) values (?)", (number,))
    database.set_retention(Retention(commits_max=5))
    database.compact()
    with pytest.raises(ChangesNotKeptError, match="no changes after LSN 3") as refused:
        database.changes.subscribe(3)
    assert refused.value.code == "CDC_LSN_NOT_FOUND"
    with pytest.raises(ChangesNotKeptError, match="no changes after LSN 999"):
        database.changes.subscribe(999)
    with pytest.raises(BranchNotFoundError):
        database.changes.subscribe(1, "nosuch")


# -- replaying -------------------------------------------------------------------------------------

TABLES = {
    "a": "create table a(id integer primary key, x, y)",
    "b": "create table b(k text primary key, x) without rowid",
    "c": "create table c(k text primary key, x)",
}


def apply(con: Any, event: Any) -> None:
    """Do to a copy what the event tells."""
    if event.operation is EventKind.SCHEMA:
        if event.before is None and event.after is not None:
            con.execute(event.after["sql"])
        elif event.after is None:
            con.execute(f"drop {event.object_kind} {event.table}")
        return
    if event.operation not in ROW_EVENTS:
        return
    if event.before is not None:
        condition = " and ".join(f"{name} is ?" for name in event.key)
        con.execute(f"delete from {event.table} where {condition}", tuple(event.key.values()))
    if event.after is not None:
        places = ", ".join("?" for _ in event.after)
        names = ", ".join(event.after)
        con.execute(
            f"insert into {event.table}({names}) values ({places})", tuple(event.after.values())
        )


def dump(con: Any) -> Any:
    tables = sorted(
        name for (name,) in con.execute("select name from sqlite_schema where type = 'table'")
    )
    return [
        (table, con.execute(f"select * from {table} order by 1").fetchall()) for table in tables
    ]


@pytest.mark.parametrize("seed", range(2))
def test_replaying_from_any_lsn_gives_any_later_one(con, database, database_path, tmp_path, seed):
    chance = random.Random(seed)
    present = []
    for _ in range(30):
        table = chance.choice("abc")
        if table not in present:
            con.execute(TABLES[table])
            present.append(table)
        elif chance.random() < 0.05:
            con.execute(f"drop table {table}")
            present.remove(table)
        else:
            con.execute("begin")
            for _ in range(chance.choice([1, 3, 40])):
                number = chance.randrange(30)
                key = number if table == "a" else str(number)
                name = "id" if table == "a" else "k"
                value = chance.choice([None, 1, 1.5, "text", b"\x00" * 3000])
                if chance.random() < 0.3:
                    con.execute(f"delete from {table} where {name} = ?", (key,))
                else:
                    con.execute(f"replace into {table}({name}, x) values (?, ?)", (key, value))
            con.execute("commit")
    newest = con.lsn
    for number in range(6):
        first, last = sorted(chance.sample(range(newest + 1), 2))
        copy_path = tmp_path / f"copy{number}.db"
        database.export(copy_path, first)
        copy = dosql_dbapi.connect(copy_path, isolation_level=None, history=False)
        for event in database.changes.subscribe(first, up_to=last):
            apply(copy, event)
        with dosql_dbapi.connect(database_path, as_of=last) as then:
            assert dump(copy) == dump(then), f"{first} -> {last}"
        then.close()
        copy.close()


def test_a_reader_that_is_killed_and_begins_again_misses_nothing(con, database, database_path):
    """A consumer in another process acknowledges as it goes, and is killed in the middle."""
    database.changes.slots.create("reader")
    program = """
        import sys
        from dosql_core.database import open_database
        with open_database(sys.argv[1]) as database:
            with database.changes.slots.consume("reader") as consumer:
                for lsn, events in consumer.commits():
                    print(lsn, *[event.key["id"] for event in events], flush=True)
                    consumer.acknowledge(lsn)
    """
    command = [sys.executable, "-c", "\n".join(line[8:] for line in program.splitlines())]
    seen: dict[int, list[str]] = {}
    written = 0
    for _round in range(3):
        reader = subprocess.Popen(
            [*command, str(database_path)],
            stdout=subprocess.PIPE,
            text=True,
            env=child_environment(),
        )
        for _ in range(30):
            written += 1
            con.execute("insert into account(id) values (?)", (written,))
        assert reader.stdout is not None
        for _ in range(7):
            lsn, *keys = reader.stdout.readline().split()
            assert seen.setdefault(int(lsn), keys) == keys
        reader.kill()
        reader.wait()
        for line in reader.stdout:
            lsn, *keys = line.split()
            assert seen.setdefault(int(lsn), keys) == keys
        reader.stdout.close()
    with database.changes.slots.consume("reader", follow=False) as consumer:
        for lsn, events in consumer.commits():
            seen.setdefault(lsn, [str(event.key["id"]) for event in events])
    read = [int(key) for lsn in sorted(seen) for key in seen[lsn]]
    assert read == list(range(1, written + 1))

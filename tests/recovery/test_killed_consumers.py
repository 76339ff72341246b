"""Writers and consumers of changes killed at random: no event is lost, none is applied twice.

A writer inserts accounts, whose trigger writes an audit row, and acknowledges each commit. Two
consumers in processes of their own read the same database through slots: one applies commits
exactly once to a database of its own, the other notes events in a file, at least once. All three
are killed and started again; whatever the writer was told is committed must have reached both.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import dosql_dbapi
from dosql_core.database import open_database
from fixtures.crash import CrashMoment, CrashReport, run_crash_child

Child = tuple[str, Sequence[object], int]

SCHEMA = """
    create table account(id integer primary key, owner text);
    create table audit(account integer, what text);
    create trigger noted after insert on account begin
        insert into audit values (new.id, 'made');
    end;
"""
WRITER = """
    import sys
    import dosql_dbapi
    con = dosql_dbapi.connect(sys.argv[1], isolation_level=None)
    number = con.execute("select coalesce(max(id), 0) from account").fetchone()[0]
    while True:
        number += 1
        con.execute("begin immediate")
        con.execute("insert into account values (?, 'new')", (number,))
        con.execute("update account set owner = 'ann' where id = ?", (number - 1,))
        if number % 7 == 0:
            con.execute("rollback")
            con.execute("update account set owner = owner || '!' where id % 5 = 1")
            con.execute("insert into account values (?, 'seventh')", (number,))
        else:
            con.execute("commit")
        acknowledge(number)
"""
EXACTLY_ONCE = """
    import sys
    import dosql_dbapi
    from dosql_core.database import open_database

    def apply(copy, events):
        for event in events:
            copy.execute("insert into seen values (?, ?)", (event.lsn, event.index))
            if event.table != "account":
                continue
            copy.execute("delete from account where id = ?", (event.key["id"],))
            if event.after is not None:
                copy.execute("insert into account values (:id, :owner)", event.after)
        acknowledge(events[0].lsn)

    copy = dosql_dbapi.connect(sys.argv[2], isolation_level=None)
    copy.execute("create table if not exists account(id integer primary key, owner text)")
    copy.execute("create table if not exists seen(lsn, event)")
    acknowledge("begun")
    with open_database(sys.argv[1]) as database:
        with database.changes.slots.consume("exact", follow=sys.argv[3] == "follow") as consumer:
            consumer.run_into(copy, apply, acknowledge_seconds=0.05)
    copy.close()
"""
AT_LEAST_ONCE = """
    import os, sys
    from dosql_core.database import open_database

    log = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(event):
        os.write(log, f"{event.lsn} {event.index}\\n".encode())
        acknowledge(event.lsn)

    acknowledge("begun")
    with open_database(sys.argv[1]) as database:
        with database.changes.slots.consume("least", follow=sys.argv[3] == "follow") as consumer:
            consumer.run(note, acknowledge_seconds=0.05)
"""


def test_no_event_is_lost_and_none_applied_twice(
    database_path: Path, tmp_path: Path, seeded_random: random.Random, is_long_run: bool
) -> None:
    with contextlib.closing(dosql_dbapi.connect(database_path)) as con:
        con.executescript(SCHEMA)
    with open_database(database_path) as database:
        start = database.changes.slots.create("exact").lsn
        database.changes.slots.create("least")
    copy, log = tmp_path / "copy.db", tmp_path / "log"
    acknowledged = 0
    for _ in range(25 if is_long_run else 3):
        children: list[Child] = [
            (WRITER, (database_path,), 60),
            (EXACTLY_ONCE, (database_path, copy, "follow"), 40),
            (AT_LEAST_ONCE, (database_path, log, "follow"), 40),
        ]
        reports = _run_together(children, seeded_random)
        told = [int(number) for number in reports[0].acknowledgements]
        acknowledged = max([acknowledged, *told])
    for program, target in ((EXACTLY_ONCE, copy), (AT_LEAST_ONCE, log)):
        run_crash_child(program, (database_path, target, "to the end"), moment=None)

    with open_database(database_path) as database:
        assert all(slot.lag_commits == 0 for slot in database.changes.slots.list())
        expected = [(e.lsn, e.index) for e in database.changes.subscribe(start)]
    with contextlib.closing(dosql_dbapi.connect(copy)) as con:
        seen = con.execute("select lsn, event from seen order by 1, 2").fetchall()
        copied = con.execute("select * from account order by 1").fetchall()
    assert seen == expected
    noted = {tuple(map(int, line.split())) for line in log.read_text().splitlines()}
    assert noted == set(expected)
    with contextlib.closing(dosql_dbapi.connect(database_path)) as con:
        assert con.execute("select * from account order by 1").fetchall() == copied
    assert {number for number, _ in copied} >= set(range(1, acknowledged + 1))


def _run_together(children: Sequence[Child], chance: random.Random) -> list[CrashReport]:
    """Run crash children beside one another, each killed at a moment of its own."""
    reports: dict[int, CrashReport] = {}

    def run(place: int, program: str, arguments: Sequence[object], _most: int) -> None:
        reports[place] = run_crash_child(program, arguments, moment=moments[place])

    moments = [
        CrashMoment.pick(chance, seconds_max=0.4, acknowledgements_max=most)
        for _, _, most in children
    ]
    # However slow it is, the writer makes as many commits as the consumers are to hear of.
    most_heard = max(moment.acknowledgement_count for moment in moments[1:])
    moments[0] = replace(
        moments[0], acknowledgement_count=moments[0].acknowledgement_count + most_heard
    )
    threads = [
        threading.Thread(target=run, args=(place, *child)) for place, child in enumerate(children)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [reports[place] for place in range(len(children))]

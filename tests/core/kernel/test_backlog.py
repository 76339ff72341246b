"""The WAL stays within bounds, however fast it is written and by which process."""

from __future__ import annotations

import contextlib
import os
import time

import pytest

import dosql_dbapi
from dosql_core.database import open_database
from dosql_core.identifiers import MAIN_BRANCH_ID
from dosql_core.kernel import keeper, keeping
from dosql_core.kernel.head import Head
from dosql_core.options import DatabaseOptions
from fixtures.programs import run_program

CAPTURE_BYTES = 100_000


@pytest.mark.parametrize("seconds", [0.0, 0.02])
def test_a_fast_writer_does_not_outrun_capture(database_path, monkeypatch, seconds):
    # On a slow machine a cycle may take longer than writers would wait for it.
    monkeypatch.setattr(keeping, "_BACKLOG_WAIT_SECONDS", 60.0)
    capture_now = Head.capture_now

    def capture_slowly(head):
        time.sleep(seconds)
        return capture_now(head)

    monkeypatch.setattr(Head, "capture_now", capture_slowly)
    with (
        open_database(database_path, DatabaseOptions(wal_capture_bytes=CAPTURE_BYTES)),
        contextlib.closing(
            dosql_dbapi.connect(database_path, isolation_level=None, durability="off")
        ) as con,
    ):
        con.execute("create table t(id integer primary key, a)")
        for number in range(4000):
            con.execute("insert or replace into t values (?, randomblob(3000))", (number % 50,))
        longest = os.stat(f"{database_path}-wal").st_size  # a WAL that is begun anew stays as long
    # They wait from 24 times on, having looked 4 apart; without that it comes to 65 and more.
    assert longest < 40 * CAPTURE_BYTES


def test_a_keeper_rests_when_all_is_done(database_path):
    with (
        open_database(database_path) as database,
        database.opened_head(MAIN_BRANCH_ID) as head,
        contextlib.closing(dosql_dbapi.connect(database_path, isolation_level=None)) as con,
    ):
        con.execute("create table t(a)")
        con.execute("insert into t values (zeroblob(6000000))")
        assert con.execute("pragma wal_checkpoint").fetchone()[0] == 0
        assert head.index.state().frames > 1000  # until the next commit begins the WAL anew
        assert not head.keeping.pacing.is_due()


def test_a_cycle_waits_for_a_long_transaction_and_is_tried_again(database_path, monkeypatch):
    monkeypatch.setattr(keeper, "_GATE_SECONDS", 0.05)
    with (
        open_database(database_path) as database,
        database.opened_head(MAIN_BRANCH_ID) as head,
        contextlib.closing(dosql_dbapi.connect(database_path, isolation_level=None)) as con,
    ):
        con.execute("create table t(a)")
        con.execute("begin immediate")
        con.execute("insert into t values (1)")
        with head.keeping._lock:  # the head's thread would try again meanwhile
            assert not head.keeping.maintain()
            assert head.keeping.pacing.is_due()
        with pytest.raises(dosql_dbapi.OperationalError, match="table is locked") as refused:
            con.execute("pragma wal_checkpoint")
        assert refused.value.sqlite_errorname == "SQLITE_LOCKED"
        con.execute("commit")
        assert head.keeping.maintain()
        assert head.keeping.maintenance.failure is None


def test_work_that_was_done_long_ago_does_not_count(database_path, monkeypatch):
    with (
        open_database(database_path) as database,
        database.opened_head(MAIN_BRANCH_ID) as head,
    ):
        pacing, now = head.keeping.pacing, time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now)
        pacing.note_work(0.5)
        pacing.note_work(0.5)
        assert pacing.worked_lately() == pytest.approx(1.0, abs=0.01)
        monkeypatch.setattr(time, "monotonic", lambda: now + 10)
        assert pacing.worked_lately() < 0.01


WRITE_A_MEGABYTE = """
import sys, dosql_dbapi
con = dosql_dbapi.connect(sys.argv[1], isolation_level=None, durability="off")
for number in range(300):
    con.execute("insert or replace into t values (?, randomblob(3000))", (number % 50,))
"""


def test_an_idle_keeper_captures_what_another_process_writes(database_path):
    options = DatabaseOptions(wal_capture_bytes=CAPTURE_BYTES)
    with open_database(database_path, options) as database:
        con = dosql_dbapi.connect(database_path, isolation_level=None)
        con.execute("create table t(id integer primary key, a)")
        run_program(WRITE_A_MEGABYTE, database_path)
        history = database.known(MAIN_BRANCH_ID)
        deadline = time.monotonic() + 60
        while not history.newest_lsn > 200:  # nobody has asked for the past
            assert time.monotonic() < deadline, history.newest_lsn
            time.sleep(0.01)
            history.refresh()
        con.close()

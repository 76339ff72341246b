"""A merge beside connections that write to its target without a pause."""

from __future__ import annotations

import threading
from contextlib import closing

import dosql_dbapi
from dosql_core.merging import merge


def test_a_target_that_never_rests_is_merged_into_all_the_same(fork):
    for number in range(5):
        fork.theirs.execute("insert into line values (?)", (f"theirs {number}",))
    stopped = threading.Event()
    written: list[int] = []

    def write() -> None:
        with (
            closing(
                dosql_dbapi.connect(fork.path, isolation_level=None, durability="off", timeout=60)
            ) as con,
            con,
        ):
            while not stopped.is_set():
                con.execute("insert into person(name, age) values ('busy', 1)")
                written.append(1)
        con.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        lsn = fork.merge(using="abort").lsn
    finally:
        stopped.set()
        writer.join()
    assert fork.rows("select count(*) from line") == [(6,)]
    assert fork.rows("select count(*) from person where name = 'busy'") == [(len(written),)]
    (parents,) = fork.rows(f"select parents from dosql_log where lsn = {lsn}")[0]
    assert parents.split()[0] == f"main@{lsn - 1}"


def test_a_merge_that_keeps_writers_out_first_is_the_same_merge(fork, monkeypatch):
    """What a merge does after it was outrun several times, done at once."""
    monkeypatch.setattr(merge, "_HASTY_TRIES", 0)
    fork.ours.execute("update person set age = 31 where id = 1")
    fork.theirs.execute("update person set name = 'anna' where id = 1")
    assert fork.merge(dry_run=True).rows == 1
    assert fork.rows("select name, age from person where id = 1") == [("ann", 31)]
    fork.merge()
    assert fork.rows("select name, age from person where id = 1") == [("anna", 31)]
    fork.theirs.execute("update person set age = 2 where id = 1")
    fork.ours.execute("update person set age = 3 where id = 1")
    (conflict,) = fork.conflicts()
    assert conflict.columns == ("age",)
    fork.ours.execute("resolve conflicts using theirs")
    fork.ours.execute("commit merge")
    assert fork.rows("select age from person where id = 1") == [(2,)]
    fork.ours.execute("insert into line values ('the lock is free')")

"""Changes tell why they happened: a trigger, a foreign key, or because a statement said so."""

from __future__ import annotations

import pytest

import dosql_dbapi
from fixtures.programs import run_program, run_sqlite

SCHEMA = """
    create table account(id integer primary key, owner text, balance int);
    create table entry(
        id integer primary key, account references account on delete cascade on update set null
    );
    create table note(k text primary key, entry references entry on delete cascade);
    create table audit(what text);
    create table tag(name text primary key, n) without rowid;
    create trigger gone after delete on account begin
        insert into audit values ('gone ' || old.owner);
        insert into tag values (old.owner, 1) on conflict do update set n = n + 1;
    end;
    create trigger entry_gone after delete on entry begin
        insert into audit values ('entry');
    end;
    pragma foreign_keys = on;
    insert into account values (1, 'ann', 10), (2, 'bob', 20), (3, 'cid', 30);
    insert into entry values (11, 1), (12, 1), (21, 2);
    insert into note values ('x', 11), ('y', null);
"""


@pytest.fixture
def stream_schema():
    return SCHEMA


def causes(database, start):
    """Operation, table, key and cause of each event."""
    return [
        (e.operation.value, e.table, next(iter(e.key.values())), e.cause)
        for e in database.changes.subscribe(start)
        if e.key is not None
    ]


def test_cascades_and_triggers_are_told_apart(con, database):
    start = con.lsn
    con.execute("delete from account where id = 1")
    assert causes(database, start) == [
        ("delete", "account", 1, None),
        ("delete", "entry", 11, "foreign key"),
        ("delete", "entry", 12, "foreign key"),
        ("delete", "note", "x", "foreign key"),
        ("insert", "audit", 1, "trigger entry_gone"),
        ("insert", "audit", 2, "trigger entry_gone"),
        ("insert", "audit", 3, "trigger gone"),
        ("insert", "tag", "ann", "trigger gone"),
    ]


def test_rows_of_one_table_changed_for_two_reasons_are_told_apart(con, database):
    start = con.lsn
    con.execute("begin")
    con.execute("delete from note where k = 'y'")
    con.execute("insert into audit values ('by hand')")
    con.execute("delete from account where id = 1")
    con.execute("update entry set id = 22 where id = 21")
    con.execute("commit")
    told = causes(database, start)
    assert ("delete", "note", "y", None) in told
    assert ("delete", "note", "x", "foreign key") in told
    assert ("delete", "entry", 21, None) in told
    assert ("delete", "entry", 11, "foreign key") in told
    assert [cause for _, table, _, cause in told if table == "audit"] == [
        None, "trigger entry_gone", "trigger entry_gone", "trigger gone"
    ]  # fmt: skip


def test_a_set_null_is_an_update_by_the_foreign_key(con, database):
    start = con.lsn
    con.execute("update account set id = 9 where id = 2")
    assert ("update", "entry", 21, "foreign key") in causes(database, start)


def test_without_triggers_at_work_no_cause_is_told(con, database):
    start = con.lsn
    con.execute("update account set balance = 0")
    con.execute("begin")
    con.execute("delete from account")
    con.execute("rollback")
    con.execute("insert into audit values ('by hand')")
    assert {cause for *_, cause in causes(database, start)} == {None}


def test_a_trigger_made_later_in_another_connection_is_noticed(con, database, database_path):
    con.execute("insert into account values (7, 'gus', 1)")
    other = dosql_dbapi.connect(database_path, isolation_level=None)
    other.execute(
        "create trigger put after insert on account begin insert into audit values (1); end"
    )
    other.close()
    start = con.lsn
    con.execute("insert into account values (8, 'hal', 1)")
    assert causes(database, start)[-1] == ("insert", "audit", 1, "trigger put")


def test_causes_outlive_the_process_and_compaction(con, database, database_path):
    start = con.lsn
    program = """
        import dosql_dbapi, os, sys
        con = dosql_dbapi.connect(sys.argv[1], isolation_level=None)
        con.execute("pragma foreign_keys = on")
        con.execute("delete from account where id = 1")
        con.execute("delete from account where id = 2")
        os._exit(0)  # nothing is closed
    """
    run_program(program, database_path)
    told = causes(database, start)
    assert ("delete", "entry", 21, "foreign key") in told
    database.compact()
    assert causes(database, start) == told


def test_of_commits_by_other_programs_no_cause_is_known(con, database, database_path):
    start = con.lsn
    run_sqlite(database_path, "pragma foreign_keys = on", "delete from account where id = 1")
    told = causes(database, start)
    assert len(told) == 8
    assert {cause for *_, cause in told} == {None}


def test_many_rows_have_one_cause_together(con, database):
    con.execute("begin")
    con.executemany("insert into entry(account) values (?)", [(3,)] * 3000)
    con.execute("commit")
    start = con.lsn
    con.execute("delete from account where id = 3")
    told = causes(database, start)
    assert [cause for _, table, _, cause in told if table == "entry"] == ["foreign key"] * 3000


def test_many_rows_changed_for_two_reasons_are_told_to_have_none(con, database):
    con.execute("begin")
    con.executemany("insert into entry(account) values (?)", [(3,)] * 1500)
    con.executemany("insert into entry(account) values (?)", [(2,)] * 1500)
    con.execute("commit")
    start = con.lsn
    con.execute("begin")
    con.execute("delete from account where id = 3")
    con.execute("delete from entry where account = 2")
    con.execute("commit")
    told = causes(database, start)
    assert {cause for _, table, _, cause in told if table == "entry"} == {None}
    start = con.lsn
    con.execute("delete from entry where id = 11")  # the next transaction is told of anew
    assert {cause for _, table, _, cause in causes(database, start) if table == "audit"} == {
        "trigger entry_gone"
    }


def test_a_statement_that_fails_leaves_no_cause_behind(con, database):
    con.execute(
        "create trigger no before delete on account when old.id = 2 "
        "begin insert into audit values ('no'); select raise(abort, 'not him'); end"
    )
    start = con.lsn
    with pytest.raises(dosql_dbapi.IntegrityError):
        con.execute("delete from account where id = 2")
    con.execute("insert into audit values ('by hand')")
    assert causes(database, start) == [("insert", "audit", 1, None)]


def test_a_follower_hears_of_causes_and_authors_although_history_is_ahead(con, database):
    start = con.lsn
    with database.changes.subscribe(start, follow=True, markers=True) as stream:
        heard = []
        for key in (4, 5):  # when the second one comes it reads the WAL
            con.execute("insert into account values (?, 'dot', 0)", (key,))
            heard += [next(stream) for _ in range(3)]
        with con.transaction(author="ann", message="why"):
            con.execute("delete from account where id = 1")
        last = con.lsn
        con.execute("pragma wal_checkpoint")  # puts it into history, and forgets what was noted
        while heard[-1].lsn < last or heard[-1].operation.value != "commit":
            heard.append(next(stream))
    assert heard == list(database.changes.subscribe(start, markers=True))
    assert {event.cause for event in heard} > {"foreign key", "trigger gone"}

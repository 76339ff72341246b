"""Python triggers: they change, veto and watch rows, whatever statement the rows come from."""

from __future__ import annotations

import pytest

import dosql_dbapi
from dosql_core.database import open_database
from dosql_core.errors import (
    InvalidTriggerError,
    OperationRejectedError,
    TableNotFoundError,
    TriggerDepthError,
    TriggerExistsError,
    TriggerHandlerError,
    TriggerNotFoundError,
    TriggerTimeoutError,
)
from dosql_core.triggers.row_triggers import SKIP

TABLES = {
    "by_number": "create table t(id integer primary key, name text not null, size real)",
    "by_text": "create table t(id text primary key, name text not null, size real)",
    "keyless": "create table t(id, name text not null, size real)",
    "clustered": "create table t(id primary key, name text not null, size real) without rowid",
    "generated": "create table t(id integer primary key, name text not null, size real, "
    "twice as (size * 2), loud text as (upper(name)) stored)",
}


@pytest.fixture(params=TABLES)
def con(request, database_path):
    con = dosql_dbapi.connect(database_path, isolation_level=None)
    con.execute(TABLES[request.param])
    yield con
    con.close()


@pytest.fixture
def plain(database_path):
    con = dosql_dbapi.connect(database_path, isolation_level=None)
    con.execute(TABLES["by_number"])
    con.execute("create table log(what)")
    yield con
    con.close()


def rows(con):
    return con.execute("select id, name, size from t order by id").fetchall()


def shout(change):
    return {"name": change.new["name"].upper() + "!"}


def test_a_handler_before_changes_rows_of_every_kind_of_statement(con):
    con.triggers.register("shout", "t", "before", ["insert", "update"], shout)
    con.execute("insert into t(id, name, size) values (1, 'ann', 1)")
    con.executemany("insert into t(id, name, size) values (?, ?, ?)", [(2, "bob", 2), (3, "c", 3)])
    con.execute("create table other(id, name, size)")
    con.execute("insert into other values (4, 'dan', 4), (5, 'eve', 5)")
    con.execute("insert into t(id, name, size) select * from other")
    con.execute("update t set name = 'rob', size = size + 1 where id = 2")
    assert rows(con) == [
        (1, "ANN!", 1.0), (2, "ROB!", 3.0), (3, "C!", 3.0), (4, "DAN!", 4.0), (5, "EVE!", 5.0)
    ] or isinstance(rows(con)[0][0], str)  # fmt: skip
    assert [name for _, name, _ in rows(con)] == ["ANN!", "ROB!", "C!", "DAN!", "EVE!"]


def test_upserts_and_replacements_are_changed_too(con):
    con.triggers.register("shout", "t", "before", ["insert", "update"], shout)
    con.execute("insert into t(id, name, size) values (1, 'ann', 1)")
    con.execute("replace into t(id, name, size) values (1, 'amy', 2)")
    assert rows(con)[-1][1] == "AMY!"
    if "primary key" in con.execute("select sql from sqlite_schema").fetchone()[0]:
        con.execute(
            "insert into t(id, name, size) values (1, 'x', 9) "
            "on conflict (id) do update set name = 'upserted', size = excluded.size"
        )
        assert [row[1:] for row in rows(con)] == [("UPSERTED!", 9.0)]


def test_the_key_that_sqlite_chose_is_kept(plain):
    plain.triggers.register("shout", "t", "before", "insert", shout)
    cursor = plain.execute("insert into t(name) values ('ann')")
    assert (cursor.lastrowid, cursor.rowcount) == (1, 1)
    cursor = plain.executemany("insert into t(name) values (?)", [("bob",), ("cid",)])
    assert cursor.rowcount == 2
    assert [row[:2] for row in rows(plain)] == [(1, "ANN!"), (2, "BOB!"), (3, "CID!")]


def test_a_handler_may_veto_or_leave_a_row_out(con):
    @con.triggers.register("no", "t", "before", ["insert", "delete"])
    def check(change):
        row = change.new or change.old
        if row["name"] == "bad":
            change.reject("no bad names")
        return SKIP if row["name"] == "skipped" else None

    con.executemany("insert into t(id, name) values (?, ?)", [(1, "a"), (2, "skipped"), (3, "b")])
    assert [row[1] for row in rows(con)] == ["a", "b"]
    with pytest.raises(OperationRejectedError, match="no bad names") as refused:
        con.execute("insert into t(id, name) values (4, 'fine'), (5, 'bad')")
    assert refused.value.code == "TRIGGER_OPERATION_REJECTED"
    assert [row[1] for row in rows(con)] == ["a", "b"]
    con.triggers.disable("no")
    con.execute("insert into t(id, name) values (5, 'bad')")
    con.triggers.enable("no")
    with pytest.raises(OperationRejectedError):
        con.execute("delete from t")
    assert len(rows(con)) == 3


def test_a_handler_after_runs_in_the_transaction(plain):
    @plain.triggers.register("note", "t", "after", ["insert", "update", "delete"])
    def note(change):
        before, after = change.old and change.old["name"], change.new and change.new["name"]
        change.run("insert into log values (?)", (f"{change.event} {before} {after}",))

    plain.execute("insert into t(name) values ('a')")
    plain.execute("begin")
    plain.execute("update t set name = 'b'")
    plain.execute("delete from t")
    assert plain.execute("select what from log").fetchall() == [
        ("insert None a",), ("update a b",), ("delete b None",)
    ]  # fmt: skip
    plain.execute("rollback")
    assert plain.execute("select what from log").fetchall() == [("insert None a",)]


def test_handlers_come_in_the_order_of_their_priority(plain):
    def appending(letter):
        return lambda change: {"name": change.new["name"] + letter}

    for letter, priority in (("c", 5), ("a", -1), ("d", 5), ("b", 0)):
        plain.triggers.register(
            letter, "t", "before", "insert", appending(letter), priority=priority
        )
    told = []
    plain.triggers.register("z", "t", "after", "insert", lambda c: told.append(c.new["name"]))
    plain.execute("insert into t(name) values ('-')")
    plain.triggers.drop("a")
    plain.execute("insert into t(name) values ('-')")
    assert [name for _, name, _ in rows(plain)] == ["-abcd", "-bcd"] == told
    assert [trigger.name for trigger in plain.triggers] == ["c", "d", "b", "z"]


def test_a_row_left_out_for_a_conflict_does_not_lend_its_changes_to_another(plain):
    plain.execute("create unique index u on t(size)")
    plain.execute("insert into t values (1, 'first', 1)")
    plain.triggers.register(
        "mark", "t", "before", "insert",
        lambda c: {"name": "changed"} if c.new["size"] == 1 else None,
    )  # fmt: skip
    plain.execute(
        "insert or ignore into t(name, size) values ('x', 1), ('y', 2), ('z', 1), ('w', 3)"
    )
    assert rows(plain) == [(1, "first", 1.0), (2, "y", 2.0), (3, "w", 3.0)]


def test_what_handlers_change_sets_off_sql_triggers_but_not_handlers(plain):
    calls = []
    plain.execute("create trigger s after update on t begin insert into log values (new.name); end")
    plain.triggers.register("shout", "t", "before", ["insert", "update"], shout)
    plain.triggers.register(
        "w", "t", "after", ["insert", "update"], lambda c: calls.append(c.event)
    )
    plain.execute("insert into t(name) values ('a')")
    assert calls == ["insert"]
    plain.execute("update t set name = 'b'")
    assert calls == ["insert", "update"]
    assert rows(plain) == [(1, "B!", None)]
    assert ("A!",) in plain.execute("select what from log").fetchall()


@pytest.mark.parametrize("recursive", ["on", "off"])
def test_what_handlers_change_is_changed_once(plain, recursive):
    plain.execute(f"pragma recursive_triggers = {recursive}")
    plain.triggers.register(
        "count", "t", "before", ["insert", "update"], lambda c: {"size": c.new["size"] + 1}
    )
    plain.execute("insert into t(name, size) values ('a', 1)")
    assert rows(plain) == [(1, "a", 2.0)]
    plain.execute("update t set size = 10")
    assert rows(plain) == [(1, "a", 11.0)]
    plain.execute("replace into t values (1, 'b', 5)")
    assert rows(plain) == [(1, "b", 6.0)]


def test_failures_of_handlers_are_errors_of_the_statement(plain):
    @plain.triggers.register("broken", "t", "before", "insert")
    def broken(change):
        if change.new["name"] == "loop":
            while True:
                pass
        if change.new["name"] == "odd":
            return {"nosuch": 1}
        raise ValueError("oops")

    with pytest.raises(TriggerHandlerError, match="ValueError: oops") as failed:
        plain.execute("insert into t(name) values ('a')")
    assert isinstance(failed.value.__cause__, ValueError)
    with pytest.raises(InvalidTriggerError, match="nosuch"):
        plain.execute("insert into t(name) values ('odd')")
    plain.triggers.drop("broken")
    plain.triggers.register("slow", "t", "before", "insert", broken, timeout=0.1)
    with pytest.raises(TriggerTimeoutError) as late:
        plain.execute("insert into t(name) values ('loop')")
    assert late.value.code == "TRIGGER_TIMEOUT"  # or the loop would never have ended
    assert rows(plain) == []
    plain.triggers.drop("slow")
    plain.execute("insert into t(name) values ('a')")


def test_handlers_that_set_one_another_off_are_stopped(plain):
    @plain.triggers.register("again", "t", "after", "insert")
    def again(change):
        change.run("insert into t(name) values ('more')")

    with pytest.raises(TriggerDepthError, match="32 deep") as deep:
        plain.execute("insert into t(name) values ('a')")
    assert deep.value.code == "TRIGGER_MAX_DEPTH"
    assert rows(plain) == []


def test_wrong_definitions_are_refused(plain):
    def nothing(change):
        return None

    register = plain.triggers.register
    register("x", "t", "before", "insert", nothing)
    with pytest.raises(TriggerExistsError):
        register("x", "t", "after", "insert", nothing)
    for timing, events, handler, more in (
        ("during", "insert", nothing, {}),
        ("before", "upsert", nothing, {}),
        ("before", [], nothing, {}),
        ("before", "insert", "no function", {}),
        ("before", "insert", nothing, {"timeout": 0}),
        ("before", "insert", nothing, {"slot": "s"}),
        ("after_commit", "insert", nothing, {}),
    ):
        with pytest.raises(InvalidTriggerError):
            register("y", "t", timing, events, handler, **more)
    for act in (plain.triggers.drop, plain.triggers.enable, plain.triggers.get):
        with pytest.raises(TriggerNotFoundError, match="nosuch"):
            act("nosuch")


@pytest.mark.parametrize("path", ["file", ":memory:"])
def test_a_trigger_on_a_table_that_is_not_there_is_refused(path, database_path):
    con = dosql_dbapi.connect(database_path if path == "file" else path, isolation_level=None)
    con.execute(TABLES["by_number"])
    con.execute("create view v as select * from t")
    with pytest.raises(TableNotFoundError, match="'tt', which is not there") as refused:
        con.triggers.register("shout", "tt", "before", "insert", shout)
    assert refused.value.code == "STMT_TABLE_NOT_FOUND"
    assert "tables there are: t" in refused.value.hint
    with pytest.raises(InvalidTriggerError, match="'V' is a view: expected an ordinary table"):
        con.triggers.register("shout", "V", "before", "insert", shout)
    assert len(con.triggers) == 0
    con.triggers.register("shout", "T", "before", "insert", shout)
    con.close()


def test_a_trigger_of_a_database_needs_its_table_on_one_branch(plain, database_path):
    plain.execute("create branch dev")
    plain.execute("use branch dev")
    plain.execute("create table there(name text)")
    seen = []
    with open_database(database_path) as database:
        register = database.triggers.register
        register("a", "there", "after", "insert", lambda change: seen.append(change.new["name"]))
        for timing, table in (("after", "nowhere"), ("after_commit", "there")):
            with pytest.raises(TableNotFoundError):
                register("b", table, timing, "insert", print)
        register("b", "there", "after_commit", "insert", print, branch="dev")
        assert [trigger.name for trigger in database.triggers] == ["a", "b"]
        plain.execute("insert into there values ('on dev')")
    assert seen == ["on dev"]


def test_triggers_of_a_database_fire_for_all_its_connections(plain, database_path):
    seen = []
    with open_database(database_path) as database:
        database.triggers.register(
            "see", "t", "after", "insert", lambda c: seen.append(c.new["name"])
        )
        other = dosql_dbapi.connect(database_path, isolation_level=None)
        plain.execute("insert into t(name) values ('a')")
        other.execute("insert into t(name) values ('b')")
        other.triggers.register("own", "t", "after", "insert", lambda c: seen.append("own"))
        other.execute("insert into t(name) values ('c')")
        plain.execute("insert into t(name) values ('d')")
        database.triggers.drop("see")
        plain.execute("insert into t(name) values ('e')")
        other.close()
    assert seen == ["a", "b", "c", "own", "d"]


def test_they_follow_to_branches_and_survive_going_back(plain, database_path):
    plain.triggers.register("shout", "t", "before", "insert", shout)
    plain.execute("create branch dev")
    plain.execute("begin")
    plain.execute("savepoint s")
    plain.execute("insert into t(name) values ('a')")
    plain.execute("rollback to s")
    plain.execute("insert into t(name) values ('b')")
    plain.execute("rollback")
    plain.execute("insert into t(name) values ('c')")
    assert [row[1] for row in rows(plain)] == ["C!"]
    plain.execute("use branch dev")
    plain.execute("insert into t(name) values ('d')")
    assert [row[1] for row in rows(plain)] == ["D!"]


def test_they_notice_a_table_that_changes(plain):
    seen = []
    plain.triggers.register("see", "t", "after", "insert", lambda c: seen.append(dict(c.new)))
    plain.execute("insert into t(name) values ('a')")
    plain.execute("alter table t add column more")
    plain.execute("insert into t(name, more) values ('b', 5)")
    plain.execute("drop table t")
    plain.execute("create table t(only)")
    plain.execute("insert into t values (7)")
    assert seen[1]["more"] == 5
    assert seen[2] == {"only": 7}


def test_they_work_in_memory_and_without_history():
    con = dosql_dbapi.connect(":memory:", isolation_level=None)
    con.execute(TABLES["by_number"])
    con.triggers.register("shout", "t", "before", "insert", shout)
    con.execute("insert into t(name) values ('a')")
    assert rows(con) == [(1, "A!", None)]
    con.close()


def test_changes_by_handlers_have_their_cause(plain, database_path):
    plain.triggers.register(
        "note", "t", "after", "insert", lambda c: c.run("insert into log values (1)")
    )
    start = plain.lsn
    plain.execute("insert into t(name) values ('a')")
    with open_database(database_path) as database:
        events = list(database.changes.subscribe(start))
    assert [(e.table, e.cause) for e in events] == [("t", None), ("log", "trigger note")]

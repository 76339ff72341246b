"""Replaying the stream from any LSN onto a copy of it gives the branch as of any later one.

What happens meanwhile is as mixed as it gets: triggers, cascades, REPLACE, upserts, other programs,
another branch's past, changes of the schema and VACUUM.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import dosql_dbapi
from dosql_core.changes.change_event import ROW_EVENTS, ChangeEvent, EventKind
from dosql_core.database import open_database
from fixtures.programs import run_sqlite

SCHEMA = """
    create table parent(id integer primary key, name text unique, n real);
    create table child(
        k text primary key, parent references parent on delete cascade on update set null, v
    ) without rowid;
    create table grandchild(child references child on delete cascade, note blob);
    create table audit(what text, n);
    create trigger parent_made after insert on parent begin
        insert into audit(what, n) values ('made ' || new.name, new.n);
    end;
    create trigger child_gone before delete on child begin
        insert into audit(what, n) values ('gone', old.k);
        update parent set n = n + 1 where id = old.parent;
    end;
"""
STATEMENTS = (
    "insert or replace into parent values (?1, 'p' || ?2, ?3)",
    "insert into parent values (?1, 'p' || ?2, ?3) on conflict do update set n = excluded.n",
    "insert or ignore into child values ('c' || ?1, ?2, ?3)",
    "replace into child select 'c' || ?1, min(id), randomblob(2000) from parent where ?2 is not ?3",
    "insert into grandchild select 'c' || ?1, ?3 where exists "
    "(select 1 from child where k = 'c' || ?1) and ?2 is not null",
    "delete from parent where id = ?1 and ?2 is not ?3",
    "delete from child where k = 'c' || ?1 and ?2 is not ?3",
    "update or ignore parent set id = ?2 where id = ?1 and ?3 is not ?2",
    "update or ignore parent set name = 'p' || (?2 + 1), n = ?3 where id = ?1",
    "delete from audit where rowid % 7 = ?1 % 7 and ?2 is not ?3",
    "delete from grandchild where ?1 = ?2 and ?3 is not 77",
)


class Copy:
    """A stock SQLite file that does what events tell, without triggers of its own."""

    def __init__(self, path: Path) -> None:
        self.con = sqlite3.connect(path, isolation_level=None)
        for (name,) in self.con.execute(
            "select name from sqlite_schema where type = 'trigger'"
        ).fetchall():
            self.con.execute(f"drop trigger {name}")

    def apply(self, events: Sequence[ChangeEvent]) -> None:
        """Do what one commit did: what is gone first, for values may have changed places."""
        for event in events:
            if event.operation is EventKind.SCHEMA and event.object_kind != "trigger":
                if event.before is not None:
                    self.con.execute("pragma foreign_keys = off")
                self._alter(event)
        rows = [event for event in events if event.operation in ROW_EVENTS]
        for event in rows:
            if event.before is not None and self._has(event.table):
                assert event.key is not None
                # VACUUM numbers rows without a key anew, so one that looks the same has to go
                known = event.before if "rowid" in event.key else event.key
                where = " and ".join(f"{name} is ?" for name in known)
                key = "rowid" if "rowid" in event.key else ", ".join(event.key)
                self.con.execute(
                    f"delete from {event.table} where ({key}) in "
                    f"(select {key} from {event.table} where {where} limit 1)",
                    tuple(known.values()),
                )
        for event in rows:
            if event.after is not None:
                row = event.after
                places = ", ".join("?" for _ in row)
                self.con.execute(
                    f"insert into {event.table}({', '.join(row)}) values ({places})",
                    tuple(row.values()),
                )

    def _alter(self, event: ChangeEvent) -> None:
        if event.before is None:
            assert event.after is not None
            self.con.execute(str(event.after["sql"]))
        elif event.after is None:
            self.con.execute(f"drop {event.object_kind} if exists {event.table}")
        else:  # the only thing done to a table here
            column = str(event.after["sql"]).rsplit(",", 1)[1].rsplit(")", 1)[0]
            self.con.execute(f"alter table {event.table} add column {column}")

    def _has(self, table: str | None) -> bool:
        found = self.con.execute("select 1 from sqlite_schema where name = ?", (table,))
        return found.fetchone() is not None


def contents(con: Any) -> Any:
    """Every row of every table, and what the schema says."""
    tables = con.execute(
        "select name, sql from sqlite_schema where type = 'table' and name not like 'sqlite%' "
        "order by 1"
    ).fetchall()
    return tables, [
        sorted(map(repr, con.execute(f"select * from {name}").fetchall())) for name, _ in tables
    ]


def change_something(con: Any, path: Path, chance: random.Random) -> None:
    luck = chance.random()
    if luck < 0.05:
        con.execute("create table if not exists extra(k text primary key, x)")
        con.execute("insert or replace into extra values (?, 1)", (str(chance.randrange(9)),))
    elif luck < 0.08:
        con.execute("drop table if exists extra")
    elif luck < 0.11:
        column = f"added_{chance.randrange(10**6)}"
        con.execute(f"alter table audit add column {column} integer default 5")
    elif luck < 0.13:
        con.execute("vacuum")
    elif luck < 0.18:
        run_sqlite(
            path,
            "pragma foreign_keys = on",
            f"delete from parent where id = {chance.randrange(30)}",
            f"insert or replace into child values ('c{chance.randrange(30)}', null, 'foreign')",
        )
    else:
        con.execute("begin")
        for _ in range(chance.choice([1, 1, 2, 20])):
            number, other = chance.randrange(30), chance.randrange(30)
            value = chance.choice([None, 1, 2.5, "text", b"\x00" * 3000])
            with contextlib.suppress(dosql_dbapi.IntegrityError):
                con.execute(chance.choice(STATEMENTS), (number, other, value))
        con.execute(chance.choice(["commit", "commit", "commit", "rollback"]))


@pytest.mark.parametrize("seed", range(2))
def test_a_copy_follows_through_whatever_happens(
    database_path: Path, tmp_path: Path, seed: int, is_long_run: bool
) -> None:
    chance = random.Random(seed)
    con = dosql_dbapi.connect(database_path, isolation_level=None, durability="normal")
    con.executescript(SCHEMA)
    con.execute("pragma foreign_keys = on")
    for number in range(400 if is_long_run else 60):
        change_something(con, database_path, chance)
        if number == 20:
            con.execute("create branch dev")
            con.execute("use branch dev")
    newest = con.lsn
    with open_database(database_path) as database:
        for number in range(6):
            first, last = sorted(chance.sample(range(6, newest + 1), 2))
            database.export(tmp_path / f"copy{number}.db", first, "dev")
            copy = Copy(tmp_path / f"copy{number}.db")
            for _, events in database.changes.subscribe(first, "dev", up_to=last).commits():
                copy.apply(events)
            then = dosql_dbapi.connect(database_path, branch="dev", as_of=last)
            assert contents(copy.con) == contents(then), f"{first} -> {last}"
            then.close()
            copy.con.close()
    con.close()

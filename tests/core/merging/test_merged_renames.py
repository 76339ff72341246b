"""Tables and columns renamed on one side are, in a merge, the tables and columns they were."""

from __future__ import annotations

import random
from contextlib import closing
from typing import Any

import pytest

import dosql_dbapi
from dosql_core.database import open_database
from dosql_core.merging.conflict import ConflictKind

RENAMED = "alter table word rename to lemma"


@pytest.fixture(params=[False, True], ids=["they rename", "we rename"])
def sides(request, fork):
    """Who renames, and the other side."""
    return (fork.ours, fork.theirs) if request.param else (fork.theirs, fork.ours)


def test_a_table_renamed_on_one_side_has_the_rows_of_both(fork, sides):
    renaming, writing = sides
    renaming.execute(RENAMED)
    renaming.execute("update lemma set n = 7 where w = 'b'")
    writing.execute("insert into word values ('c', 3)")
    writing.execute("delete from word where w = 'a'")
    fork.merge()
    assert fork.rows("select * from lemma") == [("b", 7), ("c", 3)]
    assert fork.rows("select 1 from sqlite_schema where name = 'word'") == []


def test_what_refers_to_a_renamed_table_goes_on_to_do_so(fork, sides):
    renaming, writing = sides
    renaming.execute("alter table person rename to human")
    renaming.execute("alter table human rename column name to called")
    writing.execute("create index person_name on person(name)")
    writing.execute("create view old as select name from person where age > 35")
    writing.execute(
        "create trigger aging after insert on pet begin update person set age = age + 1; end"
    )
    writing.execute("create table job(id integer primary key, holder references person, t text)")
    writing.execute("insert into job values (1, 2, 'cook')")
    fork.merge()
    assert fork.rows("select * from old") == [("bob",), ("cid",)]
    fork.ours.execute("insert into pet values (2, 2, 'tom')")
    assert fork.rows("select age, called from human where id = 1") == [(31, "ann")]
    fork.ours.execute("pragma foreign_keys = on")
    with pytest.raises(dosql_dbapi.IntegrityError):
        fork.ours.execute("delete from human where id = 2")
    assert "person_name" in str(
        fork.rows("explain query plan select 1 from human where called = 'ann'")
    )


def test_a_table_renamed_on_one_side_gets_what_the_other_altered(fork, sides):
    renaming, altering = sides
    renaming.execute(RENAMED)
    renaming.execute("insert into lemma values ('c', 3)")
    altering.execute("alter table word add column lang text default 'en'")
    altering.execute("update word set lang = 'no' where w = 'a'")
    altering.execute("alter table word rename column n to seen")
    fork.merge()
    assert fork.rows("select w, seen, lang from lemma") == [
        ("a", 1, "no"), ("b", 2, "en"), ("c", 3, "en"),
    ]  # fmt: skip


def test_after_a_merge_both_ways_both_sides_are_defined_the_same(fork, sides):
    renaming, writing = sides
    renaming.execute("alter table person rename column age to years")
    renaming.execute(RENAMED)
    writing.execute("create index by_age on person(age)")
    writing.execute("create view words as select w from word")
    fork.merge()
    fork.merge("main", "dev")
    with fork.database.diff("branch:main", "branch:dev") as difference:
        assert difference.schema_changes() == []
        assert list(difference.rows()) == []


def test_one_row_changed_on_both_sides_is_a_conflict_under_the_new_name(fork, sides):
    renaming, writing = sides
    renaming.execute(RENAMED)
    renaming.execute("alter table lemma rename column n to seen")
    renaming.execute("update lemma set seen = 7 where w = 'a'")
    writing.execute("update word set n = 8 where w = 'a'")
    (conflict,) = fork.conflicts()
    assert (conflict.kind, conflict.table) == (ConflictKind.MODIFY_MODIFY, "lemma")
    assert (conflict.columns, conflict.key) == (("seen",), {"w": "a"})
    assert conflict.base == {"w": "a", "seen": 1}
    assert {conflict.ours["seen"], conflict.theirs["seen"]} == {7, 8}
    assert fork.database.branches.resolve({"seen": 15}) == 1
    fork.database.branches.complete()
    assert fork.rows("select * from lemma where w = 'a'") == [("a", 15)]


@pytest.mark.parametrize("latest", ["ours", "theirs"])
def test_the_last_writer_is_found_across_a_rename(fork, sides, latest):
    renaming, _ = sides
    renaming.execute(RENAMED)
    renaming.execute("alter table lemma rename column n to seen")
    last = getattr(fork, latest)
    for con, value in ((fork.theirs if latest == "ours" else fork.ours, 7), (last, 8)):
        table, column = ("lemma", "seen") if con is renaming else ("word", "n")
        con.execute(f"update {table} set {column} = {value} where w = 'a'")
    fork.merge(using="newest")
    assert fork.rows("select seen from lemma where w = 'a'") == [(8,)]


def test_a_constraint_broken_across_a_rename_is_told_and_settled(fork, sides):
    renaming, writing = sides
    renaming.execute("alter table person rename to human")
    renaming.execute("alter table human rename column email to mail")
    renaming.execute("insert into human values (4, 'dee', 'd@x', 60)")
    writing.execute("insert into person values (5, 'dan', 'd@x', 61)")
    (conflict,) = fork.conflicts(using="abort")
    assert (conflict.kind, conflict.table) == (ConflictKind.UNIQUE, "human")
    fork.merge(using="theirs")
    winner = 4 if renaming is fork.theirs else 5
    assert fork.rows("select id from human where mail = 'd@x'") == [(winner,)]


def test_a_row_whose_renamed_parent_was_deleted_is_a_conflict(fork, sides):
    renaming, writing = sides
    renaming.execute("alter table person rename to human")
    renaming.execute("alter table human rename column id to number")
    renaming.execute("delete from human where number = 3")
    writing.execute("insert into pet values (2, 3, 'tom')")
    (conflict,) = fork.conflicts(using="abort")
    assert (conflict.kind, conflict.table) == (ConflictKind.FOREIGN_KEY, "pet")
    side = "theirs" if writing is fork.theirs else "ours"
    fork.merge(using=side)  # which has the parent, so it comes back
    assert fork.rows("select number, name from human where number = 3") == [(3, "cid")]
    assert fork.rows("select id from pet") == [(1,), (2,)]


@pytest.mark.parametrize("using", ["ours", "theirs", "base"])
def test_a_table_renamed_to_two_names_is_a_conflict_that_loses_no_row(fork, using):
    fork.ours.execute("alter table word rename to entry")
    fork.ours.execute("insert into entry values ('c', 3)")
    fork.theirs.execute(RENAMED)
    fork.theirs.execute("insert into lemma values ('d', 4)")
    (conflict,) = fork.conflicts()
    assert (conflict.kind, conflict.table) == (ConflictKind.SCHEMA, "word")
    assert conflict.key == {"kind": "table", "part": "name"}
    assert "its name is entry here and lemma there" in conflict.detail
    with pytest.raises(dosql_dbapi.ProgrammingError, match="expected ours, theirs or base"):
        fork.database.branches.resolve({"name": "another"})
    fork.database.branches.resolve(using)
    fork.database.branches.complete()
    name = {"ours": "entry", "theirs": "lemma", "base": "word"}[using]
    assert fork.rows(f"select w from {name}") == [("a",), ("b",), ("c",), ("d",)]
    names = {name for (name,) in fork.rows("select name from sqlite_schema")}
    assert len(names & {"entry", "lemma", "word"}) == 1


@pytest.mark.parametrize("using", ["ours", "theirs"])
def test_what_is_decided_about_rows_holds_under_the_name_that_is_chosen(fork, using):
    for con, name, value in ((fork.ours, "entry", 10), (fork.theirs, "lemma", 20)):
        con.execute(f"alter table word rename to {name}")
        con.execute(f"update {name} set n = {value} where w = 'a'")
    assert len(fork.conflicts()) == 2
    assert fork.database.branches.resolve(using) == 2
    fork.database.branches.complete()
    name, value = ("entry", 10) if using == "ours" else ("lemma", 20)
    assert fork.rows(f"select n from {name} where w = 'a'") == [(value,)]


@pytest.mark.parametrize("using", ["ours", "theirs"])
def test_a_column_renamed_to_two_names_is_a_conflict_that_loses_no_value(fork, using):
    fork.ours.execute("alter table word rename column n to seen")
    fork.ours.execute("update word set seen = 10 where w = 'a'")
    fork.theirs.execute("alter table word rename column n to times")
    fork.theirs.execute("update word set times = 20 where w = 'b'")
    (conflict,) = fork.conflicts(using="abort")
    assert conflict.key == {"kind": "table", "part": "column n"}
    fork.merge(using=using)
    name = {"ours": "seen", "theirs": "times"}[using]
    assert fork.rows(f"select w, {name} from word") == [("a", 10), ("b", 20)]


def test_a_table_renamed_here_and_dropped_there_is_a_conflict(fork, sides):
    renaming, dropping = sides
    renaming.execute(RENAMED)
    dropping.execute("drop table word")
    (conflict,) = fork.conflicts(using="abort")
    assert (conflict.kind, conflict.table) == (ConflictKind.SCHEMA, "lemma")
    fork.merge(using="theirs")
    there = fork.rows("select w from lemma") if renaming is fork.theirs else []
    assert there == ([("a",), ("b",)] if renaming is fork.theirs else [])


def test_a_column_renamed_here_and_dropped_there_is_a_conflict(fork, sides):
    renaming, dropping = sides
    renaming.execute("alter table word rename column n to seen")
    dropping.execute("alter table word drop column n")
    (conflict,) = fork.conflicts(using="abort")
    assert "dropped n, and the other renamed it" in conflict.detail


def test_a_new_name_that_the_other_side_gave_to_another_table_is_a_conflict(fork, sides):
    renaming, making = sides
    renaming.execute(RENAMED)
    making.execute("create table lemma(t text)")
    making.execute("insert into word values ('c', 3)")
    (conflict,) = fork.conflicts(using="abort")
    assert conflict.key == {"kind": "table", "part": "name"}
    assert "something else on the other side" in conflict.detail
    kept = "theirs" if making is fork.theirs else "ours"
    fork.merge(using=kept)
    assert fork.rows("select w from word") == [("a",), ("b",), ("c",)]
    assert fork.rows("select * from lemma") == []


def test_a_table_dropped_and_another_made_in_its_pages_is_not_taken_for_renamed(fork, sides):
    altering, writing = sides
    altering.execute("drop table person")
    altering.execute("create table shop(id integer primary key, name text, email text, age int)")
    shops = [(1, "corner", "c@y", 1), (2, "mall", "m@y", 2), (3, "kiosk", "", 3)]
    altering.executemany("insert into shop values (?, ?, ?, ?)", shops)
    writing.execute("update person set age = 1 where id = 1")
    (conflict,) = fork.conflicts(using="abort")
    assert conflict.table == "person"
    assert "dropped it" in conflict.detail


def test_columns_that_took_one_anothers_names_are_a_conflict(fork, sides):
    renaming, writing = sides
    for sql in ("name to x", "email to name", "x to email"):
        renaming.execute(f"alter table person rename column {sql}")
    assert fork.merge(dry_run=True).conflicts == ()
    writing.execute("update person set name = 'anna' where id = 1")
    (conflict,) = fork.conflicts(using="abort")
    assert (conflict.kind, conflict.table) == (ConflictKind.SCHEMA, "person")
    assert "renamed columns of it to one another's names" in conflict.detail


def test_counting_goes_on_behind_the_keys_of_a_renamed_table(fork, sides):
    fork.ours.execute("create table j(id integer primary key autoincrement, t text)")
    fork.ours.execute("insert into j(t) values ('a'), ('b')")
    fork.merge("main", "dev")
    renaming, writing = sides
    renaming.execute("alter table j rename to journal")
    writing.execute("insert into j values (9, 'nine')")
    writing.execute("delete from j where id = 9")
    writing.execute("insert into j values (5, 'five')")
    fork.merge()
    fork.ours.execute("insert into journal(t) values ('next')")
    assert fork.rows("select max(id) from journal") == [(10,)]


def test_definitions_with_functions_of_a_program_are_rewritten_too(fork):
    def folded(text):
        return str(text).casefold()

    fork.ours.create_function("folded", 1, folded, deterministic=True)
    fork.ours.execute("create table tag(t text check (folded(t) <> ''), w references word)")
    fork.ours.execute("create view folded_words as select folded(w) as f from word")
    fork.database.branches.create("later")
    with closing(dosql_dbapi.connect(fork.path, isolation_level=None, branch="later")) as later:
        later.execute(RENAMED)
        fork.ours.execute("insert into word values ('c', 3)")
        fork.merge("later")
        assert fork.rows("select f from folded_words") == [("a",), ("b",), ("c",)]
        (sql,) = fork.rows("select sql from sqlite_schema where name = 'tag'")[0]
        assert "lemma" in sql
        for con in (fork.ours, later):  # nobody can verify it without the function
            con.execute("drop table tag")


def test_a_check_with_a_function_that_a_merge_does_not_have_is_an_error_of_ours(fork):
    fork.theirs.create_function("folded", 1, str.casefold, deterministic=True)
    fork.theirs.execute("create table tag(t text check (folded(t) <> ''))")
    with pytest.raises(dosql_dbapi.OperationalError, match="no such function: folded"):
        fork.merge()
    fork.theirs.execute("drop table tag")


def test_a_commit_is_picked_and_taken_back_across_a_rename(fork):
    fork.theirs.execute(RENAMED)
    fork.theirs.execute("insert into lemma values ('c', 3)")
    lsn = fork.database.lsn("dev")
    fork.database.branches.cherry_pick(lsn, "dev")
    assert fork.rows("select w from word") == [("a",), ("b",), ("c",)]
    fork.theirs.execute("update lemma set n = 0 where w = 'a'")
    fork.database.branches.revert(lsn - 1, branch="dev")
    assert fork.rows("select * from word", fork.theirs) == [("a", 0), ("b", 2), ("c", 3)]


# -- against the same without renames --------------------------------------------------------------

TABLES = {
    "plain": ("create table plain(k integer primary key, a, b, c)", ("k",)),
    "text_key": ("create table text_key(k text primary key, a, b, c) without rowid", ("k",)),
    "two_keys": ("create table two_keys(k int, l text, a, b, c, primary key(k, l))", ("k", "l")),
    "computed": ("create table computed(k integer primary key, a, b, c, d as (a || b))", ("k",)),
}


class Renaming:
    """One branch of a database on which tables and columns may go by other names."""

    def __init__(self, path: Any, branch: str) -> None:
        self.con = dosql_dbapi.connect(path, isolation_level=None, branch=branch, durability="off")
        self.names: dict[str, str] = {}

    def run(self, table: str, sql: str, values: Any = ()) -> Any:
        """Run a statement whose names are in braces."""
        names = {n: self.names.get(f"{table}.{n}", n) for n in "klabc"}
        return self.con.execute(sql.format(t=self.names.get(table, table), **names), values)

    def rename(self, of: str, to: str) -> None:
        table, _, column = of.partition(".")
        now = self.names.get(table, table)
        what = f"rename column {self.names.get(of, column)} to" if column else "rename to"
        self.con.execute(f"alter table {now} {what} {to}")
        self.names[of] = to

    def rows(self, table: str) -> list[Any]:
        return sorted(self.run(table, "select * from {t}").fetchall(), key=repr)


def scramble(sides: list[Renaming], chance: random.Random, count: int) -> None:
    """The same on every one of the sides."""
    for _ in range(count):
        table = chance.choice(list(TABLES))
        keys = TABLES[table][1]
        key = [chance.randrange(5), chance.choice("pq")][: len(keys)]
        where = " and ".join(f"{{{name}}} = ?" for name in keys)
        act = chance.random()
        if act < 0.25:
            sql, values = f"delete from {{t}} where {where}", key
        elif act < 0.6:
            sql = f"update {{t}} set {{{chance.choice('abc')}}} = ? where {where}"
            values = [chance.randrange(4), *key]
        else:
            names = ", ".join(f"{{{name}}}" for name in (*keys, "a", "b", "c"))
            values = [*key, *(chance.randrange(4) for _ in "abc")]
            sql = f"insert or ignore into {{t}}({names}) values ({', '.join('?' * len(values))})"
        for side in sides:
            side.run(table, sql, values)


@pytest.mark.parametrize("seed", range(3))
def test_merges_with_renames_are_those_without_them(tmp_path, seed):
    chance = random.Random(400 + seed)
    branches = ("main", "dev")
    paths = tmp_path / "still.db", tmp_path / "moving.db"
    sides = {"main": [Renaming(path, "main") for path in paths]}
    for side in sides["main"]:
        for table, (sql, keys) in TABLES.items():
            side.con.execute(sql)
            names = ", ".join((*keys, "a", "b", "c"))
            places = ", ".join("?" * (len(keys) + 3))
            for n in range(100, 130):  # which stay, and so tell what was renamed
                values = (*(n, "s")[: len(keys)], n, -n, n * n)
                side.con.execute(f"insert into {table}({names}) values ({places})", values)
    scramble(sides["main"], chance, 40)
    with open_database(paths[0]) as still, open_database(paths[1]) as moving:
        for database in (still, moving):
            database.branches.create("dev")
        sides["dev"] = [Renaming(path, "dev") for path in paths]
        free = [*TABLES, *(f"{table}.{column}" for table in TABLES for column in "kabc")]
        for step in range(6):
            for branch in branches:
                scramble(sides[branch], chance, chance.randrange(8))
                for number in range(min(chance.randrange(3), len(free))):
                    of = free.pop(chance.randrange(len(free)))
                    sides[branch][1].rename(of, f"new_{step}_{number}_{branch}")
                scramble(sides[branch], chance, chance.randrange(8))
            into, source = chance.sample(branches, 2)
            called = {**sides[source][1].names, **sides[into][1].names}
            found: list[set[tuple[Any, ...]]] = []
            for database in (still, moving):
                conflicts = database.branches.merge(source, into, dry_run=True).conflicts
                found.append({(c.table, *c.key.values(), c.columns) for c in conflicts})
                database.branches.merge(source, into, using="ours")
            expected = set()
            for table, *key, columns in found[0]:
                named = tuple(called.get(f"{table}.{column}", column) for column in columns)
                expected.add((called.get(table, table), *key, named))
            assert found[1] == expected
            sides[into][1].names = called
            for table in TABLES:
                assert sides[into][0].rows(table) == sides[into][1].rows(table)
        for side in (*sides["main"], *sides["dev"]):
            side.con.close()

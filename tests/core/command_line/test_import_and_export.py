"""Rows in and out of files: what comes back is what went in, and a bad file leaves nothing."""

from __future__ import annotations

import gzip
import json

import pytest

from fixtures.programs import run_sqlite

PEOPLE = 'id,name,score,zip\n1,ann,3.5,00501\n2,"bob, jr",4,10001\n3,,7.25,\n'


@pytest.fixture
def people(dosql):
    (dosql.folder / "people.csv").write_text(PEOPLE)
    dosql.ok("import", "app.db", "people.csv")
    return dosql


def test_types_are_guessed_so_that_nothing_changes(people):
    schema = people.run(
        "query", "app.db", "select name, type from pragma_table_info('people')", "--json"
    )
    types = {row["name"]: row["type"].lower() for row in schema.json}
    assert types == {"id": "integer", "name": "text", "score": "real", "zip": "text"}
    rows = people.run("query", "app.db", "select * from people", "--json").json
    assert rows[0] == {"id": 1, "name": "ann", "score": 3.5, "zip": "00501"}
    assert rows[2] == {"id": 3, "name": None, "score": 7.25, "zip": None}


def test_an_import_is_one_commit(people):
    assert people.run("info", "app.db", "--json").json["lsn"] == 1
    people.ok("import", "app.db", "people.csv")
    assert people.ok("app.db", "select count(*) from people") == "6\n"
    assert people.run("info", "app.db", "--json").json["lsn"] == 2


def test_types_key_and_table_can_be_said(dosql):
    (dosql.folder / "people.csv").write_text(PEOPLE)
    dosql.ok("import", "app.db", "people.csv", "-t", "person", "--type", "score=text", "--pk", "id")
    assert dosql.ok("app.db", "select typeof(score) from person where id = 1") == "text\n"
    again = dosql.run("import", "app.db", "people.csv", "-t", "person")
    assert again.status == 1
    assert "UNIQUE" in again.err


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("short.csv", "a,b\n1,2\n3\n", "line 3"),
        ("long.csv", "a,b\n1,2\n3,4,5\n", "line 3"),
        ("bad.jsonl", '{"a": 1}\n{"a": \n', "line 2"),
        ("open.csv", 'a,b\n1,"2\n3,4\n', "line 2"),
        ("bytes.csv", b"a,b\n1,\xff\xfe\n", "line 2"),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_imported(people, name, content, told):
    (people.folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    ended = people.run("import", "app.db", name, "-t", "fresh")
    assert ended.status in (1, 2), ended
    assert told in ended.err
    assert people.ok("app.db", ".tables").split() == ["people"]
    assert people.run("info", "app.db", "--json").json["lsn"] == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bad.csv", "a,b\n1,2\n3\n"),
        ("bad.sql", "create table t(a);\ninsert into nowhere values (1);"),
        ("bad.sqlite", "SQLite format 3\0 and no more"),
    ],
)
def test_a_refused_import_leaves_no_database_that_was_not_there(dosql, name, content):
    (dosql.folder / name).write_text(content)
    assert dosql.run("import", "new.db", name).status == 1
    assert [path.name for path in dosql.folder.iterdir() if path.is_file()] == [name]
    assert not (dosql.folder / "new.db-dosql").exists()


def test_a_value_that_does_not_fit_the_existing_column_is_named(people):
    people.ok("app.db", "create table strictly(id integer primary key, n integer) strict")
    (people.folder / "bad.csv").write_text("id,n\n1,2\n2,three\n")
    ended = people.run("import", "app.db", "bad.csv", "-t", "strictly")
    assert ended.status == 1
    assert "line 3" in ended.err
    assert people.ok("app.db", "select count(*) from strictly") == "0\n"


def test_import_in_the_shell_takes_rows_without_names_as_sqlite3_does(people):
    (people.folder / "rows.csv").write_text("4,dan,1,2\n5,eve,1,2\n")
    told = people.ok(
        "app.db",
        ".import rows.csv people",
        ".import -csv --skip 1 people.csv people",
        ".import --csv people.csv people",
        "select count(*), group_concat(distinct name) from people where name <> 'ann'",
    )
    assert told == "5|bob, jr,dan,eve\n"
    (people.folder / "typo.csv").write_text("id,nmae,score,zip\n6,f,1,2\n")
    refused = people.run("app.db", ".import typo.csv people")
    assert (refused.status, "no column nmae" in refused.err) == (1, True)


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "json", "parquet", "sql", "sqlite"])
def test_a_table_survives_the_way_out_and_in(people, ending):
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    one_table = () if ending == "sqlite" else ("--table", "people")
    people.ok("export", "app.db", f"out.{ending}", *one_table)
    people.ok("import", "copy.db", f"out.{ending}", *(("-t", "people") if ending != "sql" else ()))
    rows = "select * from people order by id"
    assert people.ok("-json", "copy.db", rows) == people.ok("-json", "app.db", rows)


def test_a_compressed_file_is_read_and_the_standard_streams_are_files_too(people):
    packed = gzip.compress(b'{"a": 1, "b": [1, 2]}\n{"a": 2, "b": null}\n')
    (people.folder / "events.jsonl.gz").write_bytes(packed)
    people.ok("import", "app.db", "events.jsonl.gz")
    lines = people.ok("export", "app.db", "-", "--format", "jsonl", "--table", "events")
    assert [json.loads(line)["a"] for line in lines.splitlines()] == [1, 2]
    people.ok("import", "app.db", "-", "--format", "csv", "-t", "typed", stdin="x\n5\n")
    assert people.ok("app.db", "select x + 1 from typed") == "6\n"


def test_the_past_is_exported_as_a_stock_file(people):
    people.ok("app.db", "delete from people")
    people.ok("export", "app.db", "then.sqlite", "--as-of", "1")
    assert run_sqlite(people.folder / "then.sqlite", "select count(*) from people") == [[[3]]]


def test_a_file_that_is_there_is_not_replaced_unless_forced(people):
    people.ok("export", "app.db", "out.csv", "-t", "people")
    refused = people.run("export", "app.db", "out.csv", "-t", "people")
    assert refused.status == 1
    assert "out.csv" in refused.err
    people.ok("export", "app.db", "out.csv", "-q", "select 1 as one", "--force")
    assert (people.folder / "out.csv").read_text().split() == ["one", "1"]


def test_a_file_that_is_not_there_or_of_no_known_kind_is_refused(people):
    assert "nosuch.csv" in people.run("import", "app.db", "nosuch.csv").err
    (people.folder / "data.xyz").write_text("1\n")
    ended = people.run("import", "app.db", "data.xyz")
    assert ended.status == 2
    assert "--format" in ended.err


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "bad.csv is empty"),
        (b"\n\r\n", "bad.csv is empty"),
        (b'a,b\n1,"never closed\n2,3\n', "line 2: a quote opened in this row is never closed"),
        ("a,b\n1,2\n".encode("utf-16"), "--encoding utf-16"),
        (b"a,b\n1,\xe9\n", "--encoding latin-1"),
    ],
)
def test_a_file_that_cannot_be_read_says_what_is_wrong_with_it(dosql, content, told):
    (dosql.folder / "bad.csv").write_bytes(content)
    refused = dosql.run("import", "app.db", "bad.csv")
    assert refused.status == 1
    assert told in refused.err


def test_empty_lines_before_the_names_are_passed_over(dosql):
    (dosql.folder / "t.csv").write_text("\n\na,b\n1,2\n")
    dosql.ok("import", "app.db", "t.csv")
    assert dosql.ok("app.db", "select a, b from t") == "1|2\n"

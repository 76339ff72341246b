"""The shell between other programs: it behaves as sqlite3's, so that scripts can be moved over."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

ROWS = "create table t(a, b);\ninsert into t values (1, 'x'), (2, null), (3, 'a,b');\n"


def test_rows_are_separated_by_bars(dosql):
    assert dosql.ok(stdin=ROWS + "select * from t;") == "1|x\n2|\n3|a,b\n"


def test_statements_on_the_command_line_run_and_the_shell_leaves(dosql):
    dosql.ok("app.db", stdin=ROWS)
    assert dosql.ok("app.db", "select a from t limit 1", "select 'then this'") == "1\nthen this\n"


def test_an_error_names_its_line_and_the_rest_still_runs(dosql):
    ended = dosql.run(stdin="select 1;\nselect\n nosuch;\nselect 2;\n")
    assert ended.out == "1\n2\n"
    assert ended.status == 1
    assert "near line 2" in ended.err
    assert "no such column: nosuch" in ended.err


def test_bail_stops_at_the_first_error(dosql):
    ended = dosql.run("-bail", stdin="select 1;\nselect nosuch;\nselect 2;\n")
    assert (ended.out, ended.status) == ("1\n", 1)


def test_a_statement_that_is_not_finished_is_told(dosql):
    ended = dosql.run(stdin="select 1 +")
    assert ended.status == 1
    assert "incomplete input" in ended.err


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("list", "1|x\n2|\n"),
        ("csv", "1,x\n2,\n"),
        ("tabs", "1\tx\n2\t\n"),
        ("json", '[{"a":1,"b":"x"},\n{"a":2,"b":null}]\n'),
        ("jsonl", '{"a":1,"b":"x"}\n{"a":2,"b":null}\n'),
        ("line", "    a = 1\n    b = x\n\n    a = 2\n    b = \n"),
        ("quote", "1,'x'\n2,NULL\n"),
        ("insert", 'INSERT INTO "table" VALUES(1,\'x\');\nINSERT INTO "table" VALUES(2,NULL);\n'),
        ("tcl", '"1" "x"\n"2" ""\n'),
        ("markdown", "| a | b |\n|---|---|\n| 1 | x |\n| 2 |   |\n"),
        ("box", "┌───┬───┐\n│ a │ b │\n├───┼───┤\n│ 1 │ x │\n│ 2 │   │\n└───┴───┘\n"),
    ],
)
def test_a_mode_lays_rows_out(dosql, mode, expected):
    script = ROWS + f".mode {mode}\nselect * from t where a < 3;\n"
    assert dosql.ok(stdin=script) == expected


def test_null_headers_and_separators_can_be_chosen(dosql):
    script = ROWS + '.headers on\n.nullvalue nil\n.separator ";" "!"\nselect * from t where a = 2;'
    assert dosql.ok(stdin=script) == "a;b!2;nil!"


def test_csv_quotes_what_needs_it(dosql):
    script = ROWS + ".mode csv\nselect b, 'say \"hi\"' from t where a = 3;\n"
    assert dosql.ok(stdin=script) == '"a,b","say ""hi"""\n'


def test_tables_and_schema_are_listed(dosql):
    script = ROWS + "create index i on t(a);\ncreate view v as select 1 as one;\n"
    assert dosql.ok(stdin=script + ".tables\n").split() == ["t", "v"]
    assert dosql.ok(stdin=script + ".indexes\n").split() == ["i"]
    assert "CREATE TABLE t(a, b);" in dosql.ok(stdin=script + ".schema t\n")


def test_a_schema_is_in_the_order_in_which_it_was_made(dosql):
    script = (
        "create table z(b);create table a(n);create index by_n on a(n);"
        'create view "v 1" as select n, n+1 as "y z" from a;create virtual table f using fts5(w);\n'
    )
    assert dosql.ok(stdin=script + ".schema\n").splitlines()[:8] == [
        "CREATE TABLE z(b);",
        "CREATE TABLE a(n);",
        "CREATE INDEX by_n on a(n);",
        'CREATE VIEW "v 1" as select n, n+1 as "y z" from a',
        '/* "v 1"(n,"y z") */;',
        "CREATE VIRTUAL TABLE f using fts5(w)",
        "/* f(w) */;",
        "CREATE TABLE IF NOT EXISTS 'f_data'(id INTEGER PRIMARY KEY, block BLOB);",
    ]
    assert dosql.ok(stdin=script + ".schema --indent z\n") == "CREATE TABLE z(b);\n"
    refused = dosql.run(stdin=script + ".schema --nonsense\n")
    assert refused.status == 1


def test_a_backup_is_a_stock_file_of_the_moment_shown(dosql, tmp_path):
    script = "create table t(a); insert into t values (1);\n.backup one.sqlite\n"
    dosql.ok("app.db", stdin=script + "update t set a = 2;\n.save two.sqlite\n")
    dosql.ok("app.db", stdin=".asof 2\n.backup main one.sqlite\n")  # replaced by the same
    for name, value in (("one", 1), ("two", 2)):
        with contextlib.closing(sqlite3.connect(tmp_path / f"{name}.sqlite")) as con:
            assert con.execute("select a from t").fetchall() == [(value,)]
    assert sorted(path.name for path in tmp_path.glob("*.sqlite*")) == ["one.sqlite", "two.sqlite"]
    for script in (".backup app.db\n", ".backup\n", ".save a b\n", ".backup no/folder/x\n"):
        assert dosql.run("app.db", stdin=script).status == 1
    assert dosql.ok("app.db", "select a from t") == "2\n"


def test_a_dump_makes_the_database_again(dosql):
    dosql.ok("app.db", stdin=ROWS + "create table blob(b blob); insert into blob values (x'00ff');")
    dumped = dosql.ok("app.db", ".dump")
    dosql.ok("copy.db", stdin=dumped)
    query = "select a, quote(b) from t union all select 0, quote(b) from blob"
    assert dosql.ok("copy.db", query) == dosql.ok("app.db", query)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("/* first line;\n.dot; second */ select 1;\nselect 2;\n", "1\n2\n"),
        ("select 1;\n/* a\n * licence; 'quoted\n */\nselect 2;\n", "1\n2\n"),
        ("/* over */\n-- said;\n;;\nselect 1 /* in\nside; */ + 1;\n", "2\n"),
        ("/*/ still; */ select 1;\n", "1\n"),
        ("select 1;\n/* never closed;\nselect 2;\n", "1\n"),
    ],
)
def test_a_comment_over_several_lines_is_a_comment(dosql, script, expected):
    assert dosql.ok(stdin=script) == expected


def test_results_go_to_a_file_once(dosql):
    dosql.ok(stdin=ROWS + ".once out.txt\nselect a from t;\nselect 'here';\n")
    assert (dosql.folder / "out.txt").read_text() == "1\n2\n3\n"


def test_results_go_through_a_program(dosql):
    assert dosql.ok(stdin=ROWS + ".once | wc -l\nselect a from t;\n").strip() == "3"


def test_a_file_is_read_and_its_errors_name_it(dosql):
    (dosql.folder / "script.sql").write_text("select 'from the file';\nselect nosuch;\n")
    ended = dosql.run(stdin=".read script.sql\nselect 'after';\n")
    assert ended.out == "from the file\nafter\n"
    assert "near line 2 of script.sql" in ended.err


def test_a_file_that_reads_itself_ends(dosql):
    (dosql.folder / "loop.sql").write_text(".read loop.sql\n")
    ended = dosql.run(stdin=".read loop.sql\n")
    assert ended.status == 1
    assert "read each other" in ended.err


def test_parameters_have_values(dosql):
    script = ".parameter set :x 'ab''c'\n.parameter set @n 2 + 3\nselect :x, @n, $unset is null;\n"
    assert dosql.ok(stdin=script) == "ab'c|5|1\n"


def test_an_unknown_dot_command_is_told(dosql):
    ended = dosql.run(stdin=".tabels\n")
    assert ended.status == 1
    assert '"tabels"' in ended.err
    assert "did you mean .tables?" in ended.err


def test_exit_gives_its_status(dosql):
    assert dosql.run(stdin=".exit 7\nselect 1;\n").status == 7


def test_the_past_is_read_and_not_written(dosql):
    dosql.ok("app.db", stdin=ROWS)
    script = ".asof 1\nselect count(*) from t;\ninsert into t values (9, 9);\n.asof now\n"
    ended = dosql.run("app.db", stdin=script + "select count(*) from t;\n")
    assert ended.out == "0\n3\n"
    assert ".asof now" in ended.err


def test_branches_are_made_entered_and_compared(dosql):
    dosql.ok("app.db", stdin=ROWS)
    script = ".branch -c dev\ndelete from t where a = 1;\n.diff t branch:main branch:dev\n"
    compared = dosql.ok("app.db", stdin=script)
    assert "x" in compared
    assert dosql.ok("app.db", "select count(*) from t") == "3\n"
    assert dosql.ok("--branch", "dev", "app.db", "select count(*) from t") == "2\n"
    listed = dosql.ok("-json", "app.db", "show branches")
    assert '"name":"dev"' in listed


def test_the_history_of_a_row_is_listed(dosql):
    script = (
        "create table t(a text, b int, c, primary key (a, b));\n"
        "insert into t values ('x y', 1, 'old'), ('z', 2, null);\n"
        "update t set c = 'new' where b = 1;\ndelete from t where b = 1;\n"
        ".history t 'x y' 1\n.blame t z 2\n"
    )
    listed = [line.split("|") for line in dosql.ok("app.db", stdin=script).splitlines()]
    assert [[lsn, *rest[1:]] for lsn, _, *rest in listed[:3]] == [
        ["2", "", "", "x y", "1", "old"],
        ["3", "", "", "x y", "1", "new"],
        ["4", "", "", "", "", ""],
    ]
    assert [line[2] for line in listed[:3]] == ["insert", "update", "delete"]
    assert [line[:3] for line in listed[3:]] == [["a", "z", "2"], ["b", "2", "2"], ["c", "", "2"]]
    failed = dosql.run("app.db", stdin=".history t z\n.history nothing 1\n.history\n")
    assert "the key of t is a, b: 2 values" in failed.err
    assert "there is no table nothing" in failed.err
    assert "TABLE KEY" in failed.err


def test_a_chart_shows_magnitudes(dosql):
    query = "select 'a' as name, 1 as n union all select 'b', 2"
    drawn = dosql.ok(stdin=f".chart bar {query}\n").splitlines()
    small, large = (line.count("█") for line in drawn if "█" in line)
    assert large in range(2 * small - 1, 2 * small + 3)
    assert any(block in dosql.ok(stdin=f".chart spark {query}\n") for block in "▁▂▃▄▅▆▇█")


def test_a_reader_that_leaves_ends_the_shell_quietly(dosql):
    query = "with recursive n(x) as (select 1 union all select x + 1 from n) select x from n"
    shell = dosql.start(":memory:", query, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert shell.stdout.readline() == b"1\n"
    shell.stdout.close()
    assert shell.wait(timeout=300) == 141
    assert shell.stderr.read() == b""
    shell.stderr.close()


def test_control_c_ends_a_script_with_its_transaction_rolled_back(dosql):
    dosql.ok("app.db", stdin=ROWS)
    endless = "with recursive n(x) as (select 1 union all select x + 1 from n) select max(x) from n"
    shell = dosql.start(
        "app.db", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    shell.stdin.write(f"begin;\ndelete from t;\nselect 'deleted';\n{endless};\n".encode())
    shell.stdin.close()
    assert shell.stdout.readline() == b"deleted\n"
    os.kill(shell.pid, signal.SIGINT)  # before the endless statement or in it: it is not lost
    shell.wait(timeout=300)
    assert shell.returncode == 130
    shell.stdout.close()
    shell.stderr.close()
    assert dosql.ok("app.db", "select count(*) from t") == "3\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--nosuch"], "unknown option: --nosuch"),
        (["-mode", "nosuch"], "mode should be one of"),
        (["--timeout", "soon", "app.db"], "number of seconds"),
        (["--durability", "maybe", "app.db"], "full, strict, normal or off"),
        (["--branch"], "needs a value"),
        (["-readonly", "missing.db"], "there is no database at missing.db"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(dosql, words, told):
    ended = dosql.run(*words)
    assert ended.status == 2
    assert told in ended.err
    assert not (dosql.folder / "missing.db").exists()


def test_an_unknown_branch_is_refused_and_nothing_is_made(dosql):
    dosql.ok("app.db", stdin=ROWS)
    ended = dosql.run("--branch", "nosuch", "app.db", "select 1")
    assert ended.status == 1
    assert "nosuch" in ended.err
    assert ended.out == ""


def test_text_that_is_not_utf_8_passes_through(dosql):
    ended = dosql.run(stdin=b"select length('caf\xc3\xa9');\n")
    assert ended.out == "4\n"


@pytest.mark.parametrize(
    "words",
    [
        ("selec",),
        ("create table t(a); selec",),
        ("begin", "create table t(a)", "selec"),
        ("select 1", "select nosuch"),
        ("-no-history", "selec"),
        (".open other.db", ".cd folder", "selec"),
        (".nosuch",),
    ],
    ids=str,
)
def test_a_new_database_in_which_only_a_refusal_happened_is_not_left(dosql, tmp_path, words):
    (tmp_path / "folder").mkdir()
    flags = [word for word in words if word.startswith("-")]
    statements = [word for word in words if not word.startswith("-")]
    assert dosql.run(*flags, "new.db", *statements).status == 1
    is_committed = "create table" in words[0]
    assert _databases_in(tmp_path) == (["new.db", "new.db-dosql"] if is_committed else [])
    assert os.listdir(tmp_path / "folder") == []


def test_nothing_is_left_where_nothing_was_asked(dosql, tmp_path):
    dosql.ok("new.db", stdin="")
    assert _databases_in(tmp_path) == []


def test_a_script_that_goes_well_leaves_its_database_though_empty(dosql, tmp_path):
    assert dosql.ok("new.db", "select 1") == "1\n"
    assert dosql.run("new.db", "selec").status == 1  # it was there before
    assert _databases_in(tmp_path) == ["new.db", "new.db-dosql"]


def test_what_another_process_has_done_meanwhile_is_left(dosql, tmp_path):
    other = f"{sys.executable} -m dosql_core.command_line new.db 'create table t(a)'"
    assert dosql.run("new.db", f".shell {other}", "selec").status == 1
    assert dosql.ok("new.db", "select count(*) from t") == "0\n"


def _databases_in(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if ".db" in name)

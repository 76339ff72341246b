"""The subcommands, each run as a script would."""

from __future__ import annotations

import pytest

from fixtures.programs import run_sqlite


@pytest.fixture
def app(dosql):
    """Three commits: a table, three accounts, one of them poorer."""
    dosql.ok(
        "app.db",
        stdin="create table account(id integer primary key, owner text, balance real);\n"
        "insert into account(owner, balance) values ('ann', 10), ('bob', 20), ('cid', 30);\n"
        "update account set balance = 15 where owner = 'bob';\n",
    )
    return "app.db"


def test_log_lists_commits_the_newest_first(dosql, app):
    commits = dosql.run("log", app, "--json").json
    assert [commit["lsn"] for commit in commits] == [3, 2, 1]
    assert all(commit["pages"] >= 1 and commit["bytes"] > 0 for commit in commits)
    assert [c["lsn"] for c in dosql.run("log", app, "-n", "1", "--json").json] == [3]
    assert dosql.ok("log", app).splitlines()[0].split()[:2] == ["lsn", "committed_at"]


def test_query_reads_a_moment(dosql, app):
    sql = "select balance from account where owner = :owner"
    words = ("query", app, sql, "-p", "owner=bob", "--json")
    assert dosql.run(*words).json == [{"balance": 15.0}]
    assert dosql.run(*words, "--as-of", "2").json == [{"balance": 20.0}]


def test_diff_shows_the_rows_that_differ(dosql, app):
    told = dosql.run("diff", app, "2", "--json").json
    (row,) = told["rows"]
    assert (row["table"], row["before"]["balance"], row["after"]["balance"]) == ("account", 20, 15)
    assert dosql.run("diff", app, "2", "--exit-code").status == 4
    assert dosql.run("diff", app, "3", "--exit-code").status == 0
    assert "no differences" in dosql.ok("diff", app, "3")


def test_a_renamed_table_is_shown_as_one(dosql, app):
    dosql.ok(
        app,
        "alter table account rename to konto",
        "alter table konto rename column balance to saldo",
        "update konto set saldo = 1 where id = 2",
    )
    for table in ((), ("--table", "account"), ("--table", "konto")):
        lines = dosql.ok("diff", app, "3", *table).splitlines()
        assert "konto  1 updated; renamed from account; column balance renamed to saldo" in lines
        assert not any("dropped" in line or "created" in line for line in lines)
    told = dosql.run("diff", app, "3", "--json").json
    assert told["renamed_tables"] == {"account": "konto"}
    (row,) = told["rows"]
    assert (row["table"], row["operation"], row["after"]["saldo"]) == ("konto", "update", 1)
    assert "renamed from account" in dosql.ok(app, ".diff 3")


def test_what_only_follows_a_renamed_table_is_not_shown_as_altered(dosql, app):
    dosql.ok(
        app,
        "create index by_balance on account(balance)",
        "create index by_owner on account(owner)",
        "create table loan(id integer primary key, of_account references account(id))",
        "create trigger on_loan after insert on loan begin"
        " update account set balance = balance - 1 where id = new.of_account; end",
        "create view rich as select * from account where balance > 10 -- account",
    )
    lsn = dosql.run("log", app, "-n", "1", "--json").json[0]["lsn"]
    dosql.ok(app, "alter table account rename to konto", "alter table konto rename owner to whose")
    renamed = "konto  renamed from account; column owner renamed to whose\n"
    assert dosql.ok("diff", app, str(lsn)) == renamed
    for words in ("account", "ACCOUNT", "konto"):
        assert dosql.ok(app, f".diff {words} {lsn}") == renamed
        assert dosql.ok(app, f".diff {words} {lsn} now") == renamed
    dosql.ok(app, "drop index by_balance", "create index by_balance on konto(balance desc)")
    assert dosql.ok("diff", app, str(lsn)) == "by_balance  index altered\n" + renamed
    refused = dosql.run(app, f".diff nosuch {lsn}")
    assert (refused.status, "nosuch" in refused.err) == (1, True)


def test_a_table_that_was_dropped_may_be_named_in_the_shell(dosql, app):
    dosql.ok(app, "drop table account")
    assert "account  3 deleted; table dropped" in dosql.ok(app, ".diff account 3")


def test_what_begins_with_a_minus_may_be_a_moment_or_a_key(dosql, app):
    assert dosql.ok("diff", app, "-1") == dosql.ok("diff", app, "2") != ""
    assert dosql.ok("diff", "-t", "account", app, "-1", "--limit", "5") == dosql.ok(
        "diff", app, "2"
    )
    assert "no differences" in dosql.ok("diff", app, "-1 millisecond")
    assert dosql.ok("--as-of", "-1", app, "select sum(balance) from account") == "60.0\n"
    dosql.ok(app, "insert into account(id, balance) values (-7, 0)")
    assert "-7" in dosql.ok("blame", app, "account", "-7")
    assert dosql.run("restore", app, "-2", "-m", "-1", "--json").json["lsn"] == 5
    assert dosql.run("log", app, "-n", "1", "--json").json[0]["message"] == "-1"
    assert dosql.ok(app, "select sum(balance) from account") == "60.0\n"
    assert dosql.run("restore", app, "-5 parsecs").status == 1
    assert dosql.run("restore", app, "2", "-x").status == 2


def test_a_mistyped_command_makes_no_database(dosql, app):
    for words in (("lgo", app), ("brnach", "list", app)):
        told = dosql.run(*words)
        assert told.status == 2
        assert "did you mean" in told.err
        assert not (dosql.folder / words[0]).exists()
    dosql.ok("./lgo", "create table t(a)")
    assert dosql.ok("lgo", ".tables") == "t\n"


def test_blame_tells_which_commit_set_each_column(dosql, app):
    blamed = dosql.run("blame", app, "account", "2", "--json").json
    assert [(c["column"], c["value"], c["lsn"]) for c in blamed] == [
        ("id", 2, 2),
        ("owner", "bob", 2),
        ("balance", 15.0, 3),
    ]
    told = dosql.ok("blame", app, "account", "2").splitlines()
    assert told[0].split() == ["column", "value", "lsn", "committed_at", "author", "message"]
    past = dosql.run("blame", app, "account", "2", "--as-of", "2", "--json").json
    assert past[2]["value"] == 20.0
    assert "no such row" in dosql.ok("blame", app, "account", "77")
    assert dosql.run("blame", app, "account").status == 2
    assert "no such table" in dosql.run("blame", app, "nothing", "1").err


def test_a_branch_is_made_listed_protected_renamed_and_dropped(dosql, app):
    dosql.ok("branch", "create", app, "dev")
    dosql.ok("--branch", "dev", app, "delete from account")
    (main, dev) = dosql.run("branch", "list", app, "--json").json
    assert (main["name"], main["parent"]) == ("main", None)
    assert (dev["name"], dev["parent"], dev["fork_lsn"], dev["ahead"]) == ("dev", "main", 3, 1)
    dosql.ok("branch", "protect", app, "dev")
    refused = dosql.run("branch", "drop", app, "dev")
    assert (refused.status, "protected" in refused.err) == (1, True)
    dosql.ok("branch", "unprotect", app, "dev")
    dosql.ok("branch", "rename", app, "dev", "trial")
    assert dosql.ok("--branch", "trial", app, "select count(*) from account") == "0\n"
    dosql.ok("branch", "drop", app, "trial")
    assert [b["name"] for b in dosql.run("branch", "list", app, "--json").json] == ["main"]


def test_a_hydrated_branch_is_a_file_that_any_tool_opens(dosql, app):
    dosql.ok("branch", "create", app, "dev", "--as-of", "2")
    told = dosql.run("branch", "hydrate", app, "dev", "--json").json
    path = dosql.folder / told["path"]
    assert run_sqlite(path, "select sum(balance) from account") == [[[60.0]]]


def test_a_snapshot_names_a_moment(dosql, app):
    dosql.ok("snapshot", "create", app, "before", "--as-of", "2")
    (found,) = dosql.run("snapshot", "list", app, "--json").json
    assert (found["name"], found["lsn"]) == ("before", 2)
    assert (
        dosql.ok("--as-of", "snapshot:before", app, "select sum(balance) from account") == "60.0\n"
    )
    dosql.ok("snapshot", "drop", app, "before")
    assert dosql.run("snapshot", "list", app, "--json").json == []


def test_restore_is_a_commit_that_can_be_undone(dosql, app):
    told = dosql.run("restore", app, "2", "-m", "bob is right", "--json").json
    assert (told["lsn"], told["lsn_before"]) == (4, 3)
    assert dosql.ok(app, "select sum(balance) from account") == "60.0\n"
    assert dosql.run("log", app, "-n", "1", "--json").json[0]["message"] == "bob is right"
    dosql.ok("restore", app, "3")
    assert dosql.ok(app, "select sum(balance) from account") == "55.0\n"


def test_restore_of_a_table_leaves_the_others(dosql, app):
    dosql.ok(app, "create table note(a)", "insert into note values ('kept')")
    dosql.ok("restore", app, "2", "--table", "account")
    assert dosql.ok(app, "select sum(balance) from account", "select a from note") == "60.0\nkept\n"


def test_restore_to_a_file_writes_a_stock_database(dosql, app):
    dosql.ok("restore", app, "2", "--to-file", "then.db")
    assert run_sqlite(dosql.folder / "then.db", "select sum(balance) from account") == [[[60.0]]]
    again = dosql.run("restore", app, "2", "--to-file", "then.db")
    assert (again.status, "already there" in again.err) == (1, True)


def test_info_tells_sizes_and_settings(dosql, app):
    told = dosql.run("info", app, "--json").json
    assert (told["lsn"], told["branches"], told["snapshots"]) == (3, 1, 0)
    assert told["history_bytes"] > 0
    assert "LSN 3" in dosql.ok("info", app)


def test_verify_says_that_all_is_well(dosql, app):
    assert dosql.ok("verify", app) == "app.db is sound\n"
    assert dosql.run("verify", app, "--json").json == {"is_sound": True, "findings": []}


@pytest.mark.leaves_damage("a byte of a segment is flipped")
def test_verify_finds_a_flipped_byte_and_says_so_by_its_status(dosql, app):
    dosql.ok("compact", app)
    segment = max(
        (dosql.folder / "app.db-dosql").rglob("*.seg"), key=lambda path: path.stat().st_size
    )
    damaged = bytearray(segment.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    segment.write_bytes(damaged)
    ended = dosql.run("verify", app)
    assert ended.status in (1, 3)
    assert segment.name in ended.out + ended.err


def test_compact_follows_what_is_to_be_kept_and_remembers_it(dosql, app):
    told = dosql.run("compact", app, "--keep-commits", "1", "--json").json
    assert told["retention"]["commits_max"] == 1
    expired = dosql.run("query", app, "--as-of", "1", "select 1")
    assert (expired.status, "oldest" in expired.err) == (1, True)
    assert "1 commit" in dosql.ok("info", app)


def test_detach_leaves_the_plain_file(dosql, app):
    refused = dosql.run("detach", app)
    assert (refused.status, "3 commits" in refused.err) == (2, True)
    dosql.ok("detach", app, "--yes")
    assert not (dosql.folder / "app.db-dosql").exists()
    assert run_sqlite(dosql.folder / app, "select sum(balance) from account") == [[[55.0]]]


@pytest.mark.parametrize(
    "words",
    [
        ["log", "nosuch.db"],
        ["info", "nosuch.db"],
        ["verify", "nosuch.db"],
        ["query", "nosuch.db", "select 1"],
        ["branch", "list", "nosuch.db"],
        ["restore", "nosuch.db", "1"],
        ["export", "nosuch.db", "-", "--format", "sql"],
    ],
)
def test_a_mistyped_file_is_not_made(dosql, words):
    ended = dosql.run(*words)
    assert ended.status == 2
    assert "there is no database at nosuch.db" in ended.err
    assert not (dosql.folder / "nosuch.db").exists()


def test_a_name_that_is_nearly_right_is_suggested(dosql, app):
    assert "did you mean app.db?" in dosql.run("log", "ap.db").err


def test_an_error_is_json_where_json_was_asked_for(dosql, app):
    ended = dosql.run("query", app, "select 1", "--branch", "nosuch", "--json")
    assert ended.status == 1
    assert '"code"' in ended.err
    assert "nosuch" in ended.err


@pytest.mark.parametrize(
    "moment", ["yesterdayish", "snapshot:", "99", "branch:nosuch", "2999-01-01"]
)
def test_a_moment_that_does_not_exist_is_refused(dosql, app, moment):
    ended = dosql.run("query", app, "--as-of", moment, "select 1")
    assert ended.status in (1, 2)
    assert ended.err.startswith("Error")
    assert ended.out == ""


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["branch"],
        ["snapshot"],
        ["log"],
        ["diff"],
        ["import"],
        ["export"],
        ["restore"],
        ["tour"],
    ],
)
def test_help_shows_how_it_is_used(dosql, words):
    shown = dosql.ok(*words, "--help")
    assert "Usage: dosql" in shown
    assert "Examples" in shown or words in (["branch"], ["snapshot"])

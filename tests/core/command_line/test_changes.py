"""`dosql changes` and `dosql slot`, as a script uses them."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest


@pytest.fixture
def app(dosql):
    dosql.ok(
        "app.db",
        stdin="create table account(id integer primary key, balance real);\n"
        "create table other(a);\n"
        "insert into account values (1, 10);\n"
        "insert into other values (x'00');\n"
        "update account set balance = 20;\n",
    )
    return "app.db"


def events(text):
    return [json.loads(line) for line in text.splitlines()]


def test_every_change_is_a_line_of_json(dosql, app):
    found = events(dosql.ok("changes", app))
    assert [event["operation"] for event in found] == [
        "schema",
        "schema",
        "insert",
        "insert",
        "update",
    ]
    assert found[3]["after"] == {"a": {"base16": "00"}}
    assert found[4]["before"] == {"id": 1, "balance": 10.0}


def test_changes_are_chosen_by_lsn_table_and_operation(dosql, app):
    assert [e["lsn"] for e in events(dosql.ok("changes", app, "--from", 3))] == [4, 5]
    assert [e["lsn"] for e in events(dosql.ok("changes", app, "--from", 2, "--to", 4))] == [3, 4]
    chosen = dosql.ok("changes", app, "--table", "account", "--operation", "update")
    assert [e["lsn"] for e in events(chosen)] == [5]
    richer = dosql.ok("changes", app, "--table", "account", "--where", "before.balance is not null")
    assert [e["lsn"] for e in events(richer) if e["operation"] == "update"] == [5]
    misspelled = dosql.run("changes", app, "--table", "account", "--where", "balanse > 1")
    assert (misspelled.status, "balanse" in misspelled.err) == (1, True)
    refused = dosql.run("changes", app, "--operation", "upsert")
    assert (refused.status, "upsert is no operation" in refused.err) == (2, True)


def test_a_slot_is_read_once(dosql, app):
    dosql.ok("slot", "create", app, "mailer", "--from", 2, "--table", "account")
    (slot,) = dosql.run("slot", "list", app, "--json").json
    assert (slot["lsn"], slot["lag_commits"]) == (2, 3)
    assert [e["lsn"] for e in events(dosql.ok("changes", app, "--slot", "mailer"))] == [3, 5]
    assert dosql.ok("changes", app, "--slot", "mailer") == ""
    assert dosql.run("slot", "list", app, "--json").json[0]["lag_commits"] == 0
    dosql.ok("slot", "drop", app, "mailer")
    missing = dosql.run("changes", app, "--slot", "mailer")
    assert (missing.status, "mailer" in missing.err) == (1, True)


def test_following_ends_with_control_c(dosql, app):
    follower = dosql.start(
        "changes", app, "--from", 5, "--follow", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    dosql.ok(app, "insert into account values (2, 5)")
    assert json.loads(follower.stdout.readline())["key"] == {"id": 2}
    follower.send_signal(signal.SIGINT)
    assert follower.wait(timeout=300) == 130
    assert follower.stderr.read() == b""
    follower.stdout.close()
    follower.stderr.close()

"""`dosql branch merge` and what belongs to it, as a script runs them."""

from __future__ import annotations

import pytest


@pytest.fixture
def app(dosql):
    """Main and a branch that gave two accounts different balances."""
    dosql.ok(
        "app.db",
        stdin="create table account(id integer primary key, owner text, balance int);\n"
        "insert into account values (1, 'ann', 10), (2, 'bob', 20), (3, 'cid', 30);\n"
        "create branch dev;\n"
        "update account set balance = 11 where id = 1;\n"
        "update account set balance = 21 where id = 2;\n",
    )
    dosql.ok("--branch", "dev", "app.db", "update account set balance = 12 where id = 1")
    dosql.ok("--branch", "dev", "app.db", "delete from account where id = 2")
    dosql.ok("--branch", "dev", "app.db", "update account set owner = 'cis' where id = 3")
    return "app.db"


def balances(dosql):
    return dosql.ok("app.db", "select id, balance from account").split()


def test_conflicts_are_shown_resolved_and_the_merge_completed(dosql, app):
    refused = dosql.run("branch", "merge", app, "dev")
    assert refused.status == 1
    assert "modify/modify" in refused.out
    assert "balance=11" in refused.out
    assert "COMMIT MERGE" in refused.err
    told = dosql.run("branch", "conflicts", app, "--json").json
    assert [(c["conflict"]["kind"], c["resolution"]) for c in told] == [
        ("modify/modify", None), ("modify/delete", None)
    ]  # fmt: skip
    assert dosql.ok("branch", "resolve", app, '{"balance": 99}', "--number", "1") == (
        "1 conflict resolved, 1 left\n"
    )
    assert dosql.run("branch", "complete", app).status == 1
    dosql.ok("branch", "resolve", app, "ours", "--number", "2")
    assert '{"balance": 99}' in dosql.ok("branch", "conflicts", app)
    assert "merged into main" in dosql.ok("branch", "complete", app, "-m", "done")
    assert dosql.ok("app.db", "select balance from account").split() == ["99", "21", "30"]
    assert "merged" in dosql.ok("branch", "list", app)


def test_a_refused_merge_is_told_as_json(dosql, app):
    refused = dosql.run("branch", "merge", app, "dev", "--using", "abort", "--json")
    assert (refused.status, len(refused.json["conflicts"])) == (1, 2)
    assert dosql.ok("branch", "conflicts", app) == "no merge into main is pending\n"
    dry = dosql.run("branch", "merge", app, "dev", "--dry-run", "--json").json
    assert (dry["lsn"], len(dry["conflicts"])) == (None, 2)


def test_a_pending_merge_is_given_up(dosql, app):
    assert dosql.run("branch", "merge", app, "dev").status == 1
    assert dosql.ok("branch", "abort", app) == "main stays as it is\n"
    assert dosql.run("branch", "abort", app).status == 1


def test_commits_are_taken_back_picked_and_rebased(dosql, app):
    assert "taken back" in dosql.ok("branch", "revert", app, "3", "--to", "4")
    assert dosql.ok("app.db", "select balance from account").split() == ["10", "20", "30"]
    dosql.ok("branch", "cherry-pick", app, "4", "dev")
    assert dosql.ok("app.db", "select owner from account").split() == ["ann", "cid"]
    done = dosql.run("branch", "rebase", app, "dev", "--json").json
    assert (done["onto"], done["commits"], done["skipped"]) == ("main", 2, 1)
    assert dosql.ok("--branch", "dev", app, "select balance from account").split() == ["12", "30"]
    assert dosql.run("branch", "merge", app, "dev", "--json").json["is_fast_forward"]

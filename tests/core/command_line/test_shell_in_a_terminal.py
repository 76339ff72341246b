"""The shell as a person lives in it: a real terminal, real keys."""

from __future__ import annotations

import os
import time

import pytest

ENDLESS = "with recursive n(x) as (select 1 union all select x + 1 from n) select max(x) from n;"


@pytest.fixture
def app(dosql):
    dosql.ok(
        "app.db",
        stdin="create table account(id integer primary key, owner text, balance real);\n"
        "insert into account(owner, balance) values ('ann', 10), ('bob', 20.5), (null, -3);\n",
    )
    return "app.db"


def leave(terminal):
    terminal.enter(".quit")
    assert terminal.end() == 0


def test_the_prompt_tells_branch_moment_and_transaction(dosql, app):
    with dosql.terminal(app) as terminal:
        terminal.see_prompt("app.db main>")
        terminal.enter("begin;")
        terminal.see_prompt("app.db main*>")
        terminal.enter("rollback;")
        terminal.see_prompt("app.db main>")
        terminal.enter(".asof 1")
        terminal.see_prompt("app.db main @ 1>")
        terminal.enter(".asof now")
        terminal.see_prompt("app.db main>")
        terminal.enter("create branch dev;")
        terminal.see("(done")
        terminal.enter("use branch dev;")
        terminal.see_prompt("app.db dev>")
        leave(terminal)


def test_results_are_boxes_with_the_count_and_the_time(dosql, app):
    with dosql.terminal(app) as terminal:
        terminal.see_prompt("app.db main>")
        terminal.enter("select owner, balance from account;")
        screen = terminal.see("(3 rows, ")
        assert "│ ann   │" in screen
        assert "│ NULL  │" in screen
        leave(terminal)


def test_a_statement_may_take_several_lines(dosql, app):
    with dosql.terminal(app) as terminal:
        terminal.see_prompt("app.db main>")
        terminal.enter("select 'one' ||")
        terminal.see("...>")
        terminal.enter("'-two';")
        terminal.see("│ one-two")
        terminal.see_prompt("app.db main>")
        terminal.press_control("d")
        assert terminal.end() == 0


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("select * from acc\t", "select * from account"),
        ("select a.bal\t", "select a.bal"),
        ("select account.bal\t", "select account.balance"),
        (".asof snapshot:mon\t", ".asof snapshot:monday"),
        ("use branch de\t", "use branch dev"),
        ("sel\t", "select"),
        ("from account for system_time as of sn\t", "from account for system_time as of snapshot"),
        (".mod\t", ".mode"),
    ],
)
def test_tab_completes_what_there_is(dosql, app, typed, completed):
    dosql.ok(app, "create branch dev", "create snapshot 'monday'")
    with dosql.terminal(app) as terminal:
        terminal.see_prompt("app.db main>")
        terminal.type(typed)
        terminal.see_prompt(f"app.db main> {completed}")
        terminal.press_control("c")
        terminal.see_prompt("app.db main>")
        terminal.press_control("d")
        assert terminal.end() == 0


def test_tab_offers_a_menu_of_several(dosql, app):
    dosql.ok(app, "create table accident(a)")
    with dosql.terminal(app) as terminal:
        terminal.see_prompt("app.db main>")
        terminal.type("select * from acc\t")
        screen = terminal.see("accident")
        assert "account" in screen
        terminal.press_control("c")
        terminal.see_prompt("app.db main>")
        leave(terminal)


def test_control_c_stops_the_statement_and_not_the_shell(dosql, app):
    with dosql.terminal(app) as terminal:
        terminal.see_prompt("app.db main>")
        terminal.enter("begin; update account set balance = 0;")
        terminal.see_prompt("app.db main*>")
        terminal.enter(f"select 'it runs'; {ENDLESS}")
        terminal.see("│ it runs")
        deadline = time.monotonic() + 120
        while "Interrupted" not in terminal.screen and time.monotonic() < deadline:
            terminal.press_control("c")  # the first may come between the two statements
            try:
                terminal.see("Interrupted", timeout_seconds=5)
            except AssertionError:
                continue
        terminal.see_prompt("app.db main*>")
        terminal.enter("select 'sum is ' || sum(balance) from account;")
        terminal.see("│ sum is 0.0")
        terminal.enter("rollback; select 'sum was ' || sum(balance) from account;")
        terminal.see("│ sum was 27.5")
        leave(terminal)


def test_what_was_typed_is_remembered_by_the_next_shell(dosql, app):
    with dosql.terminal(app) as terminal:
        terminal.see_prompt("app.db main>")
        terminal.enter("select 'remember me';")
        terminal.see("(1 row")
        leave(terminal)
    history = dosql.folder / "home" / ".local" / "state" / "dosql" / "history"
    assert history.stat().st_mode & 0o777 == 0o600
    with dosql.terminal(app) as terminal:
        terminal.see_prompt("app.db main>")
        terminal.type("\x1b[A\x1b[A")  # up, past .quit
        terminal.see_prompt("app.db main> select 'remember me';")
        terminal.press_control("c")
        terminal.see_prompt("app.db main>")
        leave(terminal)


def test_long_results_go_through_the_pager(dosql, app):
    dosql.environment["DOSQL_PAGER"] = "sed s/^/paged:/"
    with dosql.terminal(app, lines=12) as terminal:
        terminal.see_prompt("app.db main>")
        terminal.enter(
            "with recursive n(x) as (select 1 union all select x + 1 from n limit 99)"
            " select x from n;"
        )
        terminal.see("paged:│ 99 │")
        terminal.see_prompt("app.db main>")
        terminal.enter("select 'short';")
        assert "paged:│ short" not in terminal.see("│ short")
        leave(terminal)


def test_an_error_is_told_with_a_hint_and_the_shell_goes_on(dosql, app):
    with dosql.terminal(app) as terminal:
        terminal.see_prompt("app.db main>")
        terminal.enter("select nosuch from account;")
        terminal.see("no such column: nosuch")
        terminal.see("hint:")
        terminal.enter("select 'still here';")
        terminal.see("│ still here")
        leave(terminal)


def test_leaving_in_a_transaction_rolls_it_back_and_says_so(dosql, app):
    with dosql.terminal(app) as terminal:
        terminal.see_prompt("app.db main>")
        terminal.enter("begin; delete from account;")
        terminal.see_prompt("app.db main*>")
        terminal.press_control("d")
        terminal.see("rolled back")
        terminal.end()
    assert dosql.ok(app, "select count(*) from account") == "3\n"


def test_rows_wider_than_the_terminal_are_cut_to_fit(dosql, app):
    with dosql.terminal(app, columns=50) as terminal:
        terminal.see_prompt("app.db main>")
        terminal.enter("select printf('%.100c', 'x') as wide;")
        screen = terminal.see("(1 row")
        # A row that did not fit would go on in the terminal's next line.
        assert [line for line in screen.splitlines() if "xxx" in line and line[0] != "│"] == []
        assert "│ xxx" in screen
        leave(terminal)


def test_a_users_own_commands_run_first(dosql, app):
    config = dosql.folder / "home" / ".config" / "dosql"
    os.makedirs(config)
    (config / "init.sql").write_text(".nullvalue (nothing)\n")
    with dosql.terminal(app) as terminal:
        terminal.see_prompt("app.db main>")
        terminal.enter("select null;")
        terminal.see("│ (nothing)")
        leave(terminal)


def test_the_first_look_at_a_database_shows_no_bar(dosql, app):
    with dosql.terminal(app) as terminal:
        terminal.see_prompt("app.db main>")
        assert "reading the database" not in terminal.screen
        leave(terminal)

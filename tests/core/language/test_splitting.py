"""Scripts come apart at the statements SQLite sees in them."""

from __future__ import annotations

import sqlite3
import time

import apsw
import pytest

from dosql_core.language.splitting import is_complete, split_statements

TRIGGER = (
    "create trigger r after insert on t begin select case new.x when 1 then 2 end;"
    " insert into t select 'end;'; update t set x = 1 where x = new.x; end;"
)

SCRIPTS = [
    ("select 1", ["select 1"]),
    ("select 1;", ["select 1;"]),
    (" select 1 ; select 2 ", ["select 1 ;", "select 2 "]),
    (";;select 1;;; select 2;;", ["select 1;", "select 2;"]),
    ("", []),
    (" ; -- nothing\n /* at all */ ;", []),
    ("\vselect 1; \v select 2;", ["\vselect 1;", "select 2;"]),
    ("select ';', \";\", [;], `;`; select 2", ["select ';', \";\", [;], `;`;", "select 2"]),
    ("select 1 -- a;b\n; select 2", ["select 1 -- a;b\n;", "select 2"]),
    ("select 1 /* a;b */; select 2", ["select 1 /* a;b */;", "select 2"]),
    ("-- first\nselect 1; -- second\nselect 2;", ["-- first\nselect 1;", "-- second\nselect 2;"]),
    ("select 1; -- the end", ["select 1;"]),
    ("select 1; 'open; select 2", ["select 1;", "'open; select 2"]),
    ("select 1; /* open; select 2", ["select 1;"]),
    ("select $a(;), a$b; select 2", ["select $a(;), a$b;", "select 2"]),
    ("select x'3b;3b'; select 2", ["select x'3b;3b';", "select 2"]),
    ("select 1-1; select 4/2; select 1 - -1", ["select 1-1;", "select 4/2;", "select 1 - -1"]),
    (f"{TRIGGER} select 2", [TRIGGER, "select 2"]),
    (f"explain {TRIGGER} select 2", [f"explain {TRIGGER}", "select 2"]),
    (f"explain query plan {TRIGGER} select 2", [f"explain query plan {TRIGGER}", "select 2"]),
    (
        "CREATE/**/TEMPORARY TRIGGER IF NOT EXISTS r AFTER DELETE ON t BEGIN SELECT 1;END;SELECT 2",
        ["CREATE/**/TEMPORARY TRIGGER IF NOT EXISTS r AFTER DELETE ON t BEGIN SELECT 1;END;",
         "SELECT 2"],
    ),
    ("create trigger r begin select 1; select 2;", ["create trigger r begin select 1; select 2;"]),
    ("create table trigger_(x); select 1", ["create table trigger_(x);", "select 1"]),
    ("begin; end; select 1", ["begin;", "end;", "select 1"]),
    ("create branch x; use branch x;", ["create branch x;", "use branch x;"]),
]  # fmt: skip


@pytest.mark.parametrize(("script", "statements"), SCRIPTS)
def test_a_script_is_split_at_its_statements(script: str, statements: list[str]) -> None:
    assert list(split_statements(script)) == statements


def test_sqlite_sees_the_same_statements() -> None:
    connection = apsw.Connection("")
    script = f"""
        create table t(x); {TRIGGER}
        insert into t values (1); -- ; a comment
        create view v as select ';' as [;] from t; /* ; */
        select * from v where ';' = "x"; explain select 1; ;
        select $a(;) ;
    """
    seen: list[str] = []

    def trace(cursor: apsw.Cursor, sql: str, bindings: object) -> bool:
        seen.append(sql.strip())
        return True

    connection.exec_trace = trace
    connection.execute(script, {"a(;)": 1}).fetchall()
    ours = [statement.rstrip("; \n") for statement in split_statements(script)]
    assert [text for one in seen if (text := one.strip("; \n"))] == ours


TEXTS = [
    "", ";", " ", "-- x", "/* x */", "select 1", "select 1;", "select 1; ", "select 1; -- x",
    "select 1; /* x */", "select 1; /* x", "select ';", "select 1; select 2", "select 1;/",
    "select ';'", '";', "[;", "`;", "begin;", "begin; end", "begin; end;", TRIGGER, TRIGGER[:-1],
    TRIGGER[:-5], f"{TRIGGER} select 1", f"{TRIGGER} select 1;", f"explain {TRIGGER}",
    "create temp trigger x", "create trigger x;", "create temp table x(y);", ";;", "; select 1",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_complete_means_what_it_means_in_sqlite(text: str) -> None:
    assert is_complete(text) == sqlite3.complete_statement(text)


def test_our_statements_are_complete_at_their_semicolon() -> None:
    assert is_complete("create branch dev as of timestamp 'a;b';")
    assert not is_complete("create branch dev as of timestamp 'a;b'")
    assert not is_complete("create branch 'dev;")


@pytest.mark.parametrize("unit", ["select ';';\n", "insert into t values (1, 'x', x'00', -1.5);\n",
                                  "'", "/*", "--;", "$a(", "[;", ";", "a$", "-"])  # fmt: skip
def test_splitting_takes_linear_time(unit: str) -> None:
    def seconds(count: int) -> float:
        script = unit * count
        best = 1e9
        for _ in range(3):
            start = time.thread_time()
            list(split_statements(script))
            is_complete(script)
            best = min(best, time.thread_time() - start)
        return best

    assert seconds(20_000) < 40 * max(seconds(2_000), 0.001)

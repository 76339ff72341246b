"""Branches as users meet them: names, refusals, what follows a connection, what a list says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import dosql_dbapi
from dosql_core.database import open_database
from dosql_core.errors import (
    BranchExistsError,
    BranchInUseError,
    BranchNotFoundError,
    BranchProtectedError,
    InvalidBranchNameError,
    NotSupportedError,
    ReadOnlyMomentError,
    UncommittedChangesError,
)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "app.db")


@pytest.fixture
def con(path: str) -> Iterator[Any]:
    connection = dosql_dbapi.connect(path)
    connection.execute("create table t(x)")
    connection.execute("insert into t values (1)")
    connection.commit()
    yield connection
    connection.close()


def names(con: Any) -> list[str]:
    return [row[0] for row in con.execute("show branches").fetchall()]


GOOD_NAMES = ["x", "dev/one", "a b", "ünï", "2026-11-23", "v1.0", "n" * 255, "select", "it's"]


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_a_branch_may_be_called_almost_anything_in_quotes(con: Any, name: str) -> None:
    con.execute("create branch '{}'".format(name.replace("'", "''")))
    assert names(con) == ["main", name]
    con.execute("use branch ?", (name,))
    assert con.branch == name
    assert con.execute("select count(*) from t as of branch ?", (name,)).fetchone() == (1,)


BAD_NAMES = {
    "": "it is empty",
    "a..b": r"it contains '\.\.'",
    "x.lock": r"it ends in '\.lock'",
    ".x": "it begins with '.'",
    "_x": "it begins with '_'",
    "refs/x": "it begins with 'refs/'",
    " x": "it has blanks at an end",
    "a\nb": "control characters",
    "a@b": "it contains '@' or ':'",
    "a:b": "it contains '@' or ':'",
    "n" * 256: "it has 256 characters",
}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_bad_name_is_refused_with_the_rule_it_breaks(con: Any, name: str) -> None:
    with pytest.raises(InvalidBranchNameError, match=BAD_NAMES[name]) as told:
        con.execute("create branch ?", (name,))
    assert told.value.code == "INVALID_BRANCH_NAME"
    with pytest.raises(InvalidBranchNameError):
        con.execute("alter branch main rename to ?", (name,))


def test_a_name_is_found_in_any_case_of_its_letters(con: Any) -> None:
    con.execute("create branch Dev")
    with pytest.raises(BranchExistsError, match="'Dev' exists already"):
        con.execute("create branch dev")
    con.execute("create branch if not exists DEV")
    con.execute("use branch dEV")
    assert con.branch == "Dev"
    con.execute("use branch MAIN")
    con.execute("alter branch dev rename to DEV")
    assert names(con) == ["main", "DEV"]
    con.execute("drop branch if exists dev")
    assert names(con) == ["main"]
    con.execute("create branch 'straße'")
    with pytest.raises(BranchExistsError):
        con.execute("create branch 'STRASSE'")


def test_the_refusal_to_drop_main_does_not_send_to_unprotect(con: Any) -> None:
    with pytest.raises(BranchProtectedError, match="the database itself") as refused:
        con.execute("drop branch main")
    assert "UNPROTECT" not in str(refused.value.hint)


def test_a_branch_that_is_needed_is_not_destroyed(con: Any, path: str) -> None:
    con.execute("create branch dev")
    refusals: list[tuple[str, str, type[Exception], str]] = [
        ("drop branch main", "select 1", BranchProtectedError, "BRANCH_PROTECTED"),
        ("drop branch main force", "select 1", BranchProtectedError, "BRANCH_PROTECTED"),
        ("drop branch nobody", "select 1", BranchNotFoundError, "BRANCH_NOT_FOUND"),
        ("drop branch dev", "alter branch dev protect", BranchProtectedError, "BRANCH_PROTECTED"),
        ("drop branch dev force", "select 1", BranchProtectedError, "BRANCH_PROTECTED"),
        ("alter branch main rename to x", "alter branch dev unprotect", InvalidBranchNameError,
         "INVALID_BRANCH_NAME"),
        ("drop branch dev", "create branch child from dev", BranchInUseError,
         "CANNOT_DELETE_CURRENT"),
        ("drop branch dev", "create snapshot s as of branch dev", BranchInUseError,
         "CANNOT_DELETE_CURRENT"),
    ]  # fmt: skip
    for sql, before, error, code in refusals:
        con.execute(before)
        with pytest.raises(error) as told:
            con.execute(sql)
        assert told.value.code == code, sql  # type: ignore[attr-defined]
    con.execute("drop branch child")
    fork = dosql_dbapi.connect(path, branch="dev")
    with pytest.raises(BranchInUseError, match="open in this process"):
        con.execute("drop branch dev force")
    fork.close()
    with pytest.raises(BranchInUseError, match="snapshots name moments of branch 'dev': s"):
        con.execute("drop branch dev")
    con.execute("drop branch dev force")
    assert (names(con), con.execute("show snapshots").fetchall()) == (["main"], [])


HOLDER = """
import sys, dosql_dbapi
con = dosql_dbapi.connect(sys.argv[1], branch="dev")
print("open", flush=True)
sys.stdin.readline()
con.close()
"""


def test_a_branch_open_in_another_process_is_not_destroyed(con: Any, path: str) -> None:
    con.execute("create branch dev")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    for sql in ("drop branch dev", "hydrate branch dev"):
        with pytest.raises(BranchInUseError, match="open in another process"):
            con.execute(sql)
    holder.communicate("\n")
    assert holder.returncode == 0
    con.execute("drop branch dev")


def test_a_branch_may_begin_anywhere(con: Any) -> None:
    con.execute("insert into t values (2)")
    con.commit()
    con.execute("create snapshot 'two'")
    con.execute("insert into t values (3)")
    con.commit()
    con.execute("create branch dev as of lsn -1")
    con.execute("use branch dev")
    con.execute("insert into t values (9), (9)")
    con.commit()
    con.execute("use branch main")
    for name, clause, rows in [
        ("a", "", 3), ("b", "from main", 3), ("c", "from dev", 4), ("d", "as of lsn 2", 1),
        ("e", "from dev as of lsn -1", 2), ("f", "for system_time as of snapshot 'two'", 2),
        ("g", "as of branch dev", 4), ("h", "from dev as of lsn 1", 0), ("i", "as of 'now'", 3),
    ]:  # fmt: skip
        clause = clause.replace("as of 'now'", "as of timestamp 'now'")
        con.execute(f"create branch {name} {clause}")
        sql = f"select count(*) from t as of branch {name}"
        assert con.execute(sql).fetchone() == (rows,), (name, clause)


def test_a_list_says_how_far_branches_went(con: Any) -> None:
    con.execute("checkout new branch dev")
    for _ in range(2):
        con.execute("insert into t values (2)")
        con.commit()
    con.execute("use branch main")
    con.execute("insert into t values (3)")
    con.commit()
    cursor = con.execute("show branches like 'D%'")
    columns = [column[0] for column in cursor.description]
    (row,) = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    assert row.pop("own_bytes") > 0
    assert row == {
        "name": "dev", "parent": "main", "fork_lsn": 2, "lsn": 4, "ahead": 2, "behind": 1,
        "merged": 0, "protected": 0, "hydrated": 0, "current": 0,
    }  # fmt: skip


def test_what_a_program_registered_follows_the_connection(con: Any) -> None:
    con.create_function("twice", 1, lambda x: x * 2)
    cursor = con.cursor()
    con.execute("create branch dev")
    assert con.execute("use branch dev").fetchall() == []
    assert con.execute("checkout branch dev").description is None
    assert cursor.execute("select twice(x) from t").fetchall() == [(2,)]
    assert cursor.execute("insert into t values (4)").fetchall() == []
    with pytest.raises(UncommittedChangesError):
        con.execute("use branch main")
    con.rollback()


def test_settings_of_pragmas_follow_the_connection(con: Any) -> None:
    con.execute("create table child(t references parent(id))")
    con.execute("create table parent(id integer primary key)")
    con.execute("create branch dev")
    con.execute("pragma foreign_keys = on")
    con.execute("pragma cache_size = 77")
    con.execute("set transaction read only")
    con.execute("use branch dev")
    assert con.execute("pragma cache_size").fetchone() == (77,)
    with pytest.raises(ReadOnlyMomentError):
        con.execute("insert into child values (1)")
    con.rollback()
    con.execute("set transaction read write")
    with pytest.raises(dosql_dbapi.IntegrityError):
        con.execute("insert into child values (1)")
    con.rollback()


def test_ways_to_go_to_a_branch_that_is_not_there(con: Any) -> None:
    with pytest.raises(BranchNotFoundError, match="there is no branch 'dev'"):
        con.execute("use branch dev")
    assert con.branch == "main"
    con.execute("checkout branch if not exists dev")
    con.execute("use branch if not exists dev")
    assert (con.branch, names(con)) == ("dev", ["main", "dev"])
    with pytest.raises(BranchExistsError):
        con.execute("checkout new branch main")


def test_a_fork_has_ddl_vacuum_and_a_past_of_its_own(con: Any) -> None:
    con.execute("checkout new branch dev")
    con.execute("create table own(y)")
    con.executemany("insert into own values (?)", [("x" * 500,)] * 100)
    con.commit()
    con.execute("drop table t")
    con.execute("vacuum")
    assert con.execute("select count(*) from t as of lsn 2").fetchone() == (1,)
    assert con.execute("select count(*) from t as of branch main").fetchone() == (1,)
    assert con.execute("select count(*) from own as of lsn -2").fetchone() == (100,)
    assert con.execute("pragma integrity_check").fetchone() == ("ok",)


def test_a_stock_head_is_not_hydrated_again(con: Any) -> None:
    for name in ("main", "dev"):
        if name == "dev":
            con.execute("create branch dev")
            con.execute("hydrate branch dev")
        with pytest.raises(NotSupportedError, match="is a stock SQLite file already"):
            con.execute(f"hydrate branch {name}")


def test_python_says_the_same_as_sql(con: Any, path: str) -> None:
    with open_database(path) as database:
        made = database.branches.create("dev", as_of=1)
        assert (made.name, made.parent, made.fork_lsn) == ("dev", "main", 1)
        database.branches.protect("dev")
        assert database.branches.get("DEV").is_protected
        database.branches.protect("dev", False)
        database.branches.rename("dev", "next")
        assert [branch.name for branch in database.branches.list("n*")] == ["next"]
        database.branches.drop("next")
    assert names(con) == ["main"]

"""Views and triggers that spell out `main.` are of the moment they are read at."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dosql_dbapi
from dosql_core.errors import NotSupportedError
from dosql_core.history.attachable_view import without_main


@pytest.fixture
def con(database_path: Path) -> Iterator[Any]:
    with contextlib.closing(dosql_dbapi.connect(database_path, isolation_level=None)) as con:
        yield con


def fill(con: Any) -> int:
    con.execute("create table t(a, b)")
    con.execute("insert into t values (1, 'one')")
    return int(con.lsn)


@pytest.mark.parametrize(
    ("encoding", "page_size", "padding"),
    # long enough for several overflow pages, and of every length around where they begin
    [*itertools.product(["UTF-8", "UTF-16le", "UTF-16be"], [512, 4096], [0, 5000])]
    + [("UTF-8", 512, padding) for padding in range(340, 520, 11)],
)
def test_a_view_is_read_as_it_was(con: Any, encoding: str, page_size: int, padding: int) -> None:
    con.execute(f"pragma encoding = '{encoding}'")
    con.execute(f"pragma page_size = {page_size}")
    fill(con)
    con.execute(
        f"create view v as select main.t.a, '{'é' * padding}' as filler, 'main.t' as text "
        'from "main" . t where exists (select 1 from [MAIN].t) -- main.t'
    )
    then = con.lsn
    con.execute("insert into t values (2, 'two')")
    past = con.execute("select a, length(filler), text from v as of lsn ?", (then,)).fetchall()
    assert past == [(1, padding, "main.t")]
    assert con.execute("select count(*) from v").fetchone() == (2,)
    assert con.execute("select count(*) from t as of lsn ?", (then,)).fetchone() == (1,)
    restored = con.execute("restore table t to lsn ?", (then,)).fetchone()
    assert restored == (1,)


def test_many_definitions_are_read_as_they_were(con: Any) -> None:
    fill(con)
    for number in range(200):  # the schema has interior pages then
        con.execute(f"create view v{number} as select a + {number} as a from main.t")
    con.execute(
        "create trigger g after insert on t when exists (select 1 from main.t) "
        "begin update t set b = (select max(a) from main.t); end"
    )
    then = con.lsn
    con.execute("update t set a = 10")
    for number in (0, 99, 199):
        found = con.execute(f"select a from v{number} as of lsn ?", (then,)).fetchall()
        assert found == [(1 + number,)]


def test_a_definition_in_which_main_means_something_else_is_refused(con: Any) -> None:
    then = fill(con)
    con.execute("create view v as select main.a from main.t as main")
    with pytest.raises(NotSupportedError, match="another meaning") as told:
        con.execute("select * from v as of lsn ?", (con.lsn,))
    assert "as_of=" in told.value.hint
    assert con.execute("select count(*) from t as of lsn ?", (then,)).fetchone() == (1,)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select a from main.t", "select a from      t"),
        ("select a from 'main'.t", "select a from        t"),
        ("select x.main from main . t x", "select x.main from        t x"),
        ("select main.t.a, 'main' from main.t", "select      t.a, 'main' from      t"),
        ("select main.a from t main", "select main.a from t main"),
        ("select a from mainly.t", "select a from mainly.t"),
    ],
)
def test_only_the_schema_is_blanked(sql: str, expected: str) -> None:
    assert without_main(sql) == expected

"""What `connect` makes of its options: nothing is made to be read; a URI may name a branch."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

import dosql_dbapi
from dosql_core.errors import DatabaseNotFoundError, NoHistoryError


@pytest.fixture
def path(tmp_path: Path) -> str:
    place = str(tmp_path / "app.db")
    with contextlib.closing(dosql_dbapi.connect(place)) as con:
        con.execute("create table t(x)")
        con.execute("insert into t values (1)")
        con.commit()
        con.execute("create branch dev")
        con.execute("insert into t values (2)")
        con.commit()
    return place


def rows_at(*where: Any, **options: Any) -> list[Any]:
    with contextlib.closing(dosql_dbapi.connect(*where, **options)) as con:
        return con.execute("select x from t order by x").fetchall()


@pytest.mark.parametrize(
    "options", [{"read_only": True}, {"branch": "dev"}, {"as_of": 1}, {"as_of": "-1 hour"}]
)
def test_what_can_only_be_read_is_not_made(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DatabaseNotFoundError, match="there is no database at"):
        dosql_dbapi.connect(tmp_path / "typo.db", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_uri_may_name_a_branch_and_a_moment(path: str) -> None:
    assert rows_at(f"file:{path}", uri=True) == [(1,), (2,)]
    assert rows_at(f"file:{path}?branch=dev", uri=True) == [(1,)]
    assert rows_at(f"file:{path}?mode=ro&as_of=lsn:2", uri=True) == [(1,)]
    assert rows_at(f"file:{path}?branch=dev", uri=True, branch="main") == [(1,), (2,)]
    with pytest.raises(NoHistoryError):
        rows_at(f"file:{path}?branch=dev", uri=True, history=False)


def test_a_uri_of_another_machine_is_refused(path: str) -> None:
    with pytest.raises(dosql_dbapi.OperationalError, match="invalid uri authority: elsewhere"):
        rows_at(f"file://elsewhere{path}", uri=True)
    assert rows_at(f"file://localhost{path}", uri=True) == [(1,), (2,)]


@pytest.mark.parametrize("options", [{"timeout": "5"}, {"branch": 5}, {"retention": 7}])
def test_an_option_of_the_wrong_type_is_named(path: str, options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"{next(iter(options))} must be"):
        dosql_dbapi.connect(path, **options)

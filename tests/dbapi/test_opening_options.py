"""What `connect` makes of its options: nothing is made to be read; a URI may name a branch."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import dosql_dbapi
from dosql_core.errors import DatabaseNotFoundError, NoHistoryError

# The end of a rollback journal of a commit to several files: SQLite would delete the file it names.
_NAMED = b"/no/such/file"
JOURNAL_NAMING_ANOTHER_FILE = (
    _NAMED
    + len(_NAMED).to_bytes(4, "big")
    + sum(_NAMED).to_bytes(4, "big")
    + bytes.fromhex("d9d505f920a163d7")
)


def stock_file(folder: Path) -> Path:
    place = folder / "stock.db"
    with contextlib.closing(sqlite3.connect(place)) as con:
        con.execute("create table t(x)")
        con.execute("insert into t values (7)")
        con.commit()
    return place


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


@pytest.mark.parametrize("query", ["mode=ro", "immutable=1", "mode=ro&immutable=on"])
def test_a_stock_file_that_is_opened_to_be_read_is_left_as_it_is(
    query: str, tmp_path: Path
) -> None:
    place = stock_file(tmp_path)
    before = place.read_bytes()
    uri = f"file:{place}?{query}"
    assert rows_at(uri, uri=True) == [(7,)]
    with contextlib.closing(dosql_dbapi.connect(uri, uri=True)) as con:
        with pytest.raises(dosql_dbapi.OperationalError, match="readonly database"):
            con.execute("insert into t values (8)")
        with pytest.raises(NoHistoryError):
            _ = con.lsn
    assert place.read_bytes() == before
    assert list(tmp_path.iterdir()) == [place]


def test_a_journal_beside_a_stock_file_is_left_alone(tmp_path: Path) -> None:
    place = stock_file(tmp_path)
    journal = tmp_path / "stock.db-journal"
    journal.write_bytes(JOURNAL_NAMING_ANOTHER_FILE)
    assert rows_at(f"file:{place}?immutable=1", uri=True) == [(7,)]
    with pytest.raises(dosql_dbapi.OperationalError) as caught:
        rows_at(f"file:{place}?mode=ro", uri=True)
    assert caught.value.sqlite_errorname == "SQLITE_READONLY_ROLLBACK"
    assert journal.read_bytes() == JOURNAL_NAMING_ANOTHER_FILE


@pytest.mark.parametrize("attach_with", ["parameter", "literal"])
def test_what_is_called_immutable_shows_commits_that_are_in_its_wal(
    attach_with: str, tmp_path: Path
) -> None:
    place = tmp_path / "app.db"
    uri = f"file:{place}?immutable=1"
    with contextlib.closing(dosql_dbapi.connect(place)) as writer:
        writer.execute("create table t(x)")
        writer.execute("insert into t values (1)")
        writer.commit()
        assert (tmp_path / "app.db-wal").stat().st_size > 0  # what SQLite would not read
        assert rows_at(uri, uri=True) == [(1,)]
        with contextlib.closing(dosql_dbapi.connect(uri, uri=True)) as reader:
            assert reader.lsn == writer.lsn
            with pytest.raises(dosql_dbapi.OperationalError, match="read"):
                reader.execute("insert into t values (2)")
        with contextlib.closing(dosql_dbapi.connect(":memory:", uri=True)) as other:
            if attach_with == "literal":
                other.execute(f"attach '{uri}' as app")
            else:
                other.execute("attach ? as app", (uri,))
            assert other.execute("select x from app.t").fetchall() == [(1,)]
            with pytest.raises(dosql_dbapi.OperationalError, match="readonly database"):
                other.execute("insert into app.t values (2)")


def test_immutable_0_says_nothing(tmp_path: Path) -> None:
    place = stock_file(tmp_path)
    with contextlib.closing(dosql_dbapi.connect(f"file:{place}?immutable=0", uri=True)) as con:
        con.execute("insert into t values (8)")
        con.commit()
        assert con.lsn > 0


# Some versions of 3.12 took ?2 for a named parameter.
@pytest.mark.filterwarnings("ignore:Binding 2:DeprecationWarning")
@pytest.mark.parametrize("module", [sqlite3, dosql_dbapi])
@pytest.mark.parametrize(
    ("what", "given"),
    [
        ("'{path}'", None),
        ('database "{path}"', None),
        ("?", ("{path}",)),
        ("?2", ("unused", "{path}")),
        (":where", {"where": "{path}"}),
        ("'file:{path}'", None),
        ("?", ("file:{path}?mode=rwc",)),
    ],
)
def test_a_file_attached_to_a_shared_in_memory_database_is_a_file(
    module: Any, what: str, given: Any, tmp_path: Path
) -> None:
    path = str(tmp_path / "it's 100% on disk.db")
    memory = f"file:{tmp_path.name}-{module.__name__}?mode=memory&cache=shared"
    in_uri = path.replace("%", "%25")
    named = in_uri if "file:" in what else path
    text = what.replace("{path}", named.replace("'", "''") if "'" in what else named)
    fill = {"unused": "unused", "{path}": path, "file:{path}?mode=rwc": f"file:{in_uri}?mode=rwc"}
    if isinstance(given, tuple):
        given = tuple(fill[word] for word in given)
    elif given:
        given = {name: fill[word] for name, word in given.items()}
    with contextlib.closing(module.connect(memory, uri=True)) as con:
        con.execute(f"attach {text} as disk", given or ())
        con.execute("create table disk.t(x)")
        con.execute("insert into disk.t values (1)")
        con.commit()
        con.execute("attach ':memory:' as beside")
        con.execute("attach '' as scratch")
    with contextlib.closing(sqlite3.connect(path)) as stock:
        assert stock.execute("select x from t").fetchall() == [(1,)]
    assert [place.name for place in tmp_path.iterdir()] == [Path(path).name]


def test_a_computed_path_is_not_attached_to_a_shared_in_memory_database(tmp_path: Path) -> None:
    memory = f"file:{tmp_path.name}?mode=memory&cache=shared"
    with (
        contextlib.closing(dosql_dbapi.connect(memory, uri=True)) as con,
        pytest.raises(dosql_dbapi.NotSupportedError, match="computed path"),
    ):
        con.execute("attach (select ?) as disk", (str(tmp_path / "a.db"),))


def test_without_history_uri_also_lets_attach_take_uris(path: str, tmp_path: Path) -> None:
    place = tmp_path / "plain.db"
    with contextlib.closing(dosql_dbapi.connect(place, uri=True, history=False)) as con:
        con.execute("attach ? as app", (f"file:{path}?mode=ro&immutable=1",))
        assert con.execute("select x from app.t order by x").fetchall() == [(1,), (2,)]
    left = {beside.name for beside in tmp_path.iterdir()}
    assert left == {"plain.db", "app.db", "app.db-dosql"}

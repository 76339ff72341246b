"""What a URL may say, and what an engine is made of."""

from __future__ import annotations

import pytest

pytest.importorskip("sqlalchemy")

from sqlalchemy import MetaData, String, Table, cast, create_engine, func, inspect, select, text
from sqlalchemy.exc import ArgumentError, OperationalError

import dosql_dbapi
from fixtures.sqlalchemy_models import Account, Owner


@pytest.mark.parametrize("scheme", ["dosql", "sqlite+dosql"])
def test_a_url_needs_no_registration(scheme, database_path):
    engine = create_engine(f"{scheme}:///{database_path}")
    with engine.connect() as connection:
        assert isinstance(connection.connection.dbapi_connection, dosql_dbapi.Connection)
        assert connection.execute(text("select 40 + 2")).scalar() == 42
    assert (engine.dialect.name, engine.dialect.driver) == ("sqlite", "dosql")
    engine.dispose()


def test_a_url_without_a_path_is_a_database_in_memory():
    engine = create_engine("dosql://")
    with engine.begin() as connection:
        connection.execute(text("create table t(n)"))
        connection.execute(text("insert into t values (1)"))
    with engine.connect() as connection:
        assert connection.execute(text("select n from t")).all() == [(1,)]
        assert connection.branch is None
    engine.dispose()


def test_a_url_names_a_branch(bank, before, database_path):
    with bank.connect() as connection:
        connection.execute(text("create branch dev"))
    engine = create_engine(f"dosql:///{database_path}?branch=dev")
    with engine.begin() as connection:
        assert connection.branch == "dev"
        connection.execute(text("delete from account"))
    with bank.connect() as connection:
        assert connection.execute(select(func.count()).select_from(Account)).scalar() == 3
    engine.dispose()


@pytest.mark.parametrize("told", ["{}", "lsn:{}"])
def test_a_url_names_a_moment(bank, before, database_path, told):
    engine = create_engine(f"dosql:///{database_path}?as_of={told.format(before)}")
    with engine.connect() as connection:
        assert connection.as_of == before
        assert connection.execute(select(func.sum(Account.balance))).scalar() == 30
        assert inspect(connection).get_table_names() == ["account", "clerk", "owner"]
        with pytest.raises(OperationalError) as refused:
            connection.execute(text("delete from account"))
    assert refused.value.orig.code == "DB_READ_ONLY"
    engine.dispose()


def test_a_url_sets_options_of_the_driver(database_path):
    url = f"dosql:///{database_path}?durability=normal&history=false&timeout=2.5"
    engine = create_engine(url)
    with engine.connect() as connection:
        assert connection.branch is None
        assert connection.execute(text("pragma busy_timeout")).scalar() == 2500
    engine.dispose()
    assert not database_path.with_name("app.db-dosql").exists()


def test_an_option_that_does_not_exist_is_refused(database_path):
    with pytest.raises(ArgumentError, match="no option 'brnach'"):
        create_engine(f"dosql:///{database_path}?brnach=dev").connect()
    with pytest.raises(ArgumentError, match="more than once"):
        create_engine(f"dosql:///{database_path}?branch=a&branch=b").connect()


def test_a_missing_branch_is_told_by_its_code(bank, database_path):
    engine = create_engine(f"dosql:///{database_path}?branch=nowhere")
    with pytest.raises(OperationalError) as refused:
        engine.connect()
    assert refused.value.orig.code == "BRANCH_NOT_FOUND"


def test_functions_and_pragmas_of_connect_events_hold_on_branches_and_in_the_past(bank, before):
    from sqlalchemy import event

    @event.listens_for(bank, "connect")
    def equip(connection, _record):
        connection.create_function("twice", 1, lambda n: n * 2)
        connection.execute("pragma foreign_keys = on")

    bank.dispose()
    with bank.connect() as connection:
        connection.execute(text("create branch dev"))
    statement = select(func.twice(21), Account.balance).where(Account.id == 2)
    branch, past = bank.execution_options(branch="dev"), bank.execution_options(as_of=before)
    for engine, balance in ((bank, 15), (branch, 15), (past, 20)):
        with engine.connect() as connection:
            assert connection.execute(statement).all() == [(42, balance)]
            assert connection.execute(text("pragma foreign_keys")).scalar() == 1
    with bank.connect() as connection:
        past_rows = connection.execute(statement, execution_options={"as_of": before})
        assert past_rows.all() == [(42, 20)]


def test_the_log_is_selected_from_reflected_and_in_nobodys_way(bank, before):
    from sqlalchemy_dosql import dosql_log

    log = dosql_log()
    with bank.connect() as connection:
        lsns = connection.execute(select(log.c.lsn).order_by(log.c.lsn)).scalars().all()
        newest = connection.execute(select(log.c.committed_at).limit(1)).scalar()
        connection.execute(text("create branch dev"))
        assert connection.execute(select(dosql_log("dev").c.lsn)).scalars().all() == lsns[::-1]
    assert before in lsns and newest.year > 2000
    reflected = Table("dosql_log", MetaData(), autoload_with=bank)
    assert {"lsn", "committed_at", "author", "message"} <= set(reflected.c.keys())
    assert "dosql_log" not in inspect(bank).get_table_names()
    with bank.connect() as connection:
        text_of_time = select(cast(reflected.c.committed_at, String)).limit(1)
        assert connection.execute(text_of_time).scalar() == newest.isoformat(sep=" ")


def test_an_existing_application_sees_its_own_names(bank):
    assert inspect(bank).has_table(Owner.__tablename__)
    assert bank.dialect.server_version_info >= (3, 54)

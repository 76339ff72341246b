"""Transactions, savepoints and isolation levels, without a recipe of event listeners."""

from __future__ import annotations

import threading

import pytest

pytest.importorskip("sqlalchemy")

from sqlalchemy import create_engine, func, inspect, select, text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session as StockSession

from fixtures.sqlalchemy_models import Account, Base, Owner

COUNT = select(func.count()).select_from(Owner)
INSERT = text("insert into owner(kind, name) values ('owner', :name)")


def count(engine):
    with engine.connect() as connection:
        return connection.execute(COUNT).scalar()


def test_a_rolled_back_savepoint_leaves_what_came_before(bank):
    with bank.begin() as connection:
        connection.execute(INSERT, {"name": "ann"})
        savepoint = connection.begin_nested()
        connection.execute(INSERT, {"name": "bob"})
        savepoint.rollback()
        connection.execute(INSERT, {"name": "cid"})
    with bank.connect() as connection:
        assert connection.execute(text("select name from owner")).scalars().all() == ["ann", "cid"]


def test_a_savepoint_before_the_first_write_is_part_of_the_transaction(bank):
    with bank.connect() as connection:
        with connection.begin_nested():
            connection.execute(INSERT, {"name": "ann"})
        connection.rollback()
    assert count(bank) == 0


def test_savepoints_nest_in_the_orm(bank):
    with StockSession(bank) as session:
        session.add(Owner(name="ann"))
        with session.begin_nested():
            session.add(Owner(name="bob"))
            with pytest.raises(IntegrityError), session.begin_nested():
                session.add(Owner(name="bob"))
                session.flush()
        session.commit()
        assert session.scalars(select(Owner.name).order_by(Owner.name)).all() == ["ann", "bob"]


def test_a_test_suite_joins_sessions_to_an_outer_transaction(bank):
    with bank.connect() as connection:
        outer = connection.begin()
        with StockSession(connection, join_transaction_mode="create_savepoint") as session:
            session.add(Owner(name="ann"))
            session.commit()
            session.add(Owner(name="bob"))
            session.rollback()
            assert session.scalar(COUNT) == 1
        outer.rollback()
    assert count(bank) == 0


@pytest.mark.parametrize("how", ["construct", "text", "driver"])
def test_definitions_are_rolled_back(bank, how):
    with bank.connect() as connection:
        if how == "construct":
            Base.metadata.drop_all(connection)
        elif how == "text":
            connection.execute(text("drop table account"))
        else:
            connection.exec_driver_sql("drop table account")
        connection.rollback()
    assert inspect(bank).get_table_names() == ["account", "clerk", "owner"]


def test_a_temporary_table_is_made_while_another_connection_writes(bank, database_path):
    engine = create_engine(f"dosql:///{database_path}?timeout=0")
    with bank.begin() as writer, engine.connect() as connection:
        writer.execute(INSERT, {"name": "ann"})
        connection.execute(text("create temporary table noted(name)"))
        with pytest.raises(OperationalError, match="locked"):
            connection.execute(text("create table noted_for_good(name)"))
        connection.rollback()
        with pytest.raises(OperationalError, match="no such table"):
            connection.execute(text("select * from noted"))
    engine.dispose()


def test_what_cannot_run_in_a_transaction_runs_before_the_first_write(bank):
    with bank.connect() as connection:
        connection.execute(COUNT)
        connection.execute(text("vacuum"))
        connection.execute(text("pragma foreign_keys = on"))
        assert connection.execute(text("pragma foreign_keys")).scalar() == 1


def test_reads_before_the_first_write_see_the_newest_commits_by_default(bank):
    with bank.connect() as reader:
        assert reader.get_isolation_level() == "READ COMMITTED"
        assert reader.execute(COUNT).scalar() == 0
        with bank.begin() as writer:
            writer.execute(INSERT, {"name": "ann"})
        assert reader.execute(COUNT).scalar() == 1
        reader.execute(INSERT, {"name": "bob"})  # and it can still write
        reader.commit()
    assert count(bank) == 2


def test_a_serializable_transaction_reads_one_snapshot(bank):
    with bank.connect().execution_options(isolation_level="SERIALIZABLE") as reader:
        assert reader.execute(COUNT).scalar() == 0
        lsn = reader.lsn
        with bank.begin() as writer:
            writer.execute(INSERT, {"name": "ann"})
        assert reader.execute(COUNT).scalar() == 0
        assert reader.lsn == lsn
        reader.rollback()
        assert reader.execute(COUNT).scalar() == 1
    with bank.connect() as connection:
        assert connection.get_isolation_level() == "READ COMMITTED"


def test_a_serializable_transaction_does_not_lose_anothers_update(bank):
    with bank.connect().execution_options(isolation_level="SERIALIZABLE") as slow:
        assert slow.execute(COUNT).scalar() == 0
        with bank.begin() as quick:
            quick.execute(INSERT, {"name": "ann"})
        with pytest.raises(OperationalError) as refused:
            slow.execute(INSERT, {"name": "bob"})
        assert refused.value.orig.code == "TXN_SERIALIZATION_FAILURE"
        assert refused.value.orig.is_retryable
        slow.rollback()
        slow.execute(INSERT, {"name": "bob"})
        slow.commit()
    assert count(bank) == 2


def test_autocommit_commits_every_statement(bank):
    with bank.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(INSERT, {"name": "ann"})
        connection.rollback()
        connection.execute(text("create table extra(n)"))
        connection.rollback()
    assert count(bank) == 1
    assert inspect(bank).has_table("extra")


@pytest.mark.parametrize("level", ["READ COMMITTED", "SERIALIZABLE", "READ UNCOMMITTED"])
def test_an_engine_has_an_isolation_level(bank, database_path, level):
    engine = create_engine(f"dosql:///{database_path}", isolation_level=level)
    with engine.connect() as connection:
        assert connection.get_isolation_level() == level
        connection.execute(INSERT, {"name": "ann"})
        connection.rollback()
    assert count(engine) == 0
    engine.dispose()


def test_a_violated_constraint_keeps_its_class_and_code(bank):
    with StockSession(bank) as session:
        session.add_all([Owner(name="ann"), Owner(name="ann")])
        with pytest.raises(IntegrityError) as refused:
            session.commit()
    assert refused.value.orig.sqlite_errorname == "SQLITE_CONSTRAINT_UNIQUE"


def test_writers_in_threads_wait_for_one_another(bank):
    with StockSession(bank) as session:
        session.add(Owner(name="ann", accounts=[Account(balance=0)]))
        session.commit()
    failures = []

    def deposit():
        try:
            for _ in range(25):
                with StockSession(bank) as session:
                    account = session.get(Account, 1, with_for_update=True)
                    session.execute(text("update account set balance = balance + 1"))
                    assert account.id == 1
                    session.commit()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=deposit) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with StockSession(bank) as session:
        assert session.get(Account, 1).balance == 150

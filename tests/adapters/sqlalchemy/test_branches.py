"""Branches as options of engines, connections and sessions, and as DDL."""

from __future__ import annotations

import pytest

pytest.importorskip("sqlalchemy")

from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.orm import Session as StockSession

from fixtures.sqlalchemy_models import Account, Owner
from sqlalchemy_dosql import (
    CreateBranch,
    CreateSnapshot,
    DropBranch,
    DropSnapshot,
    RestoreTable,
    RestoreTo,
    Session,
    as_of,
    branch_of,
    dispose_branch,
)

TOTAL = select(func.sum(Account.balance))


@pytest.fixture
def dev(bank, before):
    """The bank's engine on a branch that was forked where bob had 20."""
    with bank.connect() as connection:
        connection.execute(CreateBranch("dev", as_of=before))
    return bank.execution_options(branch="dev")


def total(engine):
    with engine.connect() as connection:
        return connection.execute(TOTAL).scalar()


def test_an_engine_works_on_a_branch(bank, dev):
    with dev.begin() as connection:
        assert connection.branch == branch_of(connection) == "dev"
        connection.execute(Account.__table__.delete())
    assert (total(bank), total(dev)) == (55, None)


def test_two_engines_on_two_branches_are_used_at_once(bank, dev):
    with bank.connect() as main, dev.connect() as there:
        there.execute(text("update account set balance = 0"))
        main.execute(text("update account set balance = balance + 1"))
        main.commit()
        there.commit()
    assert (total(bank), total(dev)) == (58, 0)


def test_a_pool_hands_out_no_connection_to_another_branch(bank, dev):
    for _ in range(3):
        with bank.connect() as main:
            assert main.branch == "main"
        with dev.connect() as there:
            assert there.branch == "dev"
    assert bank.pool.checkedin() == 1
    assert dev.pool.checkedin() == 1
    assert dev.pool is not bank.pool
    assert bank.execution_options(branch="dev").pool is dev.pool


def test_a_connection_moves_to_a_branch_before_its_transaction(bank, dev):
    with bank.connect() as connection:
        there = connection.execution_options(branch="dev")
        assert there.execute(TOTAL).scalar() == 30
        with pytest.raises(InvalidRequestError, match="may not be altered"):
            connection.execution_options(branch="main")
    with bank.connect() as connection:
        assert connection.branch == "main"


def test_a_session_works_on_a_branch(bank, dev):
    with Session(bank, branch="dev") as session:
        assert branch_of(session) == "dev"
        session.get(Account, 2).balance = 99
        session.commit()
        assert session.get(Account, 2).balance == 99
    with Session(bank) as session:
        assert session.get(Account, 2).balance == 15
    with StockSession(dev) as session:
        assert session.get(Account, 2).balance == 99


def test_a_statement_reads_another_branch(bank, dev):
    with bank.connect() as connection:
        assert connection.execute(TOTAL, execution_options={"branch": "dev"}).scalar() == 30
        assert connection.execute(TOTAL, execution_options={"branch": "main"}).scalar() == 55
        with dev.begin() as there:
            there.execute(text("delete from account where id = 1"))
        assert connection.execute(TOTAL, execution_options={"branch": "dev"}).scalar() == 20
        with pytest.raises(DBAPIError):
            connection.execute(text("delete from account"), execution_options={"branch": "dev"})


def test_a_statement_joins_two_branches(bank, dev):
    there = as_of(Account, branch="dev")
    differing = (
        select(Account.balance, there.balance)
        .join(there, there.id == Account.id)
        .where(there.balance != Account.balance)
    )
    with bank.connect() as connection:
        assert connection.execute(differing).all() == [(15, 20)]


def test_a_moment_of_a_branch_is_read(bank, dev, before):
    with dev.begin() as connection:
        connection.execute(text("delete from account"))
    with bank.connect() as connection:
        options = {"branch": "dev", "as_of": before}
        assert connection.execute(TOTAL, execution_options=options).scalar() == 30
    with Session(bank, branch="dev", as_of=before) as past:
        assert past.scalar(TOTAL) == 30
        assert past.get(Account, 2).balance == 20
    there = as_of(Account, before, branch="dev")
    with bank.connect() as connection:
        assert connection.execute(select(func.sum(there.balance))).scalar() == 30


def test_objects_of_a_branch_are_not_those_of_this_one(bank, dev):
    with Session(bank) as session:
        here = session.get(Owner, 2)
        there = session.get(Owner, 2, execution_options={"branch": "dev"})
        assert there is not here
        assert [account.balance for account in there.accounts] == [20]
        assert [account.balance for account in here.accounts] == [15]


@pytest.mark.parametrize("statement", [DropBranch("dev"), text("drop branch 'dev'")])
def test_a_branch_is_dropped_though_the_pool_held_connections_to_it(bank, dev, statement):
    assert total(dev) == 30
    with bank.connect() as connection:
        connection.execute(statement)
        names = [row.name for row in connection.execute(text("show branches"))]
    assert names == ["main"]


def test_a_branch_that_is_in_use_is_not_dropped(bank, dev):
    with dev.connect() as there, bank.connect() as connection:
        there.execute(TOTAL)
        with pytest.raises(DBAPIError) as refused:
            connection.execute(DropBranch("dev"))
    assert refused.value.orig.code == "CANNOT_DELETE_CURRENT"


def test_connections_to_a_branch_are_closed_on_demand(bank, dev):
    assert total(dev) == 30
    dispose_branch(bank, "dev")
    assert dev.pool.checkedin() == 0
    assert total(dev) == 30


def test_disposing_an_engine_closes_the_connections_to_every_branch(bank, dev):
    assert total(dev) == 30
    pool = dev.pool
    bank.dispose()
    assert pool.checkedin() == 0
    assert (total(bank), total(dev)) == (55, 30)


def test_disposing_an_engine_on_a_branch_leaves_the_others(bank, dev):
    assert (total(bank), total(dev)) == (55, 30)
    dev.dispose()
    assert bank.pool.checkedin() == 1
    assert (total(bank), total(dev)) == (55, 30)


def test_names_are_quoted(bank, before):
    with bank.connect() as connection:
        connection.execute(CreateBranch("pull-request/7"))
        connection.execute(CreateBranch("pull-request/7", if_not_exists=True))
        connection.execute(CreateSnapshot("it's friday"))
        assert total(bank.execution_options(branch="pull-request/7")) == 55
        past = connection.execute(TOTAL, execution_options={"as_of": "snapshot:it's friday"})
        assert past.scalar() == 55
        connection.execute(DropSnapshot("it's friday"))
        connection.execute(DropSnapshot("it's friday", if_exists=True))
        connection.execute(DropBranch("pull-request/7", if_exists=True, force=True))


def test_a_branch_is_forked_from_another(bank, dev):
    with bank.connect() as connection:
        connection.execute(CreateBranch("feature", source="dev"))
    assert total(bank.execution_options(branch="feature")) == 30


def test_a_database_is_restored_and_so_is_a_table(bank, before):
    with bank.connect() as connection:
        connection.execute(CreateSnapshot("now"))
        connection.execute(RestoreTo(before))
    assert total(bank) == 30
    with bank.connect() as connection:
        connection.execute(RestoreTable(Account.__table__, "snapshot:now"))
        assert connection.execute(TOTAL).scalar() == 55
        connection.execute(RestoreTable("account", before, into="account_then"))
        assert connection.execute(text("select sum(balance) from account_then")).scalar() == 30
        assert connection.execute(select(func.count()).select_from(Owner)).scalar() == 2


def test_use_branch_holds_until_the_connection_is_given_back(bank, dev):
    with bank.connect() as connection:
        for branch in ("dev", "main", "dev"):
            connection.execute(text(f"USE BRANCH {branch}"))
        connection.execute(text("delete from account"))
        connection.commit()
        assert connection.branch == "dev"
    with bank.connect() as connection:
        assert connection.branch == "main"
    assert (total(bank), total(dev)) == (55, None)

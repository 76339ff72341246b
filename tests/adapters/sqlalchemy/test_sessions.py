"""The ORM over history: whose objects are whose, and what is never written."""

from __future__ import annotations

import pytest

pytest.importorskip("sqlalchemy")

from sqlalchemy import delete, event, func, inspect, select, text, update
from sqlalchemy.exc import DBAPIError, InvalidRequestError, StatementError
from sqlalchemy.orm import Session as StockSession
from sqlalchemy.orm import joinedload, lazyload, selectinload, sessionmaker, subqueryload, undefer

from fixtures.sqlalchemy_models import Account, Owner
from sqlalchemy_dosql import HistorySession, Session, as_of, lsn_of, present_copy
from sqlalchemy_dosql.session import PastObjectError

BOB = 2


@pytest.fixture
def session(bank, before):
    with Session(bank) as session:
        yield session


def test_objects_of_the_past_are_other_objects_than_the_present_ones(session, before):
    now = session.get(Owner, BOB)
    then = session.scalars(select(Owner).execution_options(as_of=before).filter_by(id=BOB)).one()
    assert then is not now
    assert (now.traits, then.traits) == ({"patient": True}, None)
    again = session.scalars(select(Owner).execution_options(as_of=before).filter_by(id=BOB)).one()
    assert again is then


def test_get_reads_a_moment_once(session, before, bank):
    statements = []
    event.listen(bank, "before_cursor_execute", lambda *call: statements.append(call[2]))
    then = session.get(Account, BOB, execution_options={"as_of": before})
    assert then.balance == 20
    assert session.get(Account, BOB, execution_options={"as_of": before}) is then
    assert len(statements) == 1


def test_what_is_loaded_later_is_of_the_same_moment(session, before):
    then = session.get(Owner, BOB, execution_options={"as_of": before})
    assert [account.balance for account in then.accounts] == [20]
    assert then.accounts[0].owner is then
    session.expire(then.accounts[0])
    assert then.accounts[0].balance == 20
    assert session.get(Owner, BOB).accounts[0].balance == 15


def test_a_lazy_load_does_not_take_the_present_object_that_is_at_hand(session, before):
    present_owner = session.get(Owner, BOB)
    then = session.get(Account, BOB, execution_options={"as_of": before})
    assert then.owner is not present_owner
    assert (then.owner.traits, present_owner.traits) == (None, {"patient": True})


@pytest.mark.parametrize("strategy", [lazyload, selectinload, subqueryload])
def test_a_query_that_was_compiled_for_one_moment_loads_along_from_another(bank, before, strategy):
    for moment, balance in ((before, 20), (before + 1, 15), (before, 20), (None, 15)):
        options = {} if moment is None else {"as_of": moment}
        statement = select(Owner).options(strategy(Owner.accounts)).where(Owner.id == BOB)
        with Session(bank) as session:
            owner = session.scalars(statement.execution_options(**options)).one()
            assert [account.balance for account in owner.accounts] == [balance]
            session.expire(owner, ["accounts"])
            session.expunge(owner.accounts[0])
            assert [account.balance for account in owner.accounts] == [balance]


@pytest.mark.parametrize("strategy", [joinedload, selectinload, subqueryload])
def test_what_is_loaded_along_is_of_the_same_moment(session, before, strategy):
    statement = select(Owner).options(strategy(Owner.accounts)).order_by(Owner.id)
    then = session.scalars(statement.execution_options(as_of=before)).unique().all()
    assert [account.balance for owner in then for account in owner.accounts] == [10, 20]
    now = session.scalars(statement).unique().all()
    assert [account.balance for owner in now for account in owner.accounts] == [10, 15, 30]


def test_whole_entities_of_two_moments_stand_in_one_row(session, before):
    past = as_of(Account, before)
    rows = session.execute(
        select(Account, past, past.balance)
        .outerjoin(past, past.id == Account.id)
        .order_by(Account.id)
    ).all()
    assert [(now.balance, then and then.balance) for now, then, _ in rows] == [
        (10, 10),
        (15, 20),
        (30, None),
    ]
    assert all(now is not then for now, then, _ in rows)
    _now, then, balance = rows[1]
    assert balance == 20
    assert then is session.get(Account, BOB, execution_options={"as_of": before})
    assert then.owner.traits is None  # loaded now, but of then


def test_three_moments_of_an_entity_stand_in_one_row(session, before):
    first, second = as_of(Account, before), as_of(Account, before + 1)
    statement = (
        select(Account, first, second)
        .join(first, first.id == Account.id)
        .join(second, second.id == Account.id)
        .where(Account.id == BOB)
    )
    objects = session.execute(statement).one()
    assert [account.balance for account in objects] == [15, 20, 15]
    assert len({id(account) for account in objects}) == 3
    assert [a.balance for a in session.execute(statement).one()] == [15, 20, 15]


def test_a_query_for_another_moment_or_session_does_not_get_the_objects_of_the_first(bank, before):
    seen = []
    for moment, balance in ((before, 20), (before + 1, 15), (before, 20)):
        with Session(bank) as session:
            past = as_of(Account, moment)
            both = select(Account, past).join(past, past.id == Account.id)
            _now, then = session.execute(both.where(Account.id == BOB)).one()
            assert then.balance == balance
            assert then in session
            assert inspect(then).identity_token.as_of == moment
            seen.append(then)
    assert len(set(map(id, seen))) == 3


def test_an_entity_of_the_past_alone_is_an_object_of_the_past(session, before):
    past = as_of(Account, before)
    (then,) = session.scalars(select(past).where(past.id == BOB)).all()
    assert then is session.get(Account, BOB, execution_options={"as_of": before})
    assert then is not session.get(Account, BOB)


def test_a_changed_object_of_the_past_cannot_be_flushed(session, before):
    then = session.get(Account, BOB, execution_options={"as_of": before})
    then.balance = 1000
    with pytest.raises(PastObjectError, match=r"Account was read as of LSN \d+ "):
        session.commit()
    session.rollback()
    session.delete(session.get(Account, BOB, execution_options={"as_of": before}))
    with pytest.raises(PastObjectError):
        session.flush()
    session.rollback()
    assert session.get(Account, BOB).balance == 15


def test_a_statement_of_the_past_says_that_it_only_reads(session, before):
    statement = update(Account).values(balance=0).execution_options(as_of=before)
    with pytest.raises(PastObjectError, match=f"as of LSN {before} can only read"):
        session.execute(statement)


def test_an_object_of_the_past_does_not_keep_others_from_being_written(session, before):
    session.get(Account, BOB, execution_options={"as_of": before})
    session.get(Account, BOB).balance = 16
    session.commit()
    assert session.get(Account, BOB).balance == 16


def test_an_object_of_the_past_that_moved_to_another_session_is_not_written(bank, before):
    with Session(bank, as_of=before) as past:
        then = past.get(Account, BOB)
    with Session(bank) as session:
        session.add(then)
        then.balance = 1000
        with pytest.raises(PastObjectError):
            session.commit()


def test_a_present_copy_brings_the_past_back(session, before):
    then = session.get(Account, BOB, execution_options={"as_of": before})
    copy = present_copy(session, then)
    assert copy is session.get(Account, BOB)
    session.commit()
    assert session.get(Account, BOB).balance == 20


def test_a_present_copy_of_what_is_gone_is_made_anew(session, before):
    session.execute(delete(Account).where(Account.id == BOB))
    session.commit()
    then = session.get(Account, BOB, execution_options={"as_of": before})
    present_copy(session, then)
    session.commit()
    assert session.scalar(select(Account.balance).where(Account.id == BOB)) == 20


def test_a_session_of_the_past_reads_everything_there(bank, before):
    with Session(bank, as_of=before) as past:
        assert past.scalars(select(Account.balance).order_by(Account.id)).all() == [10, 20]
        assert past.get(Owner, BOB).accounts[0].balance == 20
        assert past.execute(text("select sum(balance) from account")).scalar() == 30
        assert (past.connection().as_of, lsn_of(past)) == (before, before)


def test_a_session_of_the_past_writes_nothing(bank, before):
    with Session(bank, as_of=before) as past:
        past.add(Owner(name="eve"))
        with pytest.raises(PastObjectError):
            past.flush()
        past.rollback()
        with pytest.raises(PastObjectError):
            past.execute(update(Account).values(balance=0))
        with pytest.raises(DBAPIError):
            past.execute(text("delete from account"))


def test_a_session_of_a_moving_moment_stays_where_it_began(bank, before):
    with Session(bank, as_of=-1) as past:
        assert past.scalar(select(func.sum(Account.balance))) == 30
        with Session(bank) as session:
            session.execute(delete(Account))
            session.commit()
        past.commit()
        assert past.scalar(select(func.sum(Account.balance))) == 30
        assert past.get(Account, BOB).balance == 20


def test_a_session_of_the_past_may_look_at_another_moment(bank, before):
    with Session(bank, as_of=before + 1) as past:
        assert past.get(Account, BOB).balance == 15
        then = past.get(Account, BOB, execution_options={"as_of": before})
        assert then.balance == 20
        assert then.owner.traits is None


def test_a_stock_session_reads_columns_of_the_past_but_no_objects(bank, before):
    with StockSession(bank) as session:
        columns = select(Account.balance).execution_options(as_of=before)
        assert session.scalars(columns.order_by(Account.id)).all() == [10, 20]
        with pytest.raises(StatementError, match=r"sqlalchemy_dosql\.Session"):
            session.scalars(select(Account).execution_options(as_of=before)).all()


def test_a_stock_session_on_an_engine_of_the_past_reads_objects(bank, before):
    with StockSession(bank.execution_options(as_of=before)) as past:
        assert past.get(Account, BOB).balance == 20
        past.get(Account, BOB).balance = 1
        with pytest.raises(DBAPIError):
            past.commit()


def test_a_session_class_of_ones_own_takes_the_mixin(bank, before):
    class OurSession(HistorySession):
        """An application's own."""

    make = sessionmaker(bank, class_=OurSession, as_of=before)
    with make() as past:
        assert past.get(Account, BOB).balance == 20
    with make(as_of=None) as session:
        assert session.get(Account, BOB).balance == 15


def test_a_session_bound_to_a_connection_is_where_the_connection_is(bank, before):
    with bank.connect().execution_options(as_of=before) as connection:
        with Session(connection, as_of=before) as past:
            assert past.get(Account, BOB).balance == 20
        elsewhere = Session(connection, as_of=before + 1)
        with elsewhere, pytest.raises(InvalidRequestError, match="bound to a connection"):
            elsewhere.execute(select(Account.balance))


def test_a_deferred_column_of_the_past_is_loaded_from_there(session, before):
    from sqlalchemy.orm import defer

    statement = select(Account).options(defer(Account.balance)).where(Account.id == BOB)
    then = session.scalars(statement.execution_options(as_of=before)).one()
    assert "balance" not in inspect(then).dict
    assert then.balance == 20
    undeferred = select(Account).options(undefer(Account.balance)).where(Account.id == BOB)
    assert session.scalars(undeferred).one().balance == 15


def test_rows_written_at_a_moment_are_refused_for_the_orm(session, before):
    with pytest.raises(PastObjectError):
        session.execute(update(Account).values(balance=0).execution_options(as_of=before))
    assert session.scalar(select(func.sum(Account.balance))) == 55

"""Reading the past: statements, tables and entities as of a moment."""

from __future__ import annotations

import datetime

import pytest

pytest.importorskip("sqlalchemy")

from sqlalchemy import column, create_engine, func, inspect, select, table, text
from sqlalchemy.exc import ArgumentError, CompileError, OperationalError
from sqlalchemy.orm import aliased

from fixtures.sqlalchemy_models import Account, Base, Clerk, Owner
from sqlalchemy_dosql import CreateSnapshot, Session, as_of, lsn_of

BALANCES = select(Account.balance).order_by(Account.id)


def test_a_statement_reads_a_moment(bank, before):
    with bank.connect() as connection:
        assert connection.execute(BALANCES).scalars().all() == [10, 15, 30]
        past = connection.execute(BALANCES.execution_options(as_of=before))
        assert past.scalars().all() == [10, 20]
        plain = connection.execute(
            text("select sum(balance) from account"), execution_options={"as_of": before}
        )
        assert plain.scalar() == 30
        assert connection.execute(BALANCES).scalars().all() == [10, 15, 30]


def test_versions_blame_and_differences_are_read_as_text(bank, before):
    versions = text(
        "select balance, _dosql_operation from account for system_time between lsn :first "
        "and lsn :last where id = :id order by _dosql_lsn"
    )
    with bank.connect() as connection:
        newest = connection.lsn
        found = connection.execute(versions, {"first": before, "last": newest, "id": 2})
        assert found.all() == [(20, "insert"), (15, "update")]
        blame = text("select lsn from dosql_blame('account', :id) where \"column\" = 'balance'")
        assert connection.execute(blame, {"id": 2}).scalar() == newest
        diff = text("select before_balance, after_balance from dosql_diff('account', :a, :b)")
        assert connection.execute(diff, {"a": before, "b": newest}).all() == [
            (20, 15),
            (None, 30),
        ]


def test_every_way_to_tell_a_moment_is_understood(bank, before):
    with bank.connect() as connection:
        connection.execute(CreateSnapshot("payday", as_of=before))
        newest = connection.lsn
        log = connection.execute(text(f"select committed_at from dosql_log where lsn = {before}"))
        committed_at = datetime.datetime.fromisoformat(log.scalar())
        aware = committed_at.replace(tzinfo=datetime.UTC).astimezone(
            datetime.timezone(datetime.timedelta(hours=5))
        )
        ways = [
            before, f"lsn:{before}", before - newest, "snapshot:payday", committed_at, aware,
            str(committed_at), f"timestamp:{committed_at}", f"branch:main@lsn:{before}",
            f"branch:main@{before}",
        ]  # fmt: skip
        for moment in ways:
            found = connection.execute(BALANCES, execution_options={"as_of": moment})
            assert found.scalars().all() == [10, 20], moment
            past = as_of(Account, moment)
            found = connection.execute(select(past.balance).order_by(past.id))
            assert found.scalars().all() == [10, 20], moment


def test_a_moment_that_moves_is_looked_up_with_every_statement(bank, before):
    with bank.connect() as connection:
        previous = {"execution_options": {"as_of": -1}}
        assert connection.execute(BALANCES, **previous).scalars().all() == [10, 20]
        connection.execute(text("delete from account where id = 1"))
        connection.commit()
        assert connection.execute(BALANCES, **previous).scalars().all() == [10, 15, 30]


def test_many_moments_are_read_while_one_of_them_is_being_fetched(bank, before):
    with bank.connect() as connection:
        streamed = connection.execute(BALANCES, execution_options={"as_of": before})
        assert streamed.fetchone() == (10,)
        for _ in range(3):
            again = connection.execute(BALANCES, execution_options={"as_of": before})
            assert again.scalars().all() == [10, 20]
        assert streamed.fetchall() == [(20,)]


def test_one_statement_joins_two_moments(bank, before):
    past = as_of(Account, before)
    changed = (
        select(Owner.name, Account.balance, past.balance)
        .join(Account.owner)
        .join(past, past.id == Account.id)
        .where(Account.balance != past.balance)
    )
    with bank.connect() as connection:
        assert connection.execute(changed).all() == [("bob", 15, 20)]


def test_what_is_gone_is_found_by_an_outer_join(bank, before):
    with bank.begin() as connection:
        connection.execute(Account.__table__.delete().where(Account.id == 1))
    past = as_of(Account.__table__, before, name="past")
    gone = select(past.c.id).outerjoin(Account, Account.id == past.c.id).where(Account.id.is_(None))
    with bank.connect() as connection:
        assert connection.execute(gone).scalars().all() == [1]


def test_queries_of_one_kind_share_what_was_compiled(bank, before):
    with bank.connect() as connection:
        results = []
        for lsn in (before, before + 1):
            past = as_of(Account.__table__, lsn)
            results.append(connection.execute(select(func.sum(past.c.balance))).scalar())
        assert results == [30, 55]
    first = as_of(Account.__table__, 1).select().compile(dialect=bank.dialect)
    second = as_of(Account.__table__, 2).select().compile(dialect=bank.dialect)
    assert str(first) == str(second) and first.params != second.params


def test_an_entity_of_joined_tables_is_read_as_of_a_moment(bank):
    with Session(bank) as session:
        session.add(Clerk(name="dee", desk="left"))
        session.commit()
        lsn = lsn_of(session)
        session.scalars(select(Clerk)).one().desk = "right"
        session.commit()
        past = as_of(Clerk, lsn)
        both = select(Clerk.desk, past.desk, past.name).join(past, past.id == Clerk.id)
        assert session.execute(both).all() == [("right", "left", "dee")]
        now, then = session.execute(select(Clerk, past).join(past, past.id == Clerk.id)).one()
        assert (now.desk, then.desk) == ("right", "left")


def test_a_moment_inside_a_subquery_and_a_cte(bank, before):
    past = as_of(Account, before)
    total_then = select(func.sum(past.balance)).scalar_subquery()
    rich_then = select(past.id).where(past.balance >= 20).cte("rich")
    with bank.connect() as connection:
        assert connection.execute(select(func.sum(Account.balance) - total_then)).scalar() == 25
        rich = select(Account.balance).where(Account.id.in_(select(rich_then.c.id)))
        assert connection.execute(rich).scalars().all() == [15]


def test_rows_of_the_past_are_inserted_into_the_present(bank, before):
    accounts = Account.__table__
    past = as_of(accounts, before)
    with bank.begin() as connection:
        connection.execute(accounts.delete())
        connection.execute(accounts.insert().from_select(past.c.keys(), past.select()))
        assert connection.execute(BALANCES).scalars().all() == [10, 20]


def test_a_moment_is_not_for_writing(bank, before):
    with bank.connect() as connection, pytest.raises(OperationalError) as refused:
        connection.execute(Account.__table__.delete(), execution_options={"as_of": before})
    assert refused.value.orig.code == "DB_READ_ONLY"


@pytest.mark.parametrize(
    ("moment", "code"),
    [
        (999, "TT_LSN_NOT_AVAILABLE"),
        ("2999-01-01", "TT_FUTURE_POINT"),
        ("snapshot:none", "TT_SNAPSHOT_NOT_FOUND"),
        ("1999-01-01", "TT_POINT_NOT_FOUND"),
    ],
)
def test_a_moment_that_is_not_there_is_told_by_its_code(bank, before, moment, code):
    past = as_of(Account, moment)
    with bank.connect() as connection:
        with pytest.raises(OperationalError) as refused:
            connection.execute(BALANCES, execution_options={"as_of": moment})
        assert refused.value.orig.code == code
        with pytest.raises(OperationalError) as refused:
            connection.execute(select(past.balance))
        assert refused.value.orig.code == code


def test_what_is_no_moment_or_no_table_is_refused():
    with pytest.raises(ArgumentError, match="needs a moment"):
        as_of(Account)
    with pytest.raises(ArgumentError, match="no moment"):
        as_of(Account, 1.5)
    with pytest.raises(ArgumentError, match="takes a table or a class"):
        as_of(select(Account.id).subquery(), 1)


def test_another_database_cannot_compile_it():
    with pytest.raises(CompileError):
        as_of(table("account", column("id")), 1).select().compile()


def test_a_database_without_history_says_so():
    engine = create_engine("dosql://")
    Base.metadata.create_all(engine)
    with engine.connect() as connection, pytest.raises(Exception, match="history"):
        connection.execute(BALANCES, execution_options={"as_of": 1})
    engine.dispose()


def test_an_alias_of_an_alias_still_reads_the_past(bank, before):
    past = as_of(Account.__table__, before).alias("older")
    entity = aliased(Account, as_of(Account.__table__, before))
    with bank.connect() as connection:
        assert connection.execute(select(func.sum(past.c.balance))).scalar() == 30
        assert connection.execute(select(func.sum(entity.balance))).scalar() == 30


def test_the_present_of_a_connection_is_a_point_in_time(bank, before):
    with bank.connect() as connection:
        assert connection.lsn == lsn_of(connection) == before + 1
        connection.execute(text("delete from account where id = 1"))
        connection.commit()
        assert connection.lsn == before + 2


def test_moments_being_read_are_no_schemas_of_the_program(bank, before):
    with bank.connect() as connection:
        connection.execute(BALANCES.execution_options(as_of=before)).all()
        assert inspect(connection).get_schema_names() == ["main"]


@pytest.mark.parametrize("moment", [1_000_000, "yestreday", "snapshot:unheard of"])
def test_every_way_to_a_moment_that_is_not_fails_with_an_error_of_sqlalchemy(bank, moment):
    def on_a_connection():
        with bank.connect() as connection:
            connection.execution_options(as_of=moment)

    def on_an_engine():
        with bank.execution_options(as_of=moment).connect():
            pass

    def on_a_statement():
        with bank.connect() as connection:
            connection.execute(BALANCES, execution_options={"as_of": moment})

    def on_a_statement_of_the_orm():
        with Session(bank) as session:
            session.get(Account, 1, execution_options={"as_of": moment})

    def on_a_session():
        with Session(bank, as_of=moment) as session:
            session.get(Account, 1)

    for read in (
        on_a_connection, on_an_engine, on_a_statement, on_a_statement_of_the_orm, on_a_session,
    ):  # fmt: skip
        with pytest.raises(OperationalError) as raised:
            read()
        assert raised.value.orig.code.startswith("TT_"), read

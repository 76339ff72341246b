"""What SQLAlchemy can do with SQLite works: upserts, RETURNING, JSON, types, many rows at once."""

from __future__ import annotations

import datetime
import decimal
import tracemalloc
import uuid
from typing import Any

import pytest

pytest.importorskip("sqlalchemy")

import sqlalchemy as sa
from sqlalchemy import select, text
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session as StockSession

from fixtures.sqlalchemy_models import Account, Owner

owners: Any = Owner.__table__
accounts: Any = Account.__table__


def test_an_upsert_updates_what_is_there(bank):
    made = insert(owners).values(kind="owner", name="ann", traits={"n": 1})
    statement = made.on_conflict_do_update(
        index_elements=["name"], set_={"traits": made.excluded.traits}
    ).returning(owners.c.id, owners.c.traits)
    with bank.begin() as connection:
        first = connection.execute(statement).one()
        second = connection.execute(statement, {"traits": {"n": 2}}).one()
    assert first.id == second.id


def test_dml_returns_rows(bank, before):
    with bank.begin() as connection:
        raised = sa.update(accounts).values(balance=accounts.c.balance + 1)
        assert sorted(connection.execute(raised.returning(accounts.c.balance))) == [
            (11,), (16,), (31,)
        ]  # fmt: skip
        gone = sa.delete(accounts).where(accounts.c.id == 1).returning(accounts.c.id)
        assert connection.execute(gone).scalar() == 1
        result = connection.execute(accounts.insert().values(balance=1, owner_id=1))
        assert result.inserted_primary_key == (4,)
        assert result.lastrowid == 4


def test_listeners_for_every_engine_hear_of_statements(bank, before):
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        with bank.connect() as connection:
            connection.execute(text("select 1"))
        with bank.execution_options(as_of=before).connect() as connection:
            connection.execute(text("select 2"))
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    assert statements == ["select 1", "select 2"]


def test_many_objects_are_inserted_in_few_statements_and_get_their_keys_in_order(bank):
    statements = []
    sa.event.listen(bank, "before_cursor_execute", lambda *call: statements.append(call[2]))
    with StockSession(bank) as session:
        made = [Owner(name=f"owner {number}") for number in range(2500)]
        session.add_all(made)
        session.flush()
        inserts = [sql for sql in statements if sql.startswith("INSERT")]
        assert len(inserts) < 10
        assert all(owner.name == f"owner {owner.id - made[0].id}" for owner in made)
        session.commit()


def test_keys_drawn_by_lot_are_never_given_to_the_wrong_objects(bank):
    with StockSession(bank) as session:
        session.add(Account(id=2**63 - 1, balance=0, owner_id=1))
        session.flush()
        session.add_all([Account(balance=n, owner_id=1) for n in range(50)])
        with pytest.raises(InvalidRequestError, match="rising order"):
            session.flush()


def test_json_is_stored_compared_and_reached_into(bank):
    with StockSession(bank) as session:
        session.add_all([Owner(name="ann", traits={"a": {"b": [1, 2]}}), Owner(name="bob")])
        session.commit()
        reached = select(Owner.name).where(Owner.traits[("a", "b", 1)].as_integer() == 2)
        assert session.scalars(reached).all() == ["ann"]
        assert session.scalars(select(Owner.traits).order_by(Owner.id)).all() == [
            {"a": {"b": [1, 2]}},
            None,
        ]


VALUES = [
    (sa.Numeric(10, 2), decimal.Decimal("12.50")),
    (sa.DateTime(), datetime.datetime(2026, 11, 24, 12, 30, 15, 123456)),
    (sa.Date(), datetime.date(2026, 11, 24)),
    (sa.Time(), datetime.time(23, 59, 1, 5)),
    (sa.Interval(), datetime.timedelta(days=3, microseconds=7)),
    (sa.LargeBinary(), b"\x00\xff" * 1000),
    (sa.Uuid(), uuid.UUID("12345678123456781234567812345678")),
    (sa.Boolean(), True),
    (sa.Unicode(), "naïve \U0001f40d"),
    (sa.BigInteger(), -(2**63)),
    (sa.Enum("red", "green", name="colour"), "green"),
]


@pytest.mark.parametrize(("kind", "value"), VALUES, ids=[type(v[0]).__name__ for v in VALUES])
def test_a_value_comes_back_as_it_was(bank, kind, value):
    metadata = sa.MetaData()
    table = sa.Table("one", metadata, sa.Column("value", kind))
    metadata.create_all(bank)
    with bank.begin() as connection:
        connection.execute(table.insert(), {"value": value})
        lsn = connection.lsn
    with bank.begin() as connection:
        assert connection.execute(select(table)).scalar() == value
        connection.execute(table.delete())
    with bank.connect() as connection:
        past = select(table).execution_options(as_of=lsn + 1)
        assert connection.execute(past).scalar() == value


def test_code_compiled_for_sqlite_is_used(bank):
    class shout(sa.sql.functions.GenericFunction):
        inherit_cache = True

    @compiles(shout, "sqlite")
    def shout_in_sqlite(element, compiler, **options):
        return f"upper({compiler.process(element.clauses, **options)})"

    with bank.connect() as connection:
        assert connection.execute(select(shout("hello"))).scalar() == "HELLO"


def test_regular_expressions_match_as_with_the_stock_dialect(bank, before):
    with StockSession(bank) as session:
        matching = select(Owner.name).where(Owner.name.regexp_match("^(ann|bob)$"))
        assert session.scalars(matching.order_by(Owner.name)).all() == ["ann", "bob"]


@pytest.mark.parametrize("count", [50_000, pytest.param(1_000_000, marks=pytest.mark.long)])
def test_many_rows_are_read_in_little_memory(bank, count):
    numbers = text(
        f"with recursive t(n) as (select 1 union all select n + 1 from t where n < {count}) "
        "select n from t"
    )
    with bank.connect() as connection:
        tracemalloc.start()
        total = 0
        for part in connection.execution_options(yield_per=1000).execute(numbers).partitions():
            total += sum(row.n for row in part)
        _now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert total == count * (count + 1) // 2
    assert peak < 2_000_000

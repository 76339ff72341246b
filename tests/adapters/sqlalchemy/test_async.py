"""`dosql+aio://`: the same things, awaited."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("greenlet")

from sqlalchemy import event, func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from fixtures.sqlalchemy_models import Account, Base, Owner
from sqlalchemy_dosql import CreateBranch, Session, as_of, lsn_of

TOTAL = select(func.sum(Account.balance))
ENDLESS = text(
    "with recursive t(n) as (select 1 union all select n + 1 from t) select max(n) from t"
)


@contextlib.asynccontextmanager
async def opened(path):
    engine = create_async_engine(f"dosql+aio:///{path}")
    try:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        yield engine
    finally:
        await engine.dispose()


async def filled(engine):
    """Ann with 10, and the LSN at which she had 5."""
    async with AsyncSession(engine, sync_session_class=Session) as session:
        session.add(Owner(name="ann", accounts=[Account(balance=5)]))
        await session.commit()
        lsn = await session.run_sync(lsn_of)
        (await session.get(Account, 1)).balance = 10
        await session.commit()
    return lsn


def test_a_session_reads_and_writes(database_path):
    async def story():
        async with opened(database_path) as engine:
            await filled(engine)
            async with AsyncSession(engine) as session:
                account = await session.get(Account, 1)
                account.balance += 1
                await session.commit()
                assert await session.scalar(TOTAL) == 11

    asyncio.run(story())


def test_the_past_is_read(database_path):
    async def story():
        async with opened(database_path) as engine:
            lsn = await filled(engine)
            async with engine.connect() as connection:
                past = await connection.execute(TOTAL, execution_options={"as_of": lsn})
                assert past.scalar() == 5
                then = as_of(Account, lsn)
                both = select(Account.balance, then.balance).join(then, then.id == Account.id)
                assert (await connection.execute(both)).all() == [(10, 5)]
            async with AsyncSession(engine, sync_session_class=Session, as_of=lsn) as past:
                assert (await past.get(Account, 1)).balance == 5
            async with AsyncSession(engine, sync_session_class=Session) as session:
                there = await session.get(Account, 1, execution_options={"as_of": lsn})
                assert (there.balance, (await session.get(Account, 1)).balance) == (5, 10)
                assert (await session.get(Account, 1, execution_options={"as_of": -1})).balance == 5

    asyncio.run(story())


def test_a_branch_is_worked_on(database_path):
    async def story():
        async with opened(database_path) as engine:
            await filled(engine)
            async with engine.connect() as connection:
                await connection.execute(CreateBranch("dev"))
            async with engine.execution_options(branch="dev").begin() as there:
                await there.execute(text("delete from account"))
            async with AsyncSession(engine, sync_session_class=Session, branch="dev") as session:
                assert await session.scalar(TOTAL) is None
            async with engine.connect() as connection:
                assert (await connection.execute(TOTAL)).scalar() == 10

    asyncio.run(story())


def test_rows_are_streamed_from_the_present_and_the_past(database_path):
    async def story():
        async with opened(database_path) as engine:
            async with engine.begin() as connection:
                await connection.execute(
                    Owner.__table__.insert(),
                    [{"kind": "owner", "name": f"owner {n}"} for n in range(3000)],
                )
            async with engine.begin() as connection:
                lsn = await connection.run_sync(lsn_of)
                await connection.execute(text("delete from owner where id > 10"))
            async with engine.connect() as connection:
                for options, expected in (({}, 10), ({"as_of": lsn}, 3000)):
                    result = await connection.stream(select(Owner.id), execution_options=options)
                    assert len([row async for row in result]) == expected

    asyncio.run(story())


def test_savepoints_and_constraints(database_path):
    async def story():
        async with opened(database_path) as engine, AsyncSession(engine) as session:
            session.add(Owner(name="ann"))
            await session.flush()
            with pytest.raises(IntegrityError):
                async with session.begin_nested():
                    session.add(Owner(name="ann"))
            await session.commit()
            assert (await session.scalars(select(Owner.name))).all() == ["ann"]

    asyncio.run(story())


def test_many_tasks_write_and_none_is_refused(database_path):
    async def story():
        async with opened(database_path) as engine:
            await filled(engine)

            async def deposit():
                for _ in range(10):
                    async with engine.begin() as connection:
                        await connection.execute(text("update account set balance = balance + 1"))

            await asyncio.gather(*[deposit() for _ in range(8)])
            async with engine.connect() as connection:
                assert (await connection.execute(TOTAL)).scalar() == 90

    asyncio.run(story())


def test_a_cancelled_task_ends_its_statement_and_the_engine_goes_on(database_path):
    async def story():
        async with opened(database_path) as engine:
            started = asyncio.Event()

            async def wait_for_ever():
                async with engine.connect() as connection:
                    started.set()
                    await connection.execute(ENDLESS)

            task = asyncio.create_task(wait_for_ever())
            await started.wait()
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with engine.connect() as connection:
                assert (await connection.execute(text("select 1"))).scalar() == 1

    asyncio.run(story())


def test_events_reach_the_connection_in_its_thread(database_path):
    async def story():
        engine = create_async_engine(f"dosql+aio:///{database_path}")

        @event.listens_for(engine.sync_engine, "connect")
        def equip(connection, _record):
            connection.create_function("twice", 1, lambda n: n * 2)
            connection.execute("pragma foreign_keys = on")

        async with engine.connect() as connection:
            assert (await connection.execute(text("select twice(21)"))).scalar() == 42
            assert (await connection.execute(text("pragma foreign_keys"))).scalar() == 1
        await engine.dispose()

    asyncio.run(story())


def test_isolation_levels_are_kept(database_path):
    async def story():
        async with opened(database_path) as engine:
            async with engine.connect() as connection:
                assert await connection.get_isolation_level() == "READ COMMITTED"
            serializable = engine.execution_options(isolation_level="SERIALIZABLE")
            async with serializable.connect() as reader:
                assert await reader.get_isolation_level() == "SERIALIZABLE"
                assert (await reader.execute(TOTAL)).scalar() is None
                await filled(engine)
                assert (await reader.execute(TOTAL)).scalar() is None

    asyncio.run(story())


def test_a_database_in_memory_is_shared_by_the_tasks():
    async def story():
        engine = create_async_engine("dosql+aio://")
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        await asyncio.gather(*[_count(engine) for _ in range(3)])
        await engine.dispose()

    async def _count(engine):
        async with engine.connect() as connection:
            assert (await connection.execute(select(func.count(Owner.id)))).scalar() == 0

    asyncio.run(story())

"""The same work through SQLAlchemy's ORM, on its SQLite dialect and on DoSQL, at equal durability;
and through asyncio, on aiosqlite where that is installed.
"""

from __future__ import annotations

import asyncio
import datetime
import importlib.util
import itertools
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import contenders
from measure import Settings, Table, alternate, finish, ratio, settings
from sqlalchemy import (
    Engine,
    ForeignKey,
    Numeric,
    create_engine,
    event,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    joinedload,
    mapped_column,
    relationship,
    selectinload,
)

AUTHORS = 50
BOOKS_PER_AUTHOR = 20
TASKS = 8
AIM = 1.0


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "author"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(index=True)
    books: Mapped[list[Book]] = relationship(back_populates="author")


class Book(Base):
    __tablename__ = "book"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    pages: Mapped[int]
    price: Mapped[Decimal] = mapped_column(Numeric(8, 2, asdecimal=False))
    published: Mapped[datetime.datetime]
    is_lent: Mapped[bool]
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"), index=True)
    author: Mapped[Author] = relationship(back_populates="books")


def open_stock(path: Path, durability: str) -> Engine:
    engine = create_engine(f"sqlite:///{path}")
    event.listen(engine, "connect", partial(set_pragmas, contenders.SYNCHRONOUS[durability]))
    return engine


def set_pragmas(synchronous: str, connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode=wal")
    connection.execute(f"PRAGMA synchronous={synchronous}")


def open_ours(path: Path, durability: str) -> Engine:
    return create_engine(f"dosql:///{path}?durability={durability}")


class Work:
    """What one contender is asked to do; each method does `count` operations."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.numbers = itertools.count(1)
        Base.metadata.create_all(engine)
        with Session(engine) as session:
            session.add_all(
                Author(name=f"author {number}", books=[self.new_book() for _ in range(20)])
                for number in range(AUTHORS)
            )
            session.commit()

    def values(self, author_id: int = 1) -> dict[str, Any]:
        number = next(self.numbers)
        return {
            "title": f"book {number}",
            "pages": number % 900,
            "price": (number % 5000) / 100,
            "published": datetime.datetime(2026, 1, 1, 12, 30),
            "is_lent": number % 2 == 0,
            "author_id": author_id,
        }

    def new_book(self) -> Book:
        return Book(**self.values())

    def insert(self, count: int) -> None:
        for _ in range(count):
            with Session(self.engine) as session:
                session.add(self.new_book())
                session.commit()

    def insert_in_one_transaction(self, count: int) -> None:
        with Session(self.engine) as session:
            for _ in range(count):
                session.add(self.new_book())
                session.flush()
            session.commit()

    def add_all(self, count: int) -> None:
        with Session(self.engine) as session:
            session.add_all([self.new_book() for _ in range(count)])
            session.commit()

    def bulk_insert(self, count: int) -> None:
        with Session(self.engine) as session:
            session.execute(insert(Book), [self.values() for _ in range(count)])
            session.commit()

    def get_by_key(self, count: int) -> None:
        for number in range(count):
            with Session(self.engine) as session:
                session.get(Book, 1 + number % 1000)

    def filter(self, count: int) -> None:
        with Session(self.engine) as session:
            for number in range(count):
                statement = select(Book).where(
                    Book.author_id == 1 + number % AUTHORS, Book.pages > 10
                )
                session.scalars(statement.limit(20)).all()
                session.expunge_all()

    def read_all(self, count: int) -> None:
        with Session(self.engine) as session:
            session.scalars(select(Book).limit(count)).all()

    def columns(self, count: int) -> None:
        with Session(self.engine) as session:
            session.execute(select(Book.id, Book.title, Book.pages).limit(count)).all()

    def update(self, count: int) -> None:
        for number in range(count):
            with Session(self.engine) as session:
                session.get_one(Book, 1 + number % 1000).pages = number
                session.commit()

    def transaction_of_ten(self, count: int) -> None:
        for number in range(count):
            with Session(self.engine) as session:
                for step in range(10):
                    statement = update(Book).where(Book.id == 1 + (number * 10 + step) % 1000)
                    session.execute(statement.values(pages=number))
                session.commit()

    def prefetch(self, count: int) -> None:
        for _ in range(count):
            with Session(self.engine) as session:
                statement = select(Author).options(selectinload(Author.books))
                session.scalars(statement.where(Author.id.between(3, 12))).all()

    def joined_load(self, count: int) -> None:
        for number in range(count):
            with Session(self.engine) as session:
                statement = select(Book).options(joinedload(Book.author))
                at_author = statement.where(Book.author_id == 1 + number % AUTHORS)
                session.scalars(at_author.limit(20)).all()

    def open_and_close(self, count: int) -> None:
        self.engine.dispose()
        for _ in range(count):
            with self.engine.connect() as connection:
                connection.execute(text("select 1"))
            self.engine.dispose()


CASES = {
    "add and commit one": ("insert", 100),
    "add and flush, in one transaction": ("insert_in_one_transaction", 300),
    "add_all and commit": ("add_all", 1000),
    "bulk insert": ("bulk_insert", 5000),
    "get by key": ("get_by_key", 300),
    "filter, 20 objects": ("filter", 100),
    "read 1,000 objects": ("read_all", 1000),
    "read 1,000 rows of columns": ("columns", 1000),
    "get, change and commit": ("update", 100),
    "transaction of 10 statements": ("transaction_of_ten", 30),
    "selectinload, 10 with theirs": ("prefetch", 30),
    "joinedload, 20 objects": ("joined_load", 100),
    "open, read, close": ("open_and_close", 30),
}


def compare(how: Settings, durability: str) -> Table:
    table = Table(
        f"durability={durability}, synchronous={contenders.SYNCHRONOUS[durability]}",
        ("what", "SQLite dialect, us", "DoSQL, us", "ratio"),
    )
    works = {
        "stock": Work(open_stock(how.scratch / f"stock-{durability}.db", durability)),
        "ours": Work(open_ours(how.scratch / f"ours-{durability}.db", durability)),
    }
    for what, (method, full) in CASES.items():
        count = how.scaled(full, max(10, full // 10))
        calls: dict[str, Callable[[], object]] = {
            name: partial(getattr(work, method), count) for name, work in works.items()
        }
        timings = alternate(calls, count, rounds=how.rounds(15), warm_ups=2)
        stock, ours = timings["stock"], timings["ours"]
        table.add(
            what, stock.microseconds, ours.microseconds, ratio(ours.speed_against(stock), AIM)
        )
    for work in works.values():
        work.engine.dispose()
    return table


# -- asyncio ---------------------------------------------------------------------------------------


async def read_by_tasks(engine: AsyncEngine, count: int) -> None:
    async def read(first: int) -> None:
        async with engine.connect() as connection:
            for number in range(first, first + count // TASKS):
                (await connection.execute(select(Book).where(Book.id == number % 1000))).all()

    await asyncio.gather(*(read(task * 100) for task in range(TASKS)))


async def write_by_tasks(engine: AsyncEngine, count: int) -> None:
    async def write(first: int) -> None:
        for number in range(first, first + count // TASKS):
            async with engine.begin() as connection:
                changed = update(Book).where(Book.id == 1 + number % 1000)
                await connection.execute(changed.values(pages=number))

    await asyncio.gather(*(write(task * 100) for task in range(TASKS)))


def compare_async(how: Settings) -> Table:
    table = Table(
        f"asyncio, {TASKS} tasks, durability=normal",
        ("what", "aiosqlite, us", "DoSQL, us", "ratio"),
    )
    stock_path, our_path = how.scratch / "stock-aio.db", how.scratch / "ours-aio.db"
    for work in (Work(open_stock(stock_path, "normal")), Work(open_ours(our_path, "normal"))):
        work.engine.dispose()
    stock = create_async_engine(f"sqlite+aiosqlite:///{stock_path}", pool_size=TASKS)
    event.listen(stock.sync_engine, "connect", partial(set_async_pragmas, "NORMAL"))
    ours = create_async_engine(f"dosql+aio:///{our_path}?durability=normal", pool_size=TASKS)
    with asyncio.Runner() as runner:
        for what, story, full in (
            ("read by key", read_by_tasks, 800),
            ("update and commit", write_by_tasks, 400),
        ):
            count = how.scaled(full, full // 8)
            timings = alternate(
                {
                    name: lambda engine=engine, story=story, count=count: runner.run(
                        story(engine, count)
                    )
                    for name, engine in (("stock", stock), ("ours", ours))
                },
                count,
                rounds=how.rounds(11),
            )
            theirs, own = timings["stock"], timings["ours"]
            table.add(
                what, theirs.microseconds, own.microseconds, ratio(own.speed_against(theirs), AIM)
            )
        runner.run(stock.dispose())
        runner.run(ours.dispose())
    return table


def set_async_pragmas(synchronous: str, connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=wal")
    cursor.execute(f"PRAGMA synchronous={synchronous}")
    cursor.close()


def main() -> None:
    with settings(__doc__) as how:
        tables = [compare(how, durability) for durability in ("full", "normal")]
        if importlib.util.find_spec("aiosqlite") is not None:
            tables.append(compare_async(how))
        finish("orm_sqlalchemy", "SQLAlchemy", tables, how)


if __name__ == "__main__":
    main()

"""Peewee on DoSQL and on its own SqliteDatabase: the same program, at equal durability."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import contenders
import peewee
from measure import Settings, Table, alternate, finish, ratio, settings

from peewee_dosql import DoSQLDatabase

AUTHORS = 200
BOOKS_OF_EACH = 10
RATIO_AIM = 1.0
STATEMENTS_IN_TRANSACTION = 10


class Program:
    """What is timed, on one database that it fills; each method does `count` operations."""

    def __init__(self, database: peewee.SqliteDatabase, count: int) -> None:
        class Author(peewee.Model):
            name = peewee.CharField()

        class Book(peewee.Model):
            author = peewee.ForeignKeyField(Author, backref="books")
            title = peewee.CharField(index=True)
            price = peewee.IntegerField()

        self.database, self.count = database, count
        self.Author, self.Book = Author, Book
        database.bind([Author, Book])
        database.connect()
        database.create_tables([Author, Book])
        with database.atomic():
            Author.insert_many([{"name": f"author {n}"} for n in range(AUTHORS)]).execute()
            for author in range(1, AUTHORS + 1):
                Book.insert_many(self.books(author, BOOKS_OF_EACH)).execute()

    def books(self, author: int, count: int) -> list[dict[str, Any]]:
        return [{"author": author, "title": f"book {n}", "price": n} for n in range(count)]

    def insert(self) -> None:
        for n in range(self.count):
            self.Book.create(author=1, title=f"new {n}", price=n)

    def bulk_insert(self) -> None:
        with self.database.atomic():
            for author in range(1, self.count // 100 + 1):
                self.Book.insert_many(self.books(author % AUTHORS + 1, 100)).execute()

    def get_by_key(self) -> None:
        for n in range(self.count):
            self.Book.get_by_id(n % (AUTHORS * BOOKS_OF_EACH) + 1)

    def filter(self) -> None:
        for n in range(self.count):
            list(self.Book.select().where(self.Book.author == n % AUTHORS + 1).limit(10))

    def update(self) -> None:
        for n in range(self.count):
            self.Book.update(price=n).where(self.Book.id == n % AUTHORS + 1).execute()

    def transaction(self) -> None:
        for n in range(self.count // STATEMENTS_IN_TRANSACTION):
            with self.database.atomic():
                for step in range(STATEMENTS_IN_TRANSACTION):
                    self.Book.update(price=step).where(self.Book.id == n % AUTHORS + 1).execute()

    def joined_load(self) -> None:
        query = self.Book.select(self.Book, self.Author).join(self.Author).limit(self.count)
        for book in query:
            assert book.author.name

    def prefetch(self) -> None:
        authors = self.Author.select().limit(self.count // BOOKS_OF_EACH)
        for author in peewee.prefetch(authors, self.Book.select().where(self.Book.price < 10)):
            len(author.books)

    def open_and_read(self) -> None:
        # A connection is kept open, as a server's are: what is timed is one more.
        kept = self.database._state.conn
        for _ in range(self.count // 10):
            connection = self.database._connect()
            connection.execute("select 1 from author limit 1").fetchall()
            connection.close()
        assert self.database._state.conn is kept


# What is timed, and whether it depends on the durability.
OPERATIONS: dict[str, tuple[Callable[[Program], None], bool]] = {
    "insert": (Program.insert, True),
    "bulk insert, 100 rows a statement": (Program.bulk_insert, True),
    "update": (Program.update, True),
    "transaction of 10 updates, per update": (Program.transaction, True),
    "get by key": (Program.get_by_key, False),
    "filter, 10 rows": (Program.filter, False),
    "joined load, per row": (Program.joined_load, False),
    "prefetch, per row": (Program.prefetch, False),
    "open, read, close (x 0.1)": (Program.open_and_read, False),
}


def stock(path: Path, durability: str) -> peewee.SqliteDatabase:
    pragmas = {"journal_mode": "wal", "synchronous": contenders.SYNCHRONOUS[durability]}
    return peewee.SqliteDatabase(path, pragmas=pragmas)


def ours(path: Path, durability: str) -> DoSQLDatabase:
    return DoSQLDatabase(path, durability=durability)


def compare(how: Settings, durability: str) -> Table:
    table = Table(
        f"durability={durability}", ("operation", "SqliteDatabase us", "DoSQLDatabase us", "ratio")
    )
    count = how.scaled(2000, 200)
    programs = {
        "stock": Program(stock(how.scratch / f"stock-{durability}.db", durability), count),
        "ours": Program(ours(how.scratch / f"ours-{durability}.db", durability), count),
    }
    for name, (operation, writes) in OPERATIONS.items():
        if durability != "normal" and not writes:
            continue
        told = alternate(
            {whose: partial(operation, program) for whose, program in programs.items()},
            count,
            rounds=how.rounds(9),
        )
        speed = told["ours"].speed_against(told["stock"])
        table.add(
            name,
            told["stock"].microseconds,
            told["ours"].microseconds,
            ratio(speed, RATIO_AIM),
        )
    for program in programs.values():
        program.database.close()
    return table


def main() -> None:
    with settings(__doc__) as how:
        tables = [compare(how, durability) for durability in ("normal", "full")]
        finish("orm_peewee", "Peewee", tables, how)


if __name__ == "__main__":
    main()

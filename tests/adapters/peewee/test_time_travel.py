"""Peewee models read as of a moment, joined with the present and with other moments."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("peewee")

import peewee
from peewee import OperationalError, SelectQuery

from fixtures.peewee_library import Library, opened_library
from peewee_dosql import as_of


@pytest.fixture
def library(database_path: Path) -> Iterator[Library]:
    with opened_library(database_path) as library:
        yield library


def rename(library: Library, title: str, price: int) -> None:
    library.Book.update(title=title, price=price).execute()


def test_a_model_is_read_as_of_an_lsn(library: Library) -> None:
    before = library.database.lsn
    rename(library, "Planet of Exile", 12)
    Past = library.Book.as_of(before)
    assert [book.title for book in Past.select()] == ["Rocannon's World"]
    assert library.titles() == ["Planet of Exile"]


def test_one_query_joins_two_moments_and_the_present(library: Library) -> None:
    first = library.database.lsn
    rename(library, "Planet of Exile", 12)
    second = library.database.lsn
    rename(library, "City of Illusions", 15)
    Book, Was, Were = library.Book, library.Book.as_of(first), as_of(library.Book, second)
    query = (
        Book.select(Book.title, Was.title.alias("first"), Were.price.alias("second_price"))
        .join(Was, on=(Was.id == Book.id))
        .join(Were, on=(Were.id == Book.id))
        .where((Were.price > Was.price) & (Book.title == "City of Illusions"))
    )
    assert list(query.tuples()) == [("City of Illusions", "Rocannon's World", 12)]


def test_a_foreign_key_is_followed_within_the_past(library: Library) -> None:
    before = library.database.lsn
    library.Author.update(name="U. K. Le Guin").execute()
    Book, Author = library.Book.as_of(before), library.Author.as_of(before)
    (book,) = Book.select(Book, Author).join(Author)
    assert book.author.name == "Le Guin"


def test_the_past_serves_as_a_subquery(library: Library) -> None:
    before = library.database.lsn
    library.Book.create(author=1, title="The Dispossessed")
    Past = library.Book.as_of(before)
    new = library.Book.select().where(library.Book.id.not_in(Past.select(Past.id)))
    assert [book.title for book in new] == ["The Dispossessed"]


def test_the_past_joins_with_itself(library: Library) -> None:
    before = library.database.lsn
    library.Book.delete().execute()
    One, Other = library.Book.as_of(before), library.Book.as_of(before, alias="other")
    query = One.select(Other.title).join(Other, on=(One.id == Other.id))
    assert query.scalar() == "Rocannon's World"


@pytest.mark.parametrize(
    "moment",
    [
        "snapshot:before",
        "branch:kept",
        "lsn:-1",
        -1,
        "branch:kept@lsn:{lsn}",
        "snapshot:main@{lsn}",
        "lsn:{lsn}",
    ],
)
def test_a_moment_is_named_as_when_connecting(library: Library, moment: int | str) -> None:
    library.database.execute_sql("CREATE SNAPSHOT before")
    library.database.execute_sql("CREATE BRANCH kept")
    lsn = library.database.lsn
    rename(library, "Planet of Exile", 12)
    asked = moment.format(lsn=lsn) if isinstance(moment, str) else moment
    assert library.Book.as_of(asked).select().get().title == "Rocannon's World"
    with library.database.as_of(asked):
        assert library.titles() == ["Rocannon's World"]


@pytest.mark.parametrize("kind", ["datetime", "text"])
def test_a_moment_may_be_a_time(library: Library, kind: str) -> None:
    now = datetime.datetime.now(datetime.UTC)
    moment = now if kind == "datetime" else now.isoformat(" ")
    rename(library, "Planet of Exile", 12)
    assert library.Book.as_of(moment).select().get().title == "Rocannon's World"


def test_a_block_reads_everything_as_of_a_moment(library: Library) -> None:
    before = library.database.lsn
    rename(library, "Planet of Exile", 12)
    with library.database.as_of(before) as database:
        assert library.titles() == ["Rocannon's World"]
        with database.atomic():
            assert library.Book.select().count() == 1
    assert library.titles() == ["Planet of Exile"]


def test_the_past_cannot_be_written(library: Library) -> None:
    with library.database.as_of(library.database.lsn), pytest.raises(OperationalError) as raised:
        rename(library, "never", 0)
    assert raised.value.orig.code == "DB_READ_ONLY"


def test_the_schema_of_the_moment_applies(library: Library) -> None:
    before = library.database.lsn
    library.database.execute_sql("ALTER TABLE book RENAME COLUMN price TO cents")
    with library.database.as_of(before):
        assert [column.name for column in library.database.get_columns("book")][-1] == "price"


def test_a_moment_that_never_was_is_an_error_with_its_code(library: Library) -> None:
    query: SelectQuery = library.Book.as_of(10_000).select()
    with pytest.raises(OperationalError) as raised:
        list(query)
    assert raised.value.orig.code == "TT_LSN_NOT_AVAILABLE"


def test_descriptions_of_commits_are_no_table_of_the_program(library: Library) -> None:
    before = library.database.get_tables()
    with library.database.connection().transaction(author="ann"):
        library.database.execute_sql("create table extra(x)")
    assert library.database.get_tables() == sorted([*before, "extra"])


def test_every_way_to_get_one_row_reads_the_past(library: Library) -> None:
    before = library.database.lsn
    rename(library, "Planet of Exile", 12)
    Past = library.Book.as_of(before)
    (key,) = (book.id for book in library.Book.select())
    rows = [
        Past.get(),
        Past.get(key),
        Past.get(Past.id == key),
        Past.get(title="Rocannon's World"),
        Past.get_or_none(id=key),
        Past.get_by_id(key),
        Past.filter(id=key, title__startswith="Roc").get(),
    ]
    assert {row.title for row in rows} == {"Rocannon's World"}
    assert Past.get_or_none(title="Planet of Exile") is None


def test_a_row_of_the_past_is_got_by_a_key_of_two_columns(library: Library) -> None:
    class Loan(library.database.Model):  # type: ignore[name-defined]
        book = peewee.IntegerField()
        reader = peewee.IntegerField()
        days = peewee.IntegerField()

        class Meta:
            primary_key = peewee.CompositeKey("book", "reader")

    library.database.create_tables([Loan])
    Loan.create(book=1, reader=2, days=7)
    before = library.database.lsn
    Loan.update(days=14).execute()
    assert Loan.as_of(before).get_by_id((1, 2)).days == 7


@pytest.mark.parametrize(
    "write",
    [
        lambda Past: Past.create(title="The Word for World Is Forest"),
        lambda Past: Past.insert(title="The Word for World Is Forest"),
        lambda Past: Past.update(title="The Word for World Is Forest"),
        lambda Past: Past.delete(),
        lambda Past: Past.delete_by_id(1),
        lambda Past: Past.drop_table(),
    ],
)
def test_the_past_of_a_model_writes_nothing_to_the_present(library: Library, write: Any) -> None:
    with pytest.raises(peewee.NotSupportedError, match="cannot be written"):
        write(library.Book.as_of(-1))

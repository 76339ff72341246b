"""The same work through Django's ORM, on its SQLite backend and on DoSQL, at equal durability."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import contenders
from measure import Settings, Table, alternate, finish, ratio, settings

BACKENDS = {"sqlite3": "django.db.backends.sqlite3", "dosql": "django_dosql"}
AUTHORS = 50
BOOKS_PER_AUTHOR = 20
AIM = 1.0


def configure(how: Settings, durability: str) -> None:
    """Two databases, a file each; Django has one configuration a process."""
    import django
    from django.conf import settings as django_settings

    databases: dict[str, dict[str, Any]] = {}
    for alias, engine in BACKENDS.items():
        databases[alias] = {"ENGINE": engine, "NAME": how.scratch / f"{alias}.db"}
    synchronous = contenders.SYNCHRONOUS[durability]
    databases["sqlite3"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "init_command": f"PRAGMA journal_mode=wal; PRAGMA synchronous={synchronous}",
    }
    databases["dosql"]["OPTIONS"] = {"durability": durability}
    django_settings.configure(
        DATABASES={"default": databases["sqlite3"], **databases},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
    )
    django.setup()


def define_models() -> tuple[Any, Any]:
    from django.db import connections, models

    class Author(models.Model):
        name = models.CharField(max_length=80, db_index=True)

        class Meta:
            app_label = "benchmark"

    class Book(models.Model):
        title = models.CharField(max_length=80)
        pages = models.IntegerField()
        price = models.DecimalField(max_digits=8, decimal_places=2)
        published = models.DateTimeField()
        is_lent = models.BooleanField(default=False)
        author = models.ForeignKey(Author, models.CASCADE, related_name="books")

        class Meta:
            app_label = "benchmark"

    for alias in BACKENDS:
        with connections[alias].schema_editor() as editor:
            editor.create_model(Author)
            editor.create_model(Book)
    return Author, Book


class Work:
    """What one contender is asked to do; each method does `count` operations."""

    def __init__(self, alias: str, author_model: Any, book_model: Any) -> None:
        self.alias = alias
        self.authors = author_model.objects.using(alias)
        self.books = book_model.objects.using(alias)
        self.author_model, self.book_model = author_model, book_model
        self.numbers = itertools.count(1)
        self.fill()

    def new_book(self, author_id: int = 1) -> Any:
        import datetime
        from decimal import Decimal

        number = next(self.numbers)
        return self.book_model(
            title=f"book {number}",
            pages=number % 900,
            price=Decimal(number % 5000) / 100,
            published=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
            is_lent=number % 2 == 0,
            author_id=author_id,
        )

    def fill(self) -> None:
        self.authors.bulk_create(
            self.author_model(name=f"author {number}") for number in range(AUTHORS)
        )
        for author in self.authors.all():
            self.books.bulk_create(self.new_book(author.pk) for _ in range(BOOKS_PER_AUTHOR))
        self.first_key = self.books.order_by("pk")[0].pk

    def insert(self, count: int) -> None:
        for _ in range(count):
            self.new_book().save(using=self.alias)

    def insert_in_one_transaction(self, count: int) -> None:
        from django.db import transaction

        with transaction.atomic(using=self.alias):
            self.insert(count)

    def bulk_insert(self, count: int) -> None:
        self.books.bulk_create([self.new_book() for _ in range(count)])

    def get_by_key(self, count: int) -> None:
        for number in range(count):
            self.books.get(pk=self.first_key + number % 1000)

    def filter(self, count: int) -> None:
        for number in range(count):
            list(self.books.filter(author_id=1 + number % AUTHORS, pages__gt=10)[:20])

    def read_all(self, count: int) -> None:
        list(self.books.all()[:count])

    def values(self, count: int) -> None:
        list(self.books.values_list("pk", "title", "published")[:count])

    def update(self, count: int) -> None:
        for number in range(count):
            self.books.filter(pk=self.first_key + number % 1000).update(pages=number)

    def transaction_of_ten(self, count: int) -> None:
        from django.db import transaction

        for _ in range(count):
            with transaction.atomic(using=self.alias):
                self.update(10)

    def prefetch(self, count: int) -> None:
        for _ in range(count):
            for author in self.authors.prefetch_related("books")[2:12]:
                len(author.books.all())

    def joined_load(self, count: int) -> None:
        for number in range(count):
            some = self.books.filter(author_id=1 + number % AUTHORS).select_related("author")
            [book.author.name for book in some[:20]]

    def open_and_close(self, count: int) -> None:
        from django.db import connections

        for _ in range(count):
            self.authors.first()
            connections[self.alias].close()


CASES: tuple[tuple[str, Callable[[Work, int], None], int], ...] = (
    ("insert, a commit each", Work.insert, 100),
    ("insert, one transaction", Work.insert_in_one_transaction, 300),
    ("bulk_create", Work.bulk_insert, 1000),
    ("get by key", Work.get_by_key, 500),
    ("filter, 20 rows", Work.filter, 100),
    ("read 1000 objects", Work.read_all, 1000),
    ("values_list of 1000", Work.values, 1000),
    ("update, a commit each", Work.update, 100),
    ("transaction of 10 updates", Work.transaction_of_ten, 20),
    ("prefetch_related", Work.prefetch, 10),
    ("select_related, 20 rows", Work.joined_load, 50),
    ("open, read a row, close", Work.open_and_close, 30),
)


def compare(how: Settings, work: dict[str, Work]) -> Table:
    table = Table(
        "Django's ORM, WAL, synchronous=FULL and durability=full",
        ("work", "sqlite3 us", "dosql us", "dosql / sqlite3"),
    )
    for title, method, full_count in CASES:
        count = how.scaled(full_count, max(1, full_count // 5))
        timings = alternate(
            {alias: partial(method, work[alias], count) for alias in BACKENDS},
            count,
            rounds=how.rounds(9),
        )
        theirs, ours = timings["sqlite3"], timings["dosql"]
        table.add(
            title, theirs.microseconds, ours.microseconds, ratio(ours.speed_against(theirs), AIM)
        )
    return table


def main() -> None:
    with settings(__doc__) as how:
        configure(how, "full")
        author_model, book_model = define_models()
        work = {alias: Work(alias, author_model, book_model) for alias in BACKENDS}
        finish("orm_django", "Django's ORM", [compare(how, work)], how)


if __name__ == "__main__":
    main()

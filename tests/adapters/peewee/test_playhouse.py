"""The modules of playhouse that work on SqliteDatabase work on DoSQLDatabase."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

pytest.importorskip("peewee")

from peewee import CharField, IntegerField, fn
from playhouse import kv, migrate, shortcuts, signals, sqlite_ext
from playhouse.dataset import DataSet
from playhouse.hybrid import hybrid_property
from playhouse.reflection import Introspector
from playhouse.test_utils import count_queries

from fixtures.peewee_library import Library, opened_library
from peewee_dosql import DoSQLModel


@pytest.fixture
def library(database_path: Path) -> Iterator[Library]:
    with opened_library(database_path) as library:
        yield library


def test_migrate_changes_tables_and_the_past_keeps_its_schema(library: Library) -> None:
    before = library.database.lsn
    migrator = migrate.SchemaMigrator.from_database(library.database)
    assert isinstance(migrator, migrate.SqliteMigrator)
    migrate.migrate(
        migrator.add_column("book", "pages", IntegerField(null=True)),
        migrator.rename_column("book", "title", "name"),
        migrator.drop_column("book", "price"),
        migrator.add_index("book", ("name",), True),
    )
    columns = [column.name for column in library.database.get_columns("book")]
    assert columns == ["id", "author_id", "name", "pages"]
    with library.database.as_of(before):
        assert library.titles() == ["Rocannon's World"]


def test_a_migration_is_tried_on_a_branch(library: Library) -> None:
    library.database.execute_sql("CREATE BRANCH trial")
    with library.database.branch("trial"):
        migrator = migrate.SqliteMigrator(library.database)
        migrate.migrate(migrator.drop_column("book", "price"))
        assert "price" not in {c.name for c in library.database.get_columns("book")}
    assert "price" in {c.name for c in library.database.get_columns("book")}


def test_reflection_generates_the_models(library: Library) -> None:
    models = Introspector.from_database(library.database).generate_models()
    assert models["book"].select().join(models["author"]).get().title == "Rocannon's World"


def test_dataset_reads_and_makes_tables(library: Library) -> None:
    dataset = DataSet(library.database)
    dataset["shelf"].insert(name="A", books=3)
    dataset["shelf"].insert(name="B", rows=2)
    assert [row["rows"] for row in dataset["shelf"].all()] == [None, 2]
    assert dataset["book"].find_one(id=1)["title"] == "Rocannon's World"


def test_a_key_value_store_lives_in_the_database(library: Library) -> None:
    store = kv.KeyValue(database=library.database)
    store["a"], store["b"] = 1, [2]
    store.update(a=3)
    assert (store["a"], store["b"], len(store)) == (3, [2], 2)


def test_signals_are_sent(library: Library) -> None:
    class Shelf(signals.Model):
        name = CharField()

        class Meta:
            database = library.database

    saved = []
    signals.post_save(sender=Shelf)(lambda _sender, shelf, created: saved.append(shelf.name))
    library.database.create_tables([Shelf])
    Shelf.create(name="A")
    assert saved == ["A"]


def test_hybrid_properties_reach_into_the_past(library: Library) -> None:
    class Book(DoSQLModel):
        price = IntegerField()

        @hybrid_property
        def doubled(self) -> Any:
            return self.price * 2

        class Meta:
            database = library.database

    before = library.database.lsn
    Book.update(price=100).execute()
    Past = Book.as_of(before)
    assert Past.select(Past.doubled).tuples().get() == (20,)


def test_shortcuts_turn_models_into_dictionaries(library: Library) -> None:
    told = shortcuts.model_to_dict(library.Book.get(), recurse=True)
    assert told["author"]["name"] == "Le Guin"
    with count_queries() as counter:
        shortcuts.dict_to_model(library.Book, told).save()
    assert counter.count == 1


def test_json_and_full_text_search(library: Library) -> None:
    class Note(DoSQLModel):
        data = sqlite_ext.JSONField()

        class Meta:
            database = library.database

    class Text(sqlite_ext.FTS5Model):
        body = sqlite_ext.SearchField()

        class Meta:
            database = library.database
            options: ClassVar = {"tokenize": "porter"}

    library.database.create_tables([Note, Text])
    Note.create(data={"tags": ["a", "b"], "n": {"deep": 1}})
    Text.create(body="worlds of exile and illusion")
    before = library.database.lsn
    Note.update(data={}).execute()
    Text.delete().execute()
    Past = Note.as_of(before)
    assert Past.select(fn.json_extract(Past.data, "$.n.deep")).scalar() == 1
    assert Note.get().data == {}
    with library.database.as_of(before):
        assert [row.body for row in Text.search_bm25("world")] == ["worlds of exile and illusion"]
        assert Note.select(Note.data["tags"][1]).scalar() == "b"


def test_functions_collations_and_aggregates_of_a_program(library: Library) -> None:
    class Longest:
        longest = ""

        def step(self, text: str) -> None:
            self.longest = max(self.longest, text, key=len)

        def finalize(self) -> str:
            return self.longest

    database, Book = library.database, library.Book
    database.register_function(lambda text: text[::-1], "reversed", 1)
    database.register_aggregate(Longest, "longest", 1)
    database.register_collation(lambda a, b: (a > b) - (a < b), "plain")
    Book.create(author=1, title="Orsinia")
    before = database.lsn
    assert Book.select(fn.longest(Book.title)).scalar() == "Rocannon's World"
    assert Book.select().where(fn.reversed(Book.title) == "ainisrO").count() == 1
    with database.as_of(before):
        assert Book.select(fn.longest(Book.title)).scalar() == "Rocannon's World"

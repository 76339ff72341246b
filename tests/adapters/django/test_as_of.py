"""Reading the past through Django's ORM, and what may not be done with what was read there."""

from __future__ import annotations

import datetime
import pickle

import pytest

pytest.importorskip("django")

from django.db import DatabaseError, NotSupportedError, connection, connections, transaction

from django_dosql import as_of, describe_commit


@pytest.fixture
def renamed(library):
    """An author who was called Ann when `lsn` was committed, and has books."""
    author = library.Author.objects.create(name="Ann")
    library.Book.objects.create(title="First", author=author)
    lsn = connection.lsn
    author.name = "Anna"
    author.save()
    library.Book.objects.create(title="Second", author=author)
    return author, lsn


def test_a_queryset_reads_a_moment(library, renamed):
    _author, lsn = renamed
    assert library.Author.objects.as_of(lsn).get().name == "Ann"
    assert library.Author.objects.get().name == "Anna"


def test_a_queryset_is_still_one_after_as_of(library, renamed):
    _author, lsn = renamed
    books = library.Book.objects.as_of(lsn).filter(author__name="Ann").exclude(title="Second")
    assert [book.title for book in books.order_by("title")] == ["First"]
    assert library.Book.objects.filter(title="Second").as_of(lsn).count() == 0


def test_relations_are_followed_in_the_same_past(library, renamed):
    _author, lsn = renamed
    book = library.Book.objects.as_of(lsn).get()
    assert book.author.name == "Ann"
    assert [other.title for other in book.author.books.all()] == ["First"]
    fetched = library.Author.objects.as_of(lsn).prefetch_related("books").get()
    assert [book.title for book in fetched.books.all()] == ["First"]


@pytest.mark.parametrize("form", ["lsn", "text", "datetime", "naive", "snapshot", "relative"])
def test_a_moment_can_be_told_in_many_ways(library, form):
    author = library.Author.objects.create(name="Ann")
    with connection.cursor() as cursor:
        cursor.execute("SELECT committed_at FROM dosql_log ORDER BY lsn DESC LIMIT 1")
        told = datetime.datetime.fromisoformat(cursor.fetchone()[0])
        cursor.execute("CREATE SNAPSHOT before")
    lsn = connection.lsn
    author.name = "Anna"
    author.save()
    moment = {
        "lsn": lsn,
        "text": f"lsn:{lsn}",
        "datetime": told.replace(tzinfo=datetime.UTC),
        "naive": told.replace(tzinfo=datetime.UTC).astimezone().replace(tzinfo=None),
        "snapshot": "snapshot:before",
        "relative": -1,
    }[form]
    if form == "naive":  # in Django's time zone, not in UTC
        from django.utils import timezone

        with timezone.override(datetime.timezone(datetime.timedelta(hours=5))):
            local = told + datetime.timedelta(hours=5)
            assert library.Author.objects.as_of(local).get().name == "Ann"
        return
    assert library.Author.objects.as_of(moment).get().name == "Ann"


def test_everything_in_a_block_reads_the_past(library, renamed):
    _author, lsn = renamed
    with as_of(lsn):
        assert library.Author.objects.get().name == "Ann"
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM django_library_author")
            assert cursor.fetchall() == [("Ann",)]
        with as_of(None):
            assert library.Author.objects.get().name == "Anna"
    assert library.Author.objects.get().name == "Anna"


def test_a_block_concerns_one_database(library, renamed):
    _author, lsn = renamed
    library.Author.objects.using("other").create(name="Otto")
    with as_of(lsn):
        assert library.Author.objects.using("other").get().name == "Otto"


def test_a_transaction_in_the_past_can_only_read(library, renamed):
    _author, lsn = renamed
    with as_of(lsn), transaction.atomic():
        assert library.Author.objects.get().name == "Ann"
        with pytest.raises(DatabaseError, match="past cannot be written"):
            library.Author.objects.update(name="Otto")
    assert library.Author.objects.get().name == "Anna"


def test_an_object_of_the_past_is_not_saved_by_accident(library, renamed):
    _author, lsn = renamed
    with as_of(lsn):
        former = library.Author.objects.get()
    former.name = "Otto"
    with pytest.raises(DatabaseError, match="past cannot be written"):
        former.save()
    with pytest.raises(DatabaseError, match="past cannot be written"):
        former.delete()
    assert library.Author.objects.get().name == "Anna"


def test_an_object_of_the_past_is_saved_where_it_is_told_to(library, renamed):
    _author, lsn = renamed
    library.Author.objects.as_of(lsn).get().save(using="default")
    assert library.Author.objects.get().name == "Ann"


def test_the_present_does_not_refer_to_the_past(library, renamed):
    _author, lsn = renamed
    book = library.Book.objects.get(title="Second")
    with pytest.raises(ValueError, match="router prevents"):
        book.author = library.Author.objects.as_of(lsn).get()


def test_an_object_of_the_past_is_pickled_with_its_moment(library, renamed):
    _author, lsn = renamed
    stored = pickle.dumps(library.Book.objects.as_of(lsn).get())
    connections.close_all()
    assert pickle.loads(stored).author.name == "Ann"


def test_one_statement_joins_two_moments(library, renamed):
    _author, lsn = renamed
    sql = (
        "SELECT present.id, present.name, former.name AS former_name "
        "FROM django_library_author AS present "
        "JOIN django_library_author FOR SYSTEM_TIME AS OF LSN %s AS former USING (id)"
    )
    (found,) = library.Author.objects.raw(sql, [lsn])
    assert (found.name, found.former_name) == ("Anna", "Ann")


def test_a_moment_that_never_was_is_refused_at_once(library, renamed):
    with pytest.raises(DatabaseError) as refused:
        library.Author.objects.as_of(10_000)
    assert refused.value.__cause__.code == "TT_LSN_NOT_AVAILABLE"
    with pytest.raises(DatabaseError), as_of("snapshot:none"):
        pytest.fail("the block must not be entered")


def test_a_database_without_history_says_so(library):
    connections["other"].close()
    del connections["other"]
    connections.settings["other"]["OPTIONS"] = {"history": False}
    connections.settings["other"]["NAME"] = ":memory:"
    with pytest.raises(NotSupportedError):
        library.Author.objects.using("other").as_of(1)


def test_more_moments_than_stay_open_can_be_read(library):
    names = [f"author {number}" for number in range(40)]
    author = library.Author.objects.create(name="nobody")
    lsns = []
    for author.name in names:
        author.save()
        lsns.append(connection.lsn)
    objects = [library.Author.objects.as_of(lsn).get() for lsn in lsns]
    assert [former.name for former in objects] == names
    assert len(connections.all(initialized_only=True)) < len(names) / 2
    objects[0].refresh_from_db()  # closed long ago, and opened again
    assert objects[0].name == names[0]


def test_descriptions_of_commits_are_no_table_of_the_program(library, renamed):
    before = connection.introspection.table_names(include_views=True)
    with transaction.atomic():
        describe_commit(author="ann")
        library.Author.objects.create(name="Eve")
    assert connection.introspection.table_names(include_views=True) == before


def test_every_version_of_a_row_can_be_asked_for_in_sql(migrated_library):
    author = migrated_library.Author.objects.create(name="Ann")
    author.name = "Anna"
    author.save()
    table = migrated_library.Author._meta.db_table
    versions = migrated_library.Author.objects.raw(
        f"SELECT *, _dosql_operation AS operation FROM {table} FOR SYSTEM_TIME ALL "
        "WHERE id = %s ORDER BY _dosql_lsn",
        [author.pk],
    )
    assert [(v.name, v.operation) for v in versions] == [("Ann", "insert"), ("Anna", "update")]

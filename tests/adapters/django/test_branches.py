"""Working on branches through Django: in blocks, by the settings, and across transactions."""

from __future__ import annotations

import pytest

pytest.importorskip("django")

from django.core.management import call_command
from django.db import (
    NotSupportedError,
    OperationalError,
    connection,
    connections,
    transaction,
)
from django.db.utils import ConnectionDoesNotExist

from django_dosql import as_of, branch, describe_commit


@pytest.fixture
def dev(library):
    """A branch `dev` of a library that has one author."""
    library.Author.objects.create(name="Ann")
    with connection.cursor() as cursor:
        cursor.execute("CREATE BRANCH dev")
    yield "dev"
    connections.close_all()


def names(library):
    return sorted(author.name for author in library.Author.objects.all())


def test_what_is_written_in_a_block_stays_on_its_branch(library, dev):
    with branch(dev):
        library.Author.objects.create(name="Bea")
        assert names(library) == ["Ann", "Bea"]
        assert connection.branch == "dev"
    assert names(library) == ["Ann"]
    assert connection.branch == "main"


def test_a_transaction_in_a_block_is_one_of_the_branch(library, dev):
    with branch(dev):
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            library.Author.objects.create(name="Bea")
            raise ZeroDivisionError
        with transaction.atomic():
            library.Author.objects.create(name="Cleo")
        assert names(library) == ["Ann", "Cleo"]


def test_a_transaction_of_main_stays_open_around_a_block(library, dev):
    with transaction.atomic():
        library.Author.objects.create(name="Bea")
        with branch(dev):
            library.Author.objects.create(name="Cleo")
        transaction.set_rollback(True)
    assert names(library) == ["Ann"]
    with branch(dev):
        assert names(library) == ["Ann", "Cleo"]


def test_the_past_of_a_branch_is_read_in_its_block(library, dev):
    with branch(dev):
        library.Author.objects.create(name="Bea")
        lsn = connection.lsn
        library.Author.objects.create(name="Cleo")
        with as_of(lsn):
            assert names(library) == ["Ann", "Bea"]
        assert library.Author.objects.as_of("branch:main").count() == 1


def test_a_branch_that_is_not_there_is_refused_at_once(library):
    for name in ("nowhere", "main@1"):
        with pytest.raises(OperationalError, match="no branch"), branch(name):
            pytest.fail("the block must not be entered")


def test_the_settings_choose_a_branch(library, dev):
    connections.settings["default"]["OPTIONS"] = {"branch": dev}
    connections.close_all()
    del connections["default"]
    assert connection.branch == "dev"
    library.Author.objects.create(name="Bea")
    connections.settings["default"]["OPTIONS"] = {}
    connections.close_all()
    del connections["default"]
    assert names(library) == ["Ann"]


def test_a_schema_is_changed_on_a_branch_only(library, dev):
    def tables():
        return connection.introspection.table_names()

    with branch(dev):
        call_command("migrate", "contenttypes", verbosity=0)
        assert "django_content_type" in tables()
    assert "django_content_type" not in tables()


def test_a_commit_tells_who_made_it_and_why(library):
    with transaction.atomic():
        describe_commit(author="ann@example.org", message="a new author")
        library.Author.objects.create(name="Ann")
    with connection.cursor() as cursor:
        cursor.execute("SELECT author, message FROM dosql_log ORDER BY lsn DESC LIMIT 1")
        assert cursor.fetchone() == ("ann@example.org", "a new author")
    with pytest.raises(transaction.TransactionManagementError):
        describe_commit(message="of nothing")


def test_a_database_that_is_not_in_the_settings_is_refused(library):
    for use in (
        lambda: branch("main", using="unheard of").__enter__(),
        lambda: as_of(1, using="unheard of").__enter__(),
        lambda: library.Author.objects.using("unheard of@main").count(),
    ):
        with pytest.raises(ConnectionDoesNotExist):
            use()


def test_a_database_of_another_backend_has_no_branches(library, tmp_path):
    connections.settings["stock"] = {
        **connections.settings["default"],
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": tmp_path / "stock.sqlite3",
    }
    try:
        with pytest.raises(NotSupportedError, match=r"'stock'.*no history"):
            branch("main", using="stock").__enter__()
    finally:
        connections["stock"].close()
        del connections["stock"], connections.settings["stock"]

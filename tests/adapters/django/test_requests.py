"""Requests that choose a branch or a moment by header or cookie, and the admin's history view."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("django")

from asgiref.sync import sync_to_async
from django.db import connection, connections, transaction
from django.test import AsyncClient, Client, override_settings

from django_dosql import branch, describe_commit


@pytest.fixture
def chosen(migrated_library):
    """Headers by name: a moment before Bea joined Ann, and a branch where Cleo did."""
    author = migrated_library.Author
    author.objects.create(name="Ann")
    lsn = connection.lsn
    with connection.cursor() as cursor:
        cursor.execute("CREATE BRANCH dev")
    author.objects.create(name="Bea")
    with branch("dev"):
        author.objects.create(name="Cleo")
    return {
        "moment": {"X-DoSQL-As-Of": str(lsn)},
        "branch": {"X-DoSQL-Branch": "dev"},
        "before": {"X-DoSQL-As-Of": "-1"},
        "both": {"X-DoSQL-Branch": "dev", "X-DoSQL-As-Of": str(lsn)},
    }


@pytest.fixture
def staff(migrated_library):
    from django.contrib.auth.models import User

    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("moment", ["Ann"]),
        ("before", ["Ann", "Bea"]),
        ("branch", ["Ann", "Cleo"]),
        ("both", ["Ann"]),
    ],
)
def test_a_header_chooses_what_a_request_reads(chosen, staff, choice, expected):
    response = staff.get("/names", headers=chosen[choice])
    assert response.json()["names"] == expected
    assert "no-store" in response["Cache-Control"]
    assert staff.get("/names").json()["names"] == ["Ann", "Bea"]


def test_a_cookie_chooses_too(chosen, staff):
    staff.cookies["dosql_branch"] = "dev"
    assert staff.get("/names").json()["names"] == ["Ann", "Cleo"]


def test_who_may_not_choose_gets_the_present(chosen):
    response = Client().get("/names", headers=chosen["branch"])
    assert response.json()["names"] == ["Ann", "Bea"]
    assert "Cache-Control" not in response
    with override_settings(DOSQL_REQUEST_ALLOWED="fixtures.django_project.everybody"):
        response = Client().get("/names", headers=chosen["branch"])
    assert response.json()["names"] == ["Ann", "Cleo"]


def test_a_request_writes_on_its_branch(chosen, staff, migrated_library):
    staff.get("/add?name=Dora", headers=chosen["branch"])
    assert not migrated_library.Author.objects.filter(name="Dora").exists()
    with branch("dev"):
        assert migrated_library.Author.objects.filter(name="Dora").exists()


@pytest.mark.parametrize("header", ["X-DoSQL-Branch", "X-DoSQL-As-Of"])
def test_what_is_not_there_is_a_bad_request(staff, header):
    assert staff.get("/names", headers={header: "nowhere@9"}).status_code == 400


def test_a_streamed_response_is_read_where_the_request_was_sent(chosen, staff):
    response = staff.get("/streamed-names", headers=chosen["moment"])
    assert b"".join(response.streaming_content) == b"names: Ann"


def test_an_asynchronous_view_is_sent_there_too(chosen):
    async def get():
        client = AsyncClient()
        # The thread that coroutines share may have a connection of another test's database.
        await sync_to_async(connections.close_all)()
        with override_settings(DOSQL_REQUEST_ALLOWED="fixtures.django_project.everybody"):
            response = await client.get("/names-async", headers=chosen["branch"])
        return response.json()["names"]

    assert asyncio.run(get()) == ["Ann", "Cleo"]


def test_the_admin_shows_the_versions_of_a_row(staff, migrated_library):
    author = migrated_library.Author.objects.create(name="Ann")
    migrated_library.Author.objects.create(name="somebody else")
    with transaction.atomic():
        describe_commit(author="editor", message="married")
        author.name = "Anna <b>"
        author.save()
    page = staff.get(f"/admin/django_library/author/{author.pk}/history/").content.decode()
    shown = page[page.index('id="row-history"') :]
    assert shown.count('<th scope="row">') == 2
    assert "changed: married" in shown
    assert "<del>Ann</del>" in shown
    assert "Anna &lt;b&gt;" in shown
    assert "somebody else" not in shown


def test_the_versions_of_a_row_are_read_in_parts(migrated_library):
    from django_dosql.row_history import changes_of_row

    author = migrated_library.Author.objects.create(name="0")
    for number in range(1, 6):
        author.name = str(number)
        author.save()
    author_key = author.pk
    author.delete()
    (change,), _ = changes_of_row(
        migrated_library.Author, author_key, "default", changes_max=1, hidden=["id"]
    )
    assert change.changed == [("name", "5", None)]
    last, seen = None, []
    while True:
        changes, last = changes_of_row(
            migrated_library.Author, author_key, "default", last=last, changes_max=2
        )
        seen += [(change.action, (change.after or {}).get("name")) for change in changes]
        if last is None:
            break
    changed = [("changed", str(number)) for number in range(5, 0, -1)]
    assert seen == [("deleted", None), *changed, ("added", "0")]


def test_how_a_row_came_to_be_before_the_oldest_moment_is_not_told(migrated_library):
    from django_dosql.row_history import changes_of_row
    from dosql_core.database import open_database
    from dosql_core.options import Retention

    author = migrated_library.Author.objects.create(name="0")
    for number in range(1, 4):
        author.name = str(number)
        author.save()
    with open_database(connections["default"].settings_dict["NAME"]) as database:
        database.set_retention(Retention(commits_max=2))
        database.compact()
    changes, older = changes_of_row(migrated_library.Author, author.pk, "default")
    assert [change.changed for change in changes] == [[("name", "2", "3")], [("name", "1", "2")]]
    assert older is None


def test_a_table_that_never_was_has_no_versions(migrated_library):
    from django_dosql.row_history import changes_of_row

    with connections["default"].cursor() as cursor:
        cursor.execute("DROP TABLE django_library_book")
        cursor.execute("DROP TABLE django_library_author")
    changes, _ = changes_of_row(migrated_library.Author, 1, "default")
    assert changes == []


def test_a_database_without_history_has_no_versions(staff, tmp_path):
    connections.close_all()
    connections.settings["default"]["OPTIONS"] = {"history": False}
    del connections["default"]
    page = staff.get("/admin/django_library/author/1/history/", follow=True)
    assert page.status_code == 200
    assert 'id="row-history"' not in page.content.decode()

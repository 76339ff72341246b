"""`manage.py dosql`, `dbshell` and `inspectdb`, and what OPTIONS means."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("django")

from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from django_dosql import branch


def dosql(*words):
    told = io.StringIO()
    call_command("dosql", *words, stdout=told)
    return told.getvalue()


def opened_with(**options):
    """The default connection, opened anew with these OPTIONS."""
    connections.close_all()
    connections.settings["default"]["OPTIONS"] = options
    del connections["default"]
    return connections["default"]


def test_the_log_shows_the_last_commits(library):
    library.Author.objects.create(name="Ann")
    lines = dosql("log", "--limit", "2").splitlines()
    assert lines[0].split() == ["lsn", "committed_at", "pages", "bytes", "author", "message"]
    assert [line.split()[0] for line in lines[1:]] == [
        str(connection.lsn),
        str(connection.lsn - 1),
    ]


def test_branches_are_made_renamed_and_dropped(library):
    dosql("branch", "create", "dev")
    dosql("branch", "rename", "dev", "trial run")
    assert [line.split("  ")[0] for line in dosql("branch").splitlines()[1:]] == [
        "main",
        "trial run",
    ]
    assert dosql("branch", "list") == dosql("branch")
    with branch("trial run"):
        library.Author.objects.create(name="Ann")
    assert "1" in dosql("--branch", "trial run", "log", "-n", "1")
    dosql("branch", "drop", "trial run", "--force")
    with pytest.raises(CommandError, match="no branch"):
        dosql("--branch", "trial run", "log")


def test_a_branch_is_merged(library):
    author = library.Author.objects.create(name="Ann")
    dosql("branch", "create", "dev")
    with branch("dev"):
        library.Author.objects.create(name="Bob")
        library.Author.objects.filter(pk=author.pk).update(name="Anna")
    library.Author.objects.filter(pk=author.pk).update(name="Annie")
    with pytest.raises(CommandError, match="--using"):
        dosql("branch", "merge", "dev")
    told = dosql("branch", "merge", "dev", "--using", "theirs").splitlines()
    assert dict(zip(told[0].split(), told[1].split(), strict=False))["lsn"] == str(connection.lsn)
    names = library.Author.objects.order_by("name").values_list("name", flat=True)
    assert list(names) == ["Anna", "Bob"]


def test_a_snapshot_is_restored(library):
    library.Author.objects.create(name="Ann")
    dosql("snapshot", "create", "before")
    library.Author.objects.all().delete()
    assert "before" in dosql("snapshot", "list")
    assert dosql("restore", "snapshot:before").startswith("restored: lsn ")
    assert library.Author.objects.get().name == "Ann"
    dosql("snapshot", "drop", "before")
    assert "before" not in dosql("snapshot")


def test_one_table_is_restored(library):
    author = library.Author.objects.create(name="Ann")
    lsn = connection.lsn
    library.Book.objects.create(title="First", author=author)
    author.name = "Anna"
    author.save()
    assert dosql("restore", str(lsn), "--table", "django_library_author") == "restored: rows 1\n"
    assert library.Author.objects.get().name == "Ann"
    assert library.Book.objects.count() == 1


def test_another_command_runs_on_a_branch(library):
    dosql("branch", "create", "dev")
    dosql("on", "dev", "migrate", "contenttypes", "--verbosity", "0")
    assert "django_content_type" not in connection.introspection.table_names()
    with branch("dev"):
        assert "django_content_type" in connection.introspection.table_names()


def test_another_engine_is_refused(library):
    with pytest.raises(CommandError, match="no 'nowhere'"):
        dosql("--database", "nowhere", "log")


def test_dbshell_opens_the_shell_on_the_same_place(library, tmp_path):
    wrapper = opened_with(branch="dev", durability="normal")
    words, environment = wrapper.client.settings_to_cmd_args_env(wrapper.settings_dict, ["-json"])
    path = tmp_path / "default.db"
    assert words[:3] == [sys.executable, "-m", "dosql_core.command_line"]
    expected = ["shell", "--branch", "dev", "--durability", "normal", path, "-json"]
    assert (words[3:], environment) == (expected, None)


def test_dbshell_runs_statements(library, capfd):
    library.Author.objects.create(name="Ann")
    call_command("dbshell", "--", "select name from django_library_author")
    assert capfd.readouterr().out == "Ann\n"


def test_inspectdb_writes_the_models(library):
    told = io.StringIO()
    call_command("inspectdb", "django_library_book", stdout=told)
    assert "author = models.ForeignKey('DjangoLibraryAuthor', models.DO_NOTHING)" in told.getvalue()


@pytest.mark.parametrize(
    ("options", "begins"),
    [
        ({}, "BEGIN IMMEDIATE"),
        ({"transaction_mode": "DEFERRED"}, "BEGIN DEFERRED"),
        ({"transaction_mode": None}, "BEGIN"),
    ],
)
def test_an_atomic_block_begins_as_it_is_told_to(library, options, begins):
    wrapper = opened_with(**options)
    with CaptureQueriesContext(wrapper) as captured, transaction.atomic():
        pass
    assert captured[0]["sql"] == begins


def test_options_reach_the_database(library):
    wrapper = opened_with(durability="off", timeout=1, init_command="PRAGMA cache_size=77")
    with wrapper.cursor() as cursor:
        assert cursor.execute("PRAGMA synchronous").fetchone() == (0,)
        assert cursor.execute("PRAGMA cache_size").fetchone() == (77,)


def test_retention_is_given_by_name(library):
    from dosql_dbapi import Retention

    wrapper = opened_with(retention={"commits_max": 10})
    assert wrapper.get_connection_params()["retention"] == Retention(commits_max=10)
    library.Author.objects.create(name="Ann")
    wrapper = opened_with(retention={"commits": 10})
    with pytest.raises(ImproperlyConfigured, match="has commits; it takes age_seconds"):
        wrapper.ensure_connection()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"brnach": "dev"}, r"no such option; did you mean 'branch'\?"),
        ({"journal_mode": "wal"}, "there are as_of, autocommit, branch"),
        ({"branch": 7}, r"\['branch'\] is 7; it must be the name of a branch"),
        ({"retention": 5}, "is 5; it must be a dictionary"),
    ],
)
def test_an_option_that_is_wrong_is_named(library, options, told):
    with pytest.raises(ImproperlyConfigured, match=told):
        opened_with(**options).ensure_connection()


def test_a_moment_in_the_settings_makes_the_database_read_only(library):
    library.Author.objects.create(name="Ann")
    lsn = connection.lsn
    library.Author.objects.create(name="Bea")
    opened_with(as_of=lsn)
    assert library.Author.objects.get().name == "Ann"
    with pytest.raises(OperationalError):
        library.Author.objects.create(name="Cleo")


def test_a_file_replaced_between_connections_is_opened_anew(library, tmp_path):
    library.Author.objects.create(name="Ann")
    path = tmp_path / "default.db"
    connection.close()
    shutil.rmtree(f"{path}-dosql")
    for file in tmp_path.glob("default.db*"):
        file.unlink()
    program = (
        "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('create table note (text)')"
    )
    subprocess.run([sys.executable, "-c", program, path], check=True)
    assert connection.introspection.table_names() == ["note"]


def test_memory_is_opened_again_while_it_is_written(library):
    connections.settings["other"]["NAME"] = "file:shared?mode=memory&cache=shared"
    first = connections["other"].copy()
    second = connections["other"].copy()
    first.set_autocommit(False, force_begin_transaction_with_broken_autocommit=True)
    try:
        second.ensure_connection()
    finally:
        first.rollback()
        first._close()
        second._close()

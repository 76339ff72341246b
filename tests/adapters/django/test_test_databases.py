"""`manage.py test` of a project: in memory, in files whose clones are branches, kept, removed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("django")

TESTS = Path(__file__).parents[2]
SETTINGS = """
from pathlib import Path

SECRET_KEY = "a key for tests"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["fixtures.django_library"]
DATABASES = {"default": {"ENGINE": "django_dosql", "NAME": "app.db"}}
"""
IN_A_FILE = 'DATABASES["default"]["TEST"] = {"NAME": Path("test.db")}\n'
ITS_TESTS = '''
from django.db import connection
from django.test import TestCase, TransactionTestCase
from django_dosql import branch
from fixtures.django_library.models import Author


class Rows:
    """Every class finds an empty table, and leaves rows that no other may see."""

    def test_rows(self):
        self.assertEqual(Author.objects.count(), 0)
        Author.objects.create(name="Ann")
        with open(f"branch of {type(self).__name__}", "w") as file:
            file.write(str(connection.branch))


class First(Rows, TestCase):
    pass


class Second(Rows, TestCase):
    pass


class Third(Rows, TransactionTestCase):
    def test_the_past(self):
        if connection.branch is None:
            self.skipTest("memory has no past")
        Author.objects.create(name="Ann")
        lsn = connection.lsn
        Author.objects.all().delete()
        self.assertEqual(Author.objects.as_of(lsn).get().name, "Ann")


class Fourth(Rows, TransactionTestCase):
    def test_forks_that_stay(self):
        if connection.branch is None:
            self.skipTest("memory has no branches")
        with connection.cursor() as cursor:
            cursor.execute(f'CREATE BRANCH IF NOT EXISTS "of {connection.branch}"')
        with branch(f"of {connection.branch}"):
            Author.objects.create(name="Ann")
            with connection.cursor() as cursor:
                cursor.execute(f'CREATE BRANCH IF NOT EXISTS "of {connection.branch}"')
'''


@pytest.fixture
def project(tmp_path):
    (tmp_path / "test_library.py").write_text(ITS_TESTS, "utf-8")
    return tmp_path


def run_tests(project, settings, *words):
    (project / "project_settings.py").write_text(SETTINGS + settings, "utf-8")
    program = f"import sys; sys.path[:0] = [{str(project)!r}, {str(TESTS)!r}]; "
    program += "from django.core.management import execute_from_command_line as run; "
    program += "run(['manage.py', 'test', '--settings', 'project_settings', *sys.argv[1:]])"
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, "--noinput", *words],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stderr


def branches_seen(project):
    return {file.read_text("utf-8") for file in project.glob("branch of *")}


def left_behind(project):
    return sorted(entry.name for entry in project.iterdir() if ".db" in entry.name)


def test_clones_in_a_file_are_branches(project):
    told = run_tests(project, IN_A_FILE, "--parallel", "2")
    assert "Ran 6 tests" in told
    assert branches_seen(project) == {"test_1", "test_2"}
    assert left_behind(project) == []


def test_a_kept_database_is_used_again(project):
    for _ in range(2):
        told = run_tests(project, IN_A_FILE, "--parallel", "2", "--keepdb")
        assert "Ran 6 tests" in told
        assert {"test.db", "test.db-dosql"} <= set(left_behind(project))
    run_tests(project, IN_A_FILE)
    assert branches_seen(project) == {"main"}
    assert left_behind(project) == []


@pytest.mark.parametrize("processes", ["1", "2"])
def test_without_a_name_the_tests_run_in_memory(project, processes):
    told = run_tests(project, "", "--parallel", processes)
    assert "skipped=2" in told
    assert branches_seen(project) == {"None"}
    assert not (project / "app.db").exists()


def test_without_history_clones_are_copies(project):
    settings = IN_A_FILE + 'DATABASES["default"]["OPTIONS"] = {"history": False}\n'
    told = run_tests(project, settings, "--parallel", "2")
    assert "skipped=2" in told
    assert branches_seen(project) == {"None"}
    assert left_behind(project) == []

"""Django's own tests, every label that touches the database, on its SQLite backend and on ours."""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path

import pytest

from suites.django.labels import LABELS
from suites.fetch import ARCHIVES, fetch
from suites.running import Verdicts, publish, run_suite, undeclared

HERE = Path(__file__).parent
SECONDS_MAX = 3 * 3600.0
# Two processes clone the test database: as branches of a file. Python 3.12.1 skips tests without
# starting them, and Django gives other tests their names then; later versions do not.
PROCESSES = {"memory": 1, "file": 2}
ARCHIVE_OF = {"5": "django", "6": "django6"}
ENGINES = {"stock": "django.db.backends.sqlite3", "ours": "django_dosql"}

# Tests that pass on Django's SQLite backend and not on ours, by id, with the reason.
_CLONES = "skipped: clones of a test database are branches in the same file"
_CREATION = "backends.sqlite.test_creation.TestDbSignatureTests"
_BEGIN = "skipped: atomic() begins with IMMEDIATE unless the settings say otherwise"
NOT_PASSED = {
    "backends.sqlite.tests.TestTransactionMode.test_default_transaction_mode": _BEGIN,
    "backends.base.test_base.DatabaseWrapperLoggingTests.test_commit_debug_log": _BEGIN,
    f"{_CREATION}.test_get_test_db_clone_settings_name": _CLONES,
    "dbshell.test_sqlite.SqliteDbshellCommandTestCase."
    "test_non_zero_exit_status_when_path_to_db_is_path": (
        "skipped: dbshell runs DoSQL's shell, not sqlite3's"
    ),
}
NOT_PASSED_ON_6 = {
    f"{_CREATION}.test_setup_worker_connection_respects_test_database_name": (
        "skipped: the processes of a parallel run open clones with DoSQL, not with sqlite3"
    ),
}
NOT_PASSED_IN_FILES = {
    f"{_CREATION}.test_get_test_db_clone_settings_not_supported": (
        "skipped, by Django's own backend, too: it is about databases in memory"
    ),
    "servers.tests.LiveServerInMemoryDatabaseLockTest.test_in_memory_database_lock": (
        "skipped, by Django's own backend, too: it is about databases in memory"
    ),
    "backends.sqlite.tests.ThreadSharing.test_database_sharing_in_threads": (
        "skipped: it fails on Django's backend, too, where the first of the tests above did not "
        "open a connection before"
    ),
} | {
    f"test_runner.test_debug_sql.TestDebugSQL.{name}": (
        "asks before it deletes the file that the run itself uses, as Django's own backend does"
    )
    for name in ("test_output_normal", "test_output_verbose", "test_setupclass_exception")
}

SETTINGS = """
import os
from pathlib import Path

import django

os.environ["DOSQL_SUITE_VERDICTS"] = {verdicts!r}

def _database(name):
    settings = {{"ENGINE": {engine!r}}}
    if {folder!r}:
        settings["NAME"] = str(Path({folder!r}, f"{{name}}.db"))
        settings["TEST"] = {{"NAME": str(Path({folder!r}, f"test_{{name}}.db"))}}
    return settings

DATABASES = {{"default": _database("default"), "other": _database("other")}}
TEST_RUNNER = "recording_runner.RecordingRunner"
SECRET_KEY = "django_tests_secret_key"  # which a test expects
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
if django.VERSION < (6,):  # as the settings that come with the suite
    DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
"""

pytestmark = [
    pytest.mark.suite,
    pytest.mark.leaves_damage("it is up to the suite what becomes of its databases"),
]


@pytest.fixture(scope="module")
def archive() -> Path:
    """The unpacked sources of the Django that is installed."""
    installed = importlib.metadata.version("django")
    name = ARCHIVE_OF[installed.split(".")[0]]
    assert installed == ARCHIVES[name].version, "the suite must be that of the version it tests"
    return fetch(name)


@pytest.fixture(scope="module")
def stock(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Verdicts:
    """What becomes of the tests on Django's own backend.

    In memory: in a file it trips over tests that close each other's connections.
    """
    return run(archive, "stock", "memory", tmp_path_factory.mktemp("stock"))


@pytest.mark.parametrize("setting", ["memory", "file"])
def test_what_passes_on_djangos_backend_passes(
    setting: str, archive: Path, stock: Verdicts, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    ours = run(archive, "ours", setting, tmp_path)
    publish(
        pytestconfig,
        "django-suite",
        ours,
        stock,
        under=f"Django {importlib.metadata.version('django')}",
        part="in-memory database" if setting == "memory" else "database file",
    )
    declared = NOT_PASSED | (NOT_PASSED_IN_FILES if setting == "file" else {})
    if importlib.metadata.version("django").startswith("6."):
        declared |= NOT_PASSED_ON_6
    # The processes of a parallel run give classes and subtests that are skipped other names.
    compared = {name: v for name, v in ours.items() if name in stock or v.outcome == "failed"}
    expected = {name: v for name, v in stock.items() if name in ours or v.outcome == "passed"}
    assert undeclared(compared, expected, declared) == []


def run(archive: Path, contender: str, setting: str, tmp_path: Path) -> Verdicts:
    folder = tmp_path / contender
    shutil.copytree(archive / "tests", folder / "tests")
    # Some of Django's tests look for its sources, its licence and its documents beside them.
    shutil.copytree(archive / "docs", folder / "docs")
    verdicts = tmp_path / f"{contender}.json"
    settings = SETTINGS.format(
        verdicts=str(verdicts),
        engine=ENGINES[contender],
        folder="" if setting == "memory" else str(folder),
    )
    (folder / "suite_settings.py").write_text(settings, "utf-8")
    command = ["runtests.py", "--settings", "suite_settings", "--noinput", "--verbosity", "0"]
    return run_suite(
        [*command, "--parallel", str(PROCESSES[setting]), *LABELS],
        verdicts,
        folder / "tests",
        swapped=False,
        timeout_seconds=SECONDS_MAX,
        python_path=[folder, HERE],
    )

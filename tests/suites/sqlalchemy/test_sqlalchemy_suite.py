"""SQLAlchemy's dialect suite with its own requirements, on the stock dialect and on ours.

And parts of its own tests, those that are nearest to a dialect, in a database file.
"""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path

import pytest

from suites.fetch import ARCHIVES, fetch
from suites.running import Verdicts, count, publish, run_suite, undeclared

CHILD = Path(__file__).parents[1] / "sqlalchemy_testing.py"
SECONDS_MAX = 900.0
PASSED_MIN = 250  # of a part of its own tests, on the stock dialect
ARCHIVE_OF = {"2.0": "sqlalchemy20", "2.1": "sqlalchemy"}

# Tests that pass on the stock dialect and not on ours, by id, with the reason.
NOT_PASSED = {
    "test/dialect/test_suite.py::LastrowidTest::test_native_lastrowid_autoinc": "skipped: the "
    "suite's requirements ask for drivers whose cursors have `lastrowid` by their names; ours has "
    "it, which tests/adapters/sqlalchemy/test_statements.py shows",
}

_DRIVER = "skipped: it is for drivers of SQLite by their names"
NOT_PASSED_OF_ITS_OWN = {
    "test/dialect/sqlite/test_reflection.py::KeywordInDatabaseNameTest::test_reflect": "detaches a "
    "database in the transaction of its definitions, which can be rolled back with this dialect",
    "test/engine/test_execute.py::ExecuteDriverTest::test_exception_wrapping_orig_accessors": "the "
    "classes of errors say `dosql_core`, where they are defined, as their module",
    "test/engine/test_execute.py::HandleErrorTest::"
    "test_cursor_close_resultset_failed_connectionless": _DRIVER,
    "test/engine/test_execute.py::HandleErrorTest::"
    "test_cursor_close_resultset_failed_explicit": _DRIVER,
    "test/engine/test_execute.py::OnConnectTest::test_initialize_connect_calls": _DRIVER,
    "test/engine/test_execute.py::OnConnectTest::test_initialize_connect_race": _DRIVER,
}
# Where only the other dialect has tests: those of logging are for one driver by its name, and those
# of JSONB for a SQLite that has it.
ONE_SIDED = ("test/engine/test_logging.py::", "test/dialect/sqlite/test_types.py::JSONBTest::")

pytestmark = [
    pytest.mark.suite,
    pytest.mark.leaves_damage("it is up to the suite what becomes of its databases"),
]


@pytest.fixture(scope="module")
def archive() -> Path:
    """The unpacked sources of the SQLAlchemy that is installed."""
    installed = importlib.metadata.version("sqlalchemy")
    name = ARCHIVE_OF[".".join(installed.split(".")[:2])]
    assert installed == ARCHIVES[name].version, "the suite must be that of the version it tests"
    return fetch(name)


@pytest.mark.parametrize("setting", ["memory", "file"])
def test_what_passes_on_the_stock_dialect_passes(
    setting: str, archive: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    stock = run(archive, "sqlite", setting, tmp_path)
    ours = run(archive, "dosql", setting, tmp_path)
    publish(
        pytestconfig,
        "sqlalchemy-suite",
        ours,
        stock,
        under=f"SQLAlchemy {importlib.metadata.version('sqlalchemy')}",
        part="in-memory database" if setting == "memory" else "database file",
    )
    # The suite goes through the compilers it finds, and so has a test more with ours.
    shared = {name: v for name, v in ours.items() if name in stock or v.outcome != "passed"}
    assert undeclared(shared, stock, NOT_PASSED) == []


@pytest.mark.parametrize("part", ["test/dialect/sqlite", "test/engine"])
def test_what_passes_of_its_own_on_the_stock_dialect_passes(
    part: str, archive: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    if not (archive / part).exists():
        pytest.skip("SQLAlchemy 2.0 has the tests of its dialects in one file each")
    stock = run(archive, "sqlite", "file", tmp_path, part)
    assert count(stock, "passed") >= PASSED_MIN
    ours = run(archive, "dosql", "file", tmp_path, part)
    publish(
        pytestconfig,
        "sqlalchemy-suite",
        ours,
        stock,
        under=f"SQLAlchemy {importlib.metadata.version('sqlalchemy')}",
        part=part,
    )
    for name in [name for name in stock.keys() ^ ours.keys() if name.startswith(ONE_SIDED)]:
        stock.pop(name, None)
        ours.pop(name, None)
    declared = {k: reason for k, reason in NOT_PASSED_OF_ITS_OWN.items() if k.startswith(part)}
    assert undeclared(ours, stock, declared) == []


def run(
    archive: Path,
    scheme: str,
    setting: str,
    tmp_path: Path,
    part: str = "test/dialect/test_suite.py",
) -> Verdicts:
    folder = tmp_path / scheme
    for configuration in ("setup.cfg", "pyproject.toml"):
        folder.mkdir(exist_ok=True)
        shutil.copy(archive / configuration, folder)
    shutil.copytree(archive / "test", folder / "test")
    shutil.copytree(archive / "lib" / "sqlalchemy" / "testing", folder / "lib/sqlalchemy/testing")
    verdicts = tmp_path / f"{scheme}.json"
    url = f"{scheme}://" if setting == "memory" else f"{scheme}:///suite.db"
    return run_suite(
        ["-s", CHILD, part, url, verdicts],
        verdicts,
        folder,
        swapped=False,
        timeout_seconds=SECONDS_MAX,
    )

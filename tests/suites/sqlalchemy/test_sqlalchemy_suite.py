"""SQLAlchemy's dialect suite with its own requirements, on the stock dialect and on ours."""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path

import pytest

from suites.fetch import ARCHIVES, fetch
from suites.running import Verdicts, publish, run_suite, undeclared

CHILD = Path(__file__).parents[1] / "sqlalchemy_testing.py"
SECONDS_MAX = 900.0
ARCHIVE_OF = {"2.0": "sqlalchemy20", "2.1": "sqlalchemy"}

# Tests that pass on the stock dialect and not on ours, by id, with the reason.
NOT_PASSED = {
    "test/dialect/test_suite.py::LastrowidTest::test_native_lastrowid_autoinc": "skipped: the "
    "suite's requirements ask for drivers whose cursors have `lastrowid` by their names; ours has "
    "it, which tests/adapters/sqlalchemy/test_statements.py shows",
}

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


def run(archive: Path, scheme: str, setting: str, tmp_path: Path) -> Verdicts:
    folder = tmp_path / scheme
    for part in ("setup.cfg", "pyproject.toml"):
        folder.mkdir(exist_ok=True)
        shutil.copy(archive / part, folder)
    shutil.copytree(archive / "test", folder / "test")
    shutil.copytree(archive / "lib" / "sqlalchemy" / "testing", folder / "lib/sqlalchemy/testing")
    verdicts = tmp_path / f"{scheme}.json"
    url = f"{scheme}://" if setting == "memory" else f"{scheme}:///suite.db"
    return run_suite(
        ["-s", CHILD, "test/dialect/test_suite.py", url, verdicts],
        verdicts,
        folder,
        swapped=False,
        timeout_seconds=SECONDS_MAX,
    )

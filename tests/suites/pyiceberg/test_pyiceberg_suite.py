"""pyiceberg's own integration tests for a catalog of others, on ours served over HTTP.

"Stock" is pyiceberg's SQL catalog on a SQLite file.
"""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path

import pytest

pytest.importorskip("pyiceberg")

from fixtures.catalog_server import catalog_served
from suites.fetch import ARCHIVES, fetch
from suites.running import Verdicts, publish, run_suite

CHILD = Path(__file__).with_name("child.py")
SECONDS_MAX = 600.0
TESTS_COUNT = 44
OURS, STOCK = "rest_test_catalog", "sqlite_catalog_file"
# Tests that do not pass, by name, with the reason.
NOT_PASSED = {
    "test_rest_custom_namespace_separator": "wants a server that was configured to join the levels "
    "of namespaces by dots; ours joins them as the specification does by default, so that a name "
    "may hold dots",
}

pytestmark = pytest.mark.suite


@pytest.mark.leaves_damage("it is up to the suite what becomes of its databases")
def test_pyicebergs_tests_pass(
    tmp_path: Path, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = importlib.metadata.version("pyiceberg")
    assert installed == ARCHIVES["pyiceberg"].version, "the suite must be that of what it tests"
    stock = run(tmp_path / "stock", STOCK)
    with catalog_served(tmp_path) as server:
        monkeypatch.setenv("PYICEBERG_TEST_CATALOG", "ours")
        monkeypatch.setenv("PYICEBERG_CATALOG__OURS__TYPE", "rest")
        monkeypatch.setenv("PYICEBERG_CATALOG__OURS__URI", server.url)
        ours = run(tmp_path / "ours", OURS, server.url)
    publish(
        pytestconfig,
        "pyiceberg-suite",
        ours,
        stock,
        under=f"pyiceberg {installed}",
        part="integration/test_catalog.py",
    )
    assert len(ours) == TESTS_COUNT
    not_passed = {name: told for name, told in ours.items() if told.outcome != "passed"}
    assert not_passed.keys() == NOT_PASSED.keys(), not_passed


def run(folder: Path, catalog: str, *url: str) -> Verdicts:
    """The verdicts on the tests of one of the suite's catalogs."""
    folder.mkdir()
    shutil.copytree(fetch("pyiceberg") / "tests", folder / "tests")
    verdicts = folder / "verdicts.json"
    return run_suite(
        ["-s", CHILD, verdicts, catalog, *url],
        verdicts,
        folder,
        swapped=False,
        python_path=[folder],
        timeout_seconds=SECONDS_MAX,
    )

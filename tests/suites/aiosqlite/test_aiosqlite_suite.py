"""aiosqlite's own tests with dosql_dbapi.aio as the module, beside what they give on aiosqlite."""

from __future__ import annotations

from pathlib import Path

import pytest

from suites.fetch import ARCHIVES, fetch
from suites.running import Verdicts, publish, run_suite, undeclared

CHILD = Path(__file__).with_name("child.py")
TESTS_COUNT = 30
NOT_PASSED: dict[str, str] = {}

pytestmark = pytest.mark.suite


def run_tests(folder: Path, *, swapped: bool) -> Verdicts:
    """The verdicts on all of its tests."""
    verdicts_file = folder / "verdicts.json"
    return run_suite(
        [CHILD, fetch("aiosqlite"), verdicts_file, "ours" if swapped else "stock"],
        verdicts_file,
        folder,
        swapped=swapped,
        timeout_seconds=300.0,
    )


@pytest.mark.leaves_damage("it is up to the suite what becomes of its databases")
def test_aiosqlites_tests_pass(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    stock = run_tests(tmp_path / "stock", swapped=False)
    ours = run_tests(tmp_path / "ours", swapped=True)
    publish(
        pytestconfig, "aiosqlite", ours, stock, under=f"aiosqlite {ARCHIVES['aiosqlite'].version}"
    )
    assert len(ours) == TESTS_COUNT
    assert undeclared(ours, stock, NOT_PASSED) == []

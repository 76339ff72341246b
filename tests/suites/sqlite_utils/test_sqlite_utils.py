"""sqlite-utils' own tests with sqlite3 meaning DoSQL, beside what they give on stock sqlite3."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from suites.fetch import ARCHIVES, fetch
from suites.running import Verdicts, count, publish, run_suite, undeclared
from suites.sqlite_utils.not_passed import NOT_PASSED, TIMED

CHILD = Path(__file__).with_name("child.py")
SECONDS_MAX = 1200.0
TESTS_COUNT_MIN = 1480
SECOND_CHANCES = 3

pytestmark = pytest.mark.suite


def run_tests(folder: Path, *tests: str, swapped: bool) -> Verdicts:
    """The verdicts on these tests, or on all, run on a copy: some write beside themselves."""
    source = folder / "source"
    shutil.copytree(fetch("sqlite-utils"), source)
    verdicts_file = folder / "verdicts.json"
    return run_suite(
        [CHILD, source, verdicts_file, *tests],
        verdicts_file,
        folder / "work",
        swapped=swapped,
        timeout_seconds=SECONDS_MAX,
        python_path=[source],
    )


def run_all(folder: Path, *, swapped: bool) -> Verdicts:
    """The verdicts on all of its tests; one that waited too short a time gets a second chance."""
    verdicts = run_tests(folder / "all", swapped=swapped)
    for attempt in range(SECOND_CHANCES):
        again = [test for test in TIMED if verdicts[test].outcome == "failed"]
        if again:
            verdicts |= run_tests(folder / f"again-{attempt}", *again, swapped=swapped)
    return verdicts


@pytest.mark.leaves_damage("it is up to the suite what becomes of its databases")
def test_what_does_not_pass_is_declared(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    stock = run_all(tmp_path / "stock", swapped=False)
    ours = run_all(tmp_path / "ours", swapped=True)
    publish(
        pytestconfig,
        "sqlite-utils",
        ours,
        stock,
        under=f"sqlite-utils {ARCHIVES['sqlite-utils'].version}",
    )
    assert count(stock, "passed") >= TESTS_COUNT_MIN
    assert undeclared(ours, stock, NOT_PASSED) == []

"""Peewee's own tests, on its SqliteDatabase and on our DoSQLDatabase.

The archives of Peewee that the package index serves leave its tests out, so they come from a folder
that DOSQL_PEEWEE_SOURCE names: a checkout, or what a Linux distribution builds its package from. It
holds peewee.py and tests/, which run together. Versions up to 3.18 are known to run; Peewee 4 is
what tests/adapters/peewee runs with.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from fixtures.run_options import skip_or_fail
from suites.running import Verdicts, publish, run_suite, undeclared

CHILD = Path(__file__).with_name("child.py")
SECONDS_MAX = 900.0
COLLECTED_MIN = 900

# Tests that pass on the stock database and not on ours, by id, with the reason.
NOT_PASSED: dict[str, str] = {}
# Registers a function while the thread that shall call it opens its connection, and fails on either
# database when that thread comes first; run again by itself before it counts as failed.
TIMED = ("tests.sqliteq.TestThreadedDatabaseThreads.test_timeout",)
SECOND_CHANCES = 3

pytestmark = [
    pytest.mark.suite,
    pytest.mark.leaves_damage("it is up to the suite what becomes of its databases"),
]


@pytest.fixture(scope="module")
def source(pytestconfig: pytest.Config) -> Path:
    """The folder that holds peewee.py and its tests."""
    named = os.environ.get("DOSQL_PEEWEE_SOURCE", "")
    folder = Path(named).resolve()
    if not named or not (folder / "tests" / "base.py").exists():
        skip_or_fail(pytestconfig, "a source of Peewee with its tests (DOSQL_PEEWEE_SOURCE)")
    return folder


def version(source: Path) -> str:
    found = re.search(r"__version__ = '(.*)'", (source / "peewee.py").read_text("utf-8"))
    assert found is not None
    return found[1]


def run_all(source: Path, backend: str, folder: Path) -> Verdicts:
    """The verdicts on all of its tests; one that lost a race gets a second chance."""
    verdicts = run(source, backend, folder / backend)
    for attempt in range(SECOND_CHANCES):
        again = [test for test in TIMED if verdicts[test].outcome == "failed"]
        if again:
            verdicts |= run(source, backend, folder / f"{backend}-again-{attempt}", *again)
    return verdicts


def run(source: Path, backend: str, folder: Path, *tests: str) -> Verdicts:
    verdicts = folder / "verdicts.json"
    return run_suite(
        [CHILD, source, backend, verdicts, *tests],
        verdicts,
        folder / "work",
        swapped=False,
        timeout_seconds=SECONDS_MAX,
        python_path=[source],
    )


def test_what_passes_on_the_stock_database_passes(
    source: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    stock = run_all(source, "stock", tmp_path)
    ours = run_all(source, "dosql", tmp_path)
    publish(pytestconfig, "peewee-suite", ours, stock, under=f"Peewee {version(source)}")
    assert undeclared(ours, stock, NOT_PASSED) == []
    assert len(ours) >= COLLECTED_MIN

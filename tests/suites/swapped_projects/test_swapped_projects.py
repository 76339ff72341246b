"""Tests of projects that use `sqlite3` themselves, on stock sqlite3 and with DoSQL in its place.

Each is run by pytest in a copy of its archive, with a home folder of its own; `sqlite3` is DoSQL in
the second run (../swapped).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from suites.fetch import ARCHIVES, fetch
from suites.running import Verdicts, count, publish, run_suite, undeclared

TESTS = Path(__file__).parents[2]
CHILD = TESTS / "suites" / "stand_in.py"
SECONDS_MAX = 900.0


@dataclass(frozen=True, slots=True)
class Project:
    """What of an archive is run.

    Shape: `words` are pytest's. `passed_min` guards against a run that collected next to nothing.
           `not_passed` are tests that pass on stock sqlite3 only, by id, with the reason.
    """

    title: str
    words: tuple[str, ...]
    passed_min: int
    not_passed: Mapping[str, str] = field(default_factory=dict)


# By the name of its archive in ../fetch.py.
PROJECTS = {
    "aiosql": Project(
        "aiosql",
        ("tests/test_sqlite3.py", "tests/test_aiosqlite.py", "tests/test_loading.py"),
        40,
    ),
    "beets": Project(
        "beets", ("test/dbcore", "test/library", "test/test_library.py", "test/ui"), 700
    ),
    "dataset": Project("dataset", ("test",), 60),
    "ipython": Project(
        "IPython's history",
        (
            "tests/test_history.py",
            # These count the files beside the database, where DoSQL keeps its own; one that fails
            # keeps objects alive, which the tests after it count.
            "--deselect=tests/test_history.py::test_get_tail_without_count_keeps_history_file",
            "--deselect=tests/test_history.py::test_history_trim_cli",
        ),
        30,
    ),
    "litecli": Project(
        "litecli",
        ("tests",),
        200,
        not_passed={
            "tests/test_sqlexecute.py::test_invalid_unicode_values_dont_choke": "reads TEXT that "
            "is not UTF-8, which the SQLite inside does not give out"
        },
    ),
    "pony": Project("Pony ORM", ("pony/orm/tests",), 3800),
}

pytestmark = [
    pytest.mark.suite,
    pytest.mark.leaves_damage("it is up to the suite what becomes of its databases"),
]


@pytest.mark.parametrize("name", PROJECTS)
def test_what_passes_on_stock_sqlite3_passes(
    name: str, tmp_path: Path, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    project = PROJECTS[name]
    stock = run(name, tmp_path / "stock", swapped=False)
    assert count(stock, "passed") >= project.passed_min
    ours = run(name, tmp_path / "ours", swapped=True)
    publish(
        pytestconfig,
        "swapped-projects",
        ours,
        stock,
        under=f"{project.title} {ARCHIVES[name].version}",
    )
    assert undeclared(ours, stock, project.not_passed) == []


def run(name: str, folder: Path, *, swapped: bool) -> Verdicts:
    source = folder / "source"
    shutil.copytree(fetch(name), source)
    verdicts = folder / "verdicts.json"
    return run_suite(
        [CHILD, "stock", verdicts, *PROJECTS[name].words],
        verdicts,
        source,
        swapped=swapped,
        timeout_seconds=SECONDS_MAX,
        python_path=[source, TESTS],
    )

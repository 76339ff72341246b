"""Tests of projects built on Django or SQLAlchemy, on stock SQLite and on DoSQL.

Each is run by pytest in a copy of its archive; what it asks for as SQLite is DoSQL
(../stand_in.py).
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
SECONDS_MAX = 1200.0


@dataclass(frozen=True, slots=True)
class Project:
    """What of an archive is run.

    Shape: `words` are pytest's. `python_path` are folders of the archive to import from.
           `passed_min` guards against a run that collected next to nothing. `not_passed` are tests
           that pass on stock SQLite only, by id, with the reason.
    """

    title: str
    words: tuple[str, ...]
    passed_min: int
    python_path: tuple[str, ...] = (".",)
    not_passed: Mapping[str, str] = field(default_factory=dict)


# By the name of its archive in ../fetch.py.
PROJECTS = {
    "djangorestframework": Project("Django REST framework", ("tests",), 1500),
    "django-filter": Project("django-filter", ("--ds=tests.settings", "tests"), 400),
    "django-treebeard": Project(
        "django-treebeard",
        # What is left out is about labels of PostgreSQL, and times how fast they are made.
        ("--ds=tests.settings", "tests", "--ignore=tests/test_ltree_utils.py"),
        2000,
    ),
    "flask-sqlalchemy": Project("Flask-SQLAlchemy", ("tests",), 350),
    "sqlmodel": Project(
        "SQLModel",
        ("tests", "--ignore=tests/test_docs_cleanup.py"),  # of a script that is not in the archive
        240,
    ),
    "sqlalchemy-utils": Project("SQLAlchemy-Utils", ("tests",), 2000),
}

pytestmark = [
    pytest.mark.suite,
    pytest.mark.leaves_damage("it is up to the suite what becomes of its databases"),
]


@pytest.mark.parametrize("name", PROJECTS)
def test_what_passes_on_stock_sqlite_passes(
    name: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    project, archive = PROJECTS[name], ARCHIVES[name]
    stock = run(name, "stock", tmp_path)
    assert count(stock, "passed") >= project.passed_min
    ours = run(name, "dosql", tmp_path)
    publish(
        pytestconfig,
        "third-party",
        ours,
        stock,
        under=f"{project.title} {archive.version}",
    )
    assert undeclared(ours, stock, project.not_passed) == []


def run(name: str, backend: str, tmp_path: Path) -> Verdicts:
    folder = tmp_path / backend
    shutil.copytree(fetch(name), folder)
    verdicts = tmp_path / f"{backend}.json"
    project = PROJECTS[name]
    return run_suite(
        [CHILD, backend, verdicts, *project.words],
        verdicts,
        folder,
        swapped=False,
        timeout_seconds=SECONDS_MAX,
        python_path=[*(folder / path for path in project.python_path), TESTS],
    )

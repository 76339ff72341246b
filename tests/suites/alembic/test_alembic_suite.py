"""Alembic's own tests, on the stock dialect and on ours."""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path

import pytest

from suites.fetch import ARCHIVES, fetch
from suites.running import Verdicts, publish, run_suite, undeclared

CHILD = Path(__file__).parents[1] / "sqlalchemy_testing.py"
SECONDS_MAX = 1200.0

# Tests that pass on the stock dialect and not on ours, by id, with the reason.
NOT_PASSED: dict[str, str] = {}

pytestmark = [
    pytest.mark.suite,
    pytest.mark.leaves_damage("it is up to the suite what becomes of its databases"),
]


def test_what_passes_on_the_stock_dialect_passes(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    installed = importlib.metadata.version("alembic")
    assert installed == ARCHIVES["alembic"].version, "the suite must be that of what it tests"
    stock, ours = run("sqlite", tmp_path), run("dosql", tmp_path)
    publish(
        pytestconfig,
        "alembic-suite",
        ours,
        stock,
        under=f"Alembic {installed}, SQLAlchemy {importlib.metadata.version('sqlalchemy')}",
    )
    assert undeclared(ours, stock, NOT_PASSED) == []


def run(scheme: str, tmp_path: Path) -> Verdicts:
    folder = tmp_path / scheme
    shutil.copytree(fetch("alembic"), folder)
    verdicts = tmp_path / f"{scheme}.json"
    return run_suite(
        ["-s", CHILD, "tests", f"{scheme}://", verdicts],
        verdicts,
        folder,
        swapped=False,
        timeout_seconds=SECONDS_MAX,
    )

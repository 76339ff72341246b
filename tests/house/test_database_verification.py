"""The check that runs after every test: it looks at what a test left, and can fail it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dosql_core.sessions.opening import open_session
from fixtures.crash import child_environment
from fixtures.databases import databases_under, verify_database

DAMAGING_TEST = """
from house.test_database_verification import damage_database, make_database

def test_that_looks_harmless(database_path):
    make_database(database_path)
    damage_database(database_path)
"""


def make_database(path: Path) -> None:
    session = open_session(path)
    session.enter_write()
    session.kernel.execute("create table t(x)")
    session.leave_write()
    session.close()


def test_databases_are_found_wherever_a_test_made_them(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "stranger-dosql").mkdir()
    for name in ("app.db", "deep/er/no-suffix"):
        make_database(tmp_path / name)
    found = [str(path.relative_to(tmp_path)) for path in databases_under(tmp_path)]
    assert found == ["app.db", "deep/er/no-suffix"]
    assert [verify_database(tmp_path / name) for name in found] == [[], []]


def damage_database(path: Path) -> None:
    segment = next(path.with_name(path.name + "-dosql").rglob("*.seg"))
    raw = bytearray(segment.read_bytes())
    raw[len(raw) // 2] ^= 1
    segment.write_bytes(raw)


@pytest.mark.leaves_damage("flips a byte of a segment")
def test_damage_is_found(database_path: Path) -> None:
    make_database(database_path)
    damage_database(database_path)
    assert verify_database(database_path) != []


def test_a_test_that_leaves_damage_fails(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        'pytest_plugins = ("fixtures.run_options", "fixtures.databases")\n'
    )
    (tmp_path / "test_quiet.py").write_text(DAMAGING_TEST)
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path],
        cwd=tmp_path,
        env=child_environment(),
        capture_output=True,
        text=True,
    )
    assert "the test left a damaged database:" in told.stdout
    assert "1 passed, 1 error" in told.stdout

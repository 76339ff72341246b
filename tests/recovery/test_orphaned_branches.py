"""A kill while a branch is made or dropped leaves a directory that no ref names; it goes away."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import dosql_dbapi
from dosql_core.database import open_database
from fixtures.crash import child_environment
from fixtures.programs import run_and_die

MAKES_HALF = """
import os, sys
from dosql_core.database import open_database
from dosql_core.history.refs import RefsContent

def die(*arguments):
    os.kill(os.getpid(), 9)

RefsContent.add_branch = die
open_database(sys.argv[1]).branches.create("dev")
"""
DROPS_HALF = """
import os, shutil, sys
from dosql_core.database import open_database

def die(*arguments, **options):
    os.kill(os.getpid(), 9)

database = open_database(sys.argv[1])
shutil.rmtree = die
database.branches.drop("dev")
"""
MAKES_SLOWLY = """
import sys
from dosql_core.database import open_database
from dosql_core.history.refs import RefsContent

add_branch = RefsContent.add_branch

def wait_and_add(refs, branch):
    print("made its files", flush=True)
    sys.stdin.readline()
    add_branch(refs, branch)

RefsContent.add_branch = wait_and_add
with open_database(sys.argv[1]) as database:
    database.branches.create("slow")
"""
OPENS = """
import sys
from dosql_core.database import open_database
open_database(sys.argv[1]).close()
"""


@pytest.fixture
def path(database_path: Path) -> Path:
    with contextlib.closing(dosql_dbapi.connect(database_path)) as connection:
        connection.execute("create table t as select 7 as a")
    return database_path


def branch_directories(path: Path) -> list[str]:
    return sorted(d.name.rpartition("-")[0] or d.name for d in branches_of(path).iterdir())


def branches_of(path: Path) -> Path:
    return Path(f"{path}-dosql", "branches")


def start(program: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=child_environment(),
    )


def test_a_branch_half_made_is_swept_by_the_next_opening(path: Path) -> None:
    run_and_die(MAKES_HALF, path)
    assert branch_directories(path) == ["dev", "main"]
    with open_database(path) as database:
        assert branch_directories(path) == ["main"]
        database.branches.create("dev")
    with contextlib.closing(dosql_dbapi.connect(path, branch="dev")) as connection:
        assert connection.execute("select a from t").fetchall() == [(7,)]


def test_a_branch_half_dropped_is_swept_by_the_next_opening(path: Path) -> None:
    with open_database(path) as database:
        database.branches.create("dev")
        database.branches.create("kept")
    run_and_die(DROPS_HALF, path)
    assert branch_directories(path) == ["dev", "kept", "main"]
    with open_database(path) as database:
        assert branch_directories(path) == ["kept", "main"]
        assert [branch.name for branch in database.branches.list()] == ["main", "kept"]


def test_a_branch_that_is_being_made_is_left_alone(path: Path) -> None:
    with start(MAKES_SLOWLY, path) as maker:
        assert maker.stdin is not None and maker.stdout is not None
        assert maker.stdout.readline() == "made its files\n"
        with start(OPENS, path) as opener:  # sees a directory without a name, and has to wait
            with pytest.raises(subprocess.TimeoutExpired):
                opener.wait(timeout=1.5)
            maker.stdin.write("\n")
            maker.stdin.flush()
            assert opener.wait(timeout=300) == 0
        assert maker.wait(timeout=300) == 0
    with contextlib.closing(dosql_dbapi.connect(path, branch="slow")) as connection:
        assert connection.execute("select a from t").fetchall() == [(7,)]


def test_a_directory_of_somebody_else_is_left_alone(path: Path) -> None:
    (branches_of(path) / "notes").mkdir()
    open_database(path).close()
    assert (branches_of(path) / "notes").is_dir()
    (branches_of(path) / "notes").rmdir()

"""SQLAlchemy's testing tools know the dialect, as those of any other dialect: a taste of its suite.

All of the suite, with SQLAlchemy's own requirements, is run by tests/suites/sqlalchemy.
"""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

pytest.importorskip("sqlalchemy")

from fixtures.crash import child_environment

CONFTEST = """
import pytest
pytest.register_assert_rewrite("sqlalchemy.testing.assertions")
from sqlalchemy.testing.plugin.pytestplugin import *
"""
SETTINGS = """
[sqla_testing]
requirement_cls = sqlalchemy_dosql.requirements:Requirements
profile_file = profiles.txt
"""
TASTE = """
from sqlalchemy.testing.suite import InsertBehaviorTest, RowFetchTest, SimpleUpdateDeleteTest
"""


@pytest.mark.parametrize(
    ("url", "options"),
    [
        pytest.param("dosql://", [], id="in memory", marks=pytest.mark.long),
        pytest.param("dosql:///suite.db", [], id="on a file", marks=pytest.mark.long),
        pytest.param("dosql:///suite.db", ["-n", "2"], id="by two workers"),
        pytest.param("dosql+aio:///suite.db", [], id="asyncio"),
    ],
)
def test_a_taste_of_the_dialect_suite_passes(tmp_path, url, options):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "setup.cfg").write_text(SETTINGS)
    (tmp_path / "test_taste.py").write_text(TASTE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=native"]
    ended = subprocess.run(
        [*command, "--dburi", url, *options, "test_taste.py"],
        cwd=tmp_path,
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-2000:]
    passed = re.search(r"(\d+) passed", ended.stdout)
    assert passed is not None and int(passed[1]) >= 15
    left = {
        path.name for path in tmp_path.iterdir() if "suite" in path.name or "_test" in path.name
    }
    assert left <= {"test_taste.py"}

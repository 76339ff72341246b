"""PEP 249 by its compliance suite, in the driver's strict mode."""

from __future__ import annotations

from pathlib import Path

import pytest

from suites.fetch import ARCHIVES, fetch
from suites.running import count, publish, run_suite

CHILD = Path(__file__).with_name("child.py")
TESTS_COUNT = 36
UNWRITTEN_COUNT = 2  # tests the suite leaves to each driver's author, see child.py

pytestmark = pytest.mark.suite


@pytest.mark.leaves_damage("it is up to the suite what becomes of its databases")
def test_the_strict_driver_complies(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    verdicts_file = tmp_path / "verdicts.json"
    verdicts = run_suite(
        [CHILD, verdicts_file],
        verdicts_file,
        tmp_path / "work",
        swapped=False,
        timeout_seconds=120.0,
        python_path=[fetch("dbapi-compliance")],
    )
    publish(
        pytestconfig,
        "dbapi-compliance",
        verdicts,
        under=f"dbapi-compliance {ARCHIVES['dbapi-compliance'].version}",
    )
    assert {name: v.reason for name, v in verdicts.items() if v.outcome == "failed"} == {}
    assert (len(verdicts), count(verdicts, "skipped")) == (TESTS_COUNT, UNWRITTEN_COUNT)

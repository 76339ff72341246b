"""docs/compatibility.md says what the last runs of other projects' suites gave."""

from __future__ import annotations

from pathlib import Path

import pytest

from suites.compatibility_table import PAGE, Outcome, record, recorded, rendered

OUTCOME = Outcome("test_types", "Python 3.11", collected=5, passed=3, skipped=1, failed=1)


def test_the_page_is_rendered_from_the_recorded_results() -> None:
    assert PAGE.read_text("utf-8") == rendered()


def test_a_new_outcome_takes_the_place_of_the_same_parts_old_one(tmp_path: Path) -> None:
    other = Outcome("test_types", "Python 3.12", collected=1, passed=1, skipped=0, failed=0)
    record("stdlib-sqlite3", [OUTCOME, other], results=tmp_path)
    better = Outcome("test_types", "Python 3.11", collected=5, passed=5, skipped=0, failed=0)
    record("stdlib-sqlite3", [better], results=tmp_path)
    assert recorded("stdlib-sqlite3", results=tmp_path) == [better, other]


def test_the_stock_drivers_number_stands_beside_ours(tmp_path: Path) -> None:
    outcome = Outcome("", "Python 3.11", 5, 3, 1, 1, stock_collected=6, stock_passed=4)
    record("sqlite-utils", [outcome], results=tmp_path)
    assert "| Python 3.11 | all | 5 | 3 | 4 of 6 | 1 | 1 |" in rendered(results=tmp_path)


def test_numbers_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match="add up"):
        Outcome("", "Python 3.11", collected=5, passed=3, skipped=0, failed=1)

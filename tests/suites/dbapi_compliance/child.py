"""Runs dbapi-compliance against dosql_dbapi.strict and writes what became of each of its tests.

    python child.py OUTPUT.json

Two of its tests are empty and ask the driver's author to write them; they are skipped.
"""

from __future__ import annotations

import json
import sys
import unittest
from pathlib import Path
from typing import Any

import dbapi20  # type: ignore[import-not-found]

import dosql_dbapi.strict


class StrictDriver(dbapi20.DatabaseAPI20Test):
    """The suite as it asks to be set up: a driver and what to connect to."""

    driver = dosql_dbapi.strict
    connect_args = ("compliance.db",)

    def setUp(self) -> None:
        Path("compliance.db").unlink(missing_ok=True)

    @unittest.skip("SQLite has no procedures, so there is no nextset()")
    def test_nextset(self) -> None: ...

    @unittest.skip("setoutputsize() has nothing to do in SQLite; test_setoutputsize_basic calls it")
    def test_setoutputsize(self) -> None: ...


class Verdicts(unittest.TestResult):
    """The verdict on each test."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[str, str, str]] = []

    def addSuccess(self, test: unittest.TestCase) -> None:
        self.rows.append((test.id(), "passed", ""))

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self.rows.append((test.id(), "skipped", reason))

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        self.rows.append((test.id(), "failed", f"{err[0].__name__}: {err[1]}"))

    addError = addFailure


if __name__ == "__main__":
    verdicts = Verdicts()
    unittest.defaultTestLoader.loadTestsFromTestCase(StrictDriver).run(verdicts)
    Path(sys.argv[1]).write_text(json.dumps(verdicts.rows, indent=1), "utf-8")

"""Runs one module of `test.test_sqlite3` and writes what became of each of its tests.

    python child.py MODULE OUTPUT.json

Which sqlite3 it tests is up to the PYTHONPATH (see ../swapped). The file lists id, verdict, reason
for every test, a test with a failed subtest counting once.
"""

from __future__ import annotations

import json
import sys
import traceback
import unittest
from pathlib import Path
from typing import Any

PACKAGE = "test.test_sqlite3"


class Verdicts(unittest.TestResult):
    """The verdict on each test, the worst one where its subtests differ."""

    def __init__(self) -> None:
        super().__init__()
        self.of: dict[str, tuple[str, str]] = {}

    def _note(self, test: unittest.TestCase, verdict: str, reason: str = "") -> None:
        identifier = test.id().removeprefix(f"{PACKAGE}.")
        if self.of.get(identifier, ("passed",))[0] != "failed":
            self.of[identifier] = (verdict, reason)

    def addSuccess(self, test: unittest.TestCase) -> None:
        self._note(test, "passed")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self._note(test, "skipped", reason)

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
        self._note(test, "passed")

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        self._note(test, "failed", "unexpected success")

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        self._note(test, "failed", _reason(err))

    addError = addFailure

    def addSubTest(self, test: unittest.TestCase, subtest: Any, err: Any) -> None:
        if err is not None:
            self._note(test, "failed", f"{subtest._subDescription()}: {_reason(err)}")


def _reason(error: Any) -> str:
    where = traceback.extract_tb(error[2])
    line = f"{where[-1].name}:{where[-1].lineno}" if where else ""
    return f"{line} {''.join(traceback.format_exception_only(error[0], error[1])).strip()}"


def main(module: str, output: str) -> None:
    tests = unittest.defaultTestLoader.loadTestsFromName(f"{PACKAGE}.{module}")
    verdicts = Verdicts()
    tests.run(verdicts)
    rows = [[name, *verdict] for name, verdict in sorted(verdicts.of.items())]
    Path(output).write_text(json.dumps(rows, indent=1), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

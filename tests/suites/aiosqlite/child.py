"""Runs aiosqlite's own tests and writes what became of each.

    python child.py FOLDER OUTPUT.json stock|ours

FOLDER is the unpacked archive. With `ours`, the tests' `import aiosqlite` gets dosql_dbapi.aio;
which sqlite3 they import is up to the PYTHONPATH (see ../swapped).
"""

from __future__ import annotations

import importlib
import json
import sys
import types
import unittest
from pathlib import Path
from typing import Any


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


def tests_of(folder: Path) -> types.ModuleType:
    """Their module of tests, in a package of its own: the library's own may not be imported."""
    package = types.ModuleType("tests_of_aiosqlite")
    package.__path__ = [str(folder / "aiosqlite" / "tests")]
    sys.modules[package.__name__] = package
    return importlib.import_module(f"{package.__name__}.smoke")


if __name__ == "__main__":
    folder, output, which = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    if which == "ours":
        import dosql_dbapi.aio

        sys.modules["aiosqlite"] = dosql_dbapi.aio
    else:
        sys.path.insert(0, str(folder))
    verdicts = Verdicts()
    unittest.defaultTestLoader.loadTestsFromModule(tests_of(folder)).run(verdicts)
    output.write_text(json.dumps(verdicts.rows, indent=1), "utf-8")

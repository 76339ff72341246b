"""Runs sqlite-utils' own tests and writes what became of each.

    python child.py FOLDER OUTPUT.json [TEST...]

FOLDER is the unpacked archive. Which sqlite3 is tested is up to the PYTHONPATH (see ../swapped).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

_WORST_LAST = ("passed", "skipped", "failed")


class Verdicts:
    """A plugin that notes the worst of a test's three phases."""

    def __init__(self) -> None:
        self.of: dict[str, tuple[str, str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        outcome = "skipped" if hasattr(report, "wasxfail") else report.outcome
        known = self.of.get(report.nodeid, ("passed", ""))[0]
        if _WORST_LAST.index(outcome) >= _WORST_LAST.index(known):
            reason = "" if outcome == "passed" else str(report.longrepr)[-1500:]
            self.of[report.nodeid] = (outcome, reason)


if __name__ == "__main__":
    folder, output, *tests = sys.argv[1:]
    verdicts = Verdicts()
    # Their settings file is in FOLDER; of our own settings, none apply.
    chosen = [f"{folder}/{test}" for test in tests or ["tests"]]
    arguments = [*chosen, f"--rootdir={folder}", "-q", "-p", "no:cacheprovider"]
    pytest.main([*arguments, "-p", "no:xdist", "--import-mode=importlib"], plugins=[verdicts])
    rows = [[name, *verdict] for name, verdict in sorted(verdicts.of.items())]
    Path(output).write_text(json.dumps(rows, indent=1), "utf-8")

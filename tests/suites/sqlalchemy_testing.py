"""Runs a suite built on `sqlalchemy.testing` in this process, and writes how each test ended.

`python -s sqlalchemy_testing.py PATH URL RESULTS`, in an unpacked source archive: PATH is what of
it to run, URL the database, RESULTS a JSON file to write. The installed SQLAlchemy is what is
tested; without `-s` the suite would take the one in the archive.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

# Names of test classes end in the dialect, its driver and the version of the database.
BACKEND = re.compile(r"_sqlite\+\w+?_\d+_\d+_\d+(?=::)")


class Endings:
    """A plugin that remembers the worst that became of each test."""

    def __init__(self) -> None:
        self.of: dict[str, tuple[str, str]] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when != "call" and report.outcome == "passed":
            return
        identifier = BACKEND.sub("", report.nodeid)
        known = self.of.get(identifier)
        if known is None or known[0] != "failed":
            is_failed = report.outcome == "failed"
            reason = str(report.longrepr)[-1500:] if is_failed else ""
            self.of[identifier] = (report.outcome, reason)


def main(path: str, url: str, results: str) -> int:
    endings = Endings()
    # `native`: other tracebacks parse the source, which Python 3.11 fails to do now and then.
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:logging", "--tb=native", "--dburi", url]
    status = pytest.main([path, *options], plugins=[endings])
    rows = [[name, *ending] for name, ending in sorted(endings.of.items())]
    Path(results).write_text(json.dumps(rows), "utf-8")
    return int(status)


if __name__ == "__main__":
    sys.path.insert(0, "")  # as `python -m pytest` does: the suite imports from its own folder
    sys.exit(main(*sys.argv[1:]))

"""Runs pyiceberg's own integration tests for catalogs and writes what became of each.

    python child.py OUTPUT.json CATALOG [URL]

In a folder that holds `tests` of the unpacked archive and not the package: the installed one is
tested. CATALOG is the fixture whose tests run. With a URL, whatever the suite would send to the
port that is written into it goes there instead: on that port somebody else's tables may be.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

WRITTEN_INTO_THE_SUITE = "http://localhost:8181"
MODULE = "tests/integration/test_catalog.py"


class Verdicts:
    """Chooses the tests of one catalog and keeps the verdict on each."""

    def __init__(self, catalog: str) -> None:
        self._catalog = catalog
        self.rows: dict[str, list[str]] = {}

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        kept: list[pytest.Item] = []
        others: list[pytest.Item] = []
        for item in items:
            parameters = getattr(getattr(item, "callspec", None), "params", {})
            wanted = f"[{self._catalog}]" in item.name or not parameters
            (kept if wanted else others).append(item)
        items[:] = kept
        config.hook.pytest_deselected(items=others)

    def pytest_runtest_logreport(self, report: Any) -> None:
        name = report.nodeid.partition("::")[2].replace(f"[{self._catalog}]", "")
        if report.when == "call" or report.outcome != "passed":
            reason = "" if report.passed else str(report.longrepr)[-500:]
            self.rows[name] = [name, report.outcome, reason]


def redirect(url: str) -> None:
    """Have the client go to our server wherever the suite names the port of its own."""
    from pyiceberg.catalog.rest import RestCatalog

    begin = RestCatalog.__init__

    def begin_elsewhere(self: Any, name: str, **properties: str) -> None:
        if properties.get("uri", "").startswith(WRITTEN_INTO_THE_SUITE):
            properties["uri"] = url
        # Some tests need this, and environment variables cannot name it.
        properties["supports_slash_in_identifier"] = "True"
        assert properties["uri"] == url, f"the suite wanted to go to {properties['uri']}"
        begin(self, name, **properties)

    RestCatalog.__init__ = begin_elsewhere  # type: ignore[method-assign]


if __name__ == "__main__":
    output, catalog = Path(sys.argv[1]), sys.argv[2]
    redirect(sys.argv[3] if len(sys.argv) > 3 else "nowhere")
    verdicts = Verdicts(catalog)
    options = ["-q", "-p", "no:cacheprovider", "-o", "addopts=", "-W", "default"]
    pytest.main([MODULE, *options], plugins=[verdicts])
    output.write_text(json.dumps(list(verdicts.rows.values()), indent=1), "utf-8")

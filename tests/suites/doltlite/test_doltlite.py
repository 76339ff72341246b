"""The same merges on DoSQL and on DoltLite: where they differ, a reason is declared and true.

The run writes docs/merge_compared.md.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from suites.doltlite.scenarios import SCENARIOS, Scenario

pytestmark = pytest.mark.suite
RUNNING = Path(__file__).with_name("running.py")
PAGE = Path(__file__).resolve().parents[3] / "docs" / "merge_compared.md"
_HEAD = """# Merges compared with DoltLite

The same {count} merges on DoSQL and on DoltLite {version} (PyPI `doltlite`), each from an empty
database: a base is made and branched, both sides go on, the branch is merged. Written by
`pytest tests/suites/doltlite --suites`, whose `scenarios.py` has every statement. {same} end the
same: merged to the same rows, or with conflicts in the same places.

Not compared is what follows a conflict: DoltLite has its tables in the transaction of the merge and
refuses to commit them; in DoSQL a merge [stays pending](merging.md#conflicts) outside of
transactions.

| merge | DoSQL | DoltLite | the same? |
|---|---|---|---|
"""


def told_by(engine: str, folder: Path) -> dict[str, Any]:
    answer = folder / f"{engine}.json"
    subprocess.run([sys.executable, RUNNING, engine, answer], check=True, timeout=600)
    told: dict[str, Any] = json.loads(answer.read_text("utf-8"))
    return told


def outcome(told: dict[str, Any]) -> str:
    if told["outcome"] == "merged":
        return "merged"
    where = ", ".join(f"`{name}`" for name in told["where"])
    return f"conflict in {where}" if where else "refused"


def is_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one.get(part) == other.get(part) for part in ("outcome", "where", "rows"))


def row(scenario: Scenario, ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    said = f" ({ours['said']})" if ours["outcome"] == "conflicts" else ""
    verdict = "yes" if is_same(ours, theirs) else f"no: {scenario.because}"
    return f"| {scenario.name} | {outcome(ours)}{said} | {outcome(theirs)} | {verdict} |\n"


def test_where_they_differ_it_is_for_a_declared_reason(tmp_path: Path) -> None:
    if importlib.util.find_spec("doltlite") is None:
        pytest.skip("doltlite is not installed")
    ours, theirs = told_by("dosql", tmp_path), told_by("doltlite", tmp_path)
    same = {s.name for s in SCENARIOS if is_same(ours[s.name], theirs[s.name])}
    version = importlib.metadata.version("doltlite")
    head = _HEAD.format(count=len(SCENARIOS), version=version, same=len(same))
    rows = (row(s, ours[s.name], theirs[s.name]) for s in SCENARIOS)
    PAGE.write_text(head + "".join(rows), "utf-8")
    assert len(SCENARIOS) >= 40
    assert {s.name for s in SCENARIOS if not s.because} == same

"""Runs somebody else's tests in a process of its own, on stock sqlite3 or on DoSQL, and compares.

Both runs are the same command in the same kind of folder; only `sqlite3` means something else.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from suites.compatibility_table import Outcome, python_version, record, summary_line

SWAPPED = Path(__file__).resolve().parent / "swapped"
OUTPUT_SHOWN_MAX = 4000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one test. Shape: `outcome` is "passed", "skipped" or "failed"."""

    outcome: str
    reason: str = ""


Verdicts = dict[str, Verdict]


def run_suite(
    command: Sequence[str | Path],
    verdicts_file: Path,
    folder: Path,
    *,
    swapped: bool,
    timeout_seconds: float,
    python_path: Sequence[Path] = (),
) -> Verdicts:
    """Run a command of this interpreter that leaves [id, outcome, reason] rows in a JSON file.

    Errors: AssertionError with the end of its output when it leaves none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    first = [SWAPPED] if swapped else []
    environment["PYTHONPATH"] = os.pathsep.join(map(str, [*first, *python_path]))
    ended = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=folder,
        env=environment,
        timeout=timeout_seconds,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    shown = ended.stdout.decode(errors="replace")[-OUTPUT_SHOWN_MAX:]
    assert verdicts_file.exists(), f"the suite ended with status {ended.returncode}:\n{shown}"
    rows = json.loads(verdicts_file.read_text("utf-8"))
    return {identifier: Verdict(outcome, reason) for identifier, outcome, reason in rows}


def count(verdicts: Verdicts, outcome: str) -> int:
    """How many tests had this outcome."""
    return sum(verdict.outcome == outcome for verdict in verdicts.values())


def undeclared(ours: Verdicts, stock: Verdicts, declared: Mapping[str, str]) -> list[str]:
    """What the run must not leave: one line for each difference that nobody gave a reason for.

    A test counts as kept when it passes wherever it passes on stock sqlite3. A declared test that
    is kept is a finding, too: its reason has become untrue.
    """
    findings = []
    for identifier in sorted(stock.keys() | ours.keys()):
        on_stock, verdict = stock.get(identifier), ours.get(identifier)
        if verdict is None or on_stock is None:
            findings.append(f"{identifier}: only {'ours' if verdict else 'stock'} has such a test")
            continue
        is_kept = verdict.outcome == "passed" or on_stock.outcome != "passed"
        if is_kept and identifier in declared:
            findings.append(f"{identifier}: is declared not to pass, but does")
        elif not is_kept and identifier not in declared:
            findings.append(f"{identifier}: {verdict.outcome}: {verdict.reason}")
    return findings


def publish(
    config: pytest.Config,
    suite: str,
    ours: Verdicts,
    stock: Verdicts | None = None,
    *,
    under: str,
    part: str = "",
) -> None:
    """Keep what a suite gave for docs/compatibility.md, and print it in one line.

    `under` is what it ran with, besides this Python; `part` names one of several runs.
    """
    counts = Counter(verdict.outcome for verdict in ours.values())
    outcome = Outcome(
        part=part,
        under=f"{python_version()}, {under}",
        collected=len(ours),
        passed=counts["passed"],
        skipped=counts["skipped"],
        failed=counts["failed"],
        stock_collected=None if stock is None else len(stock),
        stock_passed=None if stock is None else count(stock, "passed"),
    )
    record(suite, [outcome])
    show(config, summary_line(suite, [outcome]))


def show(config: pytest.Config, line: str) -> None:
    """Print a line of the run's own, also where the output of tests is captured."""
    capture = config.pluginmanager.get_plugin("capturemanager")
    assert capture is not None  # it is there unless somebody switched the plugin off
    with capture.global_and_fixture_disabled():
        print(f"\n{line}")

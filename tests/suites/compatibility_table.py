"""The table of docs/compatibility.md: what other projects' suites gave, written by their runs.

A run hands over an Outcome for each part of its suite; it is kept in results/SUITE.json, and the
page is rendered from all of those files, by `python tests/suites/compatibility_table.py` again.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).resolve().parent / "results"
PAGE = ROOT / "docs" / "compatibility.md"

# What the page calls a suite, in the order of its sections.
TITLES = {
    "stdlib-sqlite3": "CPython's own tests of sqlite3",
    "dbapi-compliance": "PEP 249 (dbapi-compliance), in strict mode",
    "sqlite-utils": "sqlite-utils",
    "aiosqlite": "aiosqlite",
    "sqlalchemy-suite": "SQLAlchemy's dialect suite, and parts of its own tests",
    "alembic-suite": "Alembic",
    "peewee-suite": "Peewee",
    "django-suite": "Django",
    "third-party": "Projects built on Django or SQLAlchemy",
    "swapped-projects": "Projects that use sqlite3 themselves, the module swapped in",
    "pyiceberg-suite": "pyiceberg's tests for a REST catalog",
}

_HEAD = """# Compatibility

Other projects' tests, run unmodified with DoSQL in the place of SQLite. The runs write this page;
[tests/suites](../tests/suites/README.md) tells how to repeat them. "Stock" is the same suite in the
same environment on the standard library's `sqlite3`, or on the framework's own SQLite backend. What
does not pass, or is skipped with DoSQL only, is listed with its reason beside each suite.
"""


def python_version() -> str:
    """The running interpreter as the table names it, without its last number."""
    return f"Python {sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one part of a suite gave.

    Shape: `part` is a module of the suite, a setting ("database file"), or "" for all of it.
           `under` says with what, as in "Python 3.11" or "Python 3.12, Django 5.2.9".
           `collected` = `passed` + `skipped` + `failed`; an expected failure counts as failed.
           `stock_passed` of `stock_collected` is what the stock driver gave, None if not measured.
    """

    part: str
    under: str
    collected: int
    passed: int
    skipped: int
    failed: int
    stock_collected: int | None = None
    stock_passed: int | None = None

    def __post_init__(self) -> None:
        if self.collected != self.passed + self.skipped + self.failed:
            raise ValueError(f"the numbers do not add up: {self}")


def record(suite: str, outcomes: Iterable[Outcome], *, results: Path = RESULTS) -> None:
    """Keep these outcomes in the place of earlier ones for the same part and environment."""
    if suite not in TITLES:
        raise ValueError(f"{suite!r} has no title; it must be one of {', '.join(TITLES)}")
    kept = {(outcome.under, outcome.part): outcome for outcome in recorded(suite, results=results)}
    for outcome in outcomes:
        kept[outcome.under, outcome.part] = outcome
    rows = [asdict(kept[key]) for key in sorted(kept)]
    results.mkdir(exist_ok=True)
    (results / f"{suite}.json").write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    if results == RESULTS:
        write_page()


def recorded(suite: str, *, results: Path = RESULTS) -> list[Outcome]:
    """The outcomes kept for a suite."""
    try:
        text = (results / f"{suite}.json").read_text("utf-8")
    except FileNotFoundError:
        return []
    return [Outcome(**row) for row in json.loads(text)]


def rendered(*, results: Path = RESULTS) -> str:
    """The whole page."""
    sections = [_HEAD]
    for suite, title in TITLES.items():
        outcomes = recorded(suite, results=results)
        if outcomes:
            sections.append(f"\n## {title}\n\n{_table(outcomes)}")
    return "".join(sections)


def _table(outcomes: list[Outcome]) -> str:
    lines = [
        "| with | part | tests | passed | stock passed | skipped | not passed |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for outcome in outcomes:
        stock = "" if outcome.stock_passed is None else str(outcome.stock_passed)
        if outcome.stock_collected not in (None, outcome.collected):
            stock += f" of {outcome.stock_collected}"
        lines.append(
            f"| {outcome.under} | {outcome.part or 'all'} | {outcome.collected} | {outcome.passed} "
            f"| {stock} | {outcome.skipped} | {outcome.failed} |"
        )
    return "\n".join(lines) + "\n"


def write_page() -> None:
    """Render docs/compatibility.md from what is kept."""
    PAGE.write_text(rendered(), "utf-8")


def summary_line(suite: str, outcomes: Iterable[Outcome]) -> str:
    """One line for the end of a run: all parts summed up."""
    parts = list(outcomes)
    passed, collected = sum(o.passed for o in parts), sum(o.collected for o in parts)
    line = f"{suite}: {passed} of {collected} passed"
    line += f", {sum(o.skipped for o in parts)} skipped, {sum(o.failed for o in parts)} not passed"
    if all(o.stock_passed is not None for o in parts):
        line += f" (stock: {sum(o.stock_passed or 0 for o in parts)} passed)"
    return f"{line}, {python_version()} on {platform.system()}"


if __name__ == "__main__":
    write_page()

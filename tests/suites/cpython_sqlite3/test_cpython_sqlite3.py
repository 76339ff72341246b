"""CPython's own tests of sqlite3, those of the running interpreter, with sqlite3 meaning DoSQL."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.run_options import skip_or_fail
from suites.compatibility_table import Outcome, python_version, record, summary_line
from suites.cpython_sqlite3.not_passed import NOT_PASSED
from suites.running import Verdicts, count, run_suite, show, undeclared

CHILD = Path(__file__).with_name("child.py")
SECONDS_MAX = 300.0
PASSED_SHARE_MIN = 0.95

pytestmark = pytest.mark.suite


def modules() -> list[str]:
    """The suite's modules; none where the interpreter came without its tests, as Debian's does."""
    try:
        found = importlib.util.find_spec("test.test_sqlite3")
    except ModuleNotFoundError:
        return []
    if found is None or not found.submodule_search_locations:
        return []
    folder = Path(found.submodule_search_locations[0])
    return sorted(file.stem for file in folder.glob("test_*.py"))


@pytest.fixture(scope="module")
def outcomes(pytestconfig: pytest.Config) -> Iterator[list[Outcome]]:
    """Gathers what the modules gave; the whole is recorded at the end."""
    gathered: list[Outcome] = []
    yield gathered
    if gathered:
        record("stdlib-sqlite3", gathered)
        show(pytestconfig, summary_line("stdlib-sqlite3", gathered))


def test_the_interpreter_has_its_tests(pytestconfig: pytest.Config) -> None:
    if not modules():
        skip_or_fail(pytestconfig, "test.test_sqlite3 of this interpreter (a package of its own)")


def run_module(module: str, folder: Path, *, swapped: bool) -> Verdicts:
    verdicts = folder / f"{module}-{'ours' if swapped else 'stock'}.json"
    work = folder / ("ours" if swapped else "stock")
    return run_suite(
        [CHILD, module, verdicts], verdicts, work, swapped=swapped, timeout_seconds=SECONDS_MAX
    )


@pytest.mark.parametrize("module", modules())
@pytest.mark.leaves_damage("it is up to the suite what becomes of its databases")
def test_what_does_not_pass_is_declared(
    module: str, tmp_path: Path, outcomes: list[Outcome]
) -> None:
    stock = run_module(module, tmp_path, swapped=False)
    ours = run_module(module, tmp_path, swapped=True)
    outcomes.append(
        Outcome(
            part=module,
            under=python_version(),
            collected=len(ours),
            passed=count(ours, "passed"),
            skipped=count(ours, "skipped"),
            failed=count(ours, "failed"),
            stock_collected=len(stock),
            stock_passed=count(stock, "passed"),
        )
    )
    declared = {name: reason for name, reason in NOT_PASSED.items() if name in stock}
    assert undeclared(ours, stock, declared) == []


def test_nearly_all_of_what_passes_on_stock_passes(outcomes: list[Outcome]) -> None:
    if not outcomes:
        pytest.skip("no module was run")
    stock_passed = sum(outcome.stock_passed or 0 for outcome in outcomes)
    assert sum(outcome.passed for outcome in outcomes) >= PASSED_SHARE_MIN * stock_passed

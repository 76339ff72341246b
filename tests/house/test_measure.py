"""The benchmark harness: numbers it computes, and the file it writes."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from fixtures.checkout import ROOT

SCRIPT = """
import time
def sleep_alone(seconds):
    time.sleep(seconds)
    return seconds
"""


def module_from(path: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[path.stem] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def measure() -> ModuleType:
    return module_from(ROOT / "benchmarks" / "measure.py")


@pytest.fixture
def sleep_alone(tmp_path: Path) -> Callable[[float], float]:
    script = tmp_path / "sleeping_benchmark.py"
    script.write_text(SCRIPT)
    return module_from(script).sleep_alone


def test_percentiles_are_values_that_were_measured(measure: ModuleType) -> None:
    told = measure.percentiles([n / 1e6 for n in range(1, 101)])
    assert (told.p50, told.p95, told.p99, told.longest) == pytest.approx((50, 95, 99, 100))
    assert measure.percentiles([3e-6]).p99 == pytest.approx(3)


def test_no_times_have_no_percentiles(measure: ModuleType) -> None:
    with pytest.raises(ValueError, match="no times"):
        measure.percentiles([])


def test_a_ratio_pairs_rounds_run_side_by_side(measure: ModuleType) -> None:
    # The machine was twice as slow in the second round, for both: the ratio must not see it.
    anchor = measure.Timing("anchor", 10, (1.0, 2.0, 1.0))
    ours = measure.Timing("ours", 10, (0.5, 1.0, 0.5))
    assert ours.speed_against(anchor) == 2.0
    assert measure.Timing("ours", 20, (1.0, 2.0, 1.0)).speed_against(anchor) == 2.0


def test_contenders_take_turns(measure: ModuleType) -> None:
    order: list[str] = []
    contenders = {name: lambda name=name: order.append(name) for name in "ab"}
    timings = measure.alternate(contenders, 1, rounds=2, warm_ups=1)
    assert order == ["b", "a", "a", "b", "b", "a"]
    assert len(timings["a"].round_seconds) == 2


def test_a_function_can_be_run_alone(measure: ModuleType, sleep_alone) -> None:
    told = measure.run_alone(sleep_alone, 0.01)
    assert told.value == 0.01
    assert 1_000_000 < told.peak_bytes < 500_000_000


def test_a_contender_that_fails_is_told(measure: ModuleType, sleep_alone) -> None:
    with pytest.raises(RuntimeError, match="sleep length must be non-negative"):
        measure.run_alone(sleep_alone, -1)


def test_a_section_is_replaced_and_the_others_stay(measure: ModuleType, tmp_path: Path) -> None:
    results = tmp_path / "RESULTS.md"
    for name, text in [("one", "first"), ("two", "second"), ("one", "newer")]:
        measure.write_section(name, text, results)
    written = results.read_text()
    assert "first" not in written
    assert written.index("newer") < written.index("second")
    assert written.count("begin -->") == 2


def test_a_missed_aim_is_shown(measure: ModuleType) -> None:
    assert measure.ratio(0.95, 0.9) == "0.95x"
    assert measure.ratio(0.85, 0.9) == "0.85x (aim 0.9)"

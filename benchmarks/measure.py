"""The harness the benchmarks share: alternate contenders, keep every number, write the table.

A number alone says little on a shared machine; the ratio of two things measured in alternation
says a lot. So contenders take turns, round by round, and a ratio is the median over pairs of
neighbouring rounds. A contender that must be alone in its process (a second SQLite library, a
memory reading) runs through `run_alone`.

A benchmark script builds `Table`s and hands them to `finish`, which prints them and, with
`--write`, replaces the script's section of RESULTS.md.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib.util
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"
RESULTS_HEAD = """\
# Results

Written by the benchmarks themselves (`python benchmarks/run_all.py --write`); each section says
on what. Ratios are the number to read: a machine's own speed cancels out of them.
"""


# -- timing ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Timing:
    """One contender's rounds.

    Units: `round_seconds` seconds for `operation_count` operations each.
    """

    name: str
    operation_count: int
    round_seconds: tuple[float, ...]

    @property
    def microseconds(self) -> float:
        """Median time of one operation."""
        return statistics.median(self.round_seconds) / self.operation_count * 1e6

    @property
    def per_second(self) -> float:
        return 1e6 / self.microseconds

    def speed_against(self, anchor: Timing) -> float:
        """How many times as fast as `anchor`: median over the pairs of rounds run side by side."""
        pairs = zip(anchor.round_seconds, self.round_seconds, strict=True)
        own = self.operation_count / anchor.operation_count
        return statistics.median(theirs / ours for theirs, ours in pairs) * own


def alternate(
    contenders: Mapping[str, Callable[[], object]],
    operation_count: int,
    *,
    rounds: int = 9,
    warm_ups: int = 1,
    between: Callable[[], object] | None = None,
) -> dict[str, Timing]:
    """Time contenders in turns: each callable does `operation_count` operations when called.

    The order is reversed every other round, so that none always runs in another's wake. Garbage is
    collected before, never during. `between` runs before each turn, untimed.
    """
    names = list(contenders)
    spent: dict[str, list[float]] = {name: [] for name in names}
    for round_number in range(-warm_ups, rounds):
        for name in names if round_number % 2 == 0 else reversed(names):
            if between is not None:
                between()
            seconds = _timed(contenders[name])
            if round_number >= 0:
                spent[name].append(seconds)
    return {name: Timing(name, operation_count, tuple(spent[name])) for name in names}


def _timed(work: Callable[[], object]) -> float:
    gc.collect()
    gc.disable()
    try:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began
    finally:
        gc.enable()


@dataclass(frozen=True, slots=True)
class Percentiles:
    """How long single operations took. Units: microseconds."""

    count: int
    p50: float
    p95: float
    p99: float
    longest: float


def percentiles(seconds: Sequence[float]) -> Percentiles:
    """Percentiles of single times (nearest rank). Errors: ValueError when there are none."""
    if not seconds:
        raise ValueError("no times to take percentiles of")
    ordered = sorted(seconds)

    def rank(percent: int) -> float:
        return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] * 1e6

    return Percentiles(len(ordered), rank(50), rank(95), rank(99), ordered[-1] * 1e6)


def latencies(operation: Callable[[], object], count: int) -> list[float]:
    """Seconds of each of `count` calls. The clock itself costs about 0.1 microseconds a call."""
    clock = time.perf_counter
    spent = []
    for _ in range(count):
        began = clock()
        operation()
        spent.append(clock() - began)
    return spent


# -- processes of their own ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Alone:
    """What a function run in a process of its own gave. Units: `peak_bytes` resident memory."""

    value: Any
    peak_bytes: int


def run_alone(function: Callable[..., Any], *arguments: Any, timeout_seconds: float = 900) -> Alone:
    """Call a top-level function of a benchmark script in a new Python.

    Shape: arguments and value are what JSON can carry.
    Errors: RuntimeError with the child's standard error when it fails.
    """
    with start_alone(function, *arguments) as child:
        told, errors = child.communicate(timeout=timeout_seconds)
    return _result_of(child, told, errors)


def run_together(
    calls: Sequence[tuple[Callable[..., Any], Sequence[Any]]], timeout_seconds: float = 900
) -> list[Alone]:
    """As `run_alone`, several processes at a time; the functions agree on a start by the clock."""
    with contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(start_alone(function, *arguments)) for function, arguments in calls
        ]
        told = [child.communicate(timeout=timeout_seconds) for child in children]
    return [_result_of(child, *pair) for child, pair in zip(children, told, strict=True)]


def start_alone(function: Callable[..., Any], *arguments: Any) -> subprocess.Popen[str]:
    script = function.__code__.co_filename
    call = json.dumps([script, function.__name__, arguments])
    return subprocess.Popen(
        [sys.executable, str(HERE / "measure.py"), "--call", call],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _result_of(child: subprocess.Popen[str], told: str, errors: str) -> Alone:
    if child.returncode != 0:
        raise RuntimeError(f"a contender failed ({child.returncode}):\n{errors}")
    answer = json.loads(told.splitlines()[-1])
    return Alone(answer["value"], answer["peak_bytes"])


def _answer_call(call: str) -> None:
    script, name, arguments = json.loads(call)
    sys.path.insert(0, str(HERE))
    specification = importlib.util.spec_from_file_location(Path(script).stem, script)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    value = getattr(module, name)(*arguments)
    print(json.dumps({"value": value, "peak_bytes": _peak_bytes()}))


def _peak_bytes() -> int:
    """Most resident memory this process has had.

    Linux counts the parent's memory into `ru_maxrss` of a child started by vfork, as subprocess
    does, so the kernel's own high-water mark of this address space is taken where there is one.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def directory_bytes(directory: Path, *, allocated: bool = False) -> int:
    """Size of the files under a folder; with `allocated`, what the disk holds of them, which for
    files with holes is less and for small ones more."""
    told = [file.stat() for file in directory.rglob("*") if file.is_file()]
    return sum(file.st_blocks * 512 if allocated else file.st_size for file in told)


# -- tables ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Table:
    """One table of results. Shape: every row has as many cells as there are headers."""

    title: str
    headers: Sequence[str]
    rows: list[Sequence[object]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        if len(cells) != len(self.headers):
            raise ValueError(f"{len(cells)} cells for {len(self.headers)} columns")
        self.rows.append(cells)

    def as_markdown(self) -> str:
        lines = [f"### {self.title}", "", _row(self.headers), _row(["---"] * len(self.headers))]
        lines += [_row(row) for row in self.rows]
        lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines).rstrip() + "\n"


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(cell_text(cell) for cell in cells) + " |"


def cell_text(cell: object) -> str:
    """A cell as people read it: three significant digits, thousands apart."""
    if isinstance(cell, bool) or not isinstance(cell, (int, float)):
        return str(cell)
    if isinstance(cell, int) or abs(cell) >= 100:
        return f"{cell:,.0f}"
    return f"{cell:.3g}" if abs(cell) < 1 else f"{cell:.{1 if abs(cell) >= 10 else 2}f}"


def ratio(value: float, target: float | None = None) -> str:
    """A ratio, and beside it the one aimed at when it was missed."""
    missed = f" (aim {target:g})" if target is not None and value < target else ""
    return f"{value:.2f}x{missed}"


def machine() -> str:
    """What the numbers were measured on, without naming the machine."""
    import sqlite3

    versions = [f"Python {platform.python_version()}", f"stdlib SQLite {sqlite3.sqlite_version}"]
    with contextlib.suppress(ImportError):
        import apsw

        versions.append(f"apsw {apsw.apsw_version()}")
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return (
        f"{os.cpu_count()} cores, {memory_bytes >> 30} GB, "
        f"{platform.system()} {platform.release().split('-')[0]}, "
        f"load {os.getloadavg()[1]:.1f}; {', '.join(versions)}"
    )


def write_section(name: str, text: str, file: Path = RESULTS) -> None:
    """Replace the section between the markers of `name`, or add it at the end."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    section = f"{begin}\n{text.rstrip()}\n{end}\n"
    written = file.read_text("utf-8") if file.exists() else RESULTS_HEAD
    if begin in written:
        before, rest = written.split(begin, 1)
        after = rest.split(f"{end}\n", 1)[1]
        written = before + section + after
    else:
        written = f"{written.rstrip()}\n\n{section}"
    fresh = file.with_suffix(".new")
    fresh.write_text(written, "utf-8")
    fresh.replace(file)


# -- a script's frame ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Settings:
    """How this run was asked to measure."""

    quick: bool
    write: bool
    scratch: Path

    def rounds(self, full: int) -> int:
        return 3 if self.quick else full

    def scaled(self, full: int, quick: int) -> int:
        """A count or a size: the full one, or the one for a look in passing."""
        return quick if self.quick else full


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that every benchmark has."""
    parser.add_argument("--quick", action="store_true", help="few rounds, small sizes")
    parser.add_argument("--write", action="store_true", help="write the section of RESULTS.md")
    parser.add_argument(
        "--scratch", type=Path, help="where databases are made: a folder on the disk to measure"
    )


@contextlib.contextmanager
def settings(description: str | None) -> Iterator[Settings]:
    """Read the options every benchmark has, and make a scratch folder that goes away after."""
    parser = argparse.ArgumentParser(
        description=(description or "").split("\n")[0],
        epilog="Quiet the machine first; see benchmarks/README.md.",
    )
    add_options(parser)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dosql-benchmark-", dir=asked.scratch) as scratch:
        yield Settings(asked.quick, asked.write, Path(scratch))


def finish(name: str, title: str, tables: Sequence[Table], how: Settings) -> None:
    """Print the tables; write them to RESULTS.md when that was asked for."""
    quick = " Quick run: numbers for a look, not to quote." if how.quick else ""
    text = f"## {title}\n\n{machine()}.{quick}\n\n" + "\n".join(t.as_markdown() for t in tables)
    print(text)
    if how.write:
        write_section(name, text)


if __name__ == "__main__":
    if sys.argv[1:2] != ["--call"] or len(sys.argv) != 3:
        sys.exit("measure.py is imported by the benchmarks; run one of those")
    _answer_call(sys.argv[2])

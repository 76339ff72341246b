"""Run every benchmark, one after another, each in a process of its own.

python benchmarks/run_all.py --write            all of them, into RESULTS.md
python benchmarks/run_all.py --quick as_of mixed   some of them, for a look
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
import time
from pathlib import Path

from measure import add_options

HERE = Path(__file__).parent
OF_THE_HARNESS = ("measure.py", "run_all.py")


def benchmarks() -> list[str]:
    """Names of the scripts here that measure something: those that call `finish`."""
    return sorted(
        script.stem
        for script in HERE.glob("*.py")
        if "finish(" in script.read_text("utf-8") and script.name not in OF_THE_HARNESS
    )


def first_sentence(name: str) -> str:
    described = ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text("utf-8"))) or ""
    return " ".join(described.split("\n\n")[0].split())


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", help="which benchmarks (default: all)")
    parser.add_argument("--list", action="store_true", help="say what there is")
    add_options(parser)
    asked = parser.parse_args()
    known = benchmarks()
    if asked.list:
        for name in known:
            print(f"{name:<20} {first_sentence(name)}")
        return 0
    if unknown := sorted(set(asked.names) - set(known)):
        parser.error(f"no benchmark is named {', '.join(unknown)}; there are {', '.join(known)}")
    passed_on = ["--quick"] * asked.quick + ["--write"] * asked.write
    if asked.scratch is not None:
        passed_on += ["--scratch", str(asked.scratch)]
    failed = []
    for name in asked.names or known:
        began = time.monotonic()
        print(f"\n=== {name}", flush=True)
        if subprocess.run([sys.executable, HERE / f"{name}.py", *passed_on]).returncode:
            failed.append(name)
        print(f"=== {name}: {time.monotonic() - began:.0f} s", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())

"""Compare the coverage just measured with the floor of each package; `tox -e coverage` runs this.

A floor is what was honestly reached, rounded down: raise it when a package stands well above it,
and never lower it without saying why in the commit. Lines and branches count together, as
coverage.py counts them. Processes that are killed (tests/recovery) leave no measurement behind.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import coverage
from coverage.exceptions import NoDataError

REPOSITORY = Path(__file__).parents[1]
FLOOR_PERCENT = {
    "dosql_core": 87.0,
    "dosql_core/storage": 92.0,
    "dosql_core/kernel": 90.0,
    "dosql_core/language": 97.0,
    "dosql_core/history": 91.0,
    "dosql_core/rows": 88.0,
    "dosql_core/changes": 94.0,
    "dosql_core/triggers": 91.0,
    "dosql_core/command_line": 74.0,
    "dosql_dbapi": 81.0,
    "dolake": 88.0,
    "sqlalchemy_dosql": 90.0,
    "peewee_dosql": 89.0,
    "django_dosql": 85.0,
}


def has_modules(package: str) -> bool:
    """False for a folder that waits for its first module: it cannot be below its floor."""
    return any(
        any((root / package).rglob("*.py")) for root in (REPOSITORY, REPOSITORY / "adapters")
    )


def measured_percent(measurement: coverage.Coverage, package: str) -> float | None:
    """Percent of the package's lines and branches that ran; None when nothing of it was found."""
    try:
        return measurement.report(include=[f"*/{package}/*"], file=io.StringIO())
    except NoDataError:
        return None


def main() -> int:
    measurement = coverage.Coverage()
    measurement.load()
    below = []
    print(f"{'package':<28} {'measured':>9} {'floor':>7}")
    for package, floor in FLOOR_PERCENT.items():
        percent = measured_percent(measurement, package)
        shown = "nothing" if percent is None else f"{percent:.1f} %"
        print(f"{package:<28} {shown:>9} {floor:>5.0f} %")
        if percent is None and not has_modules(package):
            continue
        if percent is None or percent < floor:
            below.append(package)
    print(f"by file: coverage report (data in {Path(measurement.config.data_file)})")
    if below:
        print("below the floor: " + ", ".join(below), file=sys.stderr)
    return bool(below)


if __name__ == "__main__":
    sys.exit(main())

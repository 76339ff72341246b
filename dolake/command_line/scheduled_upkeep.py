"""Keeping a lake tidy beside what is written into it: the options of serve and sync for that."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from functools import partial
from typing import Annotated

import typer

from dolake.lake import Lake
from dolake.maintenance.maintenance_policy import ExpiryPolicy, MaintenancePolicy
from dolake.maintenance.maintenance_process import MaintenanceProcess
from dolake.maintenance.maintenance_schedule import MaintenanceSchedule
from dosql_core.command_line.reporting import UsageError

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_AGE_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}

MAINTAIN_EVERY_SECONDS = 600.0
# Two snapshots a second are thousands in an hour, and each commit writes the list of them anew.
SNAPSHOTS_KEPT = "1h"

MaintainEveryOption = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=0.0,
        help="Compact, expire and sweep this often, in a process of its own; 0 for never.",
    ),
]
KeepSnapshotsOption = Annotated[
    str,
    typer.Option(
        metavar="AGE",
        help="How long snapshots are kept for reading the past: 15m, 12h, 5d. The newest 100 are "
        "in any case.",
    ),
]


@contextlib.contextmanager
def maintained(lake: Lake, every_seconds: float, keep_snapshots: str) -> Iterator[None]:
    """Maintain the lake's tables from time to time for as long as the block runs.

    Errors: UsageError when the age is none.
    """
    policy = MaintenancePolicy(expiry=ExpiryPolicy(age_seconds(keep_snapshots)))
    with contextlib.ExitStack() as scheduled:
        if every_seconds > 0:
            begin = partial(MaintenanceProcess, lake.state / "catalog.db", lake.warehouse, policy)
            scheduled.callback(MaintenanceSchedule(begin, every_seconds).close)
        yield


def age_seconds(text: str) -> float:
    """What an age on the command line says. Errors: UsageError."""
    found = _AGE.fullmatch(text.strip().lower())
    if found is None:
        raise UsageError(f"{text!r} is no age", hint="write 90m, 12h, 30d or 4w")
    return float(found[1]) * _AGE_SECONDS[found[2]]

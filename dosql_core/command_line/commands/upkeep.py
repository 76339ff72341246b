"""Subcommands that look after a database: verify, compact, detach."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from typing import Annotated

import typer

from dosql_core.command_line.commands.parameters import DatabasePath, JsonOption, examples
from dosql_core.command_line.commands.printing import print_json
from dosql_core.command_line.exit_codes import ExitCode
from dosql_core.command_line.opening import detach as detach_from
from dosql_core.command_line.opening import open_existing
from dosql_core.command_line.reporting import CommandFailedError, UsageError, progress_bar
from dosql_core.command_line.wording import counted, size_text
from dosql_core.errors import Error
from dosql_core.options import Retention

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|w|seconds?|minutes?|hours?|days?|weeks?)")
_AGE_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)b?")
_SIZE_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def verify(
    database: DatabasePath,
    quick: Annotated[
        bool, typer.Option(help="Only structure: do not decode every page version.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Check everything: checksums, the chain of commits, page maps, SQLite's own integrity.

    Leaves with status 3 when something is wrong.
    """
    with open_existing(database) as opened, progress_bar("verifying", unit="steps") as report:
        findings = opened.verify(report, deep=not quick)
    if json:
        print_json({"is_sound": not findings, "findings": findings})
    elif findings:
        for finding in findings:
            print(finding)
        print(f"{counted(len(findings), 'finding')} in {database}")
    else:
        print(f"{database} is sound")
    if findings:
        raise typer.Exit(ExitCode.DAMAGED)


def compact(
    database: DatabasePath,
    keep_age: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="Keep so much of the past: 90m, 12h, 30d, 4w."),
    ] = None,
    keep_commits: Annotated[
        int | None, typer.Option(metavar="COUNT", min=0, help="Keep so many commits.")
    ] = None,
    keep_bytes: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Keep so much history: 500MB, 2GB.")
    ] = None,
    keep_everything: Annotated[
        bool, typer.Option("--keep-everything", help="Keep all of the past again.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Reclaim the space of moments that need not be kept any more.

    What is kept is remembered with the database, and followed from then on. Snapshots and forks
    keep what they need in any case. Without an option, what was said before is followed.
    """
    if keep_everything and (keep_age or keep_bytes or keep_commits is not None):
        raise UsageError("--keep-everything contradicts the other options")
    with open_existing(database) as opened, progress_bar("compacting", unit="steps") as report:
        retention = opened.retention
        if keep_age is not None:
            retention = replace(retention, age_seconds=parse_age(keep_age))
        if keep_commits is not None:
            retention = replace(retention, commits_max=keep_commits)
        if keep_bytes is not None:
            retention = replace(retention, history_bytes_max=parse_size(keep_bytes))
        if keep_everything:
            retention = Retention()
        if retention != opened.retention:
            opened.set_retention(retention)
        totals = opened.compact(report)
    if json:
        print_json({"retention": retention, **_counts(totals)})
        return
    saved = totals.bytes_before - totals.bytes_after
    print(
        f"history: {size_text(totals.bytes_after)}, {size_text(max(saved, 0))} less;"
        f" {counted(totals.versions_dropped, 'page version')} dropped"
    )


def detach(
    database: DatabasePath,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Leave the plain SQLite file, and remove its history, branches and snapshots for good."""
    is_sound = True
    try:
        with open_existing(database) as opened:
            found = opened.info()
        loss = (
            f"{counted(found.lsn, 'commit')} of history, {counted(found.branches - 1, 'fork')} and"
            f" {counted(found.snapshots, 'snapshot')}"
        )
    except Error as error:
        is_sound = False
        loss = f"a history that cannot be opened ({error})"
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"this would remove {loss}", "say --yes to do it without being asked")
        if not typer.confirm(f"Remove {loss} of {database}?", err=True):
            raise CommandFailedError("nothing was removed")
    detach_from(database, is_sound=is_sound)
    print(f"{database} is a plain SQLite file now")


def parse_age(text: str) -> float:
    """Seconds in an age as typed.

    Errors: UsageError.
    """
    match = _AGE.fullmatch(text.strip().lower())
    if match is None:
        raise UsageError(f"{text!r} is no age", "write 90m, 12h, 30d or 4w")
    return float(match[1]) * _AGE_SECONDS[match[2][0]]


def parse_size(text: str) -> int:
    """Bytes in a size as typed; a kB is 1000 bytes.

    Errors: UsageError.
    """
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None:
        raise UsageError(f"{text!r} is no size", "write 500MB or 2GB")
    return round(float(match[1]) * 1000.0 ** _SIZE_POWERS[match[2]])


def register(app: typer.Typer) -> None:
    """Add the subcommands to the application."""
    app.command(epilog=examples("dosql verify app.db", "dosql verify app.db --json"))(verify)
    app.command(
        epilog=examples(
            "dosql compact app.db",
            "dosql compact app.db --keep-age 30d",
            "dosql compact app.db --keep-commits 1000 --keep-bytes 2GB",
        )
    )(compact)
    app.command(epilog=examples("dosql detach app.db"))(detach)


def _counts(totals: object) -> dict[str, object]:
    names = ("bytes_before", "bytes_after", "versions_dropped", "segments_before", "segments_after")
    return {name: getattr(totals, name) for name in names}

"""What `dosql` says about its own work, on stderr: errors, notes, progress."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING, Protocol

from dosql_core.command_line.results.style import COLOURED, PLAIN, Palette
from dosql_core.errors import Error

if TYPE_CHECKING:
    from rich.progress import Progress

_BOLD_RED = "\x1b[1;31m"
_DIM = "\x1b[2m"
_CYAN = "\x1b[36m"
_RESET = "\x1b[0m"


class MissingExtraError(Exception):
    """A library of an extra is not installed; the message says which and how to get it."""

    def __init__(self, what_for: str, extra: str) -> None:
        super().__init__(what_for, extra)
        self.what_for = what_for
        self.extra = extra

    def __str__(self) -> str:
        return (
            f"{self.what_for} needs the '{self.extra}' extra: pip install \"dosql[{self.extra}]\""
        )


class _CommandLineError(Exception):
    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class UsageError(_CommandLineError):
    """The command line makes no sense, or names a file that is not there."""


class CommandFailedError(_CommandLineError):
    """An operation of the command line itself failed, and SQLite or DoSQL had no part in it."""


class ProgressReport(Protocol):
    """Told how far the work is, as often as the worker likes."""

    def __call__(self, done: int, total: int | None = None) -> None: ...


def wants_colour(stream: IO[str]) -> bool:
    """Whether escape sequences belong on the stream.

    Source: https://no-color.org and https://bixense.com/clicolors
    """
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("CLICOLOR_FORCE", "0") != "0" or os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def palette_for(stream: IO[str]) -> Palette:
    """The colours tables may use on the stream."""
    return COLOURED if wants_colour(stream) else PLAIN


def error_text(error: BaseException, *, colour: bool, label: str = "Error") -> str:
    """The error for a person: what happened, its stable code, and what to do about it."""
    red, dim, cyan, reset = (_BOLD_RED, _DIM, _CYAN, _RESET) if colour else ("", "", "", "")
    message = str(error) or type(error).__name__
    text = f"{red}{label}:{reset} {message}"
    if isinstance(error, Error):
        text += f" {dim}[{error.code}]{reset}"
    hint = getattr(error, "hint", "")
    return f"{text}\n{cyan}hint:{reset} {hint}" if hint else text


def report_error(error: BaseException, *, as_json: bool = False) -> None:
    """Tell the error on stderr: to a person, or with `as_json` to a program."""
    if as_json:
        told = error.to_json() if isinstance(error, Error) else _plain_error(error)
        print(json.dumps(told, ensure_ascii=False), file=sys.stderr)
    else:
        print(error_text(error, colour=wants_colour(sys.stderr)), file=sys.stderr)


def note(text: str) -> None:
    """Say something in passing."""
    dim, reset = (_DIM, _RESET) if wants_colour(sys.stderr) else ("", "")
    print(f"{dim}{text}{reset}", file=sys.stderr)


@contextmanager
def progress_bar(title: str, *, unit: str = "bytes") -> Iterator[ProgressReport]:
    """A bar on stderr from the first report on, gone in the end; nothing where nobody watches."""
    if not sys.stderr.isatty():
        yield lambda done, total=None: None
        return
    with ExitStack() as shown:
        bar: Progress | None = None

        def report(done: int, total: int | None = None) -> None:
            nonlocal bar
            if bar is None:  # most work of this kind has nothing to do, and rich takes its time
                bar = shown.enter_context(_new_bar(unit))
                bar.add_task(title, total=total)
            bar.update(bar.task_ids[0], completed=done, total=total)

        yield report


def _new_bar(unit: str) -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    amount: ProgressColumn = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        amount,
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        transient=True,
    )


def _plain_error(error: BaseException) -> dict[str, object]:
    return {
        "error": type(error).__name__,
        "message": str(error),
        "hint": getattr(error, "hint", ""),
    }

"""Files that are there whole or not at all: written beside their place, then put into it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import IO

from dosql_core.command_line.reporting import CommandFailedError

STANDARD_OUTPUT = "-"


@contextlib.contextmanager
def new_file(destination: str, force: bool) -> Iterator[str]:
    """A path to write to; what was written takes the destination's place at the end, or never."""
    if os.path.lexists(destination) and not force:
        raise CommandFailedError(f"{destination} is already there", "replace it with --force")
    part = f"{destination}.part-{os.getpid()}"
    try:
        yield part
        os.replace(part, destination)
    except OSError as cause:
        raise CommandFailedError(f"cannot write {destination}: {cause.strerror}") from cause
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(part)


@contextlib.contextmanager
def new_text(destination: str, force: bool) -> Iterator[IO[str]]:
    """As `new_file`, for text; or the standard output."""
    if destination == STANDARD_OUTPUT:
        yield sys.stdout
        return
    with (
        new_file(destination, force) as path,
        open(path, "w", encoding="utf-8", newline="") as stream,
    ):
        yield stream

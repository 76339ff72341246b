"""Who may take changes in: one process a lake, and one writer of each source's tables."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from dolake.errors import SourceBusyError
from dolake.ingest.lake_tables import SourceKey

_HINT = "end it first, or send the changes to it: `dolake push`"


def lake_lock(state: Path, hint: str = _HINT) -> contextlib.AbstractContextManager[None]:
    """Be the only process that takes changes in, whatever the source. Errors: SourceBusyError."""
    return _held(state / "ingest.lock", hint)


def source_lock(state: Path, key: SourceKey) -> contextlib.AbstractContextManager[None]:
    """Be the only one who writes the tables of a source. Errors: SourceBusyError."""
    folder = state / "sources"
    folder.mkdir(parents=True, exist_ok=True)
    return _held(folder / f"{quote(str(key), safe='@')}.lock", _HINT)


@contextlib.contextmanager
def _held(path: Path, hint: str) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SourceBusyError(
                f"another process takes changes in at {path.parent}",
                hint=hint,
            ) from None
        yield
    finally:
        os.close(descriptor)

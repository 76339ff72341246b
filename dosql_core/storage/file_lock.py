"""Locks that whole processes hold on each other, by a file that is there for nothing else."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from dosql_core.errors import BranchInUseError


@contextlib.contextmanager
def exclusive_lock(path: str, *, refusal: str | None = None) -> Iterator[None]:
    """Hold a lock file, which is made if need be: wait for it, or with `refusal` give up at once.

    Errors: BranchInUseError saying `refusal`.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (fcntl.LOCK_NB if refusal else 0))
        except BlockingIOError:
            raise BranchInUseError(str(refusal), hint="close it there first") from None
        yield
    finally:
        os.close(descriptor)

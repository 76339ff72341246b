"""Making files and directory entries survive a power cut; the only place that calls fsync."""

from __future__ import annotations

import os


def sync_directory(directory: str) -> None:
    """Make the names in `directory` (files created, renamed, removed) durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: str) -> None:
    """See to it that `directory` is there, and survives; missing parents are made too."""
    if os.path.isdir(directory):
        return
    parent = os.path.dirname(os.path.abspath(directory))
    make_directory(parent)
    try:
        os.mkdir(directory)
    except FileExistsError:
        if not os.path.isdir(directory):
            raise
    sync_directory(parent)


def publish_file(temporary: str, path: str) -> None:
    """Give a written and synced file its final name, durably; it replaces what had that name."""
    os.rename(temporary, path)
    sync_directory(os.path.dirname(path) or ".")


def write_synced(path: str, content: bytes) -> None:
    """Create or overwrite `path` with `content` and sync the file; its name is not yet durable."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def remove_quietly(path: str) -> None:
    """Remove a file that may already be gone."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return

"""A file about to be read: its bytes, decompressed, and what its name promises."""

from __future__ import annotations

import gzip
import io
import sys
import zipfile
from pathlib import Path
from typing import IO

from dosql_core.command_line.reporting import CommandFailedError

STANDARD_INPUT = "-"

FORMATS = ("csv", "tsv", "jsonl", "json", "parquet")
"""What rows can be read from and written to."""

_FORMAT_OF_SUFFIX = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".sql": "sql",
    ".db": "sqlite",
    ".sqlite": "sqlite",
    ".sqlite3": "sqlite",
}
_COMPRESSIONS = (".gz", ".zip")


class BadRowError(CommandFailedError):
    """A row of a file cannot be taken; the message begins with its line.

    Units: `line_number` counts from 1; a quoted value may make a row several lines long, and this
    is the first of them.
    """

    def __init__(self, line_number: int, problem: str, hint: str = "") -> None:
        super().__init__(f"line {line_number}: {problem}", hint)
        self.line_number = line_number


def format_of(path: str) -> str | None:
    """The format a file's name promises, compressed or not; None when it promises nothing."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    if suffixes and suffixes[-1] in _COMPRESSIONS:
        suffixes.pop()
    return _FORMAT_OF_SUFFIX.get(suffixes[-1]) if suffixes else None


class FileSource:
    """A file's bytes, decompressed; how far the file itself was read tells the progress."""

    def __init__(self, path: str) -> None:
        self.name = path
        self._files: list[IO[bytes]] = []
        try:
            self.stream = self._open(path)
        except (OSError, zipfile.BadZipFile) as cause:
            self.close()
            reason = getattr(cause, "strerror", None) or str(cause)
            raise CommandFailedError(f"cannot read {path}: {reason}") from cause

    def _open(self, path: str) -> IO[bytes]:
        if path == STANDARD_INPUT:
            self.raw: IO[bytes] | None = None
            return sys.stdin.buffer
        self.raw = open(path, "rb")  # noqa: SIM115 - stays open while rows are read
        self._files.append(self.raw)
        if path.lower().endswith(".gz"):
            return self._keep(io.BufferedReader(gzip.GzipFile(fileobj=self.raw)))
        if path.lower().endswith(".zip"):
            archive = zipfile.ZipFile(self.raw)
            names = [name for name in archive.namelist() if not name.startswith("__MACOSX")]
            if len(names) != 1:
                raise CommandFailedError(f"{path} holds {len(names)} files, expected one")
            return self._keep(archive.open(names[0]))
        return self.raw

    def _keep(self, file: IO[bytes]) -> IO[bytes]:
        self._files.append(file)
        return file

    def bytes_read(self) -> int:
        """How much of the file itself was read."""
        return self.raw.tell() if self.raw else 0

    def close(self) -> None:
        """Close every file that was opened."""
        for file in reversed(self._files):
            file.close()

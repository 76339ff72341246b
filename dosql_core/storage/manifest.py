"""The manifest of a branch's history: which segments are live, and which LSNs they answer for."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

from dosql_core.errors import CorruptStoreError
from dosql_core.identifiers import BranchId, Lsn
from dosql_core.storage.checked_document import read_document, write_document

MANIFEST_NAME = "manifest.json"
MANIFEST_KIND = "dosql history manifest"
MANIFEST_FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class SegmentName:
    """A live segment, as the manifest names it.

    Units: `first` and `last` are the LSNs it answers for; `checksum` is that of its trailer.
    """

    name: str
    first: Lsn
    last: Lsn
    bytes: int
    checksum: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a branch's history is, at one moment; replaced whole.

    Shape: `segments` cover their range without a hole, in ascending order; every LSN from
           `oldest_lsn` to `newest_lsn` is readable, and those of `pinned` below. `captured` belongs
           to the kernel. `generation` grows with every segment named, so names never repeat.
    """

    page_size: int
    branch_id: BranchId
    fork_lsn: Lsn
    newest_lsn: Lsn
    oldest_lsn: Lsn
    pinned: tuple[Lsn, ...] = ()
    segments: tuple[SegmentName, ...] = ()
    captured: dict[str, Any] | None = None
    generation: int = 0

    @property
    def next_generation(self) -> int:
        return self.generation + 1

    def is_readable(self, lsn: Lsn) -> bool:
        """Whether the state of the branch at `lsn` (not one of its ancestors') is kept."""
        return self.oldest_lsn <= lsn <= self.newest_lsn or lsn in self.pinned


def read_manifest(directory: str) -> Manifest:
    """The manifest in `directory`.

    Errors: FileNotFoundError when there is none; CorruptStoreError, FormatVersionError as
            `read_document`.
    """
    path = os.path.join(directory, MANIFEST_NAME)
    content = read_document(path, MANIFEST_KIND, MANIFEST_FORMAT_VERSION)
    try:
        manifest = Manifest(**content)
        return replace(
            manifest,
            pinned=tuple(manifest.pinned),
            segments=tuple(SegmentName(**segment) for segment in content["segments"]),
        )
    except (TypeError, KeyError) as error:
        raise CorruptStoreError(f"{path} does not have the fields of a manifest") from error


def write_manifest(directory: str, manifest: Manifest) -> None:
    """Replace the manifest in `directory`, atomically and durably."""
    content = {
        "page_size": manifest.page_size,
        "branch_id": manifest.branch_id,
        "fork_lsn": manifest.fork_lsn,
        "newest_lsn": manifest.newest_lsn,
        "oldest_lsn": manifest.oldest_lsn,
        "pinned": list(manifest.pinned),
        "segments": [
            {
                "name": s.name,
                "first": s.first,
                "last": s.last,
                "bytes": s.bytes,
                "checksum": s.checksum,
            }
            for s in manifest.segments
        ],
        "captured": manifest.captured,
        "generation": manifest.generation,
    }
    write_document(
        os.path.join(directory, MANIFEST_NAME), MANIFEST_KIND, MANIFEST_FORMAT_VERSION, content
    )

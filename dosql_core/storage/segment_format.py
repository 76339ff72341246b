"""Layout of a segment: the records of history, the constants and the packing; no I/O.

A segment is an immutable file with the page versions and commit records of a range of LSNs of one
branch. docs/formats/segment.md describes every byte.
"""

from __future__ import annotations

import enum
import struct
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dosql_core.errors import CorruptStoreError, FormatVersionError, NotSupportedError
from dosql_core.identifiers import BranchId, Lsn, Microseconds, PageNumber

SEGMENT_FORMAT_VERSION = 1
MAGIC = b"DoSQLseg"
END_MAGIC = b"DoSQLend"

VERSIONS_PER_BLOCK_MAX = 32
RAW_BYTES_PER_BLOCK_MAX = 64 * 1024
"""Longer blocks save bytes and cost reads: decoding one takes about 20 us + 1 us a page."""

CHAIN_DEPTH_MAX = 4
"""Blocks to decode, at most, before the one asked for."""

INDEX_SLICE_ENTRIES = 1024
"""Entries of the page index under one checksum, which is verified when first needed."""

COMMITS_PER_CHUNK = 1024

_HEADER = struct.Struct("<8sIIQQHH")
_BLOCK_HEADER = struct.Struct("<IIIIIBB")
_TRAILER = struct.Struct("<QQIQIQIII8s")
_CHECKSUM = struct.Struct("<I")

BLOCK_HEADER_BYTES = _BLOCK_HEADER.size
TRAILER_BYTES = _TRAILER.size
HEADER_FIXED_BYTES = _HEADER.size
POSITION_BITS = 16
LSN_OFFSET_BITS = 32
LOW_LSN_MASK = (1 << LSN_OFFSET_BITS) - 1


class CommitFlag(enum.IntFlag):
    """What is special about a commit.

    ESTIMATED_TIME: `committed_at` was not taken at the commit but interpolated afterwards.
    FOREIGN: another program than DoSQL wrote it.
    BASE: every page of the database was recorded with it.
    GAP: commits of other programs lie unseen between it and the one before.
    RESTORE: it put an older state back.
    """

    NONE = 0
    ESTIMATED_TIME = 1
    FOREIGN = 2
    BASE = 4
    GAP = 8
    RESTORE = 16


class NewCommit(NamedTuple):
    """A commit to be sealed.

    Shape: `causes` says in JSON which rows triggers and foreign keys changed, where it is known.
    Units: `page_count` is the size of the database in pages after it.
    """

    lsn: Lsn
    committed_at: Microseconds
    page_count: int
    flags: CommitFlag = CommitFlag.NONE
    author: str | None = None
    message: str | None = None
    causes: str | None = None


class CommitDetails(NamedTuple):
    """What few commits have; `NewCommit` says what it means."""

    flags: CommitFlag = CommitFlag.NONE
    author: str | None = None
    message: str | None = None
    causes: str | None = None


@dataclass(frozen=True, slots=True)
class NewCommits:
    """Commits to be sealed, in columns: sealing takes ten thousand of them in little time.

    Shape: LSNs are dense from `first` on; `told` has, by index, what commits have beside a time and
           a size.
    """

    first: Lsn
    times: list[Microseconds]
    page_counts: list[int]
    told: dict[int, CommitDetails]

    @classmethod
    def of(cls, commits: Sequence[NewCommit]) -> NewCommits:
        """The same commits in columns.

        Errors: ValueError when their LSNs are not dense.
        """
        first, last = commits[0].lsn, commits[-1].lsn
        if [commit.lsn for commit in commits] != list(range(first, last + 1)):
            raise ValueError(f"the commits from LSN {first} to {last} are not dense")
        told = {index: CommitDetails(*commit[3:]) for index, commit in enumerate(commits)}
        return cls(
            first,
            [commit.committed_at for commit in commits],
            [commit.page_count for commit in commits],
            {index: details for index, details in told.items() if details != CommitDetails()},
        )

    def __len__(self) -> int:
        return len(self.times)

    @property
    def last(self) -> Lsn:
        """The LSN of the last of them."""
        return Lsn(self.first + len(self.times) - 1)

    def has_flag(self, flag: CommitFlag) -> bool:
        """Whether any of them has it."""
        return any(details.flags & flag for details in self.told.values())


class CommitRecord(NamedTuple):
    """A commit that history knows.

    Shape: `causes` as `NewCommit` has it.
    Units: `page_count` is the size of the database in pages after it; `version_count` the page
           versions recorded with it; `stored_bytes` what those took when sealed, about.
    """

    lsn: Lsn
    committed_at: Microseconds
    page_count: int
    version_count: int
    stored_bytes: int
    flags: CommitFlag = CommitFlag.NONE
    author: str | None = None
    message: str | None = None
    causes: str | None = None


class SegmentHeader(NamedTuple):
    """The beginning of a segment: what it is a part of."""

    page_size: int
    branch_id: BranchId
    first_lsn: Lsn
    last_lsn: Lsn


class SegmentTrailer(NamedTuple):
    """The end of a segment: where its tables lie.

    Shape: the keys begin at `index_offset`, the locations follow, `entry_count` of each; the fences
           and the chunk directory are given by offset and checksum.
    """

    index_offset: int
    entry_count: int
    fences_checksum: int
    chunks_offset: int
    chunk_count: int
    chunk_directory_offset: int
    chunk_directory_checksum: int
    header_checksum: int


class BlockHeader(NamedTuple):
    """The beginning of a block: `version_count` consecutive versions of one page.

    Units: `first_lsn_low` is the lower 32 bits of the LSN of its first version; `prefix_distance`
           how many LSNs before that its prefix lies (0: none, a keyframe); `depth` how many blocks
           must be decoded before it, at most.
    """

    payload_bytes: int
    page_number: PageNumber
    first_lsn_low: int
    prefix_distance: int
    version_count: int
    depth: int


def require_little_endian() -> None:
    """Refuse a host whose native integers are not the format's: its tables are used in place."""
    if sys.byteorder != "little":
        raise NotSupportedError("DoSQL's history needs a little-endian machine")


def pack_header(header: SegmentHeader) -> bytes:
    """The bytes a segment begins with, checksum included."""
    branch = header.branch_id.encode()
    fixed = _HEADER.pack(
        MAGIC,
        SEGMENT_FORMAT_VERSION,
        header.page_size,
        header.first_lsn,
        header.last_lsn,
        len(branch),
        0,
    )
    return fixed + branch + _CHECKSUM.pack(zlib.crc32(fixed + branch))


def unpack_header(raw: bytes, path: str) -> tuple[SegmentHeader, int]:
    """Read the header of a segment; also tells its size, where the first block begins.

    Shape:  `raw` holds at least the header, or the whole file when that is shorter.
    Errors: CorruptStoreError when it is not whole; FormatVersionError for another version.
    """
    if len(raw) < HEADER_FIXED_BYTES + _CHECKSUM.size:
        raise CorruptStoreError(f"{path} is cut short: {len(raw)} bytes are no segment")
    magic, version, page_size, first, last, branch_bytes, _ = _HEADER.unpack_from(raw)
    end = HEADER_FIXED_BYTES + branch_bytes
    if magic != MAGIC:
        raise CorruptStoreError(f"{path} begins with {magic!r}, a segment with {MAGIC!r}")
    if len(raw) < end + _CHECKSUM.size or _CHECKSUM.unpack_from(raw, end)[0] != zlib.crc32(
        raw[:end]
    ):
        raise CorruptStoreError(f"{path}: the segment's header fails its checksum")
    if version != SEGMENT_FORMAT_VERSION:
        raise FormatVersionError(
            f"{path} has segment format version {version}; "
            f"this DoSQL knows version {SEGMENT_FORMAT_VERSION}"
        )
    branch_id = BranchId(raw[HEADER_FIXED_BYTES:end].decode())
    return SegmentHeader(page_size, branch_id, Lsn(first), Lsn(last)), end + _CHECKSUM.size


def pack_trailer(trailer: SegmentTrailer) -> bytes:
    """The bytes a segment ends with, checksum included."""
    unchecked = _TRAILER.pack(*trailer, 0, END_MAGIC)
    return _TRAILER.pack(*trailer, zlib.crc32(unchecked), END_MAGIC)


def unpack_trailer(raw: bytes, path: str) -> SegmentTrailer:
    """Read the trailer of a segment.

    Shape:  exactly TRAILER_BYTES bytes.
    Errors: CorruptStoreError when it is not whole.
    """
    *fields, checksum, magic = _TRAILER.unpack(raw)
    trailer = SegmentTrailer(*fields)
    if magic != END_MAGIC or checksum != zlib.crc32(_TRAILER.pack(*trailer, 0, END_MAGIC)):
        raise CorruptStoreError(f"{path}: the segment's trailer fails its checksum")
    return trailer


def pack_block(header: BlockHeader, payload: bytes) -> bytes:
    """The bytes of a block; its checksum covers everything after itself."""
    unchecked = _BLOCK_HEADER.pack(0, *header)
    checksum = zlib.crc32(payload, zlib.crc32(unchecked[4:]))
    return _CHECKSUM.pack(checksum) + unchecked[4:] + payload


def unpack_block_header(raw: bytes | memoryview) -> tuple[int, BlockHeader]:
    """The stored checksum and the header of the block that `raw` begins with."""
    checksum, *fields = _BLOCK_HEADER.unpack_from(raw)
    return checksum, BlockHeader(*fields)


def versions_per_block(page_size: int) -> int:
    """How many versions of a page of that size one block holds at most."""
    return max(1, min(VERSIONS_PER_BLOCK_MAX, RAW_BYTES_PER_BLOCK_MAX // page_size))

"""Frames of a SQLite WAL as bytes: what a commit of whole pages looks like; no I/O, no locking.

Source: https://sqlite.org/fileformat2.html, "WAL File Format" and "Checksum Algorithm".
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Iterator

from dosql_core.identifiers import PageNumber

_MAGIC_LITTLE, _MAGIC_BIG = 0x377F0682, 0x377F0683
_FORMAT_VERSION = 3007000
_MASK = 0xFFFFFFFF
_HEADER_FIELDS = struct.Struct(">IIIIII")
_PAIR = struct.Struct(">II")

Checksum = tuple[int, int]


def wal_checksum(data: bytes, so_far: Checksum, *, is_big_endian: bool) -> Checksum:
    """The running checksum after `data`.

    Shape: `data` is a multiple of 8 bytes.
    """
    first, second = so_far
    words = iter(struct.unpack(f"{'>' if is_big_endian else '<'}{len(data) // 4}I", data))
    for one, other in zip(words, words, strict=True):
        first = (first + one + second) & _MASK
        second = (second + other + first) & _MASK
    return first, second


def wal_header(page_size: int, sequence: int, salts: tuple[int, int]) -> tuple[bytes, Checksum]:
    """The header of a WAL that begins, and the checksum its frames go on from."""
    stored_size = 1 if page_size == 65536 else page_size
    fields = _HEADER_FIELDS.pack(_MAGIC_LITTLE, _FORMAT_VERSION, stored_size, sequence, *salts)
    checksum = wal_checksum(fields, (0, 0), is_big_endian=False)
    return fields + _PAIR.pack(*checksum), checksum


def has_big_endian_checksums(header: bytes) -> bool:
    """Whether the checksums of a WAL with this header are over big-endian words."""
    return int.from_bytes(header[:4], "big") == _MAGIC_BIG


def commit_frames(
    pages: Iterable[tuple[PageNumber, bytes]],
    page_count: int,
    salts: tuple[int, int],
    checksum: Checksum,
    *,
    is_big_endian: bool,
) -> Iterator[bytes]:
    """The frames of one commit, each whole; the last says that it ends a commit.

    Shape: `page_count` is the size of the database after it; `checksum` that of the frame before.
    """
    following = itertools.chain(pages, [None])
    current = next(following)
    for later in following:
        assert current is not None
        number, page = current
        begins = _PAIR.pack(number, page_count if later is None else 0)
        checksum = wal_checksum(begins, checksum, is_big_endian=is_big_endian)
        checksum = wal_checksum(page, checksum, is_big_endian=is_big_endian)
        yield begins + _PAIR.pack(*salts) + _PAIR.pack(*checksum) + page
        current = later

"""Commit records in columns: a chunk of a thousand takes a few bytes each and decodes in C."""

from __future__ import annotations

import json
import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from operator import sub
from typing import NamedTuple

from dosql_core.identifiers import Lsn, Microseconds
from dosql_core.storage.page_codec import compress_table, decompress_table
from dosql_core.storage.segment_format import (
    COMMITS_PER_CHUNK,
    CommitFlag,
    CommitRecord,
    NewCommits,
)

_HEAD = struct.Struct("<IqqqI6c")
_FLAGS = [CommitFlag(number) for number in range(sum(CommitFlag) + 1)]
_UNSIGNED = "BHIQ"
_SIGNED = "bhiq"


class PackedChunk(NamedTuple):
    """A chunk as it is stored, with what the directory of chunks says of its first record."""

    first_lsn: Lsn
    first_time: Microseconds
    content: bytes


class CommitChunk:
    """Consecutive commit records of a segment, decoded."""

    __slots__ = ("_flags", "_stored", "_texts", "_versions", "lsns", "page_counts", "times")

    def __init__(self, packed: bytes) -> None:
        """Decode a chunk.

        Errors: ValueError when the bytes are none.
        """
        raw = decompress_table(packed)
        try:
            count, lsn, time, page_count, text_bytes, *codes = _HEAD.unpack_from(raw)
            columns: list[array[int]] = []
            offset = _HEAD.size
            for code in codes:
                column = array(code.decode())
                end = offset + count * column.itemsize
                column.frombytes(raw[offset:end])
                columns.append(column)
                offset = end
            if len(raw) != offset + text_bytes or any(len(c) != count for c in columns):
                raise ValueError("a chunk of commits has the wrong length")
            self._texts = json.loads(raw[offset:]) if text_bytes else {}
        except struct.error as error:
            raise ValueError(str(error)) from error
        self.lsns = list(accumulate(columns[0], initial=lsn))[1:]
        self.times = list(accumulate(columns[1], initial=time))[1:]
        self.page_counts = list(accumulate(columns[2], initial=page_count))[1:]
        self._versions, self._stored, self._flags = columns[3:]
        if count and max(self._flags) >= len(_FLAGS):
            raise ValueError(f"a commit has the flags {max(self._flags)}, which mean nothing")

    def __len__(self) -> int:
        return len(self.lsns)

    def index_of(self, lsn: int) -> int | None:
        """Where the record of `lsn` is, if it is here."""
        index = bisect_left(self.lsns, lsn)
        return index if index < len(self.lsns) and self.lsns[index] == lsn else None

    def stored_bytes(self, first: int, last: int) -> int:
        """What the commits from `first` to `last` took when sealed, about."""
        return sum(self._stored[bisect_left(self.lsns, first) : bisect_left(self.lsns, last + 1)])

    def record(self, index: int) -> CommitRecord:
        """The record at `index`, counted from 0."""
        return self.records(index, index + 1)[0]

    def records(self, begins: int, ends: int) -> list[CommitRecord]:
        """The records from index `begins` to before `ends`."""
        texts = self._texts
        if texts:
            told = [(*texts.get(str(index), ()), None, None, None) for index in range(begins, ends)]
            authors, messages, causes = ([text[n] for text in told] for n in range(3))
        else:
            authors = messages = causes = [None] * (ends - begins)
        return list(map(
            CommitRecord,
            self.lsns[begins:ends],
            self.times[begins:ends],
            self.page_counts[begins:ends],
            self._versions[begins:ends],
            self._stored[begins:ends],
            map(_FLAGS.__getitem__, self._flags[begins:ends]),
            authors,
            messages,
            causes,
        ))  # fmt: skip


def pack_chunk(records: Sequence[CommitRecord]) -> PackedChunk:
    """A chunk of commit records.

    Shape: at least one record; LSNs ascend, times do not descend.
    """
    lsns, times, page_counts, version_counts, stored_bytes, flags, *texts_of = zip(
        *records, strict=True
    )
    texts = {
        index: told
        for index, told in enumerate(zip(*texts_of, strict=True))
        if told != (None, None, None)
    }
    return _pack(lsns, times, page_counts, version_counts, stored_bytes, flags, texts)


def pack_new_commits(
    commits: NewCommits, version_counts: Sequence[int], stored_bytes: Sequence[int]
) -> Iterator[PackedChunk]:
    """The chunks of commits that were just sealed, for each of which the versions were counted."""
    first, told = commits.first, commits.told
    for begins in range(0, len(commits), COMMITS_PER_CHUNK):
        ends = min(begins + COMMITS_PER_CHUNK, len(commits))
        flags = bytearray(ends - begins)
        texts = {}
        for index in sorted(told.keys() & range(begins, ends)) if told else ():
            flag, *text = told[index]
            flags[index - begins] = flag
            if text != [None, None, None]:
                texts[index - begins] = tuple(text)
        of_chunk = slice(begins, ends)
        yield _pack(
            range(first + begins, first + ends),
            commits.times[of_chunk],
            commits.page_counts[of_chunk],
            version_counts[of_chunk],
            stored_bytes[of_chunk],
            flags,
            texts,
        )


def _pack(
    lsns: Sequence[int],
    times: Sequence[int],
    page_counts: Sequence[int],
    version_counts: Sequence[int],
    stored_bytes: Sequence[int],
    flags: Sequence[int],
    texts_of: Mapping[int, tuple[str | None, ...]],
) -> PackedChunk:
    """Source: docs/formats/segment.md, "Commit chunks"."""
    columns = [
        _column(_steps(lsns), _UNSIGNED),
        _column(_steps(times), _UNSIGNED),
        _column(_steps(page_counts), _SIGNED),
        _column(version_counts, _UNSIGNED),
        _column(stored_bytes, _UNSIGNED),
        _column(flags, _UNSIGNED),
    ]
    texts = {
        str(index): told if told[2] is not None else told[:2] for index, told in texts_of.items()
    }
    text = json.dumps(texts, ensure_ascii=False).encode() if texts else b""
    head = _HEAD.pack(
        len(lsns),
        lsns[0],
        times[0],
        page_counts[0],
        len(text),
        *(column.typecode.encode() for column in columns),
    )
    packed = compress_table(b"".join([head, *(column.tobytes() for column in columns), text]))
    return PackedChunk(Lsn(lsns[0]), Microseconds(times[0]), packed)


def _steps(values: Sequence[int]) -> list[int]:
    """How much each value is above the one before; 0 for the first."""
    return [0, *map(sub, values[1:], values)]


def _column(values: Sequence[int], codes: str) -> array[int]:
    """`values` in the narrowest integers that hold them."""
    for code in codes[:-1]:
        try:
            return array(code, values)
        except OverflowError:
            continue
    return array(codes[-1], values)

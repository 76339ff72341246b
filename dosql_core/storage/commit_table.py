"""Commit records in columns: a chunk of a thousand takes a few bytes each and decodes in C."""

from __future__ import annotations

import json
import struct
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate, pairwise

from dosql_core.identifiers import Lsn, Microseconds
from dosql_core.storage.page_codec import compress_table, decompress_table
from dosql_core.storage.segment_format import CommitFlag, CommitRecord

_HEAD = struct.Struct("<IqqqI6c")
_UNSIGNED = "BHIQ"
_SIGNED = "bhiq"


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

    def __len__(self) -> int:
        return len(self.lsns)

    def index_of(self, lsn: int) -> int | None:
        """Where the record of `lsn` is, if it is here."""
        index = bisect_left(self.lsns, lsn)
        return index if index < len(self.lsns) and self.lsns[index] == lsn else None

    def record(self, index: int) -> CommitRecord:
        """The record at `index`, counted from 0."""
        texts = self._texts.get(str(index), ()) if self._texts else ()
        author, message, causes = (*texts, None, None, None)[:3]
        return CommitRecord(
            Lsn(self.lsns[index]),
            Microseconds(self.times[index]),
            self.page_counts[index],
            self._versions[index],
            self._stored[index],
            CommitFlag(self._flags[index]),
            author,
            message,
            causes,
        )


def pack_chunk(records: Sequence[CommitRecord]) -> bytes:
    """The bytes of a chunk of commit records.

    Shape:  at least one record; LSNs ascend, times do not descend.
    Source: docs/formats/segment.md, "Commit chunks".
    """
    first = records[0]
    columns = [
        _column([0, *(b.lsn - a.lsn for a, b in pairwise(records))], _UNSIGNED),
        _column([0, *(b.committed_at - a.committed_at for a, b in pairwise(records))], _UNSIGNED),
        _column([0, *(b.page_count - a.page_count for a, b in pairwise(records))], _SIGNED),
        _column([r.version_count for r in records], _UNSIGNED),
        _column([r.stored_bytes for r in records], _UNSIGNED),
        _column([int(r.flags) for r in records], _UNSIGNED),
    ]
    texts = {
        str(index): [r.author, r.message] if r.causes is None else [r.author, r.message, r.causes]
        for index, r in enumerate(records)
        if r.author is not None or r.message is not None or r.causes is not None
    }
    text = json.dumps(texts, ensure_ascii=False).encode() if texts else b""
    head = _HEAD.pack(
        len(records),
        first.lsn,
        first.committed_at,
        first.page_count,
        len(text),
        *(column.typecode.encode() for column in columns),
    )
    return compress_table(b"".join([head, *(column.tobytes() for column in columns), text]))


def _column(values: list[int], codes: str) -> array[int]:
    """`values` in the narrowest integers that hold them."""
    for code in codes[:-1]:
        try:
            return array(code, values)
        except OverflowError:
            continue
    return array(codes[-1], values)

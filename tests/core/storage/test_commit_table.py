"""Commit records in columns come out as they went in, whatever their numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosql_core.identifiers import Lsn, Microseconds
from dosql_core.storage.commit_table import CommitChunk, pack_chunk
from dosql_core.storage.segment_format import CommitFlag, CommitRecord

steps = st.lists(
    st.tuples(
        st.integers(1, 2**40),
        st.integers(0, 2**50),
        st.integers(0, 2**32 - 2),
        st.integers(0, 2**34),
        st.integers(0, 2**50),
        st.sampled_from(CommitFlag),
        st.none() | st.text(),
        st.none() | st.text(),
    ),
    min_size=1,
    max_size=30,
)


@given(steps=steps, first_time=st.integers(-(2**40), 2**52))
def test_records_come_out_as_they_went_in(steps, first_time: int) -> None:
    lsn, time, records = 0, first_time, []
    for lsn_step, time_step, page_count, versions, stored, flags, author, message in steps:
        lsn, time = lsn + lsn_step, time + time_step
        record = CommitRecord(
            Lsn(lsn), Microseconds(time), page_count, versions, stored, flags, author, message
        )
        records.append(record)
    chunk = CommitChunk(pack_chunk(records).content)
    assert [chunk.record(index) for index in range(len(chunk))] == records
    for index, record in enumerate(records):
        assert chunk.index_of(record.lsn) == index
    assert chunk.index_of(lsn + 1) is None


def test_a_commit_takes_a_few_bytes() -> None:
    records = [
        CommitRecord(Lsn(n), Microseconds(1_700_000_000_000_000 + n * n % 997 * 13), 9, 1, 50)
        for n in range(1, 1025)
    ]
    records.sort(key=lambda record: record.committed_at)
    records = [
        CommitRecord(Lsn(n), record.committed_at, 9, 1, 50) for n, record in enumerate(records, 1)
    ]
    assert len(pack_chunk(records).content) < 4 * len(records)


@pytest.mark.parametrize("raw", [b"", b"no zstd frame"])
def test_other_bytes_are_no_chunk(raw: bytes) -> None:
    with pytest.raises(ValueError):
        CommitChunk(raw)


def test_a_chunk_of_the_wrong_length_is_refused() -> None:
    from dosql_core.storage.page_codec import compress_table, decompress_table

    raw = decompress_table(pack_chunk([CommitRecord(Lsn(1), Microseconds(1), 1, 1, 1)]).content)
    for wrong in (raw[:-1], raw + b"\0", raw[:10], b""):
        with pytest.raises(ValueError):
            CommitChunk(compress_table(wrong))

"""How versions of a page become blocks: what goes together, and what each is compressed against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dosql_core.identifiers import Lsn, PageNumber
from dosql_core.storage.page_codec import compress_run
from dosql_core.storage.segment_format import (
    CHAIN_DEPTH_MAX,
    LOW_LSN_MASK,
    BlockHeader,
    versions_per_block,
)

Version = tuple[Lsn, bytes]


class Predecessor(NamedTuple):
    """The version of a page that a block may be compressed against.

    Units: `depth` is that of the block which holds it.
    """

    lsn: Lsn
    depth: int
    content: bytes


class EncodedBlock(NamedTuple):
    """A block ready to be written."""

    header: BlockHeader
    lsns: Sequence[Lsn]
    payload: bytes


def encode_page(
    page: PageNumber,
    versions: Sequence[Version],
    before: Predecessor | None,
    page_size: int,
) -> list[EncodedBlock]:
    """The blocks for consecutive versions of one page, in ascending order of LSN.

    Shape: `before` is the version just before the first, or None when there is none (or it may not
           be used).
    """
    blocks = []
    step = versions_per_block(page_size)
    for start in range(0, len(versions), step):
        part = versions[start : start + step]
        block = encode_block(page, part, before, CHAIN_DEPTH_MAX)
        blocks.append(block)
        before = Predecessor(part[-1][0], block.header.depth, part[-1][1])
    return blocks


def encode_block(
    page: PageNumber, versions: Sequence[Version], before: Predecessor | None, depth_max: int
) -> EncodedBlock:
    """One block with all of `versions`; its depth does not exceed `depth_max`."""
    lsns = [lsn for lsn, _ in versions]
    raw = versions[0][1] if len(versions) == 1 else b"".join(content for _, content in versions)
    payload, depth, distance = b"", 0, 0
    if before is not None and before.depth < depth_max:
        distance = lsns[0] - before.lsn
        if distance <= LOW_LSN_MASK:
            payload = compress_run(raw, before.content)
            depth = before.depth + 1
    if not payload or len(payload) > len(raw) // 6:
        # Against a page that has little in common, the prefix saves less than the chain costs.
        keyframe = compress_run(raw, None)
        if not payload or len(keyframe) * 4 <= len(payload) * 5:
            payload, depth, distance = keyframe, 0, 0
    header = BlockHeader(len(payload), page, lsns[0] & LOW_LSN_MASK, distance, len(lsns), depth)
    return EncodedBlock(header, lsns, payload)

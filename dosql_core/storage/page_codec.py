"""Compressing runs of page versions: zstd at level 1, optionally against an earlier version."""

from __future__ import annotations

import sys
import threading

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_LEVEL = 1
_per_thread = threading.local()


def compress_run(raw: bytes, prefix: bytes | None) -> bytes:
    """`raw` as one zstd frame; with `prefix`, which decompression then needs, usually far smaller.

    Threads: callers in different threads do not disturb one another; zstd runs without the GIL.
    """
    if prefix is not None:
        dictionary = zstd.ZstdDict(prefix, is_raw=True)
        return zstd.compress(raw, _LEVEL, zstd_dict=dictionary.as_prefix)
    # A fresh compressor costs as much as compressing a page with it, so each thread keeps one.
    compressor = getattr(_per_thread, "compressor", None)
    if compressor is None:
        compressor = _per_thread.compressor = zstd.ZstdCompressor(_LEVEL)
    compressed: bytes = compressor.compress(raw, zstd.ZstdCompressor.FLUSH_FRAME)
    return compressed


def decompress_run(payload: bytes, prefix: bytes | None, raw_bytes: int) -> bytes:
    """The first `raw_bytes` bytes of what was compressed; fewer only when there were fewer.

    Errors: ValueError when `payload` is not a frame made with `prefix`.
    """
    dictionary = None if prefix is None else zstd.ZstdDict(prefix, is_raw=True).as_prefix
    try:
        return zstd.ZstdDecompressor(dictionary).decompress(payload, raw_bytes)
    except zstd.ZstdError as error:
        raise ValueError(str(error)) from error


def compress_table(raw: bytes) -> bytes:
    """A small table (commit records) as one zstd frame."""
    return zstd.compress(raw, 3)


def decompress_table(payload: bytes) -> bytes:
    """What `compress_table` was given.

    Errors: ValueError when `payload` is not a whole frame.
    """
    try:
        return zstd.decompress(payload)
    except zstd.ZstdError as error:
        raise ValueError(str(error)) from error

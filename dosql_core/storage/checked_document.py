"""Small JSON files that are replaced whole and checked whole: manifests, refs, identities.

The first line is an envelope (kind, format version, length and checksum of the body), the rest the
body as readable JSON. The envelope never changes between format versions, so any version of DoSQL
can tell "damaged" from "written by a newer one".
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from typing import Any

from dosql_core.errors import CorruptStoreError, FormatVersionError
from dosql_core.storage.durable_files import (
    publish_file,
    remove_quietly,
    telling_disk_errors,
    write_synced,
)

_CHECKSUM_BYTES = 16


def write_document(path: str, kind: str, format_version: int, content: dict[str, Any]) -> None:
    """Replace the document at `path` by `content`, atomically and durably.

    A crash at any point leaves the old document or the new one, and perhaps `<path>.tmp`.
    One writer at a time: concurrent writers would share the temporary name.

    Errors: OSError as the file system reports it; then the old document still stands.
    """
    temporary = f"{path}.tmp"
    try:
        write_synced(temporary, pack_document(kind, format_version, content))
        # Readers tell by inode, time and size whether it was replaced. File systems take the time
        # of a clock that ticks every few milliseconds, and the inode of a file that has just gone.
        now = time.time_ns()
        os.utime(temporary, ns=(now, now))
        publish_file(temporary, path)
    except BaseException:
        remove_quietly(temporary)
        raise


@telling_disk_errors()
def read_document(path: str, kind: str, format_version: int) -> dict[str, Any]:
    """The content of the document at `path`.

    Errors: CorruptStoreError when any byte is missing, added or changed, or the document is of
            another kind; FormatVersionError when it is whole but of another version;
            FileNotFoundError when there is none.
    """
    with open(path, "rb", buffering=0) as file:
        raw = file.readall()
    found_kind, found_version, body = _open_envelope(raw, path)
    if found_kind != kind:
        raise CorruptStoreError(f"{path} is a document of kind {found_kind!r}, expected {kind!r}")
    if found_version != format_version:
        raise FormatVersionError(
            f"{path} has {kind} format version {found_version}; "
            f"this DoSQL knows version {format_version}"
        )
    content: dict[str, Any] = json.loads(body)
    return content


def pack_document(kind: str, format_version: int, content: dict[str, Any]) -> bytes:
    """The bytes of a document.

    Source: docs/formats/checked-document.md.
    """
    body = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    return _pack_envelope(kind, format_version, body) + body


def _pack_envelope(kind: str, format_version: int, body: bytes) -> bytes:
    envelope = {
        "kind": kind,
        "format_version": format_version,
        "body_bytes": len(body),
        "checksum": _checksum(kind, format_version, body),
    }
    return json.dumps(envelope).encode() + b"\n"


def _open_envelope(raw: bytes, path: str) -> tuple[str, int, bytes]:
    line, _, body = raw.partition(b"\n")
    try:
        envelope = json.loads(line)
        kind, format_version = envelope["kind"], envelope["format_version"]
        # Packing again what was read catches every change the JSON reader would forgive: added
        # blanks, another spelling of a number, a repeated key, bytes cut from or added to the body.
        is_whole = (
            isinstance(kind, str)
            and isinstance(format_version, int)
            and _pack_envelope(kind, format_version, body) == line + b"\n"
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CorruptStoreError(f"{path} does not begin with a document envelope") from error
    if not is_whole:
        raise CorruptStoreError(f"{path} fails its checksum ({os.path.basename(path)} is damaged)")
    return kind, format_version, body


def _checksum(kind: str, format_version: int, body: bytes) -> str:
    digest = hashlib.blake2b(digest_size=_CHECKSUM_BYTES)
    digest.update(f"{kind}\0{format_version}\0".encode())
    digest.update(body)
    return digest.hexdigest()

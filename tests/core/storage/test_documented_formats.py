"""The pages of docs/formats, read literally: files are taken apart by their offsets alone."""

from __future__ import annotations

import itertools
import json
import struct
import zlib
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

import dosql_dbapi


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A database with 40 commits, one of them described, and a fork that was written to."""
    path = tmp_path / "app.db"
    con = dosql_dbapi.connect(path)
    con.execute("create table t(id integer primary key, x)")
    for number in range(39):
        with con.transaction(author="ann", message="the fifth") if number == 3 else con:
            con.execute("insert into t values (?, ?)", (number, "x" * 200))
    con.execute("create branch dev")
    con.execute("use branch dev")
    con.execute("update t set x = 'y'")
    con.commit()
    con.execute("create table own(y)")  # which changes page 1
    con.close()
    return tmp_path / "app.db-dosql"


def document(path: Path) -> Any:
    line, _, body = path.read_bytes().partition(b"\n")
    envelope = json.loads(line)
    covered = f"{envelope['kind']}\0{envelope['format_version']}\0".encode() + body
    assert envelope["body_bytes"] == len(body)
    assert envelope["checksum"] == blake2b(covered, digest_size=16).hexdigest()
    assert envelope["format_version"] == 1
    return json.loads(body)


def test_checked_documents_are_as_described(directory: Path) -> None:
    assert len(document(directory / "dosql.json")["database_id"]) == 32
    refs = document(directory / "refs.json")
    main, dev = refs["branches"]
    assert (main["id"], main["parent_id"], main["is_overlay"]) == ("main", None, False)
    assert (dev["name"], dev["parent_id"], dev["fork_lsn"]) == ("dev", "main", 40)
    assert refs["retention"] == {
        "age_seconds": None, "commits_max": None, "history_bytes_max": None,
    }  # fmt: skip


def test_a_segment_is_as_described(directory: Path) -> None:
    history = directory / "branches" / "main" / "history"
    manifest = document(history / "manifest.json")
    assert (manifest["oldest_lsn"], manifest["newest_lsn"]) == (0, 40)
    commits: dict[int, tuple[str, str] | None] = {}
    newest: dict[int, bytes] = {}
    for segment in manifest["segments"]:
        raw = (history / segment["name"]).read_bytes()
        assert len(raw) == segment["bytes"]
        assert zlib.crc32(raw[-60:]) == segment["checksum"]
        read_segment(raw, manifest, commits, newest)
    assert sorted(commits) == list(range(1, 41))
    assert [lsn for lsn, text in commits.items() if text] == [5]
    assert newest[1].startswith(b"SQLite format 3\0")


def read_segment(raw: bytes, manifest: Any, commits: Any, newest: dict[int, bytes]) -> None:
    assert raw[:8] == b"DoSQLseg"
    version, page_size = struct.unpack_from("<II", raw, 8)
    first, last, branch_bytes, zero = struct.unpack_from("<QQHH", raw, 16)
    assert (version, page_size, zero) == (1, manifest["page_size"], 0)
    assert raw[36 : 36 + branch_bytes] == manifest["branch_id"].encode()
    end = 36 + branch_bytes
    assert struct.unpack_from("<I", raw, end) == (zlib.crc32(raw[:end]),)
    trailer = raw[-60:]
    index_at, count, fences_crc = struct.unpack_from("<QQI", trailer, 0)
    chunks_at, chunk_count, directory_at, directory_crc, header_crc, own_crc = struct.unpack_from(
        "<QIQIII", trailer, 20
    )
    assert trailer[52:] == b"DoSQLend"
    assert own_crc == zlib.crc32(trailer[:48] + bytes(4) + trailer[52:])
    assert header_crc == zlib.crc32(raw[: end + 4])
    assert index_at % 8 == 0
    keys = struct.unpack_from(f"<{count}Q", raw, index_at)
    locations = struct.unpack_from(f"<{count}Q", raw, index_at + 8 * count)
    assert list(keys) == sorted(keys)
    slices = -(-count // 1024)
    fences = raw[index_at + 16 * count : chunks_at]
    assert (len(fences), zlib.crc32(fences)) == (12 * slices, fences_crc)
    assert struct.unpack_from("<Q", fences) == (keys[0],)
    assert count <= 1024
    assert struct.unpack_from("<I", fences, 8) == (
        zlib.crc32(raw[index_at : index_at + 16 * count]),
    )
    for key, location in zip(keys, locations, strict=True):
        page, lsn = key >> 32, first + (key & 0xFFFFFFFF)
        assert first <= lsn <= last
        at, position = location >> 16, location & 0xFFFF
        crc, size, of_page, low, distance, versions, depth = struct.unpack_from("<IIIIIBB", raw, at)
        assert crc == zlib.crc32(raw[at + 4 : at + 22 + size])
        assert of_page == page
        assert position < versions <= 32
        assert depth <= 4
        if position == 0:
            assert low == lsn & 0xFFFFFFFF
        if distance == 0:
            payload = raw[at + 22 : at + 22 + size]
            newest[page] = zstd.decompress(payload)[-page_size:]
    directory = raw[directory_at:-60]
    assert (len(directory), zlib.crc32(directory)) == (28 * chunk_count, directory_crc)
    assert chunk_count == 1
    lsn, _time, chunk_end, chunk_crc = struct.unpack("<QqQI", directory)
    assert (lsn, chunk_end) == (first, directory_at)
    assert chunk_crc == zlib.crc32(raw[chunks_at:chunk_end])
    read_chunk(zstd.decompress(raw[chunks_at:chunk_end]), commits)


def read_chunk(chunk: bytes, commits: dict[int, Any]) -> None:
    count, lsn, _time, _pages, text_bytes = struct.unpack_from("<IqqqI", chunk)
    widths = chunk[32:38].decode()
    columns = []
    at = 38
    for width in widths:
        columns.append(struct.unpack_from(f"<{count}{width}", chunk, at))
        at += struct.calcsize(f"<{count}{width}")
    assert len(chunk) == at + text_bytes
    texts = json.loads(chunk[at:]) if text_bytes else {}
    for number, difference in enumerate(columns[0]):
        lsn += difference
        commits[lsn] = texts.get(str(number))


def test_commit_times_are_as_described(directory: Path) -> None:
    raw = (directory / "branches" / "main" / "commit_times.ring").read_bytes()
    assert (raw[:8], len(raw)) == (b"DSOTIME1", 2_097_216)
    entries, last = struct.unpack_from("<QQ", raw, 8)
    assert entries == 41  # the commit that was described has two of one key
    assert struct.unpack_from("<Q", raw, 72 + 16 * 40) == (last,)
    keys = [key for (key,) in struct.iter_unpack("<Q8x", raw[64 : 64 + 16 * entries])]
    assert [a == b for a, b in itertools.pairwise(keys)].count(True) == 1


def test_an_overlay_map_is_as_described(directory: Path) -> None:
    (fork,) = (path for path in (directory / "branches").iterdir() if path.name != "main")
    raw = (fork / "overlay.map").read_bytes()
    assert raw[:8] == b"DoSQLmap"
    version, page_size, pages, base_limit, dirty, crc = struct.unpack_from("<6I", raw, 8)
    assert (version, page_size, base_limit, dirty) == (1, 4096, pages, 0)
    assert crc == zlib.crc32(raw[:24])
    assert len(raw) == 4096 * (1 + -(-pages // 32_736))
    bits = raw[4096 : 4096 + 4092]
    assert struct.unpack_from("<I", raw, 8188) == (zlib.crc32(bits),)
    own = [number + 1 for number in range(pages) if bits[number >> 3] >> (number & 7) & 1]
    overlay = (fork / "head.cow").read_bytes()
    assert 1 in own
    assert len(own) < pages
    assert overlay[:16] == b"DoSQL overlay 1\0"
    last = 4096 * (own[-1] - 1)
    assert overlay[last] in (2, 5, 10, 13)  # what a page of a b-tree begins with

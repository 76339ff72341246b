"""Documents are replaced whole, and any change to their bytes is noticed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosql_core.errors import CorruptStoreError, DatabaseError, FormatVersionError
from dosql_core.storage.checked_document import pack_document, read_document, write_document

KIND = "test document"
CONTENT = {"name": "größe", "numbers": [1, 2, 3], "nested": {"deep": None, "yes": True}}
plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(content=st.dictionaries(st.text(), plain_values, max_size=4))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, content) -> None:
    path = str(tmp_path_factory.getbasetemp() / "round-trip.json")
    write_document(path, KIND, 3, content)
    assert read_document(path, KIND, 3) == content


def test_the_body_is_json_that_people_can_read(tmp_path: Path) -> None:
    path = tmp_path / "document.json"
    write_document(str(path), KIND, 1, CONTENT)
    envelope, body = path.read_text("utf-8").split("\n", 1)
    assert json.loads(envelope)["kind"] == KIND
    assert json.loads(body) == CONTENT
    assert "größe" in body


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "document.json"
    whole = pack_document(KIND, 1, CONTENT)
    for place in range(len(whole)):
        for change in (0x01, 0x20, 0xFF):
            damaged = bytearray(whole)
            damaged[place] ^= change
            path.write_bytes(damaged)
            with pytest.raises(CorruptStoreError, match=r"document\.json"):
                read_document(str(path), KIND, 1)


def test_every_missing_or_added_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "document.json"
    whole = pack_document(KIND, 1, CONTENT)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptStoreError):
            read_document(str(path), KIND, 1)
    for place in range(len(whole) + 1):
        path.write_bytes(whole[:place] + b" " + whole[place:])
        with pytest.raises(CorruptStoreError):
            read_document(str(path), KIND, 1)


def test_another_version_is_told_from_damage(tmp_path: Path) -> None:
    path = str(tmp_path / "document.json")
    write_document(path, KIND, 7, CONTENT)
    with pytest.raises(FormatVersionError, match="version 7; this DoSQL knows version 1"):
        read_document(path, KIND, 1)


def test_a_document_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "document.json")
    write_document(path, "something else", 1, CONTENT)
    with pytest.raises(CorruptStoreError, match="'something else', expected 'test document'"):
        read_document(path, KIND, 1)


def test_a_missing_document_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_document(str(tmp_path / "none.json"), KIND, 1)


def test_a_write_that_fails_leaves_the_old_document_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "document.json"
    write_document(str(path), KIND, 1, CONTENT)
    with pytest.raises(TypeError):
        write_document(str(path), KIND, 1, {"not json": object()})
    (tmp_path / "document.json.tmp").mkdir()  # so that the temporary file cannot be created
    with pytest.raises(OSError):
        write_document(str(path), KIND, 1, {"new": 1})
    (tmp_path / "document.json.tmp").rmdir()
    assert read_document(str(path), KIND, 1) == CONTENT
    assert os.listdir(tmp_path) == ["document.json"]


@pytest.mark.parametrize("raw", [b"", b"\n", b"[]\n", b"{}\n", b"\xff\xfe\n{}", b"[" * 100_000])
def test_bytes_that_are_no_document_are_refused(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "document.json"
    path.write_bytes(raw)
    with pytest.raises(DatabaseError):
        read_document(str(path), KIND, 1)


def test_a_document_has_the_exact_time_of_its_writing(tmp_path: Path) -> None:
    # Who read it before tells by that time, too, that it is another one now.
    path = tmp_path / "document.json"
    for number in range(50):
        before = time.time_ns()
        write_document(str(path), KIND, 1, {"number": number})
        assert before <= path.stat().st_mtime_ns <= time.time_ns()

"""Runs of other projects' suites take the archives that were pinned, and hide no difference."""

from __future__ import annotations

import hashlib
import tarfile
import zipfile
from pathlib import Path

import pytest

from suites.fetch import ARCHIVES, SourceArchive, SuiteUnavailableError, check, unpack
from suites.running import Verdict, undeclared

PASSED, FAILED, SKIPPED = Verdict("passed"), Verdict("failed", "why"), Verdict("skipped")


def packed(folder: Path, name: str) -> Path:
    """An archive like those of an index: one folder at its top."""
    source = folder / "project-1.0"
    source.mkdir()
    (source / "setup.py").write_text("pass\n")
    archive = folder / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(archive, "w") as opened:
            opened.write(source / "setup.py", "project-1.0/setup.py")
    else:
        with tarfile.open(archive, "w:gz") as opened_tar:
            opened_tar.add(source, "project-1.0")
    return archive


@pytest.mark.parametrize("name", ["project-1.0.tar.gz", "project-1.0.zip"])
def test_an_archive_is_unpacked_to_the_folder_at_its_top(tmp_path, name):
    top = unpack(packed(tmp_path, name), tmp_path / "unpacked")
    assert (top / "setup.py").read_text() == "pass\n"


def test_an_archive_with_other_bytes_than_pinned_is_refused(tmp_path):
    archive = packed(tmp_path, "project-1.0.tar.gz")
    pinned = SourceArchive("project", "1.0", hashlib.sha256(archive.read_bytes()).hexdigest())
    check(archive, pinned)
    archive.write_bytes(archive.read_bytes() + b"\0")
    with pytest.raises(SuiteUnavailableError, match="was pinned"):
        check(archive, pinned)


def test_every_archive_is_pinned_by_its_checksum():
    assert [name for name, archive in ARCHIVES.items() if len(archive.sha256) != 64] == []


def test_a_failure_nobody_declared_is_found():
    assert undeclared({"t": FAILED}, {"t": PASSED}, {}) == ["t: failed: why"]
    assert undeclared({"t": FAILED}, {"t": PASSED}, {"t": "because"}) == []


def test_a_skip_that_stock_does_not_need_is_a_finding():
    assert undeclared({"t": SKIPPED}, {"t": PASSED}, {}) == ["t: skipped: "]
    assert undeclared({"t": SKIPPED}, {"t": SKIPPED}, {}) == []


def test_a_declared_test_that_passes_is_a_finding():
    assert undeclared({"t": PASSED}, {"t": PASSED}, {"t": "because"}) == [
        "t: is declared not to pass, but does"
    ]


def test_a_test_that_only_one_side_collected_is_a_finding():
    assert len(undeclared({"a": PASSED}, {"b": PASSED}, {})) == 2


def test_what_fails_on_stock_too_is_not_ours():
    assert undeclared({"t": FAILED}, {"t": FAILED}, {}) == []

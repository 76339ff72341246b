"""Other projects' source archives, fetched from the package index when a run needs them.

`python tests/suites/fetch.py NAME...` fetches and says where; a runner calls `fetch`. What a suite
is and how it runs is its own folder's business.
"""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "suites"
DOWNLOAD_SECONDS_MAX = 600


@dataclass(frozen=True, slots=True)
class SourceArchive:
    """A pinned source archive. Raising a version is a change of its own.

    Shape: `sha256` is the checksum of the archive as the index serves it.
    """

    project: str
    version: str
    sha256: str


ARCHIVES = {
    "dbapi-compliance": SourceArchive(
        "dbapi-compliance",
        "1.15.0",
        "d20568877e2569e85679d2324de25bf5580156f7d9ab847fc43a72a98d326c40",
    ),
    "sqlite-utils": SourceArchive(
        "sqlite-utils",
        "4.2.1",
        "76114b6a5414714e6c70e5fa5c4781b301b590f6951b5da39c8cc60c21382ba1",
    ),
    "aiosqlite": SourceArchive(
        "aiosqlite",
        "0.22.1",
        "043e0bd78d32888c0a9ca90fc788b38796843360c855a7262a532813133a0650",
    ),
    "sqlalchemy": SourceArchive(
        "sqlalchemy",
        "2.1.9",
        "d700a8b2edfb26282a470333d6bc4a454c4acda4d201a3bea7b72fa76c217d28",
    ),
    "sqlalchemy20": SourceArchive(
        "sqlalchemy",
        "2.0.58",
        "2acdcec9836b7c1514a9ad426e7731669a1186d96481a2e82c50bf2aebb49061",
    ),
    "fastapi": SourceArchive(
        "fastapi",
        "0.165.0",
        "dd94d4128319c1e1d50535ab023ab698f850a4d2822f0e181747b46f4ff3c0ab",
    ),
    "alembic": SourceArchive(
        "alembic",
        "1.20.1",
        "83490def1f723413db5096591f7609ac52544805be93849170088ed04f5a2e0b",
    ),
    "pyiceberg": SourceArchive(
        "pyiceberg",
        "0.12.0",
        "19f165d298054f9436108691098b60fa0fa99d0eff5fb884700c43b29334a39d",
    ),
    "django": SourceArchive(
        "django",
        "5.2.19",
        "ad03d8abc51dbff95ebf34b27123cf0c26a3b62db7ba0cd520783686362533d1",
    ),
    "django6": SourceArchive(
        "django",
        "6.1.3",
        "b5d2d9e35295065d13b1927b3f19a59bd119f737aa6299def14ccca1ae3c8c0d",
    ),
    "djangorestframework": SourceArchive(
        "djangorestframework",
        "3.18.3",
        "446a9b352e7eff630421ab3f2328bd2401b109a9470afa4a31189994911ed030",
    ),
    "django-filter": SourceArchive(
        "django-filter",
        "26.2",
        "fd5cc83995fbe9f5f07fb5dcda16fde0f04de1ecf8ef82628b6c0ec921b751af",
    ),
    "django-treebeard": SourceArchive(
        "django-treebeard",
        "7.0.3",
        "eb25678a4e79bdcc315c3cf2158c33a8ade5f51cf4df220909abc603bbd62681",
    ),
    "flask-sqlalchemy": SourceArchive(
        "flask-sqlalchemy",
        "3.1.1",
        "e4b68bb881802dda1a7d878b2fc84c06d1ee57fb40b874d3dc97dabfa36b8312",
    ),
    "sqlmodel": SourceArchive(
        "sqlmodel",
        "0.0.50",
        "8828720c5b6c397df72cdd055286846a352b614da80c1ba05ab7a57b2bb90821",
    ),
    "sqlalchemy-utils": SourceArchive(
        "sqlalchemy-utils",
        "0.43.0",
        "7e8741dbc2c0f992d2181cd69de13de292b3a2a5305a9da832e10d540abcedbf",
    ),
    "aiosql": SourceArchive(
        "aiosql",
        "15.0",
        "744939fdfb3e0c36d88ccaf1f73cb1cf8cc38e7052666b884502db99aff8f3fd",
    ),
    "beets": SourceArchive(
        "beets",
        "2.14.1",
        "b25dc7bf8ed093d8b6e043e88013736902c1082c958b81a598af5db5275539a5",
    ),
    "dataset": SourceArchive(
        "dataset",
        "2.0.0",
        "0e13d309dfbaafb3e67b991605ce6767867262908864455505c415442c0bba45",
    ),
    "ipython": SourceArchive(
        "ipython",
        "9.18.1",
        "6319c0f5372c196397899479e6db1783dd7937abae06815d1317e8d5d51aaaaf",
    ),
    "litecli": SourceArchive(
        "litecli",
        "1.17.1",
        "e2f7191eaba830b24dbbfc9171a495c62562df923ba1cc3b2db2652547c1bac8",
    ),
    "pony": SourceArchive(
        "pony",
        "0.7.20",
        "27a48dffd1d1005956ffa96873fb2de5eada639ca266c43db480cadabc860ccd",
    ),
}


class SuiteUnavailableError(Exception):
    """A suite could not be had; the message says what was tried and what came back."""


def fetch(name: str, *, cache: Path = CACHE) -> Path:
    """The folder that holds the unpacked archive called `name` in ARCHIVES, fetched at most once.

    Errors: SuiteUnavailableError when the index has no such archive, cannot be reached, or serves
            other bytes than were pinned.
    """
    archive = ARCHIVES[name]
    folder = cache / f"{archive.project}-{archive.version}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs may want the same suite at the same time
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=cache) as scratch:
                packed = download(archive, Path(scratch))
                check(packed, archive)
                unpack(packed, Path(scratch) / "unpacked").rename(folder)
    return folder


def download(archive: SourceArchive, into: Path) -> Path:
    """The archive's file, as pip fetched it from the index that pip is configured for."""
    requirement = f"{archive.project}=={archive.version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check"]
    # Only this one as source: what pip builds its metadata with may come as wheels.
    command += ["--no-binary", archive.project, "--dest", str(into), requirement]
    process = subprocess.run(
        command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS_MAX, check=False
    )
    files = [path for path in into.iterdir() if path.is_file()]
    if process.returncode != 0 or len(files) != 1:
        raise SuiteUnavailableError(
            f"pip download {requirement} ended with status {process.returncode} and "
            f"{len(files)} files:\n{process.stderr[-2000:]}"
        )
    return files[0]


def check(packed: Path, archive: SourceArchive) -> None:
    """Make sure that these are the bytes that were pinned.

    Errors: SuiteUnavailableError when they are not.
    """
    found = hashlib.sha256(packed.read_bytes()).hexdigest()
    if found != archive.sha256:
        raise SuiteUnavailableError(
            f"{packed.name} has the SHA-256 {found}; {archive.sha256} was pinned"
        )


def unpack(packed: Path, into: Path) -> Path:
    """The one folder at the top of the archive, unpacked."""
    into.mkdir()
    if packed.suffix == ".zip":
        with zipfile.ZipFile(packed) as opened:
            opened.extractall(into)
    else:
        with tarfile.open(packed) as opened_tar:
            opened_tar.extractall(into, filter="data")
    (top,) = into.iterdir()
    return top


if __name__ == "__main__":
    for wanted in sys.argv[1:] or ARCHIVES:
        print(fetch(wanted))

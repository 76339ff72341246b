"""Any file of a database's directory is damaged: a clear error, never a wrong answer.

A database with branches of every kind is asked everything it can answer; then, for each file of
its directory, bytes are flipped, the end is cut off, or the file is gone. Whatever is answered then
is what was answered before, and what is not answered is refused with an error of ours that has a
code and names what is wrong. `verify` finds what damages anything.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import dosql_dbapi
from dosql_core.database import open_database
from dosql_core.errors import Error

FLIPS_EVERYDAY, FLIPS_LONG = 3, 200
CUTS_EVERYDAY, CUTS_LONG = 2, 40
CONTENT = "select count(*), sum(a), group_concat(hex(substr(b, 1, 9))) from t"
# stock SQLite files and what is like them: SQLite has no checksums, so only `verify` can tell
UNCHECKED = ("head.cow", "head.db", "app.db")
RING = "commit_times.ring"
FILES = (
    "dosql.json",
    "refs.json",
    "branches/main/history/manifest.json",
    "branches/main/history/*.seg",
    "branches/main/commit_times.ring",
    "branches/dev-*/history/*",
    "branches/dev-*/overlay.map",
    "branches/dev-*/head.cow",
    "branches/deep-*/history/*",
    "branches/deep-*/overlay.map",
    "branches/stock-*/history/*",
    "branches/stock-*/head.db",
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """In place of an answer: the error, without what its traceback would keep open."""

    code: str
    message: str


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed database: main, a fork with pages of its own, a fork of it, and a hydrated one."""
    path = tmp_path_factory.mktemp("template") / "app.db"
    chance = random.Random(1)
    with open_database(path) as database:
        connection = dosql_dbapi.connect(path, isolation_level=None)
        connection.execute("create table t(a integer primary key, b blob)")
        for n in range(30):
            connection.execute("insert into t values (?, ?)", (n, chance.randbytes(700)))
            if n % 10 == 9:
                connection.execute("pragma wal_checkpoint").fetchone()
        database.snapshots.create("half", 15)
        for name, source in (("dev", "main"), ("deep", "dev"), ("stock", "main")):
            database.branches.create(name, source)
            fork = dosql_dbapi.connect(path, branch=name, isolation_level=None)
            for n in range(12):
                fork.execute("insert into t(b) values (?)", (chance.randbytes(700),))
                fork.execute("update t set b = ? where a = ?", (chance.randbytes(700), n))
            fork.execute("pragma wal_checkpoint").fetchone()
            fork.close()
        database.branches.hydrate("stock")
        connection.close()
    return path


@pytest.fixture
def copy_of(template: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the template whose files keep their times, as they would on a disk."""
    path = tmp_path / "app.db"
    shutil.copy2(template, path)
    shutil.copytree(f"{template}-dosql", f"{path}-dosql")
    everything(path)  # the copy is noticed, and settled
    descriptors = len(os.listdir("/proc/self/fd"))
    yield path
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= descriptors


def everything(path: Path) -> dict[str, object]:
    """All answers of a database, or in place of one the error it was refused with."""
    answers: dict[str, object] = {}

    def ask(question: str, **where: object) -> None:
        try:
            connection = dosql_dbapi.connect(path, **where)
            with contextlib.closing(connection):
                answers[question] = connection.execute(CONTENT).fetchall()
                answers[f"{question} log"] = connection.execute(
                    "select lsn, committed_at, pages, message from dosql_log"
                ).fetchall()
        except Error as error:
            answers[question] = Refusal(error.code, str(error))

    for branch in ("main", "dev", "deep", "stock"):
        ask(branch, branch=branch)
        for lsn in (3, 15, 31) if branch == "main" else (15, 38):
            ask(f"{branch} {lsn}", branch=branch, as_of=lsn)
    ask("snapshot", as_of="snapshot:half")
    return answers


def check_answers(path: Path, expected: dict[str, object], file: Path, what: str) -> None:
    """No answer differs, unless nothing could know: then `verify` tells."""
    found = everything(path)
    wrong = []
    for question, answer in found.items():
        if isinstance(answer, Refusal):
            assert answer.code and answer.message, what
        elif question in expected and answer != expected[question]:
            wrong.append(question)
    if wrong:
        assert file.name in UNCHECKED, f"{what}: {wrong}"
    is_refused = any(isinstance(answer, Refusal) for answer in found.values())
    if wrong or not is_refused:
        findings = findings_of(path)
        is_told = bool(findings)
        assert is_told or not wrong, f"{what}: verify finds nothing, but {wrong}"


def findings_of(path: Path) -> list[str]:
    try:
        with open_database(path) as database:
            return [str(finding) for finding in database.verify()]
    except Error as error:
        return [str(error)]


@contextlib.contextmanager
def put_back(root: Path, damaged: Path) -> Iterator[None]:
    """Undo what the block did below `root`, in place: files keep their inodes and times.

    Rings are large, and what they note between openings is only about commits not yet captured.
    """
    kept = {
        file: (file.read_bytes(), file.stat())
        for file in root.rglob("*")
        if file.is_file() and (file == damaged or file.name != RING)
    }
    try:
        yield
    finally:
        for file in [file for file in root.rglob("*") if file.is_file()]:
            if file not in kept and file.name != RING:
                file.unlink()
        for file, (content, stat) in kept.items():
            if not file.exists() or file.read_bytes() != content:
                file.write_bytes(content)
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.leaves_damage("puts every file back, but what it found stays in the error's way")
@pytest.mark.parametrize("pattern", FILES)
def test_no_damage_to_a_file_gives_a_wrong_answer(
    pattern: str, copy_of: Path, seeded_random: random.Random, is_long_run: bool
) -> None:
    files = sorted(Path(f"{copy_of}-dosql").glob(pattern))
    assert files
    expected = everything(copy_of)
    assert not [answer for answer in expected.values() if isinstance(answer, Refusal)]
    for file in files:
        whole = file.read_bytes()
        limit = len(whole) if file.name != RING else 4096
        for _ in range(FLIPS_LONG if is_long_run else FLIPS_EVERYDAY):
            at, change = seeded_random.randrange(limit), seeded_random.randrange(1, 256)
            damaged = bytearray(whole)
            damaged[at] ^= change
            with put_back(copy_of.parent, file):
                keep_time(file, bytes(damaged))
                check_answers(copy_of, expected, file, f"{file.name}: byte {at} ^ {change}")
        for _ in range(CUTS_LONG if is_long_run else CUTS_EVERYDAY):
            length = seeded_random.randrange(len(whole))
            with put_back(copy_of.parent, file):
                keep_time(file, whole[:length])
                what = f"{file.name}: cut to {length} of {len(whole)}"
                check_answers(copy_of, expected, file, what)
        with put_back(copy_of.parent, file):
            file.unlink()
            check_answers(copy_of, expected, file, f"{file.name}: gone")
    assert everything(copy_of) == expected


def keep_time(file: Path, content: bytes) -> None:
    """Write as a failing disk does: the time of the file stays as it was."""
    before = file.stat()
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

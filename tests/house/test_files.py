"""What the files of the repository may be: how long, and what they may not mention."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fixtures.checkout import ROOT, text_files, tracked_files

LINES_MAX = 700
BYTES_MAX = 1_000_000
# A longer file holds one idea all the same, and says which.
LONGER_FOR_A_REASON: dict[str, str] = {}

# Places of one machine have no business here. A path in an example is under /tmp or /path/to.
MACHINE_PATH = re.compile(
    r"(?<![\w./:~-])/(?:home|root|Users|work|opt/pypi|opt/wheels|mnt)/[\w.-]+"
)
VAGUE_NAMES = {"utils.py", "util.py", "helpers.py", "common.py", "types.py", "misc.py"}


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def test_no_file_is_longer_than_one_idea() -> None:
    too_long = {
        name_of(file): count
        for file in tracked_files(".py")
        if (count := len(file.read_text("utf-8").splitlines())) > LINES_MAX
        and name_of(file) not in LONGER_FOR_A_REASON
    }
    assert too_long == {}


def test_reasons_are_given_only_for_files_that_need_one() -> None:
    needless = [
        name
        for name in LONGER_FOR_A_REASON
        if len((ROOT / name).read_text("utf-8").splitlines()) <= LINES_MAX
    ]
    assert needless == []


def test_no_file_is_too_large_to_review() -> None:
    assert [name_of(f) for f in tracked_files() if f.stat().st_size > BYTES_MAX] == []


def test_no_module_is_named_for_nothing() -> None:
    assert [name_of(f) for f in tracked_files(".py") if f.name in VAGUE_NAMES] == []


@pytest.mark.parametrize("file", text_files(), ids=name_of)
def test_a_file_names_no_place_of_one_machine(file: Path) -> None:
    if file == Path(__file__):
        return
    found = [
        f"line {number}: {line.strip()}"
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert found == []


def test_python_files_have_no_code_before_their_docstring() -> None:
    bare = [
        name_of(file)
        for file in tracked_files(".py")
        if (text := file.read_text("utf-8")).strip()
        and not text.lstrip().startswith(('"""', 'r"""', "#!"))
    ]
    assert bare == []

"""Links of the documents lead somewhere, decisions are indexed, and snippets run."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fixtures.checkout import ROOT, tracked_files

INLINE_LINK = re.compile(
    r"(?<!\\)!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)"
)
REFERENCE_LINK = re.compile(r"^\[[^\]]+\]:\s+(\S+)", re.M)
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$")
FENCE = re.compile(r"^(\s*)(```+|~~~+)\s*([\w+-]*)(.*)$")
CODE_SPAN = re.compile(r"`[^`\n]*`")
DECISIONS = ROOT / "docs" / "decisions"

DOCUMENTS = tracked_files(".md")


@dataclass(frozen=True, slots=True)
class Snippet:
    """A fenced block of a document. `setting` is what follows the language on its first line."""

    document: Path
    line: int
    language: str
    setting: str
    text: str


def snippets(document: Path) -> Iterator[Snippet]:
    lines = document.read_text("utf-8").splitlines()
    index = 0
    while index < len(lines):
        opening = FENCE.match(lines[index])
        index += 1
        if opening is None:
            continue
        indent, fence, language, setting = opening.groups()
        first = index
        while index < len(lines) and not lines[index].strip().startswith(fence):
            index += 1
        body = [line.removeprefix(indent) for line in lines[first:index]]
        yield Snippet(document, first, language, setting.strip(), "\n".join(body) + "\n")
        index += 1


def prose(document: Path) -> str:
    """The document without its fenced blocks and code spans, where brackets mean other things."""
    text = document.read_text("utf-8")
    for snippet in snippets(document):
        text = text.replace(snippet.text, "\n", 1)
    return CODE_SPAN.sub("", text)


def anchors(document: Path) -> set[str]:
    """Fragments that lead to the headings of a document, as the usual renderers make them."""
    found: dict[str, int] = {}
    names = set()
    in_fence = False
    for line in document.read_text("utf-8").splitlines():
        if FENCE.match(line):
            in_fence = not in_fence
        heading = HEADING.match(line)
        if in_fence or heading is None:
            continue
        words = re.sub(r"[^\w\- ]", "", heading[1].replace("`", "").lower())
        name = words.replace(" ", "-")
        count = found.get(name, 0)
        found[name] = count + 1
        names.add(f"{name}-{count}" if count else name)
    return names


def relative(document: Path) -> str:
    return str(document.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_links_lead_somewhere(document: Path) -> None:
    text = prose(document)
    broken = []
    for target in INLINE_LINK.findall(text) + REFERENCE_LINK.findall(text):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):  # the web is not this test's business
            continue
        path, _, fragment = target.partition("#")
        linked = (document.parent / path).resolve() if path else document
        if not linked.exists():
            broken.append(f"{target}: nothing is there")
        elif fragment and linked.suffix == ".md" and fragment not in anchors(linked):
            broken.append(f"{target}: no heading of that name")
    assert broken == []


def test_every_decision_is_indexed_once() -> None:
    index = (DECISIONS / "README.md").read_text("utf-8")
    files = sorted(p.name for p in DECISIONS.glob("[0-9]*.md"))
    assert [name for name in files if index.count(f"]({name})") != 1] == []


def test_decisions_are_numbered_without_a_gap_and_keep_to_the_template() -> None:
    files = sorted(DECISIONS.glob("[0-9]*.md"))
    numbers = [int(file.name[:4]) for file in files]
    assert numbers == list(range(1, len(files) + 1))
    for file in files:
        headings = re.findall(r"^## (.+)$", file.read_text("utf-8"), re.M)
        missing = {"Context", "Decision", "What it costs us"} - set(headings)
        assert missing == set(), file.name


def test_every_format_page_says_its_version_and_byte_order() -> None:
    for page in sorted((ROOT / "docs" / "formats").glob("*.md")):
        if page.name == "README.md":
            continue
        text = page.read_text("utf-8").lower()
        assert "format version" in text, page.name
        assert "endian" in text or "json" in text or "text" in text, page.name


PYTHON_SNIPPETS = [
    snippet
    for document in DOCUMENTS
    if document.name != "DECISION_TEMPLATE.md"
    for snippet in snippets(document)
    if snippet.language in ("python", "py")
]


def test_python_snippets_compile() -> None:
    for snippet in PYTHON_SNIPPETS:
        if "fragment" not in snippet.setting:
            compile(snippet.text, f"{relative(snippet.document)}:{snippet.line}", "exec")


# Guides that run where what they are about is installed.
NEEDED = {
    **{framework: (framework,) for framework in ("django", "peewee", "sqlalchemy")},
    "lake": ("obstore", "pyiceberg"),
    "lake_catalog": ("obstore", "pyiceberg", "duckdb_extension_iceberg", "polars"),
    "lake_tables": ("obstore",),
    "lake_types": ("msgspec",),
}
RUNNABLE_DOCUMENTS = sorted(
    {
        s.document
        for s in PYTHON_SNIPPETS
        if s.document.name == "README.md" and s.document.parent == ROOT
    }
    | {s.document for s in PYTHON_SNIPPETS if s.document.is_relative_to(ROOT / "docs")}
)


@pytest.mark.parametrize("document", RUNNABLE_DOCUMENTS, ids=relative)
def test_python_snippets_of_a_document_run_one_after_another(
    document: Path, tmp_path: Path
) -> None:
    """All Python blocks of a page are one program, run in an empty folder.

    A block whose fence reads ```python no-run (a server, a long load) is left out, and one that
    reads ```python fragment is not even a whole statement.
    """
    for module in NEEDED.get(document.stem, ()):
        pytest.importorskip(module)
    program = "\n".join(
        f"# line {snippet.line}\n{snippet.text}"
        for snippet in PYTHON_SNIPPETS
        if snippet.document == document
        and not {"no-run", "fragment"} & set(snippet.setting.split())
    )
    told = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert told.returncode == 0, told.stderr

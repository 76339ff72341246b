"""The tree that EXPLAIN QUERY PLAN describes, drawn as sqlite3's shell draws it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

_Children = dict[Any, list[Sequence[Any]]]

PLAN_COLUMNS = ("id", "parent", "notused", "detail")


def plan_tree(rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Lines of the tree, from rows of EXPLAIN QUERY PLAN."""
    children: _Children = {}
    for row in rows:
        children.setdefault(row[1], []).append(row)
    yield "QUERY PLAN\n"
    yield from _branches(children, 0, "")


def _branches(children: _Children, parent: object, indent: str) -> Iterator[str]:
    rows = children.get(parent, [])
    for index, row in enumerate(rows):
        is_last = index == len(rows) - 1
        yield f"{indent}{'`--' if is_last else '|--'}{row[3]}\n"
        yield from _branches(children, row[0], indent + ("   " if is_last else "|  "))

"""Definitions under the names of a merge: SQLite itself rewrites what refers to renamed things."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from dosql_core.kernel.connection import KernelConnection, KernelError, run
from dosql_core.merging.merged_names import MomentNames
from dosql_core.rows.table_layout import Schema

Objects = dict[tuple[str, str], str]


def rename_in(kernel: Any, names: MomentNames) -> None:
    """Bring the database of a connection to the names of the merge."""
    run(kernel, "PRAGMA legacy_alter_table = OFF")
    run(kernel, "PRAGMA writable_schema = ON")  # a view that makes no sense is no reason to refuse
    try:
        for sql in names.statements():
            run(kernel, sql)
    finally:
        run(kernel, "PRAGMA writable_schema = OFF")
        run(kernel, "PRAGMA legacy_alter_table = ON")


def in_merged_names(schema: Schema, names: MomentNames) -> Schema:
    """The schema of a moment under the names of the merge, and all that refers to them too."""
    if not names.are_other:
        return schema
    objects = _rewritten(schema.objects, names)
    tables = {}
    for own, layout in schema.tables.items():
        table = names.tables.get(own, own)
        columns = names.columns_of(table)
        tables[table] = replace(
            layout,
            name=table,
            sql=objects["table", table],
            columns=tuple(columns.get(name, name) for name in layout.columns),
            key=tuple(columns.get(name, name) for name in layout.key),
        )
    return Schema(tables, objects, schema.settings)


def _rewritten(objects: Mapping[tuple[str, str], str], names: MomentNames) -> Objects:
    scratch = KernelConnection(":memory:")
    try:
        for _, sql in sorted(objects.items(), key=lambda known: known[0][0] != "table"):
            _make(scratch, sql)
        before = _definitions(scratch)
        rename_in(scratch, names)
        after = _definitions(scratch)
    finally:
        scratch.close(True)
    rewritten = {}
    for (kind, own), sql in objects.items():
        name = names.tables.get(own, own) if kind == "table" else own
        is_changed = before.get((kind, own)) != after.get((kind, name))
        rewritten[kind, name] = after.get((kind, name), sql) if is_changed else sql
    return rewritten


def _definitions(kernel: Any) -> Objects:
    listed = run(kernel, "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
    return {(kind, name): sql for kind, name, sql in listed}


def _make(scratch: Any, sql: str) -> None:
    """Make an object, with stand-ins for functions and collations that only a program knows.

    A virtual table of a module that is not here is left out.
    """
    tried: set[str] = set()
    while True:
        try:
            run(scratch, sql)
        except KernelError as error:
            said = str(error)
            beginning = next((known for known in _STAND_INS if said.startswith(known)), None)
            if beginning is None or said in tried:
                return
            tried.add(said)
            _STAND_INS[beginning](scratch, said.removeprefix(beginning))
        else:
            return


def _stand_in_function(scratch: Any, name: str) -> None:
    scratch.create_scalar_function(name, lambda *_values: None, deterministic=True)


def _stand_in_collation(scratch: Any, name: str) -> None:
    scratch.create_collation(name, lambda one, other: (one > other) - (one < other))


_STAND_INS: dict[str, Callable[[Any, str], None]] = {
    "no such function: ": _stand_in_function,
    "no such collation sequence: ": _stand_in_collation,
}

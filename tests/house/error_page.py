"""Writes docs/errors.md: every error class from where it is defined, and examples as they run.

python tests/house/error_page.py
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dosql_dbapi
from dolake import errors as dolake_errors
from dosql_core.errors import (
    Error,
    branches,
    changes,
    connections,
    files,
    merging,
    moments,
    pep_249,
    retention,
    sqlite,
    transactions,
    triggers,
)

PEP_249_NAMES = {
    "InterfaceError",
    "DataError",
    "OperationalError",
    "IntegrityError",
    "InternalError",
    "ProgrammingError",
    "NotSupportedError",
    "DatabaseError",
    "Error",
}
PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
# The modules of dosql_core.errors, in the order of the page: a section each, named by what stands
# before the colon of the module's docstring.
MODULES = (
    pep_249,
    files,
    sqlite,
    connections,
    moments,
    branches,
    transactions,
    triggers,
    retention,
    changes,
    merging,
    dolake_errors,
)

OPENING = """\
# Errors

Every exception of DoSQL descends from `dosql_dbapi.Error` by one of PEP 249's classes, which says
what to do next, and from the class of that name in `sqlite3`, so that programs written for that go
on working. Each has

- `code`, which stays the same between versions; the message may change,
- `is_retryable`: the same call, or the whole transaction, may succeed when it is tried again,
- `hint`: what to do about it, and `to_user_message()`, the message with it,
- `category`, a coarser `code`, and `to_json()`, all of this as a dictionary,
- `sqlite_errorcode` and `sqlite_errorname` where SQLite raised it, as in `sqlite3`.

```python
import dosql_dbapi

con = dosql_dbapi.connect(":memory:")
con.execute("create table t(n unique)")
con.execute("insert into t values (1)")
try:
    con.execute("insert into t values (1)")
except dosql_dbapi.IntegrityError as error:
    assert error.code == "DB_CONSTRAINT"
    assert error.sqlite_errorname == "SQLITE_CONSTRAINT_UNIQUE"
    assert not error.is_retryable
    assert "ON CONFLICT" in error.hint
```

This page is written by `python tests/house/error_page.py`.
"""

# What is run one after another on a connection with EXAMPLE_SCHEMA, for the errors of SQLite's own.
EXAMPLE_SCHEMA = """
create table person(id integer primary key, name text not null unique, age int check (age >= 0));
create table pet(owner references person);
create table exact(n int) strict;
insert into person values (1, 'Ada', 36);
pragma foreign_keys = on;
"""
EXAMPLES = (
    "SELECT * FROM people",
    "SELECT nme FROM person",
    "SELEC * FROM person",
    "SELECT shout(name) FROM person",
    "CREATE TABLE person(id)",
    "INSERT INTO person(id, name) VALUES (2, 'Ada')",
    "INSERT INTO person(id, name) VALUES (1, 'Bob')",
    "INSERT INTO person(name) VALUES (NULL)",
    "INSERT INTO person(name, age) VALUES ('Bob', -1)",
    "INSERT INTO pet VALUES (7)",
    "INSERT INTO exact VALUES ('one')",
    "INSERT INTO person(name) VALUES (zeroblob(2000000000))",
    "RELEASE nowhere",
    "SELECT ?",
    "SELECT 1; SELECT 2",
    "CREATE BRANCH dev",
)


@dataclass(frozen=True, slots=True)
class Documented:
    """An error class as the page shows it."""

    section: str
    error: type[Error]


def documented() -> Iterator[Documented]:
    """Every class but PEP 249's own Warning, in the order of the files."""
    for module in MODULES:
        section = (module.__doc__ or "").split(":")[0]
        for error in vars(module).values():
            is_defined_here = getattr(error, "__module__", "") == module.__name__
            if is_defined_here and isinstance(error, type) and issubclass(error, Error):
                yield Documented(section, error)


def pep_249_class(error: type[Error]) -> type[Error]:
    """The nearest of PEP 249's classes among a class's ancestors, or itself."""
    return next(parent for parent in error.__mro__ if parent.__name__ in PEP_249_NAMES)


def first_sentence(error: type[Error]) -> str:
    return " ".join((error.__doc__ or "").split("\n\n")[0].split())


def class_tables() -> Iterator[str]:
    section = ""
    for entry in documented():
        error = entry.error
        if entry.section != section:
            section = entry.section
            yield f"\n## {section}\n\n"
            yield "| class | by PEP 249 | code | category | retry | when | hint |\n"
            yield "|---|---|---|---|---|---|---|\n"
        cells = (
            f"`{error.__name__}`",
            pep_249_class(error).__name__,
            f"`{error.code}`",
            error.category.value.lower(),
            "yes" if error.is_retryable else "",
            first_sentence(error),
            error.hint,
        )
        yield row(*cells)


def example_table() -> Iterator[str]:
    yield "\n## Examples\n\n"
    yield "What SQLite finds wrong gets its code and hint from what SQLite says.\n\n"
    yield "| statement | raises | code | sqlite_errorname | message | hint |\n"
    yield "|---|---|---|---|---|---|\n"
    con = dosql_dbapi.connect(":memory:", isolation_level=None)
    con.executescript(EXAMPLE_SCHEMA)
    for sql in EXAMPLES:
        try:
            con.execute(sql)
        except Error as error:
            yield row(
                f"`{sql}`",
                f"`{type(error).__name__}`",
                f"`{error.code}`",
                f"`{error.sqlite_errorname}`" if hasattr(error, "sqlite_errorname") else "",
                str(error),
                error.hint,
            )
        else:
            raise AssertionError(f"{sql} raised nothing")
    con.close()


def row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def page() -> str:
    """The page as it should be."""
    return OPENING + "".join(class_tables()) + "".join(example_table())


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")

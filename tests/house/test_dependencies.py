"""What a package imports its extra installs: no library is there by another one's grace."""

from __future__ import annotations

import re
import sys
import tomllib

import pytest

from fixtures.checkout import ROOT, imported_modules, package_modules

OURS = {"dosql_core", "dosql_dbapi", "dolake", "sqlalchemy_dosql", "peewee_dosql", "django_dosql"}
EXTRAS_OF = {
    # What the core uses when it is there: the command line's libraries, Arrow.
    "dosql_core": ("cli", "columnar", "tour"),
    "dosql_dbapi": ("columnar",),
    "dolake": ("lake",),
    "sqlalchemy_dosql": ("sqlalchemy",),
    "peewee_dosql": ("peewee",),
    "django_dosql": ("django",),
}
# Distributions whose modules have other names.
MODULES_OF = {
    "backports.zstd": {"backports"},
    "prometheus-client": {"prometheus_client"},
    "opentelemetry-api": {"opentelemetry"},
    "prompt-toolkit": {"prompt_toolkit"},
    "peewee": {"peewee", "playhouse"},
}
OF_LATER_PYTHONS = {"compression"}
# With these the adapters only extend what their users have, who import it first.
OF_THE_USER = {"sqlalchemy_dosql": {"alembic"}, "django_dosql": {"asgiref"}}


def provided(extras: tuple[str, ...]) -> set[str]:
    """The modules that `pip install dosql[extras]` gives, as far as it says so itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    asked, modules = list(project["dependencies"]), set()
    for extra in extras:
        asked += project["optional-dependencies"][extra]
    while asked:
        name = re.match(r"[\w.-]+", requirement := asked.pop())
        assert name is not None
        if name[0] == "dosql":
            for extra in requirement[requirement.index("[") + 1 : requirement.index("]")].split(
                ","
            ):
                asked += project["optional-dependencies"][extra]
        else:
            modules |= MODULES_OF.get(name[0], {name[0]})
    return modules


@pytest.mark.parametrize("package", EXTRAS_OF)
def test_every_library_a_package_imports_comes_with_it(package: str) -> None:
    known = provided(EXTRAS_OF[package]) | OURS | OF_LATER_PYTHONS
    known |= OF_THE_USER.get(package, set())
    missing = {
        f"{module}: {imported}"
        for module, file in package_modules()
        if module.split(".")[0] == package
        for imported, _ in imported_modules(module, file)
        if (top := imported.split(".")[0]) not in known and top not in sys.stdlib_module_names
    }
    assert missing == set()

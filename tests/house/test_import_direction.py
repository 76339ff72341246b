"""Imports run one way, and what a package must not know it does not import."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from fixtures.checkout import imported_modules, package_modules

# Lowest first. A module may import from its own layer's package and from the layers before it;
# packages that share a layer do not import one another.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("dosql_core.supported_system", "dosql_core.identifiers"),
    ("dosql_core.errors",),
    ("dosql_core.options",),
    ("dosql_core.storage",),
    ("dosql_core.kernel",),
    ("dosql_core.rows",),
    ("dosql_core.language",),
    ("dosql_core.history",),
    ("dosql_core.changes", "dosql_core.merging"),
    ("dosql_core.triggers",),
    ("dosql_core.open_branches",),
    ("dosql_core.database",),
    ("dosql_core.sessions", "dosql_core.companion_process"),
    ("dosql_core",),  # the public names, gathered in dosql_core/__init__.py
    ("dosql_dbapi",),
    ("sqlalchemy_dosql", "peewee_dosql", "django_dosql", "dosql_core.command_line"),
    ("dolake.errors",),
    ("dolake.changes", "dolake.settings"),
    ("dolake.warehouse",),
    ("dolake.catalog",),
    ("dolake.tables",),
    ("dolake.maintenance", "dolake.ingest", "dolake.query"),
    ("dolake.lake", "dolake.server"),
    ("dolake",),
    ("dolake.command_line",),
)
POSITIONS = {package: position for position, layer in enumerate(LAYERS) for package in layer}
OURS = ("dosql_core", "dosql_dbapi", "dolake", "sqlalchemy_dosql", "peewee_dosql", "django_dosql")

# Libraries that belong to one place. The standard library's sqlite3 is a second SQLite: opening a
# head with it in our process drops POSIX locks, so only named modules may load it at all: for its
# exception classes, its Row and what Django inherits, never to open a file.
OWNERS = {
    "apsw": ("dosql_core.kernel",),
    "sqlite3": ("dosql_core.errors", "dosql_dbapi", "django_dosql"),
    "sqlalchemy": ("sqlalchemy_dosql",),
    "peewee": ("peewee_dosql",),
    "playhouse": ("peewee_dosql",),
    "django": ("django_dosql",),
    "typer": ("dosql_core.command_line", "dolake.command_line"),
    "rich": ("dosql_core.command_line", "dolake.command_line"),
    "prompt_toolkit": ("dosql_core.command_line",),
}
# sqlite3 has a dbapi2, too, with all the names of the package; strict is the package made stricter.
MIRROR_THEIR_PACKAGE = ("dosql_dbapi.dbapi2", "dosql_dbapi.strict")
# What the lake may know of the database: what anybody may.
PUBLIC_TO_THE_LAKE = ("dosql_core.errors", "dosql_core.options", "dosql_core.identifiers")
ADAPTERS = ("sqlalchemy_dosql", "peewee_dosql", "django_dosql")

Import = tuple[str, str, str]  # the module that imports, what it imports, file and line


@pytest.fixture(scope="module")
def imports() -> list[Import]:
    return [
        (name, imported, f"{file.name}:{line}")
        for name, file in package_modules()
        for imported, line in imported_modules(name, file)
    ]


def layer_of(module: str) -> str | None:
    """The longest package of the list of layers that holds the module."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        if ".".join(parts[:length]) in POSITIONS:
            return ".".join(parts[:length])
    return None


def lines(found: Iterable[str]) -> str:
    return "".join(f"\n  {line}" for line in sorted(found))


def is_inside(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def test_every_module_has_a_layer() -> None:
    # A module directly in dosql_core must be named in the list; it cannot hide behind __init__.
    homeless = [
        name
        for name, _ in package_modules()
        if layer_of(name) is None or (layer_of(name) == "dosql_core" != name)
    ]
    assert not homeless, lines(homeless)


def test_imports_run_from_higher_layers_to_lower_ones(imports: list[Import]) -> None:
    wrong = []
    for name, imported, where in imports:
        above, below = layer_of(name), layer_of(imported)
        if above is None or below is None or above == below:
            continue
        if POSITIONS[below] >= POSITIONS[above]:
            wrong.append(f"{where}: {name} imports {imported}")
    assert not wrong, lines(wrong)


def test_no_package_imports_a_name_from_its_own_init(imports: list[Import]) -> None:
    names = {name for name, _ in package_modules()}
    packages = {name for name in names if any(other.startswith(name + ".") for other in names)}
    wrong = []
    for name, imported, where in imports:
        package, _, attribute = imported.rpartition(".")
        is_own = package in packages and is_inside(name, package) and name != package
        if is_own and imported not in names and name not in MIRROR_THEIR_PACKAGE:
            wrong.append(f"{where}: {name} imports {attribute} from {package}/__init__.py")
    assert not wrong, lines(wrong)


@pytest.mark.parametrize("library", OWNERS)
def test_a_library_is_imported_only_where_it_belongs(library: str, imports: list[Import]) -> None:
    strangers = {
        f"{where}: {name}"
        for name, imported, where in imports
        if is_inside(imported, library)
        and not any(is_inside(name, owner) for owner in OWNERS[library])
    }
    assert not strangers, lines(strangers)


def test_adapters_know_only_the_driver(imports: list[Import]) -> None:
    strangers = {
        f"{where}: {name} imports {imported}"
        for name, imported, where in imports
        if name.split(".")[0] in ADAPTERS
        and imported.split(".")[0] in OURS
        and imported.split(".")[0] not in (name.split(".")[0], "dosql_dbapi")
    }
    assert not strangers, lines(strangers)


def test_the_lake_knows_only_the_public_names_of_the_database(imports: list[Import]) -> None:
    names = {name for name, _ in package_modules()}
    strangers = {
        f"{where}: {name} imports {imported}"
        for name, imported, where in imports
        if name.split(".")[0] == "dolake"
        and imported.split(".")[0] == "dosql_core"
        and any(is_inside(imported, module) for module in names - {"dosql_core"})
        and not any(is_inside(imported, public) for public in PUBLIC_TO_THE_LAKE)
        # The two commands look and speak alike.
        and not (
            is_inside(name, "dolake.command_line")
            and is_inside(imported, "dosql_core.command_line")
        )
    }
    assert not strangers, lines(strangers)

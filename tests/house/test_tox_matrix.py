"""The matrix of tox.ini runs what there is, and all of it."""

from __future__ import annotations

import configparser
import re

import pytest

from fixtures.checkout import ROOT, tracked_files

# tests/adapters/<folder>: the factors that run it, and the Pythons each must run on.
ADAPTER_FACTORS: dict[str, dict[str, tuple[int, ...]]] = {
    "sqlalchemy": {"sqlalchemy20": (11, 12, 13), "sqlalchemy21": (11, 12, 13)},
    "peewee": {"peewee": (11, 12, 13)},
    "django": {"django52": (11, 12, 13), "django6": (12, 13)},
}


@pytest.fixture(scope="module")
def tox_ini() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, comment_prefixes=("#",))
    parser.read(ROOT / "tox.ini")
    return parser


@pytest.fixture(scope="module")
def environments(tox_ini: configparser.ConfigParser) -> set[str]:
    """The names in env_list, its braces multiplied out."""
    listed = tox_ini["tox"]["env_list"].split()
    names = set()
    while listed:
        name = listed.pop()
        choice = re.search(r"\{([^{}]*)\}", name)
        if choice is None:
            names.add(name)
            continue
        for part in choice[1].split(","):
            listed.append(name[: choice.start()] + part + name[choice.end() :])
    return names


def test_every_supported_python_is_in_the_matrix(environments: set[str]) -> None:
    for minor in (11, 12, 13):
        assert {f"py3{minor}-core", f"py3{minor}-dbapi"} <= environments


@pytest.mark.parametrize("folder", ADAPTER_FACTORS)
def test_an_adapter_with_tests_is_in_the_matrix(folder: str, environments: set[str]) -> None:
    has_tests = any(
        file.is_relative_to(ROOT / "tests" / "adapters" / folder) for file in tracked_files(".py")
    )
    expected = {
        f"py3{minor}-{factor}"
        for factor, minors in ADAPTER_FACTORS[folder].items()
        for minor in minors
    }
    assert expected & environments == (expected if has_tests else set())


def test_the_listed_environments_name_folders_that_are_there(
    tox_ini: configparser.ConfigParser, environments: set[str]
) -> None:
    missing = []
    factors = {factor for name in environments for factor in name.split("-")}
    for section in tox_ini.sections():
        own_name = section.removeprefix("testenv:")
        if section != "testenv" and own_name not in environments:
            continue
        for line in tox_ini[section].get("commands", "").splitlines():
            factor = re.match(r"([a-z0-9]+): ", line)
            if factor and factor[1] not in factors:
                continue
            missing += [
                f"[{section}] {path}"
                for path in re.findall(r"(?<!\S)tests/[\w/.]*", line)
                if "{" not in line.split(":")[0] and not (ROOT / path).exists()
            ]
    assert missing == []

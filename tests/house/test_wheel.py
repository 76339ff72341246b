"""What the built wheel holds: every module and marker of the packages, and nothing else."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import pytest

from fixtures.checkout import PACKAGE_FOLDERS, ROOT, tracked_files

SHIPPED = {folder: Path(folder).name for folder in PACKAGE_FOLDERS if (ROOT / folder).is_dir()}


@pytest.fixture(scope="module")
def installed_files() -> set[str]:
    """Files of the installed distribution, by their path under site-packages."""
    try:
        distribution = importlib.metadata.distribution("dosql")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("dosql is not installed: the tests run on the checkout")
    files = {str(file) for file in distribution.files or ()}
    if not any(file.startswith("dosql_core/") for file in files):
        pytest.skip("dosql is installed in editable mode: there is no wheel to look into")
    return {file for file in files if not file.startswith("..") and "__pycache__" not in file}


def test_the_wheel_holds_every_file_of_the_packages(installed_files: set[str]) -> None:
    expected = {
        str(Path(package) / file.relative_to(ROOT / folder))
        for folder, package in SHIPPED.items()
        for file in tracked_files()
        if file.is_relative_to(ROOT / folder)
    }
    assert expected - installed_files == set()


def test_the_wheel_holds_nothing_but_the_packages(installed_files: set[str]) -> None:
    tops = {file.split("/")[0] for file in installed_files}
    strangers = {top for top in tops if not re.fullmatch(r"dosql-[\w.]+\.dist-info", top)}
    assert strangers <= set(SHIPPED.values())


def test_every_package_is_marked_as_typed(installed_files: set[str]) -> None:
    packages = {file.split("/")[0] for file in installed_files if file.endswith(".py")}
    assert {p for p in packages if f"{p}/py.typed" not in installed_files} == set()


def test_what_is_imported_is_the_wheel_and_not_the_checkout(installed_files: set[str]) -> None:
    import dosql_core

    assert not Path(dosql_core.__file__).is_relative_to(ROOT / "dosql_core")

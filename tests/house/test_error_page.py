"""docs/errors.md tells every error there is, as it is."""

from __future__ import annotations

import re

import pytest

import dosql_dbapi
from dolake import errors as dolake_errors
from dosql_core import errors
from dosql_core.errors import Error
from house import error_page

OWN = [entry.error for entry in error_page.documented() if entry.section != "PEP 249's classes"]


def test_the_page_is_what_the_code_says() -> None:
    written = error_page.PAGE.read_text("utf-8")
    assert written == error_page.page(), "run `python tests/house/error_page.py`"


def test_every_error_class_is_on_the_page() -> None:
    defined = {
        error
        for error in (*vars(errors).values(), *vars(dolake_errors).values())
        if isinstance(error, type) and issubclass(error, Error)
    }
    assert {entry.error for entry in error_page.documented()} == defined


@pytest.mark.parametrize("error", OWN, ids=lambda error: error.__name__)
def test_an_error_class_has_a_code_a_hint_and_a_parent_of_pep_249(error: type[Error]) -> None:
    assert re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+", error.code)
    assert error.hint and not error.hint.endswith(".")
    assert error_page.first_sentence(error).endswith(".")
    assert issubclass(error, dosql_dbapi.Error)
    assert error_page.pep_249_class(error) not in (Error, error)


def test_a_code_means_one_thing() -> None:
    """Two classes share a code only when one is a kind of the other, or a class of PEP 249."""
    by_code: dict[str, list[type[Error]]] = {}
    for error in OWN:
        by_code.setdefault(error.code, []).append(error)
    shared = {
        code: [error.__name__ for error in sharing]
        for code, sharing in by_code.items()
        if not all(issubclass(error, sharing[0]) for error in sharing)
    }
    assert shared == {}

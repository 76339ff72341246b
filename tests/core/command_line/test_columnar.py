"""Tables on a narrow screen: names are wrapped before values are cut, and nobody loses a name."""

from __future__ import annotations

import pytest

from dosql_core.command_line.results.columnar import box_layout, markdown_layout
from dosql_core.command_line.results.style import ResultStyle

BRANCHES = (
    "name", "parent", "fork_lsn", "lsn", "ahead", "behind", "merged", "own_bytes", "protected",
    "hydrated", "current",
)  # fmt: skip


def table(columns, rows, screen_columns, *, layout=box_layout, **settings):
    style = ResultStyle(screen_columns=screen_columns, **settings)
    return "".join(layout(columns, rows, style)).splitlines()


def column_texts(lines):
    """What stands in each column of the header and of the only row, its lines put together."""
    middle = next(place for place, line in enumerate(lines) if line[0] == "├")
    return [
        [
            "".join(cell.strip() for cell in cells)
            for cells in zip(*map(cells_of, part), strict=True)
        ]
        for part in (lines[1:middle], lines[middle + 1 : -1])
    ]


def cells_of(line):
    return line.strip("│").split("│")


@pytest.mark.parametrize("name", ["what-if", "feature/customers-by-region-2026"])
def test_branches_fit_in_80_columns_with_whole_names(name):
    values = (name, "main", 19, 20, 1, 0, 0, 40_331_211, 0, 0, 0)
    lines = table(BRANCHES, [values], 80, wraps_values=True)
    assert max(map(len, lines)) <= 80
    header, row = column_texts(lines)
    assert header == list(BRANCHES)
    assert row == [str(value) for value in values]


def test_a_name_is_broken_between_its_words_and_only_when_it_has_to_be():
    columns, rows = ("departure_delay", "carrier"), [(1, "UA")]
    assert table(columns, rows, 40)[1] == "│ departure_delay │ carrier │"
    assert table(columns, rows, 24)[1:3] == ["│ departure_ │ carrier │", "│      delay │         │"]


def test_a_long_value_of_a_query_is_cut_and_of_a_listing_wrapped():
    rows = [("b" * 30,)]
    assert table(["body"], rows, 14)[3] == "│ bbbbbbbbb… │"
    wrapped = table(["body"], rows, 14, wraps_values=True)
    assert wrapped[3:6] == ["│ bbbbbbbbbb │"] * 3


def test_what_cannot_fit_keeps_the_words_of_its_names():
    columns = [f"column_{number}" for number in range(30)]
    lines = table(columns, [range(30)], 80)
    assert "│ column_ │ column_ │" in lines[1]


def test_nothing_is_cut_without_a_screen():
    rows = [("b" * 300,)]
    assert "b" * 300 in table(["body"], rows, None)[3]
    assert "b" * 300 in table(["body"], rows, None, layout=markdown_layout)[2]

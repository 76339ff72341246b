"""What the shell's user has chosen; `.show` prints it, dot-commands change it."""

from __future__ import annotations

from dataclasses import dataclass, field

from dosql_core.command_line.results.layouts import FRAMED_LAYOUTS
from dosql_core.command_line.results.style import PLAIN, Palette, ResultStyle
from dosql_core.identifiers import SqlValue


@dataclass(slots=True)
class ShellSettings:
    """One shell's settings; the defaults are those of sqlite3's shell reading a pipe."""

    mode: str = "list"
    headers: bool | None = None
    null_text: str = ""
    column_separator: str | None = None
    row_separator: str | None = None
    widths: tuple[int, ...] = ()
    insert_table: str = "table"
    fits_screen: bool = True
    echo: bool = False
    bail: bool = False
    timer: bool = False
    shows_changes: bool = False
    shows_row_count: bool = False
    paging: bool = False
    explain: str = "auto"
    parameters: dict[str, SqlValue] = field(default_factory=dict)

    @classmethod
    def for_a_person(cls) -> ShellSettings:
        """The defaults in a terminal."""
        return cls(mode="box", headers=True, null_text="NULL", shows_row_count=True, paging=True)

    def style(
        self, *, screen_columns: int | None, palette: Palette = PLAIN, wraps_values: bool = False
    ) -> ResultStyle:
        """How the next result is laid out; `screen_columns` is None away from a terminal."""
        return ResultStyle(
            headers=self.headers,
            null_text=self.null_text,
            column_separator=self.column_separator,
            row_separator=self.row_separator,
            widths=self.widths if self.mode in FRAMED_LAYOUTS else (),
            insert_table=self.insert_table,
            screen_columns=screen_columns if self.fits_screen else None,
            wraps_values=wraps_values,
            escapes_controls=screen_columns is not None,
            palette=palette,
        )

"""What can be imported and exported, as users name it."""

from __future__ import annotations

from dosql_core.command_line.transfer.file_source import FORMATS

SQL_SCRIPT = "sql"
SQLITE_FILE = "sqlite"
ALL_FORMATS = (*FORMATS, SQL_SCRIPT, SQLITE_FILE)


def typed_delimiter(text: str | None) -> str | None:
    """The delimiter a user typed; a tab is hard to type, so it has names."""
    return "\t" if text in ("\\t", "tab") else text

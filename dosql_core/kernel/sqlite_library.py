"""What SQLite itself offers without a connection: constants, version, a look at a text.

For the layers above, which may not import apsw.
"""

from __future__ import annotations

from typing import Any, Final

import apsw

CONSTANTS: dict[str, int] = {
    name: value
    for name, value in vars(apsw).items()
    if name.startswith("SQLITE_") and isinstance(value, int)
}
"""Every constant by its C name."""

SQLITE_VERSION: str = apsw.sqlite_lib_version()
SQLITE_OK: Final[int] = apsw.SQLITE_OK
SQLITE_DENY: Final[int] = apsw.SQLITE_DENY
SQLITE_DONE: Final = 101
SQLITE_LIMIT_SQL_LENGTH: Final[int] = apsw.SQLITE_LIMIT_SQL_LENGTH

NULL_BINDINGS: Any = apsw._null_bindings  # type: ignore[attr-defined]  # not in its stubs
"""Given as parameters it binds NULL to every one of them, however many there are."""


def is_complete_sql(text: str) -> bool:
    """Whether a text ends with a complete statement."""
    return bool(apsw.complete(text))

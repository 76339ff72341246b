"""What is known of texts of SQL, for programs that run few of them, over and over.

Others put their values into the text and never run the same again; what they leave behind is
bounded, by the number of texts and by their length.
"""

from __future__ import annotations

from typing import TypeVar

Known = TypeVar("Known")

_TEXTS_MAX = 4096
_CHARACTERS_MAX = 4_000_000


class RememberedTexts(dict[str, Known]):
    """A dictionary by texts; before one is added, `make_room` may empty it."""

    __slots__ = ("_room",)

    def __init__(self) -> None:
        super().__init__()
        self._room = _CHARACTERS_MAX

    def make_room(self, sql: str) -> None:
        """Forget all others if they and this one would be too many or too long."""
        self._room -= len(sql)
        if self._room < 0 or len(self) >= _TEXTS_MAX:
            self.clear()
            self._room -= len(sql)

    def clear(self) -> None:
        """Forget them all."""
        super().clear()
        self._room = _CHARACTERS_MAX

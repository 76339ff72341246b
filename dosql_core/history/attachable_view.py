"""A moment whose views and triggers spell out `main.`, made fit to stand under another name.

Such a definition is right in the database itself; SQLite refuses to load it from a database that
is attached, and with it all of that database. Without the `main.` it means the same there, for
names in a definition are those of its own database. So blanks are shown in the place of those
letters: the text keeps its length, and the pages of the schema stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator

from dosql_core.language.tokens import TokenKind, significant_tokens, unquoted
from dosql_core.rows.btree_page import PayloadLimits, cell_offsets, read_varint, table_cells
from dosql_core.rows.page_image import SCHEMA_ROOT, PageImage
from dosql_core.storage.page_history import PageView

_RESERVED_BYTES_AT = 20
_NAMES = (TokenKind.WORD, TokenKind.QUOTED, TokenKind.STRING)


class AttachableView:
    """The pages of a view, with blanks for every `main.` of a definition."""

    def __init__(self, view: PageView) -> None:
        self._view = view
        self.page_size = view.page_size
        self.page_count = view.page_count
        changed: dict[int, bytearray] = {}
        for page, offset in _places_to_blank(view):
            content = changed.setdefault(page, bytearray(view.read_page(page)))
            content[offset] = ord(" ")
        self._changed = {page: bytes(content) for page, content in changed.items()}

    def read_page(self, page_number: int) -> bytes:
        """One page, counted from 1."""
        return self._changed.get(page_number) or self._view.read_page(page_number)


def _places_to_blank(view: PageView) -> Iterator[tuple[int, int]]:
    """The bytes to blank, as pages and offsets."""
    image = PageImage(view)
    usable = view.page_size - view.read_page(SCHEMA_ROOT)[_RESERVED_BYTES_AT]
    limits = PayloadLimits.for_tables(usable)
    for leaf in image.tree_pages(SCHEMA_ROOT)[1]:
        content = view.read_page(leaf)
        for begins in cell_offsets(content, leaf):
            (cell,) = table_cells(content, leaf, limits, [begins]).values()
            kind, *_names, sql = image.record(cell, is_table=True)
            if kind not in ("view", "trigger") or not isinstance(sql, str):
                continue
            encoded = sql.encode(image.encoding)
            blanked = without_main(sql).encode(image.encoding)
            payload_bytes, behind = read_varint(cell, 0)
            _rowid, behind = read_varint(cell, behind)
            local_bytes = limits.local_bytes(payload_bytes)
            overflow = list(image.overflow_pages(cell, is_table=True))
            text_begins = payload_bytes - len(encoded)  # it is the last column
            for index, (was, shown) in enumerate(zip(encoded, blanked, strict=True)):
                if was == shown or shown != ord(" "):
                    continue  # the zeros of UTF-16 are the same for a blank
                place = text_begins + index
                if place < local_bytes:
                    yield leaf, begins + behind + place
                else:
                    pages_on, offset = divmod(place - local_bytes, usable - 4)
                    yield overflow[pages_on], 4 + offset


def without_main(sql: str) -> str:
    """A definition with blanks for every `main.`; unchanged where main may name something else."""
    tokens = significant_tokens(sql)
    characters = list(sql)
    for before, token, behind in zip([tokens[-1], *tokens], tokens, tokens[1:], strict=False):
        if token.kind not in _NAMES or unquoted(token).casefold() != "main" or before.text == ".":
            continue
        if behind.text == ".":
            for found in (token, behind):
                characters[found.start : found.end] = " " * len(found.text)
        elif token.kind is not TokenKind.STRING:
            return sql
    return "".join(characters)

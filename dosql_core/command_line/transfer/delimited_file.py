"""CSV and its kin, being read."""

from __future__ import annotations

import codecs
import csv
import io
import re
import sys
from collections.abc import Iterator
from typing import Any

from dosql_core.command_line.reporting import CommandFailedError
from dosql_core.command_line.transfer.file_source import BadRowError, FileSource

_DELIMITERS = ",;\t|"


class DelimitedFile:
    """CSV and its kin.

    An empty field is NULL and a quoted empty one the empty text, unless `null_text` names what
    NULL looks like.
    Source: https://www.rfc-editor.org/rfc/rfc4180
    """

    def __init__(
        self,
        source: FileSource,
        delimiter: str | None,
        *,
        has_header: bool,
        null_text: str | None,
        encoding: str,
        lines_skipped: int,
    ) -> None:
        self._source = source
        self._null_text = null_text
        self._encoding = encoding
        self._text = io.TextIOWrapper(source.stream, encoding=encoding, newline="")
        csv.field_size_limit(sys.maxsize)
        self.line_number = 0
        for _ in range(lines_skipped):
            self._text.readline()
            self.line_number += 1
        self._first_lines = self._read_first_line()
        self.delimiter = delimiter or _guess_delimiter(self._first_lines[0])
        self._record: list[str] = []
        self._next_line = self.line_number + 1
        self._lines_before = self.line_number
        self._reader = csv.reader(self._lines(), delimiter=self.delimiter, strict=True)
        first = self._next_row()
        while first == []:  # an empty line
            first = self._next_row()
        if first is None:
            raise CommandFailedError(f"{source.name} is empty")
        self._pushed_back: list[Any] | None = None
        if has_header:
            self.columns = distinct_names([str(name or "").strip() for name in first])
        else:
            self.columns = [f"c{number}" for number in range(1, len(first) + 1)]
            self._pushed_back = first

    def rows(self) -> Iterator[list[Any]]:
        width = len(self.columns)
        row = self._pushed_back or self._next_row()
        while row is not None:
            if len(row) != width:
                if row:  # an empty line is nothing, unless there is but one column
                    raise BadRowError(
                        self.line_number,
                        f"found {_fields(len(row))}, expected {width}",
                        "a quote or the delimiter may be missing there or just before",
                    )
            else:
                yield row
            row = self._next_row()

    def bytes_read(self) -> int:
        return self._source.bytes_read()

    def close(self) -> None:
        self._source.close()

    def _next_row(self) -> list[Any] | None:
        self._record.clear()
        self.line_number = self._next_line
        try:
            row: list[Any] | None = next(self._reader, None)
        except csv.Error as cause:
            what = str(cause)
            if what == "unexpected end of data":
                what = "a quote opened in this row is never closed"
            raise BadRowError(self.line_number, what) from cause
        except UnicodeDecodeError as cause:
            raise self._undecodable(cause, self._lines_before + self._reader.line_num) from cause
        if row is None:
            return None
        self._next_line = self._lines_before + self._reader.line_num + 1
        return self._with_nulls(row)

    def _with_nulls(self, row: list[Any]) -> list[Any]:
        null_text = self._null_text
        if null_text is not None:
            return (
                [None if field == null_text else field for field in row]
                if null_text in row
                else row
            )
        if "" not in row:
            return row
        if not any('""' in line for line in self._record):
            return [field or None for field in row]
        return self._with_quoted_empty_texts(row)

    def _with_quoted_empty_texts(self, row: list[Any]) -> list[Any]:
        """The row with NULL for empty fields, but not for the quoted ones."""
        delimiter = re.escape(self.delimiter)
        field = re.compile(rf'("(?:[^"]|"")*"[^{delimiter}]*|[^{delimiter}]*)(?:{delimiter}|\Z)')
        text = "".join(self._record).rstrip("\r\n")
        written = [match[1] for match in field.finditer(text)]
        return [
            None if not value and not raw else value
            for value, raw in zip(row, written, strict=False)
        ]

    def _lines(self) -> Iterator[str]:
        for line in self._first_lines:
            self._record.append(line)
            yield line
        for line in self._text:
            self._record.append(line)
            yield line

    def _read_first_line(self) -> list[str]:
        try:
            return [self._text.readline()]
        except UnicodeDecodeError as cause:
            raise self._undecodable(cause, self.line_number) from cause

    def _undecodable(self, cause: UnicodeDecodeError, lines_read: int) -> BadRowError:
        # Text is decoded by the block, so the byte may stand some lines further down.
        is_utf_16 = cause.object.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        lines_between = cause.object.count(b"\n", 0, cause.start)
        return BadRowError(
            lines_read + lines_between + 1,
            f"byte 0x{cause.object[cause.start]:02x} is not {self._encoding_name()}",
            f"name the file's encoding: --encoding {'utf-16' if is_utf_16 else 'latin-1'}",
        )

    def _encoding_name(self) -> str:
        return "UTF-8" if self._encoding.startswith("utf-8") else self._encoding


def distinct_names(names: list[str]) -> list[str]:
    """Names usable as columns: none empty, no two equal whatever the case of their letters."""
    taken: set[str] = set()
    distinct = []
    for position, name in enumerate(names, start=1):
        wanted = candidate = name or f"c{position}"
        number = 2
        while candidate.lower() in taken:
            candidate = f"{wanted}_{number}"
            number += 1
        taken.add(candidate.lower())
        distinct.append(candidate)
    return distinct


def _guess_delimiter(header: str) -> str:
    """The delimiter of a header line; a comma unless there is none but another."""
    outside_quotes = re.sub(r'"[^"]*"', "", header)
    counts = {delimiter: outside_quotes.count(delimiter) for delimiter in _DELIMITERS}
    return "," if counts[","] else max(_DELIMITERS, key=lambda delimiter: counts[delimiter])


def _fields(count: int) -> str:
    return f"{count} field{'' if count == 1 else 's'}"

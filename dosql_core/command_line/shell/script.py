"""Lines of input gathered into what the shell runs: a dot-command, or one or more statements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dosql_core.language.splitting import ends_in_comment, is_complete, start_of_statement


@dataclass(frozen=True, slots=True)
class ShellInput:
    """Something to run.

    Units: `line_number` is where it began, counted from 1.
    """

    text: str
    line_number: int

    @property
    def is_dot_command(self) -> bool:
        """Whether the shell itself is spoken to."""
        return self.text.startswith(".")


def gather(lines: Iterable[str]) -> Iterator[ShellInput]:
    """Each dot-command and each run of complete statements, as soon as its last line is there.

    What is left at the end is given as it is: SQLite will say what is missing.
    """
    pending: list[str] = []
    first_line_number = 0
    for line_number, line in enumerate(lines, start=1):
        if not pending:
            if line.startswith("."):
                yield ShellInput(line.strip(), line_number)
                continue
            if not line.strip() or is_blank(line):
                continue
            first_line_number = line_number
        pending.append(line if line.endswith("\n") else line + "\n")
        # Only a line with a semicolon can complete anything, and asking is not free.
        if ";" in line and is_complete(text := "".join(pending)):
            yield ShellInput(text, first_line_number)
            pending.clear()
    if pending and not is_blank(text := "".join(pending)):
        yield ShellInput(text, first_line_number)


def is_blank(sql: str) -> bool:
    """Whether there is nothing to run: only blanks, semicolons and comments that are over."""
    return start_of_statement(sql) == len(sql) and not ends_in_comment(sql)


def needs_more(text: str) -> bool:
    """Whether somebody who typed the text and pressed Enter has more to say."""
    return not (text.startswith(".") or not text.strip() or is_complete(text) or is_blank(text))


def split_words(text: str) -> list[str]:
    """The words of a dot-command, as sqlite3's shell splits them.

    Blanks separate; single quotes keep everything as it is; double quotes too, but know
    backslash escapes. A quote that is not closed reaches to the end.
    """
    words: list[str] = []
    position = 0
    while position < len(text):
        character = text[position]
        if character.isspace():
            position += 1
        elif character == "'":
            end = text.find("'", position + 1)
            end = len(text) if end < 0 else end
            words.append(text[position + 1 : end])
            position = end + 1
        elif character == '"':
            word, position = _double_quoted(text, position + 1)
            words.append(word)
        else:
            end = position
            while end < len(text) and not text[end].isspace():
                end += 1
            words.append(text[position:end])
            position = end
    return words


_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "0": "\0"}


def _double_quoted(text: str, position: int) -> tuple[str, int]:
    """The word that begins at `position`, and the offset behind its closing quote."""
    word: list[str] = []
    while position < len(text) and text[position] != '"':
        character = text[position]
        if character == "\\" and position + 1 < len(text):
            position += 1
            character = _ESCAPES.get(text[position], text[position])
        word.append(character)
        position += 1
    return "".join(word), position + 1

"""What a dot-command is, and finding the one that was typed."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dosql_core.command_line.reporting import UsageError
from dosql_core.command_line.shell.script import split_words

if TYPE_CHECKING:
    from dosql_core.command_line.shell.shell import Shell


@dataclass(frozen=True, slots=True)
class Invocation:
    """A dot-command as typed: its name, its words, and the text behind the name untouched."""

    name: str
    words: list[str]
    rest: str

    @classmethod
    def parse(cls, text: str) -> Invocation:
        """Read `.name word word`; a `;` out of habit behind the last word is forgiven."""
        name, _, rest = text[1:].strip().partition(" ")
        rest = rest.strip()
        if not rest:
            name = name.rstrip(";")
        return cls(name, split_words(rest), rest)

    def word(self, index: int, default: str = "") -> str:
        """The word at the index, or the default where there is none."""
        return self.words[index] if index < len(self.words) else default


@dataclass(frozen=True, slots=True)
class DotCommand:
    """One dot-command; `completes` names what each of its words may be, for completion."""

    name: str
    usage: str
    run: Callable[[Shell, Invocation], None]
    completes: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """One line saying what it does."""
        return inspect.cleandoc(self.run.__doc__ or "").partition("\n")[0].rstrip(".")

    @property
    def details(self) -> str:
        """What `.help NAME` says beyond the summary."""
        return inspect.cleandoc(self.run.__doc__ or "").partition("\n")[2].strip()

    @property
    def synopsis(self) -> str:
        """How it is typed."""
        return f".{self.name} {self.usage}".rstrip()

    def misused(self) -> UsageError:
        """The error for words that make no sense."""
        return UsageError(f"Usage: {self.synopsis}")


def dot_command(
    name: str, usage: str = "", *, completes: tuple[str, ...] = ()
) -> Callable[[Callable[[Shell, Invocation], None]], DotCommand]:
    """Make a dot-command of a function; its docstring becomes the help."""

    def make(run: Callable[[Shell, Invocation], None]) -> DotCommand:
        return DotCommand(name, usage, run, completes)

    return make


# What sqlite3's users type from habit where the letters alone would be ambiguous.
_HABITS = {"q": "quit", "h": "help", "e": "exit", "s": "schema", "t": "tables", "d": "dump"}


def find_command(commands: dict[str, DotCommand], name: str) -> DotCommand:
    """The command of that name, or the only one that begins so.

    Errors: UsageError.
    """
    name = _HABITS.get(name, name)
    if name in commands:
        return commands[name]
    matches = [known for known in commands if name and known.startswith(name)]
    if len(matches) == 1:
        return commands[matches[0]]
    if matches:
        raise UsageError(f'".{name}" could be .{", .".join(matches)}')
    close = difflib.get_close_matches(name, commands, n=1)
    raise UsageError(
        f'unknown command or invalid arguments:  "{name}". Enter ".help" for help',
        f"did you mean .{close[0]}?" if close else "",
    )


def on_or_off(word: str) -> bool:
    """The switch a word stands for.

    Errors: UsageError.
    """
    lowered = word.lower()
    if lowered in ("on", "yes", "true", "1"):
        return True
    if lowered in ("off", "no", "false", "0"):
        return False
    raise UsageError(f'"{word}" is neither on nor off')

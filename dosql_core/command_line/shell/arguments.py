"""The shell's command line: sqlite3's options, with one dash or two, and DoSQL's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from dosql_core.command_line.moments import parse_moment
from dosql_core.command_line.opening import IN_MEMORY, Target
from dosql_core.command_line.reporting import UsageError
from dosql_core.command_line.results.layouts import LAYOUTS

HELP = """\
Usage: dosql [shell] [OPTIONS] [FILE [SQL...]]

Run statements of SQL on a database, or open a shell on it. FILE is made if it is not there;
without FILE the database is in memory. In a pipe the shell behaves like sqlite3's.

Examples:
  dosql app.db                                    open a shell
  dosql app.db "select * from account"            run statements and leave
  dosql -json app.db "select * from account"      the same, as JSON
  dosql --as-of "-1 hour" app.db                  look around in the past
  dosql --branch dev app.db < migration.sql       run a script on a branch

DoSQL's options:
  --branch NAME        work on this branch
  --as-of MOMENT       read a moment: an LSN, a time, '-1 hour', snapshot:NAME, branch:NAME
  --durability LEVEL   full (default), strict, normal or off
  --no-history         keep no history of what is written
  --timeout SECONDS    wait so long for the write lock (default 5)

sqlite3's options, with one dash or two:
  -ascii -box -column -csv -html -json -jsonl -line -list -markdown -quote -table -tabs -tcl
                       lay results out so; also -mode MODE
  -header, -noheader   show the names of columns, or not
  -separator TEXT      put TEXT between values
  -newline TEXT        end rows with TEXT
  -nullvalue TEXT      show TEXT for NULL
  -cmd COMMAND         run COMMAND before anything else; may be repeated
  -init FILE           run FILE first, instead of the user's own
  -bail                stop at the first error
  -echo                repeat inputs before they run
  -readonly            refuse to write
  -batch, -interactive read standard input as a script, or as a person's
  -version, -help      tell the versions, or this
"""


@dataclass(slots=True)
class ShellArguments:
    """What the command line asked for; None where it did not say."""

    target: Target = field(default_factory=lambda: Target(IN_MEMORY))
    statements: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    mode: str | None = None
    headers: bool | None = None
    separator: str | None = None
    newline: str | None = None
    null_text: str | None = None
    init_file: str | None = None
    bail: bool = False
    echo: bool = False
    is_interactive: bool | None = None
    wants_help: bool = False
    wants_version: bool = False


def parse_shell_arguments(words: list[str]) -> ShellArguments:
    """Read the words behind `dosql` or `dosql shell`.

    Errors: UsageError for an unknown option or one without its value.
    """
    arguments = ShellArguments()
    positional: list[str] = []
    remaining = list(reversed(words))
    while remaining:
        word = remaining.pop()
        if word == "--":
            positional += reversed(remaining)
            break
        if not word.startswith("-") or word == "-":
            positional.append(word)
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if name in _SWITCHES and not equals:
            _SWITCHES[name](arguments)
        elif name in LAYOUTS and not equals:
            arguments.mode = name
        elif name in _VALUED:
            if not equals:
                if not remaining:
                    raise UsageError(f"option {word} needs a value", _SEE_HELP)
                value = remaining.pop()
            _VALUED[name](arguments, value)
        else:
            raise UsageError(f"unknown option: {word}", _SEE_HELP)
    if positional:
        arguments.target = replace(arguments.target, path=positional[0])
        arguments.statements = positional[1:]
    return arguments


_SEE_HELP = "dosql shell --help lists the options"


def _aim(**changes: object) -> Callable[[ShellArguments], None]:
    def change(arguments: ShellArguments) -> None:
        arguments.target = replace(arguments.target, **changes)  # type: ignore[arg-type]

    return change


def _mark(name: str, value: object) -> Callable[[ShellArguments], None]:
    return lambda arguments: setattr(arguments, name, value)


def _keep(name: str) -> Callable[[ShellArguments, str], None]:
    return lambda arguments, value: setattr(arguments, name, value)


def _set_mode(arguments: ShellArguments, value: str) -> None:
    if value not in LAYOUTS:
        raise UsageError(f"mode should be one of: {' '.join(sorted(LAYOUTS))}")
    arguments.mode = value


def _set_durability(arguments: ShellArguments, value: str) -> None:
    if value not in ("full", "strict", "normal", "off"):
        raise UsageError(f"durability should be full, strict, normal or off, not {value}")
    _aim(durability=value)(arguments)


def _set_timeout(arguments: ShellArguments, value: str) -> None:
    try:
        seconds = float(value)
    except ValueError:
        raise UsageError(f"timeout should be a number of seconds, not {value}") from None
    _aim(timeout_seconds=seconds)(arguments)


_SWITCHES: dict[str, Callable[[ShellArguments], None]] = {
    "bail": _mark("bail", True),
    "batch": _mark("is_interactive", False),
    "echo": _mark("echo", True),
    "header": _mark("headers", True),
    "headers": _mark("headers", True),
    "noheader": _mark("headers", False),
    "no-header": _mark("headers", False),
    "interactive": _mark("is_interactive", True),
    "readonly": _aim(read_only=True),
    "read-only": _aim(read_only=True),
    "no-history": _aim(history=False),
    "version": _mark("wants_version", True),
    "help": _mark("wants_help", True),
    "h": _mark("wants_help", True),
}

_VALUED: dict[str, Callable[[ShellArguments, str], None]] = {
    "mode": _set_mode,
    "separator": _keep("separator"),
    "newline": _keep("newline"),
    "nullvalue": _keep("null_text"),
    "init": _keep("init_file"),
    "cmd": lambda arguments, value: arguments.commands.append(value),
    "branch": lambda arguments, value: _aim(branch=value)(arguments),
    "as-of": lambda arguments, value: _aim(as_of=parse_moment(value))(arguments),
    "durability": _set_durability,
    "timeout": _set_timeout,
}

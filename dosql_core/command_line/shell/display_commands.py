"""Dot-commands about how results look and where they go."""

from __future__ import annotations

from dosql_core.command_line.reporting import UsageError
from dosql_core.command_line.results.layouts import FRAMED_LAYOUTS, LAYOUTS
from dosql_core.command_line.shell.dot_command import (
    DotCommand,
    Invocation,
    dot_command,
    on_or_off,
)
from dosql_core.command_line.shell.shell import Shell
from dosql_core.command_line.values import sql_literal
from dosql_core.errors import Error
from dosql_core.identifiers import SqlValue


@dot_command("mode", "?MODE? ?TABLE?", completes=("mode", "table"))
def mode(shell: Shell, typed: Invocation) -> None:
    """Set how results are laid out; without MODE, tell how.

    For eyes: box, table, column, markdown, line. For programs: list, csv, tsv, json, jsonl,
    ascii, tcl, quote, html, and insert (into TABLE). `tabs` is another name for tsv.
    """
    if not typed.words:
        shell.output.write(f"current output mode: {shell.settings.mode}\n")
        return
    name = typed.words[0].lower()
    if name not in LAYOUTS:
        matches = [known for known in LAYOUTS if known.startswith(name)]
        if len(matches) != 1:
            raise UsageError(f"mode should be one of: {' '.join(sorted(LAYOUTS))}")
        name = matches[0]
    shell.settings.mode = name
    shell.settings.column_separator = shell.settings.row_separator = None
    if name in FRAMED_LAYOUTS and shell.settings.headers is None:
        shell.settings.headers = True  # and they stay on in the next mode, as in sqlite3's shell
    if name == "insert":
        shell.settings.insert_table = typed.word(1, "table")


@dot_command("headers", "on|off", completes=("switch",))
def headers(shell: Shell, typed: Invocation) -> None:
    """Show the names of columns above results, or not.

    box, table and markdown always show them; column shows them unless they are off.
    """
    shell.settings.headers = _switch(headers, typed)


@dot_command("nullvalue", "TEXT")
def nullvalue(shell: Shell, typed: Invocation) -> None:
    """Show TEXT where a value is NULL."""
    if len(typed.words) != 1:
        raise nullvalue.misused()
    shell.settings.null_text = typed.words[0]


@dot_command("separator", "COLUMN ?ROW?")
def separator(shell: Shell, typed: Invocation) -> None:
    """Put COLUMN between values, and ROW after rows, in the modes for programs."""
    if not 1 <= len(typed.words) <= 2:
        raise separator.misused()
    shell.settings.column_separator = typed.words[0]
    if len(typed.words) == 2:
        shell.settings.row_separator = typed.words[1]


@dot_command("width", "?NUMBER|full|fit? ...")
def width(shell: Shell, typed: Invocation) -> None:
    """Set the widths of columns in the modes for eyes.

    0 lets the data decide, a negative number aligns to the right, no number resets all.
    `full` shows every value whole; `fit` (the default) cuts values so that rows fit the terminal.
    """
    if typed.words in (["full"], ["fit"]):
        shell.settings.fits_screen = typed.words == ["fit"]
        return
    try:
        shell.settings.widths = tuple(int(word) for word in typed.words)
    except ValueError:
        raise width.misused() from None


@dot_command("timer", "on|off", completes=("switch",))
def timer(shell: Shell, typed: Invocation) -> None:
    """Tell after each statement how long it took."""
    shell.settings.timer = _switch(timer, typed)


@dot_command("changes", "on|off", completes=("switch",))
def changes(shell: Shell, typed: Invocation) -> None:
    """Tell after each statement how many rows it changed."""
    shell.settings.shows_changes = _switch(changes, typed)


@dot_command("echo", "on|off", completes=("switch",))
def echo(shell: Shell, typed: Invocation) -> None:
    """Repeat every input of a script before it runs."""
    shell.settings.echo = _switch(echo, typed)


@dot_command("pager", "on|off", completes=("switch",))
def pager(shell: Shell, typed: Invocation) -> None:
    """Show results longer than the screen in a pager ($DOSQL_PAGER, $PAGER or less)."""
    shell.settings.paging = _switch(pager, typed)


@dot_command("output", "?FILE|'|COMMAND'?", completes=("file",))
def output(shell: Shell, typed: Invocation) -> None:
    """Send results to FILE, or to a program, until told otherwise; without FILE, back to here."""
    shell.output.redirect(_destination(typed))


@dot_command("once", "FILE|'|COMMAND'", completes=("file",))
def once(shell: Shell, typed: Invocation) -> None:
    """Send the results of the next command only to FILE, or to a program."""
    destination = _destination(typed)
    if destination is None:
        raise once.misused()
    shell.output.redirect(destination, once=True)


@dot_command("print", "TEXT...")
def print_text(shell: Shell, typed: Invocation) -> None:
    """Write the words where results go."""
    shell.output.write(" ".join(typed.words) + "\n")


@dot_command("show")
def show(shell: Shell, typed: Invocation) -> None:
    """Show the values of all settings."""
    settings = shell.settings
    header_words = {None: "auto", True: "on", False: "off"}
    values = {
        "echo": _word(settings.echo),
        "bail": _word(settings.bail),
        "explain": settings.explain,
        "headers": header_words[settings.headers],
        "mode": settings.mode,
        "nullvalue": f'"{settings.null_text}"',
        "output": shell.output.destination,
        "colseparator": _quoted(settings.column_separator),
        "rowseparator": _quoted(settings.row_separator),
        "timer": _word(settings.timer),
        "changes": _word(settings.shows_changes),
        "pager": _word(settings.paging),
        "width": " ".join(map(str, settings.widths)) or ("fit" if settings.fits_screen else "full"),
        "filename": shell.target.path,
        "branch": shell.branch or "",
        "moment": "now" if shell.target.as_of is None else str(shell.target.as_of),
    }
    for name, value in values.items():
        shell.output.write(f"{name:>12}: {value}\n")


@dot_command("parameter", "init|list|set NAME VALUE|unset NAME|clear", completes=("parameter",))
def parameter(shell: Shell, typed: Invocation) -> None:
    """Give values to the parameters of statements.

    NAME begins with `:`, `@`, `$` or `?`. VALUE is a number, a text in quotes, NULL, or any SQL
    expression. Parameters without a value are NULL.
    """
    values = shell.settings.parameters
    match typed.words:
        case ["init"]:
            pass
        case ["clear"]:
            values.clear()
        case ["list"]:
            for name in sorted(values):
                shell.output.write(f"{name} {sql_literal(values[name])}\n")
        case ["set", name, *expression] if name[:1] in ":@$?" and expression:
            values[name] = _evaluate(shell, typed.rest, " ".join(expression))
        case ["unset", name]:
            values.pop(name, None)
        case _:
            raise parameter.misused()


def _evaluate(shell: Shell, rest: str, words: str) -> SqlValue:
    """The value of an expression; what is none is itself a text, as sqlite3's shell has it."""
    as_typed = rest.split(None, 2)[2]
    # "'abc'" is how sqlite3's users write a text: the outer quotes are the shell's.
    for expression in (words, as_typed) if as_typed.startswith('"') else (as_typed, words):
        try:
            value: SqlValue = shell.query(f"SELECT {expression}")[1][0][0]
            return value
        except Error:
            continue
    return words


def _switch(command: DotCommand, typed: Invocation) -> bool:
    if len(typed.words) != 1:
        raise command.misused()
    return on_or_off(typed.words[0])


def _destination(typed: Invocation) -> str | None:
    """The file or `|program` named; the words of a program need no quotes."""
    if typed.rest.startswith("|"):
        return typed.rest
    return typed.words[0] if typed.words else None


def _word(value: bool) -> str:
    return "on" if value else "off"


def _quoted(separator_text: str | None) -> str:
    return "auto" if separator_text is None else '"' + repr(separator_text)[1:-1] + '"'


COMMANDS = (
    changes,
    echo,
    headers,
    mode,
    nullvalue,
    once,
    output,
    pager,
    parameter,
    print_text,
    separator,
    show,
    timer,
    width,
)

"""The conversation with a person: prompt, history, completion, colours, editing of many lines."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import CompleteEvent, Completion
from prompt_toolkit.completion import Completer as PromptCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.lexers import Lexer, PygmentsLexer, SimpleLexer
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.styles import Style
from pygments.lexers.sql import SqlLexer

from dosql_core.command_line.opening import Target
from dosql_core.command_line.reporting import note, wants_colour
from dosql_core.command_line.shell.completion import Completer
from dosql_core.command_line.shell.interruption import nothing_to_interrupt
from dosql_core.command_line.shell.script import ShellInput, needs_more
from dosql_core.command_line.shell.shell import Shell
from dosql_core.command_line.versions import dosql_version, sqlite_version

CONTINUATION = "   ...> "

_STYLE = Style.from_dict(
    {
        "file": "bold",
        "branch": "ansicyan",
        "moment": "ansiyellow",
        "transaction": "ansired bold",
        "pygments.keyword": "ansiblue bold",
        "pygments.name.builtin": "ansiblue",
        "pygments.literal.string": "ansigreen",
        "pygments.literal.number": "ansimagenta",
        "pygments.comment": "ansibrightblack italic",
    }
)


def converse(shell: Shell) -> None:
    """Read inputs from the terminal and run them until the person leaves.

    Errors: LeaveShell when a command says so.
    """
    _greet(shell)
    session = _prompt_session(shell)
    with nothing_to_interrupt():  # between the prompt and the statement, say
        _converse(shell, session)
    _say_goodbye(shell)


def _converse(shell: Shell, session: PromptSession[str]) -> None:
    while True:
        try:
            text = session.prompt(lambda: prompt_for(shell))
        except KeyboardInterrupt:
            continue  # Ctrl-C gives up the line being typed
        except EOFError:
            return
        text = text.strip()
        if not text:
            continue
        with contextlib.suppress(KeyboardInterrupt), shell.watching_for_interrupts():
            shell.run(ShellInput(text, 1))  # which tells of it, unless it came in a wrong moment


def prompt_for(shell: Shell) -> FormattedText:
    """Where the shell is: `app.db main> `, `app.db main*> ` in a transaction, `main @ 5> ` then."""
    parts = [("class:file", file_label(shell.target))]
    if shell.branch is not None:
        parts.append(("class:branch", f" {shell.branch}"))
    if shell.target.as_of is not None:
        parts.append(("class:moment", f" @ {shell.target.as_of}"))
    if shell.connection.in_transaction:
        parts.append(("class:transaction", "*"))
    parts.append(("", "> "))
    return FormattedText(parts)


def file_label(target: Target) -> str:
    """The database's name in the prompt."""
    return "memory" if target.is_in_memory else Path(target.path).name


def history_file() -> Path:
    """Where what was typed is remembered.

    Source: https://specifications.freedesktop.org/basedir-spec/latest/
    """
    folder = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(folder) / "dosql" / "history"


class _PromptCompleter(PromptCompleter):
    """Our completion in prompt_toolkit's terms."""

    def __init__(self, completer: Completer) -> None:
        self._completer = completer

    def get_completions(self, document: Document, event: CompleteEvent) -> Iterable[Completion]:
        suggestions = self._completer.suggest(document.text_before_cursor)
        for suggestion in suggestions.found:
            yield Completion(
                suggestion.text,
                start_position=-suggestions.replaced,
                display_meta=suggestion.kind,
            )


class _ShellLexer(Lexer):
    """SQL in colours; a dot-command plain."""

    def __init__(self) -> None:
        self._sql = PygmentsLexer(SqlLexer)
        self._plain = SimpleLexer()

    def lex_document(self, document: Document):  # type: ignore[no-untyped-def]
        lexer = self._plain if document.text.startswith(".") else self._sql
        return lexer.lex_document(document)


def _prompt_session(shell: Shell) -> PromptSession[str]:
    return PromptSession(
        history=_history(),
        auto_suggest=AutoSuggestFromHistory(),
        completer=_PromptCompleter(Completer(shell)),
        complete_while_typing=False,
        lexer=_ShellLexer(),
        style=_STYLE,
        color_depth=None if wants_colour(sys.stdout) else ColorDepth.DEPTH_1_BIT,
        key_bindings=_key_bindings(),
        multiline=True,
        prompt_continuation=lambda width, line, wraps: CONTINUATION,
        enable_open_in_editor=True,
    )


def _key_bindings() -> KeyBindings:
    bindings = KeyBindings()

    @bindings.add("enter")
    def _(event: KeyPressEvent) -> None:
        """Run what is complete; otherwise go on in a new line."""
        buffer = event.current_buffer
        if buffer.complete_state and buffer.complete_state.current_completion:
            buffer.complete_state = None  # Enter takes the completion that is chosen
        elif needs_more(buffer.text):
            buffer.newline(copy_margin=False)
        else:
            buffer.validate_and_handle()

    @bindings.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        """Run what is there, complete or not."""
        event.current_buffer.validate_and_handle()

    return bindings


def _history() -> History:
    path = history_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)  # what was typed may hold secrets
    except OSError as error:
        note(f"what you type is not remembered: {error}")
        return InMemoryHistory()
    return FileHistory(str(path))


def _greet(shell: Shell) -> None:
    print(f"DoSQL {dosql_version()} on SQLite {sqlite_version()}.", end=" ")
    print('Enter ".help" for help, Ctrl-D to leave.')
    if shell.target.is_in_memory:
        print('The database is in memory and keeps no history; ".open FILE" opens one that does.')
    elif shell.branch is not None:
        print(f"{shell.target.path}, branch {shell.branch}, LSN {shell.lsn}.")


def _say_goodbye(shell: Shell) -> None:
    if shell.connection.in_transaction:
        note("the open transaction was rolled back")

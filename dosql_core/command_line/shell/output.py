"""Where the shell's results go: the terminal (through a pager when long), a file, a program."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from typing import IO

from dosql_core.command_line.reporting import CommandFailedError, palette_for
from dosql_core.command_line.results.style import PLAIN, Palette

_THIS_ONE_AND_THE_NEXT = 2  # `.once` is itself a command that ends


class ResultsClosedError(Exception):
    """The reader of the results has gone: a pager was left, a program ended."""


class ShellOutput:
    """The place results are written to; `.output` moves it, `.once` moves it for one command."""

    def __init__(self, *, is_interactive: bool) -> None:
        self._is_interactive = is_interactive
        self._redirection: _Redirection | None = None
        self._commands_left: int | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether a person sees the results as they are written."""
        return self._redirection is None and self._is_interactive and sys.stdout.isatty()

    @property
    def destination(self) -> str:
        """What `.show` calls the place."""
        return self._redirection.name if self._redirection else "stdout"

    @property
    def palette(self) -> Palette:
        """The colours allowed there."""
        return palette_for(sys.stdout) if self._redirection is None else PLAIN

    @property
    def screen_columns(self) -> int | None:
        """Cells a line may have, or None where nobody's screen is the limit."""
        return shutil.get_terminal_size().columns if self.is_terminal else None

    def write(self, text: str) -> None:
        """Write text to the place.

        Errors: ResultsClosedError when a program the results go to has ended; BrokenPipeError when
        our own stdout is closed.
        """
        if self._redirection:
            self._redirection.write(text)
        else:
            sys.stdout.write(text)

    def flush(self) -> None:
        """Let everything written arrive, so that errors on stderr come after it."""
        if self._redirection:
            self._redirection.flush()
        else:
            sys.stdout.flush()

    def redirect(self, destination: str | None, *, once: bool = False) -> None:
        """Send results to a file, to a program (`|command`), or back to stdout (None).

        Errors: CommandFailedError when the file cannot be written or the program not started.
        """
        self.close()
        if destination and destination not in ("stdout", "-"):
            self._redirection = _Redirection(destination)
            self._commands_left = _THIS_ONE_AND_THE_NEXT if once else None

    def end_command(self) -> None:
        """A command is done: results of the next one go where they went before `.once`."""
        if self._commands_left is not None:
            self._commands_left -= 1
            if self._commands_left == 0:
                self.close()

    def close(self) -> None:
        """End the redirection; waits for the program results went to."""
        redirection, self._redirection = self._redirection, None
        self._commands_left = None
        if redirection:
            redirection.close()


class _Redirection:
    """An open file, or a running program's input."""

    def __init__(self, destination: str) -> None:
        self.name = destination
        self._process: subprocess.Popen[str] | None = None
        self._stream: IO[str]
        try:
            if destination.startswith("|"):
                self._process = subprocess.Popen(
                    destination[1:], shell=True, stdin=subprocess.PIPE, encoding="utf-8"
                )
                assert self._process.stdin is not None
                self._stream = self._process.stdin
            else:
                self._stream = open(  # noqa: SIM115 - stays open until the redirection ends
                    destination, "w", encoding="utf-8", newline=""
                )
        except OSError as cause:
            raise CommandFailedError(f'cannot open "{destination}": {cause.strerror}') from cause

    def write(self, text: str) -> None:
        try:
            self._stream.write(text)
        except BrokenPipeError:
            raise ResultsClosedError from None

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            raise ResultsClosedError from None

    def close(self) -> None:
        with suppress(BrokenPipeError):  # the program had seen enough
            self._stream.close()
        if self._process:
            self._process.wait()


class PagedWriter:
    """Writes to the terminal; what does not fit on the screen goes through a pager.

    A short result must not open a pager and a long one must not wait for its end, so text is held
    back only until it is known not to fit.
    """

    def __init__(self, stream: IO[str], *, screen_lines: int) -> None:
        self._stream = stream
        self._room = screen_lines
        self._held: list[str] | None = []
        self._pager: subprocess.Popen[str] | None = None

    def write(self, text: str) -> None:
        """Write text.

        Errors: ResultsClosedError when the reader left the pager.
        """
        if self._held is not None:
            self._held.append(text)
            self._room -= text.count("\n")
            if self._room >= 0:
                return
            self._pager = _start_pager()
            text = "".join(self._held)
            self._held = None
        if self._pager is None:
            self._stream.write(text)
            return
        assert self._pager.stdin is not None
        try:
            self._pager.stdin.write(text)
        except BrokenPipeError:
            raise ResultsClosedError from None

    def close(self) -> None:
        """Show what is held back, or wait until the reader leaves the pager."""
        if self._pager is None:
            self._stream.write("".join(self._held or ()))
            self._held = None
            return
        assert self._pager.stdin is not None
        with suppress(BrokenPipeError):  # the reader left before the end
            self._pager.stdin.close()
        while True:
            try:
                self._pager.wait()
                return
            except KeyboardInterrupt:
                continue  # the pager is in the foreground: Ctrl-C is its business


def _start_pager() -> subprocess.Popen[str] | None:
    """The user's pager, `less`, or None when there is none to be had."""
    command = os.environ.get("DOSQL_PAGER") or os.environ.get("PAGER") or "less"
    if command == "cat":
        return None
    # -R colours, -S long lines are cut and can be scrolled, -F -X short text stays on the screen
    environment = {"LESS": "-RSFX", **os.environ}
    try:
        return subprocess.Popen(
            shlex.split(command), stdin=subprocess.PIPE, encoding="utf-8", env=environment
        )
    except OSError:
        return None

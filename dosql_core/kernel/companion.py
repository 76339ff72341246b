"""The process that keeps a head's WAL for this one, seen from this one.

Orders go to it and answers come back as lines; what they mean is told in `companion_process`.
"""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dosql_core.storage.lock_files import LockFile

READY, KEPT, COPIED_ALL, COPIED_SOME = "ready", "kept", "copied all", "copied some"
KEEP, MAINTAIN, CHECKPOINT, RESIGN = "keep", "maintain", "checkpoint", "resign"

_ANSWER_SECONDS = 60.0
_PATIENCE_SECONDS = 1.0
_PACKAGES = str(Path(__file__).parent.parent.parent)
_PYTHON = re.compile(r"python[\d.]*t?")


class CompanionLostError(Exception):
    """The companion has ended, or did not do what it was told."""


class Companion:
    """A companion process; one thread at a time gives it orders."""

    def __init__(self, module: str, arguments: Sequence[str], lock_file: LockFile) -> None:
        """Start it: it runs `module`, with this process's `sys.path`, and shares a lock with it.

        Errors: OSError, or what else comes of starting a process where that is not allowed.
        """
        import socket
        import subprocess  # they take 5 ms, and most programs never get here

        self._timed_out, self._no_signal = subprocess.TimeoutExpired, socket.MSG_NOSIGNAL
        # What is no string there is passed over, as the import of a module does.
        search = [_PACKAGES, *(place for place in sys.path if isinstance(place, str) and place)]
        # A socket and no pipes: a program may have SIGPIPE end it.
        self._line, its_end = socket.socketpair()
        try:
            with its_end:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", module, *arguments, str(lock_file.descriptor)],
                    stdin=its_end.fileno(),
                    stdout=its_end.fileno(),
                    stderr=subprocess.DEVNULL,
                    pass_fds=[lock_file.descriptor],
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(search))},
                )
        except BaseException:
            self._line.close()
            raise
        self._heard = b""
        self.is_keeper = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def is_ready(self) -> bool:
        """Whether it has the head open, without waiting; also True when it has ended already."""
        return self._hears_within(0.0)

    def wait_until_ready(self) -> None:
        """Return when it has the head open.

        Errors: CompanionLostError.
        """
        self._expect(READY)

    def keep(self) -> None:
        """Have it become the keeper, which nobody else is; it is ready.

        Errors: CompanionLostError.
        """
        self._order(KEEP)
        self._expect(KEPT)
        self.is_keeper = True

    def work(self, order: str) -> bool:
        """Have it maintain the WAL, or checkpoint it; whether that copied all.

        Errors: CompanionLostError.
        """
        self._order(order)
        return self._expect(COPIED_ALL, COPIED_SOME) == COPIED_ALL

    def resign(self) -> None:
        """Have it end once a cycle that runs is finished; the frames it kept are kept no more.

        Errors: CompanionLostError, and then it has ended as well.
        """
        deadline = time.monotonic() + _ANSWER_SECONDS
        try:
            self._order(RESIGN)
            while not self._ends_within(_PATIENCE_SECONDS):
                if time.monotonic() > deadline:
                    raise CompanionLostError("the companion does not end")
                self._continue()
        finally:
            self.kill()

    def has_ended(self) -> bool:
        """Whether it has ended without being told to."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """End it, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        self._line.close()

    def _order(self, order: str) -> None:
        try:
            self._line.sendall(order.encode() + b"\n", self._no_signal)
        except OSError as error:
            raise CompanionLostError(f"the companion cannot be told to {order}: {error}") from error

    def _expect(self, *expected: str) -> str:
        deadline = time.monotonic() + _ANSWER_SECONDS
        while b"\n" not in self._heard:
            if not self._hears_within(_PATIENCE_SECONDS):
                if time.monotonic() > deadline:
                    raise CompanionLostError(f"the companion does not answer ({expected[0]!r})")
                self._continue()
                continue
            try:
                chunk = self._line.recv(65536)
            except OSError as error:
                raise CompanionLostError(f"the companion has ended: {error}") from error
            if not chunk:
                raise CompanionLostError("the companion has ended")
            self._heard += chunk
        line, _, self._heard = self._heard.partition(b"\n")
        answer = line.decode(errors="replace")
        if answer not in expected:
            raise CompanionLostError(f"the companion says {answer!r} instead of {expected[0]!r}")
        return answer

    def _continue(self) -> None:
        self._process.send_signal(signal.SIGCONT)  # somebody may have stopped it

    def _ends_within(self, timeout_seconds: float) -> bool:
        try:
            self._process.wait(timeout_seconds)
        except self._timed_out:
            return False
        return True

    def _hears_within(self, timeout_seconds: float) -> bool:
        """Whether there is an answer, or the end of them, waiting so long at most."""
        poll = select.poll()
        poll.register(self._line, select.POLLIN)
        return bool(poll.poll(max(timeout_seconds, 0.0) * 1000))


StartCompanion = Callable[[float, LockFile], Companion | None]
"""Given how many seconds of a processor capture took lately, and the lock of keepers, starts a
companion if that is due.

Errors: whatever comes of starting a process where that is not possible or not allowed.
"""


def companion_starter(
    module: str, arguments: Sequence[str], *, after_seconds: float
) -> StartCompanion | None:
    """What starts a companion once capture takes so long; None where one would be of no use."""
    if len(os.sched_getaffinity(0)) < 2:
        return None  # it would take the processor from whom it is to help
    # A program that has Python inside may have its own name here: it must not be started again.
    executable = os.path.basename(sys.executable or "")
    if getattr(sys, "frozen", False) or not _PYTHON.fullmatch(executable):
        return None

    def start(worked_seconds: float, lock_file: LockFile) -> Companion | None:
        return None if worked_seconds < after_seconds else Companion(module, arguments, lock_file)

    return start

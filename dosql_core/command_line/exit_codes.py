"""What the exit status of `dosql` means; docs/command-line.md tells users the same."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """Statuses a script may rely on."""

    OK = 0
    FAILED = 1
    """The operation was understood and did not succeed; nothing was half done."""
    USAGE = 2
    """The command line makes no sense, or names a file that is not there."""
    DAMAGED = 3
    """`dosql verify` ran to its end and found something wrong."""
    DIFFERENT = 4
    """`dosql diff --exit-code` ran to its end and the two moments differ."""
    INTERRUPTED = 130
    """Ctrl-C, as shells say it: 128 + SIGINT."""
    BROKEN_PIPE = 141
    """Whoever read our output has gone, as shells say it: 128 + SIGPIPE."""

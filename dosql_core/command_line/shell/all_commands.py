"""Every dot-command, by name."""

from __future__ import annotations

from dosql_core.command_line.shell import (
    display_commands,
    history_commands,
    schema_commands,
    session_commands,
)
from dosql_core.command_line.shell.dot_command import DotCommand

DOT_COMMANDS: dict[str, DotCommand] = {
    command.name: command
    for module in (display_commands, history_commands, schema_commands, session_commands)
    for command in module.COMMANDS
}

"""The command `dosql`: a shell, and subcommands for what one does to a database from outside.

It uses `dosql_dbapi` and `Database` and nothing below them. Nothing imports it.
"""

from dosql_core.command_line.entry import main

__all__ = ["main"]

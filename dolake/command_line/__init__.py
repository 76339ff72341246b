"""The command `dolake`: serve a lake, bring databases into it, look into it, keep it tidy."""

from dolake.command_line.entry import main

__all__ = ["main"]

"""`manage.py dbshell`: the `dosql` shell on the database, its branch and its moment."""

from __future__ import annotations

import sys
from typing import Any

from django.db.backends.base.client import BaseDatabaseClient

_SWITCHES = {
    "branch": "--branch",
    "as_of": "--as-of",
    "durability": "--durability",
    "timeout": "--timeout",
}


class DatabaseClient(BaseDatabaseClient):
    """Runs the shell with the Python at hand, so that it need not be on the path."""

    executable_name = sys.executable

    @classmethod
    def settings_to_cmd_args_env(
        cls, settings_dict: dict[str, Any], parameters: list[str]
    ) -> tuple[list[str], dict[str, str] | None]:
        """The words of the command line; its environment is the present one."""
        options = settings_dict.get("OPTIONS") or {}
        words = [cls.executable_name, "-m", "dosql_core.command_line", "shell"]
        for name, switch in _SWITCHES.items():
            if options.get(name) is not None:
                words += [switch, str(options[name])]
        if options.get("history") is False:
            words.append("--no-history")
        return [*words, settings_dict["NAME"], *parameters], None

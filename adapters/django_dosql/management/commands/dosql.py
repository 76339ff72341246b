"""`manage.py dosql`: the log, branches, snapshots and restoring of one of the databases."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections

import dosql_dbapi
from django_dosql.base import DatabaseWrapper
from django_dosql.switching import branch, close_places

_LOG_COLUMNS = ("lsn", "committed_at", "pages", "bytes", "author", "message")


class Command(BaseCommand):
    """Each subcommand is one of DoSQL's statements."""

    help = "Shows and changes the history, the branches and the snapshots of a database."
    requires_system_checks: Sequence[str] = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--database", default=DEFAULT_DB_ALIAS, help="Alias of the database.")
        parser.add_argument("--branch", help="Branch to work on, instead of the settings'.")
        subcommands = parser.add_subparsers(dest="subcommand", required=True)
        _add_log(subcommands)
        _add_branch(subcommands)
        _add_snapshot(subcommands)
        _add_restore(subcommands)
        _add_on(subcommands)

    def handle(self, *_arguments: Any, **options: Any) -> None:
        run: Callable[[Command, dict[str, Any]], None] = options["run"]
        database = options["database"]
        if database not in connections:
            raise CommandError(f"settings.DATABASES has no {database!r}")
        if not isinstance(connections[database], DatabaseWrapper):
            raise CommandError(f"settings.DATABASES[{database!r}] is not on django_dosql")
        try:
            if options["branch"]:
                with branch(options["branch"], using=database):
                    run(self, options)
            else:
                run(self, options)
        except DatabaseError as error:
            hint = getattr(error.__cause__, "hint", "")
            raise CommandError(f"{error}\n{hint}" if hint else str(error)) from error

    def execute_sql(
        self, options: dict[str, Any], sql: str, parameters: Sequence[Any] = ()
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        """The names and rows that a statement gives."""
        with connections[options["database"]].cursor() as cursor:
            cursor.execute(sql, parameters)
            names = [column[0] for column in cursor.description or ()]
            return names, cursor.fetchall() if names else []

    def show(self, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Write rows as columns of text."""
        texts = [[("" if value is None else str(value)) for value in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(names, *texts, strict=True)]
        for line in [list(names), *texts]:
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            self.stdout.write("  ".join(cells).rstrip())


def _moment(text: str) -> int | str:
    return int(text) if text.lstrip("-").isdecimal() else text


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _clause(moment: str | None) -> tuple[str, list[Any]]:
    """`AS OF` for a moment, and its parameters."""
    if moment is None:
        return "", []
    words, values = _target(moment)
    return f" AS OF {words}", values


def _target(moment: str) -> tuple[str, list[Any]]:
    """A moment as SQL writes it, and its parameters."""
    try:
        words, values = dosql_dbapi.as_of_clause(_moment(moment))
    except dosql_dbapi.Error as error:
        raise CommandError(str(error)) from error
    return words.replace("?", "%s"), list(values)


def _add_log(subcommands: Any) -> None:
    parser = subcommands.add_parser("log", help="Show the last commits.")
    parser.add_argument("-n", "--limit", type=int, default=20, help="How many (default 20).")
    parser.set_defaults(run=_log)


def _log(command: Command, options: dict[str, Any]) -> None:
    columns = ", ".join(_LOG_COLUMNS)
    sql = f"SELECT {columns} FROM dosql_log ORDER BY lsn DESC LIMIT %s"
    command.show(*command.execute_sql(options, sql, [options["limit"]]))


def _add_branch(subcommands: Any) -> None:
    parser = subcommands.add_parser("branch", help="List, make, rename, merge or drop branches.")
    actions = parser.add_subparsers(dest="action")
    parser.set_defaults(run=_list_branches)
    actions.add_parser("list", help="Show them, as without a word behind `branch`.")
    create = actions.add_parser("create", help="Fork a branch.")
    create.add_argument("name")
    create.add_argument("--from", dest="source", help="The branch to fork, instead of this one.")
    create.add_argument("--as-of", help="The moment to fork at, instead of now.")
    create.set_defaults(run=_create_branch)
    rename = actions.add_parser("rename", help="Give a branch another name.")
    rename.add_argument("name")
    rename.add_argument("new_name")
    rename.set_defaults(run=_rename_branch)
    merge = actions.add_parser("merge", help="Bring in what another branch did since it forked.")
    merge.add_argument("name")
    merge.add_argument(
        "--using", choices=("ours", "theirs"), help="Who is right where both changed something."
    )
    merge.set_defaults(run=_merge_branch)
    drop = actions.add_parser("drop", help="Remove a branch and its history.")
    drop.add_argument("name")
    drop.add_argument("--force", action="store_true", help="Also one with commits of its own.")
    drop.set_defaults(run=_drop_branch)


def _list_branches(command: Command, options: dict[str, Any]) -> None:
    names, rows = command.execute_sql(options, "SHOW BRANCHES")
    wanted = [names.index(name) for name in ("name", "parent", "fork_lsn", "lsn", "own_bytes")]
    command.show([names[i] for i in wanted], [[row[i] for i in wanted] for row in rows])


def _create_branch(command: Command, options: dict[str, Any]) -> None:
    source = f" FROM {_quoted(options['source'])}" if options["source"] else ""
    clause, parameters = _clause(options["as_of"])
    command.execute_sql(
        options, f"CREATE BRANCH {_quoted(options['name'])}{source}{clause}", parameters
    )
    command.stdout.write(f"branch {options['name']} made")


def _rename_branch(command: Command, options: dict[str, Any]) -> None:
    names = _quoted(options["name"]), _quoted(options["new_name"])
    command.execute_sql(options, "ALTER BRANCH {} RENAME TO {}".format(*names))
    command.stdout.write(f"branch {options['name']} is called {options['new_name']} now")


def _merge_branch(command: Command, options: dict[str, Any]) -> None:
    policy = f" USING {options['using'].upper()}" if options["using"] else ""
    try:
        told = command.execute_sql(options, f"MERGE BRANCH {_quoted(options['name'])}{policy}")
    except DatabaseError as error:
        if getattr(error.__cause__, "code", "") != "MERGE_CONFLICT":
            raise
        command.execute_sql(options, "ABORT MERGE")
        raise CommandError(
            f"nothing was merged: {error}\n--using ours or --using theirs decides for one side; "
            "in `manage.py dbshell` conflicts can be resolved one by one"
        ) from error
    command.show(*told)


def _drop_branch(command: Command, options: dict[str, Any]) -> None:
    close_places(options["database"])
    force = " FORCE" if options["force"] else ""
    command.execute_sql(options, f"DROP BRANCH {_quoted(options['name'])}{force}")
    command.stdout.write(f"branch {options['name']} dropped")


def _add_snapshot(subcommands: Any) -> None:
    parser = subcommands.add_parser("snapshot", help="List, make or drop snapshots.")
    actions = parser.add_subparsers(dest="action")
    parser.set_defaults(run=_list_snapshots)
    actions.add_parser("list", help="Show them, as without a word behind `snapshot`.")
    create = actions.add_parser("create", help="Name a moment.")
    create.add_argument("name")
    create.add_argument("--as-of", help="The moment, instead of now.")
    create.set_defaults(run=_create_snapshot)
    drop = actions.add_parser("drop", help="Forget a name.")
    drop.add_argument("name")
    drop.set_defaults(run=_drop_snapshot)


def _list_snapshots(command: Command, options: dict[str, Any]) -> None:
    command.show(*command.execute_sql(options, "SHOW SNAPSHOTS"))


def _create_snapshot(command: Command, options: dict[str, Any]) -> None:
    clause, parameters = _clause(options["as_of"])
    command.execute_sql(options, f"CREATE SNAPSHOT {_quoted(options['name'])}{clause}", parameters)
    command.stdout.write(f"snapshot {options['name']} made")


def _drop_snapshot(command: Command, options: dict[str, Any]) -> None:
    command.execute_sql(options, f"DROP SNAPSHOT {_quoted(options['name'])}")
    command.stdout.write(f"snapshot {options['name']} dropped")


def _add_restore(subcommands: Any) -> None:
    parser = subcommands.add_parser(
        "restore", help="Put the branch, or one table, back to a moment, as a new commit."
    )
    parser.add_argument("moment", help="An LSN, a time, snapshot:NAME or branch:NAME.")
    parser.add_argument("--table", help="Only this table.")
    parser.add_argument("--into", help="With --table: into a new table of this name.")
    parser.set_defaults(run=_restore)


def _restore(command: Command, options: dict[str, Any]) -> None:
    words, values = _target(options["moment"])
    if options["into"] and not options["table"]:
        raise CommandError("--into needs --table")
    table = f" TABLE {_quoted(options['table'])}" if options["table"] else ""
    into = f" AS {_quoted(options['into'])}" if options["into"] else ""
    names, rows = command.execute_sql(options, f"RESTORE{table}{into} TO {words}", values)
    command.stdout.write(f"restored: {names[0]} {rows[0][0]}")


def _add_on(subcommands: Any) -> None:
    parser = subcommands.add_parser(
        "on", help="Run another management command on a branch, for instance migrate."
    )
    parser.add_argument("name", help="The branch.")
    parser.add_argument("command", help="The management command.")
    parser.add_argument("words", nargs=argparse.REMAINDER, help="Its own arguments.")
    parser.set_defaults(run=_on)


def _on(command: Command, options: dict[str, Any]) -> None:
    with branch(options["name"], using=options["database"]):
        call_command(
            options["command"], *options["words"], stdout=command.stdout, stderr=command.stderr
        )

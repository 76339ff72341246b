"""`dosql branch`: list, create, drop, rename, protect, hydrate; merging is in `merges`."""

from __future__ import annotations

from typing import Annotated

import typer

from dosql_core.command_line.commands.merges import add_merge_commands
from dosql_core.command_line.commands.parameters import (
    AsOfOption,
    BranchName,
    DatabasePath,
    JsonOption,
    examples,
)
from dosql_core.command_line.commands.printing import print_facts, print_json, print_table
from dosql_core.command_line.moments import parse_moment
from dosql_core.command_line.opening import open_existing
from dosql_core.command_line.reporting import progress_bar
from dosql_core.command_line.wording import size_text
from dosql_core.identifiers import MAIN_BRANCH

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Fork a database, and look after the forks.",
)


@app.command("list", epilog=examples("dosql branch list app.db"))
def list_branches(database: DatabasePath, json: JsonOption = False) -> None:
    """List the branches, and how far each is from its parent."""
    with open_existing(database) as opened:
        branches = opened.branches.list()
    if json:
        print_json(branches)
        return
    columns = ("name", "parent", "forked at", "lsn", "ahead", "behind", "own size", "notes")
    rows = [
        (
            branch.name,
            branch.parent,
            branch.fork_lsn if branch.parent else None,
            branch.lsn,
            branch.ahead if branch.parent else None,
            branch.behind if branch.parent else None,
            size_text(branch.own_bytes),
            _notes(
                protected=branch.is_protected,
                hydrated=branch.is_hydrated and branch.parent is not None,
                merged=branch.is_merged and branch.lsn > branch.fork_lsn,
            ),
        )
        for branch in branches
    ]
    print_table(columns, rows)


@app.command(
    epilog=examples(
        "dosql branch create app.db dev",
        "dosql branch create app.db hotfix --from dev",
        'dosql branch create app.db before-lunch --as-of "-3 hours"',
    )
)
def create(
    database: DatabasePath,
    name: BranchName,
    source: Annotated[
        str | None, typer.Option("--from", metavar="BRANCH", help="Fork this one; main by default.")
    ] = None,
    as_of: AsOfOption = None,
    json: JsonOption = False,
) -> None:
    """Make a branch: in no time, whatever the size, copying nothing."""
    with open_existing(database) as opened:
        made = opened.branches.create(
            name,
            source or MAIN_BRANCH,
            None if as_of is None else parse_moment(as_of),
        )
    if json:
        print_json(made)
        return
    print(f"branch {made.name} forked from {made.parent} at LSN {made.fork_lsn}")


@app.command(epilog=examples("dosql branch drop app.db dev"))
def drop(
    database: DatabasePath,
    name: BranchName,
    force: Annotated[bool, typer.Option(help="Drop the snapshots on it, too.")] = False,
) -> None:
    """Remove a branch and its own history."""
    with open_existing(database) as opened:
        opened.branches.drop(name, force=force)
    print(f"branch {name} dropped")


@app.command(epilog=examples("dosql branch rename app.db dev development"))
def rename(
    database: DatabasePath,
    name: BranchName,
    new_name: Annotated[str, typer.Argument(metavar="NEW_NAME", show_default=False)],
) -> None:
    """Give a branch another name; connections to it stay open."""
    with open_existing(database) as opened:
        opened.branches.rename(name, new_name)
    print(f"branch {name} is called {new_name} now")


@app.command(epilog=examples("dosql branch protect app.db release"))
def protect(database: DatabasePath, name: BranchName) -> None:
    """Have a branch refused to be dropped."""
    with open_existing(database) as opened:
        opened.branches.protect(name, True)
    print(f"branch {name} is protected")


@app.command(epilog=examples("dosql branch unprotect app.db release"))
def unprotect(database: DatabasePath, name: BranchName) -> None:
    """Let a branch be dropped again."""
    with open_existing(database) as opened:
        opened.branches.protect(name, False)
    print(f"branch {name} is not protected any more")


@app.command(epilog=examples("dosql branch hydrate app.db dev"))
def hydrate(database: DatabasePath, name: BranchName, json: JsonOption = False) -> None:
    """Turn a branch's head into a stock SQLite file that any tool can open."""
    with open_existing(database) as opened, progress_bar("copying pages", unit="pages") as report:
        path = opened.branches.hydrate(name, report)
    if json:
        print_json({"path": path})
        return
    print_facts({"branch": name, "file": path})


def _notes(**notes: bool) -> str:
    return " ".join(word for word, applies in notes.items() if applies)


add_merge_commands(app)

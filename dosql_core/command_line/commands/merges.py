"""`dosql branch merge` and what belongs to it: conflicts, revert, cherry-pick, rebase."""

from __future__ import annotations

import contextlib
import json as json_module
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from dosql_core.command_line.commands.parameters import (
    BranchName,
    DatabasePath,
    JsonOption,
    MessageOption,
    examples,
)
from dosql_core.command_line.commands.printing import print_json, print_table
from dosql_core.command_line.opening import open_existing
from dosql_core.command_line.values import sql_literal
from dosql_core.command_line.wording import counted
from dosql_core.errors import MergeConflictError, ProgrammingError
from dosql_core.identifiers import MAIN_BRANCH
from dosql_core.merging.conflict import Conflict
from dosql_core.merging.conflict_listing import resolution_text
from dosql_core.merging.merge_task import MergeResult
from dosql_core.merging.mergeable_branches import MergeableBranches
from dosql_core.merging.pending_merge import OpenConflict, row_from_json
from dosql_core.rows.row_change import NamedValues

IntoOption = Annotated[
    str, typer.Option("--into", metavar="NAME", help="The branch that gets the changes.")
]
UsingOption = Annotated[
    str | None,
    typer.Option(
        "--using",
        metavar="WHOSE",
        help="Who decides what both changed: ours (INTO's), theirs, newest (the later commit); "
        "or abort. Without it conflicts are kept, to be resolved.",
    ),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only tell what would happen.")]
AuthorOption = Annotated[str | None, typer.Option("--author", help="Who, for the log.")]
LsnArgument = Annotated[int, typer.Argument(metavar="LSN", help="A commit.", show_default=False)]
ThroughOption = Annotated[
    int | None, typer.Option("--to", metavar="LSN", help="The commits up to this one.")
]


def add_merge_commands(app: typer.Typer) -> None:
    """Put them under `dosql branch`."""
    for name, command, *shown in (
        (
            "merge",
            merge,
            "dosql branch merge app.db dev",
            "dosql branch merge app.db dev --into staging --using theirs",
            "dosql branch merge app.db dev --dry-run --json",
        ),
        ("conflicts", conflicts, "dosql branch conflicts app.db"),
        (
            "resolve",
            resolve,
            "dosql branch resolve app.db theirs",
            "dosql branch resolve app.db ours --table account",
            "dosql branch resolve app.db '{\"balance\": 7}' --number 3",
        ),
        ("complete", complete, "dosql branch complete app.db"),
        ("abort", abort, "dosql branch abort app.db"),
        (
            "revert",
            revert,
            "dosql branch revert app.db 41",
            "dosql branch revert app.db 38 --to 41",
        ),
        ("cherry-pick", cherry_pick, "dosql branch cherry-pick app.db 41 dev"),
        (
            "rebase",
            rebase,
            "dosql branch rebase app.db dev",
            "dosql branch rebase app.db dev --onto staging --squash",
        ),
    ):
        app.command(name, epilog=examples(*shown))(command)


def merge(
    database: DatabasePath,
    name: BranchName,
    into: IntoOption = MAIN_BRANCH,
    using: UsingOption = None,
    dry_run: DryRunOption = False,
    squash: Annotated[
        bool, typer.Option("--squash", help="Do not remember it as a merge.")
    ] = False,
    fast_forward_only: Annotated[
        bool, typer.Option("--fast-forward-only", help="Refuse when INTO has changed, too.")
    ] = False,
    author: AuthorOption = None,
    message: MessageOption = None,
    json: JsonOption = False,
) -> None:
    """Bring what a branch did to another, row by row and column by column, in one commit.

    Where both changed one value to something else, the merge stays pending until its conflicts are
    resolved, unless --using decides them.
    """
    with _branches(database, json) as branches:
        done = branches.merge(
            name,
            into,
            using,
            dry_run=dry_run,
            squash=squash,
            fast_forward_only=fast_forward_only,
            author=author,
            message=message,
        )
    _print_done(done, f"merged into {into}", dry_run, json)


def conflicts(
    database: DatabasePath, into: IntoOption = MAIN_BRANCH, json: JsonOption = False
) -> None:
    """List the conflicts of the pending merge, and what is decided about them."""
    with open_existing(database) as opened:
        found = opened.branches.conflicts(into)
    if json:
        print_json(found)
    elif not found:
        print(f"no merge into {into} is pending")
    else:
        _print_conflicts(found)


def resolve(
    database: DatabasePath,
    resolution: Annotated[
        str,
        typer.Argument(
            metavar="RESOLUTION",
            help="ours, theirs, base, newest, delete, or the row as a JSON object.",
            show_default=False,
        ),
    ],
    number: Annotated[
        int | None, typer.Option(metavar="N", help="Only the conflict of that number.")
    ] = None,
    table: Annotated[
        str | None, typer.Option(metavar="TABLE", help="Only those of that table.")
    ] = None,
    into: IntoOption = MAIN_BRANCH,
) -> None:
    """Decide conflicts of the pending merge; then `dosql branch complete` commits it."""
    with open_existing(database) as opened:
        decided = _decided(resolution)
        if number is not None:
            count = opened.branches.resolve_numbered({number: decided}, into)
        else:
            count = opened.branches.resolve(decided, into, table=table)
        left = sum(known.resolution is None for known in opened.branches.conflicts(into))
    print(f"{counted(count, 'conflict')} resolved, {left} left")


def complete(
    database: DatabasePath,
    into: IntoOption = MAIN_BRANCH,
    author: AuthorOption = None,
    message: MessageOption = None,
    json: JsonOption = False,
) -> None:
    """Commit the pending merge as its conflicts were resolved."""
    with _branches(database, json) as branches:
        done = branches.complete(into, author=author, message=message)
    _print_done(done, f"merged into {into}", False, json)


def abort(database: DatabasePath, into: IntoOption = MAIN_BRANCH) -> None:
    """Forget the pending merge; the branch was not touched by it."""
    with open_existing(database) as opened:
        opened.branches.abort(into)
    print(f"{into} stays as it is")


def revert(
    database: DatabasePath,
    lsn: LsnArgument,
    through: ThroughOption = None,
    branch: Annotated[str, typer.Option(metavar="NAME", help="The branch.")] = MAIN_BRANCH,
    using: UsingOption = None,
    dry_run: DryRunOption = False,
    author: AuthorOption = None,
    message: MessageOption = None,
    json: JsonOption = False,
) -> None:
    """Take a commit back, as a new commit; what was changed later stays."""
    with _branches(database, json) as branches:
        done = branches.revert(
            lsn, through, branch, using, dry_run=dry_run, author=author, message=message
        )
    _print_done(done, f"taken back on {branch}", dry_run, json)


def cherry_pick(
    database: DatabasePath,
    lsn: LsnArgument,
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="The branch it is on.", show_default=False)
    ],
    through: ThroughOption = None,
    into: IntoOption = MAIN_BRANCH,
    using: UsingOption = None,
    dry_run: DryRunOption = False,
    author: AuthorOption = None,
    message: MessageOption = None,
    json: JsonOption = False,
) -> None:
    """Make a commit of another branch here, too."""
    with _branches(database, json) as branches:
        done = branches.cherry_pick(
            lsn,
            source,
            into,
            using,
            through=through,
            dry_run=dry_run,
            author=author,
            message=message,
        )
    _print_done(done, f"made on {into}", dry_run, json)


def rebase(
    database: DatabasePath,
    name: BranchName,
    onto: Annotated[
        str | None, typer.Option(metavar="NAME", help="The branch to begin at; its parent.")
    ] = None,
    using: Annotated[
        str, typer.Option(metavar="WHOSE", help="Who decides: ours (ONTO's), theirs; or abort.")
    ] = "abort",
    squash: Annotated[bool, typer.Option("--squash", help="Make one commit of them.")] = False,
    message: MessageOption = None,
    json: JsonOption = False,
) -> None:
    """Have a branch begin at the present of its parent, with its own commits on top."""
    with _branches(database, json) as branches:
        done = branches.rebase(name, onto, using, squash=squash, message=message)
    if json:
        print_json(done)
        return
    made = f"{counted(done.commits, 'commit')} made again, {done.skipped} were there already"
    print(f"{done.branch} begins at LSN {done.fork_lsn} of {done.onto}: {made}")


@contextlib.contextmanager
def _branches(database: str, json: bool) -> Iterator[MergeableBranches]:
    """The branches of a database; where the block ends in conflicts they are shown."""
    with open_existing(database) as opened:
        try:
            yield opened.branches
        except MergeConflictError as error:
            _print_refused(error, json)
            raise


def _decided(text: str) -> NamedValues | str | None:
    if text == "delete":
        return None
    if not text.lstrip().startswith("{"):
        return text
    try:
        return row_from_json(json_module.loads(text))
    except ValueError as error:
        raise ProgrammingError(f"the row is no JSON: {error}") from None


def _print_refused(error: MergeConflictError, json: bool) -> None:
    if json:
        print_json({"conflicts": error.conflicts})
    else:
        _print_conflicts([OpenConflict(conflict) for conflict in error.conflicts])


def _print_done(done: MergeResult, what: str, dry_run: bool, json: bool) -> None:
    if json:
        print_json(done)
        return
    if done.conflicts:
        _print_conflicts([OpenConflict(conflict) for conflict in done.conflicts])
    changed = counted(done.rows, "row")
    if dry_run:
        counts = f"{changed} would change, {counted(len(done.conflicts), 'conflict')}"
        print(f"{done.source}: {counts}")
    elif done.lsn is None:
        print(f"{done.target} has all of {done.source} already")
    else:
        print(f"{done.source} {what} as LSN {done.lsn}: {changed} changed")


def _print_conflicts(found: Sequence[OpenConflict]) -> None:
    rows = [
        (
            number,
            known.conflict.kind.value,
            known.conflict.table,
            _row_text(known.conflict.key),
            _about(known.conflict),
            _values_text(known.conflict.base, known.conflict.columns),
            _values_text(known.conflict.ours, known.conflict.columns),
            _values_text(known.conflict.theirs, known.conflict.columns),
            resolution_text(known.resolution),
        )
        for number, known in enumerate(found, 1)
    ]
    columns = ("n", "conflict", "table", "key", "about", "base", "ours", "theirs", "resolution")
    print_table(columns, rows)


def _about(conflict: Conflict) -> str:
    return conflict.detail or ", ".join(conflict.columns)


def _values_text(row: NamedValues | None, columns: Sequence[str]) -> str | None:
    if row is None:
        return None
    return _row_text({name: row[name] for name in columns if name in row} if columns else row)


def _row_text(values: NamedValues) -> str:
    return ", ".join(f"{name}={sql_literal(value)}" for name, value in values.items())

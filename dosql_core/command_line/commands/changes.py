"""`dosql changes` and `dosql slot`: what commits did, row by row, and how far it was read."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Annotated

import typer

from dosql_core.changes.change_event import ChangeEvent, EventKind
from dosql_core.changes.slots import SlotInfo
from dosql_core.command_line.commands.parameters import (
    BranchOption,
    DatabasePath,
    JsonOption,
    examples,
)
from dosql_core.command_line.commands.printing import print_json, print_table
from dosql_core.command_line.opening import open_existing
from dosql_core.command_line.reporting import UsageError
from dosql_core.command_line.wording import counted, size_text
from dosql_core.identifiers import MAIN_BRANCH

slot_app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Look after slots: named positions in the changes, which keep what they have not read.",
)

SlotName = Annotated[str, typer.Argument(metavar="NAME", help="The slot.", show_default=False)]
_KINDS = [kind.value for kind in EventKind if kind not in (EventKind.BEGIN, EventKind.COMMIT)]


def changes(
    database: DatabasePath,
    branch: BranchOption = None,
    first: Annotated[
        int | None,
        typer.Option("--from", metavar="LSN", help="What happened after this commit; else all."),
    ] = None,
    last: Annotated[int | None, typer.Option("--to", metavar="LSN", help="Up to this one.")] = None,
    table: Annotated[
        list[str] | None, typer.Option("--table", "-t", help="Only this table; may be repeated.")
    ] = None,
    operation: Annotated[
        list[str] | None,
        typer.Option("--operation", "-o", help=f"Only these: {', '.join(_KINDS)}."),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(metavar="SQL", help="Only rows of which this is true, as in SQL."),
    ] = None,
    markers: Annotated[
        bool, typer.Option("--markers", help="Also where each transaction begins and ends.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is committed meanwhile.")
    ] = False,
    slot: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Go on where this slot stands, and acknowledge."),
    ] = None,
) -> None:
    """Write what commits did to rows and to the schema, a line of JSON an event.

    Blobs are {"base16": "..."}. Without --from and --slot, --follow begins with the next commit.
    """
    unknown = [name for name in operation or () if name not in _KINDS]
    if unknown:
        raise UsageError(f"{unknown[0]} is no operation", f"they are {', '.join(_KINDS)}")
    if slot is not None and (first, last, branch, table) != (None, None, None, None):
        raise UsageError("a slot has its own position, branch and tables", "say --slot alone")
    with open_existing(database) as opened:
        streams = opened.changes
        if slot is not None:
            with streams.slots.consume(
                slot, operations=operation, where=where, markers=markers, follow=follow
            ) as consumer:
                for lsn, events in consumer.commits():
                    _write(events)
                    if consumer.is_due():
                        consumer.acknowledge(lsn)
                consumer.acknowledge()  # past the last commits, of which nothing was wanted
            return
        begins = first if first is not None or follow else opened.info().oldest_lsn
        with streams.subscribe(
            begins,
            branch or MAIN_BRANCH,
            tables=table,
            operations=operation,
            where=where,
            markers=markers,
            follow=follow,
            up_to=last,
        ) as subscription:
            for _lsn, events in subscription.commits():
                _write(events)


@slot_app.command("list", epilog=examples("dosql slot list app.db"))
def list_slots(database: DatabasePath, json: JsonOption = False) -> None:
    """List the slots, and how far each lags behind."""
    with open_existing(database) as opened:
        slots = opened.changes.slots.list()
    if json:
        print_json(slots)
        return
    columns = ("name", "branch", "lsn", "lag", "lag bytes", "oldest unread", "notes")
    print_table(columns, [_row(slot) for slot in slots])


@slot_app.command(epilog=examples("dosql slot create app.db mailer --from 0 --table account"))
def create(
    database: DatabasePath,
    name: SlotName,
    branch: BranchOption = None,
    first: Annotated[
        int | None,
        typer.Option("--from", metavar="LSN", help="As if read up to here; else up to now."),
    ] = None,
    table: Annotated[
        list[str] | None, typer.Option("--table", "-t", help="Only this table; may be repeated.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make a slot: what is committed from now on, or after --from, is kept until it is read."""
    with open_existing(database) as opened:
        made = opened.changes.slots.create(
            name, branch or MAIN_BRANCH, from_lsn=first, tables=table or None
        )
    if json:
        print_json(made)
    else:
        print(f"slot {made.name} stands at LSN {made.lsn} of {made.branch}")


@slot_app.command(epilog=examples("dosql slot advance app.db mailer 41"))
def advance(
    database: DatabasePath,
    name: SlotName,
    lsn: Annotated[int, typer.Argument(metavar="LSN", help="Read up to here.", show_default=False)],
) -> None:
    """Acknowledge everything up to an LSN, unread or not; a slot never goes back."""
    with open_existing(database) as opened:
        now_at = opened.changes.slots.advance(name, lsn).lsn
    print(f"slot {name} stands at LSN {now_at}")


@slot_app.command(epilog=examples("dosql slot drop app.db mailer"))
def drop(database: DatabasePath, name: SlotName) -> None:
    """Forget a slot; what only it needed goes with the next compaction."""
    with open_existing(database) as opened:
        opened.changes.slots.drop(name)
    print(f"slot {name} dropped")


def register(app: typer.Typer) -> None:
    """Add the subcommands to the application."""
    app.command(
        epilog=examples(
            "dosql changes app.db --from 41",
            "dosql changes app.db --follow --table account | jq .after",
            "dosql changes app.db --slot mailer",
        )
    )(changes)
    app.add_typer(slot_app, name="slot")


def _write(events: Iterable[ChangeEvent]) -> None:
    sys.stdout.writelines(f"{event.to_json()}\n" for event in events)
    sys.stdout.flush()


def _row(slot: SlotInfo) -> tuple[str | int | None, ...]:
    notes = (("lost", slot.is_lost), ("being read", slot.is_active))
    return (
        slot.name,
        slot.branch,
        slot.lsn,
        counted(slot.lag_commits, "commit"),
        size_text(slot.lag_bytes),
        f"{slot.lag_seconds:.0f} s" if slot.lag_commits else None,
        " ".join(word for word, applies in notes if applies),
    )

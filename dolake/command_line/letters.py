"""Subcommands for batches that the tables could not take: list, show, retry, discard."""

from __future__ import annotations

import datetime
import json as json_text
from typing import Annotated
from urllib.parse import quote

import typer

from dolake.command_line.lake_opening import (
    DEFAULT_WAREHOUSE,
    EndpointOption,
    StateOption,
    WarehouseOption,
    open_lake,
)
from dolake.command_line.lake_server import ServerTokenOption, ask
from dolake.ingest.dead_letters import DeadLetters
from dolake.ingest.ingest_locks import lake_lock
from dosql_core.command_line.commands.parameters import JsonOption, examples
from dosql_core.command_line.commands.printing import print_json, print_table
from dosql_core.command_line.wording import age_text

app = typer.Typer(
    no_args_is_help=True,
    help="Batches that the tables could not take: look at them, and decide.",
    epilog=examples(
        "dolake dead-letters list",
        "dolake dead-letters show shop@main-41-42",
        "dolake dead-letters retry shop@main-41-42 --server http://localhost:8181",
        "dolake dead-letters discard shop@main-41-42",
    ),
)

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="The letter, as named by `list`.")
]
ServerOption = Annotated[
    str | None,
    typer.Option(metavar="URL", help="The lake is served there; else its folder is looked into."),
]


@app.command("list", epilog=examples("dolake dead-letters list"))
def list_letters(
    warehouse: WarehouseOption = DEFAULT_WAREHOUSE,
    state: StateOption = None,
    endpoint: EndpointOption = None,
    server: ServerOption = None,
    token: ServerTokenOption = None,
    json: JsonOption = False,
) -> None:
    """List them, the oldest first, with what is to be decided."""
    if server is not None:
        letters = ask(server, token, "/dead-letters")["dead_letters"]
    else:
        with open_lake(warehouse, state, endpoint, must_exist=True) as lake:
            letters = [letter.told() for letter in DeadLetters(lake.state).list()]
    if json:
        print_json(letters)
        return
    print_table(
        ("name", "state", "when", "error"),
        [(each["name"], each["state"], _age(each["at"]), each["error"]) for each in letters],
    )


@app.command("show", epilog=examples("dolake dead-letters show shop@main-41-42"))
def show_letter(
    name: NameArgument,
    warehouse: WarehouseOption = DEFAULT_WAREHOUSE,
    state: StateOption = None,
    endpoint: EndpointOption = None,
    server: ServerOption = None,
    token: ServerTokenOption = None,
) -> None:
    """Print one as JSON: why it could not be applied, and its changes."""
    if server is not None:
        print_json(ask(server, token, _path(name)))
        return
    with open_lake(warehouse, state, endpoint, must_exist=True) as lake:
        letters = DeadLetters(lake.state)
        letter = letters.find(name)
        batch = json_text.loads(letters.batch(letter) or "null")
    print_json({**letter.told(), "batch": batch})


@app.command(
    "retry",
    epilog=examples("dolake dead-letters retry shop@main-41-42 --server http://localhost:8181"),
)
def retry_letter(
    name: NameArgument,
    server: Annotated[str, typer.Option(metavar="URL", help="Where the lake is served.")],
    token: ServerTokenOption = None,
    json: JsonOption = False,
) -> None:
    """Have a halted source try the batch again, once what kept it out is mended.

    A lake that is not served tries it when it is served again.
    """
    ask(server, token, f"{_path(name)}/retry", method="POST")
    _tell("retried", name, json=json)


@app.command("discard", epilog=examples("dolake dead-letters discard shop@main-41-42"))
def discard_letter(
    name: NameArgument,
    warehouse: WarehouseOption = DEFAULT_WAREHOUSE,
    state: StateOption = None,
    endpoint: EndpointOption = None,
    server: ServerOption = None,
    token: ServerTokenOption = None,
    json: JsonOption = False,
) -> None:
    """Have a halted source go on without the batch; forget one that its source went on without."""
    if server is not None:
        ask(server, token, _path(name), method="DELETE")
    else:
        with (
            open_lake(warehouse, state, endpoint, must_exist=True) as lake,
            lake_lock(lake.state, hint="name the lake that is served: --server URL"),
        ):
            letters = DeadLetters(lake.state)
            letter = letters.find(name)
            letters.discard(letter, lake.open_tables(letter.key).watermark)
    _tell("discarded", name, json=json)


def _path(name: str) -> str:
    return f"/dead-letters/{quote(name, safe='')}"


def _tell(done: str, name: str, *, json: bool) -> None:
    if json:
        print_json({done: name})
    else:
        print(f"{name}: {done}")


def _age(at: float) -> str:
    return age_text(datetime.datetime.fromtimestamp(at, datetime.UTC))


def register(commands: typer.Typer) -> None:
    """Add these subcommands."""
    commands.add_typer(app, name="dead-letters")

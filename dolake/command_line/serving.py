"""The subcommand that serves a lake: ingest, the Iceberg catalog, queries and operations."""

from __future__ import annotations

import json as json_text
import sys
from functools import partial
from typing import Annotated

import typer
from starlette.routing import BaseRoute, Mount

from dolake.catalog.identifiers import TableIdentifier
from dolake.catalog.rest_calls import RestOptions
from dolake.catalog.rest_routes import catalog_application
from dolake.command_line.lake_opening import (
    DEFAULT_WAREHOUSE,
    FLUSH_DEFAULTS,
    ChangeLogOption,
    EndpointOption,
    FlushAgeOption,
    FlushRowsOption,
    FormatVersionOption,
    StateOption,
    WarehouseOption,
    open_lake,
)
from dolake.command_line.scheduled_upkeep import (
    MAINTAIN_EVERY_SECONDS,
    SNAPSHOTS_KEPT,
    KeepSnapshotsOption,
    MaintainEveryOption,
    maintained,
)
from dolake.ingest.authorization import ALL_SOURCES
from dolake.ingest.ingest_service import IngestService
from dolake.query.lake_query import LakeQuery
from dolake.query.pending_rows import Pending
from dolake.query.query_routes import query_routes
from dolake.server import ServerOptions, serve
from dolake.settings import FlushPolicy, IngestLimits, IngestSettings, Tier
from dolake.tables.source_tables import SourceTables
from dolake.tables.table_options import TableOptions
from dosql_core.command_line.commands.parameters import JsonOption, examples
from dosql_core.command_line.reporting import UsageError, note

LIMITS = IngestLimits()


def serve_lake(
    warehouse: WarehouseOption = DEFAULT_WAREHOUSE,
    state: StateOption = None,
    endpoint: EndpointOption = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 takes one that is free.")] = 8181,
    token: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TOKEN",
            envvar="DOLAKE_TOKEN",
            help="A token that opens everything; may be given again.",
        ),
    ] = None,
    source_token: Annotated[
        list[str] | None,
        typer.Option(metavar="SOURCE=TOKEN", help="A token that may send this source only."),
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option("--insecure", help="Serve other machines without any token."),
    ] = False,
    tier: Annotated[
        Tier, typer.Option(help="How hard to hold on to changes: docs/lake.md.")
    ] = Tier.P1,
    source_tier: Annotated[
        list[str] | None, typer.Option(metavar="SOURCE=TIER", help="The tier of one source.")
    ] = None,
    flush_rows: FlushRowsOption = FLUSH_DEFAULTS.rows_max,
    flush_bytes: Annotated[
        int, typer.Option(metavar="BYTES", min=1, help="... or after so many bytes.")
    ] = FLUSH_DEFAULTS.bytes_max,
    flush_age: FlushAgeOption = FLUSH_DEFAULTS.age_seconds_max,
    memory_max: Annotated[
        int,
        typer.Option(
            metavar="BYTES", min=1, help="Unwritten changes in memory; the rest waits in the log."
        ),
    ] = FLUSH_DEFAULTS.memory_bytes_max,
    log_max: Annotated[
        int, typer.Option(metavar="BYTES", min=1, help="How large the log may become.")
    ] = LIMITS.log_bytes_max,
    event_bytes_max: Annotated[
        int, typer.Option(metavar="BYTES", min=1, help="The largest change.")
    ] = LIMITS.event_bytes_max,
    message_bytes_max: Annotated[
        int, typer.Option(metavar="BYTES", min=1, help="The largest message.")
    ] = LIMITS.message_bytes_max,
    messages_per_second: Annotated[
        float, typer.Option(min=0.1, help="Messages a second from one source.")
    ] = LIMITS.messages_per_second,
    connections_max: Annotated[
        int, typer.Option(min=1, help="Sources connected at the same time.")
    ] = LIMITS.connections_max,
    clock_skew_max: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.0, help="How far clocks may differ.")
    ] = LIMITS.clock_skew_seconds_max,
    change_log: ChangeLogOption = False,
    format_version: FormatVersionOption = 3,
    vend_credentials: Annotated[
        bool,
        typer.Option(
            "--vend-credentials", help="Give clients of the catalog the keys of the object store."
        ),
    ] = False,
    maintain_every: MaintainEveryOption = MAINTAIN_EVERY_SECONDS,
    keep_snapshots: KeepSnapshotsOption = SNAPSHOTS_KEPT,
    json: JsonOption = False,
) -> None:
    """Serve a lake: changes in, an Iceberg REST catalog and queries out, until Ctrl-C.

    Ending it flushes what was accepted; being killed loses nothing of what was acknowledged.
    """
    settings = IngestSettings(
        flush=FlushPolicy(flush_rows, flush_bytes, flush_age, memory_max),
        limits=IngestLimits(
            event_bytes_max=event_bytes_max,
            message_bytes_max=message_bytes_max,
            connections_max=connections_max,
            messages_per_second=messages_per_second,
            clock_skew_seconds_max=clock_skew_max,
            log_bytes_max=log_max,
        ),
        tier=tier,
        tiers=_tiers(source_tier or []),
        tokens=_tokens(token or [], source_token or []),
    )
    options = TableOptions(has_change_log=change_log, format_version=format_version)

    def tell_ready(url: str) -> None:
        if json:
            print(json_text.dumps({"event": "ready", "url": url}), flush=True)
        else:
            print(f"serving {lake.warehouse.uri} at {url}", file=sys.stderr, flush=True)

    with open_lake(warehouse, state, endpoint, options) as lake:
        service = IngestService(lake.open_tables, lake.state, settings)
        try:
            # Where sources have tokens and nobody has one for everything, the catalog is closed.
            opened = frozenset(
                each for each, names in settings.tokens.items() if ALL_SOURCES in names
            )
            catalog = RestOptions(
                opened if settings.tokens else None, vends_credentials=vend_credentials
            )
            query = LakeQuery(lake.registry, partial(pending_changes, service))
            others: list[BaseRoute] = [
                *query_routes(query, catalog),
                Mount("/", catalog_application(lake.registry, catalog)),
            ]
            with maintained(lake, maintain_every, keep_snapshots):
                serve(service, ServerOptions(host, port, insecure), others, tell_ready)
            note("flushing what was accepted")
        finally:
            service.close()


def pending_changes(service: IngestService, identifier: TableIdentifier) -> Pending | None:
    """What is accepted of a table, and in no snapshot yet. A flush that is under way is no wait."""
    for pipeline in service.pipelines:
        if pipeline.key.branch != "main":
            continue
        with pipeline.writer.tables_lock:  # nothing is staged meanwhile
            tables = pipeline.writer.tables
            assert isinstance(tables, SourceTables)
            for name in tables.tables:
                mirror = tables.mirror(name)
                while mirror.table.identifier == identifier and mirror.has_changes:
                    staged = mirror.staged
                    rows, keys = staged.pending()
                    if mirror.staged is staged:  # else a flush ended just now
                        return Pending(rows, keys, staged.is_emptied)
    return None


def _tokens(tokens: list[str], source_tokens: list[str]) -> dict[str, tuple[str, ...]]:
    opened: dict[str, tuple[str, ...]] = dict.fromkeys(tokens, (ALL_SOURCES,))
    for told in source_tokens:
        source, separator, token = told.partition("=")
        if not (source and separator and token):
            raise UsageError(f"--source-token {told!r} is not SOURCE=TOKEN")
        opened[token] = (*opened.get(token, ()), source)
    return opened


def _tiers(told: list[str]) -> dict[str, Tier]:
    tiers = {}
    for each in told:
        source, _, tier = each.rpartition("=")
        if not source or tier not in Tier.__members__:
            raise UsageError(
                f"--source-tier {each!r} is not SOURCE=TIER", hint="a tier is P0, P1, P2 or P3"
            )
        tiers[source] = Tier(tier)
    return tiers


def register(app: typer.Typer) -> None:
    """Add these subcommands."""
    app.command(
        "serve",
        epilog=examples(
            "dolake serve",
            "dolake serve --warehouse s3://bucket/lake --state /var/lib/dolake --flush-age 5",
            "dolake serve --host 0.0.0.0 --token $ADMIN --source-token shop=$SHOP",
        ),
    )(serve_lake)

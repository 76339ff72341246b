"""What the REST catalog answers, endpoint by endpoint; each calls the registry once.

Source: apache/iceberg, open-api/rest-catalog-open-api.yaml.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson
from starlette.responses import JSONResponse, Response

from dolake.catalog.identifiers import Kind, TableIdentifier, levels_of
from dolake.catalog.json_fields import (
    Json,
    boolean,
    mapping,
    objects,
    properties_of,
    shown,
    text,
    texts,
)
from dolake.catalog.rest_calls import Call
from dolake.catalog.rest_errors import error_response
from dolake.catalog.storage_access import storage_config, storage_credentials
from dolake.catalog.table_metadata import only_referenced_snapshots
from dolake.catalog.table_registry import LoadedTable, TableChange
from dolake.catalog.view_registry import LoadedView
from dolake.errors import TableMetadataError

_PAGE_SIZE_MAX = 10_000


# -- namespaces ------------------------------------------------------------------------------------


def list_namespaces(call: Call) -> Response:
    parent_text = call.query.get("parent", "")
    parent = levels_of(parent_text) if parent_text else ()
    return _page(
        call,
        "namespaces",
        lambda after, limit: call.registry.namespaces.below(parent, after=after, limit=limit),
        list,
    )


def create_namespace(call: Call) -> Response:
    namespace = tuple(texts(call.json, "namespace", "the request"))
    properties = properties_of(call.json, "properties", "the request")
    call.registry.namespaces.create(namespace, properties)
    return JSONResponse({"namespace": namespace, "properties": properties})


def load_namespace(call: Call) -> Response:
    properties = call.registry.namespaces.properties(call.namespace)
    return JSONResponse({"namespace": call.namespace, "properties": properties})


def namespace_exists(call: Call) -> Response:
    call.registry.namespaces.properties(call.namespace)
    return Response(status_code=204)


def drop_namespace(call: Call) -> Response:
    call.registry.namespaces.drop(call.namespace)
    return Response(status_code=204)


def update_namespace(call: Call) -> Response:
    removals = texts(call.json, "removals", "the request", default=())
    updates = properties_of(call.json, "updates", "the request")
    both = sorted(set(removals) & set(updates))
    if both:
        return error_response(
            422, "UnprocessableEntityException", f"{both} are to be removed and to be set"
        )
    removed, missing = call.registry.namespaces.change(call.namespace, removals, updates)
    return JSONResponse({"updated": list(updates), "removed": removed, "missing": missing})


# -- tables ----------------------------------------------------------------------------------------


def list_tables(call: Call) -> Response:
    return _identifiers(call, "table")


def create_table(call: Call) -> Response:
    request = call.json
    make = (
        call.registry.stage_table
        if boolean(request, "stage-create", "the request", default=False)
        else call.registry.create_table
    )
    made = make(
        (*call.namespace, text(request, "name", "the request")),
        mapping(request, "schema", "the request"),
        partition_spec=_optional(request, "partition-spec"),
        sort_order=_optional(request, "write-order"),
        location=text(request, "location", "the request", default=None),
        properties=properties_of(request, "properties", "the request"),
    )
    if isinstance(made, LoadedTable):
        return _table_response(call, made.metadata, made.metadata_location)
    return _table_response(call, made, None)


def load_table(call: Call) -> Response:
    snapshots = call.query.get("snapshots", "all")
    if snapshots not in ("all", "refs"):
        raise TableMetadataError(f"'snapshots' is {shown(snapshots)}; 'all' or 'refs' was expected")
    table = call.registry.load_table(call.table)
    told = f"{table.metadata_location} {snapshots} {call.wants_credentials}"
    tag = f'"{hashlib.sha256(told.encode()).hexdigest()[:32]}"'
    known = [item.strip() for item in call.headers.get("if-none-match", "").split(",")]
    if tag in known:
        return Response(status_code=304, headers={"ETag": tag})
    metadata = table.metadata if snapshots == "all" else only_referenced_snapshots(table.metadata)
    response = _table_response(call, metadata, table.metadata_location)
    response.headers["ETag"] = tag
    return response


def table_exists(call: Call) -> Response:
    call.registry.load_table(call.table)
    return Response(status_code=204)


def commit_table(call: Call) -> Response:
    [table] = call.registry.commit([_table_change(call.json, call.table)])
    return _committed(table)


def commit_transaction(call: Call) -> Response:
    changes = [
        _table_change(change, None) for change in objects(call.json, "table-changes", "the request")
    ]
    call.registry.commit(changes)
    return Response(status_code=204)


def drop_table(call: Call) -> Response:
    purge = call.query.get("purgeRequested", "false").lower()
    if purge not in ("true", "false"):
        raise TableMetadataError(f"'purgeRequested' is {shown(purge)}; true or false was expected")
    call.registry.drop_table(call.table, purge=purge == "true")
    return Response(status_code=204)


def register_table(call: Call) -> Response:
    table = call.registry.register_table(
        (*call.namespace, text(call.json, "name", "the request")),
        text(call.json, "metadata-location", "the request"),
        overwrite=boolean(call.json, "overwrite", "the request", default=False),
    )
    return _table_response(call, table.metadata, table.metadata_location)


def rename_table(call: Call) -> Response:
    call.registry.rename_table(_named(call.json, "source"), _named(call.json, "destination"))
    return Response(status_code=204)


def load_credentials(call: Call) -> Response:
    table = call.registry.load_table(call.table)
    given = (
        storage_credentials(call.registry.warehouse, table.metadata["location"])
        if call.options.vends_credentials
        else []
    )
    return JSONResponse({"storage-credentials": given})


def take_metrics(call: Call) -> Response:
    # What engines tell of their scans and commits is taken so that they do not log a failure.
    text(call.json, "report-type", "the request")
    return Response(status_code=204)


# -- views -----------------------------------------------------------------------------------------


def list_views(call: Call) -> Response:
    return _identifiers(call, "view")


def create_view(call: Call) -> Response:
    request = call.json
    view = call.registry.views.create_view(
        (*call.namespace, text(request, "name", "the request")),
        mapping(request, "schema", "the request"),
        mapping(request, "view-version", "the request"),
        location=text(request, "location", "the request", default=None),
        properties=properties_of(request, "properties", "the request"),
    )
    return _view_response(view)


def load_view(call: Call) -> Response:
    return _view_response(call.registry.views.load_view(call.view))


def view_exists(call: Call) -> Response:
    call.registry.views.load_view(call.view)
    return Response(status_code=204)


def replace_view(call: Call) -> Response:
    view = call.registry.views.replace_view(
        call.view,
        objects(call.json, "requirements", "the request", default=()),
        objects(call.json, "updates", "the request"),
    )
    return _view_response(view)


def drop_view(call: Call) -> Response:
    call.registry.views.drop_view(call.view)
    return Response(status_code=204)


def register_view(call: Call) -> Response:
    view = call.registry.views.register_view(
        (*call.namespace, text(call.json, "name", "the request")),
        text(call.json, "metadata-location", "the request"),
    )
    return _view_response(view)


def rename_view(call: Call) -> Response:
    call.registry.views.rename_view(_named(call.json, "source"), _named(call.json, "destination"))
    return Response(status_code=204)


ENDPOINTS: Mapping[str, Callable[[Call], Response]] = {
    "GET /namespaces": list_namespaces,
    "POST /namespaces": create_namespace,
    "GET /namespaces/{namespace}": load_namespace,
    "HEAD /namespaces/{namespace}": namespace_exists,
    "DELETE /namespaces/{namespace}": drop_namespace,
    "POST /namespaces/{namespace}/properties": update_namespace,
    "GET /namespaces/{namespace}/tables": list_tables,
    "POST /namespaces/{namespace}/tables": create_table,
    "GET /namespaces/{namespace}/tables/{table}": load_table,
    "HEAD /namespaces/{namespace}/tables/{table}": table_exists,
    "POST /namespaces/{namespace}/tables/{table}": commit_table,
    "DELETE /namespaces/{namespace}/tables/{table}": drop_table,
    "GET /namespaces/{namespace}/tables/{table}/credentials": load_credentials,
    "POST /namespaces/{namespace}/tables/{table}/metrics": take_metrics,
    "POST /namespaces/{namespace}/register": register_table,
    "POST /tables/rename": rename_table,
    "POST /transactions/commit": commit_transaction,
    "GET /namespaces/{namespace}/views": list_views,
    "POST /namespaces/{namespace}/views": create_view,
    "GET /namespaces/{namespace}/views/{view}": load_view,
    "HEAD /namespaces/{namespace}/views/{view}": view_exists,
    "POST /namespaces/{namespace}/views/{view}": replace_view,
    "DELETE /namespaces/{namespace}/views/{view}": drop_view,
    "POST /namespaces/{namespace}/register-view": register_view,
    "POST /views/rename": rename_view,
}
"""Every endpoint but the configuration, by method and path below `/v1` or `/v1/{prefix}`."""


# -- requests and responses ------------------------------------------------------------------------


def _optional(request: Json, key: str) -> Json | None:
    return None if request.get(key) is None else mapping(request, key, "the request")


def _named(request: Json, key: str) -> TableIdentifier:
    identifier = mapping(request, key, "the request")
    namespace = texts(identifier, "namespace", key)
    return (*namespace, text(identifier, "name", key))


def _table_change(request: Json, table: TableIdentifier | None) -> TableChange:
    if table is None or request.get("identifier") is not None:
        named = _named(request, "identifier")
        if table is not None and named != table:
            raise TableMetadataError(f"the identifier {named} is not the table of the path")
        table = named
    return TableChange(
        table,
        objects(request, "requirements", "the request", default=()),
        objects(request, "updates", "the request", default=()),
    )


def _table_response(call: Call, metadata: Json, metadata_location: str | None) -> Response:
    warehouse = call.registry.warehouse
    told: Json = {"metadata": metadata, "config": storage_config(warehouse)}
    if metadata_location is not None:
        told["metadata-location"] = metadata_location
    if call.wants_credentials:
        given = storage_credentials(warehouse, metadata["location"])
        told["storage-credentials"] = given
        for credential in given:
            told["config"] = {**told["config"], **credential["config"]}
    return _json(told)


def _committed(table: LoadedTable) -> Response:
    return _json({"metadata": table.metadata, "metadata-location": table.metadata_location})


def _view_response(view: LoadedView) -> Response:
    told = {"metadata": view.metadata, "metadata-location": view.metadata_location, "config": {}}
    return _json(told)


def _json(content: Json) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")


def _identifiers(call: Call, kind: Kind) -> Response:
    return _page(
        call,
        "identifiers",
        lambda after, limit: call.registry.pointers.names(
            call.namespace, kind, after=after, limit=limit
        ),
        lambda item: {"namespace": item[:-1], "name": item[-1]},
    )


def _page(
    call: Call,
    key: str,
    read: Callable[[str, int], list[tuple[str, ...]]],
    shape: Callable[[tuple[str, ...]], Any],
) -> Response:
    """One page of a list. A page begins after the name that the page before ended with.

    As the specification says, a client that sends no pageToken gets everything at once.
    """
    token = call.query.get("pageToken")
    size_text = call.query.get("pageSize", str(_PAGE_SIZE_MAX))
    if not size_text.isdecimal() or not 0 < int(size_text) < 2**31:
        raise TableMetadataError(f"'pageSize' is {shown(size_text)}; 1 or more was expected")
    size = min(int(size_text), _PAGE_SIZE_MAX)
    is_paged = token is not None or "pageSize" in call.query
    found = read(token or "", size + 1 if is_paged else -1)
    following = found[size - 1][-1] if is_paged and len(found) > size else None
    shown_items: Iterable[tuple[str, ...]] = found[:size] if is_paged else found
    return _json({key: [shape(item) for item in shown_items], "next-page-token": following})

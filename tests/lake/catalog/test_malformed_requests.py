"""Whatever is sent to the catalog, it is answered by a reason, never by a failure of ours."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("starlette")

from dolake.catalog.rest_answers import ENDPOINTS
from fixtures.catalog_server import CatalogServer
from fixtures.http_calls import HttpClient

SCHEMA: dict[str, Any] = {
    "type": "struct",
    "schema-id": 0,
    "identifier-field-ids": [1],
    "fields": [
        {"id": 1, "name": "id", "type": "long", "required": True},
        {"id": 2, "name": "at", "type": "timestamp", "required": False, "doc": "when"},
        {
            "id": 3,
            "name": "tags",
            "required": False,
            "type": {
                "type": "list",
                "element-id": 4,
                "element": "string",
                "element-required": True,
            },
        },
        {
            "id": 5,
            "name": "kept",
            "required": False,
            "type": {
                "type": "map",
                "key-id": 6,
                "key": "string",
                "value-id": 7,
                "value": {
                    "type": "struct",
                    "fields": [
                        {"id": 8, "name": "x", "type": "decimal(9,2)", "required": False},
                    ],
                },
                "value-required": False,
            },
        },
    ],
}
SPEC = {"spec-id": 0, "fields": [{"source-id": 2, "transform": "day", "name": "day"}]}
ORDER = {
    "order-id": 1,
    "fields": [
        {"source-id": 1, "transform": "identity", "direction": "asc", "null-order": "nulls-first"}
    ],
}
SNAPSHOT = {
    "snapshot-id": 11,
    "sequence-number": 1,
    "timestamp-ms": 4_000_000_000_000,
    "manifest-list": "file:///nowhere",
    "summary": {"operation": "append"},
    "schema-id": 0,
}
UPDATES: list[dict[str, Any]] = [
    {"action": "assign-uuid", "uuid": "00000000-0000-0000-0000-000000000001"},
    {"action": "upgrade-format-version", "format-version": 2},
    {"action": "add-schema", "schema": SCHEMA, "last-column-id": 8},
    {"action": "set-current-schema", "schema-id": -1},
    {"action": "add-spec", "spec": SPEC},
    {"action": "set-default-spec", "spec-id": -1},
    {"action": "add-sort-order", "sort-order": ORDER},
    {"action": "set-default-sort-order", "sort-order-id": -1},
    {"action": "add-snapshot", "snapshot": SNAPSHOT},
    {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 11},
    {"action": "remove-snapshots", "snapshot-ids": [11]},
    {"action": "remove-snapshot-ref", "ref-name": "main"},
    {"action": "set-location", "location": "file:///nowhere"},
    {"action": "set-properties", "updates": {"a": "b"}},
    {"action": "remove-properties", "removals": ["a"]},
    {
        "action": "set-statistics",
        "statistics": {
            "snapshot-id": 11,
            "statistics-path": "x",
            "file-size-in-bytes": 1,
            "file-footer-size-in-bytes": 1,
            "blob-metadata": [],
        },
    },
    {"action": "remove-statistics", "snapshot-id": 11},
    {
        "action": "set-partition-statistics",
        "partition-statistics": {
            "snapshot-id": 11,
            "statistics-path": "x",
            "file-size-in-bytes": 1,
        },
    },
    {"action": "remove-partition-statistics", "snapshot-id": 11},
    {"action": "remove-partition-specs", "spec-ids": [5]},
    {"action": "remove-schemas", "schema-ids": [5]},
    {
        "action": "add-encryption-key",
        "encryption-key": {"key-id": "k", "encrypted-key-metadata": "AA=="},
    },
    {"action": "remove-encryption-key", "key-id": "k"},
]
REQUIREMENTS: list[dict[str, Any]] = [
    {"type": "assert-create"},
    {"type": "assert-table-uuid", "uuid": "x"},
    {"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": None},
    {"type": "assert-last-assigned-field-id", "last-assigned-field-id": 8},
    {"type": "assert-current-schema-id", "current-schema-id": 0},
    {"type": "assert-last-assigned-partition-id", "last-assigned-partition-id": 999},
    {"type": "assert-default-spec-id", "default-spec-id": 0},
    {"type": "assert-default-sort-order-id", "default-sort-order-id": 0},
]
NAME = {"namespace": ["shop"], "name": "orders"}
VERSION = {
    "version-id": 1,
    "schema-id": 0,
    "timestamp-ms": 1,
    "summary": {"a": "b"},
    "default-namespace": ["shop"],
    "representations": [{"type": "sql", "sql": "select 1", "dialect": "duckdb"}],
}
BODIES: dict[str, list[Any]] = {
    "POST /namespaces": [{"namespace": ["shop", "eu"], "properties": {"a": "b"}}],
    "POST /namespaces/{namespace}/properties": [{"removals": ["a"], "updates": {"b": "c"}}],
    "POST /namespaces/{namespace}/tables": [
        {
            "name": "t",
            "schema": SCHEMA,
            "partition-spec": SPEC,
            "write-order": ORDER,
            "stage-create": False,
            "location": None,
            "properties": {"format-version": "3"},
        }
    ],
    "POST /namespaces/{namespace}/tables/{table}": [
        {"requirements": [requirement], "updates": UPDATES} for requirement in REQUIREMENTS
    ]
    + [{"requirements": [], "updates": [update]} for update in UPDATES],
    "POST /namespaces/{namespace}/tables/{table}/metrics": [{"report-type": "scan-report"}],
    "POST /namespaces/{namespace}/register": [{"name": "r", "metadata-location": "file:///x"}],
    "POST /tables/rename": [{"source": NAME, "destination": {**NAME, "name": "b"}}],
    "POST /transactions/commit": [
        {"table-changes": [{"identifier": NAME, "requirements": [], "updates": UPDATES[13:15]}]}
    ],
    "POST /namespaces/{namespace}/views": [
        {"name": "v", "schema": SCHEMA, "view-version": VERSION, "properties": {}}
    ],
    "POST /namespaces/{namespace}/views/{view}": [
        {
            "requirements": [{"type": "assert-view-uuid", "uuid": "x"}],
            "updates": [
                {"action": "add-schema", "schema": SCHEMA},
                {"action": "add-view-version", "view-version": VERSION},
                {"action": "set-current-view-version", "view-version-id": -1},
            ],
        }
    ],
    "POST /namespaces/{namespace}/register-view": [{"name": "r", "metadata-location": "file:///"}],
    "POST /views/rename": [{"source": NAME, "destination": {**NAME, "name": "b"}}],
}
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    2**63,
    2**70,
    1.5,
    "",
    "x",
    "main",
    "\x00",
    "\x1f",
    "é" * 2000,
    "../..",
    "file:///etc/passwd",
    [],
    [None],
    [[]],
    {},
    {"a": 1},
    [{"a": []}],
    -(2**63) - 1,
]
ODD_PREFIXES = ["/v1/as-of-lsn-1", "/v1/x", "/v1/as-of-lsn-9999"]
ODD_PARTS = ["shop", "orders", "v", "zoo", "%1F", "a%1Fb", "%00", "%2e%2e", "..", "%FF", "x" * 3000]


@pytest.fixture
def http(catalog_server: CatalogServer) -> Iterator[HttpClient]:
    client = HttpClient(catalog_server.url)
    yield client
    client.close()


def mutated(body: Any, chance: random.Random) -> Any:
    """The body with one to three of its values, names or items changed."""
    body = copy.deepcopy(body)
    for _ in range(chance.randrange(1, 4)):
        places: list[tuple[Any, Any]] = []

        def walk(node: Any, found: list[tuple[Any, Any]]) -> None:
            items = (
                list(node.items())
                if isinstance(node, dict)
                else list(enumerate(node))
                if isinstance(node, list)
                else []
            )
            for key, value in items:
                found.append((node, key))
                walk(value, found)

        walk(body, places)
        if not places:
            return chance.choice(ODD)
        holder, key = chance.choice(places)
        action = chance.randrange(4)
        if action == 0 and isinstance(holder, dict):
            del holder[key]
        elif action == 1 and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        elif action == 2 and isinstance(holder, dict):
            holder[str(chance.choice(ODD))[:50]] = holder.pop(key)
        else:
            holder[key] = copy.deepcopy(chance.choice(ODD))
    return body


@pytest.mark.parametrize("kind", [{"type": "list"}, ["list"], 7, None, "list"])
def test_a_type_of_no_kind_is_refused(http: HttpClient, kind: object) -> None:
    assert http("POST", "/v1/namespaces", {"namespace": ["shop"]}).status == 200
    field = {"id": 1, "name": "a", "required": False, "type": {"type": kind}}
    schema = {"type": "struct", "schema-id": 0, "fields": [field]}
    answer = http("POST", "/v1/namespaces/shop/tables", {"name": "t", "schema": schema})
    assert answer.status == 400
    assert "the type of 'a'" in answer.json["error"]["message"]


def test_no_request_makes_the_catalog_fail(
    http: HttpClient, catalog_server: CatalogServer, seeded_random: random.Random, is_long_run: bool
) -> None:
    assert http("POST", "/v1/namespaces", {"namespace": ["shop"]}).status == 200
    tables = "/v1/namespaces/shop/tables"
    assert http("POST", tables, {"name": "orders", "schema": SCHEMA}).status == 200
    view = {"name": "v", "schema": SCHEMA, "view-version": VERSION}
    assert http("POST", "/v1/namespaces/shop/views", view).status == 200
    statuses: dict[int, int] = {}
    for _ in range(4000 if is_long_run else 400):
        endpoint = seeded_random.choice([*BODIES, *BODIES, *BODIES, *ENDPOINTS])
        method, _, path = endpoint.partition(" ")
        parts = {"{namespace}": "shop", "{table}": "orders", "{view}": "v"}
        for name, usual in parts.items():
            is_odd = seeded_random.random() < 0.1
            path = path.replace(name, seeded_random.choice(ODD_PARTS) if is_odd else usual)
        prefix = seeded_random.choice(
            ["/v1"] * 20 + ["/v1/as-of-lsn-1", "/v1/x", "/v1/as-of-lsn-9999"]
        )
        body: Any = None
        if endpoint in BODIES:
            body = mutated(seeded_random.choice(BODIES[endpoint]), seeded_random)
            if seeded_random.random() < 0.05:
                raw = json.dumps(body).encode()
                body = raw[: seeded_random.randrange(len(raw) + 1)] + seeded_random.randbytes(2)
        answer = http(method, prefix + path, body)
        statuses[answer.status] = statuses.get(answer.status, 0) + 1
        assert answer.status < 500, (endpoint, body, answer.raw)
        if answer.status >= 400 and method != "HEAD":
            assert answer.json["error"]["message"] and answer.json["error"]["type"]
    assert statuses.get(400, 0) > 50, statuses  # or the bodies were not odd enough
    # What got through left tables that can be read.
    for namespace in catalog_server.registry.namespaces.below():
        for table in catalog_server.registry.list_tables(namespace):
            catalog_server.registry.load_table(table)

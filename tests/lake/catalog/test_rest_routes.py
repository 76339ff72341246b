"""The REST catalog as a client sees it: statuses, error types, headers and pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")

from dolake.catalog.rest_answers import ENDPOINTS
from fixtures.catalog_server import CatalogServer, catalog_served
from fixtures.http_calls import HttpClient

SCHEMA: dict[str, Any] = {
    "type": "struct",
    "fields": [{"id": 1, "name": "id", "type": "long", "required": True}],
}
TABLES = "/v1/namespaces/shop/tables"
ORDERS = f"{TABLES}/orders"


@pytest.fixture
def http(catalog_server: CatalogServer) -> Iterator[HttpClient]:
    client = HttpClient(catalog_server.url)
    assert client("POST", "/v1/namespaces", {"namespace": ["shop"]}).status == 200
    yield client
    client.close()


def create(http: HttpClient, name: str = "orders", **more: Any) -> Any:
    answer = http("POST", TABLES, {"name": name, "schema": SCHEMA, **more})
    assert answer.status == 200, answer.raw
    return answer.json


def set_properties(**properties: str) -> dict[str, Any]:
    return {"action": "set-properties", "updates": properties}


def test_the_configuration_lists_exactly_the_endpoints_there_are(http: HttpClient) -> None:
    told = http("GET", "/v1/config").json["endpoints"]
    assert len(told) == len(set(told)) == len(ENDPOINTS)
    for endpoint in told:
        method, _, path = endpoint.partition(" ")
        for name in ("{namespace}", "{table}", "{view}"):
            path = path.replace(name, "missing")
        answer = http(method, path.replace("/{prefix}", ""), b"{}")
        # An endpoint that is not there has no type of the specification to tell.
        assert answer.status != 405, endpoint
        if method != "HEAD" and answer.status == 404:
            assert answer.error_type.startswith("NoSuch"), endpoint


def test_a_namespace_lives_from_post_to_delete(http: HttpClient) -> None:
    made = http("POST", "/v1/namespaces", {"namespace": ["shop", "eu"], "properties": {"a": "b"}})
    assert made.json == {"namespace": ["shop", "eu"], "properties": {"a": "b"}}
    assert http("HEAD", "/v1/namespaces/shop%1Feu").status == 204
    assert http("GET", "/v1/namespaces?parent=shop").json["namespaces"] == [["shop", "eu"]]
    changed = http(
        "POST",
        "/v1/namespaces/shop%1Feu/properties",
        {"removals": ["a", "z"], "updates": {"c": "d"}},
    )
    assert changed.json == {"updated": ["c"], "removed": ["a"], "missing": ["z"]}
    loaded = http("GET", "/v1/namespaces/shop%1Feu")
    assert loaded.json == {"namespace": ["shop", "eu"], "properties": {"c": "d"}}
    both = http("POST", "/v1/namespaces/shop/properties", {"removals": ["a"], "updates": {"a": ""}})
    assert (both.status, both.error_type) == (422, "UnprocessableEntityException")
    full = http("DELETE", "/v1/namespaces/shop")
    assert (full.status, full.error_type) == (409, "NamespaceNotEmptyException")
    assert http("DELETE", "/v1/namespaces/shop%1Feu").status == 204
    gone = http("HEAD", "/v1/namespaces/shop%1Feu")
    assert (gone.status, gone.raw) == (404, b"")


def test_names_may_hold_slashes_dots_and_spaces(http: HttpClient) -> None:
    for name, sent in (("a/b", "a%2Fb"), ("a.b c", "a.b%20c"), ("käse", "k%C3%A4se")):
        assert http("POST", "/v1/namespaces", {"namespace": [name]}).status == 200
        assert http("GET", f"/v1/namespaces/{sent}").json["namespace"] == [name]
        made = http("POST", f"/v1/namespaces/{sent}/tables", {"name": name, "schema": SCHEMA})
        assert made.status == 200
        loaded = http("GET", f"/v1/namespaces/{sent}/tables/{sent}")
        assert loaded.json["metadata"] == made.json["metadata"]
    assert http("GET", "/v1/namespaces/%FF").status == 400


def test_errors_have_the_status_and_type_of_the_specification(http: HttpClient) -> None:
    create(http)
    wrong: list[tuple[str, str, Any, int, str]] = [
        ("GET", "/v1/namespaces/zoo", None, 404, "NoSuchNamespaceException"),
        ("GET", "/v1/namespaces/zoo/tables", None, 404, "NoSuchNamespaceException"),
        ("GET", "/v1/namespaces?parent=zoo", None, 404, "NoSuchNamespaceException"),
        ("POST", "/v1/namespaces", {"namespace": ["shop"]}, 409, "AlreadyExistsException"),
        ("POST", "/v1/namespaces", {"namespace": []}, 400, "BadRequestException"),
        ("POST", "/v1/namespaces", b"{nonsense", 400, "BadRequestException"),
        ("GET", f"{TABLES}/nothing", None, 404, "NoSuchTableException"),
        ("POST", f"{TABLES}/nothing", {"updates": []}, 404, "NoSuchTableException"),
        ("DELETE", f"{TABLES}/nothing", None, 404, "NoSuchTableException"),
        ("POST", TABLES, {"name": "orders", "schema": SCHEMA}, 409, "AlreadyExistsException"),
        ("POST", TABLES, {"name": "x", "schema": {"type": "long"}}, 400, "BadRequestException"),
        ("GET", f"{ORDERS}?snapshots=some", None, 400, "BadRequestException"),
        ("POST", ORDERS, {"updates": [{"action": "explode"}]}, 400, "BadRequestException"),
        (
            "POST",
            ORDERS,
            {"requirements": [{"type": "assert-table-uuid", "uuid": "x"}], "updates": []},
            409,
            "CommitFailedException",
        ),
        ("GET", "/v1/namespaces/shop/views/orders", None, 404, "NoSuchViewException"),
        ("GET", "/v1/nothing", None, 404, "NotFoundException"),
        ("PUT", ORDERS, None, 405, "UnsupportedOperationException"),
        ("GET", "/v1/elsewhere/namespaces", None, 400, "BadRequestException"),
    ]
    for method, path, body, status, kind in wrong:
        answer = http(method, path, body)
        assert (answer.status, answer.error_type) == (status, kind), (method, path, answer.raw)
        assert answer.json["error"]["code"] == status
        assert answer.json["error"]["message"]


def test_a_table_that_has_not_changed_is_not_sent_again(http: HttpClient) -> None:
    create(http)
    first = http("GET", ORDERS)
    tag = first.headers["etag"]
    unchanged = http("GET", ORDERS, If_None_Match=tag)
    assert (unchanged.status, unchanged.raw, unchanged.headers["etag"]) == (304, b"", tag)
    assert http("GET", f"{ORDERS}?snapshots=refs", If_None_Match=tag).status == 200
    assert http("POST", ORDERS, {"updates": [set_properties(a="b")]}).status == 200
    changed = http("GET", ORDERS, If_None_Match=tag)
    assert changed.status == 200
    assert changed.json["metadata"]["properties"] == {"a": "b"}


def test_only_snapshots_that_a_ref_is_at_are_sent_when_asked_for(http: HttpClient) -> None:
    create(http)
    for number in (1, 2, 3):
        snapshot = {
            "snapshot-id": number,
            "sequence-number": number,
            "timestamp-ms": 4_000_000_000_000 + number,
            "manifest-list": "file:///nowhere",
            "summary": {"operation": "append"},
        }
        ref = {"action": "set-snapshot-ref", "type": "branch", "snapshot-id": number}
        updates = [{"action": "add-snapshot", "snapshot": snapshot}, {**ref, "ref-name": "main"}]
        if number == 1:
            updates.append({**ref, "ref-name": "first", "type": "tag"})
        assert http("POST", ORDERS, {"updates": updates}).status == 200
    everything = http("GET", ORDERS).json["metadata"]["snapshots"]
    assert [item["snapshot-id"] for item in everything] == [1, 2, 3]
    referenced = http("GET", f"{ORDERS}?snapshots=refs").json["metadata"]["snapshots"]
    assert [item["snapshot-id"] for item in referenced] == [1, 3]


def test_lists_come_in_pages_when_asked_for(http: HttpClient) -> None:
    for name in "edcba":
        create(http, name)
        assert http("POST", "/v1/namespaces", {"namespace": ["shop", name]}).status == 200
    for path, key in ((TABLES, "identifiers"), ("/v1/namespaces?parent=shop", "namespaces")):
        joint = "&" if "?" in path else "?"
        whole = http("GET", path).json
        assert len(whole[key]) == 5 and whole["next-page-token"] is None
        found, token, pages = [], "", 0
        while token is not None:
            page = http("GET", f"{path}{joint}pageToken={token}&pageSize=2").json
            found += page[key]
            token, pages = page["next-page-token"], pages + 1
        assert (found, pages) == (whole[key], 3)
        assert http("GET", f"{path}{joint}pageSize=0").status == 400


def test_a_staged_table_is_nobodys_until_it_is_committed(http: HttpClient) -> None:
    request = {"name": "orders", "schema": SCHEMA, "stage-create": True}
    staged = http("POST", TABLES, request).json
    assert "metadata-location" not in staged
    assert http("HEAD", ORDERS).status == 404
    updates = [
        {"action": "assign-uuid", "uuid": staged["metadata"]["table-uuid"]},
        {"action": "add-schema", "schema": staged["metadata"]["schemas"][0]},
        {"action": "set-current-schema", "schema-id": -1},
        {"action": "set-location", "location": staged["metadata"]["location"]},
    ]
    commit = {"requirements": [{"type": "assert-create"}], "updates": updates}
    assert http("POST", ORDERS, commit).status == 200
    again = http("POST", ORDERS, commit)
    assert (again.status, again.error_type) == (409, "AlreadyExistsException")


def test_a_transaction_changes_all_tables_or_none(http: HttpClient) -> None:
    create(http, "a")
    create(http, "b")
    changes = [
        {
            "identifier": {"namespace": ["shop"], "name": name},
            "requirements": [{"type": "assert-current-schema-id", "current-schema-id": schema}],
            "updates": [set_properties(seen="yes")],
        }
        for name, schema in (("a", 0), ("b", 7))
    ]
    refused = http("POST", "/v1/transactions/commit", {"table-changes": changes})
    assert (refused.status, refused.error_type) == (409, "CommitFailedException")
    assert http("GET", f"{TABLES}/a").json["metadata"]["properties"] == {}
    changes[1]["requirements"] = []
    assert http("POST", "/v1/transactions/commit", {"table-changes": changes}).status == 204
    for name in "ab":
        assert http("GET", f"{TABLES}/{name}").json["metadata"]["properties"] == {"seen": "yes"}


def test_tables_are_renamed_dropped_registered_and_purged(
    http: HttpClient, catalog_server: CatalogServer
) -> None:
    made = create(http)
    names = {
        "source": {"namespace": ["shop"], "name": "orders"},
        "destination": {"namespace": ["shop"], "name": "renamed"},
    }
    assert http("POST", "/v1/tables/rename", names).status == 204
    assert http("DELETE", f"{TABLES}/renamed").status == 204
    registered = http(
        "POST",
        "/v1/namespaces/shop/register",
        {"name": "back", "metadata-location": made["metadata-location"]},
    )
    assert registered.json["metadata"] == made["metadata"]
    assert http("DELETE", f"{TABLES}/back?purgeRequested=true").status == 204
    assert list(catalog_server.warehouse.list()) == []
    lost = http(
        "POST",
        "/v1/namespaces/shop/register",
        {"name": "back", "metadata-location": made["metadata-location"]},
    )
    assert (lost.status, lost.error_type) == (404, "NotFoundException")


def test_a_view_is_made_replaced_renamed_and_dropped(http: HttpClient) -> None:
    views = "/v1/namespaces/shop/views"
    version: dict[str, Any] = {
        "version-id": 1,
        "schema-id": 0,
        "timestamp-ms": 1,
        "summary": {},
        "default-namespace": ["shop"],
        "representations": [{"type": "sql", "sql": "select 1 as id", "dialect": "duckdb"}],
    }
    body = {"name": "v", "schema": SCHEMA, "view-version": version, "properties": {}}
    made = http("POST", views, body).json["metadata"]
    assert http("POST", views, body).error_type == "AlreadyExistsException"
    assert http("POST", TABLES, {"name": "v", "schema": SCHEMA}).status == 409
    assert made["current-version-id"] == 1 and made["format-version"] == 1
    newer = {**version, "representations": [{**version["representations"][0], "sql": "select 2"}]}
    updates = [
        {"action": "add-view-version", "view-version": newer},
        {"action": "set-current-view-version", "view-version-id": -1},
    ]
    requirement = {"type": "assert-view-uuid", "uuid": made["view-uuid"]}
    replaced = http("POST", f"{views}/v", {"requirements": [requirement], "updates": updates})
    assert replaced.json["metadata"]["current-version-id"] == 2
    assert [entry["version-id"] for entry in replaced.json["metadata"]["version-log"]] == [1, 2]
    other = {"type": "assert-view-uuid", "uuid": "0"}
    refused = http("POST", f"{views}/v", {"requirements": [other], "updates": updates})
    assert (refused.status, refused.error_type) == (409, "CommitFailedException")
    names = {
        "source": {"namespace": ["shop"], "name": "v"},
        "destination": {"namespace": ["shop"], "name": "w"},
    }
    assert http("POST", "/v1/views/rename", names).status == 204
    assert http("GET", views).json["identifiers"] == [{"namespace": ["shop"], "name": "w"}]
    assert http("HEAD", f"{views}/w").status == 204
    assert http("DELETE", f"{views}/w").status == 204
    location = replaced.json["metadata-location"]
    again = {"name": "x", "metadata-location": location}
    assert http("POST", "/v1/namespaces/shop/register-view", again).status == 200
    assert http("GET", f"{views}/x").json["metadata"]["view-uuid"] == made["view-uuid"]


def test_a_warehouse_that_is_a_moment_is_the_catalog_as_it_was(
    http: HttpClient, catalog_server: CatalogServer
) -> None:
    create(http)
    lsn = catalog_server.registry.lsn
    assert http("DELETE", ORDERS).status == 204
    told = http("GET", f"/v1/config?warehouse=lsn:{lsn}").json["overrides"]
    past = f"/v1/{told['prefix']}/namespaces/shop/tables"
    assert [item["name"] for item in http("GET", past).json["identifiers"]] == ["orders"]
    assert http("GET", f"{past}/orders").status == 200
    refused = http("DELETE", f"{past}/orders")
    assert (refused.status, refused.error_type) == (406, "UnsupportedOperationException")
    assert http("GET", f"/v1/config?warehouse=lsn:{lsn + 100}").status == 400


def test_a_catalog_with_tokens_opens_to_those_who_have_one(tmp_path: Path) -> None:
    with catalog_served(tmp_path, tokens=frozenset({"secret", "other"})) as server:
        http = HttpClient(server.url)
        for header in ("", "Bearer", "Bearer wrong", "Basic secret", "Bearer sécret"):
            refused = http("GET", "/v1/namespaces", Authorization=header)
            assert (refused.status, refused.error_type) == (401, "NotAuthorizedException")
            assert refused.headers["www-authenticate"] == "Bearer"
        assert http("GET", "/v1/config").status == 401
        assert http("GET", "/v1/namespaces", Authorization="bearer other").status == 200
        http.close()


def test_a_catalog_that_no_token_opens_is_closed(tmp_path: Path) -> None:
    with catalog_served(tmp_path, tokens=frozenset()) as server:
        http = HttpClient(server.url)
        assert http("GET", "/v1/config").status == 401
        assert http("GET", "/v1/config", Authorization="Bearer ").status == 401
        http.close()


def test_reports_of_engines_are_taken(http: HttpClient) -> None:
    create(http)
    assert http("POST", f"{ORDERS}/metrics", {"report-type": "scan-report"}).status == 204
    assert http("POST", f"{ORDERS}/metrics", b"[]").status == 400
    assert http("GET", f"{ORDERS}/credentials").json == {"storage-credentials": []}


def test_a_body_that_is_too_long_is_refused_before_it_is_kept(http: HttpClient) -> None:
    answer = http("POST", "/v1/namespaces", b" " * (33 << 20))
    assert answer.status == 413

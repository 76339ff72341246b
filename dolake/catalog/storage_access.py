"""What clients are told of the object store: where it is and, where that is wanted, the keys."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from dolake.catalog.json_fields import Json
from dolake.warehouse import Warehouse

# How obstore names an option, the environment, and Iceberg's clients.
_PLACE = (
    ("endpoint", "AWS_ENDPOINT_URL", "s3.endpoint"),
    ("region", "AWS_REGION", "s3.region"),
)
_KEYS = (
    ("access_key_id", "AWS_ACCESS_KEY_ID", "s3.access-key-id"),
    ("secret_access_key", "AWS_SECRET_ACCESS_KEY", "s3.secret-access-key"),
    ("session_token", "AWS_SESSION_TOKEN", "s3.session-token"),
)


def storage_config(warehouse: Warehouse) -> dict[str, str]:
    """The properties by which a client finds the store; none for a local folder."""
    if urlsplit(warehouse.uri).scheme != "s3":
        return {}
    config = _told(warehouse, _PLACE)
    if "s3.endpoint" in config:  # anything but Amazon's own is addressed by path
        config["s3.path-style-access"] = "true"
    if "s3.region" in config:
        config["client.region"] = config["s3.region"]
    return config


def storage_credentials(warehouse: Warehouse, location: str) -> list[Json]:
    """The warehouse's keys, said to be for one table's folder; none for a local folder.

    They open the whole bucket: S3 alone knows no narrower ones.
    """
    if urlsplit(warehouse.uri).scheme != "s3":
        return []
    keys = _told(warehouse, _KEYS)
    if not keys:
        return []
    return [{"prefix": f"{location}/", "config": {**storage_config(warehouse), **keys}}]


def _told(warehouse: Warehouse, names: tuple[tuple[str, str, str], ...]) -> dict[str, str]:
    told = {}
    for option, variable, name in names:
        value = warehouse.store_options.get(option) or os.environ.get(variable)
        if value:
            told[name] = str(value)
    return told

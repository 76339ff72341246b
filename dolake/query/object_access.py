"""How DuckDB reaches the object store of a warehouse: its httpfs extension and the keys."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from urllib.parse import urlsplit

import duckdb

from dolake.catalog.storage_access import storage_config, storage_credentials
from dolake.errors import LakeConfigurationError
from dolake.query.column_types import quoted_text
from dolake.warehouse import Warehouse

_PACKAGE = "duckdb_extension_httpfs"


def allow_object_store(connection: duckdb.DuckDBPyConnection, warehouse: Warehouse) -> None:
    """Let a connection read the warehouse's bucket; nothing is to be done for a local folder.

    Errors: LakeConfigurationError where the package that brings the extension is missing.
    """
    if warehouse.folder is not None:
        return
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise LakeConfigurationError(
            "queries of a lake on S3 need DuckDB's httpfs extension",
            hint=f"pip install duckdb-extension-httpfs=={duckdb.__version__}",
        )
    version = f"v{duckdb.__version__}"
    extension = Path(found.origin).parent / "extensions" / version / "httpfs.duckdb_extension"
    connection.execute(f"LOAD {quoted_text(str(extension))}")
    config = storage_config(warehouse)
    for credential in storage_credentials(warehouse, warehouse.uri):
        config = {**config, **credential["config"]}
    told = {"TYPE": "s3", "SCOPE": quoted_text(warehouse.uri)}
    endpoint = urlsplit(config.get("s3.endpoint", ""))
    if endpoint.netloc:
        told["ENDPOINT"] = quoted_text(endpoint.netloc)
        told["URL_STYLE"] = "'path'"
        told["USE_SSL"] = "false" if endpoint.scheme == "http" else "true"
    for name, property_name in (
        ("REGION", "s3.region"),
        ("KEY_ID", "s3.access-key-id"),
        ("SECRET", "s3.secret-access-key"),
        ("SESSION_TOKEN", "s3.session-token"),
    ):
        if property_name in config:
            told[name] = quoted_text(config[property_name])
    options = ", ".join(f"{name} {value}" for name, value in told.items())
    connection.execute(f"CREATE SECRET lake ({options})")

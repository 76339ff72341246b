"""How SQLAlchemy's testing tools name, fill and clear away DoSQL databases.

Loaded by `sqlalchemy.testing` only. It asks by the name in the URL, so `dosql://` finds what is
registered here under "dosql"; a file is cleared away together with its directory of history.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import make_url
from sqlalchemy.testing import config
from sqlalchemy.testing.provision import (
    create_db,
    drop_db,
    follower_url_from_main,
    generate_driver_url,
    post_configure_engine,
    post_configure_testing_engine,
    run_reap_dbs,
    stop_test_class_outside_fixtures,
    temp_table_keyword_args,
    upsert,
)


def _is_file(url: Any) -> bool:
    return bool(url.database) and url.database != ":memory:"


def _remove(path: str | os.PathLike[str]) -> None:
    for name in (path, f"{path}-wal", f"{path}-shm", f"{path}-journal"):
        Path(name).unlink(missing_ok=True)
    shutil.rmtree(f"{path}-dosql", ignore_errors=True)


@generate_driver_url.for_db("dosql")
def _url_of_driver(url: Any, driver: str, query_str: str) -> Any:
    return url if driver == url.get_driver_name() else None


@follower_url_from_main.for_db("dosql")
def _url_of_follower(url: Any, ident: str) -> Any:
    url = make_url(url)
    if not _is_file(url):
        return url
    path = Path(url.database)
    return url.set(database=str(path.with_name(f"{path.stem}_{ident}{path.suffix}")))


@post_configure_engine.for_db("dosql")
def _attach_test_schema(url: Any, engine: Any, follower_ident: str | None) -> None:
    """Every connection gets a second schema, `test_schema`, as the suite expects of SQLite."""
    attached = "_".join(filter(None, (follower_ident, engine.driver, "test_schema.db")))

    @event.listens_for(engine, "connect")
    def attach(dbapi_connection: Any, _record: Any) -> None:
        dbapi_connection.execute(f'ATTACH DATABASE "{attached}" AS test_schema')

    @event.listens_for(engine, "engine_disposed")
    def remove(disposed: Any) -> None:
        _remove(attached)
        if _is_file(disposed.url):
            _remove(disposed.url.database)


@post_configure_testing_engine.for_db("dosql")
def _share_pool(url: Any, engine: Any, options: dict[str, Any], scope: str) -> None:
    """An in-memory database is seen by engines that share its one connection only."""
    if options.get("sqlite_share_pool", False) and hasattr(engine.pool, "_transfer_from"):
        options["use_reaper"] = False
        main_engine: Any = config.db
        engine.pool._transfer_from(main_engine.pool)


@create_db.for_db("dosql")
def _create(cfg: Any, eng: Any, ident: str) -> None:
    """Opening makes it."""


@drop_db.for_db("dosql")
def _drop(cfg: Any, eng: Any, ident: str) -> None:
    _remove_followers(ident)


@run_reap_dbs.for_db("dosql")
def _reap(url: Any, idents: Any) -> None:
    for ident in idents:
        _remove_followers(ident)


def _remove_followers(ident: str) -> None:
    for path in Path().iterdir():
        if ident in path.name and path.suffix == ".db":
            _remove(path)


@stop_test_class_outside_fixtures.for_db("dosql")
def _start_afresh(config: Any, db: Any, cls: Any) -> None:
    db.dispose()


@temp_table_keyword_args.for_db("dosql")
def _temporary(cfg: Any, eng: Any) -> dict[str, Any]:
    return {"prefixes": ["TEMPORARY"]}


@upsert.for_db("dosql")
def _upsert(
    cfg: Any,
    table: Any,
    returning: Any,
    *,
    set_lambda: Any = None,
    sort_by_parameter_order: bool = False,
    index_elements: Any = None,
) -> Any:
    statement: Any = insert(table)
    if set_lambda:
        statement = statement.on_conflict_do_update(set_=set_lambda(statement.excluded))
    else:
        statement = statement.on_conflict_do_nothing()
    return statement.returning(*returning, sort_by_parameter_order=sort_by_parameter_order)

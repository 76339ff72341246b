"""Test databases: made, cloned as branches for `--parallel`, and removed with their history."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
from contextlib import closing
from typing import Any

from django.db import NotSupportedError
from django.db.backends.sqlite3 import creation as sqlite

import dosql_dbapi
from django_dosql.kept_open import let_go

_BESIDE_A_DATABASE = ("", "-wal", "-shm", "-journal")


class DatabaseCreation(sqlite.DatabaseCreation):
    """Django's for SQLite, where a clone is a branch and a database is more than one file."""

    def _create_test_db(self, verbosity: int, autoclobber: bool, keepdb: bool = False) -> str:
        name: str = super()._create_test_db(verbosity, autoclobber, keepdb)
        if not keepdb and not self.is_in_memory_db(name):
            remove_database(name)
        return name

    def get_test_db_clone_settings(self, suffix: str) -> dict[str, Any]:
        """The settings of one clone: a branch of the test database, or memory of its own."""
        settings = self.connection.settings_dict
        if self._has_branches(settings):
            options = {**settings["OPTIONS"], "branch": _branch_of(suffix)}
            return {**settings, "OPTIONS": options}
        return super().get_test_db_clone_settings(suffix)  # type: ignore[no-any-return]

    def _has_branches(self, settings: dict[str, Any]) -> bool:
        has_history = settings["OPTIONS"].get("history", True)
        return has_history and not self.is_in_memory_db(settings["NAME"] or ":memory:")

    def _clone_test_db(self, suffix: str, verbosity: int, keepdb: bool = False) -> None:
        settings = self.connection.settings_dict
        if self._has_branches(settings):
            branch = _branch_of(suffix)
            # Forking costs nothing, so a clone kept from an earlier run, which migrations have not
            # reached, is not worth keeping.
            with closing(dosql_dbapi.connect(settings["NAME"])) as connection:
                _drop_with_forks(connection, branch)
                connection.execute(f'CREATE BRANCH "{branch}"')
        elif not self.is_in_memory_db(settings["NAME"]):
            super()._clone_test_db(suffix, verbosity, keepdb)
        elif multiprocessing.get_start_method() == "spawn":
            target = dosql_dbapi.connect(
                self.get_test_db_clone_settings(suffix)["NAME"], history=False
            )
            self.connection.connection.backup(target)
            target.close()

    def destroy_test_db(
        self,
        old_database_name: str | None = None,
        verbosity: int = 1,
        keepdb: bool = False,
        suffix: str | None = None,
    ) -> None:
        """Remove a test database, or of its clone the branch."""
        settings = self.connection.settings_dict
        if suffix is None or not self._has_branches(settings):
            super().destroy_test_db(old_database_name, verbosity, keepdb, suffix)
            return
        if not keepdb:
            with closing(dosql_dbapi.connect(settings["NAME"])) as connection:
                _drop_with_forks(connection, _branch_of(suffix))

    def _destroy_test_db(self, test_database_name: str, verbosity: int) -> None:
        if test_database_name and not self.is_in_memory_db(test_database_name):
            remove_database(test_database_name)

    def setup_worker_connection(self, _worker_id: int) -> None:
        """Make this process of a parallel run work on its own clone."""
        settings = self.connection.settings_dict
        method = multiprocessing.get_start_method()
        if not self.is_in_memory_db(settings["NAME"] or ":memory:"):
            settings.update(self.get_test_db_clone_settings(str(_worker_id)))
            self.connection.close()
        elif method == "fork":
            # fork() copied the memory that holds the database, but a connection belongs to the
            # process that opened it; this process opens one of its own to its copy.
            self.connection.connect()
        elif method == "spawn":
            self._load_clone(_worker_id)
        else:
            raise NotSupportedError(f"Cloning with start method {method!r} is not supported.")
        if method != "fork" and os.environ.get("RUNNING_DJANGOS_TEST_SUITE") == "true":
            self.mark_expected_failures_and_skips()

    def _load_clone(self, worker_id: int) -> None:
        """Read the file that the first process wrote into memory."""
        alias = self.connection.alias
        clone = self.get_test_db_clone_settings(str(worker_id))
        source = dosql_dbapi.connect(clone["NAME"], history=False, create=False)
        name = f"file:memorydb_{alias}_{worker_id}?mode=memory&cache=shared"
        target = dosql_dbapi.connect(name, uri=True)
        source.backup(target)
        source.close()
        self.connection.settings_dict.update({**clone, "NAME": name})
        # Opened before the copying connection is closed, or the memory would be gone.
        self.connection.connect()
        target.close()


def _drop_with_forks(connection: dosql_dbapi.Connection, branch: str) -> None:
    """Drop a branch, if there is one, and before it what the tests forked from it and left."""
    for name, parent, *_ in connection.execute("SHOW BRANCHES").fetchall():
        if parent == branch:
            _drop_with_forks(connection, name)
    quoted = branch.replace('"', '""')
    connection.execute(f'DROP BRANCH IF EXISTS "{quoted}" FORCE')


def remove_database(path: str) -> None:
    """Remove a database file, what SQLite keeps beside it, and its history."""
    let_go(path)
    try:
        for ending in _BESIDE_A_DATABASE:
            if os.path.exists(f"{path}{ending}"):
                os.remove(f"{path}{ending}")
        if os.path.isdir(f"{path}-dosql"):
            shutil.rmtree(f"{path}-dosql")
    except OSError as error:
        print(f"Got an error deleting the old test database: {error}", file=sys.stderr)
        sys.exit(2)


def _branch_of(suffix: str) -> str:
    return f"test_{suffix}"

"""What the database can do, as Django's code and Django's tests ask it."""

from __future__ import annotations

from typing import Any

from django import VERSION
from django.db.backends.sqlite3 import features as sqlite
from django.utils.functional import cached_property

_SKIPS = {
    "atomic() begins with IMMEDIATE unless the settings say otherwise": {
        "backends.sqlite.tests.TestTransactionMode.test_default_transaction_mode",
        "backends.base.test_base.DatabaseWrapperLoggingTests.test_commit_debug_log",
    },
    "dbshell runs DoSQL's shell, not sqlite3's": {
        "dbshell.test_sqlite.SqliteDbshellCommandTestCase."
        "test_non_zero_exit_status_when_path_to_db_is_path",
    },
    "clones of a test database are branches in the same file": {
        "backends.sqlite.test_creation.TestDbSignatureTests.test_get_test_db_clone_settings_name",
    },
}
_SKIPS_ON_6 = {  # Django refuses to skip a test that it does not have
    "the processes of a parallel run open clones with DoSQL, not with sqlite3": {
        "backends.sqlite.test_creation.TestDbSignatureTests."
        "test_setup_worker_connection_respects_test_database_name",
    },
}
_SKIPS_OF_FILES = {
    # With Django's own backend, too, in a run without the test that is skipped above: that one
    # happens to have opened the connection.
    "closes the connection that its test case goes on using, when it was the first to open it": {
        "backends.sqlite.tests.ThreadSharing.test_database_sharing_in_threads",
    },
}
# What Django says of the SQLite in the standard library; DoSQL brings its own.
_FIXED_IN_OUR_SQLITE = frozenset(
    ("SQLite does not parse escaped double quotes in the JSON path notation",)
)


class DatabaseFeatures(sqlite.DatabaseFeatures):
    """Django's for SQLite, asked of the SQLite that the driver brings along."""

    can_alter_table_drop_column = True
    can_return_columns_from_insert = True
    can_return_rows_from_bulk_insert = True

    @cached_property
    def django_test_skips(self) -> dict[str, Any]:
        """Tests of Django's own suite that cannot hold here, by reason."""
        skips = {
            reason: tests
            for reason, tests in super().django_test_skips.items()
            if reason not in _FIXED_IN_OUR_SQLITE
        }
        if VERSION >= (6,):
            skips |= _SKIPS_ON_6
        if not self.connection.is_in_memory_db():
            skips |= _SKIPS_OF_FILES
        return skips | _SKIPS

"""The tests of `test.test_sqlite3` that do not pass with DoSQL, each with the reason.

Other Pythons lack some of them. The list is strict: what passes again must leave it.
"""

from __future__ import annotations

import sys

_UTF8_PATHS = "the kernel takes paths that are UTF-8; others are refused with CannotOpenError"

NOT_PASSED = {
    "test_dbapi.OpenTests.test_open_undecodable_uri": _UTF8_PATHS,
    "test_dbapi.OpenTests.test_open_with_undecodable_path": _UTF8_PATHS,
    "test_dbapi.MultiprocessTests.test_ctx_mgr_rollback_if_commit_failed": (
        "a reader in another process makes the commit fail; in WAL mode readers block nobody"
    ),
    "test_dbapi.ConnectionTests.test_connection_signature": (
        "expects a signature without types; ours has them"
    ),
    "test_dbapi.CursorTests.test_execute_named_param_and_sequence": (
        "expects a DeprecationWarning for a sequence bound to named placeholders; looking for "
        "names would cost every execution, and DoSQL keeps binding them"
    ),
    "test_regression.RecursiveUseOfCursors.test_recursive_cursor_init": (
        "calls __init__ of a cursor that runs; the kernel refuses with RuntimeError, for the "
        "initialiser is its own, in C"
    ),
    "test_regression.RegressionTests.test_bind_mutating_list": (
        "an adapter empties the list that is being bound and IndexError is expected; the values as "
        "they were when execute was called are bound"
    ),
}

if sys.version_info >= (3, 13):  # the test is older, what it expects is not
    NOT_PASSED["test_factory.ConnectionFactoryTests.test_connection_factory_as_positional_arg"] = (
        "expects Connection() to warn of positional arguments; only connect() does"
    )

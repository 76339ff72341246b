"""Runs Peewee's own tests in this process, and writes how each one ended.

`python child.py SOURCE BACKEND RESULTS [TEST...]`: SOURCE is a folder that holds peewee.py and the
package `tests`, BACKEND is `stock` or `dosql`, RESULTS the JSON file to write, TEST a test to run
instead of all, by its id. Scratch databases go to the working directory.

With `dosql`, the module a test imports as `peewee` holds DoSQLDatabase under the name
SqliteDatabase, and our driver under the name sqlite3. Peewee's own code is left alone. The tests
remove their database file between them; its history, which is beside it, is removed with it.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
import unittest
from pathlib import Path
from types import ModuleType


class OutcomesByName(unittest.TextTestResult):
    """Remembers how each test ended; a test with a failed part has failed."""

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        self.outcomes: dict[str, tuple[str, str]] = {}

    def addSuccess(self, test) -> None:
        super().addSuccess(test)
        self.outcomes.setdefault(test.id(), ("passed", ""))

    def addSkip(self, test, reason: str) -> None:
        super().addSkip(test, reason)
        self.outcomes.setdefault(test.id(), ("skipped", reason))

    def addError(self, test, err) -> None:
        super().addError(test, err)
        self.outcomes[test.id()] = ("failed", str(err[1]))

    def addFailure(self, test, err) -> None:
        super().addFailure(test, err)
        self.outcomes[test.id()] = ("failed", str(err[1]))

    def addExpectedFailure(self, test, err) -> None:
        super().addExpectedFailure(test, err)
        self.outcomes[test.id()] = ("failed", str(err[1]))

    def addSubTest(self, test, subtest, err) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.outcomes[test.id()] = ("failed", str(err[1]))


def put_our_database_in_its_place() -> None:
    """From now on `import peewee` gives all of Peewee, with two names of ours."""
    import peewee

    import dosql_dbapi
    from peewee_dosql.database import DoSQLDatabase

    # pwiz writes the name of the class into the program it generates.
    ours = type("SqliteDatabase", (DoSQLDatabase,), {})
    facade = ModuleType("peewee", peewee.__doc__)
    vars(facade).update(vars(peewee))
    vars(facade).update(SqliteDatabase=ours, sqlite3=dosql_dbapi)
    sys.modules["peewee"] = facade
    sys.modules["sqlite3"] = dosql_dbapi
    for name in [name for name in sys.modules if name.partition(".")[0] == "playhouse"]:
        del sys.modules[name]  # to be imported again, on top of the facade


def remove_histories_with_their_files() -> None:
    """From now on `os.unlink` of a database leaves no history beside it, and nobody working on it.

    One test never stops its writer's thread. With SQLite that goes on writing to a file without a
    name; a DoSQL database, which is shared by all of a process, would outlive its file.
    """
    from dosql_dbapi.connection import _open_connections

    unlink = os.unlink

    def unlink_with_history(path, **options) -> None:
        if not os.path.isdir(f"{path}-dosql"):
            unlink(path, **options)
            return
        gc.collect()  # what threads that ended left behind
        for connection in list(_open_connections):
            database = getattr(connection._session, "database", None)
            if database is not None and database.path == os.path.realpath(path):
                connection._release()
        unlink(path, **options)
        shutil.rmtree(f"{path}-dosql", ignore_errors=True)

    os.unlink = os.remove = unlink_with_history


def main(source: str, backend: str, results: str, *chosen: str) -> None:
    sys.path.insert(0, source)
    if backend == "dosql":
        put_our_database_in_its_place()
        remove_histories_with_their_files()
    import tests as their_tests

    loader = unittest.TestLoader()
    suite = loader.loadTestsFromNames(chosen) if chosen else loader.loadTestsFromModule(their_tests)
    runner = unittest.TextTestRunner(verbosity=1, resultclass=OutcomesByName)
    result = runner.run(suite)
    assert isinstance(result, OutcomesByName)
    rows = [(name, *outcome) for name, outcome in sorted(result.outcomes.items())]
    Path(results).write_text(json.dumps(rows), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

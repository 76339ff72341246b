"""Make an empty database file again with another page size, auto_vacuum mode or encoding.

SQLite fixes the three when it writes the first page, and the WAL mode that history needs writes it
before a program can choose. As long as there is nothing in the file, it can be made anew.
"""

from __future__ import annotations

import contextlib
import os
import shutil

import apsw

from dosql_core.errors import ProgrammingError
from dosql_core.kernel.connection import pragma_value, run

FORMAT_PRAGMAS = ("page_size", "auto_vacuum", "encoding")


def format_of(connection: apsw.Connection) -> dict[str, object]:
    """Page size, auto_vacuum mode and encoding of a database."""
    return {name: pragma_value(connection, name) for name in FORMAT_PRAGMAS}


def remake_empty_file(path: str, branch_directory: str, chosen: dict[str, object]) -> None:
    """Replace an empty database that nobody has open, and the beginnings of its history.

    Whatever a crash leaves is an empty database: the times go first, then the history, then the
    file.
    """
    fresh = path + ".new"
    with contextlib.suppress(FileNotFoundError):
        os.remove(fresh)
    connection = apsw.Connection(fresh)
    try:
        for name, value in chosen.items():
            if not str(value).replace("-", "").isalnum():
                raise ProgrammingError(f"{name} = {value!r}: expected a word or a number")
            run(connection, f"PRAGMA {name} = '{value}'")
        # only the first table writes the encoding
        for sql in ("CREATE TABLE first(a)", "DROP TABLE first", "VACUUM"):
            run(connection, sql)
        run(connection, "PRAGMA journal_mode = WAL")
    finally:
        connection.close()
    with contextlib.suppress(FileNotFoundError):
        os.remove(os.path.join(branch_directory, "commit_times.ring"))
    shutil.rmtree(os.path.join(branch_directory, "history"))
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.remove(path + suffix)
    os.replace(fresh, path)

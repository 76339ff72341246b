"""Importing this fails on systems that DoSQL cannot run on, and says so."""

import sys

if not sys.platform.startswith("linux"):
    raise ImportError(
        f"DoSQL runs on Linux, and this is {sys.platform}: it needs locks and a view of SQLite's "
        "shared memory that other systems do not have; a container or WSL will do"
    )

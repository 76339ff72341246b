"""The second name of the module, for programs that say `from sqlite3 import dbapi2`."""

from dosql_dbapi import *  # noqa: F403 - it is the same module by design
from dosql_dbapi import __all__, __getattr__  # noqa: F401

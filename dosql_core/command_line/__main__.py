"""`python -m dosql_core.command_line` is `dosql`."""

import sys

from dosql_core.command_line.entry import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m dolake.command_line` is `dolake`."""

import sys

from dolake.command_line.entry import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m panojax`."""

import sys

from panojax.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())

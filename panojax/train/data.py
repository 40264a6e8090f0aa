"""`python -m panojax.train.data`: the former name of `python -m panojax.data`."""

import sys

from panojax.data.__main__ import main

if __name__ == "__main__":
    sys.exit(main())

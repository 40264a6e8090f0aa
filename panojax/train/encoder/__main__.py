"""`python -m panojax.train.encoder PRESET ...`, see run.py."""

import sys

from panojax.train.encoder.run import main

if __name__ == "__main__":
    sys.exit(main())

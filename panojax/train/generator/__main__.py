"""`python -m panojax.train.generator PRESET ...`, see run.py."""

import sys

from panojax.train.generator.run import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m panojax.train.head_pose ...`, see run.py."""

import sys

from panojax.train.head_pose.run import main

if __name__ == "__main__":
    sys.exit(main())

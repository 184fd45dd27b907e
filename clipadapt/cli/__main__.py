"""`python -m clipadapt.cli ...`, the form that `accelerate launch -m` needs."""

import sys

from clipadapt.cli import main

if __name__ == "__main__":
    sys.exit(main())

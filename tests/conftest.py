"""Settings that all tests share."""

import os

from hypothesis import settings

# A shared machine makes any deadline a matter of luck; a gate has to give the same answer twice.
settings.register_profile("clipadapt", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("clipadapt")

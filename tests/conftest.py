"""What all tests share."""

import os

from hypothesis import settings

# Where several processes test at once, each has one core; so have the commands that they start.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Machines differ in speed, and a failure has to come back when it is looked for.
settings.register_profile("effsearch", deadline=None, derandomize=True)
settings.load_profile("effsearch")

pytest_plugins = ["tests.fixtures.good_files", "tests.fixtures.killing"]

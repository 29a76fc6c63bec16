"""What all tests share."""

import os

import pytest
from hypothesis import settings

# Where several processes test at once, each has one core; so have the commands that they start.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Machines differ in speed, and a failure has to come back when it is looked for.
settings.register_profile("effsearch", deadline=None, derandomize=True)
settings.load_profile("effsearch")

pytest_plugins = ["tests.fixtures.good_files", "tests.fixtures.killing"]


@pytest.fixture(autouse=True, scope="session")
def _own_home(tmp_path_factory):
    """Keeps a person's tables and kept scores out of tests, and what tests leave away from them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EFFSEARCH_HOME", str(tmp_path_factory.mktemp("home")))
        yield

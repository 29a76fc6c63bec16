"""What all tests share."""

from hypothesis import settings

# Machines differ in speed, and a failure has to come back when it is looked for.
settings.register_profile("effsearch", deadline=None, derandomize=True)
settings.load_profile("effsearch")

pytest_plugins = ["tests.fixtures.good_files"]

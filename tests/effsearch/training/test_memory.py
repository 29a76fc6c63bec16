import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from effsearch.training.memory import keep_memory
if sys.argv[1] == "keep":
    keep_memory()
import numpy as np
def step():
    return [np.ones(5_000_000, np.float32) for _ in range(3)]
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is Linux's")
def test_freed_memory_is_not_faulted_in_again():
    def faults(how):
        command = [sys.executable, "-c", FAULTS, how]
        return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    without = faults("plain")
    if without < 1000:
        pytest.skip("this C library keeps freed memory by itself")
    assert faults("keep") < without / 10

from __future__ import annotations

import pytest

from effsearch.refine.resources import needed_bytes, share

GIB = 1 << 30


@pytest.mark.parametrize(
    ("available", "networks", "wanted", "expected"),
    [
        ({"CPU": 8, "memory": 100 * GIB}, 6, None, (6, 1, 0, 1)),
        ({"CPU": 8, "memory": 100 * GIB}, 3, None, (3, 2, 0, 2)),
        ({"CPU": 8, "memory": 5 * GIB}, 6, None, (2, 4, 0, 4)),
        ({"CPU": 8, "memory": 1 * GIB}, 6, None, (1, 8, 0, 8)),
        ({"CPU": 2}, 6, 1, (1, 2, 0, 2)),
        ({"CPU": 2}, 6, 4, (4, 0.5, 0, 1)),
        ({"CPU": 2}, 3, 50, (3, 0.6666, 0, 1)),
        ({"CPU": 16, "GPU": 4}, 9, None, (4, 4, 1, 4)),
        ({"CPU": 16, "GPU": 1}, 9, 3, (3, 5, 0.3333, 5)),
    ],
)
def test_what_is_there_is_divided(available, networks, wanted, expected):
    found = share(available, networks, wanted, 2 * GIB)
    assert (found.concurrent, found.cpus, found.gpus, found.threads) == expected
    assert found.concurrent * found.cpus <= available["CPU"]
    assert found.concurrent * found.gpus <= available.get("GPU", 0)
    assert found.device == ("cuda" if "GPU" in available else "cpu")


def test_a_large_gpu_carries_several():
    found = share({"CPU": 16, "GPU": 1}, 9, None, 10 * GIB, gpu_bytes=80 * GIB)
    assert (found.concurrent, found.gpus) == (7, 0.1428)
    assert "7 trainings at a time, 0.1428 GPU each" in found.text()


def test_memory_grows_with_the_batch(networks, quick):
    architectures = [r.candidate.architecture for r in networks]
    small = needed_bytes(architectures, quick, 100)
    large = needed_bytes(architectures, quick.replace(batch_size=1200), 100)
    assert GIB < small < large
    assert (large - GIB) > 20 * (small - GIB)

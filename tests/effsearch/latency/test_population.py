import numpy as np
import pytest

from effsearch.latency import DeviceTable
from searchspace import SearchSpace


@pytest.mark.parametrize("name", ["mobile", "supernet", "tiny"])
@pytest.mark.parametrize("device", ["iphone12", "iphone13"])
def test_a_population_costs_what_its_members_cost(name, device):
    space, table = SearchSpace.load(name), DeviceTable.load(device)
    rng = np.random.default_rng(3)
    members = [space.sample(rng) for _ in range(60)]
    codes = space.encode(members)
    alone = [table.predict(m) for m in members]
    for rows in (slice(0, 20), slice(None)):  # the second time partly from what is known
        mean, std = table.predict_many(space, codes[rows])
        np.testing.assert_allclose(mean, [p.mean_ms for p in alone[rows]], rtol=1e-9)
        np.testing.assert_allclose(std, [p.std_ms for p in alone[rows]], rtol=1e-9)

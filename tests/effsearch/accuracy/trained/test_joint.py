import numpy as np
import pytest

from effsearch.accuracy.trained.joint import Joint, Scales
from effsearch.accuracy.trained.scaling import log_odds
from results.accuracy.agreement import pair_tau
from results.accuracy.judge import known_points, points_of
from searchspace import zoo


@pytest.fixture(scope="module")
def parts(source, trained):
    return known_points(source), points_of(source, trained.architectures), log_odds(trained.top1)


def test_it_predicts_networks_left_out(source, trained, parts):
    known, points, z = parts
    train, left = np.arange(0, 20), np.arange(20, len(trained))
    model = Joint(source.estimate, known, points.take(train), z[train])
    mean, std = model.log_odds(points.take(left))
    assert pair_tau(mean, z[left]) > 0.5
    assert (std > 0).all()


def test_what_is_not_shared_leaves_the_published_estimate_alone(source, parts):
    known, points, z = parts
    scales = Scales(rho=-1e-9, design_std=1e-9, own_std=0.3, own_length=1.0, noise_std=0.1)
    model = Joint(source.estimate, known, points, z, scales=scales)
    networks = points_of(source, [zoo.load(name) for name in zoo.names()])
    expected, _ = source.estimate.log_error(networks.totals)
    # The file that the source was made from rounds its totals.
    assert model.log_error(networks)[0] == pytest.approx(expected, abs=1e-4)


def test_a_better_trained_network_is_estimated_better(source, parts):
    known, points, z = parts
    scales = Scales(rho=-2.0, design_std=0.03, own_std=0.1, own_length=1.0, noise_std=0.05)
    before, _ = Joint(source.estimate, known, points, z, scales=scales).log_error(points)
    raised = z.copy()
    raised[4] += 0.5
    after, _ = Joint(source.estimate, known, points, raised, scales=scales).log_error(points)
    assert after[4] < before[4]


def test_trained_networks_are_less_uncertain(source, parts):
    known, points, z = parts
    scales = Scales(rho=-2.0, design_std=0.05, own_std=0.05, own_length=1.0, noise_std=0.02)
    few = Joint(source.estimate, known, points.take(slice(0, 3)), z[:3], scales=scales)
    many = Joint(source.estimate, known, points, z, scaler=few.scaler, scales=scales)
    assert (many.log_error(points)[1] <= few.log_error(points)[1] + 1e-9).all()

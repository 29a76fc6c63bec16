"""Properties of the zero-cost scores that hold whatever the network."""

import copy
import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from effsearch.accuracy import zero_cost
from effsearch.accuracy.zero_cost import naswot as naswot_module
from effsearch.accuracy.zero_cost.az_nas import pca_entropy, rank_sum, trainability
from effsearch.accuracy.zero_cost.blocks import block_features, find_blocks
from effsearch.accuracy.zero_cost.canonical_initialisation import canonical_copy, initialise_
from effsearch.accuracy.zero_cost.gradients import ZICO_CLIP, gradient_scores, zico
from effsearch.accuracy.zero_cost.roles import Role, is_norm, named_roles
from effsearch.accuracy.zero_cost.synflow import synflow
from effsearch.accuracy.zero_cost.trace import trace
from searchspace.errors import UserError

CLASSES = 5


class Residual(nn.Module):
    """A residual bottleneck with a layer scale; the norm's gain starts at zero."""

    def __init__(self, width: int, activation: type[nn.Module], norm: type[nn.Module]):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, 2 * width, 1),
            activation(),
            nn.Conv2d(2 * width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width) if norm is nn.BatchNorm2d else nn.GroupNorm(1, width),
        )
        nn.init.zeros_(self.body[3].weight)
        self.scale = nn.Parameter(1e-5 * torch.ones(width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.body(x)


class Network(nn.Module):
    """Stem, two stages of residual blocks with a plain downsampling between, linear head."""

    def __init__(
        self,
        width: int = 8,
        depth: int = 2,
        activation: type[nn.Module] = nn.ReLU,
        norm: type[nn.Module] = nn.BatchNorm2d,
    ):
        super().__init__()

        def blocks(w: int) -> list[nn.Module]:
            return [Residual(w, activation, norm) for _ in range(depth)]

        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), activation())
        self.stage1 = nn.Sequential(*blocks(width))
        self.down = nn.Conv2d(width, 2 * width, 3, 2, 1)
        self.stage2 = nn.Sequential(*blocks(2 * width))
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(2 * width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage2(self.down(self.stage1(self.stem(x))))
        return self.head(self.drop(x.mean((2, 3))))


class Tokens(nn.Module):
    """A small transformer with functional activations and a layer norm."""

    def __init__(self, width: int = 16):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.position = nn.Parameter(torch.zeros(1, 16, width))
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.expand, self.reduce = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.position
        q, k, v = self.qkv(self.norm1(x)).chunk(3, dim=-1)
        attention = (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).softmax(-1)
        x = x + self.project(attention @ v)
        x = x + self.reduce(F.gelu(self.expand(self.norm2(x))))
        return self.head(x.mean(1))


@pytest.fixture(scope="module")
def batch() -> Tensor:
    return torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def labels() -> Tensor:
    return torch.arange(8) % CLASSES


@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.Hardswish, nn.SiLU])
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.GroupNorm])
def test_all_scores_are_finite(activation, norm, batch, labels):
    scores = zero_cost.scores(Network(activation=activation, norm=norm), batch, labels)
    assert tuple(scores) == zero_cost.NAMES
    assert all(math.isfinite(v) for v in scores.values()), scores


def test_all_scores_are_finite_on_tokens(batch, labels):
    scores = zero_cost.scores(Tokens(), batch, labels)
    assert all(math.isfinite(v) for v in scores.values()), scores


def test_module_and_random_state_are_left_alone(batch, labels):
    net = Network().train()
    net.down.weight.requires_grad_(False)
    net.stem[1].running_mean.fill_(3)
    before = copy.deepcopy(net.state_dict())
    images, state = batch.clone(), torch.get_rng_state()
    zero_cost.scores(net, batch, labels)
    zero_cost.counts(net, batch)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(m.training for m in net.modules())
    assert all(p.grad is None for p in net.parameters())
    assert not net.down.weight.requires_grad
    assert net.head.weight.requires_grad
    assert not any(m._forward_hooks for m in net.modules())
    assert torch.equal(batch, images)
    assert torch.equal(torch.get_rng_state(), state)


def test_scores_are_deterministic_and_seeded(batch, labels):
    net = Network()
    first = zero_cost.scores(net, batch, labels)
    torch.manual_seed(123)
    assert zero_cost.scores(net, batch, labels) == first
    with torch.no_grad():
        assert zero_cost.scores(net, batch, labels) == first
    with torch.inference_mode():
        assert zero_cost.scores(net, batch, labels) == first
    assert zero_cost.scores(net, batch, labels, seed=1) != first


def test_the_given_weights_do_not_decide(batch, labels):
    net = Network()
    first = zero_cost.scores(net, batch, labels)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.uniform_(-2, 2)
        net.stem[1].running_var.fill_(9)
    assert zero_cost.scores(net.eval(), batch, labels) == first
    assert zero_cost.scores(net.double(), batch, labels) == first


def test_names_select(batch, labels):
    everything = zero_cost.scores(Network(), batch, labels)
    few = zero_cost.scores(Network(), batch, labels, names=["zico", "progressivity"])
    assert few == {k: everything[k] for k in ("zico", "progressivity")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": ["nastwo"]}, "unknown zero-cost score 'nastwo'"),
        ({"blocks": ["stage9"]}, "no submodule 'stage9'"),
        ({"labels": torch.zeros(3, dtype=torch.long)}, r"labels \(N,\)"),
        ({"labels": torch.full((8,), CLASSES)}, "labels must be from 0 to 4"),
        ({"labels": torch.full((8,), -1)}, "labels must be from 0 to 4"),
    ],
)
def test_mistakes_are_named(arguments, message, batch, labels):
    with pytest.raises(UserError, match=message):
        zero_cost.scores(Network(), **{"batch": batch, "labels": labels, **arguments})


def test_a_network_without_logits_is_a_mistake(batch, labels):
    with pytest.raises(UserError, match="has to return logits"):
        zero_cost.scores(nn.Conv2d(3, 4, 1), batch, labels)


# Canonical initialisation


def test_canonical_initialisation_sets_gains_scales_and_biases():
    net = canonical_copy(Network(norm=nn.GroupNorm))
    roles = {name: role for name, _, _, role in named_roles(net)}
    assert roles["stage1.0.scale"] is Role.GAIN
    assert roles["stage1.0.body.3.weight"] is Role.GAIN
    assert roles["stage1.0.body.3.bias"] is Role.BIAS
    assert roles["head.weight"] is Role.WEIGHT
    for name, parameter in net.named_parameters():
        if roles[name] is Role.GAIN:
            assert (parameter == 1).all()
        elif roles[name] is Role.BIAS:
            assert (parameter == 0).all()
    assert [m.training for m in net.modules()].count(True) == 1  # the stem's batch norm


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (nn.Conv2d(64, 64, 3), 576),
        (nn.Conv2d(512, 512, 3, groups=512), 9),
        (nn.ConvTranspose2d(64, 32, 2, stride=2), 256),
        (nn.Linear(300, 100), 300),
    ],
)
def test_weights_are_he_normal_over_the_fan_in(layer, fan_in):
    initialise_(layer)
    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=0.05)
    assert (layer.bias == 0).all()


@pytest.mark.parametrize(
    ("shape", "role"),
    [
        ((), Role.GAIN),
        ((6,), Role.GAIN),
        ((6, 1, 1), Role.GAIN),
        ((1, 6, 1, 1), Role.GAIN),
        ((6, 1), Role.WEIGHT),
        ((6, 4), Role.WEIGHT),
        ((1, 6, 4), Role.WEIGHT),
    ],
)
def test_free_parameters_are_told_by_shape(shape, role):
    net = nn.Module()
    net.free = nn.Parameter(torch.zeros(shape))
    assert [r for *_, r in named_roles(net)] == [role]


def test_norms_written_by_hand_are_norms():
    class LayerNorm2d(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.full((1, 4, 1, 1), 7.0))

    class ConvNorm(nn.Sequential):
        pass

    assert is_norm(LayerNorm2d())
    assert not is_norm(ConvNorm(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))
    assert (canonical_copy(nn.Sequential(LayerNorm2d()))[0].weight == 1).all()


# Gradient norm, SNIP, ZiCo


def test_gradient_scores_agree_with_autograd_by_hand(batch, labels):
    net = canonical_copy(Network())
    loss = F.cross_entropy(net(batch), labels)
    loss.backward()
    layers = [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    norm = sum(m.weight.grad.norm() for m in layers)
    snip = sum((m.weight * m.weight.grad).abs().sum() for m in layers)
    found = gradient_scores(net, batch, labels)
    assert found["grad_norm"] == pytest.approx(norm.item(), rel=1e-5)
    assert found["snip"] == pytest.approx(snip.item(), rel=1e-5)


def test_zico_agrees_with_its_definition(batch, labels):
    net = canonical_copy(Network())
    gradients = []
    for part in (slice(0, 4), slice(4, 8)):
        net.zero_grad()
        F.cross_entropy(net(batch[part]), labels[part]).backward()
        layers = [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
        gradients.append([m.weight.grad.clone() for m in layers])
    expected = 0.0
    for pair in zip(*gradients, strict=True):
        g = torch.stack(pair)
        ratio = g.abs().mean(0) / g.std(0, unbiased=False)
        ratio = ratio[g.std(0, unbiased=False) > 0]
        expected += math.log(ratio.clamp(max=ZICO_CLIP).sum())
    assert zico(net, batch, labels) == pytest.approx(expected, rel=1e-4)


def test_zico_of_equal_halves_and_of_too_few_images_is_undefined(batch, labels):
    net = canonical_copy(Network())
    same, classes = torch.cat([batch[:4]] * 2), torch.cat([labels[:4]] * 2)
    assert math.isnan(zico(net, same, classes))
    assert math.isnan(zico(net, batch[:3], labels[:3]))


def test_gradients_of_a_network_cut_off_from_its_logits_are_undefined(batch, labels):
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, CLASSES, 1)

        def forward(self, x):
            return F.relu(self.conv(x)).mean((2, 3)) * 0

    scores = zero_cost.scores(Constant(), batch, labels)
    for name in ("grad_norm", "snip", "synflow", "zico"):
        assert math.isnan(scores[name]), name


# SynFlow


def test_synflow_of_a_linear_chain_has_a_closed_form():
    chain = nn.Sequential(
        nn.Flatten(), nn.Linear(12, 7), nn.ReLU(), nn.LayerNorm(7), nn.Linear(7, 6), nn.Linear(6, 4)
    )
    net = canonical_copy(chain)
    flow = torch.ones(12, dtype=torch.float64)
    for layer in net:
        if isinstance(layer, nn.Linear):
            flow = layer.weight.detach().double().abs() @ flow
    # Each of the three layers' weights sums to R; the norm is passed over.
    expected = math.log(3 * flow.sum())
    assert synflow(net, torch.randn(2, 3, 2, 2)) == pytest.approx(expected, rel=1e-9)


def test_synflow_grows_with_width_and_depth(batch, labels):
    def score(**options):
        return zero_cost.scores(Network(**options), batch, labels, names=["synflow"])["synflow"]

    assert score(width=16) > score(width=8)
    assert score(depth=4) > score(depth=2)


def test_synflow_ignores_casts_and_functional_norms(batch):
    class Casting(nn.Module):
        def __init__(self, plain: bool):
            super().__init__()
            self.plain = plain
            self.conv = nn.Conv2d(3, 8, 3)
            self.head = nn.Linear(8, CLASSES)

        def forward(self, x):
            x = self.conv(x)
            if not self.plain:
                x = F.layer_norm(x.float().to(torch.float32), x.shape[1:])
            return self.head(x.mean((2, 3)))

    with_cast, without = (synflow(canonical_copy(Casting(p)), batch) for p in (False, True))
    assert with_cast == without


def test_synflow_that_overflows_is_undefined(batch):
    class Squares(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, CLASSES)

        def forward(self, x):
            x = self.head(x.mean((2, 3))) * 10
            for _ in range(12):
                x = x * x
            return x

    assert math.isnan(synflow(canonical_copy(Squares()), batch))


# NASWOT


def test_naswot_counts_agreeing_signs():
    net = nn.Sequential(nn.Flatten(), nn.ReLU())
    codes = torch.tensor([[1.0, 1, 1, -1], [1.0, -1, 1, 1], [-1.0, -1, 1, -1]])
    kernel = (codes[:, None] == codes[None]).sum(-1).double()
    expected = torch.logdet(kernel).item()
    assert naswot_module.naswot(net, codes) == pytest.approx(expected)


def test_naswot_sees_functional_and_in_place_activations(batch, labels):
    class Functional(nn.Module):
        def __init__(self, how):
            super().__init__()
            self.how = how
            self.conv = nn.Conv2d(3, 8, 3)
            self.head = nn.Linear(8, CLASSES)

        def forward(self, x):
            return self.head(self.how(self.conv(x)).mean((2, 3)))

    ways = [F.relu, torch.relu, torch.relu_, Tensor.relu, nn.ReLU(inplace=True), F.gelu, F.silu]
    found = {
        zero_cost.scores(Functional(way), batch, labels, names=["naswot"])["naswot"] for way in ways
    }
    assert len(found) == 1
    assert math.isfinite(found.pop())


def test_naswot_is_undefined_without_activations_or_with_equal_images(batch, labels):
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, CLASSES))
    assert math.isnan(zero_cost.scores(linear, batch, labels)["naswot"])
    twice = torch.cat([batch[:4]] * 2)
    assert math.isnan(zero_cost.scores(Network(), twice, labels)["naswot"])


# Blocks and AZ-NAS


def _block_shapes(net: nn.Module, batch: Tensor) -> list[tuple[int, ...]]:
    return [tuple(f.shape[1:]) for f in block_features(canonical_copy(net), batch)]


def test_blocks_are_stem_residuals_and_downsampling(batch):
    shapes = _block_shapes(Network(), batch)
    assert shapes == [(8, 16, 16)] * 3 + [(16, 8, 8)] * 3


def test_blocks_found_are_those_that_names_give(batch, labels):
    names = ["stem", "stage1.0", "stage1.1", "down", "stage2.0", "stage2.1"]
    found = zero_cost.scores(Network(), batch, labels)
    assert zero_cost.scores(Network(), batch, labels, blocks=names) == found


def test_blocks_of_tokens_and_of_plain_chains(batch):
    assert _block_shapes(Tokens(), batch) == [(16, 16)] * 3
    chain = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, CLASSES),
    )
    assert _block_shapes(chain, batch) == [(4, 32, 32), (6, 16, 16)]
    nodes, output = trace(chain, batch)
    assert [nodes[i].name for i in find_blocks(nodes, output)] == ["relu", "relu"]


def test_gates_are_no_blocks(batch):
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.gate = nn.Conv2d(3, 4, 2, 2), nn.Conv2d(4, 4, 1)
            self.down, self.body = nn.Conv2d(4, 6, 2, 2), nn.Conv2d(6, 6, 3, padding=1)
            self.head = nn.Linear(6, CLASSES)

        def forward(self, x):
            x = self.stem(x)
            x = x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid()
            x = self.down(x)
            x = x + self.body(x)
            return self.head(x.mean((2, 3)))

    assert _block_shapes(Gated(), batch) == [(6, 8, 8)] * 2


def test_in_place_operators_do_not_touch_features(batch):
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
            self.head = nn.Linear(4, CLASSES)

        def forward(self, x):
            x = self.a(x)
            x = x + self.b(x)
            return self.head(F.relu_(x).mean((2, 3)))

    net = canonical_copy(InPlace())
    for blocks in (None, ["a"]):
        assert all((f < 0).any() for f in block_features(net, batch, blocks))


def test_without_blocks_the_feature_scores_are_undefined(batch, labels):
    linear = nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(3 * 32 * 32, CLASSES))
    scores = zero_cost.scores(linear, batch, labels)
    for name in ("expressivity", "progressivity", "trainability"):
        assert math.isnan(scores[name]), name


def test_entropy_of_isotropic_and_rank_one_features():
    generator = torch.Generator().manual_seed(0)
    isotropic = torch.randn(64, 10, 16, 16, generator=generator)
    assert pca_entropy(isotropic) == pytest.approx(math.log(10), abs=1e-3)
    line = torch.randn(64, 1, 16, 16, generator=generator) * torch.ones(1, 10, 1, 1)
    assert pca_entropy(line) == pytest.approx(0, abs=1e-3)
    assert math.isnan(pca_entropy(torch.ones(4, 10, 2, 2)))
    # Fewer positions than channels: the Gram matrix gives the same.
    few = torch.randn(3, 10, 2, 2, generator=generator).double()
    samples = few.permute(0, 2, 3, 1).reshape(-1, 10)
    shares = torch.linalg.eigvalsh(torch.cov(samples.T)).clamp_min(0)
    shares = shares[shares > 1e-9] / shares.sum()
    assert pca_entropy(few[:2]) < math.log(8)
    assert pca_entropy(few) == pytest.approx(-(shares * shares.log()).sum().item(), abs=1e-5)


def test_progressivity_is_the_least_step_of_the_entropies(batch, labels):
    net = canonical_copy(Network())
    entropies = [pca_entropy(f.detach()) for f in block_features(net, batch)]
    scores = zero_cost.scores(Network(), batch, labels)
    assert scores["expressivity"] == pytest.approx(sum(entropies), rel=1e-6)
    steps = [b - a for a, b in itertools.pairwise(entropies)]
    assert scores["progressivity"] == pytest.approx(min(steps), rel=1e-6)


@pytest.mark.parametrize("gain", [0.5, 1.0, 3.0])
def test_trainability_of_an_orthogonal_block_depends_on_its_gain(gain):
    class Orthogonal(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1, bias=False)
            matrix, _ = torch.linalg.qr(torch.randn(8, 8))
            self.b.weight = nn.Parameter(gain * matrix[:, :, None, None])
            self.head = nn.Linear(8, CLASSES)

        def forward(self, x):
            return self.head(self.b(self.a(x)).mean((2, 3)))

    torch.manual_seed(0)
    images = torch.randn(16, 3, 32, 32)
    expected = 2 - gain - 1 / gain
    assert trainability(block_features(Orthogonal(), images, ["a", "b"])) == pytest.approx(
        expected, abs=0.1
    )


def test_trainability_of_blocks_that_compute_nothing_is_undefined(batch):
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Identity(), nn.Flatten(), nn.Linear(4096, CLASSES))
    assert math.isnan(trainability(block_features(canonical_copy(net), batch, ["0", "1"])))


def test_rank_sum_ranks_the_undefined_last():
    total = rank_sum([[1.0, math.nan, 3.0], [10.0, 0.0, 30.0]])
    assert total[2] == pytest.approx(0)
    assert total.argsort().tolist() == [1, 0, 2]


# Counts


def test_counts_of_a_network_by_hand(batch):
    found = zero_cost.counts(Network(width=8, depth=1), batch)

    def block(w, r):
        return r * r * (w * 2 * w + 9 * 2 * w * w)

    macs = 16 * 16 * 27 * 8 + block(8, 16) + 8 * 8 * 9 * 8 * 16 + block(16, 8) + 16 * CLASSES
    assert found["macs"] == macs
    assert found["params"] == sum(p.numel() for p in Network(width=8, depth=1).parameters())
    assert found["depth"] == 1 + 2 + 1 + 2 + 1


def test_depth_is_of_the_longest_path(batch):
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.long = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1))
            self.short = nn.Conv2d(3, 4, 1)
            self.head = nn.Linear(4, CLASSES)

        def forward(self, x):
            return self.head((self.long(x) + self.short(x)).mean((2, 3)))

    assert zero_cost.counts(Branches(), batch)["depth"] == 4

"""One contract for every block: options and shapes in, the same laws out."""

from __future__ import annotations

import itertools

import pytest
import torch

from searchspace import UserError, schema
from searchspace.architecture import block
from searchspace.operators import unit_operators
from searchspace.resolution import height_width
from searchspace.unit_modules import make_unit
from searchspace.units import Unit

# Options off the defaults, and the defaults ({}).
GRID = {
    "lite_mla": [
        {"heads": 2, "head_dim": 8, "scales": (3, 5)},
        {"heads": 4, "head_dim": 0, "expansion": 2.0},
        {"head_dim": 16, "kernel": 5},
    ],
    "mbconv": [{}, {"expansion": 2.5, "kernel": 5}],
    "dsconv": [{}, {"kernel": 5}],
    "efficient_mod": [{"expansion": 1}, {"expansion": 4, "kernel": 5}],
    "efficient_mod_attention": [{}, {"heads": 2, "expansion": 2.5}],
    "shsa": [
        {},
        {"heads": 2, "qk_dim": 8, "partial_ratio": 0.5},
        {"heads": 4, "partial_ratio": 1.0, "kernel": 5, "expansion": 3.0},
    ],
    "shvit_conv": [{}, {"expansion": 3.5, "kernel": 5}],
    "additive_attention": [{}, {"heads": 2, "expansion": 2.5, "kernel": 5}],
    "swiftformer_conv": [{}, {"expansion": 2.5, "kernel": 7}],
}
SHAPES = [(16, (7, 7)), (32, (4, 6)), (48, (2, 2))]


def unit_of(name, width, resolution, options):
    patterns = schema.BLOCKS[name].patterns
    given = {k: v for k, v in options.items() if k not in patterns}
    filled = dict(block(name, 1, **given).options) | {k: options[k] for k in patterns}
    return Unit(
        "block", name, width, width, height_width(resolution), tuple(sorted(filled.items()))
    )


CASES = [
    pytest.param(
        unit_of(name, width, size, options),
        id=f"{name}-{number}-width{width}-{size[0]}x{size[1]}",
    )
    for name, grid in GRID.items()
    for (number, options), (width, size) in itertools.product(enumerate(grid), SHAPES)
]
contract = pytest.mark.parametrize("unit", CASES)


def batch(unit, images=2):
    return torch.randn(images, *unit.input_shape[1:])


def test_every_block_keeps_the_contract():
    assert set(schema.BLOCKS) == set(GRID)
    assert {s.family for s in schema.BLOCKS.values()} == set(schema.FAMILIES)


@contract
def test_shape_is_kept_and_finite(unit, randomised):
    module = randomised(make_unit(unit))
    x = batch(unit)
    y = module(x)
    assert y.shape == x.shape
    assert torch.isfinite(y).all()
    assert not torch.equal(y, x)


@contract
def test_deployed_form_is_the_same_function(unit, same_when_deployed):
    same_when_deployed(unit)


@contract
def test_operators_agree_with_the_module(unit, operators_agree):
    operators_agree(unit)


@contract
def test_deploying_adds_no_operator_and_no_norm_but_layer_and_group(unit):
    train, deploy = (unit_operators(unit, form) for form in ("train", "deploy"))
    assert "BatchNormalization" not in {o.op for o in deploy}
    assert "other" not in {o.kind for o in deploy}
    convolutions = [sum("conv" in o.kind for o in form) for form in (train, deploy)]
    assert convolutions[0] == convolutions[1]


@contract
def test_gradient_reaches_every_parameter(unit, randomised):
    module = randomised(make_unit(unit)).train()
    module(batch(unit, 4)).square().mean().backward()
    dead = [n for n, p in module.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize("size", [1e-4, 1.0, 300.0])
@pytest.mark.parametrize("side", [2, 8], ids=["few_tokens", "many_tokens"])
@pytest.mark.parametrize("cast", ["autocast", "half"])
def test_lite_mla_is_safe_in_half_precision(dtype, size, side, cast, randomised):
    """Sums over tokens pass float16's range, and small ones its least positive number."""
    unit = unit_of("lite_mla", 32, side, {"heads": 4, "head_dim": 8, "scales": (3,)})
    module = randomised(make_unit(unit)).eval()
    x = batch(unit).abs() * size
    with torch.no_grad():
        exact = module.context(x)
        if cast == "autocast":
            with torch.autocast("cpu", dtype):
                found = module.context(x)
        else:
            found = module.to(dtype).context(x.to(dtype))
    assert torch.isfinite(found).all()
    assert (found.float() - exact).norm() <= 0.05 * exact.norm()


def test_lite_mla_attention_leaves_half_precision_range():
    """The case above is a real one: its products do pass what float16 holds."""
    unit = unit_of("lite_mla", 32, 8, {"heads": 4, "head_dim": 8, "scales": (3,)})
    mixer = make_unit(unit).context.branch
    q = k = mixer.qkv(batch(unit).abs() * 300).relu().flatten(2)
    assert (q.transpose(1, 2) @ k).sum(1).max() > torch.finfo(torch.float16).max


def test_lite_mla_is_softmax_free_attention_spelled_out():
    """Equation 2 of arXiv 2205.14756, written as the quadratic sum over tokens."""
    torch.manual_seed(1)
    mixer = make_unit(unit_of("lite_mla", 16, 4, {"heads": 2, "head_dim": 8})).context.branch
    for side in (2, 4):  # both orders of the products
        qkv = torch.randn(1, 3 * 8 * 2, side, side, dtype=torch.float64)
        q, k, v = qkv.reshape(2, 3, 8, side * side).unbind(1)
        weights = torch.einsum("gdi,gdj->gij", q.relu(), k.relu())
        expected = torch.einsum("gij,gdj->gdi", weights / weights.sum(-1, keepdim=True), v)
        found = mixer.attend(qkv)
        torch.testing.assert_close(found, expected.reshape(1, 16, side, side))


def test_shsa_heads_attend_apart():
    """With two heads the second's queries do not move the first's output."""
    unit = unit_of("shsa", 16, 4, {"heads": 2, "partial_ratio": 1.0, "qk_dim": 4})
    mixer = make_unit(unit).mixer.branch.eval()
    mixer.project = torch.nn.Identity()
    mixer.act = torch.nn.Identity()
    x = batch(unit)
    with torch.no_grad():
        before = mixer(x)
        mixer.qkv.conv.weight[4:8] += 1.0  # queries of the second head
        after = mixer(x)
    assert torch.equal(before[:, :8], after[:, :8])
    assert not torch.allclose(before[:, 8:], after[:, 8:])


def test_shsa_leaves_the_other_channels_alone():
    unit = unit_of("shsa", 16, 4, {"partial_ratio": 0.25})
    mixer = make_unit(unit).mixer.branch.eval()
    mixer.project = torch.nn.Identity()
    mixer.act = torch.nn.Identity()
    x = batch(unit)
    assert torch.equal(mixer(x)[:, 4:], x[:, 4:])


def test_additive_attention_is_linear_in_tokens():
    macs = [
        sum(
            o.macs
            for o in unit_operators(unit_of("additive_attention", 16, side, {}), "deploy")
            if o.kind in ("matmul", "linear")
        )
        for side in (4, 8)
    ]
    assert macs[1] == 4 * macs[0]


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("shsa", (1, 2)),
        ("efficient_mod_attention", (2, 4)),
        ("additive_attention", (1, 2)),
        ("lite_mla", (2, 4)),
    ],
)
@pytest.mark.parametrize("form", ["train", "deploy"])
def test_head_count_changes_operators_and_cost(name, heads, form):
    extra = {"head_dim": 0} if name == "lite_mla" else {}
    extra |= {"partial_ratio": 0.5} if name == "shsa" else {}
    few, many = (unit_operators(unit_of(name, 48, 7, {"heads": h, **extra}), form) for h in heads)
    shapes = [[(o.kind, o.input_shape, o.output_shape) for o in ops] for ops in (few, many)]
    assert shapes[0] != shapes[1]
    cost = [sum(o.macs + o.input_bytes + o.weight_bytes for o in ops) for ops in (few, many)]
    assert cost[0] != cost[1]


def test_attention_heads_are_at_least_32_wide():
    unit = unit_of("efficient_mod_attention", 64, 4, {"heads": 8})
    assert make_unit(unit).attention.head_dim == 32


@pytest.mark.parametrize(
    ("name", "width", "options", "field"),
    [
        ("lite_mla", 48, {"heads": 5, "head_dim": 0}, "heads"),
        ("lite_mla", 48, {"heads": 0, "head_dim": 0}, "heads"),
        ("shsa", 16, {"heads": 32}, "heads"),
    ],
)
def test_what_cannot_be_built_is_said_before_it_is_built(name, width, options, field):
    problem = schema.BLOCKS[name].check(width, dict(block(name, 1, **options).options))
    assert problem is not None
    assert problem.startswith(field)


def test_an_option_out_of_range_names_itself():
    with pytest.raises(UserError, match=r"block\.kernel: 4 is not an odd integer from 1 to 15"):
        block("shsa", 1, kernel=4)

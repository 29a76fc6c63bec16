"""All zero-cost scores of one network."""

import math
from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from effsearch.accuracy.zero_cost.az_nas import feature_scores, trainability
from effsearch.accuracy.zero_cost.blocks import block_features
from effsearch.accuracy.zero_cost.canonical_initialisation import canonical_copy
from effsearch.accuracy.zero_cost.gradients import gradient_scores, zico
from effsearch.accuracy.zero_cost.naswot import naswot
from effsearch.accuracy.zero_cost.synflow import synflow
from searchspace.errors import UserError

NAMES = (
    "grad_norm",
    "snip",
    "synflow",
    "naswot",
    "zico",
    "expressivity",
    "progressivity",
    "trainability",
)
"""Names of the scores, in the order in which they are returned."""


def scores(
    module: nn.Module,
    batch: Tensor,
    labels: Tensor,
    *,
    names: Collection[str] = NAMES,
    blocks: Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Score a network's design without training it.

    The scores are those of a canonically initialised copy (see `canonical_copy`), so the module's
    own weights, gains and layer scales make no difference, and the module is not changed. No
    zero-cost score beat counting multiply-accumulates in our trials: use them as a second opinion.

    Args:
        module: any network that maps images to logits, of convolutions, linear layers, norms and
            activations.
        batch: images (N, 3, R, R), normalised as for training. Real ones, 16 or more: expressivity
            needs them.
        labels: their classes (N,), below the number of logits.
        names: the scores to compute, of `NAMES`.
        blocks: names of submodules at whose outputs AZ-NAS's scores read features; found where
            None.
        seed: of the weights and of trainability's gradients.

    Returns:
        The scores by name; higher is better, NaN where undefined.

    Raises:
        UserError: `batch` and `labels` don't match, labels are out of range, a name is unknown,
            or the network returns no logits.
    """
    _check(batch, labels, names, blocks, module)
    device = next((p.device for p in module.parameters()), batch.device)
    batch = batch.detach().to(device=device, dtype=torch.float32)
    labels = labels.detach().to(device=device, dtype=torch.long)
    wanted = set(names)
    found: dict[str, float] = {}
    # The caller's random state stays as it is, and a network that draws numbers draws ours.
    with torch.random.fork_rng(), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(seed)
        net = canonical_copy(module, seed)
        if wanted & {"grad_norm", "snip"}:
            found |= gradient_scores(net, batch, labels)
        if "synflow" in wanted:
            found["synflow"] = synflow(net, batch)
        if "naswot" in wanted:
            found["naswot"] = naswot(net, batch)
        if "zico" in wanted:
            found["zico"] = zico(net, batch, labels)
        if wanted & {"expressivity", "progressivity", "trainability"}:
            with torch.set_grad_enabled("trainability" in wanted):
                features = block_features(net, batch, blocks)
            found |= feature_scores(features)
            if "trainability" in wanted:
                found["trainability"] = trainability(features, seed)
    return {n: _finite(found[n]) for n in NAMES if n in wanted}


def _check(
    batch: Tensor,
    labels: Tensor,
    names: Collection[str],
    blocks: Sequence[str] | None,
    module: nn.Module,
) -> None:
    if len(batch) < 2 or labels.shape != (len(batch),):
        raise UserError(
            "zero-cost scores need a batch of at least 2 images (N, 3, R, R) and labels (N,), got "
            f"{tuple(batch.shape)} and {tuple(labels.shape)}"
        )
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        raise UserError(f"unknown zero-cost score {unknown[0]!r}; known are {', '.join(NAMES)}")
    missing = sorted(set(blocks or ()) - {name for name, _ in module.named_modules()})
    if missing:
        raise UserError(f"the network has no submodule {missing[0]!r} to take as a block")


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.nan

"""AZ-NAS's three scores: expressivity, progressivity and trainability.

Lee and Ham, "AZ-NAS: Assembling Zero-Cost Proxies for Network Architecture Search", CVPR 2024
(arXiv:2403.19232). All three read the features at the ends of blocks; see
`effsearch.accuracy.zero_cost.blocks` for what a block is in an arbitrary network. The paper adds
up the logarithms of their ranks and of the rank of FLOPs (`rank_sum`).
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from effsearch.accuracy.zero_cost.blocks import as_samples, channels_first


def feature_scores(features: Sequence[Tensor]) -> dict[str, float]:
    """Expressivity and progressivity.

    Expressivity is the sum over blocks of the entropy of the features' normalised PCA
    eigenvalues; progressivity the least increase of that entropy from one block to the next.
    Real images and at least 16 of them are needed for ranks that hold.

    Args:
        features: what `block_features` returns.

    Returns:
        "expressivity", NaN without blocks or where a block's output is constant, and
        "progressivity", NaN also with fewer than two blocks.
    """
    entropies = [pca_entropy(f.detach()) for f in features]
    steps = np.diff(entropies)
    return {
        "expressivity": float(np.sum(entropies)) if entropies else math.nan,
        "progressivity": float(np.min(steps)) if steps.size else math.nan,
    }


def trainability(features: Sequence[Tensor], seed: int = 0) -> float:
    """How near the spectral norm of each block's Jacobian is to 1, on average.

    A Rademacher gradient is sent back through each block; the covariance of what comes out with
    what went in has the Jacobian as its expectation. With s its largest singular value a block
    scores 2 - s - 1/s, which is 0 at best.

    Args:
        features: what `block_features` returns, with its graph.
        seed: of the Rademacher gradients.

    Returns:
        The mean over blocks; NaN with fewer than two blocks, and where a block passes its
        gradient on unchanged (it computes nothing).
    """
    generator = torch.Generator().manual_seed(seed)
    values: list[float] = []
    for before, after in reversed(list(itertools.pairwise(features))):
        signs = torch.randint(0, 2, after.shape, generator=generator).mul_(2).sub_(1)
        sent = signs.to(after)
        (returned,) = torch.autograd.grad(after, before, sent, retain_graph=True, allow_unused=True)
        if returned is None:
            return math.nan
        if returned.shape == sent.shape and torch.equal(returned, sent):
            return math.nan
        jacobian = _covariance(returned, sent)
        if jacobian is not None:
            s = _spectral_norm(jacobian)
            values.append(2 - s - 1 / (s + 1e-6))
    return float(np.mean(values)) if values else math.nan


def pca_entropy(feature: Tensor) -> float:
    """Entropy of a feature's normalised PCA eigenvalues, in nats; NaN where it is constant.

    Args:
        feature: a map (N, C, H, W) or tokens (N, L, C); each position is a sample.
    """
    samples = as_samples(channels_first(feature))
    samples = samples.double() - samples.double().mean(dim=0, keepdim=True)
    # The Gram matrix has the same non-zero eigenvalues as the covariance.
    wide = samples.shape[1] > samples.shape[0]
    product = samples @ samples.T if wide else samples.T @ samples
    if not torch.isfinite(product).all():
        return math.nan
    eigenvalues = torch.linalg.eigvalsh(product).clamp_min(0)
    total = eigenvalues.sum()
    if total <= 0:
        return math.nan
    share = eigenvalues / total
    return float(-(share * torch.log(share + 1e-8)).sum())


def rank_sum(scores: Sequence[npt.ArrayLike]) -> npt.NDArray[np.float64]:
    """AZ-NAS's aggregation: the sum over scores of log(rank / N), undefined scores ranked last.

    Args:
        scores: sequences of N values, one per score; higher is better, NaN where undefined.

    Returns:
        N sums, 0 for a network that is best in everything.
    """
    total: npt.NDArray[np.float64] | None = None
    for values in scores:
        filled = np.nan_to_num(np.asarray(values, dtype=float), nan=-np.inf)
        logs = np.log(rankdata(filled) / filled.size)
        total = logs if total is None else total + logs
    if total is None:
        raise ValueError("no scores to aggregate")
    return total


def _covariance(returned: Tensor, sent: Tensor) -> Tensor | None:
    """Mean over positions of outer products, (C_in, C_out); None where positions don't match."""
    returned, sent = channels_first(returned), channels_first(sent)
    if returned.ndim != sent.ndim:
        return None
    if returned.ndim == 4:
        returned, sent = _on_grid_of(sent, returned), _on_grid_of(returned, sent)
    if returned.shape[2:] != sent.shape[2:]:
        return None
    inner, outer = as_samples(returned), as_samples(sent)
    return inner.T @ outer / outer.shape[0]


def _spectral_norm(matrix: Tensor) -> float:
    if not torch.isfinite(matrix).all():
        return math.nan
    return float(torch.linalg.matrix_norm(matrix, ord=2))


def _on_grid_of(coarse: Tensor, fine: Tensor) -> Tensor:
    """Fold a map's positions into channels until it has the other's size, padding if need be."""
    factor = max(math.ceil(f / c) for f, c in zip(fine.shape[2:], coarse.shape[2:], strict=True))
    if factor <= 1:
        return fine
    height, width = (size * factor for size in coarse.shape[2:])
    padded = nn.functional.pad(fine, (0, width - fine.shape[3], 0, height - fine.shape[2]))
    return nn.functional.pixel_unshuffle(padded, factor)

"""A Gaussian estimate of log error: a line in named terms, whose slopes all published groups share.

The log of the top-1 error is a linear function of the terms of `columns`, each of a network's
totals alone. Slopes are a Gaussian posterior (Rasmussen and Williams, "Gaussian Processes for
Machine Learning", 2006, chapter 2.1) given every published training: groups that were trained alike
have a level of their own, so that only differences inside them say anything of design. Sizes
saturate as powers do, and what could grow without bound is squared or one-sided, so that no search
gains by leaving what is known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from effsearch.accuracy.features import FAMILIES, TOTALS, Array, family_shares

TERMS: Mapping[str, str] = {
    "compute": "MACs at 224 px; minus a power, so that it saturates; 1 for a factor e at 0.6 GMACs",
    "parameters": "parameters, likewise; at 8 M",
    "activations": "outputs of convolutions and linear layers, at 224 px; likewise, at 6 M",
    "parameter_balance": "square of parameters minus compute, beyond what is usual",
    "activation_balance": "square of activations minus compute, beyond what is usual",
    "resolution": "224 px over the image's side",
    "depth": "log of layers over what is usual for the MACs",
    "depth_squared": "its square",
    "stride": "log2 of the mean stride at which MACs are spent, less 4",
    "stride_squared": "its square",
    "one_scale": "how few scales the MACs are spread over",
    "attention": "square root of the share of blocks that attend",
    "convolution_free": "share of blocks without a spatial convolution, to the power of 1.5",
    "kernel": "mean log2 of spatial kernels over 3, to 7 at most",
    "narrow_features": "256 over the classifier's input width",
    "head_share": "log of the parameters' share outside of the head",
    "stem_share": "share of the MACs in the stem",
    "widening": "octaves by which downsamplings widen beyond the usual, or narrow",
    "narrow_options": "octaves a block by which options are below what is published",
    "wide_options": "octaves a block by which options are above what is published",
    "unpublished_shape": "how far blocks, their spread over strides, stride, scales, attention, "
    "stem and last stage lie outside of published members of the space, in units of `SHAPE_SCALES`",
}
"""The terms of `columns` and what they measure; a positive slope means a higher error."""

DISTILLED = "distilled"
_KINDS = (*FAMILIES, "other")
LEVELS = tuple(f"{what}.{kind}" for what in ("level", "compute", "resolution") for kind in _KINDS)
"""A family's level, and how its recipe differs in what size and resolution are worth."""
FOREIGN = "level.foreign"
COEFFICIENTS = (*TERMS, *LEVELS, DISTILLED, FOREIGN)
SHAPE_SCALES: Mapping[str, float] = {
    "blocks": 0.25,
    "block_spread": 0.1,
    "stride": 0.25,
    "one_scale": 0.5,
    "stem_share": 0.1,
    "last_stride": 0.25,
    "missing_attention": 0.25,
    "excess_attention": 0.15,
}
"""What makes clearly another shape, of each quantity that has a published range.

Attention has a range for each family: one without the attention that made its name is no published
design, though another family may have none. A mixture's is the mean of theirs.
"""
RANGES = (
    *(name for name in SHAPE_SCALES if not name.endswith("attention")),
    *(f"attention.{family}" for family in FAMILIES),
)
ShapeRanges = Mapping[str, Sequence[float]]
POWER = 0.35  # sizes count as (1 - size^-POWER) / POWER
_DEPTH_EXPONENT = 0.36  # published depths grow as MACs^0.36, within each family and over all
_CHANCE_ERROR = 99.9  # percent, of 1000 classes
_BEND_ERROR = 60.0  # percent; the worst published network here has 54
_INDEX = {name: i for i, name in enumerate(TOTALS)}
_COMPUTE, _RESOLUTION, _UNPUBLISHED = (
    list(TERMS).index(name) for name in ("compute", "resolution", "unpublished_shape")
)


def columns(totals: Array, ranges: ShapeRanges) -> Array:
    """Return the terms of networks.

    Args:
        totals: of n networks, (n, len(TOTALS)).
        ranges: published range of each of `RANGES`.

    Returns:
        Array (n, len(TERMS)).
    """
    c = {name: totals[:, i] for name, i in _INDEX.items()}
    shape = shapes(totals)
    at_224 = 4 ** (math.log2(224) - c["stem.log2_side"])
    attention = shape["attention"]
    log_gmacs = np.log(c["gmacs"] * at_224 / 0.6)
    compute = _saturating(log_gmacs)
    depth = np.log(c["layers"] / 80) - 0.3 * log_gmacs
    parameters = _saturating(np.log(c["mparams"] / 8))
    activations = _saturating(np.log(c["mactivations"] * at_224 / 6))
    by_name = {
        "compute": compute,
        "parameters": parameters,
        "activations": activations,
        "parameter_balance": (parameters - compute) ** 2,
        "activation_balance": (activations - compute) ** 2,
        "resolution": np.sqrt(at_224) - 1,
        "depth": depth,
        "depth_squared": depth**2,
        "stride": shape["stride"],
        "stride_squared": shape["stride"] ** 2,
        "one_scale": shape["one_scale"],
        "attention": np.sqrt(attention),
        "convolution_free": np.maximum(1 - c["mixers"] / c["blocks"], 0) ** 1.5,
        "kernel": c["mixers.log2_kernel"] / np.maximum(c["mixers"], 1) - math.log2(3),
        "narrow_features": 256 / 2 ** c["classifier.log2_width"],
        "head_share": np.log(1 - np.minimum(c["head.mparams"] / c["mparams"], 0.95)),
        "stem_share": shape["stem_share"],
        "widening": c["widening.octaves"],
        "narrow_options": c["option.octaves_below"] / c["blocks"],
        "wide_options": c["option.octaves_above"] / c["blocks"],
        "unpublished_shape": _beyond(shape, family_shares(totals), ranges),
    }
    return np.column_stack([by_name[name] for name in TERMS])


def shapes(totals: Array) -> dict[str, Array]:
    """Return what has a published range, of n networks, by name, (n,) each.

    Log of blocks over what is usual for the MACs; standard deviation of the blocks' log2 strides,
    which is wide where the middle stages are nearly empty; log2 of the mean stride of the MACs,
    less 4; how few scales they are spread over; share of MACs in the stem; log2 of the last stage's
    stride; share of blocks that attend.
    """
    c = {name: totals[:, i] for name, i in _INDEX.items()}
    side = c["stem.log2_side"]
    log_gmacs = np.log(c["gmacs"]) + 2 * math.log(2) * (math.log2(224) - side)
    mean_side = c["layers.gmacs.log2_side"] / c["layers.gmacs"]
    variance = c["layers.gmacs.log2_side_squared"] / c["layers.gmacs"] - mean_side**2
    spread = np.sqrt(np.maximum(variance, 0))
    block_side = c["blocks.log2_side"] / c["blocks"]
    block_variance = c["blocks.log2_side_squared"] / c["blocks"] - block_side**2
    return {
        "blocks": np.log(c["blocks"]) - _DEPTH_EXPONENT * log_gmacs,
        "block_spread": np.sqrt(np.maximum(block_variance, 0)),
        "stride": side - mean_side - 4,
        "one_scale": -np.log((spread / 1.2 + 0.3) / 1.3),
        "stem_share": c["stem.gmacs"] / c["gmacs"],
        "last_stride": side - c["last.log2_side"],
        "attention": c["attention"] / c["blocks"],
    }


def _beyond(shape: Mapping[str, Array], shares: Array, ranges: ShapeRanges) -> Array:
    """Return how far shapes lie outside their ranges, in scales, (n,)."""
    bounds = np.array([*(ranges[f"attention.{f}"] for f in FAMILIES), (0.0, 1.0)])  # others: any
    least, most = (shares @ bounds).T
    attention = shape["attention"]
    total: Array = np.maximum(least - attention, 0) / SHAPE_SCALES["missing_attention"]
    total = total + np.maximum(attention - most, 0) / SHAPE_SCALES["excess_attention"]
    for name in RANGES[: -len(FAMILIES)]:
        low, high = ranges[name]
        beyond = np.maximum(np.maximum(low - shape[name], shape[name] - high), 0)
        total = total + beyond / SHAPE_SCALES[name]
    return total


def _saturating(log_size: Array) -> Array:
    out: Array = (1 - np.exp(-POWER * log_size)) / POWER
    return out


class Estimate:
    """The posterior of the coefficients, and what it says of networks.

    Attributes:
        mean: of `COEFFICIENTS` (k,).
        covariance: of them (k, k).
        ranges: published range of each of `RANGES`.
        noise_std: of the log error of one training of a member of the space.
        foreign_std: more of it, where only an operator graph is known.
        mixing_std: more of it where two families are mixed half and half; no such is published.
    """

    def __init__(
        self,
        mean: Array,
        covariance: Array,
        ranges: ShapeRanges,
        noise_std: float,
        foreign_std: float,
        mixing_std: float,
    ) -> None:
        self.mean, self.covariance, self.ranges = mean, covariance, ranges
        self.noise_std, self.foreign_std, self.mixing_std = noise_std, foreign_std, mixing_std
        self._root = _root(covariance[:-1, :-1])

    def log_error(self, totals: Array, distilled: bool = False) -> tuple[Array, Array]:
        """Return mean and standard deviation of the log of the top-1 error, (n,) each.

        Args:
            totals: of n members of the space, (n, len(TOTALS)).
            distilled: whether they are to be trained with distillation.
        """
        shares = family_shares(totals)
        design = self._design(totals, shares, distilled)
        mean = design @ self.mean[:-1]
        deviations = design @ self._root
        variance = np.einsum("ij,ij->i", deviations, deviations) + self.noise_std**2
        variance = variance + 2 * self.mixing_std**2 * (1 - (shares**2).sum(1))
        return mean, np.sqrt(variance)

    def contributions(self, totals: Array, distilled: bool = False) -> Array:
        """Return what each of `COEFFICIENTS` but the last adds to the log error, (n, k - 1)."""
        return self._design(totals, family_shares(totals), distilled) * self.mean[:-1]

    def foreign_log_error(self, totals: Array, distilled: bool = False) -> tuple[Array, Array]:
        """Return the same of networks of which only the graph is known.

        They are no members of the space, so its unpublished shapes say nothing of them.
        """
        weights = np.ones((len(totals), len(COEFFICIENTS)))
        weights[:, :-1] = self._design(totals, np.zeros((len(totals), len(_KINDS))), distilled)
        weights[:, _UNPUBLISHED] = 0
        variance = np.einsum("ij,jk,ik->i", weights, self.covariance, weights)
        return weights @ self.mean, np.sqrt(variance + self.noise_std**2 + self.foreign_std**2)

    def top1(self, totals: Array, distilled: bool = False) -> tuple[Array, Array]:
        """Return mean and standard deviation of top-1 in percent, (n,) each; see `top1_of`."""
        return top1_of(*self.log_error(totals, distilled))

    def _design(self, totals: Array, shares: Array, distilled: bool) -> Array:
        terms = columns(totals, self.ranges)
        compute, side = terms[:, _COMPUTE, None], terms[:, _RESOLUTION, None]
        recipe = np.full((len(totals), 1), float(distilled))
        return np.concatenate([terms, shares, shares * compute, shares * side, recipe], axis=1)


def top1_of(mean: Array, std: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation of top-1 in percent, of those of the log error.

    The log error is Gaussian, so the error is log-normal. Above 60% its mean bends towards chance,
    99.9%, which it never reaches, so that ever worse networks stay in order.
    """
    error = np.exp(mean + std**2 / 2)
    spread = error * np.sqrt(np.expm1(std**2))
    room = _CHANCE_ERROR - _BEND_ERROR
    left = room / (1 + np.maximum(error - _BEND_ERROR, 0) / room)  # to chance
    error = np.minimum(error, _CHANCE_ERROR - left)
    return 100 - error, spread * (left / room) ** 2


def _root(covariance: Array) -> Array:
    """Return a matrix whose product with its transpose is the covariance."""
    values, vectors = np.linalg.eigh(covariance)
    root: Array = vectors * np.sqrt(np.maximum(values, 0))
    return root

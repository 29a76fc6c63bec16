"""`Relaxation`: a linear function of a network's totals that its log error never falls below.

The estimate's log error is a line in terms of totals (`effsearch.accuracy.estimate`). Each term is
bounded on a box, which says between what some totals lie:

- what saturates is convex in its total where its slope is negative: a tangent;
- squares are no less than a tangent, or than nothing;
- a share S/N is c + sum(s - c n)/N, where each unit's part is no less than with N at one of the
  ends of its range; where that range is wide, the share is no less than the least it can be;
- what is never negative and small is left away.

Its uncertainty is no less than the noise of one training, of which a score's lower bound falls.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from effsearch.accuracy.estimate import COEFFICIENTS, POWER, SHAPE_SCALES, Estimate
from effsearch.accuracy.features import FAMILIES, TOTALS
from effsearch.accuracy.score import Z
from effsearch.latency.models.accelerator_features import FEATURES
from effsearch.latency.models.fitted import FittedTable

Array = NDArray[np.float64]
Box = Mapping[str, tuple[float, float]]  # least and most of some totals

SPILL = FEATURES.index("spill.mb")
BOXED = ("layers.gmacs", "gmacs", "blocks", "mparams", "mixers")
WIDE = 2.0  # ratio of a range's ends from which shares are bounded by their least value
_INDEX = {name: i for i, name in enumerate(TOTALS)}
_LAYERS = ("layers.gmacs", "layers.gmacs.log2_side", "layers.gmacs.log2_side_squared")
_SIGNS = {  # of slopes, on which the bounds rest
    **dict.fromkeys(("compute", "parameters", "activations", "attention", "head_share"), -1),
    **dict.fromkeys(("parameter_balance", "activation_balance", "depth_squared"), 1),
    **dict.fromkeys(("one_scale", "convolution_free", "narrow_features", "stem_share"), 1),
    **dict.fromkeys(("narrow_options", "wide_options", "unpublished_shape", "stride"), 1),
    "stride_squared": -1,
}
_BEND = 60.0  # percent of error, above which scores are bent


def score_bound(estimate: Estimate, log_error: float) -> float:
    """Return what a score's lower bound cannot exceed, in percent, from the least log error."""
    variance = estimate.noise_std**2
    error = math.exp(log_error + variance / 2) * (1 + Z * math.sqrt(math.expm1(variance)))
    return max(100 - error, 100 - _BEND)


def log_error_of(estimate: Estimate, score: float) -> float:
    """Return the log error at which `score_bound` is a score."""
    variance = estimate.noise_std**2
    return math.log((100 - score) / (1 + Z * math.sqrt(math.expm1(variance)))) - variance / 2


class Relaxation:
    """A line below the log error of networks at one resolution whose totals lie in a box.

    Attributes:
        constant: of the line.
        parts: what each unit adds, (n,).
        per_width: what is added over the classifier's input width.
    """

    def __init__(
        self, estimate: Estimate, resolution: int, units: Array, box: Box, near: Array
    ) -> None:
        """Bound the terms.

        Args:
            estimate: the model.
            resolution: input side in pixels.
            units: totals of all units, (n, len(TOTALS)).
            box: ranges of `BOXED`.
            near: totals (len(TOTALS),) at which tangents touch.
        """
        self._units, self._box = units, box
        self._near = dict(zip(TOTALS, near.tolist(), strict=True))
        self._w: dict[str, float] = dict(zip(COEFFICIENTS, estimate.mean.tolist(), strict=True))
        for name, sign in _SIGNS.items():
            if sign * self._w[name] < 0:
                raise ValueError(
                    f"the estimate's slope of {name} has another sign than the bound's"
                )
        self._ranges = estimate.ranges
        self._log2_side = math.log2(resolution)
        self._at_224 = 4 ** (math.log2(224) - self._log2_side)
        self._line = np.zeros(len(TOTALS))
        self.constant = 0.0
        self.parts = np.zeros(len(units))
        self.per_width = 256 * self._w["narrow_features"]
        self._sizes(self._families())
        self._layers()
        self._blocks()
        self._kernels()
        self._head()
        self._over("gmacs", {"stem.gmacs": self._w["stem_share"]}, 0, 0)
        self._add("widening.octaves", self._w["widening"])
        w = self._w
        self.constant -= w["depth"] ** 2 / (4 * w["depth_squared"])  # a parabola's least value
        self.parts = self.parts + units @ self._line

    def _add(self, name: str, slope: float) -> None:
        self._line[_INDEX[name]] += slope

    def _over(self, total: str, slopes: Mapping[str, float], constant: float, least: float) -> None:
        """Add a constant and the sum of slopes times totals over a total; or the least of these."""
        low, high = self._box[total]
        if high > WIDE * low:
            self.constant += least
            return
        line = np.zeros(len(TOTALS))
        for name, slope in slopes.items():
            line[_INDEX[name]] += slope
        value = self._units @ line
        self.constant += constant
        self.parts += np.where(value >= 0, value / high, value / low)

    def _families(self) -> float:
        """Bound the families' levels and slopes; return a slope of compute that all have."""
        w, kinds = self._w, (*FAMILIES, "other")
        slope = min(w[f"compute.{kind}"] for kind in kinds)
        compute = _saturating(self._box["layers.gmacs"][0] * self._at_224 / 0.6)
        side = math.sqrt(self._at_224) - 1
        level = {
            k: w[f"level.{k}"] + (w[f"compute.{k}"] - slope) * compute + w[f"resolution.{k}"] * side
            for k in kinds
        }
        least = min(level.values())
        self.constant += least + w["resolution"] * side
        for total in ("gmacs", "blocks"):
            more = {f"{kind}.{total}": (level[kind] - least) / 2 for kind in kinds}
            self._over(total, more, 0, 0)
        return slope

    def _sizes(self, more: float) -> None:
        w, near = self._w, self._near
        scale = {
            "gmacs": self._at_224 / 0.6,
            "mparams": 1 / 8,
            "mactivations": self._at_224 / 6,
        }
        at = {name: near[name] * factor for name, factor in scale.items()}
        compute, parameters, activations = (_saturating(value) for value in at.values())
        slopes = {
            "gmacs": w["compute"] + more,
            "mparams": w["parameters"],
            "mactivations": w["activations"],
        }
        for name, term, touch in (
            ("mparams", "parameter_balance", parameters - compute),
            ("mactivations", "activation_balance", activations - compute),
        ):
            touch = min(max(touch, -0.5), 1.5)  # so that all slopes stay negative
            slopes[name] += 2 * w[term] * touch
            slopes["gmacs"] -= 2 * w[term] * touch
            self.constant -= w[term] * touch**2
        for name, slope in slopes.items():
            if slope > 0:
                raise ValueError(
                    f"the estimate's slope of {name} is positive: no tangent bounds it"
                )
            value = at[name]
            steep = value ** (-POWER - 1)
            self.constant += slope * (_saturating(value) - steep * value)
            self._add(name, slope * steep * scale[name])

    def _layers(self) -> None:
        """Bound stride and scales, with what is charged outside of their published ranges."""
        w, near = self._w, self._near
        charge = w["unpublished_shape"]

        def stride(x: float) -> float:
            return w["stride"] * x + w["stride_squared"] * x**2

        low, high = self._ranges["stride"]
        chord = (stride(high) - stride(low)) / (high - low)
        steepest = w["stride"] - 8 * w["stride_squared"]  # as far as 4 from the middle
        if chord < 0 or charge / SHAPE_SCALES["stride"] < 2 * steepest:
            raise ValueError("no chord bounds the estimate's terms of the stride")
        total, first, second = (near[name] for name in _LAYERS)
        mean = first / total
        variance = max(second / total - mean**2, 1e-4)
        spread = math.sqrt(variance)
        scales = -math.log((spread / 1.2 + 0.3) / 1.3)
        steep = -1 / (spread / 1.2 + 0.3) / 1.2 / (2 * spread) * w["one_scale"]
        # Sides are at least the root of two tokens, and spread at most half of their range.
        widest = -math.log(((self._log2_side - 0.5) / 2 / 1.2 + 0.3) / 1.3)
        outside = max(self._ranges["one_scale"][0] - widest, 0) / SHAPE_SCALES["one_scale"]
        slopes = (
            steep * (mean**2 - variance) + chord * mean,
            -2 * mean * steep - chord,
            steep,
        )
        constant = stride(low) + chord * (self._log2_side - 4 - mean - low)
        self._over(
            _LAYERS[0],
            dict(zip(_LAYERS, slopes, strict=True)),
            constant + w["one_scale"] * scales,
            stride(low) + w["one_scale"] * widest + charge * outside,
        )

    def _blocks(self) -> None:
        w, near = self._w, self._near
        share = max(near["attention"] / near["blocks"], 0.02)
        steep = w["attention"] / (2 * math.sqrt(share))
        slopes = {
            "attention": steep,
            "blocks": -share * steep,
            "option.octaves_below": w["narrow_options"],
            "option.octaves_above": w["wide_options"],
        }
        self._over("blocks", slopes, w["attention"] * math.sqrt(share), w["attention"])

    def _kernels(self) -> None:
        slope, near = self._w["kernel"], self._near
        mean = near["mixers.log2_kernel"] / near["mixers"]
        slopes = {"mixers.log2_kernel": slope, "mixers": -slope * mean}
        # Larger kernels count as 7.
        least = min(slope * math.log2(7 / 3), -slope * math.log2(3))
        self._over("mixers", slopes, slope * (mean - math.log2(3)), least)

    def _head(self) -> None:
        """Bound the head's share of the parameters, and its stride outside of the published."""
        slope, near = -self._w["head_share"], self._near
        share = min(near["head.mparams"] / near["mparams"], 0.6)
        steep = slope / (1 - share)
        slopes = {"head.mparams": steep, "mparams": -share * steep}
        self._over("mparams", slopes, -slope * math.log(1 - share), 0)
        low, high = self._ranges["last_stride"]
        charge = self._w["unpublished_shape"] / SHAPE_SCALES["last_stride"]
        last = self._units[:, _INDEX["last.log2_side"]]
        stride = self._log2_side - last
        beyond = np.maximum(np.maximum(low - stride, stride - high), 0)
        self.parts += np.where(last > 0, charge * beyond, 0)


class LatencyPlane:
    """A plane below the quantile of a fitted table's latencies, which is convex in the totals.

    With u the costs, m their sum and s a norm of (1, u / m), the quantile is m exp(z s): the
    perspective of a convex function.

    Attributes:
        constant: of the plane.
        parts: what each unit adds, (n,).
    """

    def __init__(self, table: FittedTable, confidence: float, units: Array, near: Array) -> None:
        """Touch the quantile.

        Args:
            table: of the device.
            confidence: of the quantile, 0.5 or more.
            units: features of all units, (n, d).
            near: features (d,) where it touches.
        """
        z = NormalDist().inv_cdf(confidence)
        if z < 0:
            raise ValueError("a quantile below the median is not convex")
        price, shift = table.price, table.transferred_std
        costs = np.append(price[0], near[1:-1] * price[1:])
        median = float(costs.sum() + near[0])
        spread = table.covariance @ costs
        square = float(costs @ spread + (shift * near[-1]) ** 2)
        sigma = math.sqrt(table.residual_std**2 + square / median**2)
        grow = np.concatenate([[1.0], price[1:], [0.0]])
        widen = np.concatenate([[0.0], 2 * spread[1:] * price[1:], [2 * near[-1] * shift**2]])
        wider = (widen / median**2 - 2 * square * grow / median**3) / (2 * sigma)
        gradient = math.exp(z * sigma) * (grow + median * z * wider)
        if gradient[SPILL] < 0:
            raise ValueError("spills are left away in heads, but save time here")
        self.constant = median * math.exp(z * sigma) - float(gradient @ near)
        self.parts: Array = units @ gradient


def _saturating(value: float) -> float:
    return float((1 - value**-POWER) / POWER)

"""The hierarchical model of everything published, and the coefficients that the product keeps.

    log error = terms of the network + distilled + length of training + level of the recipe
              + block families + (size, resolution) x recipe + noise

Every coefficient has a Gaussian prior, so the posterior is Gaussian. A recipe's level is shared by
the rows of a paper or a codebase; how much recipes of one kind differ, how much block families do,
how much a recipe changes what size and resolution are worth, and the noise of each kind of row are
chosen by marginal likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from effsearch.accuracy.estimate import (
    COEFFICIENTS,
    DISTILLED,
    FOREIGN,
    TERMS,
    Estimate,
    columns,
    shapes,
)
from effsearch.accuracy.features import FAMILIES, TOTALS, Array, family_shares
from results.accuracy.published_evidence import MODERN, Row

Rows = NDArray[np.intp]
_SIDE = TOTALS.index("stem.log2_side")
EPOCHS = "epochs"
_LEGACY_STD = 0.3  # of the level of recipes that are unlike: only differences inside them count
# Two families mixed half and half: no such network is published, so half of what two families'
# own blocks are known to differ by may be won or lost.
MIXING_STD = 0.02
RECIPES = {
    "SHViT": "shvit_paper_300e",
    "EfficientMod": "efficientmod_paper_300e",
    "SwiftFormer": "swiftformer_paper_300e",
    "EfficientViT": "efficientvit_mit_b",
}
_TIMM = {"compute": "gmacs", "parameters": "mparams", "activations": "mactivations"}
# Prior means and standard deviations of slopes beside those of sizes, which are timm's. Where the
# mean is not 0, something published outside of the table says so; one-sided and squared terms
# expect harm, since what they measure has no published gain.
PRIORS: Mapping[str, tuple[float, float, str]] = {
    "parameter_balance": (0.01, 0.01, "harm expected where one size outgrows another"),
    "activation_balance": (0.01, 0.01, "the same"),
    "resolution": (0.22, 0.10, "MobileNetV2 and EfficientNet papers"),
    "depth": (0.0, 0.10, "none"),
    "depth_squared": (0.05, 0.05, "harm expected at extremes"),
    "stride": (0.0, 0.05, "none"),
    "stride_squared": (0.02, 0.02, "harm expected at extremes"),
    "one_scale": (0.10, 0.10, "pyramids beat isotropic networks at equal cost"),
    "attention": (-0.03, 0.05, "hybrids beat pure convolution a little"),
    "convolution_free": (0.05, 0.06, "attention alone wants more data than ImageNet has"),
    "kernel": (-0.025, 0.012, "MnasNet (arXiv 1807.11626), table 6"),
    "narrow_features": (0.04, 0.04, "1000 classes need features"),
    "head_share": (0.0, 0.05, "none"),
    "stem_share": (0.0, 0.20, "none"),
    "widening": (0.03, 0.03, "no evidence; harm expected outside of what is published"),
    "narrow_options": (0.05, 0.04, "no evidence; harm expected below what is published"),
    "wide_options": (0.02, 0.02, "SHViT (arXiv 2401.16456), figure 6: none gained"),
    "unpublished_shape": (0.035, 0.025, "no evidence; harm expected outside of what is published"),
    DISTILLED: (-0.05, 0.02, "DeiT's pairs in timm's table"),
    EPOCHS: (-0.02, 0.02, "none"),
}


@dataclass(frozen=True)
class Scales:
    """What the marginal likelihood chooses; standard deviations of log error.

    Attributes:
        recipe_std: of a modern recipe's level.
        block_std: of a block family's effect.
        size_std: by how much a recipe changes the slope of compute.
        resolution_std: by how much it changes that of resolution.
        exact_std: noise of a row whose network is a member of the space.
        near_std: of one built nearly, or from its layout.
        graph_std: of one known by its operator graph.
        sizes_std: of one known by its sizes alone.
    """

    recipe_std: float = 0.05
    block_std: float = 0.03
    size_std: float = 0.03
    resolution_std: float = 0.05
    exact_std: float = 0.018
    near_std: float = 0.022
    graph_std: float = 0.025
    sizes_std: float = 0.03

    def array(self) -> Array:
        """Return the values in order."""
        return np.array(list(self.__dict__.values()))


_CENTRE = Scales().array()
# Seeds alone move top-1 by 0.2 points, and four families cannot say that families don't matter.
_FLOOR = np.array([0.02, 0.02, 0.01, 0.01, 0.015, 0.015, 0.015, 0.02])


class Evidence:
    """All rows as a design matrix, with priors of its columns.

    Attributes:
        rows: the published trainings.
        log_error: of each (n,).
        ranges: of the shapes that are published, for what lies outside of them.
        terms: names of the network's terms.
        names: of all columns.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        terms: Mapping[str, Array],
        priors: Mapping[str, tuple[float, float]],
        ranges: Mapping[str, Sequence[float]],
    ) -> None:
        self.rows, self.ranges, self.terms = tuple(rows), ranges, tuple(terms)
        self.log_error = np.log(100 - np.array([row.top1 for row in rows]))
        self.via = np.array([row.via for row in rows])
        self.recipe = np.array([row.recipe for row in rows])
        self.recipes = sorted(set(self.recipe))
        self.priors = dict(priors)
        member = np.array([[row.recipe == name for name in self.recipes] for row in rows], float)
        size = next(iter(terms.values()))
        side = np.array([224 / 2 ** row.totals[_SIDE] - 1 for row in rows])
        self.design = np.concatenate(
            [
                np.ones((len(rows), 1)),
                np.column_stack(list(terms.values())),
                np.array([[row.distilled, math.log(row.epochs / 300)] for row in rows]),
                np.array([_families(row) for row in rows]),
                member,
                member * size[:, None],
                member * side[:, None],
            ],
            axis=1,
        )
        self.names = (
            "intercept",
            *self.terms,
            DISTILLED,
            EPOCHS,
            *(f"block.{family}" for family in (*FAMILIES, "other")),
            *(f"recipe.{name}" for name in self.recipes),
            *(f"size.{name}" for name in self.recipes),
            *(f"resolution.{name}" for name in self.recipes),
        )

    @classmethod
    def of_terms(cls, rows: Sequence[Row], slopes: Mapping[str, Mapping[str, float]]) -> Evidence:
        """Return the evidence in the product's terms.

        Args:
            rows: the published trainings.
            slopes: of sizes, from timm's table (`timm_priors.slopes`).
        """
        totals = np.array([row.totals for row in rows])
        ranges = _ranges(np.array([row.totals for row in rows if row.via == "exact"]))
        terms = _imputed(columns(totals, ranges), rows)
        terms[:, list(TERMS).index("unpublished_shape")] = 0  # it is of members, which lie within
        priors = {name: (mean, std) for name, (mean, std, _) in PRIORS.items()}
        for name, column in _TIMM.items():
            priors[name] = slopes[column]["mean"], slopes[column]["std"]
        return cls(rows, dict(zip(TERMS, terms.T, strict=True)), priors, ranges)

    @classmethod
    def of_count(cls, rows: Sequence[Row], count: str) -> Evidence:
        """Return the same rows with the log of one of `TOTALS` for all terms: a baseline."""
        values = np.log(np.array([row.totals[TOTALS.index(count)] for row in rows]))
        priors = {name: PRIORS[name][:2] for name in (DISTILLED, EPOCHS)} | {count: (0.0, 0.3)}
        return cls(rows, {count: values}, priors, {})

    def prior(self, scales: Scales) -> tuple[Array, Array]:
        """Return prior means and standard deviations of the columns."""
        known = np.array([self.priors[name] for name in (*self.terms, DISTILLED, EPOCHS)])
        mean, std = np.zeros(len(self.names)), np.zeros(len(self.names))
        mean[0], std[0] = 3.0, 0.5
        mean[1 : 1 + len(known)], std[1 : 1 + len(known)] = known.T
        scaled = self.scale_of_column >= 0
        std[scaled] = scales.array()[self.scale_of_column[scaled]]
        std[[name in self._unlike for name in self.names]] = _LEGACY_STD
        return mean, std

    @cached_property
    def scale_of_column(self) -> Rows:
        """Which of `Scales` is a column's prior standard deviation; -1 for none (k,)."""
        prefixes = ("recipe.", "block.", "size.", "resolution.")
        return np.array(
            [
                next((i for i, prefix in enumerate(prefixes) if name.startswith(prefix)), -1)
                if name not in self._unlike
                else -1
                for name in self.names
            ]
        )

    @cached_property
    def scale_of_row(self) -> Rows:
        """Which of `Scales` is a row's noise (n,)."""
        order = {"exact": 4, "nearest": 5, "layers": 5, "graph": 6, "sizes": 7}
        return np.array([order[via] for via in self.via])

    @cached_property
    def _unlike(self) -> set[str]:
        return {f"recipe.{name}" for name in self.recipes if name not in MODERN}

    def noise(self, scales: Scales) -> Array:
        """Return the standard deviation of each row's noise (n,)."""
        noise: Array = scales.array()[self.scale_of_row]
        return noise


class Posterior:
    """The model given some of the rows."""

    def __init__(self, evidence: Evidence, rows: Rows, scales: Scales) -> None:
        self.evidence, self.kept, self.scales = evidence, rows, scales
        self.prior_mean, self._prior_std = evidence.prior(scales)
        design = evidence.design[rows]
        covariance = (design * self._prior_std**2) @ design.T
        covariance += np.diag(evidence.noise(scales)[rows] ** 2)
        self._factor = cho_factor(covariance, lower=True)
        self._residual = evidence.log_error[rows] - design @ self.prior_mean
        self._weights = cho_solve(self._factor, self._residual)

    @property
    def log_evidence(self) -> float:
        """Log marginal likelihood of the rows, up to a constant."""
        fit = -0.5 * float(self._residual @ self._weights)
        return fit - float(np.log(np.diag(self._factor[0])).sum())

    def slope(self) -> Array:
        """Return the gradient of `log_evidence` by the log of each of the scales (8,).

        Half the trace of (w w' - K^-1) dK, of each scale's part of the covariance K (Rasmussen and
        Williams, 2006, equation 5.9).
        """
        evidence = self.evidence
        design = evidence.design[self.kept]
        along = (design.T @ self._weights) ** 2 - np.einsum("ij,ij->j", design, self.inverse @ design)
        across = self._weights**2 - np.diag(self.inverse)
        squares = self.scales.array() ** 2
        rows = evidence.scale_of_row[self.kept]
        parts = [along[evidence.scale_of_column == i].sum() for i in range(4)]
        parts += [across[rows == i].sum() for i in range(4, len(squares))]
        gradient: Array = squares * np.array(parts)
        return gradient

    @cached_property
    def mean(self) -> Array:
        """Means of the columns' coefficients."""
        gain = self._prior_std[:, None] ** 2 * self.evidence.design[self.kept].T
        mean: Array = self.prior_mean + gain @ self._weights
        return mean

    @cached_property
    def covariance(self) -> Array:
        """Covariance of them."""
        gain = self._prior_std[:, None] ** 2 * self.evidence.design[self.kept].T
        covariance: Array = np.diag(self._prior_std**2) - gain @ cho_solve(self._factor, gain.T)
        return covariance

    @cached_property
    def inverse(self) -> Array:
        """Inverse of the rows' prior covariance, for leaving out in closed form."""
        inverse: Array = cho_solve(self._factor, np.eye(len(self.kept)))
        return inverse

    def without(self, some: Rows) -> Array:
        """Return log errors of some of the kept rows, as expected from the others.

        Args:
            some: positions among the kept rows.
        """
        inner = self.inverse[np.ix_(some, some)]
        misses = np.linalg.solve(inner, self._weights[some])
        expected: Array = self.evidence.log_error[self.kept[some]] - misses
        return expected

    def expect(self, row: int) -> tuple[float, float]:
        """Return mean and standard deviation of the log error of a row that was not kept."""
        design = self.evidence.design[row]
        noise = float(self.evidence.noise(self.scales)[row])
        variance = float(design @ self.covariance @ design) + noise**2
        return float(design @ self.mean), math.sqrt(variance)

    def product(self) -> Estimate:
        """Return what the product keeps: terms, distillation, and a level for each family.

        A family's level is that of its recipe and its blocks. A block of another family has their
        mean, and is as uncertain as a new recipe and a new family are; a foreign network has the
        level that networks of other papers have.
        """
        at = {name: i for i, name in enumerate(self.evidence.names)}
        weights = np.zeros((len(COEFFICIENTS), len(at)))
        row = {name: weights[i] for i, name in enumerate(COEFFICIENTS)}
        for name in (*TERMS, DISTILLED):
            row[name][at[name]] = 1
        for family, recipe in RECIPES.items():
            parts = {
                "level": ("intercept", f"block.{family}", f"recipe.{recipe}"),
                "compute": (f"size.{recipe}",),
                "resolution": (f"resolution.{recipe}",),
            }
            for what, names in parts.items():
                for name in names:
                    if name in at:  # not where the family is left out
                        row[f"{what}.{family}"][at[name]] = 1
        for what in ("level", "compute", "resolution"):
            row[f"{what}.other"][:] = np.mean([row[f"{what}.{f}"] for f in FAMILIES], axis=0)
        row[FOREIGN][[at["intercept"], at["block.other"]]] = 1
        covariance = weights @ self.covariance @ weights.T
        s = self.scales
        new = {
            "level.other": s.recipe_std**2 + s.block_std**2,
            "compute.other": s.size_std**2,
            "resolution.other": s.resolution_std**2,
            FOREIGN: s.recipe_std**2,
        }
        for name, variance in new.items():
            i = COEFFICIENTS.index(name)
            covariance[i, i] += variance
        foreign = math.sqrt(max(s.graph_std**2 - s.exact_std**2, 0.0))
        return Estimate(
            weights @ self.mean, covariance, self.evidence.ranges, s.exact_std, foreign, MIXING_STD
        )


def choose(evidence: Evidence, rows: Rows) -> Scales:
    """Return the scales of the greatest marginal likelihood on some of the rows.

    Each has a log-normal prior of a factor of two about `Scales()`.
    """
    start, width = np.log(_CENTRE), math.log(2)

    def loss(theta: Array) -> tuple[float, Array]:
        posterior = Posterior(evidence, rows, Scales(*np.exp(theta).tolist()))
        away = (theta - start) / width
        return 0.5 * float(away @ away) - posterior.log_evidence, away / width - posterior.slope()

    bounds = [(low, 0.0) for low in np.log(_FLOOR)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return Scales(*np.exp(found.x).round(4).tolist())


def _families(row: Row) -> Array:
    """Return the shares of block families of a row (len(FAMILIES) + 1,)."""
    if row.via in ("exact", "nearest"):
        shares: Array = family_shares(row.totals[None])[0]
        return shares
    unit = np.zeros(len(FAMILIES) + 1)
    unit[FAMILIES.index("EfficientViT") if row.via == "layers" else -1] = 1  # MBConv is its block
    return unit


def _imputed(terms: Array, rows: Sequence[Row]) -> Array:
    """Fill what a row's sizes don't say with what is usual for modern networks of its sizes."""
    names = list(TERMS)
    known = [i for i, row in enumerate(rows) if row.via != "sizes" and row.recipe in MODERN]
    sizes = [names.index("compute"), names.index("parameters")]
    basis = np.column_stack([np.ones(len(terms)), terms[:, sizes]])
    out = terms.copy()
    for j, name in enumerate(names):
        missing = np.isnan(terms[:, j])
        if name in ("activations", "depth"):
            line = np.linalg.lstsq(basis[known], terms[known, j], rcond=None)[0]
            out[missing, j] = basis[missing] @ line
        else:
            out[missing, j] = terms[known, j].mean()
    return out


def _ranges(totals: Array) -> dict[str, list[float]]:
    """Return the range of each shape over published members of the space."""
    found = shapes(totals)
    attention = found.pop("attention")
    ranges = {name: (values.min(), values.max()) for name, values in found.items()}
    shares = family_shares(totals)
    for i, family in enumerate(FAMILIES):
        of_family = attention[shares[:, i] > 0.5]
        ranges[f"attention.{family}"] = of_family.min(), of_family.max()
    return {name: [round(float(v), 4) for v in pair] for name, pair in ranges.items()}

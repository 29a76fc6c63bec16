"""Augmentation of whole batches as tensor operations, on any device.

Nothing here waits for the device or branches on its values, so that a training step with its
augmentation can be captured in a CUDA graph and replayed. Every image draws its own values. Kornia
does not serve here: it picks the images to change on the host and draws from torch's global state.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from effsearch.training.recipe import Recipe
from searchspace.resolution import Resolution, height_width

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
_QUANTILES = 1024


class Augmenter:
    """Turns uint8 images and labels into a training batch of one recipe.

    Random resized crop, flip, rotation, shear and translation are one affine `grid_sample`;
    colour changes come first, at the source size, where they are cheap.

    Args:
        recipe: strengths and probabilities.
        num_classes: width of the soft labels.
        device: where batches live.
        generator: source of randomness on that device; None takes the device's default one.
    """

    def __init__(
        self,
        recipe: Recipe,
        num_classes: int,
        device: torch.device,
        generator: torch.Generator | None = None,
    ) -> None:
        self._recipe = recipe
        self._num_classes = num_classes
        self._device = device
        self.generator = generator
        self._mean = torch.tensor(MEAN, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(STD, device=device).view(1, 3, 1, 1)
        self._luma = torch.tensor((0.299, 0.587, 0.114), device=device).view(1, 3, 1, 1)
        self._mixup = _beta_quantiles(recipe.mixup_alpha).to(device)
        self._cutmix = _beta_quantiles(recipe.cutmix_alpha).to(device)
        self._blur = torch.full((3, 1, 3, 3), 1 / 13, device=device)
        self._blur[:, :, 1, 1] = 5 / 13

    def __call__(self, images: Tensor, labels: Tensor, side: Resolution) -> tuple[Tensor, Tensor]:
        """Augment a batch.

        Args:
            images: uint8, (N, 3, S, S).
            labels: int64, (N,).
            side: of the output in px, or its height and width.

        Returns:
            Normalised float32 images (N, 3, H, W) and soft labels (N, classes).
        """
        recipe = self._recipe
        x = images.float() / 255
        if recipe.randaugment_ops > 0 and recipe.randaugment_magnitude > 0:
            x = self._randaugment(x)
        if recipe.colour_jitter > 0:
            x = self._jitter(x)
        x = (x - self._mean) / self._std
        x = self._crop(x, side)
        targets = smooth_labels(labels, self._num_classes, recipe.label_smoothing)
        if recipe.mix_probability > 0 and (recipe.mixup_alpha > 0 or recipe.cutmix_alpha > 0):
            x, targets = self._mix(x, targets)
        if recipe.erasing_probability > 0:
            x = self._erase(x)
        return x, targets

    def _uniform(self, n: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        values = torch.rand(n, device=self._device, generator=self.generator)
        return values.mul_(high - low).add_(low)

    def _crop(self, x: Tensor, side: Resolution) -> Tensor:
        recipe, n = self._recipe, x.shape[0]
        area = self._uniform(n, recipe.crop_scale_min, recipe.crop_scale_max)
        log_ratio = math.log(recipe.crop_ratio_max)
        ratio = self._uniform(n, -log_ratio, log_ratio).exp()
        width = (area * ratio).sqrt().clamp(max=1.0)
        height = (area / ratio).sqrt().clamp(max=1.0)
        centre_x = (1 - width) * self._uniform(n, -1.0, 1.0)
        centre_y = (1 - height) * self._uniform(n, -1.0, 1.0)
        a, b, c, d = width, torch.zeros_like(width), torch.zeros_like(width), height
        if recipe.randaugment_ops > 0 and recipe.randaugment_magnitude > 0:
            # Rotation by up to 30 degrees, shear by up to 0.3, translation by up to 0.2 at
            # magnitude 10, each with the probability of one operation among RandAugment's.
            strength = recipe.randaugment_magnitude / 10
            angle = self._sometimes(n, math.pi / 6 * strength)
            shear_x = self._sometimes(n, 0.3 * strength)
            shear_y = self._sometimes(n, 0.3 * strength)
            cos, sin = angle.cos(), angle.sin()
            a, b = width * (cos + shear_x * sin), height * (shear_x * cos - sin)
            c, d = width * (sin + shear_y * cos), height * (cos - shear_y * sin)
            centre_x = centre_x + self._sometimes(n, 0.4 * strength)
            centre_y = centre_y + self._sometimes(n, 0.4 * strength)
        if recipe.flip:
            mirror = (self._uniform(n) < 0.5).float() * 2 - 1
            a, c = a * mirror, c * mirror
        tall, wide = height_width(side)
        across, down = self._steps(wide).view(1, 1, wide), self._steps(tall).view(1, tall, 1)
        a, b, c, d, centre_x, centre_y = (t.view(n, 1, 1) for t in (a, b, c, d, centre_x, centre_y))
        grid = torch.stack(
            (a * across + b * down + centre_x, c * across + d * down + centre_y), dim=-1
        )
        return F.grid_sample(
            x, grid, mode="bilinear", padding_mode="reflection", align_corners=False
        )

    def _steps(self, count: int) -> Tensor:
        """Return the centres of a row of pixels, in [-1, 1]."""
        return (torch.arange(count, device=self._device, dtype=torch.float32) + 0.5) * 2 / count - 1

    def _sometimes(self, n: int, limit: float) -> Tensor:
        """Draw values in [-limit, limit] for the images that an operation applies to, else 0."""
        return self._uniform(n, -limit, limit) * self._chosen(n)

    def _chosen(self, n: int) -> Tensor:
        # Twelve operations: seven of colour and focus, five geometric ones.
        return (self._uniform(n) < self._recipe.randaugment_ops / 12).float()

    def _jitter(self, x: Tensor) -> Tensor:
        strength, n = self._recipe.colour_jitter, x.shape[0]
        low, high = 1 - strength, 1 + strength
        brightness, contrast, saturation = (
            self._uniform(n, low, high).view(n, 1, 1, 1) for _ in range(3)
        )
        x = x * brightness
        grey = (x * self._luma).sum(1, keepdim=True)
        x = grey + (x - grey) * saturation
        level = grey.mean((2, 3), keepdim=True)
        return (level + (x - level) * contrast).clamp_(0, 1)

    def _randaugment(self, x: Tensor) -> Tensor:
        """Apply the colour operations of RandAugment (Cubuk et al., 2020), each at random."""
        n, strength = x.shape[0], self._recipe.randaugment_magnitude / 10

        def pick() -> Tensor:
            return self._chosen(n).view(n, 1, 1, 1)

        def enhance(base: Tensor) -> None:
            nonlocal x
            factor = (self._uniform(n, -0.9, 0.9) * strength).view(n, 1, 1, 1) * pick()
            x = (x + (x - base) * factor).clamp_(0, 1)

        enhance(torch.zeros_like(x))
        enhance((x * self._luma).sum(1, keepdim=True))
        enhance(x.mean((1, 2, 3), keepdim=True))
        enhance(F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), self._blur, groups=3))
        low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        stretched = (x - low) / (high - low).clamp(min=1 / 255)
        x = torch.lerp(x, stretched, pick())
        threshold = 1 - strength * self._uniform(n).view(n, 1, 1, 1)
        x = torch.lerp(x, torch.where(x >= threshold, 1 - x, x), pick())
        levels = torch.exp2(8 - (4 * strength * self._uniform(n)).round()).view(n, 1, 1, 1)
        posterized = (x * (levels - 1)).round() / (levels - 1)
        return torch.lerp(x, posterized, pick())

    def _mix(self, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mix each image with the one at the mirrored place of the batch."""
        recipe, (n, _, height, width) = self._recipe, x.shape
        mixed = self._uniform(n) < recipe.mix_probability
        if recipe.mixup_alpha > 0 and recipe.cutmix_alpha > 0:
            use_cutmix = self._uniform(n) < 0.5
        else:
            use_cutmix = torch.full((n,), recipe.cutmix_alpha > 0, device=self._device)
        draw = (self._uniform(n) * _QUANTILES).long().clamp_(max=_QUANTILES - 1)
        blend = torch.where(mixed & ~use_cutmix, self._mixup[draw], 1.0).view(n, 1, 1, 1)
        cut = (1 - self._cutmix[draw]) * (mixed & use_cutmix)
        box = self._boxes(cut.sqrt(), cut.sqrt(), height, width)
        keep = torch.where(box, 0.0, 1.0)
        weight = keep * blend
        share = (blend.view(n) * keep.mean((1, 2, 3))).view(n, 1)
        x = x * weight + x.flip(0) * (1 - weight)
        return x, targets * share + targets.flip(0) * (1 - share)

    def _erase(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        chosen = (self._uniform(n) < self._recipe.erasing_probability).float()
        area = self._uniform(n, 0.02, 1 / 3)
        ratio = self._uniform(n, -math.log(3.3), math.log(3.3)).exp()
        tall = (area * ratio).sqrt().clamp(max=1.0) * chosen
        wide = (area / ratio).sqrt().clamp(max=1.0) * chosen
        return x.masked_fill(self._boxes(tall, wide, height, width), 0.0)

    def _boxes(self, tall: Tensor, wide: Tensor, height: int, width: int) -> Tensor:
        """Return a mask (N, 1, H, W), true in a random box of the given relative sizes."""
        n = tall.shape[0]
        rows = (torch.arange(height, device=self._device) + 0.5) / height
        columns = (torch.arange(width, device=self._device) + 0.5) / width
        centre_y, centre_x = self._uniform(n).view(n, 1), self._uniform(n).view(n, 1)
        inside_y = (rows - centre_y).abs() < tall.view(n, 1) / 2
        inside_x = (columns - centre_x).abs() < wide.view(n, 1) / 2
        return inside_y.view(n, 1, height, 1) & inside_x.view(n, 1, 1, width)


def smooth_labels(labels: Tensor, num_classes: int, smoothing: float) -> Tensor:
    """Return soft labels (N, classes) that keep `smoothing` of the mass spread evenly."""
    off = smoothing / num_classes
    targets = torch.full((labels.shape[0], num_classes), off, device=labels.device)
    return targets.scatter_(1, labels.view(-1, 1), 1 - smoothing + off)


def prepare(images: Tensor, side: Resolution) -> Tensor:
    """Prepare images for evaluation: seven eighths in the centre where there is room, resized.

    Args:
        images: uint8, (N, 3, S, S).
        side: of the output in px, or its height and width.

    Returns:
        Normalised float32, (N, 3, H, W).
    """
    size, source = height_width(side), images.shape[2:]
    mean = torch.tensor(MEAN, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=images.device).view(1, 3, 1, 1)
    kept = tuple(
        has if has <= wanted else max(wanted, round(has * 7 / 8))
        for has, wanted in zip(source, size, strict=True)
    )
    top, left = ((has - keep) // 2 for has, keep in zip(source, kept, strict=True))
    images = images[:, :, top : top + kept[0], left : left + kept[1]]
    x = (images.float() / 255 - mean) / std
    if kept != size:
        x = F.interpolate(
            x,
            size=size,
            mode="bilinear",
            align_corners=False,
            antialias=kept != tuple(map(min, kept, size)),
        )
    return x


def _beta_quantiles(alpha: float) -> Tensor:
    """Return quantiles of Beta(alpha, alpha): a uniform index then draws from it in a graph."""
    if alpha <= 0:
        return torch.ones(_QUANTILES)
    # With x = sin^2(t), the density in t is (sin t cos t)^(2 alpha - 1), tamer at the ends.
    edges = np.linspace(0, np.pi / 2, 1 << 16)
    middle = (edges[1:] + edges[:-1]) / 2
    mass = np.cumsum((np.sin(middle) * np.cos(middle)) ** (2 * alpha - 1))
    at = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    return torch.from_numpy(np.sin(np.interp(at, mass / mass[-1], middle)) ** 2).float()

"""`Task`: what training, refining and cards need to know of what a network is for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from effsearch.training.data.augment import Augmenter
from effsearch.training.recipe import Recipe
from searchspace import Architecture
from searchspace.errors import UserError
from searchspace.resolution import Resolution

Batches = Iterable[tuple[Tensor, Tensor]]
Loss = Callable[[Tensor, Tensor], Tensor]


class Reader(Protocol):
    """Images with their targets, as files."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the network's outputs."""

    def __len__(self) -> int: ...

    def digest(self) -> str:
        """Return text for a file name, another one whenever place or files have changed."""


class Source(Protocol):
    """Decoded images with their targets, in any order."""

    def __len__(self) -> int: ...

    def batches(self, order: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield uint8 images (B, 3, S, S) and targets (B, ...) in an order of their indices."""


@dataclass(frozen=True)
class Split:
    """A data set's images for training, or those for validation.

    Attributes:
        reader: the images.
        source: gives their pixels, for a side that they are decoded to (px, or height and width),
            a device that batches go to, decoding processes where they are streamed, and whether
            all is kept on the device (None decides by its size); raises `UserError` where files
            cannot be used.
    """

    reader: Reader
    source: Callable[[Resolution, torch.device, int, bool | None], Source]


class Task(ABC):
    """What networks with heads of one kind are trained for.

    Attributes:
        name: as heads have it (`Architecture.task`).
        key: the metric's name in files, and the first of an evaluation's figures.
        metric: its name in sentences; it is in %, and more is better.
        benchmark: the data set that published figures are of.
        data_form: what its images have to look like, in words.
        recipe: name of the recipe that is taken where none is named.
        refine_recipes: likewise by `--refine`, on a CPU and on a GPU.
        evaluation_batch: images at a time in evaluation.
        distils: whether a network can learn from a teacher's outputs.
    """

    name: ClassVar[str]
    key: ClassVar[str]
    metric: ClassVar[str]
    benchmark: ClassVar[str]
    data_form: ClassVar[str]
    recipe: ClassVar[str]
    refine_recipes: ClassVar[tuple[str, str]]
    evaluation_batch: ClassVar[int]
    distils: ClassVar[bool]

    @abstractmethod
    def open(self, data: Path) -> tuple[Split, Split]:
        """Return the images to train on and those to validate on.

        Raises:
            UserError: they are missing or cannot be used; one line says why.
        """

    @abstractmethod
    def check_recipe(self, recipe: Recipe) -> None:
        """Check that a recipe suits the task.

        Raises:
            UserError: it asks for what the task does not do.
        """

    @abstractmethod
    def fitted(self, architecture: Architecture, recipe: Recipe, classes: int) -> Architecture:
        """Return the network that is trained on data of so many classes.

        Raises:
            UserError: the recipe does not suit the task or the network.
        """

    @abstractmethod
    def augmenter(
        self,
        recipe: Recipe,
        classes: int,
        device: torch.device,
        generator: torch.Generator | None,
    ) -> Augmenter:
        """Return what makes training batches of a source's."""

    @abstractmethod
    def loss(self, recipe: Recipe) -> Loss:
        """Return the loss of logits and an augmented batch's targets, a scalar in float32."""

    @abstractmethod
    def evaluate(
        self, network: nn.Module, batches: Batches, recipe: Recipe, device: torch.device
    ) -> dict[str, float]:
        """Return figures on a source's batches: the metric in % first, and `val_loss`.

        The metric's standard error stands as `KEY_std` where it does not follow from metric and
        number of images alone.
        """

    def check(self, label: str, architecture: Architecture) -> None:
        """Check that a network is for this task.

        Args:
            label: what the network is called.
            architecture: the network.

        Raises:
            UserError: it is for another one.
        """
        if architecture.task != self.name:
            raise UserError(
                f"{label}: a {architecture.task} network, and --task {self.name} takes one whose "
                f"head is for {self.name}; {self.other(architecture.task)}"
            )

    def other(self, task: str) -> str:
        """Return what to do with a network that is for another task."""
        return f"add --task {task}"

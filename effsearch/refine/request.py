"""`RefineRequest`: how many to train, on what and how; validated, and kept in the run folder."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, Field

from effsearch import validation
from effsearch.files import atomic_write_text
from effsearch.json_text import parse_json
from effsearch.training.recipe import Recipe
from effsearch.training.tasks.registry import task_named
from searchspace.errors import UserError
from searchspace.resolution import Resolution
from searchspace.schema import CLASSIFICATION

FILE = "refine.json"
FORMAT = 1


@dataclass(frozen=True)
class ImageData:
    """The images that networks are trained and compared on.

    Attributes:
        path: folder or zip archive, absolute.
        classes: how many.
        train_images: how many.
        val_images: how many.
        imagenet: whether the classes are named like the 1000 of ImageNet-1k.
        digest: of the files' names and sizes, so that a resumed run notices a change.
        task: what networks are trained for.
    """

    path: str
    classes: int
    train_images: int
    val_images: int
    imagenet: bool
    digest: str
    task: str = CLASSIFICATION

    @property
    def name(self) -> str:
        """What the data set is called in tables."""
        return Path(self.path).stem

    @classmethod
    def check(cls, path: Path, side: Resolution, task: str = CLASSIFICATION) -> ImageData:
        """Look at images, and decode them where they fit into memory.

        Args:
            path: folder or zip archive, as the task takes it.
            side: that images are decoded to, in px.
            task: what networks are trained for.

        Raises:
            UserError: the images are missing or cannot be used.
        """
        splits = task_named(task).open(path.resolve())
        counts = [len(each.source(side, torch.device("cpu"), 0, None)) for each in splits]
        names = splits[0].reader.classes
        return cls(
            path=str(path.resolve()),
            classes=len(names),
            train_images=counts[0],
            val_images=counts[1],
            imagenet=len(names) == 1000 and all(re.fullmatch(r"n\d{8}", name) for name in names),
            digest="-".join(each.reader.digest() for each in splits),
            task=task,
        )


@dataclass(frozen=True)
class RefineRequest:
    """One refinement; with one training at a time the same request gives the same ranking.

    Attributes:
        count: how many of the best candidates to train; the baseline comes on top.
        data: the images.
        recipe: how each is trained, by its last epoch at most.
        concurrent: trainings at a time; None for what the machine carries.
    """

    count: int
    data: ImageData
    recipe: Recipe
    concurrent: int | None = None

    def write(self, folder: Path) -> None:
        """Write it to a run folder."""
        body = {
            "format": FORMAT,
            "count": self.count,
            "concurrent": self.concurrent,
            "data": vars(self.data),
            "recipe": self.recipe.to_dict(),
        }
        atomic_write_text(folder / FILE, json.dumps(body, indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> RefineRequest | None:
        """Return the refinement of a run folder, or None where it has none.

        Raises:
            UserError: its file is damaged.
        """
        path = folder / FILE
        if not path.exists():
            return None
        try:
            body = parse_json(path.read_text("utf-8"))
        except (OSError, ValueError):
            body = None
        if not isinstance(body, dict) or body.get("format") != FORMAT:
            raise UserError(f"{path}: not a refinement of this version of effsearch")
        return cls(**dict(validation.read(_File, body, path)))


class _File(BaseModel):
    """What a refinement's file holds."""

    count: Annotated[int, Field(ge=1)]
    data: ImageData
    recipe: Recipe
    concurrent: Annotated[int, Field(ge=1)] | None


def describe(data: ImageData) -> dict[str, Any]:
    """Return the data set's part of the summary."""
    text = f"{data.name}: {data.classes} classes, {data.train_images} training images"
    task = task_named(data.task)
    note = (
        f"top-1 is on {data.name} ({data.classes} classes); its classes are named like "
        "ImageNet-1k's, but recipe and epochs are this run's, not a paper's"
        if data.imagenet
        else f"{data.name} ({data.classes} classes) is not {task.benchmark}: {task.metric} is on "
        f"that data set, and no {task.benchmark} accuracy"
    )
    return {**vars(data), "name": data.name, "text": text, "note": note}

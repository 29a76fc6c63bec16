"""`RefineOptions`: what the command line says of refining, checked before anything is searched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from effsearch.refine.request import ImageData, RefineRequest
from effsearch.training import recipe as recipes
from effsearch.training.recipe import Recipe
from effsearch.training.tasks.registry import TASKS
from searchspace.errors import UserError
from searchspace.schema import CLASSIFICATION

Say = Callable[[str], None]


@dataclass(frozen=True)
class RefineOptions:
    """What the command line says of refining; None where it says nothing."""

    count: int | None = None
    data: Path | None = None
    epochs: int | None = None
    recipe: str | None = None
    concurrent: int | None = None
    task: str = CLASSIFICATION

    def check(self) -> None:
        """Check single values, before anything is looked at.

        Raises:
            UserError: a value is out of range; names its option.
        """
        for option, value in (
            ("--refine", self.count),
            ("--refine-epochs", self.epochs),
            ("--refine-concurrent", self.concurrent),
        ):
            if value is not None and value < 1:
                raise UserError(f"{option}: {value} is not an integer of 1 or more")

    def make(self, address: str | None, say: Say) -> RefineRequest | None:
        """Return the refinement of a new run; None where none is wanted.

        Args:
            address: of a Ray cluster to train on; None for this machine.
            say: takes lines on the progress.

        Raises:
            UserError: options lack others, or recipe or images cannot be used.
        """
        self.check()
        if self.count is None:
            given = {
                "--data": self.data,
                "--refine-epochs": self.epochs,
                "--refine-recipe": self.recipe,
                "--refine-concurrent": self.concurrent,
            }
            for option, value in given.items():
                if value is not None:
                    raise UserError(f"{option}: needs --refine K (how many to train)")
            return None
        task = TASKS[self.task]
        if self.data is None:
            raise UserError(
                f"--refine: needs --data DIR, the images to train on ({task.data_form})"
            )
        task.open(self.data)  # the quick part first
        on_gpu = self.recipe is None and has_gpu(address)
        recipe = self._recipe(task.refine_recipes[on_gpu])
        task.check_recipe(recipe)
        say(f"looking at the images in {self.data}")
        data = ImageData.check(self.data, recipe.source_side, self.task)
        return RefineRequest(self.count, data, recipe, self.concurrent)

    def resumed(self, folder: Path, address: str | None, say: Say) -> RefineRequest | None:
        """Return the refinement of a resumed run: the stored one, or a new one.

        More may be trained than before, and with another number at a time. Anything else that
        differs is a mistake: what was trained so far answers another question.

        Raises:
            UserError: anything else differs, or the images changed.
        """
        self.check()
        stored = RefineRequest.read(folder)
        if stored is None:
            return self.make(address, say)
        recipe = self._recipe(stored.recipe.name, stored.recipe)
        if recipe.digest() != stored.recipe.digest():
            option = "--refine-recipe" if self.recipe is not None else "--refine-epochs"
            raise UserError(
                f"{option}: differs from the recipe {stored.recipe.name} with "
                f"{stored.recipe.epochs} epochs of the run in {folder}; leave it away, or start "
                "a new run"
            )
        if self.data is not None and str(self.data.resolve()) != stored.data.path:
            raise UserError(
                f"--data: {self.data} differs from {stored.data.path} of the run in {folder}; "
                "leave it away, or start a new run"
            )
        data = ImageData.check(Path(stored.data.path), recipe.source_side, stored.data.task)
        if data.digest != stored.data.digest:
            raise UserError(
                f"--resume: the images in {data.path} changed since {folder} was refined; start a "
                "new run"
            )
        count = stored.count if self.count is None else self.count
        concurrent = stored.concurrent if self.concurrent is None else self.concurrent
        return RefineRequest(count, data, stored.recipe, concurrent)

    def _recipe(self, default: str, stored: Recipe | None = None) -> Recipe:
        if self.recipe is None and stored is not None:
            return stored.replace(epochs=self.epochs)
        recipe = recipes.load(self.recipe or default)
        if recipe.batch_size < 2:
            raise UserError("--refine-recipe: batch_size must be 2 or more (batch normalisation)")
        return recipe.replace(epochs=self.epochs)


def has_gpu(address: str | None) -> bool:
    """Return whether there is a GPU to train on, here or on a cluster.

    Raises:
        UserError: there is no cluster at the address.
    """
    if address is None:
        import torch

        return torch.cuda.is_available()
    from effsearch.refine.tune import cluster

    with cluster(address, 1) as available:
        return available.get("GPU", 0) > 0

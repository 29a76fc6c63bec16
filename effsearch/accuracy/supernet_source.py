"""Accuracy with inherited weights as a score source."""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path

from effsearch.accuracy.score import Score
from effsearch.training import supernet_state as states
from effsearch.training.pixels import cache_dir
from effsearch.training.supernet_evaluate import Inherited, InheritedConfig
from searchspace import Architecture, Network
from searchspace.errors import UserError


class SupernetScore:
    """Top-1 of a candidate with the weights of a trained supernet, batch norms recalibrated.

    Scores are kept in the user's cache folder by the architecture's digest, apart for each
    checkpoint, data set and setting. The standard deviation is that of drawing the validation
    images; how far inherited accuracy is from that of trained networks is not in it.

    Args:
        checkpoint: what `effsearch supernet train` wrote.
        data: ImageFolder tree, or a zip archive of one, with the supernet's classes.
        images: validation images; None for all.
        batches: batches of 256 training images for the batch norms.
        device: `cpu`, `cuda` or `auto`.

    Raises:
        UserError: where checkpoint or data are missing or do not belong together.
    """

    name = "supernet"
    kind = "estimated"
    unit = "top-1 % with inherited weights"
    note = "Ranks networks of the supernet's space; below what they reach when trained."

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        data: str | Path | None = None,
        images: int | None = None,
        batches: int = 4,
        device: str = "auto",
    ) -> None:
        if checkpoint is None or data is None:
            missing = "--checkpoint FILE" if checkpoint is None else "--data DIR"
            raise UserError(f"supernet: needs {missing}")
        path = Path(checkpoint)
        held = states.load(path)
        config = InheritedConfig(Path(data), images, batches, device)
        self._inherited = Inherited.of(held, config)
        self._images = self._inherited.images
        self._folder = cache_dir() / "supernet" / self._key(path, config)

    def _key(self, path: Path, config: InheritedConfig) -> str:
        state = path.stat()
        parts = (
            str(path.resolve()),
            state.st_size,
            state.st_mtime_ns,
            self._inherited.data_digest,
            config.images,
            config.recalibration_batches,
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def score(self, architecture: Architecture) -> Score:
        """Return the top-1 in %.

        Raises:
            UserError: where the architecture is not in the supernet's space.
        """
        file = self._folder / f"{architecture.digest()}.json"
        try:
            top1 = float(json.loads(file.read_text())["top1"])
        except (OSError, ValueError, KeyError, TypeError):
            top1 = self._inherited.evaluate(architecture).top1
            self._keep(file, top1)
        share = top1 / 100
        return Score(top1, 100 * math.sqrt(max(share * (1 - share), 1e-6) / self._images))

    def network(self, architecture: Architecture) -> Network:
        """Return a candidate as it was scored: inherited weights, recalibrated, in eval mode.

        Raises:
            UserError: where the architecture is not in the supernet's space.
        """
        return self._inherited.network(architecture)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the outputs."""
        return self._inherited.classes

    def _keep(self, file: Path, top1: float) -> None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            temporary = file.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_text(json.dumps({"top1": top1}))
            os.replace(temporary, file)
        except OSError:
            return  # a score that is not kept is measured again

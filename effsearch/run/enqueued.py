"""`Enqueued`: a network of a person's own, which a run considers among its candidates."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from effsearch.targets import load_architecture
from searchspace import Architecture
from searchspace.architecture import MAX_NAME


@dataclass(frozen=True)
class Enqueued:
    """A network as a request keeps it, whatever becomes of the file that it was read from.

    Attributes:
        name: its own, or that of its file.
        architecture: as plain data.
    """

    name: str
    architecture: dict[str, Any]

    def __str__(self) -> str:
        return self.name

    @classmethod
    def read(cls, target: str) -> Enqueued:
        """Return the network of a target: a file, a winner's folder, a published one's name.

        Raises:
            UserError: where it is none of these.
        """
        found = load_architecture(target)
        name = found.name or Path(target).stem
        # JSON as in the request's file, so that one that was read back is equal.
        return cls(name[:MAX_NAME], json.loads(json.dumps(found.renamed("").to_dict())))

    @property
    def network(self) -> Architecture:
        """The network, under its name."""
        return Architecture.from_dict({**self.architecture, "name": self.name})

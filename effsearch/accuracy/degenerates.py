"""Networks that no good score ranks above published ones of equal latency."""

from __future__ import annotations

from importlib.resources import files

import yaml

from searchspace import Architecture


def degenerate_architectures() -> tuple[Architecture, ...]:
    """Return the planted degenerates, named."""
    text = files("effsearch").joinpath("accuracy/data/degenerates.yaml").read_text()
    return tuple(
        Architecture.from_dict(entry["architecture"]).renamed(entry["name"])
        for entry in yaml.safe_load(text)
    )

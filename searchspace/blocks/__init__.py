"""The block types by name: one folder each here, and those that other packages register.

A folder's `__init__.py` declares `BLOCK`, free of torch; its `module.py` has the class.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from searchspace.block_type import BlockType
from searchspace.extensions import Registry

GROUP = "searchspace.blocks"

BLOCKS: Registry[BlockType] = Registry(
    GROUP,
    {name: import_module(f"{__name__}.{name}").BLOCK for _, name, _ in iter_modules(__path__)},
    BlockType,
)

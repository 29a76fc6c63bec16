from tests.fixtures.training import (  # noqa: F401
    _one_thread,
    _own_cache,
    architectures,
    make_tree,
    quick,
    tree,
)

"""The views of a connectome, where README has them: see :mod:`connectome.graph.views`."""

from connectome.graph.views import (
    edge_set_to_scipy,
    from_networkx,
    from_pandas,
    from_pyg,
    from_scipy,
    to_networkx,
    to_pandas,
    to_pyg,
    to_scipy,
    to_xarray,
)

__all__ = [
    "edge_set_to_scipy", "from_networkx", "from_pandas", "from_pyg", "from_scipy", "to_networkx", "to_pandas", "to_pyg",
    "to_scipy", "to_xarray",
]  # fmt: skip

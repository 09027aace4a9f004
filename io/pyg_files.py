"""A connectome as a file of PyTorch tensors, for PyTorch Geometric.

``HeteroData.from_dict(torch.load(path, weights_only=True))`` turns it into what :func:`connectome.graph.views.to_pyg`
gives, with the provenance as JSON text. It holds tensors, numbers and texts only.

Such a file is a zip with a pickle in it. This project opens no pickles, so it writes such files but does not read them:
if you trust one, load it with torch, and :func:`connectome.graph.views.from_pyg` turns it into a connectome.
"""

from __future__ import annotations

import json
import os

from connectome.graph.connectome import Connectome
from connectome.graph.tables import header_of
from connectome.graph.views import to_pyg
from connectome.io.files import writing

__all__ = ["write_pyg"]


def write_pyg(connectome: Connectome, path: str | os.PathLike[str]) -> None:
    """Write a HeteroData as a dict of dicts of tensors. Raises :class:`ConnectomeError` if it cannot be written; an
    existing file is then unchanged."""
    import torch

    data = to_pyg(connectome)
    data.provenance = json.dumps(header_of(connectome)["provenance"], sort_keys=True)
    with writing(path) as sink:
        torch.save(data.to_dict(), sink)

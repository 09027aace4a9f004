"""Files of tensors: opened by torch's restricted loader and PyTorch Geometric, and never by this project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch_geometric.data import HeteroData

from connectome import Connectome, ConnectomeError
from connectome.graph.tables import read_header
from connectome.graph.views import from_pyg
from connectome.io.exchange import read
from connectome.io.pyg_files import write_pyg
from tests.strategies import connectomes
from tests.test_graph_files import small


def loaded(path: Path) -> HeteroData:
    return HeteroData.from_dict(torch.load(path, weights_only=True))


@given(connectome=connectomes())
@settings(max_examples=25)
def test_what_is_written_makes_the_same_connectome_again(connectome: Connectome, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("pyg") / "a.pt"
    write_pyg(connectome, path)
    data = loaded(path)
    data.provenance = read_header({"provenance": json.loads(data.provenance)}, str(path)).provenance
    back = from_pyg(data)
    assert back.digest() == connectome.digest()
    assert back.provenance == connectome.provenance


@pytest.mark.filterwarnings("ignore:The node types:UserWarning")  # a region without edges
def test_torch_and_pyg_open_it(tmp_path: Path) -> None:
    connectome = small()
    write_pyg(connectome, tmp_path / "a.pt")
    data = loaded(tmp_path / "a.pt")
    assert data.validate()
    assert data.node_types == list(connectome.regions)
    assert data.edge_types == [tuple(key) for key in connectome.edges]
    for name, region in connectome.regions.items():
        np.testing.assert_array_equal(data[name].pos, region.position_um)
        assert data[name].get("label") == (None if region.label is None else region.label.tolist())
    for key, e in connectome.edges.items():
        np.testing.assert_array_equal(data[tuple(key)].edge_index, [e.source, e.target])
        np.testing.assert_array_equal(data[tuple(key)].weight, e.weight)
        np.testing.assert_array_equal(data[tuple(key)].delay_ms, e.delay)
    assert data.dt_ms == 0.25


@pytest.mark.parametrize("format", [None, "pyg"])
def test_it_is_not_read_since_it_holds_a_pickle(format: str | None, tmp_path: Path) -> None:
    write_pyg(small(), tmp_path / "a.pt")
    with pytest.raises(ConnectomeError, match=r"must end in|can be read"):
        read(tmp_path / "a.pt", format)

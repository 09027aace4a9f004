"""Files of tensors: opened by torch and PyTorch Geometric, read back, and refused when they are more than tensors."""

from __future__ import annotations

import contextlib
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import HeteroData

from connectome import Connectome, ConnectomeError, Provenance
from connectome.io.pyg_files import read_pyg, write_pyg
from tests.strategies import connectomes
from tests.test_graph_files import small


@given(connectome=connectomes())
@settings(max_examples=25)
def test_what_is_written_is_read_back_to_the_last_bit(connectome: Connectome, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("pyg") / "a.pt"
    write_pyg(connectome, path)
    back = read_pyg(path)
    assert back.digest() == connectome.digest()
    assert back.provenance == connectome.provenance


@pytest.mark.filterwarnings("ignore:The node types:UserWarning")  # a region without edges
def test_torch_and_pyg_open_it(tmp_path: Path) -> None:
    connectome = small()
    write_pyg(connectome, tmp_path / "a.pt")
    data = HeteroData.from_dict(torch.load(tmp_path / "a.pt", weights_only=True))
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


def saved(content: object) -> bytes:
    buffer = BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def compressed() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(BytesIO(saved({"a": {}}))) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
    return buffer.getvalue()


def legacy() -> bytes:
    buffer = BytesIO()
    torch.save({"a": {}}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


BROKEN = {
    "nothing": (b"", "zip"),
    "text": (b"graph [ ]", "zip"),
    "legacy": (legacy(), "zip"),
    "compressed": (compressed(), "not be compressed"),
    "code": (saved({"a": {"num_nodes": 3, "pos": Provenance()}}), "only tensors"),
    "list": (saved([1]), "dict"),
    "keys": (saved({("a", "b"): {}}), "node type and edge type"),
    "wide": (saved({"a": {"num_nodes": 10**8, "pos": torch.zeros(1).expand(10**8, 3)}}), "of its own"),
    "sparse": (saved({"a": {"num_nodes": 2, "pos": torch.eye(3).to_sparse()}}), "of its own"),
    "no size": (saved({"a": {"pos": 3}}), "num_nodes"),
    "edges": (
        saved({"a": {"num_nodes": 2}, ("a", "local", "a"): {"edge_index": torch.tensor([[0], [7]])}}), "in 0 .. 1",
    ),
    "kind": (saved({"a": {"num_nodes": 2}, ("a", "to", "a"): {"edge_index": torch.zeros(2, 0)}}), "edge kind"),
    "dt": (saved({"_global_store": {"dt_ms": "x"}, "a": {"num_nodes": 2}}), "dt_ms"),
    "provenance": (saved({"_global_store": {"provenance": "{"}, "a": {"num_nodes": 2}}), "provenance"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    content, rule = BROKEN[name]
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(ConnectomeError, match=rule) as error:
        read_pyg(tmp_path / "a.pt")
    assert str(error.value).startswith(str(tmp_path / "a.pt"))
    assert "\n" not in str(error.value)


@given(data=st.data())
@settings(max_examples=25)
def test_a_damaged_file_is_read_or_refused(data: st.DataObject, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("damaged") / "a.pt"
    write_pyg(small(), path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with contextlib.suppress(ConnectomeError):
        read_pyg(path)

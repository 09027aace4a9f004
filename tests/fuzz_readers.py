"""Damaged files for every reader: each must give a value, or one clear error.

    python -m tests.fuzz_readers                         100,000 inputs over all readers
    python -m tests.fuzz_readers --readers gml,mat --inputs 2000
    python -m tests.fuzz_readers --readers gml --coverage 600

Each input is a seed (a small file of the reader's format, or one of tests/corpus) that tests/mutations.py has damaged;
its number says how, so that it can be made again. It is read in a process that is watched from outside. A finding is:
an exception other than ConnectomeError, or one of more than a line, or without the file's name; a warning; a process
that dies; 10 s of processor time; more than 1 GiB; a file written, a pickle, a connection or a process, as Python's
audit hooks report them; anything new in the folder. Findings are kept in --findings, as files to be read again.

``--coverage`` searches with atheris (``pip install 'connectome-engine[fuzz]'``), which keeps the inputs that reach new
lines, for so many seconds for each reader.
"""

from __future__ import annotations

import argparse
import gc
import gzip
import hashlib
import io
import json
import math
import multiprocessing
import os
import re
import shutil
import signal
import sys
import tarfile
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from random import Random
from types import FunctionType
from typing import Any, Final, NamedTuple

import h5py
import numpy as np

from connectome import Connectome, ConnectomeError, EdgeSet, Provenance, Region, RuleRecord
from connectome.io.heaps import check_heaps_of
from tests.mutations import Tree, mutate

__all__ = ["READERS", "Finding", "Reader", "Tally", "corpus", "fuzz", "input_of", "main", "outcome"]

CORPUS: Final = Path(__file__).parent / "corpus"
ARCHIVES: Final = Path(__file__).parent / "archives"
MOST_SECONDS: Final = 10.0
MOST_BYTES: Final = 1 << 30
MOST_RESIDENT: Final = 4 << 30  # a process is ended at once
MOST_LETTERS: Final = 4200


class Reader(NamedTuple):
    """A reader: ``read(path)`` of the file ``main``, or of the folder if that is empty; ``seeds()`` are whole inputs,
    ``words`` what its format knows, ``mend(tree)`` puts right what no damage could get behind; it may write to places
    that begin with ``writes``, and only there, in a folder whose name ends in its process's id; ``share`` is how many
    inputs it gets, relative to others."""

    read: Callable[[Path], Any]
    seeds: Callable[[], list[Tree]]
    main: str = ""
    words: tuple[bytes, ...] = ()
    mend: Callable[[Tree], Tree] = lambda tree: tree
    writes: str = ""
    share: float = 1.0


class Finding(NamedTuple):
    """Input ``number`` of a reader, and what is wrong with what became of it."""

    reader: str
    number: int
    what: str


class Tally(NamedTuple):
    """What became of a reader's inputs; the slowest in seconds, and by how many bytes memory rose at most."""

    inputs: int
    read: int
    refused: int
    findings: list[Finding]
    slowest: float
    peak: int


# Seeds


def _small() -> Connectome:
    """Something of everything, in few bytes."""
    known: Any = {
        "class": ["KC", None, "ü<&>"],
        "traced": [True, None, False],
        "root": [2**60, None, 3],
        "v": [0.1, None, 2.0],
    }
    a = Region("a.1", 3, sign=np.array([1, -1, 0], np.int8), position_um=np.arange(9.0).reshape(3, 3) / 7,
               label=np.array(["AVAL", "ü<&>", "x y"]), attributes=known)  # fmt: skip
    regions = [Region("eye", 2, "sensor"), a, Region("B_2", 2, birth_stage=2, label=np.array(["AVAR", "b"]))]
    local = EdgeSet.from_arrays(
        ("a.1", "local", "a.1"), [0, 0, 1, 2], [1, 1, 1, 0], [0.1, 2, -3, 0], n_source=3, n_target=3, dt_ms=0.1,
        delay_ms=[0.3, 5, 1, 2], birth_stage=[1, 2, 1, 1], state={"tract_length_um": [1.5, 2.5, np.nan, 4]},
        attributes={"synapse": ["chemical", None, "gap", "gap"]},
    )  # fmt: skip
    outer = EdgeSet.from_arrays(
        ("a.1", "long_range", "B_2"), [2, 0], [1, 0], [-1e-7, 1e20], n_source=3, n_target=2, dt_ms=0.1
    )
    inward = EdgeSet.from_arrays(("eye", "afferent", "a.1"), [0, 1], [0, 0], n_source=2, n_target=3, dt_ms=0.1)
    log = (RuleRecord(1, 5, "growth", "a.1", "local", "a.1", added=3),)
    origin = Provenance(3, 1, "one", ("0" * 64,), {"numpy": "2"}, log)
    return Connectome.of(regions, [local, outer, inward], dt_ms=0.1, provenance=origin)


def _written(write: Callable[[Path], Any], name: str) -> Tree:
    """The files that this writes beside ``folder/name``; temporary ones are gone."""
    with tempfile.TemporaryDirectory() as place:
        write(Path(place) / name)
        return _tree(Path(place))


def _tree(place: Path) -> Tree:
    return {p.relative_to(place).as_posix(): p.read_bytes() for p in sorted(place.rglob("*")) if p.is_file()}


def _exchange(name: str) -> Callable[[], list[Tree]]:
    """What our own writer makes."""

    def seeds() -> list[Tree]:
        from connectome.io.exchange import write

        return [_written(partial(write, _small(), format=name), f"input{_suffix(name)}")]

    return seeds


def _suffix(name: str) -> str:
    from connectome.io.exchange import FORMATS

    return FORMATS[name].suffixes[0]


def _mapped() -> list[Tree]:
    from connectome.io.snapshot import save

    written = _written(lambda path: save(_small(), path, mapped=True), "input.h5")
    return [{"input.h5": written["input.h5"]}]


def tables() -> list[Tree]:
    """A graph as a folder of parquet tables."""
    from connectome.io.partitions import write_partitions

    written = _written(lambda path: write_partitions(_small(), path), "x")
    return [{name.removeprefix("x/"): data for name, data in written.items()}]


def _snapshots() -> list[Tree]:
    archived = [{"input.h5": (ARCHIVES / f"format_{n}.h5").read_bytes()} for n in (1, 2, 3)]
    return [{"input.h5": _exchange("snapshot")()[0]["input.h5"]}] * 4 + archived


def _circuits() -> list[Tree]:
    def write(path: Path) -> None:
        with h5py.File(path, "w") as file:
            nodes, edges = file.create_group("nodes/v 1"), file.create_group("edges/e")
            nodes["node_type_id"] = np.array([100, 100, 101])
            nodes["node_group_id"], nodes["node_group_index"] = np.array([0, 0, 1]), np.array([0, 1, 0])
            nodes.create_dataset("0/positions", data=np.arange(6.0).reshape(2, 3), compression="gzip")
            nodes["1/positions"], nodes["0/dynamics_params/C_m"] = np.zeros((1, 3)), np.array([250.0, 250.0])
            nodes["0/layer"], nodes["0/@library/layer"] = np.array([0, 1]), np.array(["L1", "L2"], object)
            nodes["0/name"], nodes["1/name"] = np.array(["x", "y"], object), np.array(["z"], object)
            for end in ("source", "target"):
                edges[f"{end}_node_id"] = np.array([2, 0, 1], np.uint64)
                edges[f"{end}_node_id"].attrs["node_population"] = "v 1"
            edges["edge_type_id"], edges["0/nsyns"] = np.array([7, 7, 8]), np.array([1, 2, 1])
            edges.create_dataset("0/syn_weight", data=np.array([1.0, 2, 3]), compression="gzip", shuffle=True)

    h5 = _written(write, "net.h5")["net.h5"]
    entry = {"nodes_file": "$NET/net.h5", "node_types_file": "$NET/node_types.csv"}
    config = {
        "manifest": {"$NET": "${configdir}"},
        "networks": {
            "nodes": [entry],
            "edges": [{"edges_file": "$NET/net.h5", "edge_types_file": "$NET/edge_types.csv"}],
        },
    }
    whole = {
        "circuit_config.json": json.dumps(config).encode(), "net.h5": h5,
        "node_types.csv": b"node_type_id model_type V_th\n100 point_neuron -50.0\n101 point_neuron NULL\n",
        "edge_types.csv": b"edge_type_id delay\n7 1.5\n8 2.0\n",
    }  # fmt: skip
    return [whole]


def _tables() -> list[Tree]:
    named = {"input.csv": b'pre;post;synapses;length_mm\nA;B;3;1.5\nB;C;1;"2.5"\nA;A;2;0\n'}
    nodes = {
        "input_nodes.csv": b"name,region,x,y,z,sign,class,n,traced\nA,left,0,1,2,1,KC,7,true\nB,right,,,,1,,,\nC,left,"
        b"1e3,0,0,0,PN,3.5,false\n"
    }
    square = {"input.csv": b',A,B\nA,0,1.5\nB,"2",0\n'}
    return [*_exchange("csv")(), named, {**named, **nodes}, square]


def _node_sets() -> list[Tree]:
    return [
        {"input.json": b'{"KC": {"class": "KC"}, "n": {"population": "a.1", "node_id": [0, 2]}, "b": ["KC", "n"], '
         b'"v": {"v": {"$gt": 0.5}}, "r": {"class": {"$regex": "K.*"}}}'}
    ]  # fmt: skip


def _read_node_sets(path: Path) -> Any:
    from connectome.io.node_sets import read_node_sets

    return read_node_sets(path, _small())


def _tabs() -> list[Tree]:
    return [{"input.tsv": b"source\ttarget\tsource_region\ttarget_region\tdelay_ms\n0\t1\tl\tr\t1.5\n1\t0\tr\tl\t2\n"}]


def _matrix(suffix: str) -> list[Tree]:
    weights = np.array([[0, 1.5, 0], [2, 0, -1], [0, 1e-3, 0]])
    buffer = io.BytesIO()
    name = f"input{suffix}"
    nodes = {"input_nodes.csv": b"name,region,x,y,z\nA,l,0,0,1\nB,l,0,0,0\nC,r,0,0,0\n"}
    if suffix == ".npy":
        np.save(buffer, weights)
        short = io.BytesIO()
        np.save(short, np.asfortranarray(weights.astype(">f2")))
        return [{name: buffer.getvalue()}, {name: short.getvalue(), **nodes}]
    if suffix == ".npz":
        np.savez_compressed(buffer, weights=weights, tract_lengths_mm=weights**2, labels=np.array(["A", "B", "C"]))
        return [{name: buffer.getvalue()}, {name: buffer.getvalue(), **nodes}]
    return [{name: b"0 1.5 0\n2 0 -1\n0 1e-3 0\n"}, {name: b"A B C\n0 1 0\n2 0 1\n0 0 0\n", **nodes}]


def _atlases(suffix: str) -> list[Tree]:
    """Made up, of the two forms."""
    import h5py

    one = np.array([[3.0, 0.5, np.nan], [1.0, 2.0, 0.25], [0.0, 0.1, 1.0]])
    arrays = {"dFF": one, "q": one / 4, "q_eq": one / 3, "occ1": np.diag([4, 5, 6]) + 1}
    names, name = np.array(["AVAL", "AVAR", "ASHL"]), f"input{suffix}"
    if suffix == ".npz":
        buffer = io.BytesIO()
        packed: dict[str, Any] = {f"wt_{key}": array for key, array in arrays.items()}
        np.savez_compressed(buffer, neuron=names, **packed)
        return [{name: buffer.getvalue()}]

    def write(path: Path) -> None:
        with h5py.File(path, "w") as file:
            file["neuron_ids"] = names.astype("S5")
            for key, array in arrays.items():
                file[f"wt/{key}"] = array
            file.create_dataset("wt/dFF_all", (3, 3), h5py.vlen_dtype(np.float64))[0, 0] = np.arange(3.0)

    return [_written(write, name)]


def _graphs(name: str) -> list[Tree]:
    """Ours and networkx's."""
    import networkx

    graph = networkx.DiGraph(dt_ms=0.5)
    graph.add_node("n", x=1.5, label="l")
    graph.add_node("m", sign=1)
    graph.add_edge("n", "m", weight=2.5)
    graph.add_edge("m", "m", weight=1.0, delay=3.0)
    file = f"input{_suffix(name)}"
    if name == "cytoscape":
        theirs = {file: json.dumps(networkx.cytoscape_data(graph)).encode()}
    else:
        theirs = _written(partial(getattr(networkx, f"write_{name}"), graph), file)
    return [*_exchange(name)(), theirs]


def _eyes() -> list[Tree]:
    nodes = [{"name": "R1", "pattern": ["stride", [1, 1]]}, {"name": "T(4)", "pattern": ["tile", 2]}]
    edges = [{"src": "R1", "tar": "T(4)", "alpha": -1, "offsets": [[[0, 0], 4.5], [[2, 0], 1], [[0, 2], 3]]}]
    whole = {"nodes": nodes, "edges": edges, "input_units": ["R1"], "output_units": []}
    return [{"input.json": json.dumps(whole).encode()}]


def _mats() -> list[Tree]:
    import scipy.io
    import scipy.sparse

    buffer = io.BytesIO()
    cell = np.array([["A"], ["B"]], object)
    scipy.io.savemat(buffer, {"W": scipy.sparse.csc_array(np.array([[0, 2.0], [1, 0]])), "names": cell, "s": {"x": 1}})
    return [*_exchange("mat")(), {"input.mat": buffer.getvalue()}]


def _spikes() -> list[Tree]:
    def write(path: Path) -> None:
        import xarray as xr

        from connectome.io.spikes import save_spikes

        found = xr.Dataset(
            {"spike_time_ms": ("spike", [0.1, 2.5, 2.5]), "spike_region": ("spike", [0, 1, 0]),
             "spike_neuron": ("spike", [3, 0, 2])}, {"region": ["a", "b.c"]}, {"dt_ms": 0.1, "seed": 3},
        )  # fmt: skip
        save_spikes(found, path)

    return [_written(write, "input.h5")]


def _results() -> list[Tree]:
    def write(path: Path) -> None:
        import xarray as xr

        from connectome.io.results import save_results

        found = xr.Dataset(
            {"score": (("stage", "region"), np.eye(2), {"units": "1"}), "n": ("stage", [3, 4])},
            {"stage": [1, 2], "region": ["a", "b"]}, {"seed": 3, "configuration": "[anatomy]\n"},
        )  # fmt: skip
        save_results(found, path)

    return [_written(write, "input.nc")]


def _checkpoints() -> list[Tree]:
    def write(path: Path) -> None:
        from connectome.development.stage import Progress, StageState
        from connectome.io.checkpoint import Checkpoint, save_checkpoint
        from connectome.learning.task import Score
        from connectome.rules import Link

        c, rng = _small(), np.random.default_rng(1)
        state = StageState(
            1, c, (Link("a.1", "B_2", 0.3, 4, 0.5),), random={"batch": rng},
            scale=dict.fromkeys(c.edges, 0.5), mean_rate={"a.1": np.array([1.0, 2, 3])}, rate={"a.1": np.zeros(3)},
            update=5, seen=2, loss=0.5, score=Score(0.25, 1.0, 2.0, 0.2), peak_local_edges=11,
        )  # fmt: skip
        epoch = Progress(1, "one", 5, 10, 0.1, 0.2, 70.0, 3, 4, 9)
        made = Checkpoint(3, ("a.1", "B_2"), 7, "numba", "[anatomy]\n", {"numpy": "2"}, ("m",), state, (epoch,))
        save_checkpoint(made, path)

    return [_written(lambda path: write(path.parent), "x")]


def _mend_checkpoint(tree: Tree) -> Tree:
    """With the digest of what is in it, where that can be read."""
    mended = dict(tree)
    for name, data in tree.items():
        buffer = io.BytesIO(data)
        try:
            check_heaps_of(data)
            with h5py.File(buffer, "r+") as file:
                text = file["checkpoint/text"][0]
                sha = hashlib.sha256(text)
                for number, _ in enumerate(json.loads(text)["columns"]):
                    column = file[f"columns/{number}"]
                    constant = column.id.get_num_chunks() == 0 and column.size
                    sha.update(np.ascontiguousarray(column[:1] if constant else column[...]).data)
                file["checkpoint"].attrs["digest"] = sha.hexdigest()
        except Exception:  # whatever the damage did
            continue
        mended[name] = buffer.getvalue()
    return mended


def _configurations() -> list[Tree]:
    import tomli_w

    from connectome.development.configuration import Configuration

    return [{"input.toml": tomli_w.dumps(Configuration().table()).encode()}, {"input.toml": b"[training]\nbatch = 8\n"}]


def _idx(shape: tuple[int, ...], modulus: int) -> bytes:
    values = (np.arange(np.prod(shape)) % modulus).astype(np.uint8)
    return bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes() + values.tobytes()


def _mnist() -> list[Tree]:
    files = {}
    for split, n in (("train", 12), ("t10k", 4)):
        files[f"{split}-images-idx3-ubyte"] = _idx((n, 3, 4), 251)
        files[f"{split}-labels-idx1-ubyte"] = _idx((n,), 10)
    return [files, {f"{name}.gz": gzip.compress(data, mtime=0) for name, data in files.items()}]


def _cifar() -> list[Tree]:
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
    files = {name: bytes([i % 10]) + bytes(3072) for i, name in enumerate(names)}
    files["batches.meta.txt"] = b"a b c d e f g h i j\n"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return [{"input.tar.gz": gzip.compress(buffer.getvalue(), 1, mtime=0)}, {"input.tar": buffer.getvalue()}]


def _pictures() -> Tree:
    from PIL import Image

    files = {}
    for number, kind in enumerate(("png", "jpg", "bmp", "ppm", "png")):
        buffer = io.BytesIO()
        pixels = (np.arange(48).reshape(4, 4, 3) * (number + 1) % 256).astype(np.uint8)
        Image.fromarray(pixels).save(buffer, {"jpg": "JPEG", "ppm": "PPM"}.get(kind, kind.upper()))
        for split in ("train", "test"):
            files[f"{split}/{'ab'[number % 2]}/{number}.{kind}"] = buffer.getvalue()
    return files


def _zipped() -> list[Tree]:
    return [{"input.zip": _zip(_pictures())}]


def _measured() -> list[Tree]:
    """Tables of Codex, one of them packed, and of Janelia's."""
    codex = {
        "connections.csv": b"pre_root_id,post_root_id,neuropil,syn_count,nt_type\n1,2,AL_R,9,ACH\n2,3,LO_R,6,GABA\n",
        "classification.csv": b"root_id,flow,class,side\n1,afferent,olfactory,left\n2,intrinsic,,right\n",
        "neurons.csv.gz": gzip.compress(b"root_id,group,nt_type,ach_avg\n2,LO,GABA,0.1\n1,AL,ACH,\n3,,,\n", mtime=0),
        "coordinates.csv": b"root_id,position,supervoxel_id\n1,[400000 200000 80000],7\n1,[1 1 1],8\n",
    }
    tables = {
        "traced-neurons.csv": b"bodyId,type,instance\n11,KCg,KCg_R\n12,,\n13,MBON01,MBON01_L\n",
        "traced-total-connections.csv": b"bodyId_pre,bodyId_post,weight\n11,13,7\n12,11,2\n",
    }
    return [codex, tables]


def _matrices() -> list[Tree]:
    """The larva's, the HCP's, the mouse's."""
    larva = {
        "all-all_connectivity_matrix.csv": b",30,10,20\n30,0,1,2\n10,3,0,0\n20,0,4,0\n",
        "annotations.csv": b"left_id,right_id,celltype,additional_annotations\n10,20,KC,gamma\n30,no pair,sensory,\n",
        "inputs.csv": b",axon_input,dendrite_input\n30,5,6\n20,7,8\n",
    }
    tracts = {
        "strucMatrix_ctx.csv": b"0,2.5,0\n2.5,0,1\n0,1,0\n",
        "strucLabels_ctx.csv": b"7Networks_LH_Vis_1,7Networks_LH_SomMot_1,7Networks_RH_Vis_1\n",
    }
    mouse = {"connection_strength.csv": b",ipsi,ipsi,contra\n,VISp,MOp,VISp\nVISp,0.0,0.5,0.25\nMOp,0.1,0.0,0.0\n"}
    return [larva, tracts, mouse]


def _zip(files: Tree) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(f"set/{name}"), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _experiments() -> list[Tree]:
    return [
        {"input.toml": b"""connectome = "fly.csv"
duration_ms = 100
seeds = 2
[physiology]
preset = "shiu2024"
neuron = {t_ref_ms = 3}
[readouts]
by = ["region", "class"]
[condition.sugar]
stimulate = [{cells = "class == 'PN'", rate_hz = 150, from_ms = 10, to_ms = 60}]
[condition.none]
from = "sugar"
silence = "class == 'LN'"
hold = {cells = "label == 'IN1'", v_mv = -70}
scale = {edges = "source.transmitter == 'gaba'", by = 0.5}
[sweep]
silence_each = "class == 'LN'"
"""}
    ]  # fmt: skip


# Readers


def _read(path: Path) -> Any:
    from connectome.io.exchange import read

    return read(path).digest()


def _call(module: str, name: str, cast: Callable[[Path], Any] = Path) -> Callable[[Path], Any]:
    def call(path: Path) -> Any:
        return getattr(import_module(f"connectome.{module}"), name)(cast(path))

    return call


_XML: Final = (
    b"graphml", b"graph", b"node", b"edge", b"<data", b"key", b"<key/>", b"default", b"directed", b"false", b"attvalue",
    b"viz:position", b"</graph>", b"id", b"source", b"target", b"parentDescription",
)  # fmt: skip
_HDF5: Final = (b"\x89HDF\r\n\x1a\n", b"OHDR", b"FRHP", b"BTHD", b"OCHK", b"EAHD", b"FAHD", b"SNOD", b"TREE", b"HEAP")
_WORDS: Final = (
    b"source",
    b"target",
    b"weight",
    b"delay",
    b"region",
    b"index",
    b"label",
    b"kind",
    b"local",
    b"state_x",
)

_ATLAS: Final = _call("io.functional_atlases", "read_functional_atlas")
READERS: Final[Mapping[str, Reader]] = {
    "snapshot": Reader(_read, _snapshots, "input.h5", _HDF5),
    "mapped": Reader(_read, _mapped, "input.h5", _HDF5),
    "tables": Reader(_read, tables, "", (b"PAR1",)),
    "run": Reader(_read, lambda: [{"01_a.h5": _snapshots()[0]["input.h5"], "x.h5": _spikes()[0]["input.h5"]}]),
    "sonata": Reader(_read, lambda: [{"input.h5": _circuits()[0]["net.h5"]}], "input.h5", _HDF5),
    "circuit": Reader(_read, _circuits, "circuit_config.json", (b"$NET", b"${configdir}", b"NULL", b"virtual")),
    "node_sets": Reader(_read_node_sets, _node_sets, "input.json", (b"$regex", b"$lt", b"population", b"((a+)+)+")),
    "csv": Reader(_read, _tables, "input.csv", _WORDS),
    "tsv": Reader(_read, _tabs, "input.tsv", _WORDS),
    "parquet": Reader(_read, _exchange("parquet"), "input.parquet", (b"PAR1",)),
    "npy": Reader(_read, partial(_matrix, ".npy"), "input.npy", (b"'O'", b"'<U9'", b"True", b"'shape': (", b"'V8'")),
    "npz": Reader(_read, partial(_matrix, ".npz"), "input.npz", (b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06")),
    "txt": Reader(_read, partial(_matrix, ".txt"), "input.txt"),
    "graphml": Reader(_read, partial(_graphs, "graphml"), "input.graphml", _XML),
    "gexf": Reader(_read, partial(_graphs, "gexf"), "input.gexf", _XML),
    "gml": Reader(_read, partial(_graphs, "gml"), "input.gml",
                  (b"[", b"]", b"graph [", b"node [ id 0 ]", b"edge [", *_WORDS)),
    "cytoscape": Reader(_read, partial(_graphs, "cytoscape"), "input.cyjs", (b'"data"', b'"elements"', *_WORDS)),
    "flyvis": Reader(_call("io.flyvis", "read"), _eyes, "input.json", (b'"single", null', b"[[1, 0], 1e400]", b"-1")),
    "mat": Reader(_read, _mats, "input.mat", (b"miMA", b"\x0e\0\0\0", b"\x0f\0\0\0", b"\x05\0\0\0", b"MI")),
    "tvb": Reader(_read, _exchange("tvb"), "input.zip", (b"PK\x01\x02", b"PK\x05\x06", b"# ")),
    "atlas_npz": Reader(_ATLAS, partial(_atlases, ".npz"), "input.npz"),
    "atlas_h5": Reader(_ATLAS, partial(_atlases, ".h5"), "input.h5", _HDF5),
    "spikes": Reader(_call("io.spikes", "load_spikes"), _spikes, "input.h5", _HDF5),
    "results": Reader(_call("io.results", "load_results"), _results, "input.nc", _HDF5),
    "checkpoint": Reader(_call("io.checkpoint", "load_checkpoint"), _checkpoints, "", _HDF5, _mend_checkpoint),
    "configuration": Reader(_call("development.configuration", "read_configuration"), _configurations, "input.toml",
                            (b"[training]", b"[rules.growth]", b"[[data]]", b"= 1e400", b"= [", b"= {", b'"""')),
    "measured": Reader(_read, _measured, "", (b"pre_root_id", b"root_id", b"side", b"nan", b"1e400", b"PK\x01\x02")),
    "measured_zip": Reader(_read, lambda: [{"input.zip": _zip(_measured()[1])}], "input.zip", (b"PK\x01\x02",)),
    "matrices": Reader(_read, _matrices, "", (b"strucMatrix", b"celltype", b"left_id", b"contra", b"nan")),
    "experiment": Reader(_call("experiment.specification", "read_experiment"), _experiments, "input.toml",
                         (b"[condition.x]", b"[sweep]", b'from = "none"', b"= 1e400", b"= [", b"= {", b"= nan")),
    "physiology": Reader(_call("experiment.physiology", "read_physiology", str), _experiments, "input.toml",
                         (b"[physiology.signs]", b"weight", b"sign_by", b"delay_ms", b"= nan", b"= {", b"= [")),
    "idx": Reader(_call("datasets.images", "load_images", str), _mnist),
    "cifar": Reader(_call("datasets.images", "load_images", str), _cifar, "input.tar.gz"),
    "pictures": Reader(_call("datasets.images", "load_images", str), lambda: [_pictures()]),
    "picture_zip": Reader(_call("datasets.images", "load_images", str), _zipped, "input.zip"),
}  # fmt: skip


def corpus(name: str) -> dict[str, Tree]:
    """A reader's inputs in tests/corpus, by name."""
    folder = CORPUS / name
    return {case.name: _tree(case) for case in sorted(folder.iterdir())} if folder.is_dir() else {}


def input_of(name: str, reader: Reader, seed: int = 0) -> Callable[[int], Tree]:
    """The inputs of a reader by their number. They change when the seeds, the corpus or the mutations do."""
    seeds = [*reader.seeds(), *corpus(name).values()]
    others = [data for tree in seeds for data in tree.values()]

    def make(number: int) -> Tree:
        random = Random(f"{name}:{seed}:{number}")
        return reader.mend(mutate(random.choice(seeds), random, reader.words, others))

    return make


# One input


class _Watch:
    """What the process does that no reader may, as Python's audit hooks see it."""

    _WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    _NEVER: Final = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.link", "os.system", "os.exec",
                     "os.fork", "os.truncate", "os.chmod", "os.posix_spawn", "pickle.", "socket.", "subprocess.",
                     "shutil.", "urllib.", "tempfile.")  # fmt: skip

    def __init__(self, writes: str) -> None:
        self.seen: list[str] = []
        self.armed = False
        self.writes = writes
        self.allowed = (writes or "\0", "/proc/self/")
        sys.addaudithook(self._hook)

    def _hook(self, event: str, given: tuple[Any, ...]) -> None:
        if not self.armed or any(self._place(place).startswith(self.allowed) for place in given[:2]):
            return
        within = event in ("os.remove", "os.rmdir") and given[-1] != -1  # of a folder that is open, as rmtree does
        if self.writes and (within or (event == "open" and isinstance(given[0], int))):
            return
        if event == "open":
            if isinstance(given[2], int) and given[2] & self._WRITES:
                self.seen.append(f"opens {given[0]!r} to write")
        elif event.startswith(self._NEVER):
            self.seen.append(f"{event}{given!r}"[:200])

    @staticmethod
    def _place(given: Any) -> str:
        """Where that is, without links to folders above."""
        return os.path.abspath(os.fsdecode(given)) if isinstance(given, (str, bytes, os.PathLike)) else str(given)


def outcome(
    reader: Reader, tree: Tree, scratch: Path, watch: Callable[[], list[str]] = list,
    raised: Callable[[Exception], object] = id,
) -> tuple[str, str]:  # fmt: skip
    """What becomes of an input in this empty folder: "read", "refused", or "finding" and what is wrong. ``raised`` is
    told of an error that is no refusal."""
    place = scratch / "here"
    for name, data in tree.items():
        file = place / name
        if name.endswith("/"):
            file.mkdir(parents=True, exist_ok=True)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
    place.mkdir(exist_ok=True)
    before = _listing(scratch)
    main = place / reader.main
    if reader.main and not main.exists():  # another file of the seed may have another ending
        main = next((f for f in sorted(place.iterdir()) if f.is_file() and f.stem.startswith("input")), main)
    seen: list[str] = []
    hook, sys.unraisablehook = sys.unraisablehook, lambda said: seen.append(f"prints a traceback of {said.exc_value!r}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            reader.read(main)
        found, what = "read", ""
    except ConnectomeError as error:
        found, what = "refused", _wrong(error, main)
    except Exception as error:
        raised(error)
        found, what = "finding", f"{type(error).__name__}: {str(error)[:200]!r}{_where(error)}"
    gc.collect(0)
    sys.unraisablehook = hook
    seen += watch()
    if _listing(scratch) != before:
        seen.append("changes files")
    if what or seen:
        found, what = "finding", "; ".join([*filter(None, [what]), *seen])
    shutil.rmtree(place)
    return found, what


def _where(error: BaseException) -> str:
    """The last line of this project that the error went through."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if "connectome" in file or "/io/" in file or "/datasets/" in file:
            place = f" at {Path(file).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _wrong(error: ConnectomeError, main: Path) -> str:
    """What is wrong with a message."""
    text = str(error)
    if not (error.field and error.rule):
        return f"lacks field or rule: {text!r}"
    if len(text.splitlines()) != 1:
        return f"more than a line: {text[:300]!r}"
    if len(text) > MOST_LETTERS:
        return f"{len(text)} letters: {text[:200]!r}"
    folder = main if main.is_dir() else main.parent
    named = str(folder) in text or main.suffix == ".json"  # a configuration's files are where it says
    return "" if named else f"does not name the file: {text[:300]!r}"


def _listing(folder: Path) -> list[tuple[str, int, int]]:
    found = []
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            status = os.lstat(os.path.join(place, name))
            found.append((os.path.join(place, name), status.st_size, status.st_mtime_ns))
    return sorted(found)


# Many, in processes of their own


def _work(name: str, reader: Reader, seed: int, first: int, stop: int, now: Any, results: Any) -> None:
    """Inputs ``first`` .. ``stop - 1`` of a reader, in a process of its own."""
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.dont_write_bytecode = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    make = input_of(name, reader, seed)
    watch = _Watch(reader.writes)

    def seen() -> list[str]:
        watch.armed = False
        found, watch.seen = watch.seen, []
        return found

    def read(path: Path) -> Any:
        watch.armed = True
        return reader.read(path)

    watched = reader._replace(read=read)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as place:
        for tree in reader.seeds():  # imports and caches
            found, what = outcome(reader, tree, Path(place))
            assert found == "read", f"a seed is {found}: {what}"
        gc.collect()
        gc.freeze()  # the programs collect garbage when they refuse a file: not among all modules each time
        for number in range(first, stop):
            now.value = 2 * number  # odd while it is being read
            tree = make(number)
            now.value += 1
            start, before = time.process_time(), _reset_peak()
            found, what = outcome(watched, tree, Path(place), seen)
            seconds, rise = time.process_time() - start, _status("VmHWM") - before
            if rise > MOST_BYTES:
                found, what = "finding", f"takes {rise / 2**20:,.0f} MiB"
            results.put((number, found, what, seconds, rise))
    results.put(None)


def _reset_peak() -> int:
    """Begin to measure memory's peak anew; the memory now."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(field: str, pid: int | str = "self") -> int:
    """Bytes, of a process; 0 of one that is gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    return 0


def _cpu(pid: int) -> float:
    try:
        after = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(after[11]) + int(after[12])) / os.sysconf("SC_CLK_TCK")


def fuzz(
    name: str, reader: Reader, inputs: int, seed: int = 0, seconds: float = MOST_SECONDS,
    stopped: Callable[[], bool] = lambda: False,
) -> Tally:  # fmt: skip
    """Read so many inputs, or until ``stopped``, in a process that is started anew when it dies or hangs."""
    context = multiprocessing.get_context("fork")
    done: Counter[str] = Counter()
    findings: list[Finding] = []
    slowest, peak, first = 0.0, 0, 0
    while first < inputs and not stopped():
        now, results = context.Value("q", -2), context.SimpleQueue()
        worker = context.Process(target=_work, args=(name, reader, seed, first, inputs, now, results))
        worker.start()
        at, cpu, wall, pid = -2, 0.0, time.monotonic(), worker.pid or 0
        while True:
            if not results.empty():
                said = results.get()
                if said is None:
                    first = inputs
                    break
                number, found, what, took, rise = said
                done[found] += 1
                slowest, peak = max(slowest, took), max(peak, rise)
                if found == "finding":
                    findings.append(Finding(name, number, what))
                continue
            if stopped():
                worker.kill()
                break
            time.sleep(0.02)
            if now.value != at:
                at, cpu, wall = now.value, _cpu(pid), time.monotonic()
            size = _status("VmRSS", pid)
            what = ""
            if not worker.is_alive():
                what = f"dies with exit code {worker.exitcode}"
            elif size > MOST_RESIDENT:
                what = f"takes more than {size / 2**20:,.0f} MiB"
            elif at >= 0 and (_cpu(pid) - cpu > seconds or time.monotonic() - wall > 12 * seconds):
                what = f"hangs for {seconds:g} s"
            if not what or not results.empty():  # what it said before it died comes first
                continue
            if at < 0 or worker.exitcode == 1:
                raise RuntimeError(f"{name}: the process {what} at its own fault, input {at // 2}")
            worker.kill()
            first = at // 2 + 1
            if at % 2:  # else HDF5 could not be made to write this damage
                peak = max(peak, size)
                findings.append(Finding(name, at // 2, what))
                done["finding"] += 1
            break
        worker.join()
        if reader.writes:
            shutil.rmtree(f"{reader.writes}{pid}", ignore_errors=True)
    return Tally(done.total(), done["read"], done["refused"], findings, slowest, peak)


# With coverage


def _packed(tree: Tree) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in tree.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


def _unpacked(data: bytes, default: Tree) -> Tree:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, NotImplementedError):  # the first inputs are atheris's own
        return default


def cover(name: str, reader: Reader, seconds: int, kept: Path) -> None:
    """Search for so long for inputs that reach new lines, keep findings as they are made, and end the process."""
    atheris: Any = import_module("atheris")
    seeds = [*reader.seeds(), *corpus(name).values()]
    others = [data for tree in seeds for data in tree.values()]
    scratch, inputs = (Path(tempfile.mkdtemp(prefix=f"fuzz_{name}_")) for _ in range(2))
    known: set[str] = set()
    for number, tree in enumerate(seeds):
        outcome(reader, tree, scratch)  # imports
        (inputs / f"{number}").write_bytes(_packed(tree))
    for function in _functions():
        atheris.instrument_func(function)

    def one(data: bytes) -> None:
        tree = _unpacked(data, seeds[0])
        found, what = outcome(reader, tree, scratch)
        if found == "finding" and what not in known:
            known.add(what)
            _save(tree, what, kept / name / f"coverage_{len(known)}")

    def other(data: bytes, max_size: int, seed: int) -> bytes:
        random = Random(seed)
        changed = _packed(reader.mend(mutate(_unpacked(data, seeds[0]), random, reader.words, others)))
        return changed if len(changed) <= max_size else data

    limits = [f"-max_total_time={seconds}", f"-timeout={MOST_SECONDS:.0f}", "-rss_limit_mb=4096", "-max_len=1000000"]
    atheris.Setup(["fuzz_readers", *limits, f"-artifact_prefix={kept / name}_", str(inputs)], one, custom_mutator=other)
    atheris.Fuzz()


def _functions() -> Iterator[Any]:
    """This project's, as far as it is imported, without those that numba compiles."""
    for module in list(sys.modules.values()):
        name = getattr(module, "__name__", "")
        if not name.startswith("connectome") or name.endswith("kernels"):
            continue
        owners = [module, *(v for v in vars(module).values() if isinstance(v, type) and v.__module__ == name)]
        for owner in owners:
            for value in list(vars(owner).values()):
                if isinstance(value, FunctionType) and value.__module__ == name:
                    yield value


def _save(tree: Tree, what: str, case: Path) -> None:
    for name, data in tree.items():
        (case / name).parent.mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            (case / name).write_bytes(data)
    case.with_suffix(".txt").write_text(what + "\n")


# The program


def main(argv: Sequence[str] | None = None, readers: Mapping[str, Reader] = READERS, name: str = "fuzz_readers") -> int:
    """Fuzz, say what was found, and return 1 if anything was."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.{name}", description="Damaged files for every reader.")
    parser.add_argument("--inputs", type=int, default=100_000, help="over all readers (default: 100,000)")
    parser.add_argument("--readers", default=",".join(readers), help="default: all")
    parser.add_argument("--seed", type=int, default=0, help="another gives other inputs (default: 0)")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="this input of one reader, here, with its traceback")
    parser.add_argument("--coverage", type=int, metavar="SECONDS", help="for each reader; needs atheris")
    parser.add_argument("--findings", type=Path, default=Path("runs/fuzz"), help="folder (default: runs/fuzz)")
    options = parser.parse_args(argv)
    names = options.readers.split(",")
    if unknown := set(names) - set(readers):
        parser.error(f"no readers {', '.join(sorted(unknown))}; there are: {', '.join(readers)}")
    if options.only is not None:
        return _only(names[0], readers[names[0]], options.seed, options.only)
    if options.coverage is not None:
        return _coverage({name: readers[name] for name in names}, options.coverage, options.findings)
    shares = sum(readers[name].share for name in names)
    ends: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: ends.append(number))
    titles = "inputs", "read", "refused", "findings", "slowest", "memory", "time"
    say(f"{'reader':>16}" + "".join(f"{t:>{n}}" for t, n in zip(titles, (8, 8, 8, 9, 10, 10, 7), strict=True)))
    tallies = []
    for name in names:
        start = time.monotonic()
        each = math.ceil(options.inputs * readers[name].share / shares)
        tally = fuzz(name, readers[name], each, options.seed, stopped=lambda: bool(ends))
        tallies.append(tally)
        say(
            f"{name:>16} {tally.inputs:7,} {tally.read:7,} {tally.refused:7,} {len(tally.findings):8} "
            f"{tally.slowest:7.2f} s {tally.peak / 2**20:5,.0f} MiB {time.monotonic() - start:4.0f} s"
        )
        for what, found in _by_what(tally.findings).items():
            first = found[0]
            _in_a_process(_keep, name, readers[name], options.seed, first.number, what, options.findings)
            say(f"    {len(found)} like {first.number}: {first.what[:1000]}")
        if ends:
            break
    if ends:
        say("Stopped before its end. What was attacked until then:")
    total = Tally(
        sum(t.inputs for t in tallies), sum(t.read for t in tallies), sum(t.refused for t in tallies),
        [f for t in tallies for f in t.findings], max(t.slowest for t in tallies), max(t.peak for t in tallies),
    )  # fmt: skip
    say(
        f"{'all':>16} {total.inputs:7,} {total.read:7,} {total.refused:7,} {len(total.findings):8} "
        f"{total.slowest:7.2f} s {total.peak / 2**20:5,.0f} MiB"
    )
    return 1 if total.findings else 0


def _keep(name: str, reader: Reader, seed: int, number: int, what: str, kept: Path) -> None:
    _save(input_of(name, reader, seed)(number), what, kept / name / f"{number}")


def _in_a_process(work: Callable[..., None], *given: Any) -> None:
    """Seeds are made by code that starts threads, after which a process must not be forked."""
    child = multiprocessing.get_context("fork").Process(target=work, args=given)
    child.start()
    child.join()


def _by_what(findings: Sequence[Finding]) -> dict[str, list[Finding]]:
    """Findings that differ only in what they quote are one."""
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        place = finding.what.rpartition(" at ")
        key = f"{finding.what.partition(':')[0]} {place[2]}" if place[0] else re.sub(r"\d+|'.*'", "", finding.what)[:60]
        found.setdefault(key, []).append(finding)
    return found


def _only(name: str, reader: Reader, seed: int, number: int) -> int:
    tree = input_of(name, reader, seed)(number)
    with tempfile.TemporaryDirectory() as place:
        say(f"{ {k: len(v) for k, v in tree.items()} }")
        found, what = outcome(reader, tree, Path(place), raised=traceback.print_exception)
        say(f"{found}: {what}")
        return 1 if found == "finding" else 0


def _coverage(readers: Mapping[str, Reader], seconds: int, kept: Path) -> int:
    for name, reader in readers.items():
        (kept / name).mkdir(parents=True, exist_ok=True)
        _in_a_process(cover, name, reader, seconds, kept)
    found = [p for name in readers for p in (kept / name).glob("coverage_*.txt")]
    say(f"{len(found)} findings in {kept}")
    return 1 if found else 0


def say(text: str) -> None:
    """Print at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

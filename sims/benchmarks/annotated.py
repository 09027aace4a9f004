"""An annotated connectome of FlyWire's size as a CSV file: loaded, saved, opened, selected, and made into regions."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from connectome.graph.partition import regions_from
from connectome.io.edge_tables import read_csv
from connectome.io.snapshot import load, open_snapshot, save
from sims.benchmarks.bench import Bench, Table, forget_peak, peak_gb

__all__ = ["annotated", "write_annotated"]

#: FlyWire 783: neurons, and connections of one synapse or more (Dorkenwald et al. 2024, Nature 634, 124).
N_NEURONS: Final = 139_255
N_EDGES: Final = 15_000_000
_ROWS: Final = 1 << 18
_CLASSES: Final = ("optic", "central", "sensory", "visual_projection", "ascending", "descending", "motor", "endocrine")
_TRANSMITTERS: Final = ("ACH", "GABA", "GLUT", "DA", "SER", "OCT")
T = TypeVar("T")


def write_annotated(path: Path, n: int, n_edges: int, seed: int = 0) -> None:
    """Write ``path`` and ``..._nodes.csv`` beside it, with ten attributes: of neurons super_class, cell_type, side,
    nt_type (texts), nt_score (a number), size_nm3 (an integer) and proofread (a flag); of connections neuropil, nt_type
    (texts) and score (a number). One value in twenty is missing.

    Neurons have ids of 18 digits and places. Degrees are log-normal, as measured (Lin et al. 2024, Nature 634, 153),
    and nearer neurons are joined rather; the number of synapses of a connection falls off with a power of it.
    """
    rng = np.random.default_rng(seed)
    ids = 720_575_940_600_000_000 + np.sort(rng.choice(400 * n, n, replace=False))
    place = rng.normal(scale=(200e3, 100e3, 60e3), size=(n, 3))
    order = np.argsort(place[:, 0])
    known = np.where(rng.random((n, 1)) < 0.05, np.nan, (place / 1000).round(3))
    classes = rng.choice(_CLASSES, n, p=[0.55, 0.23, 0.12, 0.06, 0.015, 0.01, 0.01, 0.005])
    types = np.array([f"T{i:04d}" for i in range(min(8000, n))], object)
    columns: dict[str, Any] = {
        "root_id": ids, "super_class": classes, "cell_type": rng.choice(types, n), "nt_score": rng.random(n).round(3),
        "side": np.where(place[:, 0] < 0, "left", "right"), "nt_type": rng.choice(_TRANSMITTERS, n),
        "size_nm3": rng.lognormal(23, 1, n).astype(np.int64),
        "proofread": np.where(rng.random(n) < 0.9, "true", "false"),
        **dict(zip("xyz", known.T, strict=True)),
    }  # fmt: skip
    _write(path.with_name(f"{path.stem}_nodes{path.suffix}"), columns, rng, {"root_id", *"xyz"})
    out, into = (np.cumsum(w / w.sum()) for w in (rng.lognormal(0, 0.9, n), rng.lognormal(0, 1.0, n)))
    neuropils = np.array([f"NP_{i:02d}" for i in range(78)], object)
    for first in range(0, n_edges, _ROWS):
        size = min(_ROWS, n_edges - first)
        source, target = (np.searchsorted(c, rng.random(size)).clip(max=n - 1) for c in (out, into))
        near = rng.random(size) < 0.7
        there = np.searchsorted(place[order, 0], place[source, 0] + rng.normal(scale=20e3, size=size)).clip(max=n - 1)
        target = np.where(near, order[there], target)
        rows = {
            "pre_root_id": ids[source], "post_root_id": ids[target], "syn_count": rng.zipf(2.2, size).clip(max=2000),
            "neuropil": rng.choice(neuropils, size), "nt_type": columns["nt_type"][source],
            "score": rng.random(size).round(3),
        }  # fmt: skip
        _write(path, rows, rng, {"pre_root_id", "post_root_id", "syn_count"}, append=first > 0)


def _write(
    path: Path, columns: dict[str, Any], rng: np.random.Generator, whole: set[str], append: bool = False
) -> None:
    import pandas

    frame = pandas.DataFrame(columns)
    for name in columns.keys() - whole:
        frame[name] = frame[name].astype(object).mask(rng.random(len(frame)) < 0.05)
    frame.to_csv(path, index=False, header=not append, mode="a" if append else "w")


def annotated(bench: Bench) -> Iterator[Table]:
    """Seconds and memory from the file on."""
    n, n_edges = (2000, 20_000) if bench.quick else (N_NEURONS, N_EDGES)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fly.csv"
        bench.say("writing the files")
        write_annotated(path, n, n_edges)
        size = path.stat().st_size
        rows: list[dict[str, Any]] = []

        def timed(what: str, work: Callable[[], T]) -> T:
            bench.say(what)
            forget_peak()
            wall, cpu = time.perf_counter(), time.process_time()
            found = work()
            rows.append(
                {
                    "what": what, "wall s": time.perf_counter() - wall, "CPU s": time.process_time() - cpu,
                    "peak GB": peak_gb(),
                }
            )  # fmt: skip
            return found

        c = timed("load the CSV files", lambda: read_csv(path))
        timed("save a snapshot", lambda: save(c, Path(folder) / "fly.h5"))
        digest = c.digest()
        del c
        timed("open it: what it says of itself", lambda: open_snapshot(Path(folder) / "fly.h5"))
        c = timed("open it: all, checked", lambda: load(Path(folder) / "fly.h5"))
        assert c.digest() == digest
        query = "super_class == 'central' and side == 'left' and nt_score > 0.5"
        chosen = timed(f"select: {query}", lambda: c.select(query))
        edges_query = "neuropil in ('NP_01', 'NP_02') and source.side == 'left'"
        edges = timed(f"select edges: {edges_query}", lambda: c.select_edges(edges_query))
        timed("the subnetwork of those neurons", lambda: c.subnetwork(chosen))
        timed("regions from super_class", lambda: regions_from(c, "super_class"))
        found = f"{len(chosen):,} neurons and {int(sum(m.sum() for m in edges.values())):,} edges were selected"
        snapshot_size = (Path(folder) / "fly.h5").stat().st_size
    yield Table(
        f"{n:,} neurons, {n_edges:,} connections, ten attributes",
        f"Once, on one core. CSV {size / 1e9:.2f} GB, snapshot {snapshot_size / 1e9:.2f} GB; {found}. "
        "Peak: of the whole process, 1e9 bytes.", rows,
    )  # fmt: skip

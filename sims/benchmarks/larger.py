"""Graphs that need not fit in memory: edges streamed to disk, run from there, written as tables, queried."""

from __future__ import annotations

import multiprocessing
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from connectome import EdgeSet, Region, run
from connectome.errors import ConnectomeError
from connectome.io.partitions import write_partitions
from connectome.io.queries import open_tables
from connectome.io.snapshot import load, save_parts
from connectome.simulate.stimulus import Stimulus
from sims.benchmarks.bench import Bench, Table

__all__ = ["larger"]

_DEGREE: Final = 1000
_SIZES: Final = (10**8, 10**9)
_DISK: Final = 45  # bytes an edge: the snapshot, tables, and what queries lay in files
_PART: Final = 1000  # neurons of a part
_MEMORY: Final = 3e9  # that DuckDB keeps to
_MS: Final = 200.0
Took = tuple[float, float, float, str]


def larger(bench: Bench) -> Iterator[Table]:
    """Random networks of a thousand edges a neuron, in the folder for temporary files (``TMPDIR``), as far as its disk
    has room."""
    free = shutil.disk_usage(tempfile.gettempdir()).free
    for n_edges in (10**6,) if bench.quick else _SIZES:
        if n_edges * _DISK > free:
            bench.say(f"{n_edges:,} edges: left out, {n_edges * _DISK / 1e9:.0f} GB of disk are needed")
            continue
        with (
            tempfile.TemporaryDirectory(prefix="larger_") as folder,
            multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool,
        ):  # each step's memory is its own
            rows = []
            for name, step in _steps(Path(folder), n_edges).items():
                bench.say(f"{n_edges:,} edges: {name}")
                wall, cpu, private, found = pool.apply(_watched, (step,))
                rows.append({"step": name, "wall s": wall, "CPU s": cpu, "private GB at the peak": private, "": found})
        yield Table(f"{n_edges:,} edges", "One process a step; private memory is without pages of files.", rows)


def _steps(folder: Path, n_edges: int) -> dict[str, Callable[[], str]]:
    snapshot, tables = folder / "network.h5", folder / "tables"
    steps: dict[str, Callable[[], str]] = {
        "streamed to a snapshot": partial(_stream, snapshot, n_edges),
        f"loaded and run for {_MS:g} ms": partial(_run, snapshot),
        "written as tables": partial(_tables, snapshot, tables),
        "the edges of one neuron": partial(_sql, tables, "SELECT count(*) FROM edges WHERE source = 77"),
        "out-degrees": partial(_sql, tables, "SELECT max(n) FROM (SELECT count(*) n FROM edges GROUP BY source)"),
        "degrees and strengths": partial(_query, tables, "degrees"),
        "hubs": partial(_query, tables, "hubs"),
        "region x region": partial(_query, tables, "between"),
        "class x class": partial(_query, tables, "between", by="class"),
        "reciprocity": partial(_query, tables, "reciprocity"),
    }
    return steps


def _watched(step: Callable[[], str]) -> Took:
    """Wall and CPU seconds, and private memory at the peak."""
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            found = re.search(r"RssAnon:\s*(\d+) kB", Path("/proc/self/status").read_text())
            peak[0] = max(peak[0], int(found[1]) * 1024 / 1e9 if found else 0.0)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    wall, cpu = time.perf_counter(), time.process_time()
    found = step()
    took = time.perf_counter() - wall, time.process_time() - cpu
    done.set()
    watcher.join()
    return *took, peak[0], found


def _parts(n: int) -> Iterator[EdgeSet]:
    rng = np.random.default_rng(1)
    for first in range(0, n, _PART):
        rows = min(_PART, n - first)
        degree = np.zeros(n, np.int64)
        degree[first : first + rows] = _DEGREE
        target = np.sort(rng.integers(0, n, (rows, _DEGREE), dtype=np.int32), axis=1).ravel()
        weight = rng.standard_normal(target.size, dtype=np.float32)
        one = partial(np.broadcast_to, shape=target.shape)
        yield EdgeSet(
            ("a", "local", "a"), n, np.concatenate([[0], np.cumsum(degree)]),  # type: ignore[arg-type]
            target if n > 2**16 else target.astype(np.uint16), weight, one(np.uint16(15)), 0.1, one(np.int16(0)),
        )  # fmt: skip


def _stream(path: Path, n_edges: int) -> str:
    n = n_edges // _DEGREE
    region = Region("a", n, attributes={"class": [f"c{i % 20}" for i in range(n)]})  # type: ignore[dict-item]
    save_parts(path, [region], _parts(n))
    return f"{path.stat().st_size / n_edges:.1f} bytes an edge"


def _run(path: Path) -> str:
    connectome = load(path)
    rng = np.random.default_rng(2)
    v_mv = -65 + 15 * rng.random(connectome.n_neurons)
    spikes = run(connectome, _MS, Stimulus(current_pa={"a": 380.0}), initial_v_mv={"a": v_mv})
    return f"{spikes.sizes['spike']:,} spikes"


def _tables(snapshot: Path, tables: Path) -> str:
    connectome = load(snapshot)
    write_partitions(connectome, tables)
    size = sum(file.stat().st_size for file in tables.rglob("*.parquet"))
    return f"{size / connectome.n_edges:.1f} bytes an edge"


def _sql(path: Path, query: str) -> str:
    with open_tables(path, memory_bytes=_MEMORY) as tables:
        found: Any = tables.sql(query)
        return f"{int(found.iloc[0, 0]):,}"


def _query(path: Path, name: str, **options: Any) -> str:
    with open_tables(path, memory_bytes=_MEMORY) as tables:
        try:
            found = getattr(tables, name)(**options)
        except ConnectomeError as error:
            return f"failed: {error}"
    return f"{found:.3g}" if isinstance(found, float) else f"{len(found):,} rows"

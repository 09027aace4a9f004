"""Graphs like the fly's brain in size, degrees and counts, for benchmarks: made, not measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["FLYWIRE", "LARVA", "Fly", "fly_like", "write_files"]

#: Neurons and connections of FlyWire's materialisation 783 (Dorkenwald et al. 2024, Nature 634:124), and roughly of the
#: larva's brain (Winding et al. 2023, Science 379:eadd9330).
FLYWIRE: Final = (139_255, 15_000_000)
LARVA: Final = (3_000, 110_000)
#: Standard deviation of the logarithm of what neurons give and get: degrees span three decades, as measured ones do.
_SPREAD: Final = 1.0


class Fly(NamedTuple):
    """(n,) ids, and +1 or -1 of each neuron; (m,) source, target and number of synapses of each connection, in order of
    source, then target, no pair twice and none with itself."""

    id: NDArray[np.int64]
    sign: NDArray[np.int8]
    source: NDArray[np.int32]
    target: NDArray[np.int32]
    synapses: NDArray[np.int32]


def fly_like(n: int, m: int, seed: int = 1) -> Fly:
    """A graph of n neurons and m connections. What a neuron gives and what it gets are lognormal, and go together; a
    third of the neurons inhibit; counts are lognormal, half of them 1 or 2, some in the hundreds."""
    rng = np.random.default_rng(seed)
    size = rng.normal(0, _SPREAD, n)
    give, get = (np.cumsum(np.exp(size + rng.normal(0, _SPREAD / 2, n))) for _ in range(2))
    pairs = np.zeros(0, np.int64)
    while pairs.size < m:
        more = int(1.2 * (m - pairs.size)) + 1000
        i, j = (np.searchsorted(c, rng.random(more) * c[-1], "right") for c in (give, get))
        pairs = np.sort(np.concatenate([pairs, (i * n + j)[i != j]]))
        pairs = pairs[np.append(True, pairs[1:] != pairs[:-1])]
    pairs = np.delete(pairs, rng.choice(pairs.size, pairs.size - m, replace=False))
    source, target = np.divmod(pairs, n)
    sign = np.where(rng.random(n) < 1 / 3, -1, 1).astype(np.int8)
    count = 1 + rng.lognormal(0.0, 1.3, m).astype(np.int32)
    first = 720_575_940_000_000_000  # as FlyWire's look
    ids = first + np.sort(rng.choice(10**9, n, replace=False))
    return Fly(ids, sign, source.astype(np.int32), target.astype(np.int32), count)


def write_files(fly: Fly, folder: Path) -> None:
    """The two files of the model of Shiu et al., under their names. Needs pyarrow."""
    import pyarrow
    from pyarrow import parquet

    lines = ["", "Completed"], *([str(i), "True"] for i in fly.id.tolist())
    (folder / "Completeness_783.csv").write_text("\n".join(",".join(line) for line in lines) + "\n")
    sign = fly.sign[fly.source].astype(np.int64)
    columns: dict[str, Any] = {
        "Presynaptic_ID": fly.id[fly.source], "Postsynaptic_ID": fly.id[fly.target],
        "Presynaptic_Index": fly.source.astype(np.int64), "Postsynaptic_Index": fly.target.astype(np.int64),
        "Connectivity": fly.synapses.astype(np.int64), "Excitatory": sign,
        "Excitatory x Connectivity": sign * fly.synapses,
    }  # fmt: skip
    parquet.write_table(pyarrow.table(columns), folder / "Connectivity_783.parquet")

"""New edges between neurons that are not joined yet."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome.graph.connectome import Connectome
from connectome.graph.parts import EdgeKey, EdgeSet, Region

__all__ = ["new_edges", "signed"]

Array = NDArray[Any]


def new_edges(
    connectome: Connectome, key: EdgeKey, count: int, amplitude_pa: float, delay_ms: float, stage: int,
    rng: np.random.Generator,
) -> EdgeSet:  # fmt: skip
    """``count`` edges, or as many as there are free pairs, between pairs that no edge of the set joins yet."""
    source, target = connectome.regions[key.source], connectome.regions[key.target]
    here = connectome.edges.get(key)
    taken = here.source.astype(np.int64) * target.size + here.target if here is not None else np.zeros(0, np.int64)
    pairs = source.size * target.size
    chosen = np.zeros(0, np.int64)
    free = pairs - np.unique(taken).size
    want = min(count, free)
    if 2 * want > free:  # nearly full: drawing at random would mostly hit what is taken
        chosen = rng.permutation(np.setdiff1d(np.arange(pairs), taken))[:want]
    while chosen.size < want:
        # Twice what is missing, less what is taken: few rounds until the set is nearly full.
        drawn = rng.integers(0, pairs, 2 * (want - chosen.size) + 16)
        chosen = np.concatenate([chosen, drawn[~np.isin(drawn, taken)]])
        chosen = chosen[np.sort(np.unique(chosen, return_index=True)[1])]
    src, tgt = np.divmod(chosen[:want], max(target.size, 1))
    return EdgeSet.from_arrays(
        key, src, tgt, signed(source, src, rng.exponential(amplitude_pa, want), rng), n_source=source.size,
        n_target=target.size, dt_ms=connectome.dt_ms, delay_ms=delay_ms, birth_stage=stage,
    )  # fmt: skip


def signed(source: Region, neuron: Array, magnitude: Array, rng: np.random.Generator) -> Array:
    """Magnitudes with the signs of their source neurons; the sign is random where a neuron may have both."""
    sign = source.sign[neuron]
    return np.asarray(magnitude * np.where(sign == 0, rng.choice((-1, 1), neuron.size), sign))

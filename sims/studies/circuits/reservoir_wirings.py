"""Wirings that reservoirs are tried on besides random ones: an adult worm's, and that of a fly's larva.

The larva's is read from a folder of the published files (Winding and others 2023, Science 379:eadd9330) that the
environment variable ``LARVA_FOLDER`` names. Without it a file is made that looks like them from outside, for there is
none at hand: 3,016 cells and 548,000 synapses, as published, on 110,000 edges; who is joined to whom is drawn, with
degrees of a log-normal spread, which is ours. It shows that a wiring of that size and sparsity, and the reader, serve;
of the larva it says nothing.
"""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from connectome.circuits import reservoir as circuit
from connectome.datasets import references
from connectome.graph.flat import starts
from connectome.io import measured

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from connectome.graph.connectome import Connectome

__all__ = ["LARVA", "larva", "made_larva", "network_of"]

_WORM: Final = "celegans_witvliet2021_8"
#: Cells, edges and synapses of the larva's brain.
LARVA: Final = (3016, 110_000, 548_000)
#: Standard deviation of the logarithm of how many partners cells have.
_SPREAD: Final = 0.7
_Pairs = tuple["NDArray[np.int64]", "NDArray[np.int64]", int]


def network_of(condition: str, seed: int, quick: bool) -> Connectome:
    """The reservoir of a condition before its inhibition is tuned."""
    if not condition.startswith(("worm", "larva")):
        return circuit.reservoir(seed=seed)
    source, target, n = _worm() if condition.startswith("worm") else _larva(quick)
    network = circuit.reservoir(n, pairs=(source, target), seed=seed)
    if "shuffled" not in condition:
        return network
    from connectome.analysis.shuffled import shuffled_wiring

    return shuffled_wiring(network, seed)


@cache
def _worm() -> _Pairs:
    """Sources and targets of the chemical synapses of an adult worm, and its neurons."""
    return _pairs(references.load(_WORM))


@cache
def _larva(quick: bool) -> _Pairs:
    """The same of the larva, each pair once however its axons and dendrites are joined; with ``quick`` of a made one a
    fifth as large."""
    source, target, n = _pairs(larva(*(part // 5 if quick else part for part in LARVA)))
    return *np.divmod(np.unique(source.astype(np.int64) * n + target), n), n


def larva(cells: int, edges: int, synapses: int) -> Connectome:
    """The brain in the folder that ``LARVA_FOLDER`` names, or one that is made, of this size, written and read."""
    if folder := os.environ.get("LARVA_FOLDER"):
        return measured.read("larva", folder)
    with tempfile.TemporaryDirectory() as made:
        made_larva(Path(made), cells, edges, synapses)
        return measured.read("larva", made)


def made_larva(folder: Path, cells: int, edges: int, synapses: int) -> None:
    """Write ``all-all_connectivity_matrix.csv`` as published, row = presynaptic cell, of a drawn wiring."""
    rng = np.random.default_rng(2023)
    out, into = (share / share.sum() for share in rng.lognormal(0, _SPREAD, (2, cells)))
    chosen = np.zeros(0, np.int64)
    while chosen.size < edges:
        more = rng.choice(cells, 2 * edges, p=out) * cells + rng.choice(cells, 2 * edges, p=into)
        chosen = np.unique(np.concatenate([chosen, more[more % cells != more // cells]]))
    source, target = np.divmod(np.sort(rng.choice(chosen, edges, replace=False)), cells)
    count = 1 + np.bincount(rng.integers(0, edges, synapses - edges), minlength=edges)
    names = [str(10_000 + 7 * k) for k in range(cells)]
    first = np.searchsorted(source, np.arange(cells + 1))
    with (folder / "all-all_connectivity_matrix.csv").open("w", encoding="utf-8") as file:
        file.write(",".join(["", *names]) + "\n")
        for name, start, stop in zip(names, first[:-1], first[1:], strict=True):
            row = ["0"] * cells
            for at, n in zip(target[start:stop].tolist(), count[start:stop].tolist(), strict=True):
                row[at] = str(n)
            file.write(",".join([name, *row]) + "\n")


def _pairs(of: Connectome) -> _Pairs:
    """Sources and targets of all edges, and the number of neurons."""
    first = starts(of.regions.values())
    ends = [(e.source + first[k.source], e.target + first[k.target]) for k, e in of.edges.items()]
    source, target = (np.concatenate(end) for end in zip(*ends, strict=True))
    return source, target, of.n_neurons

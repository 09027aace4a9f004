"""Forecasts of signal propagation against a measured atlas: on the measured wiring, and on shuffled wiring. Each wiring
is a cell of a study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.analysis.style import BLUE
from sims.studies.cells import Cell, Study

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from connectome.analysis.propagation import Pairs
    from connectome.experiment.physiology import Physiology
    from connectome.graph.connectome import Connectome

__all__ = ["BASELINE", "FIGURES", "Setup", "assemble", "cells_of", "draw", "middle", "prepare", "study_of"]

MEASURED, SHUFFLED = "measured", "shuffled"
SPIKES: Final = "spiking network"
#: What every other score is compared with.
BASELINE: Final = "path length, with gap junctions"
#: Variable -> what it is called.
FIGURES: Final = {"rank": "rank correlation", "area": "ROC area"}
_WAYS: Final = ("value", "low", "high")


class Setup(NamedTuple):
    """The chemical synapses and the gap junctions of a wiring, what is made of it, and the measured pairs."""

    chemical: Connectome
    electrical: Connectome
    physiology: Physiology
    pairs: Mapping[str, Pairs]
    n_neurons: int

    @property
    def stimulated(self) -> NDArray[np.int64]:
        """Neurons that were stimulated in animals of any strain."""
        return np.unique(np.concatenate([pairs.cells for pairs in self.pairs.values()]))


def prepare(graph: str, atlas: str, physiology: Mapping[str, Any]) -> Setup:
    """Open the graph and the atlas and put their neurons together. Raises :class:`ConnectomeError`."""
    from connectome.analysis.propagation import measured_pairs
    from connectome.analysis.simple_graph import simple_graph
    from connectome.datasets import references
    from connectome.errors import ConnectomeError
    from connectome.experiment.physiology import physiology_from
    from connectome.experiment.propagation import split_gap_junctions
    from connectome.io.functional_atlases import read_functional_atlas
    from sims.inputs import open_graph

    found = read_functional_atlas(atlas)
    is_named = graph in references.names() and not Path(graph).exists()
    whole = references.load(graph, synapses="both") if is_named else open_graph(graph)
    chemical, electrical = split_gap_junctions(whole)
    label = simple_graph(whole).label
    if label is None:
        raise ConnectomeError("graph", "must have labels, the names that neurons have in the atlas", "none")
    pairs = {strain: measured_pairs(found, strain, label.tolist()) for strain in found.strains}
    largest_first = dict(sorted(pairs.items(), key=lambda item: -item[1].size.size))
    return Setup(chemical, electrical, physiology_from(physiology), largest_first, label.size)


def study_of(options: Mapping[str, Any]) -> Study:
    """``options``: graph, atlas, physiology, rate_hz, duration_ms, seeds."""
    return Study("Measured signal propagation.", (), _cell, lambda results: [], options=options)


def cells_of(nulls: int) -> list[Cell]:
    """The measured wiring, then the shuffled ones."""
    return [Cell(MEASURED, 0), *(Cell(SHUFFLED, k) for k in range(nulls))]


@lru_cache(maxsize=1)  # a process does many wirings of one comparison
def _setup(graph: str, atlas: str, physiology: str) -> Setup:
    import json

    return prepare(graph, atlas, json.loads(physiology))


def _cell(cell: Cell, options: Mapping[str, Any]) -> xr.Dataset:
    """The figures of every score on one wiring; of the measured one with intervals, those of each seed of the spiking
    network, and differences to path length."""
    import json

    import xarray as xr

    from connectome.analysis.propagation import agreement, difference, tuned

    setup = _setup(options["graph"], options["atlas"], json.dumps(options["physiology"]))
    is_measured = cell.condition == MEASURED
    draws = {"draws": options["draws"] if is_measured else 0}
    scores, of_seed = _scores(setup, cell, options)
    names, strains = list(scores), list(setup.pairs)
    found = np.full((2, len(strains), len(names), 3), np.nan)
    less, seeds = found.copy(), np.full((2, len(strains), len(of_seed)), np.nan)
    for s, pairs in enumerate(setup.pairs.values()):
        everyone = np.ones(pairs.cells.size, bool)
        each = {}
        for name, tried in scores.items():
            of = [pairs.of(score) for score in tried]
            judged = tuned(pairs, of)[0] if len(of) > 1 else [(of[0], everyone)]
            each[name] = agreement(pairs, judged, **draws)
        for k, a in enumerate(each.values()):
            found[:, s, k], less[:, s, k] = a[:2], difference(a, each[BASELINE])[:2]
        for k, score in enumerate(of_seed):
            seeds[:, s, k] = [f.value for f in agreement(pairs, [(pairs.of(score), everyone)], draws=0)[:2]]
    at = ("strain", "score", "way")
    made: dict[str, Any] = {name: (at, found[k]) for k, name in enumerate(FIGURES)}
    if is_measured:
        made |= {f"{name}_less_path": (at, less[k]) for k, name in enumerate(FIGURES)}
        made |= {f"{name}_of_seed": (("strain", "spiking_seed"), seeds[k]) for k, name in enumerate(FIGURES)}
        of_pairs = setup.pairs.values()
        made |= {"n_pairs": ("strain", [p.size.size for p in of_pairs])}
        made |= {"n_stimulated": ("strain", [p.cells.size for p in of_pairs])}
        made |= {"n_connected": ("strain", [int(p.connected.sum()) for p in of_pairs])}
        made |= {"n_unconnected": ("strain", [int(p.unconnected.sum()) for p in of_pairs])}
    return xr.Dataset(made, {"strain": strains, "score": names, "way": list(_WAYS)})


def _scores(
    setup: Setup, cell: Cell, options: Mapping[str, Any]
) -> tuple[dict[str, list[NDArray[np.float64]]], list[NDArray[np.float64]]]:
    """Every score by name, several where one has to be chosen, and those of each seed of the spiking network."""
    from connectome.analysis.nulls import null
    from connectome.analysis.shuffled import shuffled_wiring
    from connectome.analysis.simple_graph import simple_graph
    from connectome.experiment.animation import animate
    from connectome.experiment.propagation import evoked_rates, graded_scores, wiring_scores

    chemical, electrical = setup.chemical, simple_graph(setup.electrical)
    if cell.condition == SHUFFLED:
        chemical, electrical = shuffled_wiring(chemical, cell.seed), null(electrical, "degree", cell.seed)
    network, _ = animate(chemical, setup.physiology)
    graph, stimulated = simple_graph(network), setup.stimulated
    scores = {name: [score] for name, score in wiring_scores(graph, electrical).items()}
    scores |= graded_scores(graph, electrical)
    evoked = np.zeros((options["seeds"], setup.n_neurons, setup.n_neurons))
    for seed in range(options["seeds"]):
        evoked[seed, stimulated] = evoked_rates(
            network, setup.physiology, stimulated.tolist(), rate_hz=options["rate_hz"],
            duration_ms=options["duration_ms"], seed=seed,
        )  # fmt: skip
    return scores | {SPIKES: [np.abs(evoked.mean(0))]}, list(np.abs(evoked))


def assemble(found: Iterable[tuple[Cell, xr.Dataset]]) -> xr.Dataset:
    """The figures on the measured wiring; ``rank_shuffled`` and ``area_shuffled`` (null, strain, score) those on
    shuffled wiring, and ``_p`` the one-sided p-values against them."""
    import xarray as xr

    from connectome.analysis.influence import against_shuffled

    results, nulls = xr.Dataset(), list[xr.Dataset]()
    for cell, one in found:
        if cell.condition == MEASURED:
            results = one
        else:
            nulls.append(one)
    for name in FIGURES:
        values = np.array([one[name].sel(way="value").values for one in nulls]).reshape(
            len(nulls), results.sizes["strain"], results.sizes["score"]
        )
        measured = results[name].sel(way="value").values
        p = np.array([
            [against_shuffled(float(v), values[:, s, k].tolist()).p for k, v in enumerate(row)]
            for s, row in enumerate(measured)
        ])  # fmt: skip
        results[f"{name}_shuffled"] = ("null", "strain", "score"), values
        results[f"{name}_p"] = ("strain", "score"), np.where(np.isnan(values).any(0), np.nan, p)
    return results


def middle(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, ...) mean, and the middle 95 %, of (null, ...) values; nan where one of them is, or there is none."""
    if not len(values):
        return np.full((3, *values.shape[1:]), np.nan)
    return np.stack([values.mean(0), *np.percentile(values, (2.5, 97.5), axis=0)])


def draw(results: xr.Dataset) -> Figure:
    """Both figures of every score with 95 % intervals, beside the middle 95 % of shuffled wirings: a column for each
    figure, a row for each strain."""
    from matplotlib.figure import Figure

    names: Sequence[str] = results.score.values.tolist()
    strains = results.strain.values.tolist()
    figure = Figure(figsize=(11, 0.6 + (0.7 + 0.24 * len(names)) * len(strains)), layout="constrained")
    axes = figure.subplots(len(strains), 2, squeeze=False, sharex="col", sharey=True)
    row = np.arange(len(names))[::-1]
    for across, strain in zip(axes, strains, strict=True):
        for ax, (name, title) in zip(across, FIGURES.items(), strict=True):
            value, low, high = results[name].sel(strain=strain).values.T
            nulls = results[f"{name}_shuffled"].sel(strain=strain).values
            _, below, above = middle(nulls)
            ax.barh(row, above - below, left=below, height=0.7, color="0.82", label="shuffled wiring, 95 %")
            ax.hlines(row, low, high, color=BLUE)  # a bootstrap's interval need not hold the value
            ax.plot(value, row, "o", ms=4, color=BLUE, label="measured wiring, 95 %")
            ax.axvline(0.5 if name == "area" else 0.0, color="0.5", lw=0.8, ls="--")
            ax.set_yticks(row, names, fontsize=8)
            ax.set_title(f"{strain}: {title}", fontsize=9)
    axes[0][0].legend(fontsize=7)
    return figure

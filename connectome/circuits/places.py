"""Places, recognised by an ensemble of small spiking modules (Hussaini, Milford & Fischer 2023, "Ensembles of compact,
region-specific & regularized spiking neural networks for scalable place recognition", ICRA, arXiv 2209.08723).

Each module learns one stretch of a route on its own: N excitatory neurons E that all see the view, each with an
interneuron I of its own that inhibits all other E (the network of Diehl & Cook 2015). Membranes and conductances:

    ``tau dV/dt = E_rest - V + g_e (E_exc - V) + g_i (E_inh - V)``,  g in units of the leak, here nS with a leak of 1 nS

E fires at ``-72 mV + theta``; theta begins at 20 mV and rises by 0.05 mV with each spike of the neuron. The view's
edges learn by a post-only triplet rule (:meth:`~connectome.simulate.stdp.TripletSTDP.post_only`), and before each view
the weights into a neuron are scaled to a sum of 78. A pixel p in 0 .. 255 fires at p / 4 Hz. After learning a neuron
belongs to the place that it responds to most, and the score of a place is the mean spike count of its neurons.

Modules side by side never compared views while they learnt, and some of their neurons respond to views of any place.
Those that respond to a share theta of *all* reference views or more, the *hyperactive* ones, are not counted.

Ours: a view is shown for 350 ms from rest, in place of a pause; theta rises after a view (its decay, over 1e7 ms, is
left out); :func:`removed` takes a neuron's edges out of the graph, so that others respond in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.arrays import freeze, integer
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome, Edit, RuleRecord
from connectome.graph.parts import EdgeKey, Region
from connectome.graph.selection import NodeSet, node_set
from connectome.neurons.iaf_cond_exp import IafCondExp
from connectome.simulate.runs import Stimulus, run
from connectome.simulate.stdp import TripletSTDP, learnt
from connectome.simulate.stimulus import Poisson
from connectome.wiring.edges import wire

__all__ = ["VIEW", "hyperactive", "ignored", "learn", "merged", "place_module", "removed", "responses", "scores"]

Floats = NDArray[np.float64]
#: Region -> (V, N) spikes of its neurons in response to each view.
Responses = Mapping[str, NDArray[np.int64]]
VIEW: Final = "view"
DT_MS: Final = 0.5
_SHOWN_MS: Final = 350.0
_HZ: Final = 0.25  # of a pixel, per grey level
_SUM: Final = 78.0  # of weights into a neuron, nS, each at most 1
_THETA_MV, _RISE_MV = 20.0, 0.05
_STDP: Final = TripletSTDP.post_only(1.0)
_SYNAPSES: Final[Mapping[str, Any]] = {"g_l_ns": 1.0, "e_ex_mv": 0.0, "tau_syn_ex_ms": 1.0, "tau_syn_in_ms": 0.5}
_E: Final = IafCondExp(
    c_m_pf=100.0, t_ref_ms=5.0, e_l_mv=-65.0, v_reset_mv=-65.0, v_th_mv=-72.0 + _THETA_MV, e_in_mv=-100.0, **_SYNAPSES
)
_I: Final = IafCondExp(
    c_m_pf=10.0, t_ref_ms=2.0, e_l_mv=-60.0, v_reset_mv=-45.0, v_th_mv=-40.0, e_in_mv=-85.0, **_SYNAPSES
)
_EXCITE, _INHIBIT = 10.4, 17.0


def place_module(name: str, n: int = 60, *, pixels: int = 784, seed: int = 0) -> Connectome:
    """A module that has learnt nothing: sensor ``view``, regions ``name`` and ``name_inhibition``. The view's weights
    are uniform, its delays at most 10 ms. Raises :class:`ConnectomeError`."""
    rng = np.random.default_rng(integer("seed", seed, 0, 2**63 - 1))
    view = Region(VIEW, integer("pixels", pixels, 200, 10**6), "sensor")
    unknown = np.full(integer("n", n, 2, 100_000), -1, np.float32)
    e = Region(name, n, "neuron", _E, sign=np.ones(n, np.int8), state={"place": unknown})
    i = Region(f"{name}_inhibition", n, "neuron", _I, sign=-np.ones(n, np.int8))
    every = np.repeat(np.arange(pixels), n), np.tile(np.arange(n), pixels)
    one, (i_from, i_to) = np.arange(n), np.nonzero(~np.eye(n, dtype=bool))
    weight, delay = rng.uniform(0.003, 0.3, pixels * n), rng.uniform(DT_MS, 10, pixels * n)
    edges = [
        wire(view, e, every, weight_pa=weight, delay_ms=delay, dt_ms=DT_MS, rng=rng),
        wire(e, i, (one, one), weight_pa=np.full(n, _EXCITE), dt_ms=DT_MS, rng=rng),
        wire(i, e, (i_from, i_to), weight_pa=np.full(n * (n - 1), -_INHIBIT), dt_ms=DT_MS, rng=rng),
    ]
    return Connectome.of([view, e, i], edges, dt_ms=DT_MS)


def learn(module: Connectome, views: ArrayLike, place: ArrayLike, *, epochs: int = 15, seed: int = 0) -> Connectome:
    """The module after ``epochs`` rounds through (V, pixels) views, 0 .. 255, each in another order. ``place``: (V,)
    where each view was taken, whole numbers >= 0. State ``place`` of the region says which place a neuron belongs to,
    -1 if it never responded. Raises :class:`ConnectomeError`."""
    (name,) = _modules(module)
    shown, where = _views(module, views), freeze("place", place, np.int64, (None,))
    if where.size != len(shown) or (where.size and where.min() < 0):
        raise ConnectomeError("place", f"must be {len(shown)} numbers >= 0, one a view", where[:5])
    rng = np.random.default_rng(integer("seed", seed, 0, 2**63 - 1))
    key = EdgeKey(VIEW, "afferent", name)
    for _ in range(integer("epochs", epochs, 1, 10_000)):
        for v in rng.permutation(len(shown)):
            module = _normalised(module, key)
            result = _shown(module, shown[v], int(rng.integers(2**63)), {key: _STDP})
            module = learnt(module, result)
            region = module.regions[name]
            v_th = region.neuron.parameters()["v_th_mv"] + _RISE_MV * _counts(module, result)[name]
            risen = replace(region, neuron=replace(_E, v_th_mv=v_th))
            module = replace(module, regions={**module.regions, name: risen})
    module = replace(_normalised(module, key), provenance=replace(module.provenance, rule_log=()))
    count = responses(module, shown, seed=seed)[name]
    places = np.unique(where)
    mean = np.stack([count[where == p].mean(0) for p in places])
    mine = np.where(mean.max(0) > 0, places[mean.argmax(0)], -1)
    return module.apply(Edit(region_state={name: {"place": mine.astype(np.float32)}}))


def merged(modules: Sequence[Connectome]) -> Connectome:
    """Modules with regions of different names as one graph, side by side on one view: each does what it did alone.
    Raises :class:`ConnectomeError`."""
    integer("modules", len(modules), 1, 10_000)
    found = modules[0]
    for other in modules[1:]:
        found = found.grow([r for r in other.regions.values() if r.name != VIEW], other.edges.values())
    return found


def responses(connectome: Connectome, views: ArrayLike, *, seed: int = 0) -> dict[str, NDArray[np.int64]]:
    """Region -> (V, N) spikes in response to each of (V, pixels) views, of each module; the spikes of a view depend
    on ``seed`` and the number of the view alone. Raises :class:`ConnectomeError`."""
    shown, counts = _views(connectome, views), []
    seeds = np.random.default_rng(integer("seed", seed, 0, 2**63 - 1)).integers(2**63, size=len(shown))
    for view, own in zip(shown, seeds.tolist(), strict=True):
        counts.append(_counts(connectome, _shown(connectome, view, own, {})))
    return {name: np.array([c[name] for c in counts]) for name in _modules(connectome)}


def hyperactive(connectome: Connectome, found: Responses, theta: float) -> NodeSet:
    """The neurons that responded to at least a share theta of the views. Raises :class:`ConnectomeError`."""
    if not 0 < theta <= 1:
        raise ConnectomeError("theta", "must be above 0 and at most 1", theta)
    return node_set(connectome, {name: (count > 0).mean(0) >= theta for name, count in found.items()})


def removed(connectome: Connectome, nodes: NodeSet) -> Edit:
    """The edit that removes every edge of these neurons. They stay, silent, and keep their numbers."""
    out = {name: np.zeros(r.size, bool) for name, r in connectome.regions.items()}
    for name, neurons in nodes.neurons.items():
        out[name][neurons] = True
    gone = {k: out[k.source][e.source] | out[k.target][e.indices] for k, e in connectome.edges.items()}
    gone = {key: mask for key, mask in gone.items() if mask.any()}
    stage = connectome.provenance.stage
    records = tuple(RuleRecord(stage, 0, "hyperactive", *key, removed=int(m.sum())) for key, m in gone.items())
    return Edit(remove=gone, records=records)


def ignored(connectome: Connectome, nodes: NodeSet) -> Edit:
    """The edit after which these neurons belong to no place; they go on inhibiting the others."""
    place = {name: {"place": connectome.regions[name].state["place"].copy()} for name in nodes.neurons}
    for name, neurons in nodes.neurons.items():
        place[name]["place"][neurons] = -1
    return Edit(region_state=place)


def scores(connectome: Connectome, found: Responses) -> Floats:
    """(V, P) score of each place for each view; 0 for a place with no neurons that still have edges."""
    place = np.concatenate([_place(connectome, name) for name in found])
    count = np.concatenate([found[name] for name in found], axis=1)
    known = max(int(connectome.regions[name].state["place"].max()) for name in found)
    mine = place == np.arange(known + 1)[:, None]
    score: Floats = count @ mine.T / np.maximum(mine.sum(1), 1)
    return score


def _modules(connectome: Connectome) -> list[str]:
    return [name for name, r in connectome.regions.items() if "place" in r.state]


def _place(connectome: Connectome, name: str) -> Floats:
    """(N,) the place of each neuron; -1 where the view no longer reaches it."""
    into, place = connectome.edges[EdgeKey(VIEW, "afferent", name)].indices, connectome.regions[name].state["place"]
    return np.where(np.isin(np.arange(place.size), into), place, -1)


def _views(connectome: Connectome, views: ArrayLike) -> Floats:
    found = freeze("views", views, np.float64, (None, connectome.regions[VIEW].size))
    if found.size and not (found.min() >= 0 and found.max() <= 255):
        raise ConnectomeError("views", "must be 0 .. 255", f"{found.min():g} .. {found.max():g}")
    return found


def _shown(connectome: Connectome, view: Floats, seed: int, plasticity: Mapping[EdgeKey, TripletSTDP]) -> Any:
    stimulus = Stimulus(poisson={VIEW: Poisson(view * _HZ)})
    return run(connectome, _SHOWN_MS, stimulus, seed=seed, plasticity=plasticity, threads=1)


def _counts(connectome: Connectome, result: Any) -> dict[str, NDArray[np.int64]]:
    region, neuron, names = result.spike_region.values, result.spike_neuron.values, list(connectome.regions)
    return {
        name: np.bincount(neuron[region == names.index(name)], minlength=connectome.regions[name].size)
        for name in _modules(connectome)
    }


def _normalised(module: Connectome, key: EdgeKey) -> Connectome:
    """The module with the weights into each neuron scaled to their set sum."""
    e = module.edges[key]
    scale = _SUM / np.maximum(np.bincount(e.indices, e.weight, e.n_target), 1e-9)
    return module.apply(Edit(reweight={key: (e.weight * scale[e.indices]).astype(np.float32)}))

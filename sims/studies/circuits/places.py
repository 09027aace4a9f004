"""Place recognition on trial: do neurons that respond to everything spoil an ensemble, and does removal help?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from connectome.analysis.style import ORANGE
from connectome.circuits import places as circuit
from connectome.datasets.places import patch_normalised, photographed_places
from connectome.graph.selection import node_set
from sims.studies.published import Check, Measure, Trial, Values

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from connectome.graph.connectome import Connectome, Edit
    from connectome.graph.selection import NodeSet

__all__ = ["places"]

#: Shares of the reference views that are tried as thresholds; 0: nobody is removed.
_THETA: Final = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_CALIBRATION, _TEST = 2, 3  # traverses; those before are references


class _Route(NamedTuple):
    """A learnt route. ``views`` (traverses, P, pixels); ``reference``: what neurons did at reference views."""

    views: NDArray[np.float64]
    net: Connectome
    reference: circuit.Responses
    here: int  # places a module


@lru_cache(maxsize=1)  # a worker goes through the conditions of a seed
def _learnt(seed: int, quick: bool) -> _Route:
    modules, here, n, epochs = (2, 5, 30, 6) if quick else (4, 10, 60, 30)
    views = np.stack([patch_normalised(t) for t in photographed_places(modules * here, 4, seed=seed)])
    learnt = []
    for m in range(modules):
        mine = np.arange(m * here, (m + 1) * here)
        own = 1000 * seed + m
        module = circuit.place_module(f"places_{m}", n, seed=own)
        shown, place = views[:_CALIBRATION, mine].reshape(2 * here, -1), np.tile(mine, 2)
        learnt.append(circuit.learn(module, shown, place, epochs=epochs, seed=own))
    net = circuit.merged(learnt)
    reference = views[:_CALIBRATION].reshape(-1, views.shape[2])
    return _Route(views, net, circuit.responses(net, reference, seed=seed), here)


def _recall(route: _Route, net: Connectome, traverse: int, seed: int, own: bool = False) -> float:
    """Share of places whose score is the highest at their view, of all or of those of the own module; a tie counts as
    wrong."""
    score = circuit.scores(net, circuit.responses(net, route.views[traverse], seed=10 * seed + traverse))
    p = np.arange(route.views.shape[1])
    score = np.pad(score, ((0, 0), (0, p.size - score.shape[1])))
    if own:
        score[p[:, None] // route.here != p[None] // route.here] = -1
    right, others = score[p, p].copy(), score.copy()
    others[p, p] = -1
    return float((right > others.max(1)).mean())


def _calibrated(route: _Route, seed: int, edit: Callable[[Connectome, NodeSet], Edit]) -> tuple[float, NodeSet]:
    """The threshold by which most of the calibration traverse is recognised, and who is above it."""
    best = (-1.0, 0.0, _nobody(route))
    for theta in _THETA:
        nodes = circuit.hyperactive(route.net, route.reference, theta) if theta else _nobody(route)
        found = _recall(route, route.net.apply(edit(route.net, nodes)), _CALIBRATION, seed)
        if found > best[0]:
            best = found, theta, nodes
    return best[1:]


def _nobody(route: _Route) -> NodeSet:
    return node_set(route.net, {})


def _differences(route: _Route) -> float:
    """Recall by the sum of absolute differences to reference views."""
    reference = route.views[:_CALIBRATION].reshape(-1, route.views.shape[2])
    off = np.abs(route.views[_TEST][:, None] - reference[None]).sum(2)
    places = route.views.shape[1]
    return float((off.argmin(1) % places == np.arange(places)).mean())


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    route = _learnt(seed, quick)
    if condition == "image differences":
        return {"recall": _differences(route)}
    if condition in ("nobody removed", "own module"):
        return {"recall": _recall(route, route.net, _TEST, seed, condition == "own module")}
    edit = circuit.ignored if condition == "hyperactive ignored" else circuit.removed
    theta, nodes = _calibrated(route, seed, edit)
    if condition == "as many at random":
        number, rng, size = len(nodes), np.random.default_rng(seed), route.net.regions["places_0"].size
        pick = np.sort(rng.permutation(size * len(route.reference))[:number])
        nodes = node_set(route.net, {name: pick[pick // size == m] % size for m, name in enumerate(route.reference)})
    recall = _recall(route, route.net.apply(edit(route.net, nodes)), _TEST, seed)
    everyone = sum(count.shape[1] for count in route.reference.values())
    return {"recall": recall, "removed": len(nodes) / everyone, "theta": theta}


def _check(v: Values) -> Sequence[Check]:
    ours, everyone, own, random, images = (
        v[name]["recall"]
        for name in ("hyperactive removed", "nobody removed", "own module", "as many at random", "image differences")
    )
    gap, back = (own - everyone).mean(), (ours - everyone).mean()
    return [
        Check(
            "within its own module far more is recognised than among all: 15 points or more",
            f"{100 * gap:.0f} points", bool(gap >= 0.15),
        ),
        Check(
            "removal at a threshold from other queries wins back half of that or more",
            f"{100 * back:.0f} points", bool(gap > 0 and back >= gap / 2),
        ),
        Check(
            "removing as many at random loses", f"{100 * (random - everyone).mean():.0f} points",
            bool(random.mean() < everyone.mean()),
        ),
        Check(
            "the ensemble competes with image differences",
            f"{100 * ours.mean():.0f} and {100 * images.mean():.0f} %", bool(ours.mean() >= images.mean()),
        ),
    ]  # fmt: skip


@cache
def _draw(quick: bool) -> Mapping[str, Figure]:
    """Views of a place, what neurons learnt, and to how many views they respond."""
    from matplotlib.figure import Figure

    route = _learnt(0, quick)
    figure = Figure(figsize=(9, 3), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    left.imshow(route.views[:, :3].reshape(4, 3, 28, 28).transpose(0, 2, 1, 3).reshape(4 * 28, -1), cmap="gray")
    left.set(title="three places, four traverses", xticks=[], yticks=[])
    e = route.net.edges[next(k for k in route.net.edges if k.source == circuit.VIEW)]
    weight = np.zeros((e.n_source, e.n_target))
    weight[e.source, e.indices] = e.weight
    tiles = weight[:, :16].T.reshape(4, 4, 28, 28).transpose(0, 2, 1, 3).reshape(112, -1)
    middle.imshow(tiles, cmap="viridis", vmax=np.quantile(tiles, 0.99))
    middle.set(title="weights of 16 neurons", xticks=[], yticks=[])
    share = np.concatenate([(count > 0).mean(0) for count in route.reference.values()])
    right.hist(100 * share, 20, color="0.5")
    right.axvline(100 / len(route.reference), color=ORANGE, label="one module's views")
    right.set(title="what neurons respond to", xlabel="reference views (%)", ylabel="neurons")
    right.legend(fontsize=8, frameon=False)
    return {"route": figure}


places = Trial(
    "Place recognition", "Hussaini et al. 2023, ICRA, arXiv 2209.08723",
    "neurons that respond to views of all places spoil ensembles of modules; without them ensembles compete",
    {"recall": Measure(" %", 100, 0), "removed": Measure(" %", 100, 0), "theta": Measure(" %", 100, 0)},
    (
        "hyperactive removed", "hyperactive ignored", "nobody removed", "own module", "as many at random",
        "image differences",
    ),
    _run, _check, ("image differences",), _draw,
)  # fmt: skip

"""Growth by wiring cost and homophily: one edge at a time, between nodes that are near and alike.

The family of Vertes et al. (2012), Betzel et al. (2016) and Akarca et al. (2021): the next edge joins u and v with
``P(u, v) ~ D_uv^eta K_uv^gamma``, D their distance, K how alike the graph so far makes them. It is undirected, as in
the literature: a directed graph counts as joined wherever there is an edge either way, and what grows is symmetric.

Every pair of nodes has a probability, so the state of a growth takes some 20 bytes a pair, in N x N arrays; an edge
costs O(N), as only pairs whose K has changed are weighed again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.analysis.comparison import Correlation, Distances, correlate, distances
from connectome.analysis.generative_kernels import CLUSTERING, DEGREE, DISTANCE, MATCHING, NEIGHBOURS, grow_pairs
from connectome.analysis.simple_graph import SimpleGraph
from connectome.arrays import integer
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome, Edit
from connectome.graph.parts import EdgeKey, EdgeSet
from connectome.parameters import Parameters, bounded
from connectome.rules import Context
from connectome.wiring.free_pairs import signed

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["RULES", "GenerativeGrowth", "WiringLaw", "evaluate", "fit", "grow", "new_pairs"]

Form = Literal["power", "exponential"]
_JOINS: Final = ("average", "product", "difference", "minimum", "maximum")
#: What K is, by name (Betzel et al. 2016, table 1): nothing; the number of common neighbours; the matching index, twice
#: that over the sum of the degrees; the two degrees or clustering coefficients, joined in one of five ways.
RULES: Final[Mapping[str, int]] = MappingProxyType(
    {
        "distance": DISTANCE,
        "neighbours": NEIGHBOURS,
        "matching": MATCHING,
        **{f"degree_{join}": DEGREE + i for i, join in enumerate(_JOINS)},
        **{f"clustering_{join}": CLUSTERING + i for i, join in enumerate(_JOINS)},
    }
)
#: Added to K under a power, so that pairs with nothing in common can be joined too (Brain Connectivity Toolbox).
EPSILON: Final = 1e-6
MAX_NODES: Final = 20_000


@dataclass(frozen=True)
class WiringLaw(Parameters):
    """``P(u, v) ~ f(D; eta) g(K; gamma)`` with a power, ``D^eta`` and ``(K + 1e-6)^gamma``, or an exponential,
    ``exp(eta D)`` and ``exp(gamma K)``.

    Parameters
    ----------
    rule : the definition of K, a name in :data:`RULES`
    eta : exponent of distance; below 0, long edges are rare. In 1/um for an exponential
    gamma : exponent of K; above 0, like nodes join
    distance_form, topology_form : "power" or "exponential"
    """

    rule: str = "matching"
    eta: float = -2.0
    gamma: float = 0.5
    distance_form: str = "power"
    topology_form: str = "power"

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of("WiringLaw.rule", self.rule, RULES)
        for name in ("distance_form", "topology_form"):
            _one_of(f"WiringLaw.{name}", getattr(self, name), ("power", "exponential"))


def grow(seed_graph: SimpleGraph, n_edges: int, law: WiringLaw, seed: int | Sequence[int] = 0) -> SimpleGraph:
    """Add edges until the undirected graph has ``n_edges``; every edge of the seed graph stays.

    The result is symmetric, with weights of 1, edge lengths equal to the distance between their nodes, and the
    positions and regions of the seed graph. Distances are those between positions; two nodes at one place have the
    smallest distance above 0, and where all are at one place, distance plays no part. The same seed gives the same
    graph. Raises :class:`ConnectomeError` if the seed graph has more than ``n_edges`` edges, if there are not that many
    pairs of nodes, and if the law makes every pair impossible.
    """
    pairs = new_pairs(seed_graph, n_edges, law, seed)
    return _with_pairs(seed_graph, pairs)


def new_pairs(
    seed_graph: SimpleGraph, n_edges: int, law: WiringLaw, seed: int | Sequence[int] = 0
) -> NDArray[np.int32]:
    """(M, 2) the edges that :func:`grow` adds, u < v, in the order in which they grow."""
    und = seed_graph.undirected
    return _draw_pairs(und, n_edges - und.n_edges // 2, law, _distance(und), seed)


def _draw_pairs(
    und: SimpleGraph, count: int, law: WiringLaw, distance: NDArray[np.float64], seed: int | Sequence[int]
) -> NDArray[np.int32]:
    free = und.n * (und.n - 1) // 2 - und.n_edges // 2
    count = integer("n_edges - those of the seed graph", count, 0, free)
    joined = np.zeros((und.n, und.n), np.uint8)
    joined[und.source, und.target] = 1
    pairs = np.zeros((count, 2), np.int32)
    uniform = np.random.default_rng(seed).random(count)
    done = grow_pairs(
        RULES[law.rule], law.topology_form == "exponential", law.gamma, EPSILON, _cost(distance, law), joined, uniform,
        pairs,
    )  # fmt: skip
    if done < count:
        raise ConnectomeError(
            "law", "must leave pairs that can be joined", f"{law}: none after {done} of {count} new edges",
            "Its exponents are so large that every probability is 0 or infinite.",
        )  # fmt: skip
    return pairs


def _distance(graph: SimpleGraph) -> NDArray[np.float64]:
    """(N, N) um; the smallest distance above 0 stands for 0, or 1 if every node is at one place, or no place is known.
    Raises :class:`ConnectomeError` where only some are."""
    if graph.n > MAX_NODES:
        raise ConnectomeError(
            "seed_graph", f"must have at most {MAX_NODES} nodes: growth keeps a number for every pair", graph.n
        )
    lost = np.isnan(graph.position_um).any(axis=1)
    if lost.all():
        return np.ones((graph.n, graph.n))
    if lost.any():
        rule = "must be known of all nodes or of none to grow edges by distance"
        raise ConnectomeError("position_um", rule, f"{int(lost.sum())} of {graph.n} without")
    squared = np.zeros((graph.n, graph.n))
    for axis in range(3):
        step = graph.position_um[:, axis, None] - graph.position_um[None, :, axis]
        step *= step
        squared += step
    distance = np.sqrt(squared, out=squared)
    above = distance[distance > 0]
    distance[distance == 0] = above.min() if above.size else 1.0
    return distance


def _cost(distance: NDArray[np.float64], law: WiringLaw) -> NDArray[np.float64]:
    """(N, N) the factor of distance for each pair; the largest is 1."""
    if distance.shape[0] < 2:
        return np.zeros(distance.shape)
    power = law.eta * (np.log(distance) if law.distance_form == "power" else distance)
    np.fill_diagonal(power, -np.inf)
    return np.asarray(np.exp(power - power.max()))


def _with_pairs(graph: SimpleGraph, pairs: NDArray[np.int32]) -> SimpleGraph:
    und = graph.undirected
    source = np.concatenate([und.source, pairs[:, 0], pairs[:, 1]])
    target = np.concatenate([und.target, pairs[:, 1], pairs[:, 0]])
    return SimpleGraph.from_arrays(
        und.n, source, target, position_um=und.position_um, region=und.region, regions=und.regions
    )


def evaluate(
    target: SimpleGraph, seed_graph: SimpleGraph, law: WiringLaw, *, n_runs: int = 10, seed: int = 0, threads: int = 1
) -> xr.Dataset:
    """Grow the seed graph to the target's number of (undirected) edges, again and again, and compare.

    Node i is node i in both. Edge lengths are distances of the seed graph's positions, in the grown graphs and in the
    target. Run r draws from ``default_rng([seed, r])``. Variables, over ``run``:

    - ``energy``; ``ks`` (run, part), the four distances of :func:`connectome.analysis.comparison.distances`
    - ``degree_correlation``, ``degree_gained_correlation`` (run, statistic): over nodes, of their degrees, and of the
      degree gained since the seed graph, which the seed graph itself does not reveal
    - ``hits``, the share of the new edges that the target has; attribute ``by_chance``, that share among all pairs that
      were free
    """
    return _evaluated(_Case(target, seed_graph), law, n_runs, seed, threads)


def fit(
    target: SimpleGraph, seed_graph: SimpleGraph, law: WiringLaw, etas: ArrayLike, gammas: ArrayLike, *,
    n_search: int = 2, rounds: int = 2, n_runs: int = 10, seed: int = 0, threads: int = 1,
) -> xr.Dataset:  # fmt: skip
    """Search for the eta and gamma whose graphs have the lowest mean energy with respect to the target, and evaluate
    them in fresh runs.

    A grid search: in the first round all pairs of ``etas`` and ``gammas`` (both ascending; the law's own eta and gamma
    are ignored), in each further round as many values, equally spaced, from the neighbour below the best point to the
    one above. The energy of a point is the mean of ``n_search`` runs; nan where no graph can be grown. Then
    :func:`evaluate` makes ``n_runs`` runs at the best point with random numbers that the search did not see, so that
    its energies are not biased low by the selection. Parameters that were chosen on this target are still in-sample:
    evaluate them on another target to know what they predict.

    Returns the dataset of :func:`evaluate` and, over ``point``, the search: ``searched_eta``, ``searched_gamma``,
    ``searched_energy``; attributes ``eta`` and ``gamma`` are the best.
    """
    rows = _rising("etas", etas)
    columns = np.zeros(1) if law.rule == "distance" else _rising("gammas", gammas)
    case = _Case(target, seed_graph)
    points: list[tuple[float, float]] = []
    energies: list[float] = []
    for _ in range(integer("rounds", rounds, 1, 20)):
        grid = [(float(e), float(g)) for e in rows for g in columns]
        tasks = [(point, r) for point in grid for r in range(integer("n_search", n_search, 1, 10**6))]

        def energy_of(task: tuple[tuple[float, float], int]) -> float:
            (eta, gamma), run = task
            return case.energy(replace(law, eta=eta, gamma=gamma), [seed, _SEARCH_STREAM, run])

        found = np.reshape(_run_all(energy_of, tasks, threads), (len(grid), n_search)).mean(1)
        points += grid
        energies += found.tolist()
        if np.isnan(energies).all():
            raise ConnectomeError(
                "etas and gammas", "must leave pairs that can be joined", f"none for {law.rule} at any point",
                "An exponential takes an eta of the order of 1 over a distance.",
            )  # fmt: skip
        best = points[int(np.nanargmin(energies))]
        rows, columns = _around(rows, best[0]), _around(columns, best[1])
    chosen = replace(law, eta=best[0], gamma=best[1])
    eta, gamma = np.array(points).T
    return _evaluated(case, chosen, n_runs, seed, threads).assign(
        searched_eta=("point", eta), searched_gamma=("point", gamma),
        searched_energy=("point", np.array(energies), {"long_name": f"mean energy of {n_search} runs", "units": "1"}),
        point=np.arange(len(points)),
    )  # fmt: skip


#: Random numbers of the search: a stream of their own.
_SEARCH_STREAM: Final = 577215


class _Case:
    """A target and a seed graph, with what every run of every law shares."""

    def __init__(self, target: SimpleGraph, seed_graph: SimpleGraph) -> None:
        if target.n != seed_graph.n:
            raise ConnectomeError("target", f"must have the seed graph's {seed_graph.n} nodes", target.n)
        self.seed_graph = seed_graph.undirected
        self.distance = _distance(self.seed_graph)
        wanted = target.undirected
        place = np.stack([wanted.source, wanted.target], 1)
        nothing = replace(self.seed_graph, indptr=np.zeros(wanted.n + 1, np.int64), target=np.zeros(0, np.int32),
                          weight=np.zeros(0), length_um=np.zeros(0))  # fmt: skip
        self.target = _with_pairs(nothing, place[place[:, 0] < place[:, 1]])
        self.count = self.target.n_edges // 2 - self.seed_graph.n_edges // 2
        if self.count < 0:
            raise ConnectomeError(
                "target", f"must have at least the seed graph's {self.seed_graph.n_edges // 2} undirected edges",
                self.target.n_edges // 2,
            )  # fmt: skip
        n = self.target.n
        self.wanted = self.target.source.astype(np.int64) * n + self.target.target
        before = self.seed_graph.source.astype(np.int64) * n + self.seed_graph.target
        free = n * (n - 1) - before.size
        self.by_chance = float(np.setdiff1d(self.wanted, before).size / free) if free else math.nan

    def grown(self, law: WiringLaw, seed: list[int]) -> tuple[SimpleGraph, NDArray[np.int32]]:
        pairs = _draw_pairs(self.seed_graph, self.count, law, self.distance, seed)
        return _with_pairs(self.seed_graph, pairs), pairs

    def energy(self, law: WiringLaw, seed: list[int]) -> float:
        """nan where the law makes every pair impossible before there are enough edges."""
        try:
            return distances(self.grown(law, seed)[0], self.target).energy
        except ConnectomeError:
            return math.nan

    def run(self, law: WiringLaw, seed: list[int]) -> tuple[Distances, Correlation, Correlation, float]:
        graph, pairs = self.grown(law, seed)
        degree, wanted, before = (np.diff(g.indptr) for g in (graph, self.target, self.seed_graph))
        hit = np.isin(pairs[:, 0].astype(np.int64) * graph.n + pairs[:, 1], self.wanted)
        hits = float(hit.mean()) if hit.size else math.nan
        return (
            distances(graph, self.target), correlate(degree, wanted), correlate(degree - before, wanted - before), hits,
        )  # fmt: skip


def _evaluated(case: _Case, law: WiringLaw, n_runs: int, seed: int, threads: int) -> xr.Dataset:
    import xarray as xr

    n_runs = integer("n_runs", n_runs, 1, 10**6)
    runs = _run_all(lambda r: case.run(law, [seed, r]), range(n_runs), threads)
    ks, degree, gained, hits = zip(*runs, strict=True)
    about = {"units": "1"}
    return xr.Dataset(
        {
            "energy": ("run", [k.energy for k in ks], about | {"long_name": "largest of the four distances"}),
            "ks": (("run", "part"), np.array(ks), about | {"long_name": "Kolmogorov-Smirnov distance to the target"}),
            "degree_correlation": (
                ("run", "statistic"), np.array([c[:2] for c in degree]),
                about | {"long_name": "over nodes, of the grown degree with the target's"},
            ),
            "degree_gained_correlation": (
                ("run", "statistic"), np.array([c[:2] for c in gained]),
                about | {"long_name": "over nodes, of the degree gained since the seed graph with the target's"},
            ),
            "hits": (
                "run", np.array(hits),
                about | {"long_name": "share of the new edges that the target has", "by_chance": case.by_chance},
            ),
        },
        coords={"part": list(Distances._fields), "statistic": ["pearson", "spearman"], "run": np.arange(len(runs))},
        attrs={f.name: getattr(law, f.name) for f in fields(law)}
        | {
            "seed": seed,
            "nodes": case.target.n,
            "seed_edges": case.seed_graph.n_edges // 2,
            "target_edges": case.target.n_edges // 2,
        },
    )  # fmt: skip


def _run_all(work: Callable[[Any], Any], tasks: Iterable[Any], threads: int) -> list[Any]:
    """Results in the order of the tasks, whatever the number of threads."""
    with ThreadPoolExecutor(integer("threads", threads, 1, 4096)) as pool:
        return list(pool.map(work, tasks))


def _rising(name: str, values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, float)
    if array.ndim != 1 or not array.size or not np.isfinite(array).all() or (np.diff(array) <= 0).any():
        raise ConnectomeError(name, "must be finite numbers in ascending order", repr(values))
    return array


def _around(values: NDArray[np.float64], best: float) -> NDArray[np.float64]:
    """As many values, from the neighbour below the best to the one above."""
    place = int(np.argmin(np.abs(values - best)))
    low, high = values[max(place - 1, 0)], values[min(place + 1, values.size - 1)]
    return np.linspace(low, high, values.size) if high > low else values


def _one_of(field: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise ConnectomeError(field, f"must be one of {', '.join(known)}", repr(value))


@dataclass(frozen=True)
class GenerativeGrowth(Parameters):
    """New local edges of the maturing region by :class:`WiringLaw`: neurons that are near and alike are joined.

    D is the distance of the neurons, K is taken on the undirected graph of the region's local edges. A pair that no
    edge joins either way gets one, from either end with equal probability; so the growth adds no reciprocal pair.

    Parameters
    ----------
    rule, eta, gamma, distance_form, topology_form : see :class:`WiringLaw`
    edges : how many to grow in one epoch, or as many as there are free pairs, if fewer
    last_epoch : growth ends after this epoch of a stage
    amplitude_pa : mean magnitude of a new weight, exponentially distributed; it has its source neuron's sign (Dale), or
    a random one where both are allowed
    delay_ms : of the new edges
    """

    rule: str = "matching"
    eta: float = -2.0
    gamma: float = 0.5
    distance_form: str = "power"
    topology_form: str = "power"
    edges: int = bounded(200, 0)
    last_epoch: int = bounded(15, 0)
    amplitude_pa: float = bounded(85.0, 0)
    delay_ms: float = bounded(1.0, 1, 1000)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._law()

    def _law(self) -> WiringLaw:
        return WiringLaw(**{f.name: getattr(self, f.name) for f in fields(WiringLaw)})

    def __call__(self, connectome: Connectome, context: Context, rng: np.random.Generator) -> Edit:
        """The edit."""
        region = connectome.regions.get(context.region)
        if region is None or not self.edges or context.epoch > self.last_epoch:
            return Edit()
        key = EdgeKey(region.name, "local", region.name)
        here = connectome.edges.get(key)
        source, target = (here.source, here.target) if here is not None else (np.zeros(0, np.int32),) * 2
        graph = SimpleGraph.from_arrays(region.size, source, target, position_um=region.position_um).undirected
        free = graph.n * (graph.n - 1) // 2 - graph.n_edges // 2
        pairs = _draw_pairs(graph, min(self.edges, free), self._law(), _distance(graph), int(rng.integers(2**63)))
        if not len(pairs):
            return Edit()
        turned = rng.random(len(pairs)) < 0.5
        source, target = np.where(turned, pairs.T[::-1], pairs.T)
        grown = EdgeSet.from_arrays(
            key, source, target, signed(region, source, rng.exponential(self.amplitude_pa, len(pairs)), rng),
            n_source=region.size, n_target=region.size, dt_ms=connectome.dt_ms, delay_ms=self.delay_ms,
            birth_stage=context.stage,
        )  # fmt: skip
        return Edit(add=(grown,), records=(context.record("generative_growth", key, added=len(pairs)),))

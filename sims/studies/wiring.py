"""The study of wiring: does a region that is wired as measured learn better than one that is wired otherwise?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from connectome.analysis.intervals import mean_of, paired
from sims.studies.cells import Cell, Study, StudyTable
from sims.studies.development import defaults, go_through, read_images

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from connectome.development.configuration import Configuration
    from connectome.graph.connectome import Connectome
    from connectome.graph.parts import EdgeSet

__all__ = ["wiring"]

#: Without a configuration: the brain of an adult worm.
WORM: Final = (
    "anatomy.wiring=celegans_witvliet2021_8", "anatomy.sensory=region == 'sensory'", "anatomy.output=region == 'motor'",
)  # fmt: skip
REGION: Final = "perception"


class Way(NamedTuple):
    """How a region learns: by which method, and for how many updates."""

    method: str
    updates: int

    def __str__(self) -> str:
        return f"{self.method}, {self.updates} updates"


def wiring(quick: bool, images: str, config: Path | None = None) -> Study:
    """Measured wiring against others of the same size, on recognising images. ``config``: a configuration whose anatomy
    names a wiring."""
    configuration = _configuration(config)
    taken, digest = _taken(configuration, images)
    ways = [("development", 100), ("development", 800), ("unpruned", 800)]
    conditions = [name for name in WAYS if name != "shuffled within regions" or _former(taken)]
    region, anatomy = taken.regions[REGION], configuration.anatomy_of(REGION)
    return Study(
        f"Perception with {region.size:,} cells and {taken.n_edges:,} local edges of {anatomy.wiring}; sensory cells: "
        f"{anatomy.sensory or 'all'}; output cells: {anatomy.output or 'all'}. *measured*: who is joined to whom, and "
        "the relative weights, as measured. The others have the same cells, signs, border and number of edges. "
        "*shuffled*: each neuron keeps its degrees and its weights; *shuffled within regions*: its degrees from and to "
        "each region of the file; *random*: the weights on pairs drawn evenly; *half-normal*: measured pairs, weights "
        "drawn as a development draws them; *by distance*: pairs and weights drawn so. All have the same updates and "
        "images.",
        tuple(conditions), _cell, _tables, lambda r: {"wiring": _draw(r)}, seeds=2 if quick else 10,
        options={
            "images": images, "config": "" if config is None else str(config), "digest": digest,
            "ways": [("development", 20)] if quick else ways, "trials": 100 if quick else 400,
            "defaults": defaults(configuration),
        },
    )  # fmt: skip


def _configuration(config: Path | None) -> Configuration:
    from connectome.development.configuration import read_configuration
    from connectome.errors import ConnectomeError

    configuration = read_configuration(config, () if config is not None else WORM)
    if not configuration.anatomy_of(REGION).wiring:
        raise ConnectomeError(f"--config {config}", f"must name a wiring for {REGION}", "none", "Set anatomy.wiring.")
    return configuration


def _taken(configuration: Configuration, images: str) -> tuple[Connectome, str]:
    """The region of the wiring, and its digest."""
    from connectome.datasets.tasks import Perception
    from sims.wirings import wired

    now, taken = wired(configuration, [Perception(read_images(images))])
    assert taken is not None
    return taken, now.anatomy.wiring_digest


def _cell(cell: Cell, options: Mapping[str, Any]) -> xr.Dataset:
    import xarray as xr

    from connectome.datasets.tasks import Perception
    from connectome.development.configuration import plan_stages

    c = _configuration(Path(options["config"]) if options["config"] else None)
    c = replace(c, anatomy=replace(c.anatomy, wiring_digest=options["digest"]))
    taken, _ = _taken(c, options["images"])
    made = WAYS[cell.condition](taken, np.random.default_rng([cell.seed, _STREAM]), c)
    task = Perception(read_images(options["images"]), c.data.jitter_pixels)
    found = []
    for way in (Way(*way) for way in options["ways"]):
        longer = replace(c, training=replace(c.training, perception=way.updates))
        stages = plan_stages([REGION], {REGION: task}, longer, made)
        results = go_through(stages, longer.anatomy, way.method, cell.seed, options["trials"])
        found.append(results.isel(task=0, stage=0, drop=True).assign_coords(way=str(way)))
    return xr.concat(found, "way").assign(birth_edges=made.n_edges)


# Other wirings


def _measured(taken: Connectome, rng: np.random.Generator, c: Configuration) -> Connectome:
    return taken


def _shuffled(taken: Connectome, rng: np.random.Generator, c: Configuration) -> Connectome:
    from connectome.analysis.shuffled import shuffled_wiring

    return shuffled_wiring(taken, int(rng.integers(2**31)))


def _within_regions(taken: Connectome, rng: np.random.Generator, c: Configuration) -> Connectome:
    """Shuffled while the regions of the file are apart."""
    from connectome.analysis.shuffled import shuffled_wiring
    from connectome.graph.attributes import Attribute
    from connectome.graph.partition import FORMER_REGION, regions_from

    region = taken.regions[REGION]
    place = Attribute.of("place", np.arange(region.size, dtype=np.int64), region.size)
    apart = replace(taken, regions={REGION: replace(region, attributes={**region.attributes, "place": place})})
    moved = shuffled_wiring(regions_from(apart, FORMER_REGION), int(rng.integers(2**31)))
    at = {name: r.attributes["place"].values for name, r in moved.regions.items()}
    sets = moved.edges.values()
    source = np.concatenate([at[e.key.source][e.source] for e in sets])
    target = np.concatenate([at[e.key.target][e.target] for e in sets])
    return _rewired(taken, source, target, np.concatenate([e.weight for e in sets]))


def _random(taken: Connectome, rng: np.random.Generator, c: Configuration) -> Connectome:
    n, e = taken.regions[REGION].size, _local(taken)
    pair = rng.choice(n * (n - 1), len(e), replace=False)  # none with itself
    source, target = np.divmod(pair, n - 1)
    target += target >= source
    return _rewired(taken, source, target, rng.permutation(np.abs(e.weight)) * _signs(taken)[source])


def _half_normal(taken: Connectome, rng: np.random.Generator, c: Configuration) -> Connectome:
    e = _local(taken)
    return _rewired(taken, e.source, e.target, np.abs(rng.standard_normal(len(e))) * _signs(taken)[e.source])


def _by_distance(taken: Connectome, rng: np.random.Generator, c: Configuration) -> Connectome:
    """As a development draws edges, in a ball; as many of them as there are."""
    from connectome.graph.parts import Region
    from connectome.wiring.edges import ByDistance, positions_in_sphere

    n, m = taken.regions[REGION].size, len(_local(taken))
    ball = Region("ball", n, position_um=positions_in_sphere(n, 250.0, rng))
    some = min(1.0, 1.2 * m / (n * (n - 1)) + 10 / n)
    source, target = ByDistance(c.anatomy.local_length_um, density=some).pairs(ball, ball, rng)
    kept = np.sort(rng.choice(source.size, m, replace=False))
    source, target = source[kept].astype(np.int64), target[kept].astype(np.int64)
    return _rewired(taken, source, target, np.abs(rng.standard_normal(m)) * _signs(taken)[source])


#: Name -> what makes the wiring of the measured one.
WAYS: Final[Mapping[str, Callable[[Connectome, np.random.Generator, Any], Connectome]]] = {
    "measured": _measured, "shuffled": _shuffled, "shuffled within regions": _within_regions, "random": _random,
    "half-normal": _half_normal, "by distance": _by_distance,
}  # fmt: skip
_STREAM: Final = 662607


def _local(taken: Connectome) -> EdgeSet:
    return next(iter(taken.edges.values()))


def _former(taken: Connectome) -> bool:
    from connectome.graph.partition import FORMER_REGION

    return FORMER_REGION in taken.regions[REGION].attributes


def _signs(taken: Connectome) -> NDArray[np.float64]:
    """(n,) of each neuron's edges: the sign that it has or, where either is allowed, that of what leaves it."""
    e, sign = _local(taken), taken.regions[REGION].sign
    leaves = np.bincount(e.source, e.weight, e.n_source)
    return np.where(sign != 0, sign, np.where(leaves < 0, -1.0, 1.0))


def _rewired(taken: Connectome, source: NDArray[Any], target: NDArray[Any], weight: NDArray[Any]) -> Connectome:
    """The same cells with other edges, all of one step's delay."""
    from connectome.graph.parts import EdgeSet

    e = _local(taken)
    made = EdgeSet.from_arrays(
        e.key, source, target, weight, n_source=e.n_source, n_target=e.n_target, dt_ms=taken.dt_ms
    )
    return replace(taken, edges={made.key: made})


# The report


def _tables(results: xr.Dataset) -> list[StudyTable]:
    names, ways = ([str(v) for v in results[name].values] for name in ("condition", "way"))
    rows = [
        [name, *(mean_of(results.final.sel(condition=name, way=way)).text() for way in ways)] for name in names
    ]  # fmt: skip
    less = [
        [
            f"measured - {name}",
            *(
                paired(*(results.final.sel(condition=c, way=way).values for c in ("measured", name))).text()
                for way in ways
            ),
        ]
        for name in names[1:] if "measured" in names
    ]  # fmt: skip
    cost = [
        [name, *(f"{mean_of(results[v].sel(condition=name, way=way)).mean:,.0f}" for way in ways
                 for v in ("end_edges", "operations"))]
        for name in names
    ]  # fmt: skip
    return [
        StudyTable("Test score", "Of images recognised, at the end.", ["", *ways], rows),
        StudyTable("Differences", "Paired by seed.", ["", *ways], less),
        StudyTable(
            "Size and cost", "All edges at the end, and synaptic operations of a sample; means.",
            ["", *(f"{way}: {what}" for way in ways for what in ("edges", "operations"))], cost,
        ),
    ]  # fmt: skip


def _draw(results: xr.Dataset) -> Figure:
    """A row for each wiring, a panel for each way to learn: test scores with 95 % intervals."""
    from matplotlib.figure import Figure

    names, ways = ([str(v) for v in results[name].values] for name in ("condition", "way"))
    figure = Figure(figsize=(2.0 + 2.4 * len(ways), 1.1 + 0.27 * len(names)), layout="constrained")
    axes = figure.subplots(1, len(ways), sharey=True, squeeze=False)[0]
    for ax, way in zip(axes, ways, strict=True):
        means = [mean_of(100 * results.final.sel(condition=name, way=way)) for name in names]
        ax.errorbar([m.mean for m in means], range(len(names)), xerr=[m.half for m in means], fmt="o", ms=4, capsize=2)
        ax.set_title(way, fontsize=10)
        ax.grid(axis="y", color="0.9")
        ax.set_xlabel("test score (%)")
    axes[0].set_yticks(range(len(names)), names, fontsize=8)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    return figure

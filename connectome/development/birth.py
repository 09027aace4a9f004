"""Birth: what a new region and its first edges are made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from connectome.arrays import finite_step
from connectome.development.areas import FIRST, lower, maps_of, parse_areas
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome, Edit
from connectome.graph.maps import Maps
from connectome.graph.parts import EdgeKey, EdgeSet, Region, Role
from connectome.learning.task import Task
from connectome.neurons.iaf_psc_exp import NeuronParameters
from connectome.neurons.model import NeuronModel
from connectome.parameters import Parameters, bounded
from connectome.rules import Link
from connectome.wiring.edges import Bernoulli, ByDistance, Conduction, Normal, dale_signs, positions_in_sphere, wire

__all__ = [
    "NEURON", "OUTPUT", "SENSORY", "Anatomy", "birth", "is_unsigned", "new_links", "scaled", "sensor_maps",
    "weight_to_threshold_pa",
]  # fmt: skip

#: The step of a developing network.
DT_MS: Final = 1.0
#: Neurons of every region: the time constants suit a window of some tens of ms in steps of 1 ms.
NEURON: Final = NeuronParameters(tau_m_ms=10.0, t_ref_ms=1.0, tau_syn_ex_ms=4.0, tau_syn_in_ms=4.0)
#: Flags of neurons of a region that is taken from a wiring: those that sensors project to, and effectors hear.
SENSORY: Final = "is_sensory"
OUTPUT: Final = "is_output"
_RADIUS_UM: Final = 250.0
_SPACING_UM: Final = 2000.0


@dataclass(frozen=True)
class Anatomy(Parameters):
    """How regions are wired at birth.

    Gains are in units of the weight that takes a neuron at rest to its threshold, over the square root of the expected
    number of inputs: weights are half-normal with that scale, with the sign of their source neuron (Dale).

    Parameters
    ----------
    neurons : in each region
    excitatory : fraction of them; the others are inhibitory, ``inhibitory_gain`` times as strong
    local_density : of a mature region; at birth it is ``over_production`` times as much
    local_length_um : local probability falls off with distance as exp(-d / length), in a sphere of radius 250 um
    afferent_density, long_range_density : of the edges from each sensor, and of each long-range link at birth
    velocity_mm_per_ms : of long-range spikes; regions are 2 mm apart
    unit_weight : the unit of gains for neurons of a model that has no closed form for it, in the unit of its weights
    wiring : a connectome that regions are taken from (:mod:`connectome.development.measured`): a file of any format
        that is read, or the name of a measured one. ``neurons``, ``local_density``, ``over_production``,
        ``local_length_um`` then count for nothing. Empty: none; so it may be for one region
    cells : a query of :meth:`Connectome.select`: the neurons of the wiring that are the region. Empty: all
    sensory, output : queries too: the cells of the region that sensors project to, and those that effectors hear.
        Empty: all
    signs : "fly", "mammal" or "worm": what a cell releases decides its sign
        (:mod:`connectome.experiment.physiology`). Empty: signs are the file's or, where it has none, drawn
    unknown_signs : what becomes of edges of which that says nothing: "refuse" all, keep them as "excitatory" or
        "inhibitory", or "drop" them
    wiring_digest : of what was taken from the wiring; it must be the same again. A run writes it down
    areas : layers of maps between the sensors and each region, ``"24x5/2, 48x3/2"``: 24 maps that kernels of 5 x 5
        make at every second place of the image, and 48 that see those. The region with its layers is then an area:
        what joins these is local, and the region hears the last one at the density of afferents. Empty: none
    kernel_gain : of their kernels
    first_layer : of an area upon an earlier one with a like first layer: "new", "copy" (it begins with those kernels)
        or "share" (it has none of its own: its second layer sees the earlier one's first)
    """

    neurons: int = bounded(256, 1, 2**20)
    excitatory: float = bounded(0.8, 0, 1)
    inhibitory_gain: float = bounded(4.0, 0)
    local_density: float = bounded(0.1, 0, 1)
    over_production: float = bounded(4.0, 1)
    local_length_um: float = bounded(500.0, 1)
    local_gain: float = bounded(0.5, 0)
    afferent_density: float = bounded(0.4, 0, 1)
    afferent_gain: float = bounded(1.0, 0)
    efferent_gain: float = bounded(0.15, 0)
    long_range_density: float = bounded(0.05, 0, 1)
    long_range_gain: float = bounded(0.5, 0)
    velocity_mm_per_ms: float = bounded(2.0, 0.01)
    unit_weight: float = bounded(0.0, 0)
    wiring: str = ""
    cells: str = ""
    sensory: str = ""
    output: str = ""
    signs: str = ""
    unknown_signs: str = "refuse"
    wiring_digest: str = ""
    areas: str = ""
    kernel_gain: float = bounded(1.0, 0)
    first_layer: str = "new"

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_areas(self.areas, "Anatomy.areas")
        if self.first_layer not in FIRST:
            raise ConnectomeError("Anatomy.first_layer", f"must be one of {', '.join(FIRST)}", repr(self.first_layer))


def weight_to_threshold_pa(neuron: NeuronModel) -> float:
    """The weight of one excitatory spike whose potential peaks at the threshold of a neuron at rest, pA: of a leaky
    membrane with exponential currents, of the mean of parameters that differ in a region. Raises
    :class:`ConnectomeError` for any other model."""
    p = {name: float(np.mean(value)) for name, value in neuron.parameters().items()}
    if "g_l_ns" in p:
        p["tau_m_ms"] = p["c_m_pf"] / p["g_l_ns"]
    if neuron.weight_unit != "pA" or not {"tau_m_ms", "tau_syn_ex_ms", "v_th_mv", "e_l_mv"} <= p.keys():
        raise ConnectomeError(
            "neuron", "must be a leaky membrane with exponential currents and a threshold, to scale weights by",
            neuron.model, "Say what a weight of 1 is: anatomy.unit_weight.",
        )  # fmt: skip
    m, s = p["tau_m_ms"], p["tau_syn_ex_ms"]
    if m == s:
        peak = m / p["c_m_pf"] / math.e
    else:
        t = math.log(m / s) * m * s / (m - s)
        peak = (math.exp(-t / m) - math.exp(-t / s)) / (1 / s - 1 / m) / p["c_m_pf"]
    return (p["v_th_mv"] - p["e_l_mv"]) / peak


def scaled(connectome: Connectome, gain: float = 1.0) -> Connectome:
    """The connectome with all weights multiplied by one number, so that measured ones, counts of synapses say, become
    currents that matter: simultaneous spikes on all inputs of a mean neuron then peak at ``gain`` times the distance
    from rest to threshold.

    The mean is over neurons with any input of the sum of the absolute weights of their inputs, in units of
    :func:`weight_to_threshold_pa` of their region. A network without inhibition, such as a measured one whose signs are
    not known, runs away above some gain (the adult worm's between 0.5 and 1). Raises :class:`ConnectomeError` if
    ``gain`` is not finite and > 0, or if all weights are 0.
    """
    gain = finite_step("gain", gain)
    inputs = {r.name: np.zeros(r.size) for r in connectome.regions.values()}
    is_target = {r.name: np.zeros(r.size, bool) for r in connectome.regions.values()}
    for key, e in connectome.edges.items():
        inputs[key.target] += np.bincount(e.target, np.abs(e.weight), minlength=e.n_target)
        is_target[key.target][e.target] = True
    strength = np.concatenate(
        [np.zeros(0)]
        + [inputs[r.name][is_target[r.name]] / weight_to_threshold_pa(r.neuron) for r in connectome.regions.values()]
    )
    if not strength.any():
        raise ConnectomeError("weights", "must not all be 0", f"{connectome.n_edges} edges")
    factor = gain / strength.mean()
    return connectome.apply(Edit(reweight={k: e.weight * np.float32(factor) for k, e in connectome.edges.items()}))


def new_links(
    connectome: Connectome | None, name: str, chosen: Sequence[tuple[str, str]] | None = None
) -> tuple[Link, ...]:
    """The links of a new region with each earlier one, both ways, or those chosen, equally probable. Raises
    :class:`ConnectomeError` for a pair that does not join it with an earlier region."""
    regions = [] if connectome is None else [*connectome.regions.values()]
    earlier = [r.name for r in regions if r.role == "neuron" and not r.area]
    pairs = [pair for other in earlier for pair in ((other, name), (name, other))]
    for pair in chosen or ():
        if tuple(pair) not in pairs:
            raise ConnectomeError("first_links", f"must join {name} and one of {earlier or 'none'}", repr(pair))
    pairs = pairs if chosen is None else [(source, target) for source, target in chosen]
    return tuple(Link(source, target, 1 / len(pairs)) for source, target in pairs)


def birth(
    connectome: Connectome | None, task: Task, anatomy: Anatomy, stage: int, links: tuple[Link, ...],
    rng: np.random.Generator, wiring: Connectome | None = None, neuron: NeuronModel = NEURON,
) -> Connectome:  # fmt: skip
    """The connectome with the task's region, of this model of neurons, its body parts, its local edges, over-produced,
    and its first long-range ones. A sensor or effector that is there already is shared. Raises :class:`ConnectomeError`
    if it has another size.

    With a ``wiring`` that has the region, as :func:`~connectome.development.measured.measured_regions` makes it, the
    region has its neurons there, their labels and signs, and its local edges are those there, no more; so are the edges
    of a link, if the wiring has the set. Sensors project to its cells with the flag ``is_sensory``, effectors hear
    those with ``is_output``. Positions are moved to the region's place, delays rounded to whole steps of 1 ms. The
    weights of a set are multiplied by one number, so that their mean, without signs, is that of a drawn set with as
    many edges. A wiring without signs and without negative weights gets signs as a drawn one does, and inhibitory
    weights their gain.
    """
    a = anatomy
    base = Connectome.of([], dt_ms=DT_MS) if connectome is None else connectome
    number = sum(r.role == "neuron" and not r.area for r in base.regions.values())
    seen = sensor_maps(task, a)
    for name, maps in seen.items():
        there = base.regions.get(name)
        if there is not None and there.maps is None and there.size == maps.size:
            base = replace(base, regions={**base.regions, name: replace(there, maps=maps)})
    centre = np.array([_SPACING_UM * number, 0.0, 0.0])

    def border(name: str, size: int, role: Role, offset: float) -> Region:
        there = base.regions.get(name)
        if there is not None:
            if (there.role, there.size) != (role, size):
                found = f"{role} of {size} units for {task.name}"
                rule = f"must be the {there.role} of {there.size} units that it is"
                raise ConnectomeError(f"{role} {name!r}", rule, found)
            return there
        position = positions_in_sphere(size, _RADIUS_UM, rng) + centre + [0.0, 0.0, offset]
        return Region(name, size, role, NEURON, position, birth_stage=stage, maps=seen.get(name))

    sensors = [border(n, size, "sensor", -_SPACING_UM / 2) for n, size in task.sensors.items()]
    effectors = [border(n, size, "effector", _SPACING_UM / 2) for n, size in task.effectors.items()]
    given = wiring if wiring is not None and task.name in wiring.regions else None
    if given is None:
        position = positions_in_sphere(a.neurons, _RADIUS_UM, rng) + centre
        sign = dale_signs(a.neurons, a.excitatory, rng)
        region = Region(task.name, a.neurons, "neuron", neuron, position, sign, stage)
    else:
        region = _placed(given, task.name, a, stage, centre, rng, neuron)
    unit = a.unit_weight or (weight_to_threshold_pa(neuron) if seen else 1.0)
    below = [
        lower(base, s, region, parse_areas(a.areas), a.kernel_gain * unit, a.first_layer, task.recruits, rng)
        for s in sensors
        if s.name in seen
    ]
    layers = [layer for part in below for layer in part.regions]
    heard = [*(s for s in sensors if s.name not in seen), *(part.last for part in below)]
    new = [r for r in (*sensors, *layers, region, *effectors) if base.regions.get(r.name) is not r]
    regions = {**base.regions, **{r.name: r for r in (*sensors, region, *effectors)}}

    def edges(source: Region, target: Region, density: float, gain: float) -> EdgeSet:
        scale = gain * (a.unit_weight or weight_to_threshold_pa(target.neuron))
        scale /= math.sqrt(max(density * source.size, 1.0))
        rule: Bernoulli | ByDistance = Bernoulli(density)
        extra = 1.0
        if source is target:
            rule, extra = ByDistance(a.local_length_um, density=density), a.over_production
            scale /= math.sqrt(extra)
        signed = source.sign.any()
        weight = (
            Normal(0.0, scale, low=0.0) if signed else Normal(scale / math.sqrt(max(density * source.size, 1.0)), scale)
        )
        return wire(
            source, target, rule, weight_pa=weight, g=a.inhibitory_gain, delay_ms=Conduction(a.velocity_mm_per_ms),
            dt_ms=DT_MS, birth_stage=stage, over_production=extra, rng=rng,
        )  # fmt: skip

    def joined(source: str, target: str, density: float, gain: float) -> EdgeSet:
        """The edges of the wiring, if it says which there are between these two, or drawn ones."""
        key = EdgeKey(source, "local" if source == target else "long_range", target)
        if given is None or key not in given.edges:
            return edges(regions[source], regions[target], density, gain)
        unit = a.unit_weight or weight_to_threshold_pa(regions[target].neuron)
        factor = np.where(regions[source].sign < 0, -a.inhibitory_gain, 1.0) if is_unsigned(given) else 1.0
        return _scaled_edges(given.edges[key], gain * unit, factor, stage)

    made = [
        joined(task.name, task.name, a.local_density, a.local_gain),
        *(kernels for part in below for kernels in part.kernels),
        *(_among(edges, s, region, SENSORY, a.afferent_density, a.afferent_gain) for s in heard),
        *(_among(edges, region, e, OUTPUT, 1.0, a.efferent_gain) for e in effectors),
        *(joined(k.source, k.target, a.long_range_density, a.long_range_gain) for k in links),
    ]
    return base.grow(new, made)


def sensor_maps(task: Task, anatomy: Anatomy) -> dict[str, Maps]:
    """The sensor that the layers of a task's area see, with its maps; none if there are no layers. Raises
    :class:`ConnectomeError` if it has not one such sensor."""
    layers = parse_areas(anatomy.areas)
    if not layers:
        return {}
    known: Mapping[str, Maps] = getattr(task, "maps", {})
    if len(known) != 1:
        raise ConnectomeError(
            "anatomy.areas", "must be of regions with one sensor that has maps, such as an image",
            f"{task.name}, with {', '.join(known) or 'none'}", f'Leave others out: regions.{task.name}.areas="".',
        )  # fmt: skip
    for maps in known.values():
        maps_of(layers, maps)
    return dict(known)


def _placed(
    wiring: Connectome, name: str, anatomy: Anatomy, stage: int, centre: NDArray[np.float64],
    rng: np.random.Generator, neuron: NeuronModel,
) -> Region:  # fmt: skip
    """A region of a wiring at its place, with signs."""
    given = wiring.regions[name]
    position, sign = given.position_um.copy(), given.sign
    lost = np.asarray(np.isnan(position).any(axis=1))
    if lost.all() or not np.ptp(position[~lost], axis=0).any():
        lost[:] = True
    else:
        position -= position[~lost].mean(axis=0)
    position[lost] = positions_in_sphere(int(lost.sum()), _RADIUS_UM, rng)
    if is_unsigned(wiring):
        sign = dale_signs(given.size, anatomy.excitatory, rng)
    return replace(given, neuron=neuron, position_um=position + centre, sign=sign, birth_stage=stage)


def is_unsigned(wiring: Connectome) -> bool:
    """Whether nothing is known of signs: weights are counts."""
    return not any(r.sign.any() for r in wiring.regions.values()) and not any(
        (e.weight < 0).any() for e in wiring.edges.values()
    )


def _scaled_edges(given: EdgeSet, gain_pa: float, factor: float | NDArray[np.float64], stage: int) -> EdgeSet:
    """Edges of a wiring with weights of a drawn set's mean, times a factor of each source neuron, and whole steps of
    delay."""
    weight = given.weight.astype(np.float64)
    size = np.abs(weight).mean() if weight.any() else 1.0
    weight *= gain_pa / math.sqrt(max(weight.size / max(given.n_target, 1), 1.0)) * math.sqrt(2 / math.pi) / size
    weight *= np.broadcast_to(factor, given.n_source)[given.source]
    return EdgeSet.from_arrays(
        given.key, given.source, given.target, weight, n_source=given.n_source, n_target=given.n_target, dt_ms=DT_MS,
        delay_ms=np.maximum(np.rint(given.delay / DT_MS), 1) * DT_MS, birth_stage=stage, attributes=given.attributes,
    )  # fmt: skip


def _among(
    edges: Callable[[Region, Region, float, float], EdgeSet], source: Region, target: Region, flag: str,
    density: float, gain: float,
) -> EdgeSet:  # fmt: skip
    """Edges to or from those neurons of a region alone that have a flag; all of them, if it knows no such flag."""
    inner = target if target.role == "neuron" else source
    if flag not in inner.attributes:
        return edges(source, target, density, gain)
    which = np.flatnonzero(inner.attributes[flag].values == 1)
    part = inner.take(which)
    drawn = edges(source, part, density, gain) if inner is target else edges(part, target, density, gain)
    from_, to = (drawn.source, which[drawn.target]) if inner is target else (which[drawn.source], drawn.target)
    return EdgeSet.from_arrays(
        drawn.key, from_, to, drawn.weight, n_source=source.size, n_target=target.size, dt_ms=DT_MS,
        delay_ms=drawn.delay, birth_stage=drawn.birth_stage,
    )  # fmt: skip

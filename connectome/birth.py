"""Birth: what a new region and its first edges are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from connectome.graph import Connectome
from connectome.parameters import Parameters, bounded
from connectome.parts import EdgeSet, NeuronParameters, Region, Role
from connectome.rules import Link
from connectome.task import Task
from connectome.wiring import Bernoulli, ByDistance, Conduction, Normal, dale_signs, positions_in_sphere, wire

__all__ = ["NEURON", "Anatomy", "birth", "new_links", "weight_to_threshold_pa"]

#: The step of a developing network.
DT_MS: Final = 1.0
#: Neurons of every region: the time constants suit a window of some tens of ms in steps of 1 ms.
NEURON: Final = NeuronParameters(tau_m_ms=10.0, t_ref_ms=1.0, tau_syn_ex_ms=4.0, tau_syn_in_ms=4.0)
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


def weight_to_threshold_pa(neuron: NeuronParameters) -> float:
    """The weight of one excitatory spike whose potential peaks at the threshold of a neuron at rest, pA."""
    m, s = neuron.tau_m_ms, neuron.tau_syn_ex_ms
    if m == s:
        peak = m / neuron.c_m_pf / math.e
    else:
        t = math.log(m / s) * m * s / (m - s)
        peak = (math.exp(-t / m) - math.exp(-t / s)) / (1 / s - 1 / m) / neuron.c_m_pf
    return (neuron.v_th_mv - neuron.e_l_mv) / peak


def new_links(connectome: Connectome | None, name: str) -> tuple[Link, ...]:
    """The links of a new region with each earlier one, both ways, equally probable."""
    earlier = [] if connectome is None else [r.name for r in connectome.regions.values() if r.role == "neuron"]
    pairs = [pair for other in earlier for pair in ((other, name), (name, other))]
    return tuple(Link(source, target, 1 / len(pairs)) for source, target in pairs)


def birth(
    connectome: Connectome | None, task: Task, anatomy: Anatomy, stage: int, links: tuple[Link, ...],
    rng: np.random.Generator,
) -> Connectome:  # fmt: skip
    """The connectome with the task's region, its body parts, its local edges, over-produced, and its first long-range
    ones."""
    a = anatomy
    base = Connectome.of([], dt_ms=DT_MS) if connectome is None else connectome
    unit = weight_to_threshold_pa(NEURON)
    number = sum(r.role == "neuron" for r in base.regions.values())
    centre = np.array([_SPACING_UM * number, 0.0, 0.0])

    def border(name: str, size: int, role: Role, offset: float) -> Region:
        position = positions_in_sphere(size, _RADIUS_UM, rng) + centre + [0.0, 0.0, offset]
        return Region(name, size, role, NEURON, position, birth_stage=stage)

    sensors = [border(n, size, "sensor", -_SPACING_UM / 2) for n, size in task.sensors.items()]
    effectors = [border(n, size, "effector", _SPACING_UM / 2) for n, size in task.effectors.items()]
    position = positions_in_sphere(a.neurons, _RADIUS_UM, rng) + centre
    sign = dale_signs(a.neurons, a.excitatory, rng)
    region = Region(task.name, a.neurons, "neuron", NEURON, position, sign, stage)
    regions = {**base.regions, **{r.name: r for r in (*sensors, region, *effectors)}}

    def edges(source: Region, target: Region, density: float, gain: float) -> EdgeSet:
        scale = gain * unit / math.sqrt(max(density * source.size, 1.0))
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

    made = [
        edges(region, region, a.local_density, a.local_gain),
        *(edges(s, region, a.afferent_density, a.afferent_gain) for s in sensors),
        *(edges(region, e, 1.0, a.efferent_gain) for e in effectors),
        *(edges(regions[k.source], regions[k.target], a.long_range_density, a.long_range_gain) for k in links),
    ]
    return base.grow([*sensors, region, *effectors], made)

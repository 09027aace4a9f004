"""Published networks as connectomes, with their drive: what simulators are compared on.

>>> model = cuba(n=1000, k=20)
>>> model.connectome
Connectome(all[1000]; 1 edge sets, 20022 edges)

Run one with ``run(m.connectome, 1000.0, m.stimulus, initial_v_mv=m.initial_v_mv)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.arrays import index_type, integer, lock
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome, Provenance
from connectome.graph.parts import EdgeKey, EdgeSet, Kind, Region
from connectome.neurons.iaf_psc_exp import NeuronParameters, propagators
from connectome.simulate.runs import Poisson, Stimulus
from connectome.wiring.connection_rules import (
    Bernoulli,
    ConnectionRule,
    FixedInDegree,
    FixedOutDegree,
    check,
    row_blocks,
)
from connectome.wiring.edges import Normal, wire

__all__ = [
    "POTJANS_DIESMANN_ACTIVITY",
    "Model",
    "PublishedRates",
    "brunel",
    "cuba",
    "potjans_diesmann",
    "random_network",
]

Drive = Literal["poisson", "dc"]
Weights = Literal["per_synapse", "constant"]
_DT_MS: Final = 0.1


class Model(NamedTuple):
    """A network, what drives it, where its potentials start, and its populations: name -> (region, slice of it)."""

    connectome: Connectome
    stimulus: Stimulus
    initial_v_mv: Mapping[str, NDArray[np.float64]]
    populations: Mapping[str, tuple[str, slice]]


class PublishedRates(NamedTuple):
    """What was published of a population: its mean rate in each run, and the mean CV of its neurons' intervals."""

    rate_hz: tuple[float, ...]
    cv: float


def cuba(n: int = 4000, k: int = 80, *, weights: Weights = "per_synapse", seed: int = 1) -> Model:
    """The current-based network of Vogels & Abbott (2005), J. Neurosci. 25:10786, as in Brette et al. (2007),
    J. Comput. Neurosci. 23:349, benchmark 2, and in Brian's and NEST's examples. ``cuba(40_000)`` is the large one.

    n neurons, 80 % of them excitatory; each pair is joined with probability k / n, a neuron with itself too. tau_m 20
    ms, threshold -50, reset -60, rest -49 mV: it drives itself. Refractory for 5 ms. A spike adds 1.62 mV (excitatory,
    decaying with 5 ms) or -9 mV (10 ms) to the drive of the membrane; with c_m = tau_m in numbers, 1 pA is 1 mV. Delay
    one step of 0.1 ms. Initial potentials are uniform between reset and threshold.

    ``weights="per_synapse"``: one region ``"all"``, a float32 for each synapse. ``"constant"``: two regions ``"E"`` and
    ``"I"``, and one weight an edge set, stored once. Raises :class:`ConnectomeError`.
    """
    _check_size(n, k)
    neuron = NeuronParameters(
        tau_m_ms=20.0, c_m_pf=20.0, t_ref_ms=5.0, v_th_mv=-50.0, v_reset_mv=-60.0, e_l_mv=-49.0,
        tau_syn_ex_ms=5.0, tau_syn_in_ms=10.0,
    )  # fmt: skip
    rng = _generator(seed)
    rule = Bernoulli(k / n, allow_autapses=True)
    return _balanced(n, neuron, lambda *_: rule, 1.62, 9 / 1.62, 0.1, weights, (-60.0, -50.0), None, seed, rng)


def brunel(
    n: int = 12_500, *, drive: Drive = "poisson", weights: Weights = "per_synapse", seed: int = 1
) -> Model:  # fmt: skip
    """Model A of Brunel (2000), J. Comput. Neurosci. 8:183, in the asynchronous irregular state (g = 5,
    twice the threshold rate from outside; his figure 8C).

    n neurons, 80 % of them excitatory; each gets synapses from a tenth of the excitatory neurons and from a tenth of
    the inhibitory ones, none twice. tau_m 20 ms, threshold 20, reset and rest 0 mV, refractory for 2 ms. A spike makes
    the potential jump by 0.1 mV (excitatory) or -0.5 mV, 1.5 ms later. ``drive="poisson"``: each neuron also gets 1000
    x 20 Hz jumps of 0.1 mV. ``"dc"``: instead their mean, a current that alone would take it to 40 mV, and initial
    potentials uniform between reset and threshold.

    The jumps are synaptic currents with a time constant of dt / 1000, which are over within their step (their
    propagator exp(-1000) is 0 in floating point). A weight w then moves the potential by J = w p21 in the step after
    the one of its arrival and by nothing later, with p21 = exp(-dt / tau_m) / (1 / tau_syn - 1 / tau_m) / c_m. As a
    jump comes that step later, the delay is 1.4 ms: the potential is that of NEST's ``iaf_psc_delta`` with 1.5 ms.

    ``weights`` : see :func:`cuba`. Raises :class:`ConnectomeError`.
    """
    check("n", n, 50, whole=True)
    _check_choice("drive", drive, get_args(Drive))
    neuron = NeuronParameters(
        tau_m_ms=20.0, c_m_pf=1.0, t_ref_ms=2.0, v_th_mv=20.0, v_reset_mv=0.0, e_l_mv=0.0,
        tau_syn_ex_ms=_DT_MS / 1000, tau_syn_in_ms=_DT_MS / 1000, i_e_pa=2.0 if drive == "dc" else 0.0,
    )  # fmt: skip
    jump_pa = 0.1 / float(propagators(neuron, _DT_MS).p21_ex)
    external = Poisson(1000 * 20.0, jump_pa) if drive == "poisson" else None
    rng = _generator(seed)
    start = (0.0, 0.0) if drive == "poisson" else (0.0, 20.0)
    return _balanced(n, neuron, _tenth, jump_pa, 5.0, 1.4, weights, start, external, seed, rng)


def random_network(
    n: int = 1_000_000, k: int = 100, *, weights: Weights = "per_synapse", seed: int = 1
) -> Model:  # fmt: skip
    """A balanced random network of any size, for scaling: asynchronous, irregular, at a few Hz (8 Hz with k = 100, 2 Hz
    with k = 1000), whatever n is.

    n neurons, 80 % of them excitatory, each with k random targets, none twice. As in van Vreeswijk & Sompolinsky
    (1996), Science 274:1724, weights go with 1 / sqrt(k), 800 pA / sqrt(k) here, and what a constant drive exceeds the
    threshold by goes with sqrt(k), so that inhibition (8 times as strong as excitation) balances it. tau_m 20 ms, c_m
    250 pF, threshold 15 mV above rest and reset, tau_syn 2 ms, refractory for 2 ms, delay 1.5 ms. Initial potentials
    are uniform between reset and threshold.

    ``weights`` : see :func:`cuba`. Raises :class:`ConnectomeError`.
    """
    check("k", k, 1, whole=True)
    _check_size(n, k)
    neuron = NeuronParameters(tau_m_ms=20.0)
    weight_pa, g = 800 / math.sqrt(k), 8.0
    rheobase_pa = (neuron.v_th_mv - neuron.e_l_mv) * neuron.c_m_pf / neuron.tau_m_ms
    # The mean current that spikes at 0.5 Hz would bring: what really comes is more, as fluctuations help to fire.
    balance_pa = 0.5 / 1000 * k * weight_pa * (0.2 * g - 0.8) * neuron.tau_syn_ex_ms
    neuron = replace(neuron, i_e_pa=rheobase_pa + balance_pa)
    rng = _generator(seed)
    start = (neuron.v_reset_mv, neuron.v_th_mv)
    return _balanced(
        n, neuron, lambda _, targets: FixedOutDegree(round(k * targets / n), allow_autapses=True), weight_pa, g, 1.5,
        weights, start, None, seed, rng,
    )  # fmt: skip


def potjans_diesmann(scale: float = 1.0, *, drive: Drive = "poisson", seed: int = 1) -> Model:
    """The cortical microcircuit of Potjans & Diesmann (2014), Cereb. Cortex 24:785, as in NEST's reference example
    (``Potjans_2014``): the cortex under 1 mm2, 77,169 neurons and 298,880,968 synapses.

    Four regions, the layers ``"L23"``, ``"L4"``, ``"L5"`` and ``"L6"``, each with its excitatory neurons first, then
    its inhibitory ones; local edge sets within a layer, long-range ones between layers. ``populations`` are
    ``"L23E"``, ``"L23I"``, ... ``"L6I"``. tau_m 10 ms, c_m 250 pF, tau_syn 0.5 ms, threshold -50, reset and rest -65
    mV, refractory for 2 ms.

    From a population to a population K = ln(1 - p) / ln(1 - 1 / (N_pre N_post)) synapses join random pairs, several a
    pair and autapses allowed, with the table of probabilities p. Weights are normal, 87.8 pA (a potential of 0.15 mV)
    +- 10 %, twice that from L4E to L23E, and -4 times from inhibitory neurons. Delays are normal, 1.5 +- 0.75 ms from
    excitatory and 0.75 +- 0.375 ms from inhibitory neurons, redrawn below half a step and rounded to steps of 0.1 ms.
    Each neuron gets K_ext Poisson inputs of 8 Hz and 87.8 pA; with ``drive="dc"`` their mean instead, a current, for
    which most speeds of this model are published. Initial potentials are normal with the "optimized" mean and sd of
    each population, which shorten the transient.

    ``scale`` < 1 multiplies the numbers of neurons and of inputs to each neuron (so synapses by its square), divides
    weights by its root, and adds the constant current that the mean input lacks (van Albada, Helias & Diesmann 2015,
    PLoS Comput. Biol. 11:e1004490): rates and irregularity stay about the same down to 0.1, synchrony does not.

    See :data:`POTJANS_DIESMANN_ACTIVITY` for what was published. Full scale takes 2.4 GB. Raises
    :class:`ConnectomeError`.
    """
    check("scale", scale, 0.01, 1)
    _check_choice("drive", drive, get_args(Drive))
    rng = _generator(seed)
    size = np.rint(_PD_SIZE * scale).astype(np.int64)
    pairs = np.outer(_PD_SIZE, _PD_SIZE).astype(np.float64)
    full_number = np.log(1 - _PD_PROBABILITY) / np.log((pairs - 1) / pairs)
    number = np.rint(full_number * scale**2).astype(np.int64)
    unit_pa = _PD_PSP_MV / _psp_per_pa(_PD_NEURON)
    full_pa = np.full((8, 8), unit_pa)
    full_pa[0, 2] *= 2
    full_pa[:, 1::2] *= -4
    rate = np.array([a.rate_hz[0] for a in POTJANS_DIESMANN_ACTIVITY.values()])
    recurrent_pa = (full_pa * full_number / _PD_SIZE[:, None]) @ rate  # times tau_syn
    external_pa = unit_pa * _PD_EXTERNAL * _PD_BACKGROUND_HZ
    lost = 1 - math.sqrt(scale)
    mean_pa = lost * (recurrent_pa + external_pa) if drive == "poisson" else lost * recurrent_pa + external_pa
    constant_pa = mean_pa * _PD_NEURON.tau_syn_ex_ms / 1000
    weight_pa = full_pa / math.sqrt(scale)
    background_hz = np.rint(_PD_EXTERNAL * scale) * _PD_BACKGROUND_HZ

    layers = {layer: slice(2 * i, 2 * i + 2) for i, layer in enumerate(("L23", "L4", "L5", "L6"))}

    def each(layer: str, values: ArrayLike) -> NDArray[Any]:
        """A value a population, for each neuron of a layer."""
        return np.repeat(np.asarray(values)[layers[layer]], size[layers[layer]])

    regions = [
        Region(name, int(size[pair].sum()), "neuron", _PD_NEURON, sign=each(name, [1, -1] * 4))
        for name, pair in layers.items()
    ]  # fmt: skip
    edges = []
    for source, s in layers.items():
        for target, t in layers.items():
            kind: Kind = "local" if source == target else "long_range"
            key = EdgeKey(source, kind, target)
            edges.append(_random_rows(key, size[s], size[t], number[t, s], weight_pa[t, s], rng))
    stimulus = Stimulus(
        current_pa={name: each(name, constant_pa) for name in layers} if constant_pa.any() else {},
        poisson={
            name: Poisson(each(name, background_hz), unit_pa / math.sqrt(scale))
            for name in layers if drive == "poisson"
        },
    )  # fmt: skip
    return Model(
        Connectome.of(regions, edges, dt_ms=_DT_MS, provenance=Provenance(seed=seed)), stimulus,
        {name: rng.normal(each(name, _PD_V0_MEAN_MV), each(name, _PD_V0_SD_MV)) for name in layers},
        {
            name: (layer, slice(0, int(e)) if name.endswith("E") else slice(int(e), int(e + i)))
            for layer, pair in layers.items() for e, i in [size[pair]] for name in (layer + "E", layer + "I")
        },
    )  # fmt: skip


# Potjans & Diesmann (2014), tables 4 and 5, and NEST's reference for the initial potentials. Rows are targets, columns
# sources, in the order L23E, L23I, ... L6I.
_PD_NEURON: Final = NeuronParameters(
    tau_m_ms=10.0, c_m_pf=250.0, t_ref_ms=2.0, v_th_mv=-50.0, v_reset_mv=-65.0, e_l_mv=-65.0, tau_syn_ex_ms=0.5,
    tau_syn_in_ms=0.5,
)  # fmt: skip
_PD_SIZE: Final = np.array([20683, 5834, 21915, 5479, 4850, 1065, 14395, 2948])
_PD_PROBABILITY: Final = np.array(
    [
        [0.1009, 0.1689, 0.0437, 0.0818, 0.0323, 0, 0.0076, 0],
        [0.1346, 0.1371, 0.0316, 0.0515, 0.0755, 0, 0.0042, 0],
        [0.0077, 0.0059, 0.0497, 0.1350, 0.0067, 0.0003, 0.0453, 0],
        [0.0691, 0.0029, 0.0794, 0.1597, 0.0033, 0, 0.1057, 0],
        [0.1004, 0.0622, 0.0505, 0.0057, 0.0831, 0.3726, 0.0204, 0],
        [0.0548, 0.0269, 0.0257, 0.0022, 0.0600, 0.3158, 0.0086, 0],
        [0.0156, 0.0066, 0.0211, 0.0166, 0.0572, 0.0197, 0.0396, 0.2252],
        [0.0364, 0.0010, 0.0034, 0.0005, 0.0277, 0.0080, 0.0658, 0.1443],
    ]
)
_PD_EXTERNAL: Final = np.array([1600, 1500, 2100, 1900, 2000, 1900, 2900, 2100])
_PD_BACKGROUND_HZ: Final = 8.0
_PD_PSP_MV: Final = 0.15
_PD_V0_MEAN_MV: Final = np.array([-68.28, -63.16, -63.33, -63.45, -63.11, -61.66, -66.72, -61.43])
_PD_V0_SD_MV: Final = np.array([5.36, 4.57, 4.74, 4.94, 4.94, 4.55, 5.46, 4.48])
_PD_WEIGHT_CV: Final = 0.1
_PD_DELAY_STEPS: Final = ((15.0, 7.5), (7.5, 3.75))  # mean, sd: from excitatory, from inhibitory neurons

#: The microcircuit at full scale with Poisson input. Rates: NEST's reference run (the first, which the down-scaling
#: takes), NetPyNE's 60 s (Romaro et al. 2021, Neural Comput. 33:1993, table A.1), and for excitatory populations
#: Potjans & Diesmann (2014), as quoted there. CV: table A.3 there. One network differs from the next: Romaro's runs at
#: 40 .. 80 % of the size have 6.3 .. 7.9 Hz in L5E.
POTJANS_DIESMANN_ACTIVITY: Final[Mapping[str, PublishedRates]] = MappingProxyType(
    {
        "L23E": PublishedRates((0.903, 0.90, 0.86), 0.938),
        "L23I": PublishedRates((2.965, 2.80), 0.916),
        "L4E": PublishedRates((4.414, 4.39, 4.45), 0.891),
        "L4I": PublishedRates((5.876, 5.70), 0.873),
        "L5E": PublishedRates((7.569, 6.80, 7.59), 0.847),
        "L5I": PublishedRates((8.633, 8.22), 0.809),
        "L6E": PublishedRates((1.105, 1.14, 1.09), 0.924),
        "L6I": PublishedRates((7.829, 7.60), 0.819),
    }
)


def _tenth(sources: int, _: int) -> ConnectionRule:
    return FixedInDegree(sources // 10, allow_autapses=True)


def _balanced(
    n: int, neuron: NeuronParameters, rule: Callable[[int, int], ConnectionRule], weight_pa: float, g: float,
    delay_ms: float, weights: Weights, start_mv: tuple[float, float], drive: Poisson | None, seed: int,
    rng: np.random.Generator,
) -> Model:  # fmt: skip
    """80 % excitatory and 20 % inhibitory neurons, alike but for the weights of their synapses. ``rule`` is given the
    numbers of sources, of one population, and of targets."""
    _check_choice("weights", weights, get_args(Weights))
    n_e = n * 4 // 5
    sign = np.where(np.arange(n) < n_e, 1, -1).astype(np.int8)
    if weights == "constant":
        populations = {"E": ("E", slice(0, n_e)), "I": ("I", slice(0, n - n_e))}
        parts = {"E": slice(0, n_e), "I": slice(n_e, n)}
    else:
        populations = {"E": ("all", slice(0, n_e)), "I": ("all", slice(n_e, n))}
        parts = {"all": slice(0, n)}
    regions = [Region(name, sign[p].size, "neuron", neuron, sign=sign[p]) for name, p in parts.items()]
    edges = []
    for s in regions:
        for t in regions:
            ends = []  # of one population after the other: so in the order of their sources
            for name, here in populations.values():
                if name == s.name:
                    group = Region("source", here.stop - here.start)
                    i, j = rule(group.size, t.size).pairs(group, Region("target", t.size), rng)
                    ends.append((i + np.int32(here.start), j))
            pairs = (np.concatenate([i for i, _ in ends]), np.concatenate([j for _, j in ends]))
            edges.append(wire(s, t, pairs, weight_pa=weight_pa, g=g, delay_ms=delay_ms, dt_ms=_DT_MS, rng=rng))
    v_mv = rng.uniform(*start_mv, n)
    return Model(
        Connectome.of(regions, edges, dt_ms=_DT_MS, provenance=Provenance(seed=seed)),
        Stimulus(poisson={} if drive is None else dict.fromkeys(parts, drive)),
        {name: v_mv[p] for name, p in parts.items()}, populations,
    )  # fmt: skip


def _psp_per_pa(neuron: NeuronParameters) -> float:
    """The peak of the potential that a weight of 1 pA brings about, mV (e.g. Hanuschkin et al. 2010, eq. 5)."""
    m, s = neuron.tau_m_ms, neuron.tau_syn_ex_ms
    peak_ms = math.log(m / s) * m * s / (m - s)
    return float((math.exp(-peak_ms / m) - math.exp(-peak_ms / s)) / (1 / s - 1 / m) / neuron.c_m_pf)


def _random_rows(
    key: EdgeKey, n_source: NDArray[np.int64], n_target: NDArray[np.int64], number: NDArray[np.int64],
    weight_pa: NDArray[np.float64], rng: np.random.Generator,
) -> EdgeSet:  # fmt: skip
    """The edges from one layer to one: ``number[b, a]`` of them from its population a to the other's population b.

    Pairs that are drawn one by one give each source neuron a multinomial number of edges with independent targets: so
    the edges can be drawn row by row, in their final order but for the sort of some rows at a time. It needs 8 bytes an
    edge, and as good as nothing besides.
    """
    rows = [[rng.multinomial(number[b, a], np.full(n, 1 / n)) for b in (0, 1)] for a, n in enumerate(n_source)]
    indptr = np.concatenate([[0], *(e + i for e, i in rows)]).cumsum()
    n_edges, targets = int(indptr[-1]), int(n_target.sum())
    bits = (targets - 1).bit_length()
    indices, weight = np.empty(n_edges, index_type(targets)), np.empty(n_edges, np.float32)
    delay = np.empty(n_edges, np.uint16)
    spans = ((0, int(n_target[0])), (int(n_target[0]), targets))
    for a, start in enumerate((0, int(n_source[0]))):
        stop = start + int(n_source[a])
        for group in row_blocks(indptr[start : stop + 1]):
            here = slice(int(indptr[start + group.start]), int(indptr[start + group.stop]))
            count = [r[group] for r in rows[a]]
            steps = (Normal(*_PD_DELAY_STEPS[a], low=0.5).draw(here.stop - here.start, rng) + 0.5).astype(np.uint32)
            # One number for row, delay and target: of 32 bits nearly always, and those sort twice as fast as 64.
            shift = bits + int(steps.max(initial=1)).bit_length()
            word = np.uint32 if (group.stop - group.start) << shift <= 2**32 else np.uint64
            code: NDArray[Any] = np.concatenate([np.repeat(np.arange(c.size, dtype=word), c) for c in count])
            code <<= word(shift)
            code |= np.left_shift(steps, bits, dtype=word)
            code |= np.concatenate(
                [rng.integers(*span, c.sum(), np.uint32) for span, c in zip(spans, count, strict=True)]
            )
            code.sort()
            target = code & word(2**bits - 1)
            indices[here] = target
            code >>= word(bits)
            delay[here] = code & word(2 ** (shift - bits) - 1)
            strength = Normal(1.0, _PD_WEIGHT_CV, low=0.0).draw(target.size, rng)
            to_e, to_i = weight_pa[:, a]
            strength *= to_e if to_e == to_i else np.where(target < n_target[0], to_e, to_i)
            weight[here] = strength
    return EdgeSet(
        key, targets, lock(indptr), lock(indices), lock(weight), lock(delay), _DT_MS,
        np.broadcast_to(np.int16(0), n_edges),
    )  # fmt: skip


def _check_size(n: int, k: int) -> None:
    check("n", n, 5, whole=True)
    check("k", k, 0, n, whole=True)


def _generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(integer("seed", seed, 0, 2**63 - 1))


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConnectomeError(name, f"must be one of {', '.join(choices)}", repr(value))

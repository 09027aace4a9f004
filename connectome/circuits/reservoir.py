"""Reservoirs whose inhibition adapts itself (Srinivasan, Plenz & Girvan 2025, "Boosting reservoir computing with
brain-inspired adaptive dynamics", arXiv 2504.12480; the later paper in Nature Communications 2025).

N units, excitatory or inhibitory, in steps of the input u:

    ``r(t+1) = S(V)``,  ``V = A_E r(t) - A_I r(t) + W_in u(t)``,  ``S(V) = 1 / (1 + exp(-c (V - theta)))``

with theta = 0. Inhibition moves each unit towards a target rate rho_i, on existing edges (equation 7):

    ``A_I[i, j] <- max(0, A_I[i, j] + delta (r_i - rho_i))``

or in one step, by multiplying unit i's inhibition (equation 8; in this form our derivation) by

    ``Omega_i = (sum_j A_E[i, j] rho_j + W_in[i] mean(u) - S^-1(rho_i)) / sum_j A_I[i, j] rho_j``,  at least 0.

The comparator, global scaling, multiplies all inhibition by one number.

The spiking form is ours: leaky integrators with a refractory time, whose rate is 1 / t_ref for a response of 1 and half
of that at V = 0, slow synapses, and a delay of one step of the input, so that spikes follow the same equation, with
noise and with the neurons' own S. There equation 7 is :class:`connectome.simulate.target_rate.TargetRate`, on counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.arrays import freeze
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome, Edit
from connectome.graph.parts import EdgeKey, Region
from connectome.neurons.iaf_psc_exp import NeuronParameters
from connectome.simulate.runs import Stimulus, run
from connectome.simulate.stdp import learnt
from connectome.simulate.target_rate import TargetRate
from connectome.wiring.connection_rules import FixedInDegree
from connectome.wiring.edges import dale_signs, wire

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = [
    "DELTA", "KEY", "REGION", "STEP_MS", "WEIGHT_PA", "Form", "adapted", "designed", "reservoir", "responses", "scaled",
]  # fmt: skip

Floats = NDArray[np.float64]
Form = Literal["rates", "spikes"]
REGION: Final = "reservoir"
KEY: Final = EdgeKey(REGION, "local", REGION)
_C: Final = 10.0
#: How fast inhibition adapts, ever slower: the sum of what recurrence brings takes its time to settle.
DELTA: Final = (1e-2, 3e-3, 1e-3, 3e-4)
#: ms: a step of the input; of a run; the filter that spikes are read through; the interval of the rule's calls.
STEP_MS: Final = 50.0
_DT_MS, _FILTER_MS, _INTERVAL_MS = 0.5, 20.0, 100.0
_BLOCK: Final = 400  # steps of the input in a run: a current for each step of it and neuron takes memory
_T_REF_MS, _TAU_M_MS, _TAU_SYN_MS, _C_M_PF, _THRESHOLD_MV = 2.0, 5.0, 20.0, 250.0, 15.0
#: In spikes S is this much less steep at V = 0: it is steeper below, and the noise of spikes is amplified.
_SHALLOWER: Final = 0.7
_RHEOBASE_PA: Final = _C_M_PF * _THRESHOLD_MV / _TAU_M_MS


def _current(rate: ArrayLike) -> Floats:
    """Currents, in units of the rheobase, at which such a neuron fires at these fractions of 1 / t_ref."""
    gap: Floats = np.exp(_T_REF_MS * (1 / np.asarray(rate, float) - 1) / _TAU_M_MS)
    return gap / (gap - 1)


_BIAS: Final = float(_current(0.5))
#: V = 1 in rheobases, by the slope of the neuron's rate at the bias.
_UNIT: Final = (_C / 4) * _SHALLOWER / (_TAU_M_MS / _T_REF_MS / 4 * (1 / (_BIAS - 1) - 1 / _BIAS))
#: A weight of 1 in the equation, pA: a spike brings w tau_syn of charge.
WEIGHT_PA: Final = _UNIT * _RHEOBASE_PA * _T_REF_MS / _TAU_SYN_MS
_NEURON: Final = NeuronParameters(
    tau_m_ms=_TAU_M_MS, c_m_pf=_C_M_PF, e_l_mv=-65.0, v_reset_mv=-65.0, v_th_mv=-65.0 + _THRESHOLD_MV,
    t_ref_ms=_T_REF_MS, tau_syn_ex_ms=_TAU_SYN_MS, tau_syn_in_ms=_TAU_SYN_MS, i_e_pa=_BIAS * _RHEOBASE_PA,
)  # fmt: skip


def reservoir(
    n: int = 200, in_degree: int = 50, *, excitatory: float = 0.8, driven: float = 0.3,
    pairs: tuple[ArrayLike, ArrayLike] | None = None, seed: int = 0,
) -> Connectome:  # fmt: skip
    """N units with random signs and weights, balanced on average; W_in, uniform in -1 .. 1 for a share ``driven`` of
    them and else 0, is the region's state ``w_in``. ``pairs``: (E,) sources and (E,) targets of a wiring to use instead
    of a random one, with its own mean in-degree. Raises :class:`ConnectomeError`."""
    if not 0 < excitatory < 1:
        raise ConnectomeError("excitatory", "must be above 0 and below 1", excitatory)
    rng = np.random.default_rng(seed)
    sign = dale_signs(n, excitatory, rng)
    w_in = np.where(rng.random(n) < driven, rng.uniform(-1, 1, n), 0)
    region = Region(REGION, n, "neuron", _NEURON, sign=sign, state={"w_in": w_in.astype(np.float32)})
    source, target = (
        FixedInDegree(in_degree).pairs(region, region, rng) if pairs is None else (np.asarray(end) for end in pairs)
    )
    mean = n / (source.size * np.where(sign[source] > 0, excitatory, excitatory - 1))
    weight = mean * np.abs(1 + 0.2 * rng.standard_normal(source.size))
    edges = wire(
        region, region, (source, target), weight_pa=WEIGHT_PA * weight, delay_ms=STEP_MS, dt_ms=_DT_MS, rng=rng
    )
    return Connectome.of([region], [edges], dt_ms=_DT_MS)


def scaled(connectome: Connectome, beta: float) -> Connectome:
    """All inhibition times beta >= 0. Raises :class:`ConnectomeError`."""
    if not beta >= 0:
        raise ConnectomeError("beta", "must be >= 0", beta)
    w = connectome.edges[KEY].weight
    return connectome.apply(Edit(reweight={KEY: np.where(w < 0, beta * w, w)}))


def designed(connectome: Connectome, rho: ArrayLike, *, mean_input: float = 0.0, form: Form = "rates") -> Connectome:
    """Set each unit's inhibition in one step, for targets rho, a number or (N,). Units without inhibition stay as they
    are. ``form``: which S to use. Raises :class:`ConnectomeError`."""
    target, e = _targets(connectome, rho), connectome.edges[KEY]
    n, w_in = target.size, connectome.regions[REGION].state["w_in"]
    into = np.asarray(e.weight, float) / WEIGHT_PA * target[e.source]
    drive = np.bincount(e.indices, np.maximum(into, 0), n) + w_in * mean_input
    held = np.bincount(e.indices, np.maximum(-into, 0), n)
    at = np.log(target / (1 - target)) / _C if form == "rates" else (_current(target) - _BIAS) / _UNIT
    omega = np.maximum(0, np.divide(drive - at, held, out=np.ones(n), where=held > 0))
    return connectome.apply(Edit(reweight={KEY: np.where(e.weight < 0, e.weight * omega[e.indices], e.weight)}))


def adapted(
    connectome: Connectome, u: ArrayLike, rho: ArrayLike, *, form: Form = "rates", delta: Sequence[float] = DELTA
) -> Connectome:  # fmt: skip
    """The reservoir after adaptation to targets rho, a number or (N,), under (T,) inputs, an equal part of them with
    each delta. In spikes a delta applies to an interval of two input steps. Raises :class:`ConnectomeError`."""
    target, parts = _targets(connectome, rho), np.array_split(freeze("u", u, np.float64, (None,)), len(delta))
    if form == "spikes":
        hz = 1000 / _T_REF_MS
        for step, part in zip(delta, parts, strict=True):
            rule = TargetRate(target * hz, step * WEIGHT_PA / hz, _INTERVAL_MS)
            result = run(connectome, part.size * STEP_MS, _drive(connectome, part), plasticity={KEY: rule}, threads=1)
            connectome = learnt(connectome, result)
        return connectome
    e, w_in = connectome.edges[KEY], np.asarray(connectome.regions[REGION].state["w_in"], float)
    a = _matrix(connectome)
    unit = np.repeat(np.arange(target.size), np.diff(a.indptr))  # whose input an entry is
    inhibitory = np.flatnonzero(connectome.regions[REGION].sign[a.indices] < 0)
    r = target.copy()
    for step, part in zip(delta, parts, strict=True):
        for x in part:
            r = 1 / (1 + np.exp(-_C * (a @ r + w_in * x)))
            a.data[inhibitory] = np.minimum(0, a.data[inhibitory] - step * (r - target)[unit[inhibitory]])
    weight = np.empty(len(e), np.float32)
    weight[np.lexsort((e.source, e.indices))] = a.data * WEIGHT_PA
    return connectome.apply(Edit(reweight={KEY: weight}))


def responses(connectome: Connectome, u: ArrayLike, form: Form = "rates") -> Floats:
    """(T, N) after each of (T,) inputs: r of the equation, starting at S(0); or exponentially filtered spikes, in units
    of r, at the end of each step. Raises :class:`ConnectomeError`."""
    given, n = freeze("u", u, np.float64, (None,)), connectome.regions[REGION].size
    if form == "rates":
        a, w_in = _matrix(connectome), np.asarray(connectome.regions[REGION].state["w_in"], float)
        r, found = np.full(n, 0.5), np.empty((given.size, n))
        for t, x in enumerate(given):
            found[t] = r = 1 / (1 + np.exp(-_C * (a @ r + w_in * x)))
        return found
    blocks: list[Floats] = []  # from random potentials, else all begin to fire together
    start: dict[str, Any] = {"initial_v_mv": {REGION: np.random.default_rng(0).uniform(-65, -65 + _THRESHOLD_MV, n)}}
    for part in np.split(given, range(_BLOCK, given.size, _BLOCK)):
        drive = _drive(connectome, part)
        result, state = run(connectome, part.size * STEP_MS, drive, threads=1, return_state=True, **start)
        start, time = {"state": state}, result.spike_time_ms.values
        step = np.ceil(time / STEP_MS - 1e-9).astype(np.int64) - 1
        kernel = np.exp((time - (step + 1) * STEP_MS) / _FILTER_MS) * _T_REF_MS / _FILTER_MS
        summed = np.bincount(step * n + result.spike_neuron.values, kernel, part.size * n)
        blocks.append(summed.astype(np.float64, copy=False).reshape(-1, n))
    trace = np.concatenate(blocks)
    for t in range(1, given.size):
        trace[t] += np.exp(-STEP_MS / _FILTER_MS) * trace[t - 1]
    return trace


def _targets(connectome: Connectome, rho: ArrayLike) -> Floats:
    found = np.array(np.broadcast_to(np.asarray(rho, float), (connectome.regions[REGION].size,)))
    if (bad := found[~((found > 0) & (found < 1))]).size:
        raise ConnectomeError("rho", "must be above 0 and below 1", bad[0])
    return found


def _matrix(connectome: Connectome) -> csr_array:
    """(N, N) A_E - A_I, row = target, an entry an edge."""
    from scipy.sparse import csr_array

    e = connectome.edges[KEY]
    order = np.lexsort((e.source, e.indices))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(e.indices, minlength=e.n_target))])
    return csr_array((e.weight[order].astype(float) / WEIGHT_PA, e.source[order], indptr), (e.n_target,) * 2)


def _drive(connectome: Connectome, u: Floats) -> Stimulus:
    current = np.outer(u, connectome.regions[REGION].state["w_in"] * (_UNIT * _RHEOBASE_PA))
    return Stimulus(current_pa={REGION: np.repeat(current, round(STEP_MS / _DT_MS), axis=0)})

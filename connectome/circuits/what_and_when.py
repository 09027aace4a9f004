"""What will come, and when: two readouts of one reservoir (Yamada & Chao 2025, arXiv 2510.14382; Communications Biology
2026, 10.1038/s42003-026-10836-2).

A cue is followed by event A at t_A with probability p, else by B at t_B. A reservoir of N Izhikevich neurons of several
types, with fixed recurrence by Dale's law, begins each trial at rest. With x(t) its filtered spikes, channel c of

- *when* learns during a trial of its own event (G_c = 1) towards z*_c, a bump around the event's time:
  ``dw_c = eta G_c(t) (z*_c(t) - z_c(t)) x(t)``, ``z_c = w_c . x``
- *what* learns at the end of each trial, y*_c = 1 for the event that came and 0 for the other, from the mean state:
  ``dv_c = eta (y*_c - p_c) xbar``,  ``p_c = v_c . xbar``

and the forecast is ``p_c z_c(t)``. Both are :class:`connectome.simulate.error_modulated.ErrorModulated` on the edges
into an effector; *what* has a long time constant, so that its potential at the end of a trial is a mean over it.

Not taken from the paper, and so ours: all constants; the bump; the whole trial as the gate, without which the cue's own
burst is never unlearnt; the exponential mean. The paper feeds z back into the reservoir; an effector has no spikes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.parts import EdgeKey, Region
from connectome.neurons.iaf_psc_exp import NeuronParameters, propagators
from connectome.neurons.izhikevich import Izhikevich
from connectome.simulate.error_modulated import ErrorModulated
from connectome.simulate.runs import Poisson, Stimulus, run
from connectome.simulate.stdp import learnt
from connectome.wiring.connection_rules import FixedInDegree
from connectome.wiring.edges import wire

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "DURATION_MS", "QUIET", "TIME_MS", "WHAT", "WHEN", "Noise", "Recall", "Speed", "bump", "forecast", "profile",
    "recall", "reservoir", "speed", "states", "trial",
]  # fmt: skip

Floats = NDArray[np.float64]
WHEN: Final = EdgeKey("reservoir", "efferent", "when")
WHAT: Final = EdgeKey("reservoir", "efferent", "what")
DURATION_MS: Final = 600.0
_DT_MS: Final = 0.5
#: (T,) ends of the steps of a trial.
TIME_MS: Final = _DT_MS * np.arange(1, round(DURATION_MS / _DT_MS) + 1)
_CUE_MS: Final = np.arange(5.0, 30.0, 5.0)
_END_MS: Final = 10.0  # how long *what* learns
_TAU_WHEN_MS, _TAU_WHAT_MS, _TAU_SYN_MS = 20.0, 200.0, 2.0


class Speed(NamedTuple):
    """Learning rates of the readouts, pA^2 / (mV^2 ms)."""

    when: float
    what: float


class Noise(NamedTuple):
    """Poisson jumps into every neuron of the reservoir, Hz and mV."""

    rate_hz: float = 0.0
    jump_mv: float = 0.5


QUIET: Final = Noise()


class Recall(NamedTuple):
    """The response to the cue alone: z (T, 2) and p (2,)."""

    when: Floats
    what: Floats


def reservoir(
    n: int = 400, in_degree: int = 40, *, weight_mv: float = 3.0, g: float = 6.0, cued: float = 0.2,
    cue_mv: float = 10.0, seed: int = 0,
) -> Connectome:  # fmt: skip
    """The region graph: sensor *cue*, *reservoir*, effectors *when* and *what* with one channel per event, whose edges
    have weight 0. Four fifths of the neurons are excitatory, from regular spiking to chattering; the others, g times as
    strong, range from fast spiking to low-threshold spiking, as in Izhikevich (2003). Most fire only in response to the
    cue and to each other. ``cued``: the share of neurons that the cue excites, by up to ``cue_mv`` a spike. Raises
    :class:`ConnectomeError`."""
    rng = np.random.default_rng(seed)
    if not 0 < cued <= 1:
        raise ConnectomeError("cued", "must be above 0 and at most 1", cued)
    excites, q = np.arange(n) < round(0.8 * n), rng.random(n)
    neuron = Izhikevich(
        a_per_ms=np.where(excites, 0.02, 0.02 + 0.08 * q), b_per_ms=np.where(excites, 0.2, 0.25 - 0.05 * q),
        c_mv=np.where(excites, -65 + 15 * q**2, -65.0), d_mv_per_ms=np.where(excites, 8 - 6 * q**2, 2.0),
        i_e_pa=rng.uniform(2, 5, n),
    )  # fmt: skip
    v0 = rng.uniform(-80, -50, n).astype(np.float32)
    cells = Region("reservoir", n, "neuron", neuron, state={"v0_mv": v0})  # no sign: readouts weigh either way
    cue = Region("cue", 1, "sensor")
    readouts = [
        Region(
            name, 2, "effector", NeuronParameters(tau_m_ms=tau, tau_syn_ex_ms=_TAU_SYN_MS, tau_syn_in_ms=_TAU_SYN_MS)
        )
        for name, tau in (("when", _TAU_WHEN_MS), ("what", _TAU_WHAT_MS))
    ]
    local = FixedInDegree(in_degree).pairs(cells, cells, rng)
    strength = weight_mv * np.where(excites[local[0]], 1.0, -g)
    delay = rng.uniform(1, 20, strength.size)
    hears = rng.choice(n, max(1, round(cued * n)), replace=False)
    jump = cue_mv * rng.uniform(0.5, 1, hears.size)
    every = (np.repeat(np.arange(n), 2), np.tile([0, 1], n))
    edges = [
        wire(cells, cells, local, weight_pa=strength, delay_ms=delay, dt_ms=_DT_MS, rng=rng),
        wire(cue, cells, (np.zeros_like(hears), hears), weight_pa=jump, dt_ms=_DT_MS, rng=rng),
        *(wire(cells, to, every, weight_pa=np.zeros(2 * n), dt_ms=_DT_MS, rng=rng) for to in readouts),
    ]  # fmt: skip
    return Connectome.of([cue, cells, *readouts], edges, dt_ms=_DT_MS)


def bump(at_ms: float, width_ms: float = 25.0) -> Floats:
    """(T,) z* of an event at this time: a Gaussian of height 1."""
    found: Floats = np.exp(-0.5 * ((TIME_MS - at_ms) / width_ms) ** 2)
    return found


def profile(at_ms: ArrayLike, p: float) -> Floats:
    """(T, 2) the ideal forecast: the bump of each event, scaled by the event's probability."""
    found: Floats = np.stack([bump(t) for t in np.asarray(at_ms, float)], 1) * np.array([p, 1 - p])
    return found


def forecast(found: Recall) -> Floats:
    """(T, 2) p_c z_c(t)."""
    return found.what * found.when


def states(connectome: Connectome, noise: Noise = QUIET, seed: int = 0) -> tuple[Floats, Floats]:
    """(T, N) x and (N,) xbar of a trial, mV/pA: the potential that spikes cause through an edge of weight 1."""
    result = _run(connectome, noise, seed)
    n = connectome.regions["reservoir"].size
    mine = result.spike_region.values == list(result.region.values).index("reservoir")
    step = np.rint(result.spike_time_ms.values[mine] / _DT_MS).astype(np.int64) - 1
    spikes = np.zeros((TIME_MS.size + 1, n))
    np.add.at(spikes, (step + 1, result.spike_neuron.values[mine]), 1.0)  # they arrive a step later
    found = []
    for key in (WHEN, WHAT):
        k = propagators(connectome.regions[key.target].neuron, _DT_MS)
        x, current, trace = np.zeros(n), np.zeros(n), np.empty((TIME_MS.size, n))
        for t in range(TIME_MS.size):
            x = k.p22 * x + k.p21_ex * current
            current = k.p11_ex * current + spikes[t]
            trace[t] = x
        found.append(trace)
    return found[0], found[1][-1]


def speed(connectome: Connectome, when: float = 1.5, what: float = 0.08) -> Speed:
    """Such that *what* moves by this share of its error in a trial, and *when* by as much in its time constants where
    |x|^2 is largest: somewhere above 3 it diverges. Measured in one trial."""
    x, xbar = states(connectome)
    most = float((x**2).sum(1).max())
    return Speed(when / ((_TAU_WHEN_MS + _TAU_SYN_MS) * most), what / (_END_MS * float((xbar**2).sum())))


def trial(
    connectome: Connectome, event: int, at_ms: float, fast: Speed, *, noise: Noise = QUIET, seed: int = 0,
    gated: bool = True,
) -> Connectome:  # fmt: skip
    """The network after a trial in which event 0 or 1 comes at this time. A learning rate of 0 leaves a readout as it
    is. If not ``gated``, *when* learns in both channels, with a target of 0 for the event that does not come. Raises
    :class:`ConnectomeError`."""
    if event not in (0, 1):
        raise ConnectomeError("event", "must be 0 or 1", event)
    came = np.arange(2) == event
    end = (TIME_MS > DURATION_MS - _END_MS)[:, None]
    rules = {
        WHEN: ErrorModulated(bump(at_ms)[:, None] * came, fast.when, np.ones(2) if not gated else came.astype(float)),
        WHAT: ErrorModulated(came.astype(float), fast.what, end.astype(float)),
    }
    learning = {key: rule for key, rule in rules.items() if rule.rate_pa2_per_mv2_ms}
    return learnt(connectome, _run(connectome, noise, seed, plasticity=learning))


def recall(connectome: Connectome, noise: Noise = QUIET, seed: int = 0) -> Recall:
    """Run the cue alone; nothing is learnt."""
    v = _run(connectome, noise, seed, record_v={"when": "all", "what": "all"}).v_mv
    v = v.values - NeuronParameters().e_l_mv
    return Recall(v[:, :2], v[-1, 2:])


def _run(connectome: Connectome, noise: Noise, seed: int, **options: Any) -> xr.Dataset:
    """Run a trial, from the state in which all begin."""
    jumps = {"reservoir": Poisson(noise.rate_hz, noise.jump_mv)} if noise.rate_hz else {}
    stimulus = Stimulus({"cue": (_CUE_MS, np.zeros(_CUE_MS.size, int))}, poisson=jumps)
    v0 = {"reservoir": connectome.regions["reservoir"].state["v0_mv"]}
    found: xr.Dataset = run(connectome, DURATION_MS, stimulus, seed=seed, threads=1, initial_v_mv=v0, **options)
    return found

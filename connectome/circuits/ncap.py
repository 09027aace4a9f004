"""The swimming circuit of the worm *C. elegans* as a controller with four parameters (Bhattasali, Zador & Engel 2022,
"Neural circuit architectural priors for embodied control", arXiv 2201.05242).

Each joint of a swimmer, from the head on, has a dorsal and a ventral B motor neuron and muscle. With q the joint angles
divided by their limits, d = max(q, 0), v = max(-q, 0) and graded(x) = x clipped to 0 .. 1,

    ``B_d[i] = graded(w_prop d[i-1])`` (i > 0), ``B_d[0] = graded(w_osc osc_d)``, B_v likewise;
    ``M_d = graded(w_ipsi B_d + w_contra B_v)``, ``M_v = graded(w_ipsi B_v + w_contra B_d)``; torque M_d - M_v

so each segment bends as the one before it is bent: a wave runs down the body. osc_d is 1 in the first half of a period
of 60 moves, osc_v in the second. The weights are shared by all segments: +1, +1, +1, -1 before any training.

In spikes (ours): a value of 1 is a population of 10 that fires 1 spike a ms. B neurons are non-leaky integrators, whose
rate is linear in their input; D neurons follow them and inhibit the other side, as in the worm, so that each neuron has
one sign; a muscle is an effector, whose potential above rest is M, mV. Any fraction of a spike that is left after a
move of 30 ms is carried over to the next. The four weights are edges that share one number (state ``tied``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.arrays import freeze, integer
from connectome.graph.connectome import Connectome, Edit
from connectome.graph.parts import TIED, EdgeKey, EdgeSet, Region
from connectome.neurons.iaf_psc_exp import NeuronParameters
from connectome.simulate.runs import Stimulus, run

__all__ = [
    "MOVE_MS", "SWIMMING", "Controller", "Weights", "graded", "in_spikes", "oscillator", "shared_weights", "swim",
    "swimming_circuit", "with_weights",
]  # fmt: skip

Floats = NDArray[np.float64]
#: Angles over their limits (joints,) and the number of the move -> torques (joints,). One for each trial.
Controller = Callable[[Floats, int], Floats]

#: From one move to the next.
MOVE_MS: Final = 30.0
_DT_MS: Final = 1.0
_UNITS: Final = 10
#: Spikes a ms of a population whose value is 1.
_RATE: Final = 1.0
_TAU_SYN_MS: Final = 0.5
_B: Final = NeuronParameters(
    tau_m_ms=1e6, c_m_pf=250.0, e_l_mv=-65.0, v_reset_mv=-65.0, v_th_mv=-50.0, t_ref_ms=0.0,
    tau_syn_ex_ms=_TAU_SYN_MS, tau_syn_in_ms=_TAU_SYN_MS,
)  # fmt: skip
_MUSCLE: Final = NeuronParameters(
    tau_m_ms=10.0, c_m_pf=250.0, e_l_mv=0.0, v_reset_mv=0.0, v_th_mv=1.0, tau_syn_ex_ms=_TAU_SYN_MS,
    tau_syn_in_ms=_TAU_SYN_MS,
)  # fmt: skip
#: A weight of 1, pA: a spike of each of a population makes each B neuron fire once; a population of value 1 keeps a
#: muscle at 1 mV.
_TO_B_PA: Final = _B.c_m_pf * (_B.v_th_mv - _B.v_reset_mv) / _TAU_SYN_MS / _UNITS
_TO_MUSCLE_PA: Final = _MUSCLE.c_m_pf / _MUSCLE.tau_m_ms / _TAU_SYN_MS / _RATE
_READ_MS: Final = 10  # of a move, at its end


class Weights(NamedTuple):
    """The four numbers."""

    proprioception: float = 1.0
    oscillator: float = 1.0
    ipsilateral: float = 1.0
    contralateral: float = -1.0


SWIMMING: Final = Weights()
_SETS: Final = (
    EdgeKey("proprioception", "afferent", "motor_b"), EdgeKey("oscillator", "afferent", "motor_b"),
    EdgeKey("motor_b", "efferent", "muscles"), EdgeKey("motor_d", "efferent", "muscles"),
)  # fmt: skip
_SCALE_PA: Final = dict(zip(_SETS, (_TO_B_PA, _TO_B_PA, _TO_MUSCLE_PA, _TO_MUSCLE_PA), strict=True))


def oscillator(move: int, period: int = 60) -> Floats:
    """(2,) dorsal and ventral."""
    first = move % period < period / 2
    return np.array([first, not first], float)


def graded(weights: ArrayLike = SWIMMING, period: int = 60) -> Controller:
    """A controller that computes the equations directly."""
    w_prop, w_osc, w_ipsi, w_contra = np.asarray(weights, float)

    def torque(q: Floats, move: int) -> Floats:
        bent = np.clip([q, -q], 0, 1)
        b = np.empty_like(bent)
        b[:, 0], b[:, 1:] = w_osc * oscillator(move, period), w_prop * bent[:, :-1]
        b = np.clip(b, 0, 1)
        m = np.clip(w_ipsi * b + w_contra * b[::-1], 0, 1)
        found: Floats = m[0] - m[1]
        return found

    return torque


def swimming_circuit(joints: int, weights: ArrayLike = SWIMMING) -> Connectome:
    """The region graph. The populations and muscles of joint i and side s (0 dorsal) have the number 2 i + s. D neurons
    have the sign of the fourth weight. Raises :class:`ConnectomeError`."""
    sides = 2 * integer("joints", joints, 1, 1000)
    w = freeze("weights", weights, np.float64, (4,))
    n = sides * _UNITS
    regions = [
        Region("proprioception", n, "sensor"), Region("oscillator", 2 * _UNITS, "sensor"),
        Region("motor_b", n, "neuron", _B, sign=np.ones(n, np.int8)),
        Region("motor_d", n, "neuron", _B, sign=np.full(n, 1 if w[3] > 0 else -1, np.int8)),
        Region("muscles", sides, "effector", _MUSCLE),
    ]  # fmt: skip
    here = np.arange(sides)
    joined = (
        (_SETS[0], here[:-2], here[2:], w[0]), (_SETS[1], here[:2], here[:2], w[1]), (_SETS[2], here, here, w[2]),
        (_SETS[3], here, here, w[3]), (EdgeKey("motor_b", "long_range", "motor_d"), here, here ^ 1, 1.0),
    )  # fmt: skip
    size = {r.name: r.size for r in regions}
    edges = []
    for key, source, target, weight in joined:
        units = 1 if key.target == "muscles" else _UNITS
        graph = np.zeros((size[key.source] // _UNITS, size[key.target] // units), bool)
        graph[source, target] = True
        i, j = np.nonzero(np.kron(graph, np.ones((_UNITS, units), bool)))
        edges.append(
            EdgeSet.from_arrays(
                key, i, j, weight * _SCALE_PA.get(key, _TO_B_PA), n_source=size[key.source], n_target=size[key.target],
                dt_ms=_DT_MS, state={TIED: np.zeros(i.size)} if key in _SETS else {},
            )
        )  # fmt: skip
    return Connectome.of(regions, edges, dt_ms=_DT_MS)


def with_weights(circuit: Connectome, weights: ArrayLike) -> Connectome:
    """The circuit with these four numbers, whose signs must be those of its neurons. Raises
    :class:`ConnectomeError`."""
    given = zip(_SCALE_PA.items(), freeze("weights", weights, np.float64, (4,)), strict=True)
    return circuit.apply(
        Edit(reweight={key: np.full(len(circuit.edges[key]), w * scale, np.float32) for (key, scale), w in given})
    )


def shared_weights(circuit: Connectome) -> Weights:
    """The four numbers of a circuit; 0 for the first if there is only one joint."""
    return Weights(*(float(circuit.edges[key].weight[:1].sum()) / scale for key, scale in _SCALE_PA.items()))


def in_spikes(circuit: Connectome, period: int = 60) -> Controller:
    """A controller that runs the circuit on its sensors' input for the duration of a move, then moves."""
    sides = circuit.regions["muscles"].size
    said: dict[str, tuple[Floats, NDArray[np.int64]]] = {
        name: (np.zeros(n), np.zeros(n, int)) for name, n in (("proprioception", sides), ("oscillator", 2))
    }
    # All of a population would fire at once if they began alike.
    ready = np.tile(np.linspace(_B.v_reset_mv, _B.v_th_mv, _UNITS, endpoint=False), sides)
    goes_on: dict[str, Any] = {"initial_v_mv": {"motor_b": ready, "motor_d": ready}}

    def torque(q: Floats, move: int) -> Floats:
        nonlocal goes_on
        bent = np.clip(np.stack([q, -q], 1).ravel(), 0, 1)
        values = {"proprioception": bent, "oscillator": oscillator(move, period)}
        result, state = run(
            circuit, MOVE_MS, Stimulus(spikes={name: _spikes(values[name], *said[name]) for name in said}),
            record_v={"muscles": np.arange(sides)}, return_state=True, threads=1, **goes_on,
        )  # fmt: skip
        goes_on = {"state": state}
        m = np.clip(result.v_mv.values[-round(_READ_MS / _DT_MS) :].mean(0), 0, 1)
        return np.asarray(m[::2] - m[1::2], float)

    return torque


def _spikes(value: Floats, left: Floats, turn: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
    """Times and neurons of the spikes that encode (C,) values in a move, spread evenly over it and over their
    populations. The fraction of a spike that is ``left``, and which neuron's ``turn`` is next, are kept for the next
    move."""
    left += value * MOVE_MS * _RATE
    count = left.astype(int)
    left -= count
    channel = np.repeat(np.arange(count.size), count)
    k = np.arange(channel.size) - np.repeat(count.cumsum() - count, count)
    times = np.ceil((k + 0.5) / count[channel] * MOVE_MS / _DT_MS) * _DT_MS
    neurons = channel * _UNITS + (turn[channel] + k) % _UNITS
    turn += count
    return times, neurons


def swim(controller: Controller, body: gymnasium.Env[Floats, Floats], seed: int) -> float:
    """The return of a trial: :class:`connectome.datasets.swimmer.Swimmer` until it is truncated."""
    q, _ = body.reset(seed=seed)
    total, move, over = 0.0, 0, False
    while not over:
        q, reward, _, over, _ = body.step(controller(q, move))
        total, move = total + float(reward), move + 1
    return total

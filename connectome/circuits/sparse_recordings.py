"""Dynamics from sparse recordings: a network that learns a task, and the spikes of a few recorded neurons of another
network, also comes to reproduce the neurons that were not recorded (Salatiello & Giese 2020, "Recurrent neural network
learning of performance and intrinsic population dynamics from sparse neural data", ICANN, arXiv 2005.02211, of which
only the abstract was read).

A teacher of N spiking neurons moves a hand in a direction that sensors show for 100 ms. Near where its neurons would
fire on their own, at rates f_j that rise by g_j for each pA, it is linear with

    ``w_ij = [U (1 + tau_s A) U^T]_ij / (tau_s g_j)``,  ``tau_s dI/dt = -I + U (1 + tau_s A) U^T I``

where U (N, 2K) is orthonormal and A has K blocks [[1 / T, -omega_k], [omega_k, 1 / T]]: so K oscillations grow until
neurons fall silent, each with a phase set by the direction. The hand reads only the first oscillation; the others are
output-null. A student with as many neurons has random weights, and learns all of them
(:mod:`connectome.circuits.sparse_fits`) by

    ``L = <|y - y*|^2> / <|y*|^2> + alpha <(s_i * k - s*_i * k)^2>``

with the hand's positions y, the spikes s* of the recorded neurons, each of which is assigned a neuron of the student
that is to do the same, an exponential kernel k, and the alpha at which both gradients are equally large at first. The
paper extends full-FORCE, on rates, and its teacher is a stability-optimised circuit; surrogate gradients, both networks
and all numbers are ours.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from connectome.analysis.readout import predictions
from connectome.arrays import integer
from connectome.graph.connectome import Connectome
from connectome.graph.parts import EdgeSet, Region
from connectome.learning.network import SpikingNetwork
from connectome.learning.recorded import filtered
from connectome.neurons.iaf_psc_exp import NeuronParameters
from connectome.neurons.leaky_integrator import LeakyIntegrator
from connectome.wiring.edges import wire

__all__ = [
    "DT_MS", "HAND", "REGION", "SENSOR", "STEPS", "TAU_MS", "activity", "explained", "goals", "predicted", "rate_hz",
    "rates", "slope_hz_per_pa", "student", "teacher",
]  # fmt: skip

Floats = NDArray[np.float64]
SENSOR, REGION, HAND = "goal", "network", "hand"
DT_MS: Final = 2.0
#: Steps of a reach, 600 ms; the goal is seen in the first of them.
STEPS: Final = 300
_SEEN: Final = 50
#: What is compared is filtered with this, and from 200 ms on, each 10 ms.
TAU_MS: Final = 50.0
_FROM, _EACH = 100, 5
_UNITS: Final = 32
_TAU_SYN_MS: Final = 50.0
_NEURON: Final = NeuronParameters(
    tau_m_ms=20.0, c_m_pf=250.0, t_ref_ms=2.0, v_th_mv=-50.0, v_reset_mv=-65.0, e_l_mv=-65.0,
    tau_syn_ex_ms=_TAU_SYN_MS, tau_syn_in_ms=_TAU_SYN_MS,
)  # fmt: skip
_RHEOBASE_PA: Final = 250.0 / 20.0 * 15.0
#: Charge that a spike brings for each pA of weight, pA s.
_CHARGE: Final = _TAU_SYN_MS / 1000
#: Root mean square of the current that the goal makes, of what just reaches the threshold.
_GOAL: Final = 0.6
_FREQUENCIES_HZ: Final = (4.0, 2.0)
_GROWTH_MS: Final = 140.0
_HAND: Final = 0.008


def rate_hz(current_pa: ArrayLike) -> Floats:
    """Firing rate of a neuron under a constant current above rheobase."""
    i = np.asarray(current_pa, float)
    return np.asarray(1000.0 / (2.0 + 20.0 * np.log(i / (i - _RHEOBASE_PA))))


def slope_hz_per_pa(current_pa: ArrayLike) -> Floats:
    """The derivative of :func:`rate_hz`."""
    i = np.asarray(current_pa, float)
    return np.asarray(rate_hz(i) ** 2 / 1000.0 * 20.0 * _RHEOBASE_PA / (i * (i - _RHEOBASE_PA)))


def teacher(n: int, rng: np.random.Generator, read: int = 1) -> Connectome:
    """Sensor ``goal`` (32), region ``network`` (N) all to all, effector ``hand`` (2), which reads the first ``read``
    oscillations. Raises :class:`ConnectomeError`."""
    k = 2 * len(_FREQUENCIES_HZ)
    integer("n", n, k, 10_000)
    integer("read", read, 1, k // 2)
    current, u = _currents(n, rng), np.linalg.qr(rng.normal(size=(n, k)))[0]
    a = np.eye(k) / _GROWTH_MS
    for at, frequency in enumerate(_FREQUENCIES_HZ):
        omega = 2 * np.pi * frequency / 1000
        a[2 * at, 2 * at + 1], a[2 * at + 1, 2 * at] = -omega, omega
    gain = _CHARGE * slope_hz_per_pa(current)
    local = u @ (np.eye(k) + _TAU_SYN_MS * a) @ u.T / gain
    into = rng.normal(size=(k, _UNITS))
    into /= (into @ _tuning(_preferred())).std(1, keepdims=True)
    hand = rng.normal(size=(2, 2 * read)) @ u[:, : 2 * read].T / gain / np.sqrt(read)
    return _made(current, local, u @ into, hand * _HAND * _RHEOBASE_PA, rng)


def student(n: int, rng: np.random.Generator, strength: float = 1.0) -> Connectome:
    """As :func:`teacher`, with weights drawn from normal distributions. The recurrent weights have an eigenvalue of
    about ``strength`` where the teacher's are ``1 + tau_s A``. Raises :class:`ConnectomeError`."""
    integer("n", n, 2, 10_000)
    current = _currents(n, rng)
    local = rng.normal(0, strength / np.sqrt(n), (n, n)) / (_CHARGE * slope_hz_per_pa(current))
    hand = rng.normal(0, _HAND * _RHEOBASE_PA / np.sqrt(n), (2, n)) / (_CHARGE * slope_hz_per_pa(current))
    return _made(current, local, rng.normal(size=(n, _UNITS)), hand, rng)


def goals(angle: ArrayLike) -> Tensor:
    """(D, T, 32) spikes of the sensor for D directions, in radians: units have von Mises tuning, up to 100 Hz, and fire
    at regular intervals."""
    rate = 0.1 * DT_MS * _tuning(np.asarray(angle, float)).T
    golden = np.arange(_UNITS) * (np.sqrt(5) - 1) / 2 % 1
    passed = np.arange(_SEEN + 1)[:, None] * rate[:, None] + golden
    spikes = np.zeros((len(rate), STEPS, _UNITS), np.float32)
    spikes[:, :_SEEN] = np.diff(np.floor(passed), axis=1)
    return torch.from_numpy(spikes)


def activity(connectome: Connectome, spikes: Tensor) -> tuple[Tensor, Tensor]:
    """(D, T, N) spikes of the network and (D, T, 2) mV of the hand."""
    with torch.no_grad():
        found = SpikingNetwork(connectome)({SENSOR: spikes}, record=(REGION,))
    return found.spikes[REGION], found.potential[HAND]


def rates(trains: Tensor) -> Floats:
    """(D, samples, N) Hz: filtered (D, T, N) trains, sampled after the goal has gone."""
    scale = (1 - np.exp(-DT_MS / TAU_MS)) * 1000 / DT_MS
    found: Floats = scale * filtered(trains, TAU_MS / DT_MS)[:, _FROM::_EACH].numpy().astype(float)
    return found


def predicted(by: Floats, of: Floats, by_new: Floats) -> Floats:
    """(D', S, M) rates of M neurons in D' new directions, predicted from those of N others there, ``by_new`` (D', S,
    N), by a ridge regression of ``of`` (D, S, M) on ``by`` (D, S, N). Raises :class:`ConnectomeError`."""
    states = np.concatenate([by, by_new]).reshape(-1, by.shape[-1])
    target = of.reshape(-1, of.shape[-1])
    unknown = np.zeros((len(states) - len(target), target.shape[1]))
    trial = np.repeat(np.arange(len(by) + len(by_new)), by.shape[1])
    seen, new = slice(0, len(target)), slice(len(target), None)
    found = predictions(states, np.concatenate([target, unknown]), seen, new, trial)
    return found.reshape(*by_new.shape[:2], -1)


def explained(rate: Floats, by: Floats) -> float:
    """R2: the fraction of the variance of (D, S, M) rates, of all neurons together over directions and time, that the
    predicted rates ``by`` of the same shape explain."""
    return 1 - float(((rate - by) ** 2).sum() / ((rate - rate.mean((0, 1))) ** 2).sum())


def _preferred() -> Floats:
    return np.arange(_UNITS) * 2 * np.pi / _UNITS


def _tuning(angle: Floats) -> Floats:
    """(32, D) tuning of the sensor's units."""
    found: Floats = np.exp(np.cos(_preferred()[:, None] - angle) - 1)
    return found


def _currents(n: int, rng: np.random.Generator) -> Floats:
    """(N,) pA: the currents at which the neurons fire on their own."""
    return _RHEOBASE_PA * rng.uniform(1.2, 1.8, n)


def _made(current: Floats, local: Floats, into: Floats, hand: Floats, rng: np.random.Generator) -> Connectome:
    """The network with (N, N), (N, 32) and (2, N) weights, target by source, pA; the sensor's currents are scaled, and
    the mean current that neurons get from each other is subtracted from their own."""
    n = len(current)
    local = local * ~np.eye(n, dtype=bool)
    into = into - into.mean(1, keepdims=True)
    seen = into @ _tuning(_preferred()) * 100.0 * _CHARGE
    into *= _GOAL * _RHEOBASE_PA / np.sqrt((seen**2).mean())
    i_e = current - _CHARGE * local @ rate_hz(current)
    regions = [
        Region(SENSOR, _UNITS, "sensor"),
        Region(REGION, n, "neuron", NeuronParameters(**{**_NEURON.parameters(), "i_e_pa": i_e})),
        Region(HAND, 2, "effector", LeakyIntegrator(20.0, tau_syn_ex_ms=_TAU_SYN_MS, tau_syn_in_ms=_TAU_SYN_MS)),
    ]

    def edges(source: int, target: int, weight: Floats) -> EdgeSet:
        t, s = np.nonzero(~np.eye(n, dtype=bool)) if source == target else np.nonzero(np.ones_like(weight))
        return wire(regions[source], regions[target], (s, t), weight_pa=weight[t, s], rng=rng, dt_ms=DT_MS)

    return Connectome.of(regions, [edges(0, 1, into), edges(1, 1, local), edges(1, 2, hand)], dt_ms=DT_MS)

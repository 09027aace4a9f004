"""Gain control in recurrent cortex: what adaptation does to tuning curves (Duong, Lipshutz, Heeger and others 2023,
"Adaptive coding efficiency in recurrent cortical circuits via gain control", arXiv 2305.19869).

N neurons with fixed recurrence W get a drive f(s) for each of S stimuli; the only thing that adapts is g, one gain per
neuron, which multiplies its drive. The steady responses are

    ``r = M (g * f)``,  ``M = (I - W)^-1``

and the gains minimise, for the present probabilities p(s) of the stimuli,

    ``L(g) = E_p |f - D r|^2 + alpha E_p |r|^2 + gamma |g - 1|^2``

with D the least-squares decoder of the drive for equally frequent stimuli and gains of 1. This weighting of the
objective is ours. It is quadratic in g: with A = D M and C = E_p[f f^T] the minimum is the solution of (our derivation)

    ``[(A^T A + alpha M^T M) * C + gamma I] g = rowsum(A^T * C) + gamma``       (* elementwise)

Online, one stimulus at a time: ``g_i <- g_i - eta [f_i (M^T (D^T (D r - f) + alpha r))_i + gamma (g_i - 1)]``, half the
gradient. A neuron's own gain cannot move the peak of its tuning curve: without recurrence no tuning curve shifts.

The neurons are non-leaky integrators, whose rate is linear in their current, so the region graph from
:func:`orientation_ring` follows the same equations in spikes.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.arrays import freeze
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome, Edit
from connectome.graph.parts import Region
from connectome.neurons.iaf_psc_exp import NeuronParameters
from connectome.wiring.edges import wire

__all__ = [
    "OBJECTIVE", "RATE_HZ", "REGION", "UNIT_PA", "Objective", "adapted", "adapter", "objective", "online_gains",
    "optimal_gains", "orientation_ring", "responses", "tuning", "tuning_peaks",
]  # fmt: skip

Floats = NDArray[np.float64]
REGION: Final = "v1"
#: A rate of 1, Hz, and the current that it takes, pA: the membrane crosses from reset to threshold so often.
RATE_HZ: Final = 20.0
_NEURON: Final = NeuronParameters(
    tau_m_ms=1e6, c_m_pf=250.0, e_l_mv=-65.0, v_reset_mv=-65.0, v_th_mv=-50.0, t_ref_ms=0.0
)
UNIT_PA: Final = _NEURON.c_m_pf * (_NEURON.v_th_mv - _NEURON.v_reset_mv) * RATE_HZ / 1000


class Objective(NamedTuple):
    """The weights of the objective: alpha for activity, and gamma for how far gains are from 1."""

    alpha: float = 1.2
    gamma: float = 0.5


OBJECTIVE: Final = Objective()


def tuning(n: int, kappa: float = 2.0) -> Floats:
    """(N, N) drive of N neurons (columns) by N orientations (rows): von Mises curves over 180 degrees, with a peak of 1
    at each neuron's preferred orientation. Raises :class:`ConnectomeError`."""
    if n < 3 or kappa < 0:
        raise ConnectomeError("tuning", "must have n >= 3 and kappa >= 0", f"n = {n}, kappa = {kappa:g}")
    angle = 2 * np.pi * np.arange(n) / n
    return np.exp(kappa * (np.cos(angle[:, None] - angle[None]) - 1))


def orientation_ring(n: int = 36, *, kappa: float = 4.0, eigenvalue: float = 0.7) -> Connectome:
    """N neurons around the ring of orientations, each exciting the others according to the similarity of their
    orientations; the largest eigenvalue of W is ``eigenvalue``, >= 0 and below 1. Raises :class:`ConnectomeError`."""
    if not 0 <= eigenvalue < 1:
        raise ConnectomeError("eigenvalue", "must be >= 0 and below 1, or responses grow without bound", eigenvalue)
    alike = tuning(n, kappa)
    recurrence = alike * eigenvalue / np.linalg.eigvalsh(alike)[-1]
    region = Region(REGION, n, "neuron", _NEURON, sign=np.ones(n, np.int8))
    source, target = np.nonzero(recurrence)
    # A spike brings w tau_syn of charge, and a unit of rate takes UNIT_PA: this weight makes it W units of current.
    weight_pa = recurrence[source, target] * UNIT_PA * 1000 / (RATE_HZ * _NEURON.tau_syn_ex_ms)
    rng = np.random.default_rng(0)  # nothing is drawn
    return Connectome.of([region], [wire(region, region, (source, target), weight_pa=weight_pa, rng=rng)])


def adapter(n: int, at: int = 0, share: float = 0.5) -> Floats:
    """(S,) the probability of each orientation: ``share`` goes to the adapter (half to itself and a quarter to each
    neighbour, as in the recordings), the rest to all orientations equally."""
    p = np.full(n, (1 - share) / n)
    p[[at, (at + 1) % n, at - 1]] += share * np.array([0.5, 0.25, 0.25])
    return p


def responses(connectome: Connectome, drive: ArrayLike, gains: ArrayLike = 1.0) -> Floats:
    """(S, N) steady responses to (S, N) drives. Raises :class:`ConnectomeError`."""
    f = _drive(connectome, drive)
    return (np.asarray(gains, float) * f) @ _spread(connectome).T


def optimal_gains(connectome: Connectome, drive: ArrayLike, p: ArrayLike, weights: Objective = OBJECTIVE) -> Floats:
    """(N,) the gains at the minimum, for (S, N) drives that occur with (S,) probabilities. Raises
    :class:`ConnectomeError`."""
    f = _drive(connectome, drive)
    m, d = _spread(connectome), _decoder(connectome, f)
    a, c = d @ m, f.T @ (_probability(p, len(f))[:, None] * f)
    alpha, gamma = weights
    return np.linalg.solve((a.T @ a + alpha * m.T @ m) * c + gamma * np.eye(len(c)), (a.T * c).sum(1) + gamma)


def objective(
    connectome: Connectome, drive: ArrayLike, p: ArrayLike, gains: ArrayLike, weights: Objective = OBJECTIVE
) -> float:
    """L(g). Raises :class:`ConnectomeError`."""
    f = _drive(connectome, drive)
    g, r = np.asarray(gains, float), responses(connectome, f, gains)
    error = ((f - r @ _decoder(connectome, f).T) ** 2).sum(1) + weights.alpha * (r**2).sum(1)
    return float(_probability(p, len(f)) @ error + weights.gamma * ((g - 1) ** 2).sum())


def online_gains(
    connectome: Connectome, drive: ArrayLike, p: ArrayLike, samples: int, rng: np.random.Generator,
    weights: Objective = OBJECTIVE, eta: float = 0.02,
) -> Floats:  # fmt: skip
    """(N,) the gains after ``samples`` stimuli drawn with ``p``, starting from 1, at a rate that falls as eta / (1 + k
    eta / 10) with the number k of stimuli. Raises :class:`ConnectomeError`."""
    f = _drive(connectome, drive)
    m, d = _spread(connectome), _decoder(connectome, f)
    alpha, gamma = weights
    g = np.ones(f.shape[1])
    back = m.T @ (d.T @ d + alpha * np.eye(len(m))) @ m
    ahead = f @ (d @ m)
    for k, s in enumerate(rng.choice(len(f), samples, p=_probability(p, len(f)))):
        g -= eta / (1 + k * eta / 10) * (f[s] * (back @ (g * f[s]) - ahead[s]) + gamma * (g - 1))
    return g


def adapted(connectome: Connectome, gains: ArrayLike) -> Connectome:
    """The connectome with these gains as the region's state ``gain``. For a run: a current of ``UNIT_PA * gain * f``
    into each neuron makes it fire at ``RATE_HZ`` for a response of 1. Raises :class:`ConnectomeError`."""
    g = freeze("gains", gains, np.float32, (connectome.regions[REGION].size,))
    return connectome.apply(Edit(region_state={REGION: {"gain": g}}))


def tuning_peaks(response: Floats) -> Floats:
    """(N,) degrees: where each neuron's tuning curve over S orientations peaks, by a parabola through three points."""
    s, n = response.shape
    k = response.argmax(0)
    before, top, after = (response[(k + step) % s, np.arange(n)] for step in (-1, 0, 1))
    found: Floats = (k + (before - after) / (2 * (before - 2 * top + after))) * 180 / s
    return found


def _spread(connectome: Connectome) -> Floats:
    """(N, N) M."""
    w = connectome.to_scipy().toarray().T * (RATE_HZ * _NEURON.tau_syn_ex_ms) / (UNIT_PA * 1000)
    found: Floats = np.linalg.inv(np.eye(len(w)) - w)
    return found


def _decoder(connectome: Connectome, f: Floats) -> Floats:
    """(N, N) D."""
    found: Floats = np.linalg.pinv(f @ _spread(connectome).T) @ f
    return found.T


def _drive(connectome: Connectome, drive: ArrayLike) -> Floats:
    return freeze("drive", drive, np.float64, (None, connectome.regions[REGION].size))


def _probability(p: ArrayLike, stimuli: int) -> Floats:
    found = freeze("p", p, np.float64, (stimuli,))
    if (found < 0).any() or abs(found.sum() - 1) > 1e-9:
        raise ConnectomeError("p", "must be >= 0 and sum to 1", f"a sum of {found.sum():g}")
    return found

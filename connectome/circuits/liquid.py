"""Liquid time constants: cells whose synapses are conductances, so that their input sets their time constant (Hasani,
Lechner, Amini, Rus & Grosu 2021, AAAI, arXiv 2006.04439; on series that drift, Ayoub and others 2024, arXiv 2404.05304,
of which only the abstract was read).

A cell i with synapses from inputs and cells x_j obeys

    ``C_i dv_i/dt = g_l,i (v_l,i - v_i) + sum_j W_ji S(s_ji (x_j - mu_ji)) (E_ji - v_i)``,  ``S(z) = 1 / (1 + exp(-z))``

and is integrated by the fused solver, semi-implicit and stable for steps of any length:

    ``v <- (C v / h + g_l v_l + sum g E) / (C / h + g_l + sum g)``,  ``g_ji = W_ji S(s_ji (x_j - mu_ji))``

With G = sum g, its time constant is C / (g_l + G), between C / (g_l + sum W) and C / g_l; its steady potential is the
mean of v_l and the E, weighted by g_l and the g, and v never leaves their range. :class:`LiquidCells` are these cells,
with the published constants: six steps of h = 1 a sample, and bounds on W, C and g_l.

In the spiking form, which is ours, spikes open the conductances (``iaf_cond_exp``). :func:`liquid` is a region of such
neurons or, for comparison, of ``iaf_psc_exp`` with the currents that the conductances carry half way between rest and
threshold; its synapses are random and fixed, and only a linear readout of :func:`states` learns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from connectome.arrays import freeze, integer
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.parts import Region
from connectome.neurons.iaf_cond_exp import IafCondExp
from connectome.neurons.iaf_psc_exp import NeuronParameters
from connectome.simulate.runs import Stimulus, run
from connectome.wiring.connection_rules import Bernoulli
from connectome.wiring.edges import wire

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["REGION", "SAMPLE_MS", "LiquidCells", "Synapses", "liquid", "membrane", "spikes", "states", "time_constants"]

Floats = NDArray[np.float64]
Synapses = Literal["conductances", "currents"]
REGION: Final = "liquid"
SAMPLE_MS: Final = 10.0  # how long a sample is given
_DT_MS: Final = 1.0
_UNITS: Final = 20  # of the sensor, an input
_RATE_HZ: Final = 200.0  # of a unit, for an input of 1
_FILTER_MS: Final = 30.0  # through which spikes are read
_TAU_SYN_MS: Final = 5.0
_CELL: Final = IafCondExp(
    c_m_pf=250.0, g_l_ns=2.5, e_l_mv=-65.0, v_reset_mv=-65.0, v_th_mv=-50.0, e_ex_mv=0.0, e_in_mv=-85.0, t_ref_ms=2.0,
    tau_syn_ex_ms=_TAU_SYN_MS, tau_syn_in_ms=_TAU_SYN_MS,
)  # fmt: skip
_CURRENTS: Final = NeuronParameters(
    c_m_pf=250.0, tau_m_ms=100.0, e_l_mv=-65.0, v_reset_mv=-65.0, v_th_mv=-50.0, t_ref_ms=2.0,
    tau_syn_ex_ms=_TAU_SYN_MS, tau_syn_in_ms=_TAU_SYN_MS,
)  # fmt: skip
#: What a conductance of 1 nS brings half way between rest and threshold, pA.
_PUSH_PA: Final = (0.0 + 57.5, -85.0 + 57.5)


def liquid(
    inputs: int = 3, n: int = 100, *, synapses: Synapses = "conductances", strength_ns: float = 1.0,
    local_ns: float = 1.0, seed: int = 0,
) -> Connectome:  # fmt: skip
    """A sensor ``input`` of 20 units for each input and n cells, 80 % of which excite. A cell receives from a third of
    the units, half of them inhibitory, and a tenth of the cells; weights are exponentially distributed around
    ``strength_ns`` and ``local_ns``, inhibition four times as strong among cells. Raises :class:`ConnectomeError`."""
    if synapses not in get_args(Synapses):
        raise ConnectomeError("synapses", f"must be one of {', '.join(get_args(Synapses))}", repr(synapses))
    rng = np.random.default_rng(integer("seed", seed, 0, 2**63 - 1))
    excites = np.arange(integer("n", n, 2, 10**6)) < round(0.8 * n)
    sensor = Region("input", integer("inputs", inputs, 1, 1000) * _UNITS, "sensor")
    neuron = _CELL if synapses == "conductances" else _CURRENTS
    region = Region(REGION, n, "neuron", neuron, sign=np.where(excites, 1, -1).astype(np.int8))
    edges = []
    for source, mean, p in ((sensor, strength_ns, 0.3), (region, local_ns, 0.1)):
        pairs = Bernoulli(p).pairs(source, region, rng)
        size = mean * rng.exponential(size=pairs[0].size)
        up = rng.random(size.size) < 0.5 if source is sensor else excites[pairs[0]]
        size *= np.where(up | (source is sensor), 1, 4)
        if synapses == "currents":
            size *= np.where(up, *np.abs(_PUSH_PA))
        edges.append(wire(source, region, pairs, weight_pa=np.where(up, size, -size), dt_ms=_DT_MS, rng=rng))
    return Connectome.of([sensor, region], edges, dt_ms=_DT_MS)


def membrane(neuron: IafCondExp, g_ex_ns: ArrayLike, g_in_ns: ArrayLike) -> tuple[Floats, Floats]:
    """The time constant, ms, and the steady potential, mV, under constant conductances >= 0, without spikes."""
    g_ex, g_in = np.asarray(g_ex_ns, float), np.asarray(g_in_ns, float)
    whole = neuron.g_l_ns + g_ex + g_in
    pull = neuron.g_l_ns * neuron.e_l_mv + g_ex * neuron.e_ex_mv + g_in * neuron.e_in_mv + neuron.i_e_pa
    return neuron.c_m_pf / whole, pull / whole


def spikes(x: ArrayLike) -> Stimulus:
    """The sensor's spikes for (T, inputs) samples >= 0: a unit fires where the sum of its input passes a whole number,
    the units of an input in turn. Raises :class:`ConnectomeError`."""
    given = freeze("x", x, np.float64, (None, None))
    if (given < 0).any():
        raise ConnectomeError("x", "must be >= 0", given.min())
    steps = round(SAMPLE_MS / _DT_MS)
    summed = np.cumsum(np.repeat(given * (_RATE_HZ * _DT_MS / 1000), steps, axis=0), axis=0)
    turns = np.floor(summed[:, :, None] + np.arange(_UNITS) / _UNITS).reshape(len(summed), -1)
    step, unit = np.nonzero(np.diff(turns, axis=0, prepend=0) > 0)
    return Stimulus(spikes={"input": ((step + 1) * _DT_MS, unit)})


def states(connectome: Connectome, x: ArrayLike) -> Floats:
    """(T, 2 N) for (T, inputs) samples: each cell's mean potential during a sample, mV above rest, and its filtered
    spikes, Hz. Raises :class:`ConnectomeError`."""
    result, v = _run(connectome, x, "v_mv")
    mine = result.spike_region.values == list(result.region.values).index(REGION)
    sample = np.ceil(result.spike_time_ms.values[mine] / SAMPLE_MS - 1e-9).astype(np.int64) - 1
    trace = np.bincount(sample * v.shape[1] + result.spike_neuron.values[mine], minlength=v.size).reshape(v.shape) * 1.0
    for t in range(1, len(trace)):
        trace[t] += np.exp(-SAMPLE_MS / _FILTER_MS) * trace[t - 1]
    return np.hstack([v - _CELL.e_l_mv, trace * (1000 / _FILTER_MS)])


def time_constants(connectome: Connectome, x: ArrayLike) -> Floats:
    """(T, N) ms: each cell's time constant at its mean conductances in each of (T, inputs) samples. Raises
    :class:`ConnectomeError`."""
    neuron = connectome.regions[REGION].neuron
    if not isinstance(neuron, IafCondExp):
        raise ConnectomeError("connectome", "must have conductances", neuron.model)
    g_ex, g_in = (_run(connectome, x, name)[1] for name in ("g_ex", "g_in"))
    return membrane(neuron, g_ex, -g_in)[0]


def _run(connectome: Connectome, x: ArrayLike, name: str) -> tuple[xr.Dataset, Floats]:
    """The run, and the (T, N) means of a state."""
    given, n = freeze("x", x, np.float64, (None, None)), connectome.regions[REGION].size
    if given.shape[1] * _UNITS != connectome.regions["input"].size:
        raise ConnectomeError("x", f"must have {connectome.regions['input'].size // _UNITS} inputs", given.shape[1])
    asked = {name.removesuffix("_mv"): {REGION: "all"}}
    result = run(connectome, len(given) * SAMPLE_MS, spikes(given), threads=1, record=asked)
    return result, result[name].values.reshape(len(given), -1, n).mean(1).astype(np.float64)


class LiquidCells(nn.Module):
    """N graded cells that receive I inputs and each other, and a linear readout, initialised as published. Parameters:
    ``w``, ``mu``, ``s``, ``e`` (I + N, N), rows from inputs, then cells; ``v_l``, ``g_l``, ``c`` (N,); ``scale`` and
    ``shift`` (I,), the affine map of the inputs; ``out``."""

    steps: Final = 6

    def __init__(self, inputs: int, n: int, outputs: int, rng: np.random.Generator) -> None:
        super().__init__()

        def drawn(low: float, high: float, *shape: int) -> nn.Parameter:
            return nn.Parameter(torch.tensor(rng.uniform(low, high, shape), dtype=torch.float32))

        sources = integer("inputs", inputs, 1, 10**6) + integer("n", n, 1, 10**6)
        self.w, self.mu, self.s = drawn(0.01, 1, sources, n), drawn(0.3, 0.8, sources, n), drawn(3, 8, sources, n)
        self.e = nn.Parameter(torch.tensor(rng.choice([-1.0, 1.0], (sources, n)), dtype=torch.float32))
        self.v_l, self.g_l, self.c = drawn(-0.2, 0.2, n), drawn(1, 1, n), drawn(0.5, 0.5, n)
        self.scale, self.shift = drawn(1, 1, inputs), drawn(0, 0, inputs)
        self.out = nn.Linear(n, outputs)
        with torch.no_grad():
            self.out.weight.copy_(drawn(-1, 1, outputs, n) / n**0.5)
            self.out.bias.zero_()

    def conductances(self, x: Tensor, v: Tensor) -> Tensor:
        """g (B, I + N, N) for (B, I) inputs and (B, N) cells."""
        heard = torch.cat([x * self.scale + self.shift, v], 1)[:, :, None]
        return self.w * torch.sigmoid(self.s * (heard - self.mu))

    def step(self, x: Tensor, v: Tensor, h: float = 1.0) -> Tensor:
        """(B, N) after a fused step."""
        g = self.conductances(x, v)
        kept = self.c / h
        after: Tensor = (kept * v + self.g_l * self.v_l + (g * self.e).sum(1)) / (kept + self.g_l + g.sum(1))
        return after

    def time_constant(self, x: Tensor, v: Tensor) -> Tensor:
        """(B, N)."""
        found: Tensor = self.c / (self.g_l + self.conductances(x, v).sum(1))
        return found

    def forward(self, x: Tensor, v: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Outputs (B, T, K) for (B, T, I) samples, and the cells after the last; from v, or from 0."""
        v = x.new_zeros(len(x), self.c.numel()) if v is None else v
        found = []
        for sample in x.unbind(1):
            for _ in range(self.steps):
                v = self.step(sample, v)
            found.append(self.out(v))
        return torch.stack(found, 1), v

    def keep_bounds(self) -> None:
        """Put W, C and g_l back within their bounds, after an update."""
        with torch.no_grad():
            for p, low in ((self.w, 1e-5), (self.c, 1e-6), (self.g_l, 1e-5)):
                p.clamp_(low, 1000)

"""Slow and obvious: the propagator written a second time, to compare the engines with."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from types import MappingProxyType, SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from connectome import Connectome
from connectome.graph.flat import FlatNetwork
from connectome.neurons import NeuronModel

__all__ = ["Reference", "dense_autograd", "philox_4x32", "poisson_count", "simulate"]


class Reference(NamedTuple):
    """What happened: (time step, region, neuron) of each spike, sorted; v in mV, (steps, N), by region."""

    spikes: list[tuple[int, str, int]]
    v_mv: dict[str, NDArray[np.float64]]
    synaptic_operations: int


def exact_step(p: NeuronModel, dt: float, v: float, i_ex: float, i_in: float, current: float) -> float:
    """v (mV above e_l) after dt of c_m dv/dt = -c_m v / tau_m + i_ex(t) + i_in(t) + current, by the closed form."""
    decay = math.exp(-dt / p.tau_m_ms)
    total = v * decay + current * p.tau_m_ms / p.c_m_pf * (1 - decay)
    for i, tau in ((i_ex, p.tau_syn_ex_ms), (i_in, p.tau_syn_in_ms)):
        if tau == p.tau_m_ms:
            total += i / p.c_m_pf * dt * decay
        else:
            total += i / p.c_m_pf * (decay - math.exp(-dt / tau)) / (1 / tau - 1 / p.tau_m_ms)
    return float(total)


def simulate(
    connectome: Connectome, n_steps: int, *, injected: Mapping[tuple[int, str, int], int] = MappingProxyType({}),
    arrivals: Mapping[tuple[int, str, int], float] = MappingProxyType({}),
    current: Callable[[int, str, int], float] = lambda t, region, i: 0.0, v0: Callable[[str, int], float] | None = None,
) -> Reference:  # fmt: skip
    """Loops over steps, neurons and edges. Keys are (step, region, neuron): spikes of sensors, and Poisson pA."""
    dt = connectome.dt_ms
    out_edges: dict[tuple[str, int], list[tuple[str, int, float, int]]] = defaultdict(list)
    for e in connectome.edges.values():
        for source, target, weight, delay in zip(e.source, e.target, e.weight, e.delay, strict=True):
            out_edges[e.key.source, int(source)].append((e.key.target, int(target), float(weight), round(delay / dt)))
    neurons = [(r, i) for r in connectome.regions.values() for i in range(r.size)]
    v = {(r.name, i): 0.0 if v0 is None else v0(r.name, i) for r, i in neurons}
    i_ex, i_in = dict.fromkeys(v, 0.0), dict.fromkeys(v, 0.0)
    waits = dict.fromkeys(v, 0)
    coming_ex: dict[tuple[int, str, int], float] = defaultdict(float)
    coming_in: dict[tuple[int, str, int], float] = defaultdict(float)

    def arrive(t: int, name: str, i: int, weight: float) -> None:
        (coming_ex if weight >= 0 else coming_in)[t, name, i] += weight

    for (t, name, i), weight in arrivals.items():
        arrive(t, name, i, weight)
    spikes, operations = [], 0
    recorded = {r.name: np.zeros((n_steps, r.size)) for r in connectome.regions.values()}
    for t in range(n_steps):
        for r, i in neurons:
            p, key = r.neuron, (r.name, i)
            fires = injected.get((t, *key), 0)
            if r.role != "sensor":
                if waits[key] > 0:
                    waits[key] -= 1
                else:
                    v[key] = exact_step(p, dt, v[key], i_ex[key], i_in[key], p.i_e_pa + current(t, *key))
                i_ex[key] = i_ex[key] * math.exp(-dt / p.tau_syn_ex_ms) + coming_ex[t, r.name, i]
                i_in[key] = i_in[key] * math.exp(-dt / p.tau_syn_in_ms) + coming_in[t, r.name, i]
                if r.role == "neuron" and v[key] >= p.v_th_mv - p.e_l_mv:
                    fires = 1
                    v[key] = p.v_reset_mv - p.e_l_mv
                    waits[key] = round(p.t_ref_ms / dt)
            for _ in range(fires):
                spikes.append((t, r.name, i))
                for target, j, weight, delay in out_edges[key]:
                    arrive(t + delay, target, j, weight)
                    operations += 1
            recorded[r.name][t, i] = v[key] + p.e_l_mv
    return Reference(spikes, recorded, operations)


def philox_4x32(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Philox4x32-10 in Python's whole numbers, as in Salmon et al. (2011), figure 4 and section 3.3."""
    c, k = list(counter), list(key)
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c[0], 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c[2], 2**32)
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c[0], c[1], c[2], c[3]


def poisson_count(seed: int, neuron: int, step: int, mean: float) -> int:
    """The count that a neuron, numbered in the whole connectome, gets in a step: means above 32 are split evenly."""
    draws, total = math.ceil(mean / 32), 0
    octet, place, key = step // 8, step % 8, (seed % 2**32, seed >> 32)
    for draw in range(draws):
        words = philox_4x32((neuron, octet % 2**32, octet >> 32, draw), key)
        top = words[place // 2] >> 16 * (place % 2) & 0xFFFF
        more = philox_4x32((neuron, octet % 2**32, octet >> 32, draw + 2**16 * (place + 1)), key)
        uniform, m = ((top << 48) + ((more[0] & 0xFFFF) << 32) + more[1]) / 2**64, mean / draws
        probability = [math.exp(-m)]  # of 0, 1, ... events
        while len(probability) < m or probability[-1] > 1e-30:
            probability.append(probability[-1] * m / len(probability))
        total += sum(uniform < math.fsum(probability[k:]) for k in range(1, len(probability)))
    return total


def dense_autograd(
    flat: FlatNetwork, weight: Tensor, sensor_spikes: Tensor, width: float | Tensor, *, current: Tensor | None = None,
    arrivals: Tensor | None = None, forced: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(u, spikes), (T, N, B) each: plain torch, a dense N x N matrix for each delay and sign.

    weight (E,) in CSR order, sensor_spikes (T, S, B), current and arrivals (T, N, B), width in mV or (N, 1). ``forced``
    (T, N, B): take these spikes, with the gradient that the threshold would have.
    """
    n, (n_steps, _, batch), dtype = flat.n_neurons, sensor_spikes.shape, weight.dtype
    source = torch.as_tensor(np.repeat(np.arange(n), np.diff(flat.indptr)))
    target, delay = torch.as_tensor(flat.target.astype(np.int64)), torch.as_tensor(flat.delay.astype(np.int64))
    matrices: list[tuple[int, bool, Tensor]] = []
    for d in sorted(set(delay.tolist())):
        for positive in (True, False):
            chosen = (delay == d) & ((weight.detach() >= 0) == positive)
            matrix = torch.zeros((n, n), dtype=dtype)
            matrices.append((d, positive, matrix.index_put((target[chosen], source[chosen]), weight[chosen], True)))
    p = SimpleNamespace(**{k: torch.as_tensor(c).to(dtype)[:, None] for k, c in flat.dynamics._asdict().items()})
    sensor = np.flatnonzero(flat.is_sensor)
    v, i_ex, i_in, wait = (torch.zeros((n, batch), dtype=dtype) for _ in range(4))
    us: list[Tensor] = []
    spikes: list[Tensor] = []
    for t in range(n_steps):
        drive = p.i_e if current is None else p.i_e + current[t]
        u = p.p22 * v + p.p21_ex * i_ex + p.p21_in * i_in + p.p20 * drive
        u = torch.where(wait > 0, p.v_reset.expand_as(u), u)
        u = u * torch.as_tensor(~flat.is_sensor)[:, None]
        i_ex, i_in = p.p11_ex * i_ex, p.p11_in * i_in
        for d, positive, matrix in matrices:
            if t - d >= 0:
                arrived = matrix @ spikes[t - d]
                i_ex, i_in = (i_ex + arrived, i_in) if positive else (i_ex, i_in + arrived)
        if arrivals is not None:
            i_ex, i_in = i_ex + arrivals[t].relu(), i_in - (-arrivals[t]).relu()
        hard = (u >= p.theta).to(dtype) if forced is None else forced[t] * torch.as_tensor(~flat.is_sensor)[:, None]
        # The value of `hard`, the gradient of a line whose slope is the triangle's height at u.
        slope = torch.relu(1 - (u - p.theta).detach().abs() / width) / width
        s = hard + slope * (u - u.detach())
        v = u * (1 - hard) + p.v_reset * hard
        wait = torch.where(hard > 0, p.ref_steps, (wait - 1).relu())
        full = torch.zeros((n, batch), dtype=dtype)
        full[sensor] = 1.0
        given = torch.zeros((n, batch), dtype=dtype).index_put((torch.as_tensor(sensor),), sensor_spikes[t].to(dtype))
        us.append(u)
        spikes.append(s * (1 - full) + given)
    return torch.stack(us), torch.stack(spikes)

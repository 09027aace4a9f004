"""The propagator in torch: a batch of runs by PyG message passing, differentiable in weights, spikes and currents.

The same steps as :mod:`connectome.simulate.runs`. It visits every edge in every step, so its cost does not fall with
activity; it is the simple engine, which runs wherever torch does, and the reference that event-driven training is
tested against. On a GPU sums have no fixed order, unless you set ``torch.use_deterministic_algorithms``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from connectome.errors import ConnectomeError
from connectome.graph.flat import FlatNetwork
from connectome.graph.parts import EdgeKey
from connectome.neurons.model import Arrivals, NeuronModel, never, spiking
from connectome.simulate.torch_convolution import Convolution
from connectome.simulate.torch_delivery import Delivery

__all__ = ["BatchState", "ClampedBatch", "Propagation", "at_rest", "propagate", "triangle"]

_NO_MODELS: Final[Mapping[str, Any]] = MappingProxyType({})
_SILENT, _FIRE, _HELD = 1, 2, 3  # as neurons.step_kernels has them


class BatchState(NamedTuple):
    """What a step leaves for the next: (N, B) each; v in mV above e_l, currents in pA, ``refractory`` in steps.

    ``past`` holds the spikes of the last D steps, the latest first, for a longest delay of D steps. ``models``: what
    regions of other models than linear ones remember, by region and name, (n, B); of them, v is here too.
    """

    v: Tensor
    i_ex: Tensor
    i_in: Tensor
    refractory: Tensor
    past: tuple[Tensor, ...]
    models: Mapping[str, Mapping[str, Tensor]] = _NO_MODELS


class ClampedBatch(NamedTuple):
    """What clamps say: ``codes`` (T or 1, N, 1) uint8, of :mod:`connectome.neurons.step_kernels`; ``held`` (N, 1) in
    the unit of the state."""

    codes: Tensor
    held: Tensor


class Propagation(NamedTuple):
    """``u`` (T, N, B): mV above e_l at the end of each step, before any reset; ``spikes`` (T, N, B); ``state``: the
    state to continue from."""

    u: Tensor
    spikes: Tensor
    state: BatchState


class _Triangle(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, distance: Tensor, width: Tensor) -> Tensor:
        ctx.save_for_backward(distance, width)
        return (distance >= 0).to(distance.dtype)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None]:
        distance, width = ctx.saved_tensors
        return grad[0] * (1 - distance.abs() / width).clamp(min=0) / width, None


def triangle(width_mv: float | Tensor) -> Callable[[Tensor], Tensor]:
    """A threshold with a triangular surrogate gradient of compact support: ds/du = max(0, 1 - |u - theta| / width) /
    width.

    ``width_mv``: half the width of the support, a number or a tensor (N,).
    """

    def threshold(distance: Tensor) -> Tensor:
        width = torch.as_tensor(width_mv, dtype=distance.dtype, device=distance.device)
        apply = cast(Callable[[Tensor, Tensor], Tensor], _Triangle.apply)
        return apply(distance, width[:, None] if width.ndim else width)

    return threshold


def at_rest(
    flat: FlatNetwork, weight: Tensor, batch: int = 1, learnt: Mapping[str, NeuronModel] = _NO_MODELS
) -> BatchState:
    """The state at rest with no spikes in transit, in the type and on the device of ``weight``."""
    v = zero = weight.new_zeros((flat.n_neurons, batch))
    models = {}
    for name, neuron in flat.models.items():
        span = flat.span[name]
        rest = learnt.get(name, neuron).rest()
        rest = {k: _column(x, weight).expand(span.stop - span.start, batch) for k, x in rest.items()}
        models[name] = {k: rest.get(k, zero[span]) for k in neuron.state}
        v = torch.cat([v[: span.start], models[name]["v"], v[span.stop :]])
    return BatchState(v, zero, zero, torch.zeros_like(zero, dtype=torch.int32), (zero,) * flat.max_delay, models)


def _column(value: Any, like: Tensor) -> Tensor:
    """(n, 1) or (1, 1)."""
    if isinstance(value, Tensor):
        return value.to(like.device, like.dtype)[:, None]
    return torch.as_tensor(np.array(value, ndmin=1), dtype=like.dtype, device=like.device)[:, None]


def propagate(
    flat: FlatNetwork, weight: Tensor, sensor_spikes: Tensor, *, current: Tensor | None = None,
    arrivals: Tensor | None = None, state: BatchState | None = None,
    surrogate: Callable[[Tensor], Tensor] | None = None, gain: Tensor | None = None,
    replaced: tuple[Tensor, Tensor] | None = None, block: Tensor | None = None, clamp: ClampedBatch | None = None,
    learnt: Mapping[str, NeuronModel] = _NO_MODELS, watch: Callable[[BatchState], None] | None = None,
    kernels: Mapping[EdgeKey, Tensor] | None = None, closed: Collection[EdgeKey] = (),
) -> Propagation:  # fmt: skip
    """Run T steps of a batch of B samples, in the type and on the device of ``weight``.

    Parameters
    ----------
    flat : the network; its own weights are not used
    weight : (E,) in the order of the CSR, pA. An edge is inhibitory where this is negative.
    sensor_spikes : (T, S, B), spikes of the S sensor neurons in their order in ``flat``; counts, or real numbers
    current : broadcasts to (T, N, B), pA in addition to i_e
    arrivals : broadcasts to (T, N, B), pA added to i_ex where positive, to i_in where negative
    state : the initial state, :func:`at_rest` by default; it must come from the same edges
    surrogate : u - theta (N, B) -> spikes 0 or 1, with a gradient, e.g. :func:`triangle`; by default without a gradient
    gain : broadcasts to (N, B), multiplies what arrives over edges
    replaced : (T, N, B) bool, and the spikes to use where it is true
    block : (E,) bool: edges through which no gradient of spikes flows back
    clamp : the clamps of neurons
    learnt : region -> its model among tensors, see :meth:`NeuronModel.among_tensors`
    watch : called with the state after each step
    kernels : kernel set -> its (K,) weights, ``flat``'s own by default; ``closed``: those through which no gradient
        flows back

    No gradient passes through a reset or a refractory step. Raises :class:`ConnectomeError` for a wrong shape.
    """
    n, device, dtype = flat.n_neurons, weight.device, weight.dtype
    sensor = torch.as_tensor(np.flatnonzero(flat.is_sensor), device=device)
    for name, found, rule in (
        ("weight", weight.shape, (flat.target.size,)),
        ("sensor_spikes", sensor_spikes.shape[1:-1], (sensor.numel(),)),
        ("sensor_spikes", (sensor_spikes.ndim,), (3,)),
    ):
        if tuple(found) != rule:
            shape = "(T, S, B)" if name == "sensor_spikes" else "(E,)"
            raise ConnectomeError(f"propagate.{name}", f"must have shape {shape} with {rule[0]}", tuple(found))
    n_steps, _, batch = sensor_spikes.shape
    if n_steps == 0:
        raise ConnectomeError("propagate.sensor_spikes", "must have one step or more", tuple(sensor_spikes.shape))
    column = {k: torch.as_tensor(c, device=device)[:, None] for k, c in flat.dynamics._asdict().items()}
    d = {k: c if k == "ref_steps" else c.to(dtype) for k, c in column.items()}
    is_sensor = torch.as_tensor(flat.is_sensor, device=device)[:, None]
    for k in ("p21_ex", "p21_in", "p20"):
        d[k] = d[k].masked_fill(is_sensor, 0.0)  # a sensor has no membrane
    for name in learnt.keys() - flat.models.keys():
        span = flat.span[name]
        rows = torch.arange(span.start, span.stop, device=device)
        kept = ("ref_steps", *(("theta",) if name in flat.effectors else ()))
        for k, x in learnt[name].constants(flat.dt_ms).items():
            if k not in kept:
                d[k] = d[k].index_copy(0, rows, _column(x, weight).expand(rows.numel(), 1))
    deliver = Delivery(flat, weight, block) if weight.numel() else None
    of_each = None if gain is None else gain.expand(n, batch)
    shared = _shared(flat, weight, kernels, closed, of_each, {*learnt, *(flat.span if watch is not None else ())})
    sensor_spikes = sensor_spikes.to(dtype)
    none = weight.new_zeros((1, 1, 1))
    current = (none if current is None else current).broadcast_to((n_steps, n, batch))
    if arrivals is not None:
        arrivals = arrivals.broadcast_to((n_steps, n, batch))
    v, i_ex, i_in, refractory, past, models = at_rest(flat, weight, batch, learnt) if state is None else state
    steps_of = {n: _ModelStep(flat, n, learnt.get(n, flat.models[n]), weight, surrogate) for n in flat.models}
    models = dict(models)
    all_u, all_spikes = [], []
    for t in range(n_steps):
        u = d["p22"] * v + d["p21_ex"] * i_ex + d["p21_in"] * i_in + d["p20"] * (d["i_e"] + current[t])
        u = torch.where(refractory > 0, d["v_reset"], u)
        i_ex, i_in = d["p11_ex"] * i_ex, d["p11_in"] * i_in
        came = [torch.zeros_like(v)] * 2
        if deliver is not None:
            arrived = deliver(past)
            if gain is not None:
                arrived = arrived * torch.cat([gain, gain])
            came = [arrived[:n], arrived[n:]]
        for of in shared:
            sent = past[of.steps - 1][of.source]
            made = of.convolve((sent.detach() if of.closed else sent).T).transpose(1, 2)
            made = made if of.gain is None else made * of.gain
            came = [x.index_add(0, of.rows, made[part]) if part < len(made) else x for part, x in enumerate(came)]
        if deliver is not None or shared:
            i_ex, i_in = i_ex + came[0], i_in + came[1]
        if arrivals is not None:
            i_ex, i_in = i_ex + arrivals[t].clamp(min=0), i_in + arrivals[t].clamp(max=0)
        above = u - d["theta"]
        if learnt:
            above = torch.where(refractory > 0, above.detach(), above)
        spikes = spiking(above) if surrogate is None else surrogate(above)
        if replaced is not None:
            spikes = torch.where(replaced[0][t], replaced[1][t], spikes)
        code = None if clamp is None else clamp.codes[t if len(clamp.codes) > 1 else 0]
        if code is not None:
            spikes = _overruled(spikes, code)
        fired = spikes.detach() > 0.5
        v = torch.where(fired, d["v_reset"], u)
        if code is not None:
            v = torch.where((code == _SILENT) & ~fired, torch.minimum(v, d["theta"]), v)
        if steps_of and arrivals is not None:
            came = [came[0] + arrivals[t].clamp(min=0), came[1] + arrivals[t].clamp(max=0)]
        for name, model_step in steps_of.items():
            played = None if replaced is None else (replaced[0][t], replaced[1][t])
            models[name], sent = model_step(models[name], Arrivals(came[0], came[1], current[t]), code, played)
            rows = model_step.rows
            spikes, v = spikes.index_copy(0, rows, sent), v.index_copy(0, rows, models[name]["v"])
            u = u.index_copy(0, rows, models[name]["v"])
        if clamp is not None and code is not None:
            v = torch.where(code == _HELD, clamp.held, v)
            u = torch.where(fired, u, v)
            models = {k: {**m, "v": v[flat.span[k]]} for k, m in models.items()}
        refractory = torch.where(fired, d["ref_steps"], (refractory - 1).clamp(min=0))
        spikes = spikes.index_copy(0, sensor, sensor_spikes[t])
        past = (spikes, *past[:-1])
        all_u.append(u)
        all_spikes.append(spikes)
        if watch is not None:
            watch(BatchState(v, i_ex, i_in, refractory, past, models))
    state = BatchState(v, i_ex, i_in, refractory, past, models)
    return Propagation(torch.stack(all_u), torch.stack(all_spikes), state)


class _Kernels(NamedTuple):
    """A kernel set: its delay in steps, its source's neurons and its target's ``rows``, whether no gradient flows back
    through it, and the (n_target, B) gain of what arrives, if there is one."""

    convolve: Convolution
    steps: int
    source: slice
    rows: Tensor
    closed: bool
    gain: Tensor | None


def _shared(
    flat: FlatNetwork, like: Tensor, kernels: Mapping[EdgeKey, Tensor] | None, closed: Collection[EdgeKey],
    gain: Tensor | None, unlike: Collection[str],
) -> list[_Kernels]:  # fmt: skip
    """The kernel sets. What positive and negative weights deliver is kept apart only where it makes
    a difference, or where somebody looks: in regions that are ``unlike``."""
    d, found = flat.dynamics, []
    for key, of in flat.kernels.items():
        here = flat.span[key.target]
        both = (d.p21_ex[here] == d.p21_in[here]) & (d.p11_ex[here] == d.p11_in[here])
        apart = key.target in unlike or key.target in flat.models or not both.all()
        weight = like.new_tensor(of.weight) if kernels is None else kernels[key]
        found.append(
            _Kernels(
                Convolution(of, weight, apart=apart), int(of.delay_steps.max(initial=1)), flat.span[key.source],
                torch.arange(here.start, here.stop, device=like.device), key in closed,
                None if gain is None else gain[here],
            )
        )  # fmt: skip
    return found


def _overruled(spikes: Tensor, code: Tensor) -> Tensor:
    """The spikes, but for neurons that clamps say something of."""
    fires, other = (code == _FIRE).to(spikes.dtype), (code == _SILENT) | (code == _FIRE) | (code == _HELD)
    return torch.where(other, fires, spikes)


class _ModelStep:
    """A region whose step is its model's."""

    def __init__(
        self, flat: FlatNetwork, name: str, neuron: NeuronModel, like: Tensor,
        surrogate: Callable[[Tensor], Tensor] | None,
    ) -> None:  # fmt: skip
        self.neuron = neuron
        self._span, self._surrogate = flat.span[name], surrogate
        self._constants = {k: _column(x, like) for k, x in neuron.constants(flat.dt_ms).items()}
        self._n, self._fires = flat.n_neurons, name not in flat.effectors
        self.rows = torch.arange(self._span.start, self._span.stop, device=like.device)

    def __call__(
        self, state: Mapping[str, Tensor], everywhere: Arrivals, code: Tensor | None,
        played: tuple[Tensor, Tensor] | None,
    ) -> tuple[dict[str, Tensor], Tensor]:  # fmt: skip
        here, distances = self._span, []

        def threshold(distance: Tensor) -> Tensor:
            distances.append(distance)
            if not self._fires:
                return never(distance)
            if "refractory" in state:
                distance = torch.where(state["refractory"] > 0, distance.detach(), distance)
            if self._surrogate is None:
                spikes = spiking(distance)
            else:  # it may have a width for each neuron of the network
                whole = distance.new_full((self._n, distance.shape[1]), -torch.inf)
                spikes = self._surrogate(whole.index_copy(0, self.rows, distance))[here]
            if played is not None:
                spikes = torch.where(played[0][here], played[1][here], spikes)
            return spikes if code is None else _overruled(spikes, code[here])

        arrivals = Arrivals(*(x.expand_as(state["v"]) if len(x) == 1 else x[here] for x in everywhere))
        after, spikes = self.neuron.step(self._constants, state, arrivals, threshold)
        if code is not None and distances:  # who may not fire stays at the threshold
            above = distances[0].clamp(min=0) * ((code[here] == _SILENT) & (spikes.detach() <= 0))
            after = {**after, "v": after["v"] - above}
        return after, spikes

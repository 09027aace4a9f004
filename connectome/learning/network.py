"""Learning on the propagator: a connectome as a torch module whose parameters are the weights of its edge sets."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple, cast
from weakref import finalize

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.flat import Engine, FlatNetwork, cores, flatten, select
from connectome.graph.parts import TIED, EdgeKey
from connectome.learning.bundles import lay_out
from connectome.learning.tiles import ForwardPass, Tiles

__all__ = ["BatchActivity", "SpikingNetwork"]

#: Potentials of the effectors (B, T, K), recorded spikes (B, T, n) and counts (n,) by region.
_Result = tuple[Tensor, dict[str, Tensor], dict[str, NDArray[np.int64]]]


class BatchActivity(NamedTuple):
    """What a batch of B samples did in T steps.

    potential : effector -> (B, T, N) mV above rest, differentiable
    spikes : recorded region -> (B, T, N) 0 or 1, differentiable by the surrogate
    counts : region or sensor -> (N,) int64, spikes of each neuron over all steps and samples
    operations : synaptic operations, spikes times the edges that each was delivered over, over all samples
    """

    potential: dict[str, Tensor]
    spikes: dict[str, Tensor]
    counts: dict[str, NDArray[np.int64]]
    operations: int


class SpikingNetwork(nn.Module):
    """A connectome, or the regions of it that a task recruits, ready to be trained by any torch optimiser.

    Weights are one parameter vector per edge set, (E,) pA, in the edge set's order: ``weight[key]``. Edges with the
    same number in the state ``"tied"`` of their set share one weight (a convolution, say): the vector has one element
    for each number, in rising order, at first the mean of its edges' weights. The forward pass is the propagator's
    (the same spikes as :func:`connectome.simulate.run`); the backward pass is the exact surrogate-gradient
    backpropagation through time, ``ds/du = max(0, 1 - |u - theta| / width) / width``, where the reset and the
    refractory hold carry no gradient (Zenke & Vogels 2021).

    Parameters
    ----------
    recruit : names of the regions, sensors and effectors that take part (default: all). The others stay silent.
    engine : ``"numba"``, event driven; ``"torch"``, PyG message passing, for another device or as a check.
    surrogate_width_mv : half-width of the surrogate's support.
    dtype : ``torch.float32`` or ``torch.float64``.
    threads : at most this many (default: all cores the process may use). The result does not depend on it.
    share : a network of the same connectome that recruits others; what both have learns as one.
    """

    def __init__(
        self, connectome: Connectome, *, recruit: Collection[str] | None = None, engine: Engine = "numba",
        surrogate_width_mv: float = 10.0, dtype: torch.dtype = torch.float32, threads: int | None = None,
        share: SpikingNetwork | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if engine not in ("numba", "torch"):
            raise ConnectomeError("engine", "must be 'numba' or 'torch'", repr(engine))
        if dtype not in (torch.float32, torch.float64):
            raise ConnectomeError("dtype", "must be torch.float32 or torch.float64", dtype)
        if not 0 < surrogate_width_mv < np.inf:
            raise ConnectomeError("surrogate_width_mv", "must be finite and > 0", surrogate_width_mv)
        self.connectome = connectome
        self.selection = select(connectome, recruit)
        for name, r in self.selection.regions.items():
            linear = r.neuron.linear()
            if engine == "numba" and r.role != "sensor" and (linear is None or linear.arrays()):
                raise ConnectomeError(
                    "engine", f"must be 'torch' to train region {name!r}, of {r.neuron.model} with these parameters",
                    repr(engine), "Event driven are iaf_psc_exp and leaky_integrator, alike in a region.",
                )  # fmt: skip
        self.engine = engine
        self.dtype = dtype
        self.threads = threads or cores()
        self.surrogate_width_mv = surrogate_width_mv
        self._tied: dict[EdgeKey, Tensor] = {}
        self.weight: dict[EdgeKey, nn.Parameter] = {}
        for key, edges in self.selection.edges.items():
            weight: NDArray[Any] = edges.weight
            if TIED in edges.state:
                _, group = np.unique(edges.state[TIED], return_inverse=True)
                weight = np.bincount(group, weight) / np.bincount(group)
                self._tied[key] = torch.from_numpy(group)
            shared = share.weight.get(key) if share is not None else None
            self.weight[key] = nn.Parameter(torch.tensor(weight, dtype=dtype)) if shared is None else shared
        self._sets = nn.ParameterList(self.weight.values())
        roles = {name: r.role for name, r in self.selection.regions.items()}
        self.sensors = {n: s for n, s in self.selection.span.items() if roles[n] == "sensor"}
        self.effectors = {n: s for n, s in self.selection.span.items() if roles[n] == "effector"}
        self._out_degree = {name: np.zeros(r.size, np.int64) for name, r in self.selection.regions.items()}
        for key, edges in self.selection.edges.items():
            self._out_degree[key.source] += np.diff(edges.indptr)
        self._tiles = (
            Tiles(lay_out(self.selection, np.float32 if dtype == torch.float32 else np.float64, surrogate_width_mv))
            if engine == "numba"
            else None
        )

    def forward(self, sensor_spikes: Mapping[str, Tensor], record: Sequence[str] = ()) -> BatchActivity:
        """Run a batch. ``sensor_spikes``: sensor -> (B, T, N), non-zero where it fires; sensors left out are silent.

        ``record`` names the regions whose spikes are wanted. Raises :class:`ConnectomeError` for a bad name or shape.
        """
        self._check(sensor_spikes, record)
        device = self._sets[0].device if len(self._sets) else torch.device("cpu")
        if self._tiles is not None and device.type != "cpu":
            raise ConnectomeError("engine", f"must be 'torch' where the weights are on {device}", "'numba'")
        fires = {name: x.detach().to(device) for name, x in sensor_spikes.items()}
        if self._tiles is None:
            u, recorded, counts = self._message_passing(fires, record)
        else:
            u, recorded, counts = self._event_driven(fires, record)
        potential, at = {}, 0
        for name, span in self.effectors.items():
            width = span.stop - span.start
            potential[name] = u[..., at : at + width]
            at += width
        operations = sum(int(n @ self._out_degree[name]) for name, n in counts.items())
        return BatchActivity(
            potential, recorded, {n: c for n, c in counts.items() if n not in self.effectors}, operations
        )

    def by_edge(self, key: EdgeKey, values: Tensor) -> Tensor:
        """(E,) values of the edges of a set from one for each element of ``weight[key]``: the same, unless tied."""
        return values.index_select(0, self._tied[key].to(values.device)) if key in self._tied else values

    def to_connectome(self) -> Connectome:
        """The connectome with the weights as they are now."""
        edges = dict(self.connectome.edges)
        for key, weight in self.weight.items():
            edges[key] = replace(edges[key], weight=self.by_edge(key, weight.detach()).cpu().numpy())
        return replace(self.connectome, edges=edges)

    def _event_driven(self, fires: Mapping[str, Tensor], record: Sequence[str]) -> _Result:
        assert self._tiles is not None
        keep = torch.is_grad_enabled() and any(w.requires_grad for w in self._sets)
        columns = sum(s.stop - s.start for s in self.effectors.values())
        counts: dict[str, NDArray[np.int64]] = {}
        propagate = cast(Callable[..., tuple[Tensor, ...]], _Propagate.apply)
        u, *spikes = propagate(
            self._tiles, fires, columns, tuple(record), keep, self.threads,
            lambda run: counts.update(self._tiles.counts(run)), *self._by_edge(),
        )  # fmt: skip
        return u, dict(zip(record, spikes, strict=True)), counts

    def _by_edge(self) -> list[Tensor]:
        return [self.by_edge(key, weight) for key, weight in self.weight.items()]

    @cached_property
    def _flat(self) -> FlatNetwork:
        return flatten(self.connectome, tuple(self.selection.regions))

    def _message_passing(self, fires: Mapping[str, Tensor], record: Sequence[str]) -> _Result:
        from connectome.simulate.torch_engine import propagate, triangle

        flat = self._flat
        batch, steps, _ = next(iter(fires.values())).shape
        device = next(iter(fires.values())).device
        weight = torch.cat([*self._by_edge(), torch.empty(0, dtype=self.dtype, device=device)])
        weight = weight[torch.from_numpy(flat.order).to(device)]
        silent = {name: torch.zeros(batch, steps, s.stop - s.start, device=device) for name, s in self.sensors.items()}
        every = [({**silent, **fires}[name] != 0).to(self.dtype) for name in self.sensors]
        given = torch.cat(every, -1).permute(1, 2, 0)
        out = propagate(flat, weight, given, surrogate=triangle(self.surrogate_width_mv))
        spikes = {name: out.spikes[:, span].permute(2, 0, 1) for name, span in flat.span.items()}
        counts = {name: s.detach().sum((0, 1)).to(torch.int64).numpy(force=True) for name, s in spikes.items()}
        read = torch.from_numpy(np.concatenate([np.r_[s] for s in self.effectors.values()] or [np.empty(0, np.int64)]))
        return out.u[:, read].permute(2, 0, 1), {name: spikes[name] for name in record}, counts

    def _check(self, sensor_spikes: Mapping[str, Tensor], record: Sequence[str]) -> None:
        shapes = set()
        for name, spikes in sensor_spikes.items():
            if name not in self.sensors:
                raise ConnectomeError("sensor_spikes", f"must name sensors of {list(self.sensors)}", repr(name))
            size = self.sensors[name].stop - self.sensors[name].start
            if spikes.ndim != 3 or spikes.shape[2] != size:
                raise ConnectomeError(
                    f"sensor_spikes[{name}]", f"must have shape (batch, steps, {size})", tuple(spikes.shape)
                )
            shapes.add((int(spikes.shape[0]), int(spikes.shape[1])))
        if len(shapes) != 1 or 0 in next(iter(shapes)):
            raise ConnectomeError("sensor_spikes", "must share one non-empty (batch, steps)", sorted(shapes))
        for name in record:
            if name not in self.selection.span or name in self.effectors or name in self.sensors:
                raise ConnectomeError("record", "must name regions of neurons that take part", repr(name))


class _Propagate(torch.autograd.Function):
    """Event-driven forward pass, and its adjoint, over the tiles of a batch."""

    @staticmethod
    def forward(
        ctx: Any, tiles: Tiles, fires: Mapping[str, Tensor], columns: int, record: Sequence[str], keep: bool,
        threads: int, report: Callable[[ForwardPass], None], *weights: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        spikes = {name: _plain(x) for name, x in fires.items()}
        run, potential = tiles.forward(spikes, [w.detach().numpy() for w in weights], columns, keep, threads)
        report(run)
        recorded = tuple(torch.from_numpy(tiles.spikes(run, name)) for name in record)
        ctx.tiles, ctx.record, ctx.threads, ctx.run, ctx.shape = tiles, record, threads, run, potential.shape
        ctx.set_materialize_grads(False)
        # The run's memory is free for another when torch lets go of what it saved: mostly after the backward pass.
        token = np.empty(1)
        finalize(token, tiles.give_back, run).atexit = False
        ctx.save_for_backward(torch.from_numpy(token))
        return torch.from_numpy(potential), *recorded

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        tiles, span = ctx.tiles, ctx.tiles.layout.span
        assert ctx.saved_tensors, "torch raises an error if they are gone"
        batch, steps, _ = ctx.shape
        potential = np.zeros(ctx.shape, tiles.real) if grads[0] is None else grads[0].contiguous().numpy()
        given = [(span[name], g.numpy()) for name, g in zip(ctx.record, grads[1:], strict=True) if g is not None]
        rows = np.concatenate(
            [np.zeros(0, np.uint64), *(np.arange(s.start, s.stop, dtype=np.uint64) for s, _ in given)]
        )
        spikes = np.concatenate([np.zeros((batch, steps, 0), tiles.real), *(g for _, g in given)], axis=-1)
        gradients = tiles.backward(ctx.run, potential, spikes, rows, ctx.threads)
        return (None,) * 7 + tuple(torch.from_numpy(g) for g in gradients)


def _plain(spikes: Tensor) -> NDArray[Any]:
    """As an array of one of two types, so that kernels are compiled for no more: numbers of 32 bits, or bytes."""
    if spikes.dtype not in (torch.bool, torch.uint8, torch.float32):
        spikes = spikes != 0
    array: NDArray[Any] = spikes.contiguous().numpy()
    return array.view(np.uint8) if array.dtype == np.bool_ else array

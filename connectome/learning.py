"""Learning on the propagator: a connectome as a torch module whose parameters are the weights of its edge sets."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from connectome.errors import ConnectomeError
from connectome.flat import Engine, FlatNetwork, flatten
from connectome.graph import Connectome
from connectome.learning_kernels import LANES, TileNetwork, backward_tile, forward_tile
from connectome.parts import EdgeKey

__all__ = ["Activity", "SpikingNetwork"]


class Activity(NamedTuple):
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

    Weights are one parameter vector per edge set, (E,) pA, in the edge set's order: ``weight[key]``. The forward pass
    is the propagator's (the same spikes as :func:`connectome.simulate.run`); the backward pass is the exact
    surrogate-gradient backpropagation through time, ``ds/du = max(0, 1 - |u - theta| / width) / width``, where the
    reset and the refractory hold carry no gradient (Zenke & Vogels 2021).

    Parameters
    ----------
    recruit : names of the regions, sensors and effectors that take part (default: all). The others stay silent.
    engine : ``"numba"``, event driven; ``"torch"``, PyG message passing, for another device or as a check.
    surrogate_width_mv : half-width of the surrogate's support.
    dtype : ``torch.float32`` or ``torch.float64``.
    threads : at most this many (default: all cores the process may use). The result does not depend on it.
    """

    def __init__(
        self, connectome: Connectome, *, recruit: Collection[str] | None = None, engine: Engine = "numba",
        surrogate_width_mv: float = 10.0, dtype: torch.dtype = torch.float32, threads: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if engine not in ("numba", "torch"):
            raise ConnectomeError("engine", "must be 'numba' or 'torch'", repr(engine))
        if dtype not in (torch.float32, torch.float64):
            raise ConnectomeError("dtype", "must be torch.float32 or torch.float64", dtype)
        if not 0 < surrogate_width_mv < np.inf:
            raise ConnectomeError("surrogate_width_mv", "must be finite and > 0", surrogate_width_mv)
        self.connectome = connectome
        self.flat = flatten(connectome, recruit)
        self.engine = engine
        self.dtype = dtype
        self.threads = threads or _cores()
        self.surrogate_width_mv = surrogate_width_mv
        self._sets = nn.ParameterList(
            nn.Parameter(torch.tensor(connectome.edges[key].weight, dtype=dtype)) for key in self.flat.keys
        )
        self.weight: dict[EdgeKey, nn.Parameter] = dict(zip(self.flat.keys, self._sets, strict=True))
        roles = {name: connectome.regions[name].role for name in self.flat.span}
        self.sensors = {n: s for n, s in self.flat.span.items() if roles[n] == "sensor"}
        self.effectors = {n: s for n, s in self.flat.span.items() if roles[n] == "effector"}
        self._read = np.concatenate([np.r_[s] for s in self.effectors.values()] or [np.empty(0, np.int64)])
        self._tiles = _tile_network(self.flat, self._read, dtype, surrogate_width_mv)
        self._out_degree = np.diff(self.flat.indptr)

    def forward(self, sensor_spikes: Mapping[str, Tensor], record: Sequence[str] = ()) -> Activity:
        """Run a batch. ``sensor_spikes``: sensor -> (B, T, N), non-zero where it fires; sensors left out are silent.

        ``record`` names the regions whose spikes are wanted. Raises :class:`ConnectomeError` for a bad name or shape.
        """
        batch, steps = self._check(sensor_spikes, record)
        tiles = -(-batch // LANES)
        raster = np.zeros((tiles, steps, self.flat.n_neurons), np.uint32)
        for name, spikes in sensor_spikes.items():
            raster[:, :, self.sensors[name]] = _pack(spikes.detach().cpu().numpy() != 0, tiles)
        if self.engine == "torch":
            u, spikes_out = self._message_passing(raster, batch, record)
        else:
            propagate = cast(Callable[..., tuple[Tensor, Tensor]], _Propagate.apply)
            u, spikes_out = propagate(self, raster, tuple(record), batch, *self._sets)
        fired = np.bitwise_count(raster).sum(axis=(0, 1), dtype=np.int64)
        potential, at = {}, 0
        for name, span in self.effectors.items():
            width = span.stop - span.start
            potential[name] = u[..., at : at + width]
            at += width
        recorded, at = {}, 0
        for name in record:
            width = self.flat.span[name].stop - self.flat.span[name].start
            recorded[name] = spikes_out[..., at : at + width]
            at += width
        counts = {name: fired[span] for name, span in self.flat.span.items() if name not in self.effectors}
        return Activity(potential, recorded, counts, int(fired @ self._out_degree))

    def to_connectome(self) -> Connectome:
        """The connectome with the weights as they are now."""
        edges = dict(self.connectome.edges)
        for key, weight in self.weight.items():
            edges[key] = replace(edges[key], weight=weight.detach().cpu().numpy())
        return replace(self.connectome, edges=edges)

    def _message_passing(self, raster: NDArray[np.uint32], batch: int, record: Sequence[str]) -> tuple[Tensor, Tensor]:
        """The torch engine: what ``_Propagate`` gives, and the raster filled in."""
        from connectome.torch_engine import propagate, triangle

        flat = self.flat
        real = np.dtype(np.float32 if self.dtype == torch.float32 else np.float64)
        weight = torch.cat([*self._sets, torch.empty(0, dtype=self.dtype)])[torch.from_numpy(flat.order)]
        given = torch.from_numpy(_unpack(raster[:, :, flat.is_sensor], batch, real)).permute(1, 2, 0)
        out = propagate(flat, weight, given, surrogate=triangle(self.surrogate_width_mv))
        fired = out.spikes.detach().permute(2, 0, 1).numpy() != 0
        raster[:, :, ~flat.is_sensor] = _pack(fired[:, :, ~flat.is_sensor], len(raster))
        rows = np.concatenate([np.r_[flat.span[name]] for name in record] or [np.empty(0, np.int64)])
        read = torch.from_numpy(self._read)
        return out.u[:, read].permute(2, 0, 1), out.spikes[:, torch.from_numpy(rows)].permute(2, 0, 1)

    def _check(self, sensor_spikes: Mapping[str, Tensor], record: Sequence[str]) -> tuple[int, int]:
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
            if name not in self.flat.span or name in self.effectors or name in self.sensors:
                raise ConnectomeError("record", "must name regions of neurons that take part", repr(name))
        return next(iter(shapes))


class _Propagate(torch.autograd.Function):
    """Event-driven forward pass, and its adjoint, over the tiles of a batch."""

    @staticmethod
    def forward(ctx: Any, network: SpikingNetwork, raster: NDArray[np.uint32], record: tuple[str, ...],
                batch: int, *weights: Tensor) -> tuple[Tensor, Tensor]:  # fmt: skip
        flat, net = network.flat, network._tiles
        real = net.p22.dtype
        weight = np.concatenate([w.detach().numpy() for w in weights] or [np.empty(0, real)])[flat.order]
        if len(net.p11) == 2:
            net = net._replace(channel=(weight < 0).astype(np.uint8))
        tiles, steps, n = raster.shape
        u = np.empty((tiles, steps, n, LANES), real)
        valid = [np.uint32(2 ** min(LANES, batch - LANES * tile) - 1) for tile in range(tiles)]

        def run(tile: int) -> None:
            forward_tile(net, weight, np.zeros((n, LANES), real), valid[tile], raster[tile], u[tile])

        _over_tiles(run, tiles, network.threads)
        ctx.network, ctx.net, ctx.record, ctx.raster, ctx.u, ctx.csr_weight = network, net, record, raster, u, weight
        rows = [flat.span[name] for name in record]
        spikes = np.concatenate(
            [_unpack(raster[:, :, s], batch, real) for s in rows] or [np.empty((batch, steps, 0), real)], -1
        )
        return torch.from_numpy(_to_samples(u[:, :, network._read], batch)), torch.from_numpy(spikes)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        network, u, raster = ctx.network, ctx.u, ctx.raster
        flat, real = network.flat, u.dtype
        tiles, steps, n = raster.shape
        grad_u = _to_tiles(grads[0].numpy(), tiles, real)
        grad_spike = np.zeros((tiles, 0, 0, LANES), real)
        if ctx.record:
            given, at = _to_tiles(grads[1].numpy(), tiles, real), 0
            grad_spike = np.zeros((tiles, steps, n, LANES), real)
            for name in ctx.record:
                span = flat.span[name]
                grad_spike[:, :, span] += given[:, :, at : at + span.stop - span.start]
                at += span.stop - span.start
        grad_weight = np.zeros((tiles, flat.target.size), real)

        def run(tile: int) -> None:
            backward_tile(
                ctx.net, ctx.csr_weight, raster[tile], u[tile], grad_u[tile], grad_spike[tile], grad_weight[tile]
            )

        _over_tiles(run, tiles, network.threads)
        grad = np.empty(flat.target.size, real)
        grad[flat.order] = grad_weight.sum(axis=0)
        parts = (torch.from_numpy(part) for part in np.split(grad, flat.set_start[1:-1]))
        return None, None, None, None, *(parts if flat.keys else ())


def _tile_network(flat: FlatNetwork, read: NDArray[Any], dtype: torch.dtype, width_mv: float) -> TileNetwork:
    real = np.float32 if dtype == torch.float32 else np.float64
    d = flat.dynamics
    one_channel = bool((d.p11_ex == d.p11_in).all())
    names = ("ex",) if one_channel else ("ex", "in")
    readout = np.full(flat.n_neurons, -1, np.int64)
    readout[read] = np.arange(read.size)
    return TileNetwork(
        indptr=flat.indptr.astype(np.uint64), target=flat.target.astype(np.uint32), delay=flat.delay,
        channel=np.zeros(0, np.uint8),
        is_sensor=flat.is_sensor, p22=d.p22.astype(real), bias=(d.p20 * d.i_e).astype(real),
        p21=np.stack([getattr(d, f"p21_{c}") for c in names]).astype(real),
        p11=np.stack([getattr(d, f"p11_{c}") for c in names]).astype(real),
        theta=np.where(flat.is_sensor, np.inf, d.theta).astype(real), v_reset=d.v_reset.astype(real),
        ref_steps=d.ref_steps, width=np.full(flat.n_neurons, width_mv, real), readout=readout,
    )  # fmt: skip


def _cores() -> int:
    """Cores that this process may use, where the system says so."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="connectome")


def _over_tiles(run: Any, tiles: int, threads: int) -> None:
    """Run every tile. Tiles write to their own slices only, so the order does not matter."""
    if threads == 1 or tiles == 1:
        for tile in range(tiles):
            run(tile)
        return

    def share(first: int) -> None:
        for tile in range(first, tiles, threads):
            run(tile)

    for done in [_pool().submit(share, first) for first in range(min(threads, tiles))]:
        done.result()


def _pack(spikes: NDArray[np.bool_], tiles: int) -> NDArray[np.uint32]:
    """(B, T, N) to bit masks (tiles, T, N), sample b in bit ``b % LANES`` of tile ``b // LANES``."""
    batch, steps, n = spikes.shape
    padded = np.zeros((tiles * LANES, steps, n), bool)
    padded[:batch] = spikes
    packed = np.packbits(padded.reshape(tiles, LANES, steps, n), axis=1, bitorder="little")
    return np.ascontiguousarray(np.moveaxis(packed, 1, -1)).view("<u4")[..., 0]


def _unpack(masks: NDArray[np.uint32], batch: int, real: np.dtype[Any]) -> NDArray[Any]:
    """The inverse of :func:`_pack`."""
    packed = np.ascontiguousarray(masks.astype("<u4"))[..., None].view(np.uint8)
    bits = np.unpackbits(packed, axis=-1, bitorder="little")
    return _to_samples(bits.astype(real), batch)


def _to_samples(tiled: NDArray[Any], batch: int) -> NDArray[Any]:
    """(tiles, T, N, LANES) to (B, T, N)."""
    tiles, *shape, _ = tiled.shape
    samples = np.moveaxis(tiled, -1, 1).reshape(tiles * LANES, *shape)
    return np.ascontiguousarray(samples[:batch])


def _to_tiles(samples: NDArray[Any], tiles: int, real: np.dtype[Any]) -> NDArray[Any]:
    """(B, T, N) to (tiles, T, N, LANES), zeros in the lanes without a sample."""
    padded = np.zeros((tiles * LANES, *samples.shape[1:]), real)
    padded[: len(samples)] = samples
    return np.ascontiguousarray(np.moveaxis(padded.reshape(tiles, LANES, *samples.shape[1:]), 1, -1))

"""A batch in tiles, on threads: the kernels of learning with the buffers they run on.

Buffers are kept from one training step to the next, because the system takes as long to hand out fresh memory as the
kernels take to fill it. With B samples in tiles of 16, T steps, N neurons and the N' of them with a membrane, and r
bytes a real number, a forward pass that a backward pass may follow holds about ``B T N' (r + 1/4) + B T N / 8`` bytes
until its graph is let go; others hold the last term alone. Each thread has ``16 r N' (2 C + 1) (32 + D)`` bytes at
most, with D the longest delay in steps and C the synaptic channels. Neither grows with edges. The weights are held
once more, and their gradients a few times: matrices of dense edge sets with all their places.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome.arrays import aligned_zeros
from connectome.learning.adaptation_kernels import Adaptation
from connectome.learning.bundle_kernels import LANES, Mask, Scratch, pack
from connectome.learning.bundles import Bundles, scratch
from connectome.learning.learning_kernels import Extra, Tape, backward_tiles, forward_tiles
from connectome.learning.parameter_kernels import CONSTANTS, Own

__all__ = ["ForwardPass", "Learnt", "Tiles"]

_KEPT = 2  # runs whose memory is kept: one to train and one to test
_PARTIAL_PLACES = 2**20  # weights, over all partial sums of a gradient

#: Region, constant, and its (n,) values.
Learnt = tuple[str, str, NDArray[Any]]


class ForwardPass:
    """One forward pass: what it left for the backward pass."""

    def __init__(self, tiles: int, steps: int, layout: Bundles, real: np.dtype[Any], keep: bool) -> None:
        n, membranes = layout.n_neurons, layout.n_membranes
        kept = membranes if keep else 0
        self.shape = (tiles, steps, keep)
        self.batch = 0
        self.tape = Tape(
            mask=np.zeros((tiles, steps, n), Mask), free=np.empty((tiles, steps, kept), Mask),
            near=np.empty((tiles, steps, kept), Mask), slope=aligned_zeros((tiles, steps, kept * LANES), real),
        )  # fmt: skip
        self.weight = aligned_zeros(layout.n_places, real)
        self.net = layout.net
        self.extra: Extra | None = None
        self.rises, self.own = layout.adaptation, None
        if layout.own is not None:
            learns = keep and layout.learns
            states = 1 + layout.channels + (layout.adaptation is not None)
            self.own = Own(
                layout.own, aligned_zeros((tiles, steps * learns, states, membranes * LANES), real),
                aligned_zeros((tiles, len(CONSTANTS), membranes * learns * LANES), real),
            )  # fmt: skip
        self.adaptation: Adaptation | None = None
        self.counts = np.zeros(n, np.int64)


class Tiles:
    """A laid out network, ready to run batches of samples."""

    def __init__(self, layout: Bundles) -> None:
        self.layout = layout
        self.real = layout.real
        self._runs: list[ForwardPass] = []
        self._partial = np.empty((0, 0), self.real)
        self._scratch: dict[tuple[int, bool], list[Scratch]] = {}

    def forward(
        self, sensor_spikes: Mapping[str, NDArray[Any]], weights: Sequence[NDArray[Any]], columns: int,
        keep: bool, threads: int, *, blocked: Collection[int] = (), extra: Extra | None = None,
        level: NDArray[Any] | None = None, learnt: Sequence[Learnt] = (),
    ) -> tuple[ForwardPass, NDArray[Any]]:  # fmt: skip
        """Run a batch from rest. (B, T, n) spikes by sensor; the weights of each edge set; ``keep``: a backward pass
        may follow; ``blocked``: numbers of edge sets that it passes no spike's gradient through. Returns the run and
        the potentials of the effectors, (B, T, columns) mV above rest.

        With ``extra`` some of the T steps may be over, and ``sensor_spikes`` names regions too: those of which spikes
        are known. ``level`` (tiles, N' * LANES): what thresholds that rise begin with, 0 by default. ``learnt``:
        constants that are now other than those of the layout.
        """
        batch, steps = next(iter(sensor_spikes.values())).shape[:2]
        run = self._take(-(-batch // LANES), steps, keep)
        run.batch = batch
        self._set_weights(run, weights, blocked)
        run.extra = extra
        if extra is not None:
            run.tape.near[:, : int(extra.start)] = 0
        self._set_constants(run, learnt)
        run.adaptation = self._adaptation(run, level)
        potential = np.empty((batch, steps, columns), self.real)
        silent = [self.layout.span[name] for name in self.layout.sensors if name not in sensor_spikes]
        shares = min(threads, len(run.tape.mask))
        counts = np.zeros((shares, self.layout.n_neurons), np.uint32)

        def share(first: int) -> None:
            for name, spikes in sensor_spikes.items():
                pack(spikes, self.layout.span[name].start, run.tape.mask, first, shares)
            for span in silent:
                run.tape.mask[first::shares, :, span] = 0
            with _Lent(self._scratch.setdefault((steps, False), []), lambda: scratch(self.layout, steps)) as buffers:
                forward_tiles(
                    run.net, run.weight, keep, run.tape, potential, counts[first], first, shares, buffers, extra,
                    run.adaptation, run.own, self.layout.convolutions,
                )  # fmt: skip

        _each(share, shares)
        run.counts = counts.sum(axis=0, dtype=np.int64)
        return run, potential

    def backward(
        self, run: ForwardPass, grad_potential: NDArray[Any], grad_spikes: NDArray[Any], recorded: NDArray[np.uint64],
        threads: int,
    ) -> list[NDArray[Any]]:  # fmt: skip
        """The gradients of each edge set's weights from those of the potentials and of (B, T, M) recorded spikes.
        Where the run has an ``extra``, its ``adjoint`` is filled in."""
        tiles, steps, _ = run.shape
        # Partial sums, as many as the shapes say: their number and order must not depend on the threads.
        n = min(tiles, max(2, _PARTIAL_PLACES // max(run.weight.size, 1)))
        if self._partial.shape != (n, run.weight.size):
            self._partial = aligned_zeros((n, run.weight.size), self.real)
        partial, shares = self._partial, min(threads, n)
        adaptation = self._adaptation(run, None)

        def share(first: int) -> None:
            with _Lent(self._scratch.setdefault((steps, True), []), lambda: scratch(self.layout, steps)) as buffers:
                backward_tiles(
                    run.net, run.weight, run.tape, grad_potential, grad_spikes, recorded, partial, first, shares,
                    buffers, run.extra, adaptation, run.own, self.layout.convolutions,
                )  # fmt: skip

        _each(share, shares)
        for other in partial[1:]:
            partial[0] += other
        gradients = [np.zeros(size, self.real) for size in self.layout.sizes]
        for move in self.layout.moves:
            move.get(gradients[move.number], partial[0], run.weight)
        return gradients

    def constant_gradient(self, run: ForwardPass, region: str, constant: str) -> NDArray[np.float64]:
        """(n,) what the backward pass found of a constant that learns."""
        assert run.own is not None
        span = self.layout.span[region]
        sums = run.own.gradient[:, CONSTANTS.index(constant), span.start * LANES : span.stop * LANES]
        total: NDArray[np.float64] = sums.reshape(len(sums), -1, LANES).sum((0, 2), np.float64)
        return total

    def spikes(self, run: ForwardPass, name: str) -> NDArray[Any]:
        """(B, T, n) 0 or 1 of one region."""
        masks = np.ascontiguousarray(run.tape.mask[:, :, self.layout.span[name]].astype("<u2"))
        bits = np.unpackbits(masks.view(np.uint8).reshape(*masks.shape, 2), axis=-1, bitorder="little")
        tiles, steps, n = masks.shape
        return np.moveaxis(bits, -1, 1).reshape(tiles * LANES, steps, n)[: run.batch].astype(self.real)

    def counts(self, run: ForwardPass) -> dict[str, NDArray[np.int64]]:
        """(n,) spikes of each neuron of each region."""
        return {name: run.counts[span] for name, span in self.layout.span.items()}

    def give_back(self, run: ForwardPass) -> None:
        """Let another forward pass have the memory of this one."""
        self._runs.append(run)

    def _take(self, tiles: int, steps: int, keep: bool) -> ForwardPass:
        for i, run in enumerate(self._runs):
            if run.shape == (tiles, steps, keep):
                return self._runs.pop(i)
        del self._runs[: len(self._runs) - _KEPT + 1]
        return ForwardPass(tiles, steps, self.layout, self.real, keep)

    def _adaptation(self, run: ForwardPass, level: NDArray[Any] | None) -> Adaptation | None:
        if self.layout.adaptation is None:
            return None
        if level is None:
            level = aligned_zeros((run.shape[0], self.layout.n_membranes * LANES), self.real)
        assert run.rises is not None
        rho, beta = run.rises
        return Adaptation(rho, beta, level)

    def _set_constants(self, run: ForwardPass, learnt: Sequence[Learnt]) -> None:
        if not learnt:
            return
        assert run.own is not None
        assert self.layout.own is not None
        own = self.layout.own.copy()
        run.own = run.own._replace(constants=own)
        run.rises = None if self.layout.adaptation is None else self.layout.adaptation.copy()
        for region, constant, values in learnt:
            if constant in (own.dtype.names or ()):
                own[constant][self.layout.span[region]] = values
            elif run.rises is not None:
                run.rises[int(constant == "beta"), self.layout.span[region]] = values

    def _set_weights(self, run: ForwardPass, weights: Sequence[NDArray[Any]], blocked: Collection[int]) -> None:
        layout = self.layout
        run.net = layout.net
        for move in (*layout.moves, *layout.copies):
            move.put(weights[move.number], run.weight)
        if layout.channels == 2:
            rows = layout.net.rows
            inhibitory = (run.weight < 0)[: rows.place.size] * np.uint32(layout.n_membranes)
            run.net = layout.net._replace(rows=rows._replace(place=rows.place + inhibitory))
        if blocked:
            bundles = layout.net.bundles.copy()
            bundles["backward"][np.isin(layout.numbers, list(blocked))] = 0
            run.net = run.net._replace(bundles=bundles)


class _Lent:
    """Something from a list, or new, for the length of a block; other threads meanwhile take others."""

    def __init__(self, store: list[Any], make: Callable[[], Any]) -> None:
        self._store, self._make = store, make

    def __enter__(self) -> Any:
        try:
            self._thing = self._store.pop()
        except IndexError:
            self._thing = self._make()
        return self._thing

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._store.append(self._thing)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="connectome")


def _each(share: Callable[[int], None], n: int) -> None:
    """Shares 0 .. n - 1, each on a thread. Each writes to its own memory only, so the order does not matter."""
    if n == 1:
        share(0)
        return
    for done in [_pool().submit(share, i) for i in range(n)]:
        done.result()

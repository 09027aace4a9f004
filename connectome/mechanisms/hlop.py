"""HLOP: lateral connections learn where a task's traces lie, and later steps keep out of there."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from connectome.errors import ConnectomeError
from connectome.graph.kernel_set import KernelSet
from connectome.graph.parts import EdgeSet
from connectome.learning.learning_rule import State, Update, one_thread
from connectome.learning.noise import normal, uniform
from connectome.mechanisms.projection import outside, without
from connectome.parameters import Parameters, bounded

__all__ = ["Hlop", "oja", "rows_of", "synaptic_traces"]

#: Of the length of traces: what is left of them below this is rounding.
_NOTHING = 1e-4


@dataclass(frozen=True)
class Hlop(Parameters):
    """Hebbian learning based orthogonal projection (Xiao et al. 2024, ICLR, arXiv 2402.11984), no task told but by the
    end of its stage. Each edge set has lateral neurons with weights H (M, N) from its N sources. In each update, or one
    of ``every``, of synaptic traces x, ``c <- exp(-1 / tau) c + s`` of the sources' spikes at ``samples`` moments of
    the batch, those rows of H that are new in this stage learn the principal subspace by Oja's rule, ``passes`` times:
    ``y = H x;  dH = rate mean(y (x - H^T y)^T)``. Rows of earlier stages stay, and take part in H^T y. What moves along
    those, they take out of each target's step: ``dw <- dw - H^T (H H^T)^-1 H dw``, H at this target's own sources. So
    what arrives from earlier tasks' traces stays as it was.

    Ours: the step is projected, since Adam undoes the projection of a gradient; the inverse, so that it holds for
    sparse targets too (with orthonormal rows and all sources it is the paper's ``dw - H^T H dw``); x is taken
    without what earlier rows span and in units of its root mean square length, so that a rate suits any region, and
    there is no momentum. It projects weights only: what else learns, gains or thresholds, is to be left out by hand.
    A clamp of signs comes behind it and moves weights again. Weights that edges share are refused.

    State of an edge: ``hlop_0``, ``hlop_1`` ..., its source's part of each row; ``hlop_old``, how many are of earlier
    stages. New edges have what others of their source have.

    Parameters
    ----------
    first : new rows in the first stage in which a set learns, as a share of its sources; ``more`` : in each later one
    rows : of a set, at most; with all in use no more are learnt
    rate, passes : of Oja's rule; with a rate of 0 rows stay as they began, at random
    every : rows learn in one of so many updates
    samples : moments of a batch; tau_steps : of the synaptic current
    """

    first: float = bounded(0.3, 0, 1)
    more: float = bounded(0.15, 0, 1)
    rows: int = bounded(64, 1, 4096)
    rate: float = bounded(0.5, 0, 1)
    passes: int = bounded(5, 1, 1000)
    every: int = bounded(1, 1, 1000)
    samples: int = bounded(256, 1)
    tau_steps: float = bounded(4.0, 1e-3)

    paper: ClassVar = "Xiao et al. 2024, ICLR, arXiv 2402.11984"
    hears_spikes: ClassVar = True
    one_each: ClassVar = ("hlop_old",)

    @property
    def remembers(self) -> tuple[str, ...]:
        """Names of its state."""
        return (*(f"hlop_{k}" for k in range(self.rows)), "hlop_old")

    def __call__(self, update: Update, change: Tensor, state: State) -> Tensor:
        """The step, without what earlier tasks' traces would meet. Raises :class:`ConnectomeError` for weights that
        edges share."""
        edges = update.edges
        if update.name != "weight" or edges is None or not len(edges):
            return change
        if isinstance(edges, KernelSet) or len(update.weight) != len(edges):
            hint = "Give its kind another chain."
            raise ConnectomeError("learning", "must have hlop for sets only whose edges have own weights",
                                  str(update.key), hint)  # fmt: skip
        with one_thread():
            return self._projected(update, edges, change, state)

    def _projected(self, update: Update, edges: EdgeSet, change: Tensor, state: State) -> Tensor:
        learns = (update.number - 1) % self.every == 0
        if not learns and not state["hlop_old"]:
            return change
        held = rows_of(edges, state)
        if update.number == 1:
            state["hlop_old"].fill_(len(held))
        old = int(state["hlop_old"])
        if not learns:
            return outside(held[:old], change, edges)
        held = self._begun(update, edges, held, old)
        assert update.pre is not None  # a source always fires: it is a region or a sensor
        if len(held) > old and self.rate:
            held[old:] = oja(held, old, self._seen(update, edges, update.pre), self.rate, self.passes)
        source = torch.from_numpy(edges.source.astype(np.int64)).to(change.device)
        names = [f"hlop_{k}" for k in range(len(held))]
        for k in range(old if old and _known(state, names[:old]).all() else 0, len(held)):
            state[names[k]].copy_(held[k][source])
        return outside(held[:old], change, edges) if old else change

    def _begun(self, update: Update, edges: EdgeSet, held: Tensor, old: int) -> Tensor:
        """(M, N) with those rows that are to begin: at random, orthogonal to all others and to each other."""
        alive = _alive(edges, held)
        share = self.more if old else self.first
        most = min(self.rows, int(alive.sum()))
        missing = min(old + round(share * int(alive.sum())), most) - len(held)
        if missing <= 0:
            return held
        number = np.arange(missing * edges.n_source, dtype=np.uint64)
        drawn = torch.from_numpy(normal(number, update.key, "hlop", update.seed)).to(held).view(missing, -1) * alive
        return torch.cat([held, torch.linalg.qr(without(held, drawn).T).Q.T])

    def _seen(self, update: Update, edges: EdgeSet, spikes: Tensor) -> Tensor:
        """(S, N) traces at some moments of the batch, 0 of sources without edges: nothing could keep their part."""
        trace = synaptic_traces(spikes, self.tau_steps).flatten(0, 1)
        number = np.arange(len(trace), dtype=np.uint64)
        drawn = uniform(number, update.key, "hlop_moments", (*update.seed, update.number))
        return trace[torch.from_numpy(np.argsort(drawn, kind="stable")[: self.samples])] * _alive(edges, trace)


def synaptic_traces(spikes: Tensor, tau_steps: float) -> Tensor:
    """(B, T, N) float64 ``c <- exp(-1 / tau) c + s`` of (B, T, N) spikes."""
    found = spikes.detach().to(torch.float64, copy=True)
    decay = float(np.exp(-1 / tau_steps))
    for t in range(1, found.shape[1]):
        found[:, t] += decay * found[:, t - 1]
    return found


def rows_of(edges: EdgeSet, state: State) -> Tensor:
    """(M, N) float64: the rows that have begun, as the state of E edges has them. An edge that is new has 0, and its
    source what the others have."""
    names = [f"hlop_{k}" for k in range(len(state)) if f"hlop_{k}" in state]
    begun = bisect_left(names, True, key=lambda name: not state[name].any())  # they begin in order
    found = torch.zeros((begun, edges.n_source), dtype=torch.float64, device=state["hlop_old"].device)
    if begun:
        # Of each source that has any, one edge that knows its rows: the last in which one of them is not 0.
        known = _known(state, names[:begun])
        which = torch.nonzero(known)[:, 0]
        source = torch.from_numpy(edges.source.astype(np.int64)).to(which.device)[which]
        one = torch.full((edges.n_source,), -1, device=which.device).scatter_reduce(0, source, which, "amax")
        found[:, one >= 0] = torch.stack([state[name][one[one >= 0]] for name in names[:begun]]).to(found)
    return found


def _known(state: State, names: Sequence[str]) -> Tensor:
    """(E,) whether any of these rows is not 0 at an edge: at an edge that is new, all are."""
    known = state[names[0]] != 0
    for name in names[1:]:
        if known.all():
            break
        known = known | (state[name] != 0)
    return known


def oja(rows: Tensor, old: int, traces: Tensor, rate: float, passes: int) -> Tensor:
    """The (M - old, N) new of M rows, after so many passes of Oja's subspace rule over (S, N) traces, of which the old
    rows explain their part."""
    new, x = rows[old:], without(rows[:old], traces)
    length, whole = (values.square().sum(1).mean().sqrt() for values in (x, traces))
    if not length > _NOTHING * whole:
        return new
    x = x / length
    for _ in range(passes):
        y = x @ new.T
        new = new + rate / len(x) * y.T @ (x - y @ new)
    return new


def _alive(edges: EdgeSet, like: Tensor) -> Tensor:
    """(N,) whether a source has an edge."""
    return torch.from_numpy(np.diff(edges.indptr) > 0).to(like.device)

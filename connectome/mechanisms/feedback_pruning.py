"""Pruning by feedback: what the higher region sends back decides which edges are inhibited, and then go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome, Edit
from connectome.graph.kernel_set import KernelSet
from connectome.graph.parts import EdgeKey, EdgeSet
from connectome.parameters import Parameters, bounded
from connectome.rules import Context

__all__ = ["FeedbackPruning"]


Array = NDArray[Any]


#: A weight that is this little below a bound has reached it: multiplying and dividing leaves rounding errors.
_ABOVE: Final = 1 + 1e-5


#: So that rounding up a product does not add an edge.
_BELOW: Final = 1 - 1e-12


_TINY: Final = 1e-37


@dataclass(frozen=True)
class FeedbackPruning(Parameters):
    """Inhibit, and then prune, the edges that feedback values least, down to a part of those that there ever were.

    What an edge is worth is remembered. In each epoch that its set took part in, ``recent`` moves by ``update`` towards
    the epoch's importance over the set's mean. When another stage begins, ``memory`` becomes ``sqrt(memory^2 +
    recent^2)`` and what is recent begins anew. So the edge's value, ``sqrt(memory^2 + recent^2)``, counts what it did
    for its own region's task and what higher regions send back to it later.

    Up for pruning are local edges of regions that are judged, long-range ones between them, and, as far as its own
    effectors' feedback goes, local edges and afferents of the region that matures. The room for them shrinks to ``keep
    + (1 - keep) (1 - x)^3`` while x goes from 0 to 1 (the schedule of Zhu & Gupta 2017, arXiv 1710.01878), so that the
    first are inhibited at ``start`` and the last are gone at ``end``. Those of the least value, as many as there will
    be no room for by the time that they could go, are inhibited: each epoch a weight loses the fraction ``inhibition``
    of what is left of it, down to ``floor`` of the whole. An edge that is no longer among them gets as much back, until
    it is whole. One that was inhibited to the floor and still is among them is pruned; from ``late`` on none is waited
    for, so that exactly as many are kept as were asked for. Until then an edge that was seen for fewer than ``grace``
    epochs is left alone.

    State of an edge: ``memory``, ``recent``, ``seen`` (epochs), and ``inhibition``, the fraction of its weight that is
    held back. An edge that another rule adds comes with 0 for each.

    Parameters
    ----------
    keep, keep_long_range, keep_afferent : what is kept of each kind, as a fraction of all that a set ever had
    keep_own : what is kept of a region's local edges in its own stage
    start, end, late : fractions of a stage
    unit : "weight", or "kernel": the weights of a kernel, from one map to another, go together, by their mean value.
        What is kept of them is then rounded up to whole kernels
    """

    keep: float = bounded(0.2, 0, 1)
    keep_long_range: float = bounded(0.22, 0, 1)
    keep_afferent: float = bounded(0.4, 0, 1)
    keep_own: float = bounded(0.45, 0, 1)
    start: float = bounded(0.1, 0, 1)
    end: float = bounded(0.75, 0.01, 1)
    late: float = bounded(0.9, 0.01, 1)
    grace: float = bounded(5.0, 0)
    update: float = bounded(0.2, 0.001, 1)
    inhibition: float = bounded(0.1, 0.001, 0.9)
    floor: float = bounded(0.3, 0.01, 0.99)
    unit: str = "weight"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.unit not in ("weight", "kernel"):
            raise ConnectomeError("FeedbackPruning.unit", "must be 'weight' or 'kernel'", repr(self.unit))

    def __call__(self, connectome: Connectome, context: Context, rng: np.random.Generator) -> Edit:
        """The edit."""
        state: dict[EdgeKey, dict[str, Array]] = {}
        weights: dict[EdgeKey, Array] = {}
        remove: dict[EdgeKey, Array] = {}
        records = []
        hurry = context.done >= self.late
        for key, edges in connectome.edges.items():
            if key.base == "efferent" or not len(edges):
                continue
            state[key] = kept = self.remember(edges, first=context.epoch == 1)
            if not _up_for_pruning(connectome.by_area(key), context):
                continue
            value, held = np.hypot(kept["memory"], kept["recent"]), kept["inhibition"]
            judged = hurry | (kept["seen"] >= self.grace)
            no_room = max(len(edges) - self.room(key, context), 0)
            weakest = self._weakest(edges, np.where(judged, value, np.inf), no_room) & judged
            left = 1 - held
            gone = weakest & (hurry | (left <= self.floor * _ABOVE))
            now_left = np.where(weakest, left * (1 - self.inhibition), left / (1 - self.inhibition))
            now_left = np.clip(now_left, self.floor, 1.0)
            now_left = np.where(now_left * _ABOVE >= 1, 1.0, now_left)
            weights[key] = (edges.weight * now_left / left).astype(np.float32)
            kept["inhibition"] = (1 - now_left).astype(np.float32)
            remove[key] = gone
            records.append(
                context.record(
                    "feedback_pruning", key, inhibited=int((weakest & ~gone & (held == 0)).sum()),
                    restored=int(((held > 0) & (now_left == 1)).sum()), removed=int(gone.sum()),
                )
            )  # fmt: skip
        return Edit(reweight=weights, state=state, remove=remove, records=tuple(records))

    def _weakest(self, edges: EdgeSet, value: Array, n: int) -> NDArray[np.bool_]:
        """(E,) the ``n`` edges of the least value; of kernels that go whole, as many as have no more weights."""
        of = edges.kernel if self.unit == "kernel" and isinstance(edges, KernelSet) else np.arange(len(edges))
        size = np.bincount(of)
        order = np.argsort(np.bincount(of, value) / size, kind="stable")
        weakest = np.zeros(size.size, bool)
        weakest[order[np.cumsum(size[order]) <= n]] = True
        return weakest[of]

    def remember(self, edges: EdgeSet, *, first: bool) -> dict[str, Array]:
        """The state of edges after an epoch, the ``first`` of a stage or a later one."""
        none = np.zeros(len(edges), np.float32)
        memory, recent, seen, held = (
            edges.state.get(name, none) for name in ("memory", "recent", "seen", "inhibition")
        )
        if first:
            memory, recent = np.hypot(memory, recent), none
        if "importance" in edges.state:
            importance = edges.state["importance"]
            share = importance / max(float(importance.mean()), _TINY)
            recent = np.where(recent == 0, share, recent + self.update * (share - recent)).astype(np.float32)
            seen = seen + np.float32(1)
        return {"memory": memory, "recent": recent, "seen": seen, "inhibition": held}

    def room(self, key: EdgeKey, context: Context) -> int:
        """For how many edges of a set there will be room when those that are inhibited now have come to the floor."""
        local = self.keep if key.source in context.prunable else self.keep_own
        keep = {"local": local, "long_range": self.keep_long_range, "afferent": self.keep_afferent}[key.base]
        lead = np.log(self.floor) / np.log(1 - self.inhibition) * context.done / context.epoch
        x = np.clip((context.done - self.start) / max(self.end - lead - self.start, _TINY), 0.0, 1.0)
        return int(np.ceil((keep + (1 - keep) * (1 - x) ** 3) * context.ever[key] * _BELOW))


def _up_for_pruning(key: EdgeKey, context: Context) -> bool:
    if key.base == "local":
        return key.source == context.region or key.source in context.prunable
    if key.base == "afferent":
        return key.target == context.region
    return key.source in context.prunable and key.target in context.prunable

"""What a network costs before it is run: memory, time of a run and of a training step, here and on NEST.

A run does four things: it updates every neuron in every step, draws Poisson events, and, for each spike, visits the
stretches of its edges (one for each delay, and for each edge set that a run does not merge) and delivers the events in
them. A training step does so for a batch, forward and back, and then updates the weights. Times are CPU seconds of one
core.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.arrays import is_constant
from connectome.errors import ConnectomeError
from connectome.graph.parts import EdgeSet

__all__ = [
    "MEASURED",
    "MERGED_EDGE_BYTES",
    "Constants",
    "Cost",
    "Size",
    "edge_bytes",
    "of_gpu",
    "of_nest",
    "of_run",
    "of_training",
    "stretches",
]


@dataclass(frozen=True)
class Size:
    """What costs depend on.

    Parameters
    ----------
    neurons : that are updated, sensors left out; driven : of these, how many have Poisson drive
    edges : all
    spikes_s : spikes a second of model time, sensors' among them
    visits, events : stretches and edges that a spike goes out on, on average
    dt_ms : a step
    edge_bytes : of an edge's columns: 2 or 4 for its target, 4 for a weight of its own, 2 for a delay of its own
    largest : edges of the largest edge set, which are held twice for a moment; all of them by default
    targets : neurons of the regions that a visit's edges lead to, on average; all of them by default
    copied_bytes : of edge sets from one region that a long run merges (:mod:`connectome.simulate.merging`)

    Raises
    ------
    ConnectomeError : a number that is not finite or below 0, a step of 0, by name
    """

    neurons: float
    edges: float
    spikes_s: float
    events: float
    visits: float = 1.0
    driven: float = 0.0
    dt_ms: float = 0.1
    edge_bytes: float = 8.0
    largest: float | None = None
    targets: float | None = None
    copied_bytes: float = 0.0

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if value is not None and not (0 <= value < math.inf and (value or name != "dt_ms")):
                raise ConnectomeError(f"Size.{name}", "must be finite and 0 or more, a step more than 0", value)


@dataclass(frozen=True)
class Constants:
    """What one of each takes on a machine: ns of a core, and bytes. ``sims.plan --measure`` measures those in ns.

    Parameters
    ----------
    update_ns, poisson_ns : a step of a neuron (``iaf_psc_exp``); of its Poisson drive
    spike_ns : a spike, besides what it visits and sends
    visit_ns, event_ns : a stretch, an event, where ``near_edges`` edges lead to ``near_targets`` neurons: in cache
    far_visit_ns, far_event_ns : the same for ``far_edges`` and ``far_targets``, which are not
    train_update_ns, train_event_ns : a step of a neuron for a sample, an event of a sample; forward and back. Events
        between dense layers without recurrence take a twentieth.
    train_weight_ns : a weight, once a training step
    base_bytes, setup_bytes : a process that runs a snapshot, without edges; while an edge set is read, for each edge
    train_base_bytes, train_edge_bytes : a process that trains; for each edge, its columns besides
    """

    update_ns: float
    poisson_ns: float
    spike_ns: float
    visit_ns: float
    event_ns: float
    far_visit_ns: float
    far_event_ns: float
    train_update_ns: float
    train_event_ns: float
    train_weight_ns: float
    base_bytes: float = 0.275e9
    setup_bytes: float = 3.0
    train_base_bytes: float = 0.57e9
    train_edge_bytes: float = 67.0
    near_edges: float = 3.2e5
    far_edges: float = 2e7
    near_targets: float = 4000
    far_targets: float = 2e5


class Cost(NamedTuple):
    """Bytes at the peak; CPU seconds for a second of model time, or for a training step."""

    memory_bytes: float
    seconds: float


#: On an AMD EPYC of 2026, two hyperthreads of one core, busy: rounded from several ``python -m sims.plan --measure``.
MEASURED: Final = Constants(0.11, 0.80, 140, 10, 0.57, 46, 1.49, 4.0, 3.1, 16)

#: Of a copy, where edge sets are merged for a run.
MERGED_EDGE_BYTES: Final = 10

#: NEST's CPU seconds over ours, and its bytes an edge and a rank.
_NEST_RATIO: Final = 45.0
_NEST_EDGE_BYTES: Final = 75.0
_NEST_BASE_BYTES: Final = 0.15e9


def of_run(size: Size, constants: Constants = MEASURED) -> Cost:
    """A run here, by one thread."""
    c, steps = constants, 1000 / size.dt_ms
    targets = size.neurons if size.targets is None else size.targets
    of_edges, of_targets = _far(size.edges, c.near_edges, c.far_edges), _far(targets, c.near_targets, c.far_targets)
    visit = c.visit_ns + of_edges * (c.far_visit_ns - c.visit_ns)
    event = c.event_ns * (c.far_event_ns / c.event_ns) ** ((of_edges + of_targets) / 2)  # edges stream, targets scatter
    ns = steps * (size.neurons * c.update_ns + size.driven * c.poisson_ns)
    ns += size.spikes_s * (c.spike_ns + size.visits * visit + size.events * event)
    setup = c.setup_bytes * (size.edges if size.largest is None else size.largest)
    return Cost(c.base_bytes + size.edge_bytes * size.edges + size.copied_bytes + setup, ns / 1e9)


def _far(x: float, near: float, far: float) -> float:
    """How far x is from the cache: 0 up to ``near``, 1 from ``far`` on."""
    return min(math.log(max(x, near) / near) / math.log(far / near), 1.0)


def of_training(size: Size, steps: int, batch: int, constants: Constants = MEASURED) -> Cost:
    """A training step here, by one thread: ``steps`` steps of ``batch`` samples, forward, back and Adam."""
    c = constants
    spikes = size.spikes_s * size.dt_ms / 1000 * steps * batch
    ns = steps * batch * size.neurons * c.train_update_ns + spikes * size.events * c.train_event_ns
    return Cost(
        c.train_base_bytes + (size.edge_bytes + c.train_edge_bytes) * size.edges,
        (ns + size.edges * c.train_weight_ns) / 1e9,
    )


def of_nest(size: Size, ranks: int, constants: Constants = MEASURED) -> Cost:
    """A run on so many ranks of NEST, each a core, of memory and time of one rank. Estimated from runs on one and two
    ranks: what ranks tell each other is left out."""
    return Cost(
        _NEST_BASE_BYTES + _NEST_EDGE_BYTES * size.edges / ranks, _NEST_RATIO * of_run(size, constants).seconds / ranks
    )


def of_gpu(size: Size) -> Cost:
    """A run on a GPU, by GeNN. Estimated, from what was published of one network: the microcircuit on an RTX 4090, 0.27
    s for 9.6e8 events (Senk et al. 2026, doi 10.1088/2634-4386/ae379a); and 8 us a step at the least, to launch."""
    seconds = max(size.spikes_s * size.events * 0.27 / 9.6e8, 8e-6 * 1000 / size.dt_ms)
    return Cost(0.5e9 + 9 * size.edges + 100 * size.neurons, seconds)


def stretches(edges: EdgeSet) -> NDArray[np.int64]:
    """Visits, if every source fired once: the pairs of a source and a delay that have an edge, as one number each."""
    key = edges.source.astype(np.int64) * 2**16 + edges.delay_steps  # edges are in this order
    first: NDArray[np.int64] = key[np.append(True, np.diff(key) > 0)[: len(key)]]
    return first


def edge_bytes(edges: EdgeSet) -> int:
    """Bytes of the columns of an edge set: what is one for all edges is stored once."""
    return sum(0 if is_constant(x) else x.nbytes for x in (edges.indices, edges.weight, edges.delay_steps))

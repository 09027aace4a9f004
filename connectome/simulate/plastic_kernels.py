"""What a step of a run does for the edge sets that learn, by kind of rule.

``plastic`` has three entries, any of which may be None and is then not even compiled: records of
``stdp_kernels.PLASTIC`` for plain pairs, the same for other rules, and records of ``error_kernels.CORRECTED``. A step
calls :func:`react`, delivers over all other edge sets, and calls :func:`deliver_and_learn`. A thread changes only what
belongs to edges into its own neurons.
"""

from __future__ import annotations

from typing import Any

from connectome.jit import Index, Records, inner
from connectome.simulate.error_kernels import correct, deliver_and_follow
from connectome.simulate.stdp_kernels import deliver_and_lower, raise_weights

__all__ = ["deliver_and_learn", "react"]


@inner
def react(thread: int, step: int, row: Index, plastic: Any, streams: Records, due: Records, state: Any) -> None:
    """Before delivery: what this step does to the weights."""
    pairs, at_spikes, by_error = plastic
    raise_weights(thread, step, row, pairs, streams, due, state, None)
    raise_weights(thread, step, row, at_spikes, streams, due, state, True)
    correct(thread, step, by_error, streams, state)


@inner
def deliver_and_learn(
    thread: int, step: int, row: Index, plastic: Any, streams: Records, due: Records, state: Any
) -> None:  # fmt: skip
    """Deliver what is due in this step over the edge sets that learn."""
    pairs, at_spikes, by_error = plastic
    deliver_and_lower(thread, step, row, pairs, streams, due, state, None)
    deliver_and_lower(thread, step, row, at_spikes, streams, due, state, True)
    deliver_and_follow(thread, row, by_error, streams, due, state)

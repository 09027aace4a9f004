"""The delta rule on edges into effectors, on plain arrays: see :mod:`connectome.simulate.error_modulated`.

An effector is linear: its potential is the sum over sources of weight times response, the potential that the source's
spikes would have made over an edge of 1 pA. Each thread keeps its own responses, which are stepped as the effector is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from connectome.jit import Index, Records, inner
from connectome.simulate.native_kernels import store_at, value_at

__all__ = ["CORRECTED", "correct", "deliver_and_follow"]

#: An edge set that learns by its targets' errors, into the effectors that one thread owns.
#:
#: owner, stream, first, last : as of ``stdp_kernels.PLASTIC``
#: slots : sources times delays, the length of ``response`` and ``pa``, addresses of float64: mV above e_l and synaptic
#:     current of an effector that each one's spikes alone lead to, with a weight of 1 pA
#: p22, p21, p11 : propagators of the effector
#: weight : address of (E,) float64; into, edge, slot : as of ``stdp_kernels.PLASTIC``
#: signs : address of the source neurons' signs (int8); delays : of each source
#: target, gate : addresses of float64; that of step t and effector k is at ``t * ..._row + k * ..._column``
#: rate : of a step; ridge : see the rule; low, high : bounds
CORRECTED = np.dtype(
    [
        ("owner", np.int64), ("stream", np.uint64), ("first", np.uint64), ("last", np.uint64), ("slots", np.uint64),
        ("response", np.uint64), ("pa", np.uint64), ("p22", np.float64), ("p21", np.float64), ("p11", np.float64),
        ("weight", np.uint64), ("into", np.uint64), ("edge", np.uint64), ("slot", np.uint64), ("signs", np.uint64),
        ("delays", np.uint64), ("target", np.uint64), ("target_row", np.uint64), ("target_column", np.uint64),
        ("gate", np.uint64), ("gate_row", np.uint64), ("gate_column", np.uint64), ("rate", np.float64),
        ("ridge", np.float64), ("low", np.float64), ("high", np.float64),
    ]
)  # fmt: skip

_U0, _U1 = np.uint64(0), np.uint64(1)
_TINY = 1e-200


@inner
def _step_responses(rule: Any) -> None:
    """One step of all responses; what is too small to matter becomes 0 before it becomes denormal."""
    for i in range(rule.slots):
        pa, mv = value_at(rule.pa, 0.0, i), value_at(rule.response, 0.0, i)
        mv = rule.p22 * mv + rule.p21 * pa
        pa = rule.p11 * pa
        store_at(rule.response, i, mv if mv > _TINY else 0.0)
        store_at(rule.pa, i, pa if pa > _TINY else 0.0)


@inner
def _descend(rule: Any, target: Index, error: float, gate: float) -> None:
    """Change the weights of the edges into an effector along the gradient."""
    begin, end = np.uint64(value_at(rule.into, _U0, target)), np.uint64(value_at(rule.into, _U0, target + _U1))
    change = rule.rate * gate
    for k in range(begin, end):
        e, slot = value_at(rule.edge, _U0, k), np.uint64(value_at(rule.slot, np.uint32(0), k))
        sign = value_at(rule.signs, np.int8(0), slot // rule.delays)
        low = 0.0 if sign > 0 and rule.low < 0.0 else rule.low
        high = 0.0 if sign < 0 and rule.high > 0.0 else rule.high
        weight = value_at(rule.weight, 0.0, e)
        weight += change * (error * value_at(rule.response, 0.0, slot) - rule.ridge * weight)
        store_at(rule.weight, e, min(max(weight, low), high))


@inner
def correct(thread: int, step: int, plastic: Records | None, streams: Records, state: Any) -> None:
    """After the effectors' update: what their errors in this step do to the weights."""
    if plastic is None:
        return
    for p in range(np.uint64(plastic.size)):
        rule = plastic[p]
        if rule.owner != thread:
            continue
        _step_responses(rule)
        first, t = streams[rule.stream].plus, np.uint64(step)
        for k in range(rule.first, rule.last):
            gate = value_at(rule.gate, 0.0, t * rule.gate_row + k * rule.gate_column)
            if gate != 0.0:
                wanted = value_at(rule.target, 0.0, t * rule.target_row + k * rule.target_column)
                _descend(rule, k, wanted - np.float64(state.v[first + k]), gate)


@inner
def _deliver_row(like: Any, rule: Any, stream: Any, begin: Index, end: Index, current: Any) -> None:
    """A spike arrives over some edges, whose targets are numbers of the type of ``like``."""
    for e in range(begin, end):
        target, weight = np.uint64(value_at(stream.indices, like, e)), value_at(rule.weight, 0.0, e)
        current[(stream.minus if weight < 0.0 else stream.plus) + target] += np.float32(weight)


@inner
def deliver_and_follow(
    thread: int, row: Index, plastic: Records | None, streams: Records, due: Records, state: Any
) -> None:  # fmt: skip
    """Deliver what is due in this step, to the effectors and to the responses."""
    if plastic is None:
        return
    for p in range(np.uint64(plastic.size)):
        rule = plastic[p]
        if rule.owner != thread:
            continue
        stream = streams[rule.stream]
        for d in range(stream.delays):
            past = row - due[stream.delay_at + d].delay
            column = stream.column + due[stream.delay_at + d].column
            for g in range(stream.first_segment, stream.last_segment):
                for k in range(state.begin[past, g], state.end[past, g]):
                    source = np.uint64(state.ids[k]) - stream.source_start
                    at = source * stream.row + column
                    begin = np.uint64(value_at(stream.table, np.uint32(0), at))
                    end = np.uint64(value_at(stream.table, np.uint32(0), at + _U1))
                    if stream.shift == _U1:
                        _deliver_row(np.uint16(0), rule, stream, begin, end, state.current)
                    else:
                        _deliver_row(np.uint32(0), rule, stream, begin, end, state.current)
                    slot = source * stream.delays + d
                    store_at(rule.pa, slot, value_at(rule.pa, 0.0, slot) + 1.0)

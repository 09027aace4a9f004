"""STDP inside a run, on plain arrays: what a step does in addition for edge sets that learn at spikes.

A step calls :func:`raise_weights`, delivers over the edge sets that do not learn, and calls :func:`deliver_and_lower`.

A thread changes only what belongs to edges into its own neurons, and keeps its own copy of the presynaptic traces; so
threads need not wait for each other more than without plasticity, and the results do not depend on their number.

Traces that decay all alike are kept as ``value / exp(-k rate)``, k the steps since the last multiple of ``every``:
then a spike changes one number, a reading is one product, and nobody else's trace is touched. At each such multiple
all are brought up to date, before the factor leaves the range of float64.

Where delays are dendritic, a step does what has happened at the synapse one delay before: it is then that a spike acts
on its target, and no weight need be remembered on the way. Arrivals are those that are due, as ever; the target's own
spikes come back two delays after they were fired, and have a trace for each delay.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from connectome.jit import Index, Records, inner
from connectome.simulate.native_kernels import fetch_soon, store_at, value_at

__all__ = ["PLASTIC", "deliver_and_lower", "raise_weights", "refresh"]

#: An edge set that learns, into the neurons that one thread owns of its target region.
#:
#: owner : the thread; stream, segment : its number among the streams, and that of the segment it leads to
#: first, last : numbers of the segment's neurons in their region; edges : of the whole set; sources : neurons
#: whole : 1 if the segment is all of the region
#: weight, x, y : addresses of the weights (E,) (float32; with an eligibility trace float64), of the presynaptic traces
#:     (n_source, delays) and of the postsynaptic traces (n_target,), float64
#: eligibility : address of (E,) float64; 0 without
#: x2, y2 : addresses of a second pair of traces, as x and y; 0 without
#: into, edge, slot : addresses of the edges that learn by target: where each neuron's begin (int64), numbers of edges
#:     (int64), places of their traces in x (uint32)
#: side : 1 or -1: weights of the other sign do not learn; signs : address of the source neurons' signs (int8), of which
#:     the opposite ones do not learn either
#: plus, minus, fade : decay of x, y and eligibility: ``exp(-rate)`` a step, brought up to date ``every`` so many
#: raised, lowered : pairs in which the source, or the target, came first add ``size (base + slope weight) trace``
#: modulator : address of float64, ``(steps,)`` or, if not ``varies``, (1,); gain : ms that a step of it lasts
#: low, high : bounds of the weights
#: lag : 1 if spikes of the target come back late, as far as arrivals are: y is (delays, n_target) then, and ``into``
#:     counts delays within targets; targets : n_target
#: early_x, early_y : whether arrivals, or the target's spikes, are in the traces when the other's of the same step are
#:     paired; nearest : whether a spike sets a trace instead of adding to it
#: raised_pair, raised_triple, lowered_pair, lowered_triple : with second traces, factors: ``pair + triple trace``
PLASTIC = np.dtype(
    [
        ("owner", np.int64), ("stream", np.uint64), ("segment", np.uint64), ("first", np.uint64), ("last", np.uint64),
        ("edges", np.uint64), ("sources", np.uint64), ("whole", np.uint64), ("weight", np.uint64), ("x", np.uint64),
        ("y", np.uint64), ("eligibility", np.uint64), ("into", np.uint64), ("edge", np.uint64), ("slot", np.uint64),
        ("plus_rate", np.float64), ("plus_every", np.int64), ("minus_rate", np.float64), ("minus_every", np.int64),
        ("fade_rate", np.float64), ("fade_every", np.int64), ("raised_size", np.float64), ("raised_base", np.float64),
        ("raised_slope", np.float64), ("lowered_size", np.float64), ("lowered_base", np.float64),
        ("lowered_slope", np.float64), ("modulator", np.uint64), ("varies", np.int64), ("gain", np.float64),
        ("low", np.float64), ("high", np.float64), ("side", np.float64), ("signs", np.uint64), ("x2", np.uint64),
        ("y2", np.uint64), ("x2_rate", np.float64), ("x2_every", np.int64), ("y2_rate", np.float64),
        ("y2_every", np.int64), ("raised_pair", np.float64), ("raised_triple", np.float64),
        ("lowered_pair", np.float64), ("lowered_triple", np.float64), ("lag", np.uint64), ("targets", np.uint64),
        ("early_x", np.int64), ("early_y", np.int64), ("nearest", np.int64),
    ]
)  # fmt: skip

_U0, _U1, _U2, _U3 = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(3)
_AHEAD = np.uint64(32)  # edges
_TINY = 1e-200


@inner
def refresh(address: Index, first: Index, last: Index, factor: float) -> None:
    """Bring traces up to date; what is too small to matter becomes 0 before it becomes denormal."""
    for i in range(first, last):
        value = value_at(address, 0.0, i) * factor
        store_at(address, i, value if abs(value) > _TINY else 0.0)


@inner
def _modulate(rule: Any, begin: Index, end: Index, factor: float) -> None:
    """Change some edges' weights by their eligibility times the factor. Where it is 0 the edge may be one that does not
    learn: it may lie out of bounds."""
    weights, traces, low, high = rule.weight, rule.eligibility, rule.low, rule.high
    for e in range(begin, end):
        trace, old = value_at(traces, 0.0, e), value_at(weights, 0.0, e)
        new = old + factor * trace
        new = low if new < low else new
        new = high if new > high else new
        store_at(weights, e, old if trace == 0.0 else new)


@inner
def _all_edges(rule: Any, stream: Any, due: Records, modulate: bool, factor: float) -> None:
    """Do to a segment's edges what :func:`_modulate` does, or :func:`refresh` to their eligibility."""
    none, rows, delays = np.uint32(0), rule.sources, stream.delays
    if rule.whole:  # the rows follow each other
        rows, delays = _U1, _U1
    for i in range(rows):
        for d in range(stream.delay_at, stream.delay_at + delays):
            at = i * stream.row + stream.column + due[d].column
            begin, end = np.uint64(value_at(stream.table, none, at)), np.uint64(value_at(stream.table, none, at + _U1))
            if rule.whole:
                begin, end = _U0, rule.edges
            if modulate:
                _modulate(rule, begin, end, factor)
            else:
                refresh(rule.eligibility, begin, end, factor)


@inner
def _raise(rule: Any, target: Index, now: float) -> None:
    """A target has fired: pairs with all that has arrived before over its edges, whose traces are to be multiplied by
    ``now``. With a lag, the target and one of its delays."""
    none, size, low, high = np.uint32(0), rule.raised_size * now, rule.low, rule.high
    base, slope, weights, x = rule.raised_base, rule.raised_slope, rule.weight, rule.x
    edges, slots, eligibility = rule.edge, rule.slot, rule.eligibility
    begin, end = np.uint64(value_at(rule.into, _U0, target)), np.uint64(value_at(rule.into, _U0, target + _U1))
    if eligibility:
        for k in range(begin, end):
            ahead = value_at(edges, _U0, min(k + _AHEAD, end - _U1)) << _U3
            fetch_soon(eligibility + ahead)
            fetch_soon(weights + ahead)
            e, trace = value_at(edges, _U0, k), value_at(x, 0.0, np.uint64(value_at(slots, none, k)))
            change = size * trace * (base + slope * value_at(weights, 0.0, e))
            store_at(eligibility, e, value_at(eligibility, 0.0, e) + change)
    else:
        for k in range(begin, end):
            fetch_soon(weights + (value_at(edges, _U0, min(k + _AHEAD, end - _U1)) << _U2))
            e, trace = value_at(edges, _U0, k), value_at(x, 0.0, np.uint64(value_at(slots, none, k)))
            weight = np.float64(value_at(weights, np.float32(0), e))
            weight += size * trace * (base + slope * weight)
            store_at(weights, e, np.float32(min(max(weight, low), high)))


@inner
def _options(rule: Any, more: bool | None) -> Any:
    """lag, x2, y2, early_x, early_y and nearest; if ``more`` is None, what they are of plain pairs, so that all that is
    asked about them is not even compiled."""
    if more is not None:
        return rule.lag, rule.x2, rule.y2, rule.early_x, rule.early_y, rule.nearest
    return _U0, _U0, _U0, 0, 0, 0


@inner
def _add(address: Index, at: Index, spike: float, nearest: int) -> None:
    """A spike enters a trace."""
    store_at(address, at, spike if nearest else value_at(address, 0.0, at) + spike)


@inner
def _arrive(rule: Any, stream: Any, row: Index, due: Records, state: Any, arrival: float) -> None:
    """What is due in this step enters its traces."""
    for d in range(stream.delays):
        past = row - due[stream.delay_at + d].delay
        for g in range(stream.first_segment, stream.last_segment):
            for k in range(state.begin[past, g], state.end[past, g]):
                slot = (np.uint64(state.ids[k]) - stream.source_start) * stream.delays + d
                _add(rule.x, slot, arrival, rule.nearest)


@inner
def _come_back(
    step: int, rule: Any, stream: Any, row: Index, due: Records, state: Any, more: bool | None
) -> None:  # fmt: skip
    """Spikes of the targets enter their traces."""
    lag, _, y2, _, _, nearest = _options(rule, more)
    spike = np.exp((step % rule.minus_every) * rule.minus_rate)
    spike2 = np.exp((step % rule.y2_every) * rule.y2_rate) if y2 else 0.0
    for d in range(stream.delays if lag else _U1):
        past, at = row, d * rule.targets
        if lag:
            past -= _U2 * due[stream.delay_at + d].delay
        for k in range(state.begin[past, rule.segment], state.end[past, rule.segment]):
            target = at + np.uint64(state.ids[k]) - stream.plus
            _add(rule.y, target, spike, nearest)
            if y2:
                _add(y2, target, spike2, nearest)


@inner
def _bring_up_to_date(step: int, rule: Any, stream: Any, more: bool | None) -> None:
    """The traces whose time it is."""
    lag, x2, y2, _, _, _ = _options(rule, more)
    sources, rows = rule.sources * stream.delays, stream.delays if lag else _U1
    if step % rule.plus_every == 0:
        refresh(rule.x, _U0, sources, np.exp(-rule.plus_every * rule.plus_rate))
    if x2 and step % rule.x2_every == 0:
        refresh(x2, _U0, sources, np.exp(-rule.x2_every * rule.x2_rate))
    for d in range(rows):
        first, last = d * rule.targets + rule.first, d * rule.targets + rule.last
        if step % rule.minus_every == 0:
            refresh(rule.y, first, last, np.exp(-rule.minus_every * rule.minus_rate))
        if y2 and step % rule.y2_every == 0:
            refresh(y2, first, last, np.exp(-rule.y2_every * rule.y2_rate))


@inner
def raise_weights(
    thread: int, step: int, row: Index, plastic: Records | None, streams: Records, due: Records, state: Any,
    more: bool | None,
) -> None:  # fmt: skip
    """Before delivery: what the modulator does to the weights during this step, then what the spikes that come back in
    this step do to the edges into the neurons that fired them. ``more``: whether the rules are more than plain pairs.
    """
    if plastic is None:
        return
    for p in range(np.uint64(plastic.size)):
        rule = plastic[p]
        if rule.owner != thread:
            continue
        stream = streams[rule.stream]
        if rule.eligibility and step > 0:
            strength = value_at(rule.modulator, 0.0, np.uint64(step * rule.varies)) * rule.gain
            if strength != 0.0:
                # The trace as the last step left it
                _all_edges(rule, stream, due, True, strength * np.exp(-((step - 1) % rule.fade_every) * rule.fade_rate))
            if step % rule.fade_every == 0:
                _all_edges(rule, stream, due, False, np.exp(-rule.fade_every * rule.fade_rate))
        lag, _, y2, early_x, early_y, _ = _options(rule, more)
        _bring_up_to_date(step, rule, stream, more)
        if early_x:
            _arrive(rule, stream, row, due, state, np.exp((step % rule.plus_every) * rule.plus_rate))
        now = np.exp(-(step % rule.plus_every) * rule.plus_rate)
        if rule.eligibility:
            now *= np.exp((step % rule.fade_every) * rule.fade_rate)
        now2 = rule.raised_triple * np.exp(-(step % rule.y2_every) * rule.y2_rate) if y2 else 0.0
        for d in range(stream.delays if lag else _U1):
            past = row - _U2 * due[stream.delay_at + d].delay if lag else row
            for k in range(state.begin[past, rule.segment], state.end[past, rule.segment]):
                target, factor = np.uint64(state.ids[k]) - stream.plus, now
                if y2:
                    factor *= rule.raised_pair + now2 * value_at(y2, 0.0, d * rule.targets + target)
                _raise(rule, target * stream.delays + d if lag else target, factor)
        if early_y:
            _come_back(step, rule, stream, row, due, state, more)


@inner
def _lower(
    like: Any, rule: Any, stream: Any, begin: Index, end: Index, y: Index, learns: bool, now: float, current: Any
) -> None:  # fmt: skip
    """A spike arrives over some edges: pairs with all that their targets have fired before, whose traces, at the
    address y, are to be multiplied by ``now``. Then it acts, with the weight that is now. ``like`` is a number of the
    type of the targets.
    """
    size, low, high, weights = rule.lowered_size * now, rule.low, rule.high, rule.weight
    offset, slope, indices, plus, minus = (
        rule.lowered_base,
        rule.lowered_slope,
        stream.indices,
        stream.plus,
        stream.minus,
    )
    side = rule.side
    if rule.eligibility:
        for e in range(begin, end):
            target, weight = np.uint64(value_at(indices, like, e)), value_at(weights, 0.0, e)
            if learns and side * weight >= 0.0:
                change = size * value_at(y, 0.0, target) * (offset + slope * weight)
                store_at(rule.eligibility, e, value_at(rule.eligibility, 0.0, e) + change)
            current[(minus if weight < 0.0 else plus) + target] += np.float32(weight)
    else:
        for e in range(begin, end):
            target, weight = np.uint64(value_at(indices, like, e)), np.float64(value_at(weights, np.float32(0), e))
            if learns and side * weight >= 0.0:
                weight += size * value_at(y, 0.0, target) * (offset + slope * weight)
                weight = np.float64(np.float32(min(max(weight, low), high)))
                store_at(weights, e, np.float32(weight))
            current[(minus if weight < 0.0 else plus) + target] += np.float32(weight)


@inner
def deliver_and_lower(
    thread: int, step: int, row: Index, plastic: Records | None, streams: Records, due: Records, state: Any,
    more: bool | None,
) -> None:  # fmt: skip
    """Deliver what is due in this step over the edge sets that learn, then take this step's spikes into the traces."""
    if plastic is None:
        return
    for p in range(np.uint64(plastic.size)):
        rule = plastic[p]
        if rule.owner != thread:
            continue
        stream = streams[rule.stream]
        arrival = np.exp((step % rule.plus_every) * rule.plus_rate)
        lag, x2, _, early_x, early_y, nearest = _options(rule, more)
        arrival2 = np.exp((step % rule.x2_every) * rule.x2_rate) if x2 else 0.0
        now = np.exp(-(step % rule.minus_every) * rule.minus_rate)
        now2 = rule.lowered_triple * np.exp(-(step % rule.x2_every) * rule.x2_rate) if x2 else 0.0
        if rule.eligibility:
            now *= np.exp((step % rule.fade_every) * rule.fade_rate)
        for d in range(stream.delays):
            past = row - due[stream.delay_at + d].delay
            column = stream.column + due[stream.delay_at + d].column
            y = rule.y + ((d * rule.targets) << _U3) if lag else rule.y
            for g in range(stream.first_segment, stream.last_segment):
                for k in range(state.begin[past, g], state.end[past, g]):
                    source = np.uint64(state.ids[k]) - stream.source_start
                    at = source * stream.row + column
                    begin = np.uint64(value_at(stream.table, np.uint32(0), at))
                    end = np.uint64(value_at(stream.table, np.uint32(0), at + _U1))
                    learns = rule.side * value_at(rule.signs, np.int8(0), source) >= 0.0
                    slot, factor = source * stream.delays + d, now
                    if x2:
                        factor *= rule.lowered_pair + now2 * value_at(x2, 0.0, slot)
                        _add(x2, slot, arrival2, nearest)
                    if stream.shift == _U1:
                        _lower(np.uint16(0), rule, stream, begin, end, y, learns, factor, state.current)
                    else:
                        _lower(np.uint32(0), rule, stream, begin, end, y, learns, factor, state.current)
                    if not early_x:
                        _add(rule.x, slot, arrival, nearest)
        if not early_y:
            _come_back(step, rule, stream, row, due, state, more)

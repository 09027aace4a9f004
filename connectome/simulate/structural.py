"""Homeostatic structural plasticity in a run: edges form and vanish until every neuron reaches its calcium set point.

Activity leaves calcium, calcium makes synaptic elements grow or shrink (:mod:`connectome.simulate.growth_curves`), and
every interval elements pair or unpair (:mod:`connectome.simulate.rewiring`): Butz & van Ooyen (2013), as implemented in
NEST's ``structural_plasticity`` (Diaz-Pier et al. 2016). Between two updates it is an ordinary event-driven run;
calcium and elements are advanced from spike to spike, as the course of calcium in between is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome, Edit
from connectome.graph.flat import select
from connectome.graph.parts import EdgeKey
from connectome.simulate.rewiring import StructuralPlasticity, checked_rule, rewire, sets_of
from connectome.simulate.run_rules import whole_steps
from connectome.simulate.run_state import RunState
from connectome.simulate.runs import Precision, run
from connectome.simulate.stimulus import Stimulus

__all__ = ["Rewired", "calcium_after", "remembering", "run_structural"]

#: Name of the regions' state.
CALCIUM = "calcium"
Floats = NDArray[np.float64]


class Rewired(NamedTuple):
    """The result of :func:`run_structural`: the connectome as it is now, the measurements, and the state to continue
    from."""

    connectome: Connectome
    result: xr.Dataset
    state: RunState


def run_structural(
    connectome: Connectome, duration_ms: float, rule: StructuralPlasticity, stimulus: Stimulus | None = None, *,
    seed: int = 0, dtype: Precision = "float32", threads: int | None = None, spikes: bool = True,
    state: RunState | None = None, progress: Callable[[float], None] | None = None,
) -> Rewired:  # fmt: skip
    """Simulate with structural plasticity, by the event-driven engine.

    The edges are updated at the end of each interval. Spikes in transit arrive over the edges that exist when they
    arrive: spikes in transit on a removed edge are lost, and a new edge delivers those that its source fired within the
    last delay. Calcium is the state ``"calcium"`` of each region that has elements, elements are the states of their
    names; 0 where they are missing. They are float32, rounded at each update, so two runs equal one, bit for bit, if
    the second is given the first one's ``connectome`` (saved and loaded, if you like) and ``state``. The edges alone
    say which elements are bound.

    Parameters
    ----------
    connectome : the network; existing edges in the rule's edge sets are bound elements
    duration_ms : a whole number of the rule's intervals
    rule : how elements grow, and what synapses they form
    stimulus, dtype, threads : see :func:`connectome.simulate.run`
    seed : seed of the Poisson drive, and of the pairing and unpairing of elements
    spikes : whether to return the spikes too
    state : the state of another such run, to continue from
    progress : called with the milliseconds simulated, after each interval

    Returns
    -------
    The connectome, with a line of the rule log for each edge set that an update changed; a Dataset along ``time_ms``
    (U,), the updates; and the state. The Dataset has means over neurons, ``calcium`` by ``plastic_region`` and
    ``elements`` by ``plastic_region`` and ``element``, as they are after the update (calcium does not change in it);
    ``synapses`` after it, ``formed`` and ``removed`` by it, by ``edge_set``; and ``n_spikes`` of the interval, by
    ``region``. With ``spikes``, ``spike_time_ms``, ``spike_region`` and ``spike_neuron`` are as in a run's result.
    Times count from the beginning of this run.

    Raises
    ------
    ConnectomeError : an argument is invalid; the message names it
    """
    dt_ms, steps = connectome.dt_ms, checked_rule(connectome, rule)
    total = whole_steps("duration_ms", duration_ms, dt_ms)
    if total % steps:
        raise ConnectomeError(
            "duration_ms", f"must be a whole number of intervals of {rule.interval_ms:g} ms", duration_ms
        )
    keys, given = sets_of(rule), Stimulus() if stimulus is None else stimulus
    depth = 2 * max((round(s.delay_ms / dt_ms) for s in rule.synapses), default=1)
    if state is not None and (state.step % steps or state.history < depth):
        found = f"at {state.step} steps, spikes of {state.history}"
        raise ConnectomeError(
            "state", f"must be at a whole number of intervals, with the spikes of {depth} steps", found
        )
    regions = list(select(connectome).regions)
    rows: list[dict[str, NDArray[np.float64]]] = []
    parts: list[xr.Dataset] = []
    for first in range(0, total, steps):
        part, state = run(
            connectome, steps * dt_ms, given.part(first, first + steps, total, dt_ms), seed=seed, dtype=dtype,
            threads=threads, state=state, return_state=True,
        )  # fmt: skip
        state = remembering(state, part, steps, depth)
        known = _grown(connectome, rule, part, steps * dt_ms)
        elements = {name: {k: v for k, v in of.items() if k != CALCIUM} for name, of in known.items()}
        rng = np.random.default_rng([seed, state.step])
        edit = rewire(connectome, rule, elements, state.step // steps, rng)
        calcium = {name: {CALCIUM: of[CALCIUM].astype(np.float32)} for name, of in known.items()}
        both = {name: {**edit.region_state[name], **calcium[name]} for name in calcium}
        connectome = connectome.apply(replace(edit, region_state=both))
        rows.append(_row(connectome, rule, keys, edit, known) | {"n_spikes": part.n_spikes.values})
        if spikes:
            parts.append(part)
        if progress is not None:
            progress((first + steps) * dt_ms)
    assert state is not None
    result = _result(rule, list(keys), regions, rows, np.arange(steps, total + 1, steps, np.float64) * dt_ms)
    result.attrs = {"duration_ms": total * dt_ms, "dt_ms": dt_ms, "dtype": dtype, "seed": int(seed)}
    if spikes:
        columns = {
            name: ("spike", np.concatenate([p[name].values for p in parts]), parts[0][name].attrs)
            for name in ("spike_region", "spike_neuron")
        }
        times = np.concatenate([p.spike_time_ms.values + k * steps * dt_ms for k, p in enumerate(parts)])
        result = result.assign({"spike_time_ms": ("spike", times, {"units": "ms"}), **columns})
    return Rewired(connectome, result, state)


def calcium_after(
    calcium: Floats, time_ms: Floats, neuron: NDArray[np.integer], gap_ms: float, tau_ms: float, beta: float,
    between: Callable[[NDArray[np.int64], Floats, Floats], None] = lambda who, calcium, gap_ms: None,
) -> Floats:  # fmt: skip
    """(N,) calcium after a stretch of ``gap_ms`` with spikes (M,) at these times in it: exact. ``between`` is called
    for gaps between two spikes of a neuron with the neurons (K,), their calcium when it begins, and its length."""
    calcium, last = np.array(calcium, np.float64), np.zeros(np.size(calcium))

    def wait(who: NDArray[np.int64], until_ms: Floats | float) -> None:
        gap = until_ms - last[who]
        between(who, calcium[who], gap)
        calcium[who] *= np.exp(-gap / tau_ms)
        last[who] = until_ms

    order = np.lexsort((time_ms, neuron))
    times, count = time_ms[order], np.bincount(neuron, minlength=calcium.size)
    begin = np.cumsum(count) - count
    for k in range(int(count.max(initial=0))):
        who = np.flatnonzero(count > k)
        wait(who, times[begin[who] + k])
        calcium[who] += beta
    wait(np.arange(calcium.size), gap_ms)
    return calcium


def _grown(
    connectome: Connectome, rule: StructuralPlasticity, part: xr.Dataset, gap_ms: float
) -> dict[str, dict[str, Floats]]:
    """Region -> calcium and elements (N,) at the end of an interval. Elements never become fewer than none, which is
    seen to at each spike and at the end, as in NEST."""
    found: dict[str, dict[str, Floats]] = {}
    names = part.region.values.tolist()
    time_ms, place, neuron = (part[f"spike_{what}"].values for what in ("time_ms", "region", "neuron"))
    for name, kinds in rule.elements.items():
        region = connectome.regions[name]
        z = {kind: np.array(region.state.get(kind, np.zeros(region.size)), np.float64) for kind in kinds}

        def grow(
            who: NDArray[np.int64], calcium: Floats, gap_ms: Floats, z: dict[str, Floats] = z, name: str = name
        ) -> None:
            done: dict[object, Floats] = {}
            for kind, of in rule.elements[name].items():
                if of.curve not in done:
                    done[of.curve] = of.curve.grown(calcium, gap_ms, rule.tau_ms)
                z[kind][who] = np.maximum(z[kind][who] + of.growth_per_ms * done[of.curve], 0)

        mine = place == names.index(name)
        before = np.array(region.state.get(CALCIUM, np.zeros(region.size)), np.float64)
        after = calcium_after(before, time_ms[mine], neuron[mine], gap_ms, rule.tau_ms, rule.beta, grow)
        found[name] = {**z, CALCIUM: after}
    return found


def remembering(state: RunState, part: xr.Dataset, steps: int, depth: int) -> RunState:
    """The state with the spikes of at least so many steps: edges may form with longer delays than there were."""
    if state.history >= depth:
        return state
    step = np.rint(part.spike_time_ms.values / part.attrs["dt_ms"]).astype(np.int64) - 1 + state.step - steps
    late = step >= state.step - depth
    others = (part[name].values[late].astype(np.int64) for name in ("spike_region", "spike_neuron"))
    return replace(state, history=depth, spikes=(step[late], *others))


def _row(
    connectome: Connectome, rule: StructuralPlasticity, keys: Mapping[EdgeKey, object], edit: Edit,
    known: Mapping[str, Mapping[str, Floats]],
) -> dict[str, Floats]:  # fmt: skip
    """What is told of one update."""
    formed = {e.key: len(e) for e in edit.add}
    names = sorted({name for of in rule.elements.values() for name in of})
    left = {r: connectome.regions[r].state for r in rule.elements}
    return {
        "calcium": np.array([of[CALCIUM].mean() for of in known.values()]),
        "elements": np.array(
            [[left[r][n].mean() if n in of else np.nan for n in names] for r, of in rule.elements.items()]
        ),
        "synapses": np.array([len(connectome.edges[k]) if k in connectome.edges else 0 for k in keys]),
        "formed": np.array([formed.get(k, 0) for k in keys]),
        "removed": np.array([int(edit.remove[k].sum()) if k in edit.remove else 0 for k in keys]),
    }


def _result(
    rule: StructuralPlasticity, keys: list[EdgeKey], regions: list[str], rows: list[dict[str, NDArray[np.float64]]],
    time_ms: Floats,
) -> xr.Dataset:  # fmt: skip
    """Rows as a Dataset."""
    table = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    sets = ("time_ms", "edge_set")
    return xr.Dataset(
        {
            "calcium": (("time_ms", "plastic_region"), table["calcium"]),
            "elements": (("time_ms", "plastic_region", "element"), table["elements"]),
            **{name: (sets, table[name]) for name in ("synapses", "formed", "removed")},
            "n_spikes": (("time_ms", "region"), table["n_spikes"]),
        },
        {
            "time_ms": time_ms, "plastic_region": list(rule.elements), "region": regions,
            "element": sorted({name for of in rule.elements.values() for name in of}),
            "edge_set": [":".join(key) for key in keys],
        },
    )  # fmt: skip

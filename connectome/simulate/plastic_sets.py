"""Edge sets that learn during a run: checks ``run``'s argument, and gathers what the run leaves."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.flat import Selection
from connectome.graph.kernel_set import KernelSet
from connectome.graph.parts import EdgeKey, EdgeSet
from connectome.neurons.iaf_psc_exp import NeuronParameters, propagators
from connectome.simulate.calls import Calls
from connectome.simulate.error_modulated import ErrorModulated
from connectome.simulate.plastic import AnyRule, AtSpikes, ByError, Called, Plastic
from connectome.simulate.run_rules import RunRule, whole_steps
from connectome.simulate.run_state import Learning, RunState
from connectome.simulate.stdp import PairSTDP, TripletSTDP
from connectome.simulate.stimulus import numbers

__all__ = ["learning_after", "plastic_sets", "weights_after"]


def plastic_sets(
    connectome: Connectome, selection: Selection, plasticity: Mapping[EdgeKey, AnyRule], n_steps: int,
    before: RunState | None,
) -> dict[EdgeKey, Plastic]:  # fmt: skip
    """Check ``run``'s argument ``plasticity`` and make the sets that the run will change, as the run ``before`` left
    them if it had them. Raises :class:`ConnectomeError`."""
    if not isinstance(plasticity, Mapping):
        raise ConnectomeError("plasticity", "must be a mapping from keys of edge sets", f"{plasticity!r:.80}")
    sets: dict[EdgeKey, Plastic] = {}
    left = before.learning if before else {}
    for given, rule in plasticity.items():
        if given not in connectome.edges:
            known = ", ".join(map(str, connectome.edges)) or "none"
            raise ConnectomeError("plasticity", f"must name edge sets: {known}", repr(given))
        edges = connectome.edges[given]
        where = f"plasticity[{edges.key}]"
        if edges.key not in selection.edges:
            raise ConnectomeError(
                "plasticity", f"must name edge sets of regions that take part, {list(selection.regions)}",
                str(edges.key), "See recruit.",
            )  # fmt: skip
        if not isinstance(rule, (PairSTDP, TripletSTDP, ErrorModulated, RunRule)) or isinstance(rule, type):
            raise ConnectomeError(
                where, "must be a PairSTDP, TripletSTDP, ErrorModulated or RunRule", f"{rule!r:.80}",
                "A RunRule has a name, an interval_ms, start and __call__.",
            )  # fmt: skip
        if isinstance(edges, KernelSet):
            needs, hint = "must be of edge sets, whose edges have a weight each", "Expand it: Connectome.expanded()."
            raise ConnectomeError(where, needs, "a kernel set", hint)
        start = _start(where, connectome, edges, rule, left.get(edges.key), before.step if before else 0)
        if isinstance(rule, (PairSTDP, TripletSTDP)):
            sets[edges.key] = _at_spikes(where, connectome, rule, start, n_steps)
        elif isinstance(rule, ErrorModulated):
            sets[edges.key] = _by_error(where, connectome, rule, start, n_steps)
        else:
            sets[edges.key] = _called(where, rule, start)
    for key in left.keys() - sets.keys() & connectome.edges.keys():
        _not_forgotten(connectome.edges[key], left[key])
    return sets


class _Start(NamedTuple):
    """What all kinds of :class:`Plastic` begin with."""

    edges: EdgeSet
    rule: Any
    signs: NDArray[np.int8]
    weight: NDArray[Any]
    origin: int
    since: int
    called: int
    traces: dict[str, NDArray[Any]]
    memory: Mapping[str, NDArray[Any]] | None


def _start(
    where: str, connectome: Connectome, edges: EdgeSet, rule: AnyRule, left: Learning | None, origin: int
) -> _Start:
    """As the run before left it. Raises :class:`ConnectomeError` for a rule or edges that it cannot go on with."""
    signs = np.ascontiguousarray(connectome.regions[edges.key.source].sign)
    if left is None:
        return _Start(edges, rule, signs, edges.weight, origin, origin, origin, {}, None)
    for name, found, wanted in (
        ("rule", left.rule, rule.name), ("fixed", dict(left.fixed), _fixed(rule)), ("edges", left.edges, _shape(edges)),
    ):  # fmt: skip
        if found != wanted:
            hint = "They are other edges, or have other delays." if name == "edges" else "Traces depend on them."
            raise ConnectomeError(f"state.learning[{edges.key}].{name}", f"must be this run's, {wanted}", found, hint)
    weight = left.weight if _digest(edges.weight) in left.known else edges.weight
    traces = {name: array.copy() for name, array in left.traces.items()}
    return _Start(edges, rule, signs, weight, origin, left.since, left.called, traces, left.memory)


def _not_forgotten(edges: EdgeSet, left: Learning) -> None:
    """Without a rule a set's weights are those of the connectome. Raises :class:`ConnectomeError` where these are still
    those from before it learnt."""
    if _digest(edges.weight) == left.known[0] and not np.array_equal(left.weight.astype(np.float32), edges.weight):
        raise ConnectomeError(
            "plasticity", f"must have a rule for {edges.key}, which has learnt in the run that left the state", None,
            "Or run learnt(connectome, result), with weights that are fixed from now on.",
        )  # fmt: skip


def _fixed(rule: AnyRule) -> dict[str, Any]:
    """The parameters that traces depend on."""
    if not isinstance(rule, (PairSTDP, TripletSTDP)):
        return {}
    return {f.name: getattr(rule, f.name) for f in fields(rule) if f.name == "delay" or "tau" in f.name.split("_")}


def _digest(*arrays: NDArray[Any]) -> str:
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()


def _shape(edges: EdgeSet) -> str:
    """A digest of which neurons are joined, with which delay."""
    return _digest(edges.indptr, edges.indices, edges.delay_steps)


def learning_after(plastic: Mapping[EdgeKey, Plastic], calls: Calls) -> dict[EdgeKey, Learning]:
    """What a run leaves of the edge sets that learnt."""
    return {
        key: Learning(
            p.rule.name, _fixed(p.rule), p.since, left.called, _shape(p.edges),
            (_digest(p.edges.weight), _digest(p.weight.astype(np.float32))), left.weight, p.traces, left.memory,
        )
        for key, p in plastic.items()
        for left in [calls.left(key)]
    }  # fmt: skip


def _at_spikes(
    where: str, connectome: Connectome, rule: PairSTDP | TripletSTDP, start: _Start, n_steps: int
) -> AtSpikes:
    edges = start.edges
    if connectome.regions[edges.key.target].role == "effector":
        raise ConnectomeError(
            where, "must lead to neurons", f"{edges.key.target!r}, an effector",
            "It never fires: there is no pair. Take ErrorModulated.",
        )  # fmt: skip
    learns = _learning_edges(where, start)
    modulator, every, three = np.zeros(1), 0, False
    if isinstance(rule, PairSTDP) and rule.modulator_per_ms is not None:
        three, name, given = True, f"{where}.modulator_per_ms", rule.modulator_per_ms
        if callable(given):
            every = whole_steps(f"{where}.modulator_interval_ms", rule.modulator_interval_ms or 0.0, edges.dt_ms)
        else:
            modulator = numbers(name, given, None)
            if modulator.shape not in ((), (n_steps,)):
                raise ConnectomeError(name, f"must be a number or (steps,) = ({n_steps},)", f"shape {modulator.shape}")
            modulator = np.ascontiguousarray(modulator if np.ndim(given) > 0 else modulator[None])
    own = start._replace(weight=start.weight.astype(np.float64 if three else np.float32))
    return AtSpikes(*own, every, learns, modulator)


def _learning_edges(where: str, start: _Start) -> NDArray[np.bool_]:
    """(E,) mask. Raises :class:`ConnectomeError`."""
    rule, side = start.rule, start.rule.side
    learns = np.asarray(side * start.weight >= 0)
    if (side * start.signs < 0).any():
        learns &= np.repeat(side * start.signs >= 0, np.diff(start.edges.indptr))
    _within(where, start.weight, learns, rule.w_min_pa, rule.w_max_pa)
    if learns.size and not learns.any():
        bounds = f"{rule.w_min_pa:g} .. {rule.w_max_pa:g} pA"
        raise ConnectomeError(where, "must have bounds of the sign of its edges", bounds, "Or none of them learns.")
    return learns


def _within(where: str, weight: NDArray[Any], learns: NDArray[np.bool_] | bool, low: float, high: float) -> None:
    outside = learns & ((weight < low) | (weight > high))
    if outside.any():
        edge = int(np.argmax(outside))
        raise ConnectomeError(
            where, f"must have bounds that its weights lie within, not {low:g} .. {high:g} pA",
            f"{weight[edge]:g} of edge {edge}",
        )  # fmt: skip


def _by_error(where: str, connectome: Connectome, rule: ErrorModulated, start: _Start, n_steps: int) -> ByError:
    edges = start.edges
    region = connectome.regions[edges.key.target]
    if region.role != "effector":
        raise ConnectomeError(where, "must lead to an effector", f"{region.name!r}, a {region.role}")
    if type(region.neuron) is not NeuronParameters or region.neuron.tau_syn_ex_ms != region.neuron.tau_syn_in_ms:
        raise ConnectomeError(
            where, "must lead to an iaf_psc_exp with tau_syn_ex_ms = tau_syn_in_ms", f"{region.neuron!r:.200}",
            "Else a response would depend on the sign of its weight.",
        )  # fmt: skip
    _within(where, start.weight, True, rule.w_min_pa, rule.w_max_pa)

    def series(name: str, given: ArrayLike) -> NDArray[np.float64]:
        array = numbers(f"{where}.{name}", given, (n_steps, region.size), "(steps, K)")
        return np.asarray(array, np.float64)

    gate = series("gate", rule.gate)
    if (gate < 0).any():
        raise ConnectomeError(f"{where}.gate", "must be >= 0", float(gate.min()))
    step = propagators(region.neuron, edges.dt_ms)
    return ByError(
        *start._replace(weight=start.weight.astype(np.float64)), 0, series("target_mv", rule.target_mv), gate,
        float(step.p22), float(step.p21_ex), float(step.p11_ex),
    )  # fmt: skip


def _called(where: str, rule: RunRule, start: _Start) -> Called:
    every = whole_steps(f"{where}.interval_ms", rule.interval_ms, start.edges.dt_ms)
    memory = rule.start(start.edges)  # which also checks the edges, where it goes on from another
    if start.memory is not None:
        memory = start.memory
    own = start._replace(weight=start.weight.astype(np.float64), memory=memory)
    return Called(*own, every, start.weight.astype(np.float32))


def weights_after(plastic: Mapping[EdgeKey, Plastic]) -> dict[str, xr.DataArray]:
    """The variables of a run's result for the edge sets that learnt."""
    variables = {}
    for key, p in plastic.items():
        name = ":".join(key)
        given = {f.name: getattr(p.rule, f.name) for f in fields(p.rule)} if is_dataclass(p.rule) else {}
        held = {k: v for k, v in given.items() if isinstance(v, (str, int, float, np.number))}  # what a file can hold
        variables[f"weight_pa {name}"] = xr.DataArray(
            p.weight.astype(np.float32), dims=f"edge {name}",
            attrs={"units": "pA", **key._asdict(), "rule": p.rule.name, **held},
        )  # fmt: skip
    return variables

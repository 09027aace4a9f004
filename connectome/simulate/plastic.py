"""Edge sets that learn during a run: what ``run`` was asked for is checked, and laid out for the kernels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.flat import Selection
from connectome.graph.parts import EdgeKey, EdgeSet
from connectome.neurons.iaf_psc_exp import NeuronParameters, propagators
from connectome.simulate.error_kernels import CORRECTED
from connectome.simulate.error_modulated import ErrorModulated
from connectome.simulate.run_rules import RunRule, whole_steps
from connectome.simulate.stdp import PairSTDP, TripletSTDP
from connectome.simulate.stdp_kernels import PLASTIC
from connectome.simulate.stimulus import numbers

__all__ = [
    "AnyRule",
    "AtSpikes",
    "ByError",
    "Called",
    "Place",
    "Plastic",
    "at_spikes_records",
    "by_error_records",
    "plastic_sets",
    "weights_after",
]

#: What may stand in ``run(plasticity=)``: a rule that is compiled into the engine, or any other.
AnyRule = PairSTDP | TripletSTDP | ErrorModulated | RunRule
_EXPONENT = 64.0  # decays that a trace goes without being brought up to date: exp(64) is far from float64's end


class Place(NamedTuple):
    """Where an edge set is among the streams of a run: numbers of its streams (G,), their owners, the segments of its
    target and their numbers, and its delays in steps."""

    stream: NDArray[np.int64]
    owner: NDArray[np.int64]
    segment: NDArray[np.int64]
    segments: NDArray[Any]
    delays: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Plastic:
    """An edge set that learns. A run changes ``weight`` (E,). ``signs`` (n_source,) are of its source neurons."""

    edges: EdgeSet
    rule: Any
    signs: NDArray[np.int8]
    weight: NDArray[Any]

    @property
    def reach(self) -> int:
        """For how many steps spikes must be kept."""
        return 1


@dataclass(frozen=True, eq=False)
class AtSpikes(Plastic):
    """By a rule of STDP. ``learns`` (E,): the edges that do. A run changes ``eligibility`` ((E,), or none) and, every
    ``calls_every`` steps, ``modulator`` ((steps,) or (1,)), if that is a function's; else 0."""

    learns: NDArray[np.bool_]
    modulator: NDArray[np.float64]
    eligibility: NDArray[np.float64]
    calls_every: int

    @property
    def plain(self) -> bool:
        """Whether pairs are all there is: the fastest kernel."""
        r = self.rule
        return isinstance(r, PairSTDP) and r.delay == "axonal" and r.simultaneous == "none"

    @property
    def reach(self) -> int:
        """For how many steps spikes must be kept."""
        return 2 * int(self.edges.delay_steps.max(initial=1)) if self.rule.delay == "dendritic" else 1


@dataclass(frozen=True, eq=False)
class ByError(Plastic):
    """By errors of effectors, whose propagators are ``p22``, ``p21``, ``p11``. ``target``, ``gate`` (steps, K) may be
    broadcast."""

    target: NDArray[np.float64]
    gate: NDArray[np.float64]
    p22: float
    p21: float
    p11: float


@dataclass(frozen=True, eq=False)
class Called(Plastic):
    """By a rule in Python, called every so many steps. What a run delivers is ``acting`` (E,) float32."""

    acting: NDArray[np.float32]
    calls_every: int


def plastic_sets(
    connectome: Connectome, selection: Selection, plasticity: Mapping[EdgeKey, AnyRule], n_steps: int
) -> dict[EdgeKey, Plastic]:
    """Check ``run``'s argument and make what the run will change. Raises :class:`ConnectomeError`."""
    if not isinstance(plasticity, Mapping):
        raise ConnectomeError("plasticity", "must be a mapping from keys of edge sets", f"{plasticity!r:.80}")
    sets: dict[EdgeKey, Plastic] = {}
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
        if isinstance(rule, (PairSTDP, TripletSTDP)):
            sets[edges.key] = _at_spikes(where, connectome, edges, rule, n_steps)
        elif isinstance(rule, ErrorModulated):
            sets[edges.key] = _by_error(where, connectome, edges, rule, n_steps)
        elif isinstance(rule, RunRule) and not isinstance(rule, type):
            weight = edges.weight.astype(np.float64)
            every = whole_steps(f"{where}.interval_ms", rule.interval_ms, edges.dt_ms)
            sets[edges.key] = Called(edges, rule, _signs(connectome, edges), weight, edges.weight.copy(), every)
        else:
            raise ConnectomeError(
                where, "must be a PairSTDP, TripletSTDP, ErrorModulated or RunRule", f"{rule!r:.80}",
                "A RunRule has a name, an interval_ms, start and __call__.",
            )  # fmt: skip
    return sets


def _signs(connectome: Connectome, edges: EdgeSet) -> NDArray[np.int8]:
    return np.ascontiguousarray(connectome.regions[edges.key.source].sign)


def _at_spikes(
    where: str, connectome: Connectome, edges: EdgeSet, rule: PairSTDP | TripletSTDP, n_steps: int
) -> AtSpikes:
    if connectome.regions[edges.key.target].role == "effector":
        raise ConnectomeError(
            where, "must lead to neurons", f"{edges.key.target!r}, an effector",
            "It never fires: there is no pair. Take ErrorModulated.",
        )  # fmt: skip
    signs = _signs(connectome, edges)
    learns = _learning_edges(where, edges, rule, signs)
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
    return AtSpikes(
        edges, rule, signs, edges.weight.astype(np.float64 if three else np.float32), learns, modulator,
        np.zeros(len(edges) if three else 0), every,
    )  # fmt: skip


def _learning_edges(
    where: str, edges: EdgeSet, rule: PairSTDP | TripletSTDP, signs: NDArray[np.int8]
) -> NDArray[np.bool_]:
    """(E,) mask. Raises :class:`ConnectomeError`."""
    side = rule.side
    learns = np.asarray(side * edges.weight >= 0)
    if (side * signs < 0).any():
        learns &= np.repeat(side * signs >= 0, np.diff(edges.indptr))
    _within(where, edges, learns, rule.w_min_pa, rule.w_max_pa)
    if learns.size and not learns.any():
        bounds = f"{rule.w_min_pa:g} .. {rule.w_max_pa:g} pA"
        raise ConnectomeError(where, "must have bounds of the sign of its edges", bounds, "Or none of them learns.")
    return learns


def _within(where: str, edges: EdgeSet, learns: NDArray[np.bool_] | bool, low: float, high: float) -> None:
    outside = learns & ((edges.weight < low) | (edges.weight > high))
    if outside.any():
        edge = int(np.argmax(outside))
        raise ConnectomeError(
            where, f"must have bounds that its weights lie within, not {low:g} .. {high:g} pA",
            f"{edges.weight[edge]:g} of edge {edge}",
        )  # fmt: skip


def _by_error(where: str, connectome: Connectome, edges: EdgeSet, rule: ErrorModulated, n_steps: int) -> ByError:
    region = connectome.regions[edges.key.target]
    if region.role != "effector":
        raise ConnectomeError(where, "must lead to an effector", f"{region.name!r}, a {region.role}")
    if type(region.neuron) is not NeuronParameters or region.neuron.tau_syn_ex_ms != region.neuron.tau_syn_in_ms:
        raise ConnectomeError(
            where, "must lead to an iaf_psc_exp with tau_syn_ex_ms = tau_syn_in_ms", f"{region.neuron!r:.200}",
            "Else a response would depend on the sign of its weight.",
        )  # fmt: skip
    _within(where, edges, True, rule.w_min_pa, rule.w_max_pa)

    def series(name: str, given: ArrayLike) -> NDArray[np.float64]:
        array = numbers(f"{where}.{name}", given, (n_steps, region.size), "(steps, K)")
        return np.asarray(array, np.float64)

    gate = series("gate", rule.gate)
    if (gate < 0).any():
        raise ConnectomeError(f"{where}.gate", "must be >= 0", float(gate.min()))
    step = propagators(region.neuron, edges.dt_ms)
    return ByError(
        edges, rule, _signs(connectome, edges), edges.weight.astype(np.float64), series("target_mv", rule.target_mv),
        gate, float(step.p22), float(step.p21_ex), float(step.p11_ex),
    )  # fmt: skip


def _of_targets(
    plastic: Plastic, delays: NDArray[np.int64], learns: NDArray[np.bool_] | None, by_delay: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint32]]:
    """The edges that learn by target, or by target and delay: where each one's begin, their numbers, and the places of
    their source and delay, counted as source * delays + delay. Raises :class:`ConnectomeError`."""
    edges = plastic.edges
    if edges.n_source * delays.size >= 2**32:
        raise ConnectomeError(
            f"plasticity[{edges.key}]", "must have fewer than 2**32 source neurons times delays",
            edges.n_source * delays.size, "Use fewer delays.",
        )  # fmt: skip
    into, source, edge = edges.reverse
    if learns is not None and not learns.all():
        chosen = learns[edge]
        into, source, edge = np.concatenate([[0], np.cumsum(chosen)])[into], source[chosen], edge[chosen]
    slot = source.view(np.uint32)
    if delays.size > 1:
        lag = np.searchsorted(delays, edges.delay_steps[edge])
        slot = slot * np.uint32(delays.size)
        slot += lag.astype(np.uint32)
        if by_delay:
            row = edges.indices[edge].astype(np.int64) * delays.size + lag
            order = np.argsort(row, kind="stable")
            edge, slot = edge[order], slot[order]
            into = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=edges.n_target * delays.size))])
    return into, edge, slot


def at_spikes_records(plastic: AtSpikes, place: Place) -> tuple[NDArray[Any], list[NDArray[Any]]]:
    """Records of ``PLASTIC``, and what their addresses point to."""
    edges, rule, threads, delays = plastic.edges, plastic.rule, place.owner.size, place.delays
    dendritic, triplet = rule.delay == "dendritic", isinstance(rule, TripletSTDP)
    into, edge, slot = _of_targets(plastic, delays, plastic.learns, dendritic)
    x, x2 = (np.zeros((threads, edges.n_source * delays.size)) for _ in range(2))
    y, y2 = (np.zeros((delays.size if dendritic else 1, edges.n_target)) for _ in range(2))
    records = np.zeros(threads, PLASTIC)
    values: dict[str, Any] = {
        **_where(plastic, place), "edges": len(edges), "sources": edges.n_source, "whole": threads == 1,
        "x": _rows_of(x), "y": y.ctypes.data,
        "eligibility": plastic.eligibility.ctypes.data if plastic.eligibility.size else 0,
        "into": into.ctypes.data, "edge": edge.ctypes.data, "slot": slot.ctypes.data, "side": rule.side,
        "modulator": plastic.modulator.ctypes.data, "varies": plastic.modulator.size > 1,
        "low": rule.w_min_pa, "high": rule.w_max_pa, "lag": dendritic, "targets": edges.n_target,
        "early_x": rule.simultaneous == "potentiate", "early_y": rule.simultaneous == "depress",
        "nearest": triplet and rule.pairing == "nearest",
    }  # fmt: skip
    pairs: tuple[float, float] = (1.0, -1.0)
    taus = {"plus": rule.tau_plus_ms, "minus": rule.tau_minus_ms, "fade": None, "x2": None, "y2": None}
    if triplet:
        taus |= {"x2": rule.tau_x_ms, "y2": rule.tau_y_ms}
        values |= {"x2": _rows_of(x2), "y2": y2.ctypes.data}
        values |= {"raised_pair": rule.a2_plus_pa, "raised_triple": rule.a3_plus_pa}
        values |= {"lowered_pair": rule.a2_minus_pa, "lowered_triple": rule.a3_minus_pa}
    else:
        taus["fade"], pairs = rule.eligibility_tau_ms, (rule.a_plus_pa, -rule.a_minus_pa)
    for name, tau in taus.items():
        rate = edges.dt_ms / tau if tau else 1.0
        values[f"{name}_rate"], values[f"{name}_every"] = rate, int(min(max(_EXPONENT / rate, 1), 2**31))
    if taus["fade"]:
        values["gain"] = -math.expm1(-values["fade_rate"]) * taus["fade"]
    for name, size in zip(("raised", "lowered"), pairs, strict=True):
        base, slope = 1.0, 0.0
        if not triplet and rule.dependence == "multiplicative":  # of what goes up, the room above; down, the room below
            room = rule.w_max_pa - rule.w_min_pa
            base, slope = (rule.w_max_pa / room, -1 / room) if size > 0 else (-rule.w_min_pa / room, 1 / room)
        values[f"{name}_size"], values[f"{name}_base"], values[f"{name}_slope"] = size, base, slope
    for name, value in values.items():
        records[name] = value
    kept: list[NDArray[Any]] = [
        into, edge, slot, x, x2, y, y2, plastic.signs, plastic.weight, plastic.eligibility, plastic.modulator,
    ]  # fmt: skip
    return records, kept


def by_error_records(plastic: ByError, place: Place) -> tuple[NDArray[Any], list[NDArray[Any]]]:
    """Records of ``CORRECTED``, and what their addresses point to."""
    edges, rule = plastic.edges, plastic.rule
    into, edge, slot = _of_targets(plastic, place.delays, None, False)
    response, pa = (np.zeros((place.owner.size, edges.n_source * place.delays.size)) for _ in range(2))
    records = np.zeros(place.owner.size, CORRECTED)
    values: dict[str, Any] = {
        **_where(plastic, place), "slots": response.shape[1], "response": _rows_of(response), "pa": _rows_of(pa),
        "p22": plastic.p22, "p21": plastic.p21, "p11": plastic.p11, "into": into.ctypes.data,
        "edge": edge.ctypes.data, "slot": slot.ctypes.data, "delays": place.delays.size,
        "rate": rule.rate_pa2_per_mv2_ms * edges.dt_ms, "ridge": rule.ridge_mv2_per_pa2, "low": rule.w_min_pa,
        "high": rule.w_max_pa,
    }  # fmt: skip
    for name in ("target", "gate"):
        series = getattr(plastic, name)
        values[name] = series.ctypes.data
        values[f"{name}_row"], values[f"{name}_column"] = (stride // series.itemsize for stride in series.strides)
    for name, value in values.items():
        records[name] = value
    return records, [into, edge, slot, response, pa, plastic.signs, plastic.weight, plastic.target, plastic.gate]


def _where(plastic: Plastic, place: Place) -> dict[str, Any]:
    """What all records begin with."""
    segments = place.segments
    start = np.int64(segments["start"][0]) if segments.size else 0
    found = {
        "owner": place.owner, "stream": place.stream, "first": segments["start"].astype(np.int64) - start,
        "last": np.minimum(segments["stop"].astype(np.int64) - start, plastic.edges.n_target),
        "weight": plastic.weight.ctypes.data, "signs": plastic.signs.ctypes.data,
    }  # fmt: skip
    return found | ({"segment": place.segment} if isinstance(plastic, AtSpikes) else {})


def _rows_of(array: NDArray[Any]) -> NDArray[np.int64]:
    """(rows,) addresses of the rows."""
    return np.asarray(array.ctypes.data + np.arange(len(array)) * array.strides[0])


def weights_after(plastic: Mapping[EdgeKey, Plastic]) -> dict[str, xr.DataArray]:
    """What a run's result holds of the edge sets that learnt."""
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

"""Plasticity inside a run: pair STDP, and its three-factor form, of whole edge sets.

Give :func:`connectome.simulate.run` a rule for each edge set that is to learn, and take what it has learnt to a new
connectome with :func:`learnt`::

    rule = PairSTDP(tau_plus_ms=20, tau_minus_ms=20, a_plus_pa=0.5, a_minus_pa=0.55, w_min_pa=0, w_max_pa=100)
    result = run(connectome, 1000.0, stimulus, plasticity={EdgeKey("eye", "afferent", "a"): rule})
    after = learnt(connectome, result)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome, EdgeDelta, RuleRecord
from connectome.graph.flat import Selection
from connectome.graph.parts import EdgeKey, EdgeSet
from connectome.simulate.stdp_kernels import PLASTIC
from connectome.simulate.stimulus import numbers

__all__ = ["PairSTDP", "Plastic", "learnt", "plastic_records", "plastic_sets", "weights_after"]

Dependence = Literal["additive", "multiplicative"]
_EXPONENT = 64.0  # decays that a trace goes without being brought up to date: exp(64) is far from float64's end


@dataclass(frozen=True, eq=False)
class PairSTDP:
    """Spike-timing dependent plasticity of one edge set: all pairs, with exponential windows (Song, Miller & Abbott
    2000; Morrison, Diesmann & Gerstner 2008, section 4.1).

    An edge of weight w sees the arrivals of its source's spikes, at ``t_i`` (fired at ``t_i`` minus the edge's delay,
    all of which is axonal), and the spikes of its target, at ``t_j``. Each pair changes it, when its second event
    happens, by

        ``dw = +a_plus f(w) exp(-(t_j - t_i) / tau_plus)`` if ``t_i < t_j``, and
        ``dw = -a_minus f(w) exp(-(t_i - t_j) / tau_minus)`` if ``t_j < t_i``.

    A pair at the same time changes nothing. ``f = 1`` if additive. If multiplicative, what raises w is scaled by
    ``f(w) = (w_max - w) / (w_max - w_min)``, what lowers it by ``f(w) = (w - w_min) / (w_max - w_min)``. In either case
    w is clipped to w_min .. w_max. An arriving spike acts with the weight that it leaves. Edges with a weight of the
    other sign than the bounds', or from a neuron of the other sign, do not learn.

    In the three-factor form (Izhikevich 2007; Fremaux & Gerstner 2016, equations 5 and 6) pairs change an eligibility
    c by as much instead, and a modulator m turns it into a change of w::

        dc/dt = -c / eligibility_tau + pairs,   dw/dt = m(t) c(t)

    solved exactly for an m that is constant in each step, and clipped after each.

    Weights are float32 between events, and float64 with an eligibility, where steps are many and small. Memory, bytes
    an edge: 4 for them, 12 for the way back from targets (16 with several delays), 12 for the eligibility; and 8 for
    each source neuron, delay and thread. Only spikes cost time, but for the modulator: each step in which it is not 0
    passes over all edges of the set.

    Parameters
    ----------
    tau_plus_ms, tau_minus_ms : > 0
    a_plus_pa, a_minus_pa : change for a pair at no distance. Negative ones turn the rule round (anti-Hebbian).
    w_min_pa, w_max_pa : bounds, of one sign, w_min < w_max; the weights that learn must begin within. For inhibitory
        edges they are negative (w_max may be 0), and the equations stand as they are: a positive a_plus makes such an
        edge weaker, a negative one makes it stronger.
    dependence : ``"additive"`` or ``"multiplicative"``; the latter scales what is added to the eligibility, if there
        is one, by the weight at the time of the pair
    eligibility_tau_ms : > 0; makes it the three-factor form
    modulator_per_ms : m, a number or (steps,), 1/ms; entry t acts during step t. Goes with ``eligibility_tau_ms``.

    Raises
    ------
    ConnectomeError : a parameter that does not fit, by name
    """

    tau_plus_ms: float
    tau_minus_ms: float
    a_plus_pa: float
    a_minus_pa: float
    w_min_pa: float
    w_max_pa: float
    dependence: Dependence = "additive"
    eligibility_tau_ms: float | None = None
    modulator_per_ms: ArrayLike | None = None

    def __post_init__(self) -> None:
        for f in fields(self):
            name, value = f"PairSTDP.{f.name}", getattr(self, f.name)
            if f.name in ("dependence", "modulator_per_ms") or (value is None and f.name == "eligibility_tau_ms"):
                continue
            number = isinstance(value, (int, float, np.floating, np.integer)) and not isinstance(value, bool)
            if not number or not math.isfinite(value):
                raise ConnectomeError(name, "must be a finite number", repr(value))
            if "tau" in f.name and value <= 0:
                raise ConnectomeError(name, "must be > 0", value)
            with np.errstate(over="ignore"):  # what is infinite then is refused below
                object.__setattr__(self, f.name, float(np.float32(value)) if f.name.startswith("w_") else float(value))
        low, high = self.w_min_pa, self.w_max_pa
        if not (low < high and math.isfinite(low) and math.isfinite(high)):
            raise ConnectomeError("PairSTDP.w_max_pa", f"must be above w_min_pa = {low:g}, in float32", f"{high:g}")
        if low < 0 < high:
            raise ConnectomeError(
                "PairSTDP.w_min_pa", "must have the sign of w_max_pa, or one of them be 0", f"{low:g} .. {high:g}",
                "An edge keeps its sign.",
            )  # fmt: skip
        if self.dependence not in get_args(Dependence):
            raise ConnectomeError(
                "PairSTDP.dependence", f"must be one of {', '.join(get_args(Dependence))}", repr(self.dependence)
            )
        if (self.eligibility_tau_ms is None) != (self.modulator_per_ms is None):
            raise ConnectomeError(
                "PairSTDP.modulator_per_ms", "must be given if, and only if, eligibility_tau_ms is",
                f"{self.modulator_per_ms!r:.80} with {self.eligibility_tau_ms}",
            )  # fmt: skip

    @property
    def side(self) -> int:
        """The sign of the bounds: +1 or -1."""
        return 1 if self.w_max_pa > 0 else -1


@dataclass(frozen=True, eq=False)
class Plastic:
    """An edge set that learns, with the signs (n_source,) of its source neurons and a mask (E,) of the edges that do. A
    run changes ``weight`` (E,), ``y`` (n_target,) and ``eligibility`` ((E,), or none)."""

    edges: EdgeSet
    rule: PairSTDP
    signs: NDArray[np.int8]
    learns: NDArray[np.bool_]
    modulator: NDArray[np.float64]
    weight: NDArray[Any]
    y: NDArray[np.float64]
    eligibility: NDArray[np.float64]


def learnt(connectome: Connectome, result: xr.Dataset) -> Connectome:
    """A connectome with the weights that a run of it ended with, and a line in the rule log for each set: edges whose
    weight has grown (as a magnitude) count as strengthened.

    Raises
    ------
    ConnectomeError : the run had no plasticity, or was one of another connectome
    """
    learnt_sets = [v for name, v in result.data_vars.items() if str(name).startswith("weight_pa ")]
    if not learnt_sets:
        raise ConnectomeError("result", "must be of a run with plasticity", f"variables {list(result.data_vars)}")
    reweight, records = {}, []
    for variable in learnt_sets:
        key = EdgeKey(*(variable.attrs[name] for name in EdgeKey._fields))
        edges = connectome.edges.get(key)
        if edges is None or len(edges) != variable.size:
            found = "no such set" if edges is None else f"a set of {len(edges)}"
            raise ConnectomeError(
                "connectome", f"must be the one that has run, with {variable.size} edges {key}", found
            )
        weight = np.asarray(variable.values, np.float32)
        stronger = int((np.abs(weight) > np.abs(edges.weight)).sum())
        reweight[key] = weight
        records.append(RuleRecord(connectome.provenance.stage, 0, "stdp", *key, strengthened=stronger))
    return connectome.apply(EdgeDelta(reweight=reweight, records=tuple(records)))


def plastic_sets(
    connectome: Connectome, selection: Selection, plasticity: Mapping[EdgeKey, PairSTDP], n_steps: int
) -> dict[EdgeKey, Plastic]:
    """Check ``run``'s argument and make what the run will change. Raises :class:`ConnectomeError`."""
    if not isinstance(plasticity, Mapping):
        raise ConnectomeError("plasticity", "must be a mapping from keys of edge sets", f"{plasticity!r:.80}")
    sets = {}
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
        if not isinstance(rule, PairSTDP):
            raise ConnectomeError(where, "must be a PairSTDP", f"{rule!r:.80}")
        if edges.key.kind == "efferent":
            raise ConnectomeError(
                where, "must lead to neurons", f"{edges.key.target!r}, an effector", "It never fires: there is no pair."
            )
        signs = np.ascontiguousarray(connectome.regions[edges.key.source].sign)
        learns = _learning_edges(where, edges, rule, signs)
        modulator = np.zeros(1)
        if rule.modulator_per_ms is not None:
            varies = np.ndim(rule.modulator_per_ms) > 0
            name = f"{where}.modulator_per_ms"
            modulator = numbers(name, rule.modulator_per_ms, None)
            if modulator.shape not in ((), (n_steps,)):
                raise ConnectomeError(name, f"must be a number or (steps,) = ({n_steps},)", f"shape {modulator.shape}")
            modulator = np.ascontiguousarray(modulator if varies else modulator[None])
        three = rule.eligibility_tau_ms is not None
        sets[edges.key] = Plastic(
            edges, rule, signs, learns, modulator, edges.weight.astype(np.float64 if three else np.float32),
            np.zeros(edges.n_target), np.zeros(len(edges) if three else 0),
        )  # fmt: skip
    return sets


def _learning_edges(where: str, edges: EdgeSet, rule: PairSTDP, signs: NDArray[np.int8]) -> NDArray[np.bool_]:
    """(E,) mask. Raises :class:`ConnectomeError`."""
    side = rule.side
    learns = np.asarray(side * edges.weight >= 0)
    if (side * signs < 0).any():
        learns &= np.repeat(side * signs >= 0, np.diff(edges.indptr))
    outside = learns & ((edges.weight < rule.w_min_pa) | (edges.weight > rule.w_max_pa))
    bounds = f"{rule.w_min_pa:g} .. {rule.w_max_pa:g} pA"
    if outside.any():
        edge = int(np.argmax(outside))
        raise ConnectomeError(
            where,
            f"must have bounds that its weights lie within, not {bounds}",
            f"{edges.weight[edge]:g} of edge {edge}",
        )
    if learns.size and not learns.any():
        raise ConnectomeError(where, "must have bounds of the sign of its edges", bounds, "Or none of them learns.")
    return learns


def plastic_records(
    plastic: Plastic, owner: NDArray[np.int64], delays: NDArray[np.int64], first_stream: int, numbers_of: slice,
    segments: NDArray[Any],
) -> tuple[NDArray[Any], list[NDArray[Any]]]:  # fmt: skip
    """Records of ``PLASTIC`` for an edge set's streams, and what their addresses point to.

    owner : (G,) threads; delays : steps; first_stream : number of the first of the G streams; numbers_of, segments :
    the G segments of the target region.
    """
    edges, rule = plastic.edges, plastic.rule
    (into, source, edge), n = edges.reverse, edges.n_source * delays.size
    if not plastic.learns.all():
        learns = plastic.learns[edge]
        into, source, edge = np.concatenate([[0], np.cumsum(learns)])[into], source[learns], edge[learns]
    if n >= 2**32:
        raise ConnectomeError(
            f"plasticity[{edges.key}]", "must have fewer than 2**32 source neurons times delays", n, "Use fewer delays."
        )
    slot = source.view(np.uint32)
    if delays.size > 1:
        slot = slot * np.uint32(delays.size)
        slot += np.searchsorted(delays, edges.delay_steps[edge]).astype(np.uint32)
    x = np.zeros((owner.size, n))
    records = np.zeros(owner.size, PLASTIC)
    place = np.int64(segments["start"][0]) if segments.size else 0
    values: dict[str, Any] = {
        "owner": owner, "stream": first_stream + np.arange(owner.size),
        "segment": np.arange(numbers_of.start, numbers_of.stop), "first": segments["start"].astype(np.int64) - place,
        "last": np.minimum(segments["stop"].astype(np.int64) - place, edges.n_target), "edges": len(edges),
        "sources": edges.n_source, "whole": owner.size == 1, "weight": plastic.weight.ctypes.data,
        "x": x.ctypes.data + np.arange(owner.size) * x.strides[0], "y": plastic.y.ctypes.data,
        "eligibility": plastic.eligibility.ctypes.data if plastic.eligibility.size else 0,
        "into": into.ctypes.data, "edge": edge.ctypes.data, "slot": slot.ctypes.data, "side": rule.side,
        "signs": plastic.signs.ctypes.data,
        "modulator": plastic.modulator.ctypes.data, "varies": plastic.modulator.size > 1,
        "low": rule.w_min_pa, "high": rule.w_max_pa,
    }  # fmt: skip
    for name, tau in (("plus", rule.tau_plus_ms), ("minus", rule.tau_minus_ms), ("fade", rule.eligibility_tau_ms)):
        rate = edges.dt_ms / tau if tau else 1.0
        values[f"{name}_rate"], values[f"{name}_every"] = rate, int(min(max(_EXPONENT / rate, 1), 2**31))
    if rule.eligibility_tau_ms:
        values["gain"] = -math.expm1(-values["fade_rate"]) * rule.eligibility_tau_ms
    for name, size in (("raised", rule.a_plus_pa), ("lowered", -rule.a_minus_pa)):
        base, slope = 1.0, 0.0
        if rule.dependence == "multiplicative":  # of what goes up, the room above; of what goes down, the room below
            room = rule.w_max_pa - rule.w_min_pa
            base, slope = (rule.w_max_pa / room, -1 / room) if size > 0 else (-rule.w_min_pa / room, 1 / room)
        values[f"{name}_size"], values[f"{name}_base"], values[f"{name}_slope"] = size, base, slope
    for name, value in values.items():
        records[name] = value
    return records, [
        into,
        edge,
        slot,
        x,
        plastic.signs,
        plastic.weight,
        plastic.y,
        plastic.eligibility,
        plastic.modulator,
    ]


def weights_after(plastic: Mapping[EdgeKey, Plastic]) -> dict[str, xr.DataArray]:
    """What a run's result holds of the edge sets that learnt."""
    variables = {}
    for key, p in plastic.items():
        name = ":".join(key)
        given = {f.name: getattr(p.rule, f.name) for f in fields(p.rule)}
        rule = {k: v for k, v in given.items() if v is not None and np.ndim(v) == 0}  # what a file can hold
        variables[f"weight_pa {name}"] = xr.DataArray(
            p.weight.astype(np.float32), dims=f"edge {name}",
            attrs={"units": "pA", **key._asdict(), **rule},
        )  # fmt: skip
    return variables

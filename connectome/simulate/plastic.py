"""Edge sets that learn during a run: their state, and how it is laid out for the kernels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.parts import EdgeSet
from connectome.simulate.error_kernels import CORRECTED
from connectome.simulate.error_modulated import ErrorModulated
from connectome.simulate.run_rules import RunRule
from connectome.simulate.stdp import PairSTDP, TripletSTDP
from connectome.simulate.stdp_kernels import PLASTIC
from connectome.simulate.streams import Place

__all__ = ["AnyRule", "AtSpikes", "ByError", "Called", "Plastic"]

#: What may stand in ``run(plasticity=)``: a rule that is compiled into the engine, or any other.
AnyRule = PairSTDP | TripletSTDP | ErrorModulated | RunRule
_EXPONENT = 64.0  # decays that a trace goes without being brought up to date: exp(64) is far from float64's end


@dataclass(frozen=True, eq=False)
class Plastic:
    """An edge set that learns, in a run whose first step is ``origin``.

    Parameters
    ----------
    edges, rule : the edge set, and how it learns
    signs : (n_source,) signs of its source neurons
    weight : (E,) pA; a run changes them
    since, called : the step since which it has learnt, and the step of the last call before the run
    traces : name -> array, which a run changes; empty where a set begins to learn
    memory : memory of a rule in Python: name -> array; None for other rules
    calls_every : steps between two calls of a function in Python; 0 without one
    """

    edges: EdgeSet
    rule: Any
    signs: NDArray[np.int8]
    weight: NDArray[Any]
    origin: int
    since: int
    called: int
    traces: dict[str, NDArray[Any]]
    memory: Mapping[str, NDArray[Any]] | None
    calls_every: int

    @property
    def reach(self) -> int:
        """For how many steps spikes must be kept."""
        return 1

    @property
    def acting(self) -> NDArray[np.float32] | None:
        """(E,) weights that are delivered like those of any other set; None if the set has kernels of its own."""
        return None

    def records(self, place: Place) -> tuple[int, NDArray[Any], list[NDArray[Any]]]:
        """For a set with kernels of its own: which of ``plastic_kernels``' three kinds, its records, and what their
        addresses point to."""
        raise NotImplementedError

    def _trace(self, name: str, *shape: int) -> NDArray[np.float64]:
        """What it remembers under this name, 0 in the beginning."""
        return self.traces.setdefault(name, np.zeros(shape))

    def _copies(self, name: str, size: int, threads: int) -> list[NDArray[np.float64]]:
        """The same for each thread, which changes its own; all change alike, and the first is what is remembered."""
        first = self._trace(name, size)
        return [first, *(first.copy() for _ in range(threads - 1))]


@dataclass(frozen=True, eq=False)
class AtSpikes(Plastic):
    """An edge set that learns by STDP. ``learns`` (E,): the edges that do; ``modulator`` (steps,) or (1,), unless it is
    a function, whose last answer is one of the traces."""

    learns: NDArray[np.bool_]
    modulator: NDArray[np.float64]

    @property
    def plain(self) -> bool:
        """Whether the rule is plain pairs, for which the fastest kernel serves."""
        r = self.rule
        return isinstance(r, PairSTDP) and r.delay == "axonal" and r.simultaneous == "none"

    @property
    def reach(self) -> int:
        """For how many steps spikes must be kept."""
        return 2 * int(self.edges.delay_steps.max(initial=1)) if self.rule.delay == "dendritic" else 1

    @property
    def answer(self) -> NDArray[np.float64]:
        """(1,) the last answer of a modulator that is a function."""
        return self._trace("modulator", 1)

    def records(self, place: Place) -> tuple[int, NDArray[Any], list[NDArray[Any]]]:
        """See :class:`Plastic`; of ``PLASTIC``."""
        edges, rule, threads, delays = self.edges, self.rule, place.owner.size, place.delays
        dendritic, triplet = rule.delay == "dendritic", isinstance(rule, TripletSTDP)
        into, edge, slot = _of_targets(self, delays, self.learns, dendritic)
        slots, rows = edges.n_source * delays.size, delays.size if dendritic else 1
        x, y = self._copies("x", slots, threads), self._trace("y", rows, edges.n_target)
        modulator = self.answer if self.calls_every else self.modulator
        kept: list[NDArray[Any]] = [into, edge, slot, *x, y, self.signs, self.weight, modulator]
        records = np.zeros(threads, PLASTIC)
        values: dict[str, Any] = {
            **_where(self, place), "edges": len(edges), "sources": edges.n_source, "whole": threads == 1,
            "x": _addresses(x), "y": y.ctypes.data,
            "into": into.ctypes.data, "edge": edge.ctypes.data, "slot": slot.ctypes.data, "side": rule.side,
            "modulator": _series(modulator, self.origin if modulator.size > 1 else 0), "varies": modulator.size > 1,
            "low": rule.w_min_pa, "high": rule.w_max_pa, "lag": dendritic, "targets": edges.n_target,
            "early_x": rule.simultaneous == "potentiate", "early_y": rule.simultaneous == "depress",
            "nearest": triplet and rule.pairing == "nearest",
        }  # fmt: skip
        pairs: tuple[float, float] = (1.0, -1.0)
        taus = {"plus": rule.tau_plus_ms, "minus": rule.tau_minus_ms, "fade": None, "x2": None, "y2": None}
        if triplet:
            taus |= {"x2": rule.tau_x_ms, "y2": rule.tau_y_ms}
            x2, y2 = self._copies("x2", slots, threads), self._trace("y2", rows, edges.n_target)
            kept += [*x2, y2]
            values |= {"x2": _addresses(x2), "y2": y2.ctypes.data}
            values |= {"raised_pair": rule.a2_plus_pa, "raised_triple": rule.a3_plus_pa}
            values |= {"lowered_pair": rule.a2_minus_pa, "lowered_triple": rule.a3_minus_pa}
        else:
            taus["fade"], pairs = rule.eligibility_tau_ms, (rule.a_plus_pa, -rule.a_minus_pa)
        for name, tau in taus.items():
            rate = edges.dt_ms / tau if tau else 1.0
            values[f"{name}_rate"], values[f"{name}_every"] = rate, int(min(max(_EXPONENT / rate, 1), 2**31))
        if taus["fade"]:
            eligibility = self._trace("eligibility", len(edges))
            kept.append(eligibility)
            values["eligibility"] = eligibility.ctypes.data
            values["gain"] = -math.expm1(-values["fade_rate"]) * taus["fade"]
        for name, size in zip(("raised", "lowered"), pairs, strict=True):
            base, slope = 1.0, 0.0
            if not triplet and rule.dependence == "multiplicative":  # up by the room above; down, below
                room = rule.w_max_pa - rule.w_min_pa
                base, slope = (rule.w_max_pa / room, -1 / room) if size > 0 else (-rule.w_min_pa / room, 1 / room)
            values[f"{name}_size"], values[f"{name}_base"], values[f"{name}_slope"] = size, base, slope
        for name, value in values.items():
            records[name] = value
        return 0 if self.plain else 1, records, kept


@dataclass(frozen=True, eq=False)
class ByError(Plastic):
    """An edge set that learns by the errors of effectors, whose propagators are ``p22``, ``p21``, ``p11``. ``target``,
    ``gate`` (steps, K) may be broadcast."""

    target: NDArray[np.float64]
    gate: NDArray[np.float64]
    p22: float
    p21: float
    p11: float

    def records(self, place: Place) -> tuple[int, NDArray[Any], list[NDArray[Any]]]:
        """See :class:`Plastic`; of ``CORRECTED``."""
        edges, rule, slots = self.edges, self.rule, self.edges.n_source * place.delays.size
        into, edge, slot = _of_targets(self, place.delays, None, False)
        response, pa = (self._copies(name, slots, place.owner.size) for name in ("response", "pa"))
        records = np.zeros(place.owner.size, CORRECTED)
        values: dict[str, Any] = {
            **_where(self, place), "slots": slots, "response": _addresses(response), "pa": _addresses(pa),
            "p22": self.p22, "p21": self.p21, "p11": self.p11, "into": into.ctypes.data,
            "edge": edge.ctypes.data, "slot": slot.ctypes.data, "delays": place.delays.size,
            "rate": rule.rate_pa2_per_mv2_ms * edges.dt_ms, "ridge": rule.ridge_mv2_per_pa2, "low": rule.w_min_pa,
            "high": rule.w_max_pa,
        }  # fmt: skip
        for name in ("target", "gate"):
            series = getattr(self, name)
            values[name] = _series(series, self.origin)
            values[f"{name}_row"], values[f"{name}_column"] = (stride // series.itemsize for stride in series.strides)
        for name, value in values.items():
            records[name] = value
        return 2, records, [into, edge, slot, *response, *pa, self.signs, self.weight, self.target, self.gate]


@dataclass(frozen=True, eq=False)
class Called(Plastic):
    """An edge set that learns by a rule in Python, called at intervals. The run delivers the weights ``acting`` (E,)
    float32."""

    float32: NDArray[np.float32]

    @property
    def acting(self) -> NDArray[np.float32]:
        """See :class:`Plastic`."""
        return self.float32


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


def _addresses(arrays: list[NDArray[Any]]) -> NDArray[np.int64]:
    return np.array([a.ctypes.data for a in arrays], np.int64)


def _series(series: NDArray[np.float64], origin: int) -> int:
    """The address that step 0 would have, of a series whose first row is of the step ``origin``."""
    return int(series.ctypes.data - origin * series.strides[0]) % 2**64

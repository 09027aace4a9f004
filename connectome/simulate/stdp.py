"""Plasticity of whole edge sets during a run: pair STDP, its three-factor form, and triplet STDP.

Give :func:`connectome.simulate.run` a rule for each edge set that is to learn, and put the learnt weights into a new
connectome with :func:`learnt`::

    rule = PairSTDP(tau_plus_ms=20, tau_minus_ms=20, a_plus_pa=0.5, a_minus_pa=0.55, w_min_pa=0, w_max_pa=100)
    result = run(connectome, 1000.0, stimulus, plasticity={EdgeKey("eye", "afferent", "a"): rule})
    after = learnt(connectome, result)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from connectome.arrays import ReadOnly
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome, Edit, RuleRecord
from connectome.graph.parts import EdgeKey
from connectome.simulate.run_rules import Modulator, finite

__all__ = ["Delay", "Dependence", "PairSTDP", "Pairing", "Simultaneous", "TripletSTDP", "learnt"]

Dependence = Literal["additive", "multiplicative"]
Delay = Literal["axonal", "dendritic"]
Simultaneous = Literal["none", "depress", "potentiate"]
Pairing = Literal["all", "nearest"]


@dataclass(frozen=True, eq=False)
class PairSTDP(ReadOnly):
    """Spike-timing dependent plasticity of one edge set: all pairs, with exponential windows (Song, Miller & Abbott
    2000; Morrison, Diesmann & Gerstner 2008, section 4.1).

    The synapse of an edge of weight w sees the spikes of its source at ``t_i`` and those of its target at ``t_j``. If
    the edge's delay is *axonal*, the source's spikes reach the synapse late by it, and the target's at once. If it is
    *dendritic*, the target's are late by it on their way back to the synapse, and the source's are there at once and
    act on the target after the delay, as in NEST's ``stdp_synapse``. Each pair changes w, at its second event, by

        ``dw = +a_plus f(w) exp(-(t_j - t_i) / tau_plus)`` if ``t_i < t_j``, and
        ``dw = -a_minus f(w) exp(-(t_i - t_j) / tau_minus)`` if ``t_j < t_i``.

    A simultaneous pair changes nothing, as in NEST, or counts as one of these with an interval of 0: choose by
    ``simultaneous``. Of the spikes that reach the synapse in one step, those of the target come first. ``f = 1`` if
    additive. If multiplicative, increases of w are scaled by ``f(w) = (w_max - w) / (w_max - w_min)``, decreases by
    ``f(w) = (w - w_min) / (w_max - w_min)``. In either case w is clipped to w_min .. w_max. A spike acts with the
    weight after its own change. Edges whose weight or source neuron has the opposite sign to the bounds do not learn.

    In the three-factor form (Izhikevich 2007; Fremaux & Gerstner 2016, equations 5 and 6) pairs instead change an
    eligibility c by the same amount, and a modulator m turns it into a change of w::

        dc/dt = -c / eligibility_tau + pairs,   dw/dt = m(t) c(t)

    solved exactly for an m that is constant in each step, and clipped after each. With a dendritic delay a pair enters
    c one delay late, when it takes effect at the target.

    Weights are float32 between events, and float64 with an eligibility, where steps are many and small. Memory in bytes
    per edge: 4 for the weight, 12 for the index by target (16 with several delays), 12 for the eligibility; and 8 for
    each source neuron, delay and thread. Time is spent only at spikes, except for the modulator: each step in which it
    is not 0 passes over all edges of the set. With a dendritic delay d the engine processes events at the synapse d
    later, when they take effect; so the weights after a run do not include its last d.

    Parameters
    ----------
    tau_plus_ms, tau_minus_ms : > 0
    a_plus_pa, a_minus_pa : change for a pair with an interval of 0. Negative values reverse the rule (anti-Hebbian).
    w_min_pa, w_max_pa : bounds, of one sign, w_min < w_max; the weights that learn must begin between them. For
        inhibitory edges they are negative (w_max may be 0), and the equations stand as they are: a positive a_plus
        makes such an edge weaker, a negative one makes it stronger.
    dependence : ``"additive"`` or ``"multiplicative"``; the latter scales what is added to the eligibility, if there
        is one, by the weight at the time of the pair
    eligibility_tau_ms : > 0; makes it the three-factor form
    modulator_per_ms : m, a number or (steps,), 1/ms; entry t acts during step t. Or a function of what has happened
        (:class:`connectome.simulate.run_rules.SoFar`) that returns m; it is called at the beginning and then every
        ``modulator_interval_ms``, and its answer acts until the next call. Required with ``eligibility_tau_ms``, and
        only then.
    modulator_interval_ms : a whole number of steps; only for a function. A call costs some 0.2 ms.
    delay : ``"axonal"`` or ``"dendritic"``
    simultaneous : ``"none"``, ``"depress"`` or ``"potentiate"``, the latter before the spike acts

    Raises
    ------
    ConnectomeError : a parameter is invalid; the message names it
    """

    name: ClassVar[str] = "stdp"

    tau_plus_ms: float
    tau_minus_ms: float
    a_plus_pa: float
    a_minus_pa: float
    w_min_pa: float
    w_max_pa: float
    dependence: Dependence = "additive"
    eligibility_tau_ms: float | None = None
    modulator_per_ms: ArrayLike | Modulator | None = None
    modulator_interval_ms: float | None = None
    delay: Delay = "axonal"
    simultaneous: Simultaneous = "none"

    def __post_init__(self) -> None:
        _check(self, dependence=Dependence, delay=Delay, simultaneous=Simultaneous)
        if (self.eligibility_tau_ms is None) != (self.modulator_per_ms is None):
            raise ConnectomeError(
                "PairSTDP.modulator_per_ms", "must be given if, and only if, eligibility_tau_ms is",
                f"{self.modulator_per_ms!r:.80} with {self.eligibility_tau_ms}",
            )  # fmt: skip
        if (self.modulator_interval_ms is None) == callable(self.modulator_per_ms):
            raise ConnectomeError(
                "PairSTDP.modulator_interval_ms", "must be given if, and only if, modulator_per_ms is a function",
                repr(self.modulator_interval_ms),
            )  # fmt: skip

    @property
    def side(self) -> int:
        """The sign of the bounds: +1 or -1."""
        return 1 if self.w_max_pa > 0 else -1


@dataclass(frozen=True, eq=False)
class TripletSTDP(ReadOnly):
    """Spike-timing dependent plasticity of one edge set by pairs and triplets (Pfister & Gerstner 2006, equations 3 and
    4): potentiation grows with the frequency of pairings, which no pair rule can reproduce.

    Each spike at the synapse adds 1 to traces that decay exponentially: ``r1`` (tau_plus) and ``r2`` (tau_x) of the
    source, ``o1`` (tau_minus) and ``o2`` (tau_y) of the target::

        at a spike of the source:  w -= o1 (a2_minus + a3_minus r2)
        at a spike of the target:  w += r1 (a2_plus + a3_plus o2)

    ``r2`` and ``o2`` are taken just before the spike, and w is clipped to w_min .. w_max. The place of the delay,
    simultaneous pairs, signs and the cost of a run are as in :class:`PairSTDP`; NEST's ``stdp_triplet_synapse`` is this
    rule with a dendritic delay.

    Parameters
    ----------
    tau_plus_ms, tau_x_ms, tau_minus_ms, tau_y_ms : > 0
    a2_plus_pa, a3_plus_pa, a2_minus_pa, a3_minus_pa : see above
    w_min_pa, w_max_pa : as in :class:`PairSTDP`
    pairing : ``"all"``: traces add up; ``"nearest"``: a spike sets its traces to 1
    delay, simultaneous : as in :class:`PairSTDP`

    Raises
    ------
    ConnectomeError : a parameter is invalid; the message names it
    """

    name: ClassVar[str] = "triplet_stdp"

    tau_plus_ms: float
    tau_x_ms: float
    tau_minus_ms: float
    tau_y_ms: float
    a2_plus_pa: float
    a3_plus_pa: float
    a2_minus_pa: float
    a3_minus_pa: float
    w_min_pa: float
    w_max_pa: float
    pairing: Pairing = "all"
    delay: Delay = "axonal"
    simultaneous: Simultaneous = "none"

    def __post_init__(self) -> None:
        _check(self, pairing=Pairing, delay=Delay, simultaneous=Simultaneous)

    @classmethod
    def visual_cortex(cls, w_pa: float, w_max_pa: float, delay: Delay = "axonal") -> Self:
        """The minimal all-to-all rule of Pfister & Gerstner (2006), table 4, fitted to layer 5 of the visual cortex
        (Sjostrom, Turrigiano & Nelson 2001). ``w_pa``: the weight that changes are relative to."""
        return cls(16.8, 101.0, 33.7, 114.0, 0.0, 6.5e-3 * w_pa, 7.1e-3 * w_pa, 0.0, 0.0, w_max_pa, delay=delay)

    @classmethod
    def post_only(cls, w_max_pa: float, a_plus: float = 1e-2, a_minus: float = 1e-4) -> Self:
        """The rule of Diehl & Cook (2015), as in their program: potentiation when the target fires again,
        ``w += a_plus r1 o2``, depression at arrivals, ``w -= a_minus o1``, with traces set to 1 at spikes. Amplitudes
        are relative to w_max; an arrival in the same step as a target spike comes first."""
        up, down = a_plus * w_max_pa, a_minus * w_max_pa
        return cls(20.0, 20.0, 20.0, 40.0, 0.0, up, down, 0.0, 0.0, w_max_pa, "nearest", simultaneous="potentiate")

    @property
    def side(self) -> int:
        """The sign of the bounds: +1 or -1."""
        return 1 if self.w_max_pa > 0 else -1


def _check(rule: PairSTDP | TripletSTDP, **choices: Any) -> None:
    """Make numbers of what are to be numbers. Raises :class:`ConnectomeError`."""
    kind = type(rule).__name__
    for f in fields(rule):
        name, value = f"{kind}.{f.name}", getattr(rule, f.name)
        if f.name in choices:
            known = get_args(choices[f.name])
            if value not in known:
                raise ConnectomeError(name, f"must be one of {', '.join(known)}", repr(value))
        elif f.name != "modulator_per_ms" and not (value is None and f.default is None):
            number = finite(name, value, above_0=f.name.endswith("_ms"))
            with np.errstate(over="ignore"):  # what is infinite then is refused below
                object.__setattr__(rule, f.name, float(np.float32(number)) if f.name.startswith("w_") else number)
    low, high = rule.w_min_pa, rule.w_max_pa
    if not (low < high and math.isfinite(low) and math.isfinite(high)):
        raise ConnectomeError(f"{kind}.w_max_pa", f"must be above w_min_pa = {low:g}, in float32", f"{high:g}")
    if low < 0 < high:
        raise ConnectomeError(
            f"{kind}.w_min_pa", "must have the sign of w_max_pa, or one of them be 0", f"{low:g} .. {high:g}",
            "An edge keeps its sign.",
        )  # fmt: skip


def learnt(connectome: Connectome, result: xr.Dataset) -> Connectome:
    """A connectome with the weights at the end of its run, and a line in the rule log for each set: edges whose weight
    has grown (as a magnitude) count as strengthened.

    Raises
    ------
    ConnectomeError : the run had no plasticity, or was of another connectome
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
        rule = variable.attrs["rule"]
        records.append(RuleRecord(connectome.provenance.stage, 0, rule, *key, strengthened=stronger))
    return connectome.apply(Edit(reweight=reweight, records=tuple(records)))

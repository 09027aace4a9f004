"""The memory after CA3 on trial: the three published experiments, and random memories that are learnt, recalled by cue
and by bit, and learnt anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from connectome import run
from connectome.analysis.style import BLUE, ORANGE
from connectome.circuits import ca3_memory as circuit
from connectome.circuits.ca3_experiments import EXPERIMENTS, in_order, random_memories
from connectome.circuits.ca3_memory import Operation, Recall
from connectome.neurons import NeuronParameters
from sims.studies.published import Check, Measure, Trial, Values

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from connectome.graph.connectome import Connectome

__all__ = ["ca3_memory"]


_CUES, _BITS = 32, 40
#: How the random memories of conditions are asked for, if not as by default.
_ASKED: Final[Mapping[str, Any]] = {"in haste": {"pace_ms": (10, 7)}, "bits together": {"together": 20}}


def _in_spikes(condition: str, cues: int, bits: int, operations: Sequence[Operation]) -> xr.Dataset:
    memory, rules = circuit.ca3_memory(cues, bits), dict(circuit.PLASTICITY)
    if condition == "axonal delays":
        rules = {
            key: replace(r, delay="axonal", a_plus_pa=r.w_max_pa, a_minus_pa=r.w_max_pa) for key, r in rules.items()
        }
    elif condition == "exact currents":
        memory = _exact(memory)
    return run(memory, circuit.duration_ms(operations), circuit.stimulus(operations), plasticity=rules)


def _exact(memory: Connectome) -> Connectome:
    """With the published constants, integrated exactly, not in steps of 1 ms."""
    from connectome import Connectome

    def published(neuron: NeuronParameters) -> NeuronParameters:
        c_m_pf = 270.0 if neuron.tau_m_ms == 3.0 else 140.0
        return replace(neuron, c_m_pf=c_m_pf, tau_syn_ex_ms=0.3, tau_syn_in_ms=0.3)

    regions = [
        replace(r, neuron=published(r.neuron)) if isinstance(r.neuron, NeuronParameters) and r.role == "neuron" else r
        for r in memory.regions.values()
    ]
    return Connectome.of(regions, list(memory.edges.values()), dt_ms=memory.dt_ms)


def _in_matrix(overwrites: bool, operations: Iterable[Operation], cues: int, bits: int) -> list[Recall]:
    """As many synapses in a binary matrix: Willshaw's (1969), which only adds, or with rows that are overwritten."""
    matrix = np.zeros((cues, bits), bool)
    found = []
    for o in operations:
        at = list(o.content)
        if o.learns:
            matrix[o.cue] &= not overwrites
            matrix[o.cue, at] = True
        cue = np.flatnonzero(matrix[:, at].any(1)).tolist() if o.cue is None else [o.cue]
        content = np.flatnonzero(matrix[o.cue]).tolist() if o.cue is not None else at
        found.append(Recall(frozenset(cue), frozenset(content)))
    return found


def _right(found: Sequence[Recall], operations: Sequence[Operation], which: Callable[[Operation], bool]) -> list[bool]:
    wanted = circuit.expected(operations)
    return [f == w for f, w, o in zip(found, wanted, operations, strict=True) if not o.learns and which(o)]


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    matrix = {"Willshaw's matrix": False, "overwritten rows": True}
    published: list[bool] = []
    order: list[bool] = []
    spent_s = 0.0
    for cues, bits, operations in EXPERIMENTS.values():
        if condition in matrix:
            found = _in_matrix(matrix[condition], operations, cues, bits)
        else:
            _in_spikes(condition, cues, bits, operations)  # so that compiling is not counted
            began = time.process_time()
            result = _in_spikes(condition, cues, bits, operations)
            spent_s += time.process_time() - began
            found, order = circuit.recalled(result, operations), order + in_order(result, operations)
        published += _right(found, operations, lambda o: True)
    told = random_memories(_CUES, _BITS, np.random.default_rng(seed), **_ASKED.get(condition, {}))
    if condition in matrix:
        found = _in_matrix(matrix[condition], told, _CUES, _BITS)
    else:
        found = circuit.recalled(_in_spikes(condition, _CUES, _BITS, told), told)
    anew = told[len(told) // 2].at_ms
    one = {
        "random": _right(found, told, lambda o: True), "by cue": _right(found, told, lambda o: o.cue is not None),
        "by bit": _right(found, told, lambda o: len(o.content) == 1),
        "learnt anew": _right(found, told, lambda o: o.at_ms >= anew),
    }  # fmt: skip
    shares = {name: float(np.mean(right)) for name, right in one.items()}
    timed = {"order": float(np.mean(order)), "seconds": spent_s} if order else {}
    return {"published": float(np.sum(published))} | shares | timed


def _check(v: Values) -> Sequence[Check]:
    ours = v["CA3"]
    return [
        Check(
            "all 54 recalls of the three experiments are right", f"{ours['published'].min():.0f}",
            bool((ours["published"] == 54).all()),
        ),
        Check("in less than 1 s", f"{ours['seconds'].max():.2f} s", bool((ours["seconds"] < 1).all())),
        Check(
            "each operation's spikes come out in the published order", f"{100 * ours['order'].min():.0f} %",
            bool((ours["order"] == 1).all()),
        ),
        Check(
            "32 memories of 40 bits are recalled without an error", f"{100 * ours['random'].min():.1f} %",
            bool((ours["random"] == 1).all()),
        ),
        Check(
            "what is learnt anew has been forgotten", f"{100 * ours['learnt anew'].min():.1f} %",
            bool((ours["learnt anew"] == 1).all()),
        ),
        Check(
            "any part of the content recalls: also several bits at once, again and again",
            f"{100 * v['bits together']['random'].min():.0f} % of all", bool((v["bits together"]["random"] == 1).all()),
        ),
        Check(
            "as fast as operations may follow each other (10 and 7 ms)",
            f"{100 * v['in haste']['random'].min():.0f} %", bool((v["in haste"]["random"] == 1).all()),
        ),
    ]  # fmt: skip


@cache
def _draw(quick: bool) -> Mapping[str, Figure]:
    """The first experiment: what went in, and what came out."""
    from matplotlib.figure import Figure

    cues, bits, operations = EXPERIMENTS["mixed"]
    result = _in_spikes("CA3", cues, bits, operations)
    ms, name = result.spike_time_ms.values - circuit.DT_MS, result.region.values[result.spike_region.values]
    figure = Figure(figsize=(8, 4), layout="constrained")
    ax = figure.subplots()
    for where, first, marker, size, colour in (
        ("cue_in", 0, "|", 9, "0.6"), ("content_in", cues + 1, "|", 9, "0.6"),
        ("cue_out", 0, "o", 4, ORANGE), ("content_out", cues + 1, "o", 4, BLUE),
    ):  # fmt: skip
        here = name == where
        row = first + result.spike_neuron.values[here]
        ax.plot(ms[here], row, marker, ms=size, color=colour, label=where.replace("_", " "))
    for o in operations:
        told = "learn" if o.learns else "cue?" if o.cue is not None else "bits?"
        ax.axvline(o.at_ms - 0.5, color="0.85", lw=0.8, zorder=0)
        ax.text(o.at_ms, cues + bits + 1.3, told, fontsize=8)
    ax.axhline(cues, color="0.7", lw=0.8)
    ticks = [*range(cues), *range(cues + 1, cues + 1 + bits)]
    ax.set_yticks(ticks, [*(f"cue {k}" for k in range(cues)), *(f"bit {k}" for k in range(bits))], fontsize=7)
    ax.set(xlabel="time (ms)", ylim=(-0.7, cues + bits + 2.3))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=4, fontsize=8, frameon=False)
    figure.suptitle("Learnt, recalled by cue and by bits, cue 3 learnt anew and its old bits forgotten", fontsize=10)
    return {"recall": figure}


ca3_memory = Trial(
    "CA3 content-addressable memory", "Casanueva-Morato et al. 2023, arXiv 2310.05868",
    "memories are learnt, forgotten, and recalled by cue or any part of their content, without an error",
    {
        "random": Measure(" %", 100, 1), "published": Measure(digits=0), "order": Measure(" %", 100, 0),
        "by cue": Measure(" %", 100, 1), "by bit": Measure(" %", 100, 1), "learnt anew": Measure(" %", 100, 1),
        "seconds": Measure(" s"),
    },
    (
        "CA3", "Willshaw's matrix", "overwritten rows", "in haste", "bits together", "exact currents", "axonal delays",
    ),
    _run, _check, ("Willshaw's matrix", "overwritten rows"), _draw,
)  # fmt: skip

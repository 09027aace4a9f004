"""Timescales by curriculum on trial: do many heads come further than one, with shorter time constants?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from connectome.analysis.intervals import mean_of
from sims.studies.circuits.timescale_measures import BOTH, right_answers, robustness, time_constants
from sims.studies.published import Check, Measure, Trial, Values, better

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from connectome.circuits.bits import BitTask, Curriculum
    from connectome.circuits.timescales import LeakyUnits, Solved
    from connectome.learning.network import SpikingNetwork

__all__ = ["timescales"]


class _Condition(NamedTuple):
    kind: BitTask = "parity"
    curriculum: Curriculum | None = None
    spikes: bool = False


_CONDITIONS: Final = {
    "multi-head": _Condition(curriculum="multi"),
    "single-head": _Condition(curriculum="single"),
    "one head from the start": _Condition(),
    "all heads from the start": _Condition(),
    "multi-head match": _Condition("match", "multi"),
    "single-head match": _Condition("match", "single"),
    "multi-head spikes": _Condition(curriculum="multi", spikes=True),
    "single-head spikes": _Condition(curriculum="single", spikes=True),
}
_UNITS: Final = 64
#: Of the networks in rates, and of those in spikes.
_LARGEST: Final = (40, 8)
#: What is asked for from the start, in networks of their own with the whole budget each: the best of them counts.
_START: Final = {
    "one head from the start": ((8,), (12,)), "all heads from the start": (tuple(range(2, 13)), tuple(range(2, 17)))
}  # fmt: skip
_RATES: Final = {False: (0.003, 0.01), True: (20.0, 40.0)}
_TUNED: Final = 1000


def _updates(how: _Condition, quick: bool) -> int:
    return 150 if quick else 1000 if how.kind == "match" else 1500


def _network(how: _Condition, seed: int) -> LeakyUnits | SpikingNetwork:
    from connectome.circuits.timescales import LeakyUnits, bit_memory
    from connectome.learning.network import SpikingNetwork

    if how.spikes:
        born = bit_memory(largest=_LARGEST[1], seed=seed)
        return SpikingNetwork(born, learn={"memory": ("tau_m_ms",)}, surrogate_width_mv=60.0, threads=1)
    return LeakyUnits(_UNITS, _LARGEST[0], np.random.default_rng([seed, 0]))


_Learnt = tuple["LeakyUnits | SpikingNetwork", "list[Solved]"]


def _learn(name: str, seed: int, rate: float, updates: int, heads: tuple[int, ...] = (2,)) -> _Learnt:
    from connectome.circuits.bits import BitMemory
    from connectome.circuits.timescales import learn

    how = _CONDITIONS[name]
    network, rng = _network(how, seed), np.random.default_rng([seed, 1])
    task, largest = BitMemory(how.kind, heads), _LARGEST[how.spikes]
    return network, learn(network, task, how.curriculum, updates, rng, rate=rate, largest=largest)


@cache
def _rate(name: str, quick: bool) -> float:
    """The one that comes furthest, or there the sooner, on a seed of its own: of curricula with half of the updates."""
    how, heads = _CONDITIONS[name], _START.get(name, ((2,),))[0]
    updates = _updates(how, quick) // (1 if name in _START else 2)

    def reached(rate: float) -> tuple[int, int]:
        solved = _learn(name, _TUNED, rate, updates, heads)[1]
        return (solved[-1].n, -solved[-1].update) if solved else (0, 0)

    return max(_RATES[how.spikes], key=reached)


def _run(name: str, seed: int, quick: bool) -> Mapping[str, float]:
    import torch

    from connectome.circuits.bits import BitMemory
    from connectome.learning.network import SpikingNetwork

    torch.set_num_threads(1)
    how, rate = _CONDITIONS[name], _rate(name, quick)
    updates = _updates(how, quick)
    if name in _START:
        return {"N": max(_solved_at_once(name, seed, rate, updates, heads) for heads in _START[name])}
    network, solved = _learn(name, seed, rate, updates)
    if not solved:
        return {"N": 0.0}
    network.load_state_dict(solved[-1].state)
    n = solved[-1].n
    found = {"N": float(n)}
    if n > 2:
        earlier = right_answers(network, BitMemory(how.kind, tuple(range(2, n))), seed)
        found |= {"worst earlier": float(earlier.min()), "best earlier": float(earlier.max())}
    if isinstance(network, SpikingNetwork):
        return found | {"tau": float(network.neuron_values("memory")["tau_m_ms"].mean())}
    return found | time_constants(network, solved) | robustness(network, how.kind, solved, rate, seed)


def _solved_at_once(name: str, seed: int, rate: float, updates: int, heads: tuple[int, ...]) -> float:
    """The largest N of heads that are right in more than 98 %, itself and all up to it on average."""
    from connectome.circuits.bits import BitMemory

    right = right_answers(_learn(name, seed, rate, updates, heads)[0], BitMemory("parity", heads), seed)
    so_far = np.minimum(right, right.cumsum() / np.arange(1, right.size + 1))
    return float(max((n for n, share in zip(heads, so_far, strict=True) if share > 0.98), default=0))


def _check(v: Values) -> Sequence[Check]:
    many, one = v["multi-head"], v["single-head"]
    ratio = {k: v[f"multi-head{k}"]["N"].mean() / max(v[f"single-head{k}"]["N"].mean(), 1) for k in _KINDS}
    direct, whole = (v[name]["N"] for name in _START)
    kept, forgot = many["worst earlier"], one["best earlier"]
    a, b = ({m: mean_of(of[m]).mean for m in of} for of in (many, one))
    grown = many["tau_net grows"], one["tau_net grows"]
    slopes = f"by {a['slope']:.3f} bits an N", f"by {b['slope']:.3f} bits an N"
    return [
        *(
            Check(f"many heads come to N 1.5 times as large as one{k.replace(' ', ', ')}", f"{r:.2f}", bool(r >= 1.5))
            for k, r in ratio.items()
        ),
        Check("many keep all earlier N: at least 98 %", f"{100 * kept.min():.0f} %", bool((kept >= 0.98).all())),
        Check("one forgets them: at most 75 %", f"up to {100 * forgot.max():.0f} %", bool((forgot <= 0.75).all())),
        Check("without a curriculum one head solves no N above 10", f"{direct.max():.0f}", bool((direct <= 10).all())),
        Check(
            "many need the curriculum: all at once come less far", f"N {whole.mean():.1f} against {a['N']:.1f}",
            bool(whole.mean() < a["N"]),
        ),
        Check("with one head time constants rise with N, in every seed", slopes[1], bool((one["slope"] > 0).all())),
        Check("with many they do not", slopes[0], bool((many["slope"] <= 0).all())),
        Check(
            f"and are shorter at the same N, {BOTH}", f"{a['tau at 7']:.2f} against {b['tau at 7']:.2f} bits",
            bool(a["tau at 7"] < b["tau at 7"]),
        ),
        Check(
            "the network's timescale grows with N in both, in every seed",
            " and ".join(f"{mean_of(g).mean:.2f} times" for g in grown), all(bool((g > 1).all()) for g in grown),
        ),
        *(better(f"many heads bear {what} better", many[m], one[m]) for what, m in _BEARS.items()),
    ]  # fmt: skip


@cache
def _draw(quick: bool) -> Mapping[str, Figure]:
    """How far each curriculum comes, and what units have learnt by then."""
    import torch
    from matplotlib.figure import Figure

    torch.set_num_threads(1)
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for k, name in enumerate(("multi-head", "single-head")):
        _, solved = _learn(name, 0, _rate(name, quick), _updates(_CONDITIONS[name], quick))
        n = [found.n for found in solved]
        left.step([0, *(found.update for found in solved)], [1, *n], where="post", color=f"C{k}", label=name)
        tau = np.array([np.percentile(found.state["tau"].numpy(), (25, 50, 75)) for found in solved]).reshape(-1, 3)
        right.plot(n, [float(found.state["tau"].mean()) for found in solved], ".-", color=f"C{k}", label=name)
        right.fill_between(n, tau[:, 0], tau[:, 2], color=f"C{k}", alpha=0.2, lw=0)
    left.set(xlabel="updates", ylabel="largest N solved", title="parity of the last N bits")
    right.set(xlabel="N solved", ylabel="time constants (bits)", title="mean, and the middle half of the units")
    left.legend(frameon=False)
    return {"curricula": figure}


#: Behind which conditions many heads are compared with one.
_KINDS: Final = ("", " match", " spikes")
_BEARS: Final = {
    "the loss of a slow unit": "ablated", "noise on W": "W noisy", "noise on tau": "tau noisy", "new N": "retrained"
}  # fmt: skip

timescales = Trial(
    "Timescales by curriculum", "Khajehabdollahi et al. 2024, ICLR, arXiv 2309.12927",
    "many heads learn to remember more bits than one, by recurrence, while one makes its units slow and forgets",
    {
        "N": Measure(digits=1), "worst earlier": Measure(" %", 100, 0), "best earlier": Measure(" %", 100, 0),
        "tau": Measure(), "tau at 7": Measure(), "slope": Measure(digits=3), "tau_net": Measure(digits=1),
        "tau_net grows": Measure(" times"), **{m: Measure(" %", 100, 0) for m in _BEARS.values()},
    },
    tuple(_CONDITIONS), _run, _check, ("single-head", "one head from the start", "all heads from the start"), _draw,
)  # fmt: skip

"""Reservoirs on trial: does inhibition that adapts itself remember more than the best that one number for all gives?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from connectome.analysis.intervals import paired
from connectome.analysis.readout import memory_capacity, nrmse, predictions
from connectome.circuits import reservoir as circuit
from connectome.datasets.series import mackey_glass, narma10
from sims.studies.circuits.reservoir_wirings import network_of
from sims.studies.published import Check, Measure, Trial, Values

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from connectome.graph.connectome import Connectome

__all__ = ["reservoir"]

_SCALE: Final = 0.2
_SCALES: Final = (0.05, _SCALE, 0.6)
#: Steps of the input, after 200 for the start to die away: to train, to choose the global scaling, to test.
_STRETCHES: Final[Mapping[circuit.Form, tuple[slice, slice, slice]]] = {
    "rates": (slice(200, 2200), slice(2200, 3200), slice(3200, 5200)),
    "spikes": (slice(200, 1600), slice(1600, 2200), slice(2200, 3200)),
}
_BETAS: Final = (0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0)
#: The target, of rates (where S is steepest) and of spikes (the best of three on a reservoir of another seed).
_RHO: Final[Mapping[circuit.Form, float]] = {"rates": 0.5, "spikes": 0.36}
#: In which as many units as the larva's adapt, a quarter of the others', for their time.
_LARVA_STEPS: Final = 10_000
_AHEAD: Final = 17  # what is forecast of the Mackey-Glass series, units of time


class _Task(NamedTuple):
    """An input, and how well states do on a stretch after the training: more is better."""

    u: NDArray[np.float64]
    score: Callable[[NDArray[np.float64], slice], float]
    scale: float


def _tasks(condition: str, seed: int, quick: bool) -> Iterator[tuple[str, _Task]]:
    rng = np.random.default_rng([seed, 20])
    form = _form(condition)
    train, _, test = _STRETCHES[form]
    steps = test.stop
    large = condition.startswith("larva")
    for scale in (_SCALE,) if large or quick else _SCALES:
        u = scale * rng.uniform(-1, 1, steps)
        yield "memory" if scale == _SCALE else f"memory at {scale:g}", _Task(u, _memory(u, train), scale)
    if form == "spikes" or quick or large:
        return
    u, y = narma10(steps + 1, rng)
    yield "NARMA-10", _Task(_SCALE * (4 * u[:-1] - 1), _fit(y[1:], train), _SCALE)
    x = mackey_glass(steps + _AHEAD, rng)
    u = (x - x.mean()) / np.abs(x - x.mean()).max()
    yield "Mackey-Glass", _Task(_SCALE * u[:-_AHEAD], _fit(x[_AHEAD:], train), _SCALE)


def _form(condition: str) -> circuit.Form:
    return "spikes" if condition.startswith("spikes") else "rates"


def _memory(u: NDArray[np.float64], train: slice) -> Callable[[NDArray[np.float64], slice], float]:
    return lambda states, test: float(memory_capacity(states, u[: len(states)], train, test).sum())


def _fit(y: NDArray[np.float64], train: slice) -> Callable[[NDArray[np.float64], slice], float]:
    return lambda states, test: -nrmse(predictions(states, y[: len(states)], train, test), y[test])


def _states(condition: str, network: Connectome, u: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is read: all units; of the larva's many, every tenth."""
    return circuit.responses(network, u, _form(condition))[:, :: 10 if condition.startswith("larva") else 1]


def _tuned(condition: str, network: Connectome, task: _Task, seed: int, form: circuit.Form) -> Connectome:
    """With the inhibition of the condition."""
    rng = np.random.default_rng([seed, 21])
    rho: float | NDArray[np.float64] = _RHO[form]
    if condition.endswith("one-step"):
        return circuit.designed(network, rho, form=form)
    if condition == "heterogeneous":
        rho = np.clip(rng.beta(2, 2, network.regions[circuit.REGION].size), 0.02, 0.98)
    if not condition.endswith("global"):
        # Spikes are noise besides: there the adaptation stops before it gets slow.
        steps, delta = (40_000, circuit.DELTA) if form == "rates" else (2_000, (1e-2, 2.5e-3))
        steps = _LARVA_STEPS if condition.startswith("larva") else steps
        return circuit.adapted(network, task.scale * rng.uniform(-1, 1, steps), rho, form=form, delta=delta)
    choose = _STRETCHES[form][1]
    u = task.u[: choose.stop]
    betas = _BETAS if form == "rates" else _BETAS[2::2]
    made = [circuit.scaled(network, beta) for beta in betas]
    return max(made, key=lambda c: task.score(_states(condition, c, u), choose))


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    form = _form(condition)
    network = network_of(condition, seed, quick)
    found = {}
    for name, task in _tasks(condition, seed, quick):
        states = _states(condition, _tuned(condition, network, task, seed, form), task.u)
        score = task.score(states, _STRETCHES[form][2])
        found[name] = score if name.startswith("memory") else -score
        if name == "memory" and condition in ("adapted", "one-step"):
            found["off target"] = float(np.abs(states[200:].mean(0) - _RHO[form]).max())
    return found


def _more(v: Values, ours: str, theirs: str, measure: str) -> NDArray[np.float64]:
    return v[ours][measure] / v[theirs][measure] - 1


def _check(v: Values) -> Sequence[Check]:
    memories = ("memory", *(f"memory at {s:g}" for s in _SCALES if s != _SCALE))
    found = []
    for prefix in ("", "spikes: "):
        more = {m: _more(v, f"{prefix}adapted", f"{prefix}global", m) for m in memories}
        more = {m: x for m, x in more.items() if np.isfinite(x).all()}
        found.append(
            Check(
                f"in {'spikes' if prefix else 'rates'} at least 30 % more memory than the best global scaling, at each "
                "scale of the input, paired",
                ", ".join(f"{m}: {100 * x.mean():+.0f} %, {100 * x.min():+.0f} % at least" for m, x in more.items()),
                all(x.mean() >= 0.3 for x in more.values()),
            )
        )  # fmt: skip
    off = v["adapted"]["off target"].max()
    one = v["one-step"]["memory"] / v["adapted"]["memory"] - 1
    found += [
        Check("mean rates come within 0.02 of their targets", f"{off:.3f}", bool(off < 0.02)),
        Check("one step does as well, within 5 %", f"{100 * np.abs(one).max():.1f} %", bool(np.abs(one).max() < 0.05)),
    ]
    for of, name in (("worm", "the worm's"), ("larva", "a larva-like")):
        more = _more(v, f"{of}: adapted", f"{of}: global", "memory").mean()
        beside = paired(v[f"{of}: adapted"]["memory"], v[f"{of} shuffled: adapted"]["memory"])
        text, better = beside.text(1, 1, ""), bool(beside.mean > beside.half)
        found.append(Check(f"30 % more on {name} wiring", f"{100 * more:+.0f} %", bool(more >= 0.3)))
        found.append(Check(f"{name} wiring remembers more than shuffled", text, better))
    if np.isfinite(v["adapted"]["NARMA-10"]).all():
        for name in ("NARMA-10", "Mackey-Glass"):
            gain = paired(v["adapted"][name], v["global"][name])
            found.append(Check(f"a smaller error on {name}", gain.text(1, 3, ""), bool(gain.mean < -gain.half)))
    return found


@cache
def _draw(quick: bool) -> Mapping[str, Figure]:
    """What is remembered at each lag, and the mean rates that carry it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    task = dict(_tasks("adapted", 0, True))["memory"]
    train, _, test = _STRETCHES["rates"]
    for condition in ("adapted", "global"):
        states = circuit.responses(_tuned(condition, network_of(condition, 0, quick), task, 0, "rates"), task.u)
        left.plot(np.arange(1, 61), memory_capacity(states, task.u, train, test), label=condition)
        right.hist(states[200:].mean(0), np.linspace(0, 1, 41), alpha=0.7, label=condition)
    left.set(xlabel="lag (steps)", ylabel="squared correlation")
    right.set(xlabel="mean response of a unit", ylabel="units")
    left.legend(frameon=False)
    return {"memory": figure}


reservoir = Trial(
    "Self-adapting reservoirs", "Srinivasan, Plenz & Girvan 2025, arXiv 2504.12480",
    "inhibition that adapts to target rates remembers and predicts better than any one scaling of all inhibition",
    {
        "memory": Measure(), "memory at 0.05": Measure(), "memory at 0.6": Measure(),
        "NARMA-10": Measure(falls=True), "Mackey-Glass": Measure(digits=3, falls=True), "off target": Measure(digits=3),
    },
    (
        "adapted", "one-step", "heterogeneous", "global", "spikes: adapted", "spikes: one-step", "spikes: global",
        "worm: adapted", "worm: global", "worm shuffled: adapted", "worm shuffled: global",
        "larva: adapted", "larva: global", "larva shuffled: adapted", "larva shuffled: global",
    ),
    _run, _check, ("global",), _draw,
)  # fmt: skip

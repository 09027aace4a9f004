"""What and when on trial: one reservoir, two readouts; do both follow when the world changes?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from connectome.circuits import what_and_when as circuit
from connectome.graph.connectome import Edit
from sims.studies.published import Check, Measure, Trial, Values

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from connectome.graph.connectome import Connectome

__all__ = ["what_and_when"]


class _Block(NamedTuple):
    """When events come, ms, and how probable the first one is."""

    at_ms: tuple[float, float]
    p: float


#: First; then the times switch; then the probability.
_BLOCKS: Final = (_Block((200.0, 400.0), 0.7), _Block((350.0, 150.0), 0.7), _Block((350.0, 150.0), 0.3))
#: Trials of a block, and how long after a switch one looks.
_TRIALS, _AFTER = 100, 50
#: A jump of 0.5 mV in each neuron, ten times a second.
_NOISE: Final = circuit.Noise(10.0, 0.5)
_EVERY: Final = 8  # steps between two updates of recursive least squares
_RIDGES, _LEVELS = (1e-4, 1e-3, 1e-2), np.linspace(0, 1, 11)


def _events(seed: int, block: int, trials: int) -> NDArray[np.int64]:
    return (np.random.default_rng([seed, block, 30]).random(trials) > _BLOCKS[block].p).astype(int)


def _error(found: NDArray[np.float64], block: _Block) -> float:
    wanted = circuit.profile(block.at_ms, block.p)
    return float(np.sqrt(((found - wanted) ** 2).mean() / (wanted**2).mean()))


class _Delta:
    """The readouts of the circuit, by its rule; or one readout of the product."""

    def __init__(self, network: Connectome, noise: circuit.Noise, merged: bool) -> None:
        self.network, self.noise, self.merged, self.trials = network, noise, merged, 0
        fast = circuit.speed(network)
        self.fast = fast._replace(what=0.0) if merged else fast

    def learn(self, event: int, at_ms: float) -> None:
        self.trials += 1
        self.network = circuit.trial(
            self.network, event, at_ms, self.fast, noise=self.noise, seed=self.trials, gated=not self.merged
        )

    def anew(self) -> _Delta:
        """With *when* as learnt, for good, and nothing learnt of *what*."""
        made = _Delta(self.network, self.noise, False)
        forgotten = {circuit.WHAT: np.zeros_like(self.network.edges[circuit.WHAT].weight)}
        made.network, made.fast = self.network.apply(Edit(reweight=forgotten)), self.fast._replace(when=0.0)
        return made

    def forecast(self) -> NDArray[np.float64]:
        found = circuit.recall(self.network, self.noise, seed=10**6 + self.trials)
        return found.when if self.merged else circuit.forecast(found)


class _LeastSquares:
    """The same readouts by recursive least squares (FORCE, Sussillo & Abbott 2009), which forgets nothing."""

    def __init__(self, network: Connectome, ridge: float) -> None:
        x, self.xbar = circuit.states(network)
        self.x, n = x[::_EVERY], len(self.xbar)
        of = (float((self.x**2).sum() / n), float((self.xbar**2).sum() / n))
        self.p = [np.eye(n) / (ridge * power) for power in (of[0], of[0], of[1])]  # when: one a channel, then what
        self.w, self.v = np.zeros((n, 2)), np.zeros((n, 2))

    def learn(self, event: int, at_ms: float) -> None:
        target = circuit.bump(at_ms)[::_EVERY]
        for x, z in zip(self.x, target, strict=True):
            self.w[:, event] += self._gain(event, x) * (z - x @ self.w[:, event])
        error = (np.arange(2) == event) - self.xbar @ self.v
        self.v += np.outer(self._gain(2, self.xbar), error)

    def _gain(self, which: int, x: NDArray[np.float64]) -> NDArray[np.float64]:
        k: NDArray[np.float64] = self.p[which] @ x
        scale = 1 / (1 + x @ k)
        self.p[which] -= scale * np.outer(k, k)
        return scale * k

    def forecast(self) -> NDArray[np.float64]:
        return np.repeat((self.x @ self.w) * (self.xbar @ self.v), _EVERY, axis=0)


def _learner(condition: str, seed: int) -> _Delta | _LeastSquares:
    network = circuit.reservoir(seed=1000 + seed)  # none that constants were chosen on
    if condition != "least squares":
        noise = _NOISE if condition == "with noise" else circuit.Noise()
        return _Delta(network, noise, condition == "merged")

    def tried(ridge: float) -> float:
        """On another reservoir."""
        made = _LeastSquares(circuit.reservoir(seed=seed), ridge)
        for event in _events(seed + 99, 0, 15):
            made.learn(event, _BLOCKS[0].at_ms[event])
        return _error(made.forecast(), _BLOCKS[0])

    return _LeastSquares(network, min(_RIDGES, key=tried))


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    learner = _learner(condition, seed)
    found: dict[str, float] = {}
    for number, block in enumerate(_BLOCKS):
        trials = _TRIALS if number == 0 else _AFTER
        for k, event in enumerate(_events(seed, number, trials), 1):
            learner.learn(event, block.at_ms[event])
            if number == 0 and k in (1, 10):
                found[f"after {k}"] = _error(learner.forecast(), block)
        z = learner.forecast()
        found[("error", "times switched", "chances switched")[number]] = _error(z, block)
        if number == 0:
            found["peak off"] = float(np.abs(circuit.TIME_MS[z.argmax(0)] - np.array(block.at_ms)).max())
            if isinstance(learner, _Delta) and not learner.merged:
                found["r(p)"] = _follows(learner, seed, 15 if quick else 40)
    return found


def _follows(learner: _Delta, seed: int, trials: int) -> float:
    """The smaller of both channels' correlations of their peak with the probability of their event, *when* as learnt,
    *what* anew at each level."""
    peaks = []
    for level, p in enumerate(_LEVELS):
        made = learner.anew()
        for event in (np.random.default_rng([seed, level, 31]).random(trials) > p).astype(int):
            made.learn(event, _BLOCKS[0].at_ms[event])
        peaks.append(made.forecast().max(0))
    top = np.array(peaks)
    return float(min(np.corrcoef(_LEVELS, top[:, 0])[0, 1], np.corrcoef(1 - _LEVELS, top[:, 1])[0, 1]))


def _check(v: Values) -> Sequence[Check]:
    ours, noisy, exact, merged = v["two readouts"], v["with noise"], v["least squares"], v["merged"]
    back, stays = (np.maximum(of["times switched"], of["chances switched"]) / of["error"] for of in (ours, exact))
    return [
        Check("peaks follow probability: r > 0.95", f"{ours['r(p)'].min():.3f}", bool((ours["r(p)"] > 0.95).all())),
        Check("peaks within 20 ms", f"{ours['peak off'].max():.0f} ms", bool((ours["peak off"] <= 20).all())),
        Check(
            "50 trials after a switch the error is under twice what it was", f"{back.max():.2f} times at most",
            bool((back < 2).all()),
        ),
        Check(
            "recursive least squares, which forgets nothing, does not come back", f"{stays.min():.1f} times at least",
            bool((stays >= 2).all()),
        ),
        Check(
            "one readout of both does worse", f"{merged['error'].mean():.2f} against {ours['error'].mean():.2f}",
            bool((merged["error"] > ours["error"]).all()),
        ),
        Check("so with noise", f"peaks {noisy['peak off'].max():.0f} ms off", bool((noisy["peak off"] <= 20).all())),
    ]  # fmt: skip


@cache
def _draw(quick: bool) -> Mapping[str, Figure]:
    """The forecast after 100 trials, with and without noise, beside what is to be forecast."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    for ax, condition in zip(figure.subplots(1, 2, sharey=True), ("two readouts", "with noise"), strict=True):
        learner = _learner(condition, 0)
        for event in _events(0, 0, _TRIALS):
            learner.learn(event, _BLOCKS[0].at_ms[event])
        z, wanted = learner.forecast(), circuit.profile(*_BLOCKS[0])
        for c, name in enumerate("AB"):
            ax.plot(circuit.TIME_MS, wanted[:, c], ":", color=f"C{c}")
            ax.plot(circuit.TIME_MS, z[:, c], color=f"C{c}", lw=1, label=name)
        ax.set(title=condition, xlabel="time after the start (ms)")
    figure.axes[0].set_ylabel("forecast")
    figure.axes[0].legend(frameon=False)
    return {"forecast": figure}


what_and_when = Trial(
    "What and when", "Yamada & Chao 2025, arXiv 2510.14382",
    "readouts of one reservoir learn what will come and when, and follow switches, as recursive least squares does not",
    {
        "error": Measure(falls=True), "after 1": Measure(), "after 10": Measure(), "times switched": Measure(),
        "chances switched": Measure(), "peak off": Measure(" ms", digits=0), "r(p)": Measure(digits=3),
    },
    ("two readouts", "with noise", "least squares", "merged"), _run, _check, ("least squares", "merged"), _draw,
)  # fmt: skip

"""Dynamics from sparse recordings on trial: do a few recorded neurons say what all the others did?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from connectome.analysis.style import BLUE, ORANGE
from connectome.circuits import sparse_recordings as circuit
from sims.studies.published import Check, Measure, Trial, Values

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from torch import Tensor

    from connectome.graph.connectome import Connectome

__all__ = ["sparse_recordings"]

_N: Final = 100
#: Rates, numbers of updates and the student's strength were chosen on seeds 100 to 102.
_UPDATES: Final = 600
_SHARES: Final = {"5 % recorded": 5, "10 % recorded": 10, "25 % recorded": 25, "all recorded": 100}
#: Neurons that no condition but "all recorded" knows of: those after this part of a random order.
_KNOWN: Final = 25
#: A hand that reads both oscillations, so that outputs tell of all that there is.
_ALL: Final = " (hand reads all)"
_LONGER: Final = "outputs alone (twice as long)"
#: Every other direction is learnt; those between them are new.
_ANGLE: Final = np.arange(16) * 2 * np.pi / 16


class _Given(NamedTuple):
    teacher: Connectome
    student: Connectome
    order: NDArray[np.int64]
    seen: Tensor
    new: Tensor


def _given(condition: str, seed: int) -> _Given:
    rng = np.random.default_rng([30, seed])
    teacher = circuit.teacher(_N, np.random.default_rng([32, seed]), 2 if condition.endswith(_ALL) else 1)
    student = circuit.student(_N, rng)
    return _Given(teacher, student, rng.permutation(_N), circuit.goals(_ANGLE[::2]), circuit.goals(_ANGLE[1::2]))


def _recorded(condition: str, order: NDArray[np.int64]) -> NDArray[np.int64]:
    return order[: _N * (0 if condition.startswith("outputs") else _SHARES.get(condition, 10)) // 100]


@cache
def _fit(condition: str, seed: int, quick: bool) -> Connectome:
    """The student when it has learnt."""
    import torch

    from connectome.circuits.sparse_fits import Reach, fit

    given = _given(condition, seed)
    if condition == "untrained":
        return given.student
    trains, hand = circuit.activity(given.teacher, given.seen)
    if condition == "shuffled recordings":
        rng = np.random.default_rng([31, seed])
        mixed = [trains[torch.from_numpy(rng.permutation(len(trains))), :, i] for i in range(_N)]
        trains = torch.stack(mixed, dim=-1)
    updates = _UPDATES * (2 if condition == _LONGER else 1) // (4 if quick else 1)
    who = _recorded(condition, given.order)
    performs = condition != "activity alone"
    return fit(given.student, Reach(given.seen, hand), trains, who, updates, performs=performs).connectome


def _rates(connectome: Connectome, given: _Given) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """In directions that were seen, and in those that were not."""
    seen, new = (circuit.rates(circuit.activity(connectome, goals)[0]) for goals in (given.seen, given.new))
    return seen, new


def _error(connectome: Connectome, given: _Given, goals: Tensor) -> float:
    own, true = (circuit.activity(c, goals)[1] for c in (connectome, given.teacher))
    return float((own - true).square().mean() / true.square().mean())


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    given = _given(condition, seed)
    fitted = _fit(condition, seed, quick)
    (seen, new), (of, of_new) = _rates(fitted, given), _rates(given.teacher, given)
    rest, who = given.order[_N * _KNOWN // 100 :], _recorded(condition, given.order)
    found = {
        "unrecorded R2": circuit.explained(of_new[..., rest], circuit.predicted(seen, of[..., rest], new)),
        "hand error": _error(fitted, given, given.new), "hand error, seen": _error(fitted, given, given.seen),
        "rate": float(new.mean()),
    }  # fmt: skip
    if who.size and condition != "untrained":
        found["recorded R2"] = circuit.explained(of_new[..., who], new[..., who])
        themselves = circuit.predicted(of[..., who], of[..., rest], of_new[..., who])
        found["they themselves"] = circuit.explained(of_new[..., rest], themselves)
    return found


def _check(v: Values) -> Sequence[Check]:
    r2 = {c: of["unrecorded R2"].mean() for c, of in v.items()}
    ours, outputs = r2["10 % recorded"], r2["outputs alone"]
    error = {c: of["hand error"].mean() for c, of in v.items()}
    shuffled, better = r2["shuffled recordings"] - outputs, error["10 % recorded"] / error["outputs alone"]
    return [
        Check(
            "with 10 % recorded, R2 of the others is 0.1 or more above that of outputs alone",
            f"{ours:.2f}, {outputs:.2f}", bool(ours >= outputs + 0.1),
        ),
        Check(
            "and at least half of that with all recorded", f"{ours / r2['all recorded']:.2f} of it",
            bool(ours >= 0.5 * r2["all recorded"]),
        ),
        Check(
            "it generalises better: in new directions the hand's error is at most 0.9 of that from outputs alone",
            f"{better:.2f} of it", bool(better <= 0.9),
        ),
        Check(
            "recordings of other trials give no such gain", f"{shuffled:+.2f}", bool(shuffled < 0.1),
        ),
        Check(
            "0.1 or more above outputs alone that are learnt twice as long (ours)", f"{r2[_LONGER]:.2f}",
            bool(ours >= r2[_LONGER] + 0.1),
        ),
        Check(
            "above the untrained student, by 0.1 or more (ours)", f"{r2['untrained']:.2f}",
            bool(ours >= r2["untrained"] + 0.1),
        ),
    ]  # fmt: skip


def _draw(quick: bool) -> Mapping[str, Figure]:
    """Neurons that nobody recorded, in a new direction; and R2 over how many were."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5), layout="constrained")
    given = _given("", 0)
    of, of_new = _rates(given.teacher, given)
    rest = given.order[_N * _KNOWN // 100 :]
    most = rest[np.argsort(-of_new[..., rest].std((0, 1)))][:30:10]
    grid = figure.add_gridspec(3, 3)
    conditions = {"10 % recorded": BLUE, "outputs alone": ORANGE}
    fitted = {c: _rates(_fit(c, 0, quick), given) for c in conditions}
    time = 200 + 10 * np.arange(of.shape[1])
    for row, neuron in enumerate(most):
        for column, direction in enumerate((0, 3)):
            ax = figure.add_subplot(grid[row, column])
            ax.plot(time, of_new[direction, :, neuron], color="0.6", lw=3, label="teacher")
            for c, color in conditions.items():
                guess = circuit.predicted(fitted[c][0], of[..., [neuron]], fitted[c][1])
                ax.plot(time, guess[direction, :, 0], color=color, label=c)
            ax.set(xlabel="time (ms)" if row == 2 else "", ylabel="rate (Hz)" if not column else "")
            if row == 0:
                ax.set_title(f"toward {np.degrees(_ANGLE[2 * direction + 1]):.1f} degrees", fontsize=9)
    figure.axes[0].legend(fontsize=7)
    ax = figure.add_subplot(grid[:, 2])
    shares = [0, *_SHARES.values()]
    found = [_run(c, 0, quick) for c in ("outputs alone", *_SHARES)]
    ax.plot(shares, [f["unrecorded R2"] for f in found], "o-", color=BLUE, label="student, from recordings")
    ax.plot(shares[1:-1], [f["they themselves"] for f in found[1:-1]], "s--", color="0.5", label="the recorded ones")
    ax.axhline(_run("untrained", 0, quick)["unrecorded R2"], color="0.7", ls=":", label="untrained")
    ax.set(xlabel="neurons recorded (%)", ylabel="R2 of others, new directions", ylim=(0, 1))
    ax.legend(fontsize=7)
    return {"rates": figure}


sparse_recordings = Trial(
    "Dynamics from sparse recordings", "Salatiello & Giese 2020, arXiv 2005.02211",
    "trained on the activity of a few neurons beside the task, a network reproduces that of the "
    "others, and generalises better",
    {
        "unrecorded R2": Measure(), "recorded R2": Measure(), "they themselves": Measure(),
        "hand error": Measure(digits=3, falls=True), "hand error, seen": Measure(digits=3, falls=True),
        "rate": Measure(" Hz", digits=0),
    },
    (
        "10 % recorded", "outputs alone", _LONGER, "activity alone", "5 % recorded",
        "25 % recorded", "all recorded", "shuffled recordings", "untrained",
        f"10 % recorded{_ALL}", f"outputs alone{_ALL}",
    ),
    _run, _check, ("outputs alone", _LONGER, "activity alone"), _draw,
)  # fmt: skip

"""Gain control on trial: do gains alone, in a recurrent network, explain what adaptation does in V1?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from connectome.circuits import gain_control as circuit
from sims.studies.published import Check, Measure, Trial, Values

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from connectome.graph.connectome import Connectome

__all__ = ["gain_control"]

_N: Final = 36
#: What the adapter's share was in sessions of the recordings that the paper fits.
_SHARES: Final = (0.5, 0.35, 0.4, 0.3, 0.5)
#: How far orientations are from the adapter, degrees.
_FROM: Final = (np.arange(_N) * 180 / _N + 90) % 180 - 90
_NEAR: Final = (np.abs(_FROM) > 0) & (np.abs(_FROM) <= 45)


def _gains(condition: str, seed: int, quick: bool) -> tuple[NDArray[np.float64], NDArray[np.float64], dict[str, float]]:
    """(N, N) responses before and after adaptation, and the gains' ratio at and opposite the adapter."""
    share = _SHARES[seed % len(_SHARES)]
    ring = {"no recurrence": {"eigenvalue": 0.0}, "weak recurrence": {"eigenvalue": 0.45, "kappa": 1.0}}
    v1 = circuit.orientation_ring(_N, **ring.get(condition, {}))
    f, even, now = circuit.tuning(_N), np.full(_N, 1 / _N), circuit.adapter(_N, share=share)
    before, best = (circuit.optimal_gains(v1, f, p) for p in (even, now))
    after = best
    if condition == "online":
        samples = 60_000 if quick else 200_000
        after = circuit.online_gains(v1, f, now, samples, np.random.default_rng(seed))
    elif condition == "own drive":
        after = _own_drive(v1, f, now, before)
    off = np.abs(after - best).max() / np.abs(best - before).max()
    ratio = after / before
    found = {"gain at": ratio[0], "gain opposite": ratio[_N // 2], "off": off}
    return circuit.responses(v1, f, before), circuit.responses(v1, f, after), found


def _own_drive(
    v1: Connectome, f: NDArray[np.float64], p: NDArray[np.float64], before: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Each neuron makes up for the change of its own mean drive, to a power: the best one by the same objective."""
    usual, now = f.mean(0), p @ f
    gains = [before * (usual / now) ** power for power in np.linspace(0, 2, 41)]
    return min(gains, key=lambda g: circuit.objective(v1, f, p, g))


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    before, after, found = _gains(condition, seed, quick)
    moved = (circuit.tuning_peaks(after) - circuit.tuning_peaks(before) + 90) % 180 - 90
    away = (moved * np.sign(_FROM))[_NEAR]
    p = circuit.adapter(_N, share=_SHARES[seed % len(_SHARES)])
    even = [(p @ r).std() / (p @ r).mean() for r in (before, after)]
    return found | {
        "repulsion": float(away.mean()), "repelled": float((away > 1e-6).mean()), "shift": float(np.abs(moved).max()),
        "CV before": even[0], "CV after": even[1], "response at": after[0, 0] / before[0, 0],
    }  # fmt: skip


def _check(v: Values) -> Sequence[Check]:
    ours, flat = v["gain control"], v["no recurrence"]
    spread = ours["CV after"] / ours["CV before"]
    return [
        Check(
            "gains fall at the adapter and rise opposite it, in every session",
            f"{ours['gain at'].max():.2f} at most, {ours['gain opposite'].min():.2f} at least",
            bool((ours["gain at"] < 1).all() and (ours["gain opposite"] > 1).all()),
        ),
        Check(
            "the peaks of all neurons within 45 degrees move away", f"{100 * ours['repelled'].min():.0f} %",
            bool((ours["repelled"] == 1).all()),
        ),
        Check(
            "mean responses are equalised: their CV halves", f"to {spread.max():.2f} of it at most",
            bool((spread <= 0.5).all()),
        ),
        Check(
            "without recurrence no peak moves", f"{flat['shift'].max():.1g} degrees at most",
            bool((flat["shift"] < 1e-6).all()),
        ),
        Check(
            "a stimulus at a time, the gains come within a tenth of the change", f"{v['online']['off'].max():.3f}",
            bool((v["online"]["off"] < 0.1).all()),
        ),
    ]  # fmt: skip


@cache
def _draw(quick: bool) -> Mapping[str, Figure]:
    """Tuning curves before and after adaptation."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    angle = np.arange(_N) * 180 / _N - 90
    for ax, condition in zip(figure.subplots(1, 2, sharey=True), ("gain control", "no recurrence"), strict=True):
        before, after, _ = _gains(condition, 0, quick)
        scale = before.max()
        for k, neuron in enumerate(range(-9, 10, 3)):
            for response, style in ((before, ":"), (after, "-")):
                ax.plot(angle, np.roll(response[:, neuron], _N // 2) / scale, style, color=f"C{k}", lw=1.2)
        ax.axvline(0, color="0.7", zorder=0)
        ax.set(title=condition, xlabel="orientation from the adapter (degrees)", xlim=(-90, 85))
    figure.axes[0].set_ylabel("response (of the largest before)")
    figure.suptitle("Tuning before (dotted) and after adaptation", fontsize=10)
    return {"tuning": figure}


gain_control = Trial(
    "Gain control in V1", "Duong et al. 2023, arXiv 2305.19869",
    "single-neuron gains in a recurrent network repel tuning peaks from an adapter and equalise responses",
    {
        "repulsion": Measure(" degrees"), "repelled": Measure(" %", 100, 0), "shift": Measure(" degrees"),
        "gain at": Measure(), "gain opposite": Measure(), "response at": Measure(), "CV before": Measure(),
        "CV after": Measure(), "off": Measure(" %", 100, 1),
    },
    ("gain control", "online", "weak recurrence", "own drive", "no recurrence"),
    _run, _check, ("own drive",), _draw,
)  # fmt: skip

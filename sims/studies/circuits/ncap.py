"""The worm's circuit swims: on trial before and after training, on other bodies, without its parts, and beside a
network with a clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from connectome.circuits import ncap as circuit
from connectome.datasets.swimmer import MOVES, Swimmer
from connectome.learning.evolution import evolve
from sims.studies.published import Check, Measure, Trial, Values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from connectome.io.results import Film

__all__ = ["ncap"]

_LINKS: Final = 6
_OTHERS: Final = (8, 12)
#: Weights that make each ablation, of the equations.
_ABLATED: Final = {
    "no proprioception": circuit.SWIMMING._replace(proprioception=0.0),
    "no oscillator": circuit.SWIMMING._replace(oscillator=0.0),
    "no signs": circuit.SWIMMING._replace(contralateral=1.0),
    "no contralateral inhibition": circuit.SWIMMING._replace(contralateral=0.0),
}
_TRIALS_AN_UPDATE: Final = 8
#: Trials that the circuit evolves with, and its competitor: three times as many.
_EVOLVED, _COMPETES = 80, 240
#: A network of 6-32-32-5; how fast it learns is chosen on another seed.
_HIDDEN: Final = (32, 32)
_RATES: Final = (0.05, 0.1, 0.2)
_CHOICE: Final = 24


def _return(controller: circuit.Controller, links: int, start: int, moves: int) -> float:
    """Of 1,000: fewer moves count as so many."""
    return circuit.swim(controller, Swimmer(links, moves), start) * MOVES / moves


def _network(numbers: NDArray[np.float64]) -> circuit.Controller:
    """Angles and the oscillator through layers of tanh to torques."""
    sizes, layers, at = (_LINKS, *_HIDDEN, _LINKS - 1), [], 0
    for n, m in pairwise(sizes):
        layers.append((numbers[at : at + n * m].reshape(n, m), numbers[at + n * m : at + n * m + m]))
        at += n * m + m

    def torque(q: NDArray[np.float64], move: int) -> NDArray[np.float64]:
        dorsal, ventral = circuit.oscillator(move)
        x = np.append(q, dorsal - ventral)
        for w, b in layers:
            x = np.tanh(x @ w + b)
        return x

    return torque


def _newborn(rng: np.random.Generator) -> NDArray[np.float64]:
    sizes = (_LINKS, *_HIDDEN, _LINKS - 1)
    parts = [(rng.standard_normal(n * m) / n**0.5, np.zeros(m)) for n, m in pairwise(sizes)]
    return np.concatenate([part for pair in parts for part in pair])


def _signed(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Excitation is not below 0, inhibition not above."""
    signs = np.sign(circuit.SWIMMING)
    found: NDArray[np.float64] = np.maximum(weights * signs, 0) * signs
    return found


def _evolved(seed: int, moves: int) -> Iterator[NDArray[np.float64]]:
    return evolve(
        lambda weights, start: _return(circuit.graded(_signed(weights)), _LINKS, start, moves), circuit.SWIMMING,
        np.random.default_rng(seed), sigma=0.2, rate=0.2,
    )  # fmt: skip


def _competitor(seed: int, rate: float, moves: int) -> Iterator[NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    return evolve(
        lambda numbers, start: _return(_network(numbers), _LINKS, start, moves), _newborn(rng), rng, rate=rate
    )


def _after(updates: Iterator[NDArray[np.float64]], trials: int) -> NDArray[np.float64]:
    return next(islice(updates, trials // _TRIALS_AN_UPDATE - 1, None))


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    moves = 400 if quick else 1000
    start = 10_000 + seed  # where no controller has trained
    if condition == "equations":
        return {
            "return": _return(circuit.graded(), _LINKS, start, moves),
            **{f"{n} links": _return(circuit.graded(), n, start, moves) for n in (3, *_OTHERS)},
        }
    if condition == "network with a clock":
        choice = 8 if quick else _CHOICE
        tried = {rate: _after(_competitor(100 + seed, rate, moves), choice) for rate in _RATES}
        best = max(_RATES, key=lambda rate: _return(_network(tried[rate]), _LINKS, 20_000 + seed, moves))
        trials = 48 if quick else _COMPETES
        numbers = _after(_competitor(seed, best, moves), trials)
        return {"return": _return(_network(numbers), _LINKS, start, moves), "trials": float(trials)}
    if condition == "untrained network":
        return {"return": _return(_network(_newborn(np.random.default_rng(seed))), _LINKS, start, moves)}
    if condition == "NCAP evolved":
        trials = 16 if quick else _EVOLVED
        weights = _signed(_after(_evolved(seed, moves), trials))
        return {
            "return": _swims(weights, _LINKS, start, moves), "trials": float(trials),
            "equations": _return(circuit.graded(weights), _LINKS, start, moves),
        }  # fmt: skip
    if condition in _ABLATED:
        return {"return": _return(circuit.graded(_ABLATED[condition]), _LINKS, start, moves)}
    swims = {n: _swims(circuit.SWIMMING, n, start, moves) for n in (_LINKS, *_OTHERS)}
    return {"return": swims.pop(_LINKS), **{f"{n} links": found for n, found in swims.items()}}


def _swims(weights: Sequence[float] | NDArray[np.float64], links: int, start: int, moves: int) -> float:
    """In spikes."""
    return _return(circuit.in_spikes(circuit.swimming_circuit(links - 1, weights)), links, start, moves)


def _check(v: Values) -> Sequence[Check]:
    ours, others = v["NCAP"], [f"{n} links" for n in _OTHERS]
    evolved, network = v["NCAP evolved"]["return"], v["network with a clock"]["return"]
    start, least = ours["return"].min(), min(ours[name].min() for name in others)
    found = [
        Check("untrained it swims with 6 links: 700 or more", f"{start:.0f}", start >= 700),
        Check("with the same four numbers, with 8 and 12: 800 or more", f"{least:.0f}", least >= 800),
        Check("80 trials of evolution bring it to 850 or more", f"{evolved.min():.0f}", evolved.min() >= 850),
        Check(
            "a network with a clock is below that after three times as many trials",
            f"{network.max():.0f}", bool((network < evolved).all()),
        ),
        Check(
            "and even below where the circuit begins",
            f"{network.max():.0f} against {start:.0f}", bool((network < ours["return"]).all()),
        ),
    ]  # fmt: skip
    for name in ("no proprioception", "no oscillator", "no signs", "untrained network"):
        most = v[name]["return"].max()
        found.append(Check(f"{name}: below 200", f"{most:.0f}", most < 200))
    return [Check(claim, text, bool(holds)) for claim, text, holds in found]


@cache
def _film(quick: bool) -> Mapping[str, Film]:
    """The circuit swims, untrained, in spikes: a picture of every third move."""
    from PIL import Image, ImageDraw

    from connectome.io.results import Film

    moves = 120 if quick else 420
    body = Swimmer(_LINKS, moves)
    controller, (q, _), shapes = circuit.in_spikes(circuit.swimming_circuit(_LINKS - 1)), body.reset(seed=0), []
    for move in range(moves):
        q = body.step(controller(q, move))[0]
        shapes.append(body.shape_m)
    path = np.array(shapes)
    low, high = path.min((0, 1)) - 0.1, path.max((0, 1)) + 0.1
    scale = 480 / (high - low).max()
    width, height = (int(np.ceil((high - low)[k] * scale / 2)) * 2 for k in (0, 1))
    frames = []
    for t in range(0, moves, 3):
        picture = Image.new("RGB", (width, height), "white")
        pen = ImageDraw.Draw(picture)
        at = (path[: t + 1] - low) * scale
        at[..., 1] = height - at[..., 1]
        pen.line([tuple(p) for p in at[:, 0]], fill=(200, 200, 200), width=1)
        pen.line([tuple(p) for p in at[-1]], fill=(31, 119, 180), width=max(3, int(0.02 * scale)), joint="curve")
        x, y = at[-1, 0]
        r = 0.017 * scale
        pen.ellipse((x - r, y - r, x + r, y + r), fill=(214, 39, 40))
        pen.line((10, height - 10, 10 + 0.1 * scale, height - 10), fill=(0, 0, 0), width=2)
        pen.text((12, height - 26), f"0.1 m   {t * 0.03:.1f} s", fill=(0, 0, 0))
        frames.append(np.asarray(picture))
    return {"swims": Film(np.array(frames), 90)}


ncap = Trial(
    "NCAP: the worm's circuit swims", "Bhattasali, Zador & Engel 2022, arXiv 2201.05242",
    "four numbers in the worm's wiring swim untrained, with any body, by their signs; networks need far more trials",
    {
        "return": Measure(digits=0), "8 links": Measure(digits=0), "12 links": Measure(digits=0),
        "3 links": Measure(digits=0), "equations": Measure(digits=0), "trials": Measure(digits=0),
    },
    ("NCAP", "equations", "NCAP evolved", "network with a clock", "untrained network", *_ABLATED),
    _run, _check, ("network with a clock",), _film, ("mujoco",),
)  # fmt: skip

"""The network as a picture that does not turn, in SVG paths: for print, and where there is no script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["LIFT", "Flat", "front", "pair_hash", "still"]

#: How far a bundle of edges bends to its side, of its length: the two directions stay apart.
LIFT: Final = 0.22
_MAX_EDGES: Final = 600  # of one kind
_WIDTH: Final = 1000.0
#: Of a name, in the picture's units: a letter's width, a line's height, and how many lines a name may move up or down.
_LETTER, _LINE, _MOVES = 9.5, 21.0, (0, -1, 1, -2, -3, 2)
_Floats = NDArray[np.float64]


class Flat(NamedTuple):
    """The projection onto the picture, ``place @ matrix + shift``, x to the right and y down; and the picture's
    height."""

    matrix: _Floats
    shift: _Floats
    height: float

    def __call__(self, place: _Floats) -> _Floats:
        """(N, 2) coordinates in the picture of (N, 3) positions."""
        return place @ self.matrix + self.shift


def front(place: _Floats) -> Flat:
    """From the front and a little from above, the longer side from left to right."""
    elevation = 0.35
    along, deep = [1.0, 0.0], [0.25, -math.sin(elevation)]
    extent = np.ptp(place, axis=0) if len(place) else np.zeros(3)
    across = [deep, along] if extent[1] > extent[0] else [along, deep]
    project = np.array([*across, [0.0, -math.cos(elevation)]])
    flat = place @ project
    low, high = (flat.min(axis=0), flat.max(axis=0)) if len(flat) else (np.zeros(2), np.ones(2))
    scale = _WIDTH / max(high[0] - low[0], (high[1] - low[1]) * 1.4, 1e-9)
    shift = np.array([(_WIDTH - (high[0] - low[0]) * scale) / 2, 0.0]) - low * scale
    return Flat(project * scale, shift, max(200.0, (high[1] - low[1]) * scale))


def still(
    view: Flat, place: _Floats, region_of: NDArray[np.int64], centre: _Floats,
    edges: Sequence[tuple[str, NDArray[np.int64]]], drawn: NDArray[np.int64], shape: NDArray[np.int64],
    labels: Sequence[tuple[str, _Floats]],
) -> dict[str, Any]:  # fmt: skip
    """The paths of edges by kind, of dots by shape, and the names with their places, none of which covers another.

    Parameters
    ----------
    edges : for each kind, the (E, 2) pairs of neurons
    drawn, shape : which neurons are dots, and the shape of every neuron
    labels : names and where they belong, the most important first
    """
    flat, control = view(place), view(centre)
    lines = []
    for kind, pairs in edges:
        rows = pairs[np.argsort(pair_hash(pairs[:, 0] * len(place) + pairs[:, 1]), kind="stable")][:_MAX_EDGES]
        path = []
        for a, b in rows.tolist():
            (x0, y0), (x1, y1) = flat[a], flat[b]
            i, j = region_of[a], region_of[b]
            bend = ""
            if i != j:
                d = control[j] - control[i]
                x, y = (
                    0.8 * (control[i] + control[j]) / 2
                    + 0.1 * (flat[a] + flat[b])
                    + 0.8 * LIFT * np.array([d[1], -d[0]])
                )
                bend = f"Q{x:.0f} {y:.0f} "
            path.append(f"M{x0:.0f} {y0:.0f}{bend or 'L'}{x1:.0f} {y1:.0f}")
        lines.append((kind, "".join(path)))
    dots = [
        (number, "".join(f"M{x:.0f} {y:.0f}h0" for x, y in flat[drawn[shape[drawn] == number]].tolist()))
        for number in range(4)
    ]
    texts = _apart([(text, *view(at).round(0).tolist()) for text, at in labels])
    return {"lines": lines, "dots": dots, "labels": texts, "width": _WIDTH, "height": round(view.height)}


def _apart(labels: Sequence[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    """The same labels, each at its place or a few lines above or below, so that none covers an earlier one; those for
    which there is no room are left out."""
    found: list[tuple[str, float, float]] = []
    for text, x, y in labels:
        for lines in _MOVES:
            here = y + lines * _LINE
            if all(
                abs(x - x_) >= _LETTER * (len(text) + len(text_)) / 2 or abs(here - y_) >= _LINE
                for text_, x_, y_ in found
            ):
                found.append((text, x, here))
                break
    return found


def pair_hash(x: NDArray[np.int64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser, one to one: numbers that look random and depend on the pair alone."""
    z = x.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))

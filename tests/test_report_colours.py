"""The colours of the pages, in light and in dark: told apart also by those who do not see red, green or blue."""

from __future__ import annotations

import re
from importlib import resources
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

#: What is left of linear RGB without one kind of cone (Machado, Oliveira & Fernandes 2009, IEEE TVCG 15:1291).
VISION = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
#: From linear sRGB to OKLab (Ottosson 2020), in which distances are about those that are seen.
TO_LMS = np.array(
    [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
     [0.0883024619, 0.2817188376, 0.6299787005]]
)  # fmt: skip
TO_LAB = np.array(
    [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
     [0.0259040371, 0.7827717662, -0.8086757660]]
)  # fmt: skip
CATEGORIES = [f"c{i}" for i in range(8)]
KINDS = ["local", "long_range", "afferent", "efferent"]


def themes() -> list[dict[str, NDArray[np.float64]]]:
    """The custom properties of the light theme and of the dark one: name -> linear RGB."""
    css = (resources.files("connectome.analysis.report") / "templates" / "report.css").read_text("utf-8")
    light, dark = re.findall(r":root[^{]*\{([^}]*)\}", css)[:2]
    found = []
    for text in (light, dark):
        given = {
            name: np.array([int(value[i : i + 2], 16) / 255 for i in (0, 2, 4)])
            for name, value in re.findall(r"--(\w+): #([0-9a-f]{6})", text)
        }
        found.append({k: np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4) for k, v in given.items()})
    return found


THEMES = dict(zip(("light", "dark"), themes(), strict=True))


def seen(colour: NDArray[np.float64], vision: str) -> NDArray[np.float64]:
    """OKLab of a colour as it is seen."""
    left: NDArray[np.float64] = TO_LAB @ np.cbrt(TO_LMS @ np.clip(np.array(VISION[vision]) @ colour, 0, 1))
    return left


def contrast(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The contrast ratio of WCAG 2."""
    low, high = sorted(float(np.dot([0.2126, 0.7152, 0.0722], c)) for c in (a, b))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("theme", THEMES)
def test_categories_are_told_apart(theme: str, vision: str) -> None:
    colours = THEMES[theme]
    names = [*CATEGORIES, "other", "missing"]
    near = {
        (a, b): float(np.linalg.norm(seen(colours[a], vision) - seen(colours[b], vision)))
        for a, b in combinations(names, 2)
    }
    assert min(near.values()) > 0.06, min(near, key=lambda pair: near[pair])


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("theme", THEMES)
def test_kinds_of_edges_are_told_apart(theme: str, vision: str) -> None:
    """They have line styles of their own besides."""
    colours = THEMES[theme]
    assert (
        min(np.linalg.norm(seen(colours[a], vision) - seen(colours[b], vision)) for a, b in combinations(KINDS, 2))
        > 0.06
    )


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("theme", THEMES)
def test_a_scale_is_read_by_lightness_alone(theme: str, vision: str) -> None:
    steps = np.diff([seen(THEMES[theme][f"s{i}"], vision)[0] for i in range(7)])
    assert (steps < -0.04).all() if theme == "light" else (steps > 0.04).all()


@pytest.mark.parametrize("theme", THEMES)
def test_dots_stand_out_from_the_page(theme: str) -> None:
    colours = THEMES[theme]
    faint = {name: contrast(colours[name], colours["card"]) for name in [*CATEGORIES, "other", "missing", "s2", "s6"]}
    assert min(faint.values()) > 1.9, faint

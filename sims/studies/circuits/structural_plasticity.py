"""Structural plasticity on trial: do neurons that wire themselves come to their set points, as NEST's do?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from connectome.analysis.intervals import mean_of
from connectome.analysis.style import BLUE, ORANGE
from connectome.circuits.structural_plasticity import SET_POINT
from sims.studies.circuits.structural_runs import SECONDS, grown, measured, nest_example
from sims.studies.published import Check, Measure, Trial, Values

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ["structural_plasticity"]

_NEST = ("no NEST here: let NEST_PYTHON name an interpreter that has it", False)


def _range(values: NDArray[np.float64], scale: float = 100, unit: str = " %") -> str:
    return f"{scale * np.nanmin(values):.3g} to {scale * np.nanmax(values):.3g}{unit}"


def _check(v: Values) -> Sequence[Check]:
    ours, nest = v["homeostasis"], v["NEST"]
    reached = {c: np.concatenate([v[c]["e"], v[c]["i"]]) for c in ("homeostasis", "distance kernel")}
    checks = [
        Check(
            f"calcium of both populations is within 5 % of its set point, {how}", _range(of),
            bool((abs(of - 1) <= 0.05).all()),
        )
        for how, of in zip(("in every run", "and with a kernel of distance"), reached.values(), strict=True)
    ]  # fmt: skip
    checks.append(
        Check(
            "the numbers of synapses settle: they change by less than 5 % in 25 s", _range(ours["drift"]),
            bool((ours["drift"] < 0.05).all()),
        )
    )  # fmt: skip
    ratios = np.array([mean_of(ours[m]).mean / mean_of(nest[m]).mean for m in ("e synapses", "i synapses", "e", "i")])
    found, holds = _NEST
    if np.isfinite(ratios).all():
        found, holds = _range(ratios, 1, " of NEST's"), bool((abs(ratios - 1) <= 0.1).all())
    checks.append(Check("synapses and calcium settle where NEST's do, within 10 %", found, holds))
    nearer = [v[c]["off"] - ours["off"] for c in ("random rewiring", "static")]
    checks.append(
        Check(
            "every neuron is nearer its own set point than with as many edges anywhere", _range(np.concatenate(nearer)),
            bool((np.concatenate(nearer) > 0).all()),
        )
    )  # fmt: skip
    shorter = v["distance kernel"]["length"] / ours["length"]
    checks.append(
        Check(
            "with a kernel of distance edges are less than half as long", _range(shorter), bool((shorter < 0.5).all())
        )
    )
    after = np.concatenate([ours["e, weak drive"], ours["i, weak drive"]])
    fixed = np.concatenate([v["static"]["e, weak drive"], v["static"]["i, weak drive"]])
    checks.append(
        Check(
            "after the drive has become weaker calcium comes back to within 10 %, and without plasticity does not",
            f"{_range(after)}, {_range(fixed)}", bool((abs(after - 1) <= 0.1).all() and (abs(fixed - 1) > 0.1).all()),
        )
    )  # fmt: skip
    speed = mean_of(nest["cpu"]).mean / mean_of(ours["cpu"]).mean
    plain = mean_of(nest["still"]).mean / mean_of(v["no edges"]["cpu"]).mean
    found, holds = _NEST
    if np.isfinite(speed):
        found, holds = f"{speed:.0f} against {plain:.0f} times", bool(speed >= plain)
    return [*checks, Check("as many times faster than NEST as without plasticity", found, holds)]


@cache
def _draw(quick: bool) -> Mapping[str, Figure]:
    """Calcium reaching its set point, and synapses over time; NEST's dotted, where it is at hand."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    nest = nest_example(0, quick)
    left, right = figure.subplots(1, 2)
    for condition, style in (("homeostasis", "-"), ("an update in 10 s", "--")):
        result = grown(condition, 0, quick)[0].result
        time_s = result.time_ms.values / 1000
        for name, colour in (("e", BLUE), ("i", ORANGE)):
            label = f"{name.upper()}, {'1 s' if style == '-' else '10 s'}"
            left.plot(time_s, result.calcium.sel(plastic_region=name), style, color=colour, lw=1.2, label=label)
            mine = [k for k in result.edge_set.values.tolist() if k.startswith(f"{name}:")]
            right.plot(time_s, result.synapses.sel(edge_set=mine).sum("edge_set"), style, color=colour, lw=1.2)
    for name, colour in (("e", BLUE), ("i", ORANGE)):
        left.axhline(SET_POINT[name], color=colour, lw=5, alpha=0.2, zorder=0)
        if nest:
            at = np.arange(1, SECONDS + 1)
            left.plot(at, nest[f"calcium_{name}"], ":", color="k", lw=1.2, label="NEST, 1 s" if name == "e" else None)
            right.plot(at, nest[f"synapses_{name}"], ":", color="k", lw=1.2)
    left.legend(fontsize=8, title="population, update", title_fontsize=8)
    left.set(xlabel="time (s)", ylabel="mean calcium; bands: set points")
    right.set(xlabel="time (s)", ylabel="synapses of E and I neurons", ylim=(0, None))
    return {"set-point": figure}


structural_plasticity = Trial(
    "Homeostatic structural plasticity", "Butz & van Ooyen 2013, PLoS Comput. Biol. 9: e1003259; NEST's example",
    "neurons that grow and lose synaptic elements by their calcium wire a network that has the activity it is for",
    {
        "off": Measure(" %", 100, 1, falls=True), "e": Measure(" %", 100, 1), "i": Measure(" %", 100, 1),
        "e synapses": Measure("", 1, 0), "i synapses": Measure("", 1, 0), "drift": Measure(" %", 100, 1),
        "length": Measure(" um", 1, 0), "off, weak drive": Measure(" %", 100, 1),
        "e, weak drive": Measure(" %", 100, 1), "i, weak drive": Measure(" %", 100, 1),
        "cpu": Measure(" ms/s", 1000, 0), "still": Measure(" ms/s", 1000, 0),
    },
    (
        "homeostasis", "distance kernel", "an update in 10 s", "random rewiring", "static", "no edges", "NEST",
    ),
    measured, _check, ("random rewiring", "static"), _draw,
)  # fmt: skip

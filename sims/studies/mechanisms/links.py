"""Links that evolve, on trial: eight earlier regions, of which the new one needs two, and few edges to reach them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from connectome.analysis.intervals import paired
from connectome.development.links import LinkEvolution, observed
from connectome.mechanisms.growth import LongRangeGrowth
from connectome.rules import Link, LinkRule
from sims.studies.mechanisms.eight_regions import NEW, REGIONS, needed, ninth_stage
from sims.studies.published import Check, Measure, Trial, Values, better

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from connectome.graph.connectome import Connectome

__all__ = ["links"]

_GROWS: Final = 10  # epochs
#: Edges that grow in an epoch.
_FEW, _MANY = 30, 300


class Course(NamedTuple):
    """How the new region's stage went: (G,) the share of each epoch's edges that came from the regions it needs; (V,)
    validation scores; the test score."""

    useful: NDArray[np.float64]
    validation: NDArray[np.float64]
    score: float


def by_importance(connectome: Connectome, links: tuple[Link, ...], *, power: float) -> tuple[Link, ...]:
    """Probabilities in proportion to a power of the mean importance of a link's edges."""
    seen = observed(connectome, links)
    worth = np.array([link.outcome for link in seen]) ** power
    return tuple(k._replace(probability=float(p)) for k, p in zip(seen, worth / worth.sum(), strict=True))


def bandit(connectome: Connectome, links: tuple[Link, ...], *, c: float) -> tuple[Link, ...]:
    """The upper confidence bound (Auer, Cesa-Bianchi & Fischer 2002, UCB1): an epoch's edges, drawn one after the
    other, each go where ``outcome / most + c sqrt(ln N / n)`` is the highest, n edges of a link, N of all."""
    seen = observed(connectome, links)
    n = np.array([link.sampled for link in seen], float)
    worth = np.array([link.outcome for link in seen])
    worth, given = worth / max(worth.max(), 1e-30), np.zeros(len(seen))
    for _ in range(100):  # shares of an epoch's edges, to a hundredth
        best = np.argmax(worth + c * np.sqrt(np.log(n.sum()) / np.maximum(n, 1e-9)))
        given[best] += 0.01
        n[best] += 1
    return tuple(k._replace(probability=float(p)) for k, p in zip(seen, given / given.sum(), strict=True))


def told(connectome: Connectome, links: tuple[Link, ...], *, views: Sequence[int]) -> tuple[Link, ...]:
    """Every edge comes from the regions that are needed."""
    names = {REGIONS[v] for v in views}
    return tuple(k._replace(probability=(k.source in names) / len(names)) for k in observed(connectome, links))


#: Condition -> the rule of links for a seed. Parameters are the best of three or more on seeds 100 to 102.
_RULES: Final[Mapping[str, Callable[[int], LinkRule]]] = {
    "evolving": lambda seed: LinkEvolution(gamma=1.0),
    "even": lambda seed: LinkEvolution(gamma=0.0),
    "by importance": lambda seed: partial(by_importance, power=4.0),
    "bandit": lambda seed: partial(bandit, c=1.0),
    "told": lambda seed: partial(told, views=needed(seed)),
}


def course(rule: LinkRule, edges: int, seed: int, quick: bool) -> Course:
    """The ninth region's stage by a rule of links."""
    grow = LongRangeGrowth(edges=edges, last_epoch=_GROWS)
    last, scores = ninth_stage(lambda stage: replace(stage, links=rule, rules=(grow,)), seed, quick)
    grown = np.zeros((2, _GROWS))
    names = {REGIONS[v] for v in needed(seed)}
    records = [r for r in last.connectome.provenance.rule_log if r.rule == "growth"]
    epoch = min(r.step for r in records)
    for r in records:
        grown[int(r.source in names), r.step // epoch - 1] += r.added
    return Course(grown[1] / grown.sum(0), np.array(scores), last.scores[NEW].value)


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    rule, _, many = condition.partition(" (")
    found = course(_RULES[rule](seed), _MANY if many else _FEW, seed, quick)
    return {"score": found.score, "useful": float(found.useful.mean()), "on the way": float(found.validation.mean())}


def _check(v: Values) -> Sequence[Check]:
    ours, even = v["evolving"]["useful"], v["even"]["useful"]
    few, even_few, many, even_many, bandit = (
        v[c]["score"] for c in ("evolving", "even", "evolving (many edges)", "even (many edges)", "bandit")
    )
    behind = paired(few, bandit)
    return [
        Check(
            "links that evolve find the regions that are needed: most new edges come from there",
            f"{100 * ours.mean():.0f} %, drawn evenly {100 * even.mean():.0f} %", bool(ours.mean() > 0.5),
        ),
        better("the region learns better than by even drawing", few, even_few),
        better("also with ten times the edges", many, even_many),
        Check("and no worse than by a bandit", behind.text(100, 1, " points"), behind.mean + behind.half >= 0),
    ]  # fmt: skip


@cache
def _draw(quick: bool) -> Mapping[str, Figure]:
    """Where new edges come from, and what the region has learnt, of the first seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, rule in _RULES.items():
        found = course(rule(0), _FEW, 0, quick)
        left.plot(1 + np.arange(_GROWS), 100 * found.useful, marker=".", label=name)
        right.plot(1 + np.arange(found.validation.size), 100 * found.validation, label=name)
    left.set(xlabel="epoch", ylabel="new edges from the two\nregions that are needed (%)", ylim=(0, 103))
    right.set(xlabel="epoch", ylabel="digits named (%)")
    right.legend(fontsize=8, frameon=False)
    return {"course": figure}


links = Trial(
    "Links that evolve", "Han et al. 2025, arXiv 2504.05621; Zheng et al. 2019, MdeNAS",
    "of many earlier regions a new one comes to be linked with those that are of use to it",
    {"score": Measure(" %", 100, 1), "useful": Measure(" %", 100, 0), "on the way": Measure(" %", 100, 1)},
    (*_RULES, *(f"{name} (many edges)" for name in _RULES)),
    _run, _check, ("even", "by importance", "bandit"), _draw,
)  # fmt: skip

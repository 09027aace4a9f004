"""An experiment in words: what each condition does, and what to know before reading the numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from connectome.experiment.conditions import Edges, Manipulation
from connectome.experiment.parts import Condition
from connectome.experiment.trials import Setup
from connectome.graph.selection import NodeSet
from connectome.texts import listed, plural

__all__ = ["condition_rows", "notes", "what_is_done"]

_MOST_REGIONS: Final = 3


def condition_rows(setup: Setup) -> list[list[str]]:
    """A row for each condition: its name, what it builds on, what it does itself. A sweep is the last."""
    rows = []
    for name, condition in setup.experiment.conditions.items():
        own = setup.own(name)
        rows.append([name, condition.base or "-", what_is_done(condition, own)])
    sweep = setup.experiment.sweep
    if sweep:
        swept = f"each of {plural(setup.swept.size, 'cell')} silent in turn ({sweep.silence_each})"
        rows.append(["sweep", sweep.base or setup.experiment.reference, swept])
    return rows


def what_is_done(condition: Condition, own: Manipulation) -> str:
    """What a condition does in addition to its base."""
    parts = [
        f"{_cells(nodes)} at {s.rate_hz:g} Hz" if s.rate_hz is not None else f"{_cells(nodes)} by {s.current_pa:g} pA"
        for s, nodes in own.stimulate
    ]
    parts = [f"stimulate {part}{_when(s)}" for part, (s, _) in zip(parts, own.stimulate, strict=True)]
    parts += [f"silence {_cells(nodes)}{_when(s)}" for s, nodes in own.silence]
    parts += [f"hold {_cells(nodes)} at {h.v_mv:g} mV{_when(h)}" for h, nodes in own.hold]
    parts += [f"lesion {_cells(nodes)}" for nodes in own.lesion]
    parts += [f"cut {_edges(masks)}" for masks in own.cut]
    parts += [f"{_edges(masks)} times {by:g}" for by, masks in own.scale]
    done = "; ".join(parts) or "nothing"
    return f"{condition.about}: {done}" if condition.about else done


def _when(part: object) -> str:
    start, end = getattr(part, "from_ms", 0.0), getattr(part, "to_ms", None)
    if not start and end is None:
        return ""
    return f", from {start:g} ms" + (f" to {end:g} ms" if end is not None else "")


def _cells(nodes: NodeSet) -> str:
    regions = [f"{name} {numbers.size:,}" for name, numbers in nodes.neurons.items()]
    more = [f"{len(regions) - _MOST_REGIONS} more regions"] if len(regions) > _MOST_REGIONS else []
    where = f" ({', '.join(regions[:_MOST_REGIONS] + more)})" if len(regions) > 1 else ""
    return plural(len(nodes), "cell") + where


def _edges(masks: Edges) -> str:
    return plural(int(sum(mask.sum() for mask in masks.values())), "edge")


def notes(setup: Setup) -> Iterator[str]:
    """What a reader must know before reading the numbers."""
    e = setup.experiment
    least = {"permutation": 2.0 ** (1 - e.seeds), "wilcoxon": 2.0 ** (1 - e.seeds)}.get(e.test, 0.0)
    if e.seeds == 1:
        yield "With one seed there are no intervals and no p-values."
    elif least > 0.05:
        yield f"With {e.seeds} seeds no p-value of this test is below {least:.2g}."
    still = [name for name in e.conditions if not e.whole(name).is_random]
    if still:
        words = f"{listed(still)}: nothing is drawn at random on the measured wiring, so that all seeds are the same"
        yield f"{words} trial and have no p-value."
    if e.controls.random_targets:
        few = [name for name in e.conditions if setup.own(name).names_anything and not setup.has_random_targets(name)]
        if few:
            yield f"{listed(few)}: no random targets, as there are not as many others."

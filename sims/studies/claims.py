"""The studies of the developmental claims: what is kept, what it costs, against comparators; and what carries it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sims.studies.cells import Cell, Study, StudyTable
from sims.studies.development import (
    ORDER,
    defaults,
    differences,
    draw_scores,
    energy,
    go_through,
    outcome_table,
    planned,
)

if TYPE_CHECKING:
    import xarray as xr

    from connectome.development.configuration import Configuration

__all__ = ["ablations", "claims"]

#: Of the local edges, the parts that are pruned where pruning rules are set side by side.
LEVELS: Final = {"60 %": 0.4, "80 %": 0.2, "90 %": 0.1}
Change = "Callable[[Configuration], Configuration]"


class Condition(NamedTuple):
    """How a development differs from the default one: the method, the configuration, the order of the stages, and
    whether it begins with as few edges as the default one ends with."""

    method: str = "development"
    change: Callable[[Configuration], Configuration] = lambda c: c
    order: tuple[str, ...] = ORDER
    sparse: bool = False


def _rules(**fields: Mapping[str, Any]) -> Callable[[Configuration], Configuration]:
    """The same with these fields of rules."""

    def change(c: Configuration) -> Configuration:
        changed = {name: replace(c.rules[name], **values) for name, values in fields.items()}  # type: ignore[type-var]  # rules are dataclasses
        return replace(c, rules={**c.rules, **changed})

    return change


def _parts(**fields: Mapping[str, Any]) -> Callable[[Configuration], Configuration]:
    """The same with these fields of its parts."""
    return lambda c: replace(c, **{name: replace(getattr(c, name), **values) for name, values in fields.items()})


def _no_long_range(c: Configuration) -> Configuration:
    return _rules(growth={"edges": 0})(_parts(anatomy={"long_range_density": 0.0})(c))


#: Pruning by feedback, at random, by magnitude, at three levels; and ways that do not prune.
CLAIMS: Final = {
    **{
        f"{name} {level}": Condition(method, _rules(pruning={"keep": keep}))
        for level, keep in LEVELS.items()
        for name, method in (("feedback", "development"), ("blind", "blind"), ("magnitude", "magnitude"))
    },
    "unpruned": Condition("unpruned"),
    **{name: Condition(name, sparse=True) for name in ("sequential", "frozen", "ewc", "replay")},
}

ABLATIONS: Final = {
    "development": Condition(),
    "no long-range edges": Condition(change=_no_long_range),
    "no growth of long-range edges": Condition(change=_rules(growth={"edges": 0})),
    "links drawn evenly": Condition(change=_parts(links={"gamma": 0.0})),
    "no feedback: pruned at random": Condition("blind"),
    "no inhibition before pruning": Condition(change=_rules(pruning={"inhibition": 0.001, "floor": 0.99})),
    "no strengthening": Condition(change=_rules(strengthening={"rate": 0.0})),
    "no homeostasis": Condition(change=_rules(homeostasis={"rate": 0.0})),
    "no slower plasticity of the matured": Condition(
        change=_parts(learning_rates={"mature_local": 1.0, "mature_other": 1.0})
    ),
    "motor before perception": Condition(order=("motor", "perception", "interaction")),
}


def claims(quick: bool, images: str) -> Study:
    """Claims C2 to C5: what is kept, and with how little."""
    return Study(
        "Perception, motor and interaction mature one after the other. *feedback*, *blind*, *magnitude*: the default "
        "development, whose local edges are pruned by what feedback values, at random, or by the size of weights, to "
        "the same numbers; *unpruned*: without pruning. *sequential*, *frozen*, *ewc*, *replay*: no rule acts; from "
        "birth as many edges, on average, as the development that prunes 80 % ends with; the matured as plastic as the "
        "new, not at all, with elastic weight consolidation, with a batch of an earlier task in every update. All have "
        "the same updates of the same size; replay has its additional batches besides.",
        tuple(CLAIMS), _claims_cell, _claims_tables, lambda r: {"claims": draw_scores(r)}, seeds=2 if quick else 10,
        options=_options(quick, images),
    )  # fmt: skip


def ablations(quick: bool, images: str) -> Study:
    """Which part of a development carries which claim?"""
    return Study(
        "The default development, and without one of its parts at a time. Without long-range edges interaction sees "
        "nothing at all: it has no sensors of its own.",
        tuple(ABLATIONS), _ablations_cell, _ablations_tables, lambda r: {"ablations": draw_scores(r)},
        seeds=2 if quick else 5, options=_options(quick, images),
    )  # fmt: skip


def _options(quick: bool, images: str) -> dict[str, Any]:
    training = {"perception": 100, "motor": 100, "interaction": 200} if quick else {}
    trials = 100 if quick else 400
    return {"images": images, "training": training, "trials": trials, "defaults": defaults()}


def _claims_cell(cell: Cell, options: Mapping[str, Any]) -> xr.Dataset:
    return _develop(CLAIMS[cell.condition], cell.seed, options)


def _ablations_cell(cell: Cell, options: Mapping[str, Any]) -> xr.Dataset:
    return _develop(ABLATIONS[cell.condition], cell.seed, options)


def _develop(condition: Condition, seed: int, options: Mapping[str, Any]) -> xr.Dataset:
    from connectome.development.configuration import Configuration
    from connectome.mechanisms.comparators import sparse_from_birth

    c = condition.change(_parts(training=options["training"])(Configuration()))
    _, stages = planned(c, options["images"], condition.order)
    anatomy = sparse_from_birth(c.anatomy, stages) if condition.sparse else c.anatomy
    return go_through(stages, anatomy, condition.method, seed, options["trials"])


def _claims_tables(results: xr.Dataset) -> list[StudyTable]:
    pairs = [(f"feedback {level}", f"{other} {level}") for level in LEVELS for other in ("blind", "magnitude")]
    pairs += [("feedback 80 %", other) for other in ("unpruned", "sequential", "frozen", "ewc", "replay")]
    return [outcome_table(results), differences(results, pairs), energy(results, ("feedback 80 %", "unpruned"))]


def _ablations_tables(results: xr.Dataset) -> list[StudyTable]:
    pairs = [(name, "development") for name in ABLATIONS if name != "development"]
    return [outcome_table(results), differences(results, pairs)]

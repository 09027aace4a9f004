"""What the mechanisms add up to: a search over combinations of them in the main development, on validation data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from connectome.analysis.intervals import mean_of, paired
from sims.studies.cells import Cell, Study, StudyTable
from sims.studies.development import ORDER, defaults, go_through, planned

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["COMBINATIONS", "candidate", "combinations"]

#: Seeds of the search begin here, so that those of a test, from 0, have seen nothing of it.
_FIRST_SEED: Final = 100
#: Matured edges as plastic as new ones, or half way on a scale of logarithms, and what projects their steps.
_FAST: Final = ("learning_rates.mature_local=1.0", "learning_rates.mature_other=1.0")
_MIDDLE: Final = ("learning_rates.mature_local=0.2", "learning_rates.mature_other=0.06")
_HLOP: Final = (
    "learning.chain=['adam', 'hlop', 'dale']", "learning.hlop.first=0.3", "learning.hlop.more=0.15",
    "learning.hlop.rows=128", "learning.hlop.rate=1.0", "learning.hlop.every=4",
)  # fmt: skip
_FEWER: Final = ("learning.hlop.first=0.15", "learning.hlop.more=0.08")
_MORE: Final = ("learning.hlop.first=0.45", "learning.hlop.more=0.25")
_MOMENTUM: Final = "learning.chain=['memory_momentum', 'dale']"
_EWC: Final = ("learning.chain=['ewc', 'adam', 'dale']", "learning.ewc.strength=1e5")
_WEAKER: Final = "learning.ewc.strength=3e4"
_STRONGER: Final = "learning.ewc.strength=3e5"
_CONSOLIDATION: Final = ("learning.chain=['adam', 'consolidation', 'dale']",)
_RULES: Final = "rules.act=['low_rank_birth', 'growth', 'strengthening', 'pruning', 'homeostasis']"

#: Settings of the configuration, as ``sims.develop --set`` takes them.
COMBINATIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "default": (),
    "matured edges stand still": ("learning_rates.mature_local=0.0", "learning_rates.mature_other=0.0"),
    "fast": _FAST,
    "middle": _MIDDLE,
    "HLOP": _HLOP,
    "HLOP + middle": (*_HLOP, *_MIDDLE),
    "HLOP + fast": (*_HLOP, *_FAST),
    "HLOP + fast + fewer rows": (*_HLOP, *_FAST, *_FEWER),
    "HLOP + middle + fewer rows": (*_HLOP, *_MIDDLE, *_FEWER),
    "HLOP + fast + more rows": (*_HLOP, *_FAST, *_MORE),
    "HLOP + fast local + slow others": (*_HLOP, "learning_rates.mature_local=1.0", "learning_rates.mature_other=0.06"),
    "HLOP + fast + links drawn evenly": (*_HLOP, *_FAST, "links.gamma=0.0"),
    "HLOP + fast + no strengthening": (*_HLOP, *_FAST, "rules.act=['growth', 'pruning', 'homeostasis']"),
    "HLOP + fast + no homeostasis": (*_HLOP, *_FAST, "rules.act=['growth', 'strengthening', 'pruning']"),
    "HLOP + fast + twice the growth": (*_HLOP, *_FAST, "rules.growth.edges=3000"),
    "HLOP + fast + half is kept": (*_HLOP, *_FAST, "rules.pruning.keep=0.1", "rules.pruning.keep_long_range=0.11"),
    "elastic weights + fast": (*_EWC, *_FAST),
    "elastic weights + middle": (*_EWC, *_MIDDLE),
    "elastic weights of 3e4 + fast": (*_EWC, *_FAST, _WEAKER),
    "elastic weights of 3e5 + fast": (*_EWC, *_FAST, _STRONGER),
    "consolidation of 30 + fast": (*_CONSOLIDATION, *_FAST, "learning.consolidation.strength=30"),
    "consolidation of 100 + fast": (*_CONSOLIDATION, *_FAST),
    "consolidation of 300 + fast": (*_CONSOLIDATION, *_FAST, "learning.consolidation.strength=300"),
    "restoration + fast": (*_FAST, "learning.chain=['adam', 'restoration', 'dale']", "learning.restoration.p=0.01"),
    "momentum": (_MOMENTUM,),
    "rank 8 at birth": (_RULES, "rules.low_rank_birth.rank=8"),
    "magnitude": ("training.importance='magnitude'",),
    "taylor": ("training.importance='taylor'",),
    "twice the growth": ("rules.growth.edges=3000",),
    "half is kept": ("rules.pruning.keep=0.1", "rules.pruning.keep_long_range=0.11"),
}  # fmt: skip

_HALF: Final = (
    "anatomy.neurons=128", "training.perception=400", "training.motor=500", "training.interaction=500",
    "training.validate_every=100000", "training.validation_trials=1",
)  # fmt: skip
_SHORT: Final = ("anatomy.neurons=64", *(f"training.{name}=40" for name in ORDER))

#: The best of them on validation data without a term in the loss, which development does without; the best with one.
CHOSEN: Final = "consolidation of 100 + fast"
_RIVAL: Final = "elastic weights of 3e4 + fast"


def combinations(quick: bool, images: str) -> Study:
    """The search: which combination of mechanisms is best on validation data?"""
    return Study(
        "Perception, motor and interaction with mechanisms in combination, half as large and half as long as the "
        f"default. Scores are of validation data, seeds {_FIRST_SEED} and on: to choose by, not to report.",
        tuple(COMBINATIONS), _search, _tables, seeds=2 if quick else 3, options=_options(quick, images, _HALF),
    )  # fmt: skip


def candidate(quick: bool, images: str) -> Study:
    """The test of what the search chose, against the default development."""
    return Study(
        "The default development and what the search chose (`combinations`), without and with a term in the loss, on "
        "test data that no choice has seen.",
        ("default", CHOSEN, _RIVAL), _test, _tables, seeds=2 if quick else 10, options=_options(quick, images),
    )  # fmt: skip


def _options(quick: bool, images: str, changes: Sequence[str] = ()) -> dict[str, Any]:
    chosen = [*(_SHORT if quick else changes)]
    return {"images": images, "changes": chosen, "trials": 100 if quick else 400, "defaults": defaults()}


def _search(cell: Cell, options: Mapping[str, Any]) -> xr.Dataset:
    return _develop(cell.condition, _FIRST_SEED + cell.seed, options, "validation")


def _test(cell: Cell, options: Mapping[str, Any]) -> xr.Dataset:
    return _develop(cell.condition, cell.seed, options, "score")


def _develop(condition: str, seed: int, options: Mapping[str, Any], scores: str) -> xr.Dataset:
    """Scores at the end, their mean, the mean change of earlier tasks since their own stage, edges, CPU time."""
    from connectome.development.configuration import read_configuration

    configuration = read_configuration(None, [*COMBINATIONS[condition], *options["changes"]])
    _, stages = planned(configuration, options["images"])
    found = go_through(stages, configuration.anatomy, "development", seed, options["trials"])
    reached = found[scores].values
    change = reached[-1] - reached.diagonal()
    return found[["end_edges", "cpu_s", "task"]].assign(
        final=("task", reached[-1]), average=reached[-1].mean(), backward=change[:-1].mean()
    )


def _tables(results: xr.Dataset) -> Sequence[StudyTable]:
    names = [str(name) for name in results.condition.values]
    default = results.sel(condition="default") if "default" in names else None
    rows = []
    for name in names:
        r = results.sel(condition=name)
        rows.append([
            name, *(mean_of(r.final.sel(task=t)).text() for t in ORDER), mean_of(r.average).text(),
            "" if default is None else paired(r.average.values, default.average.values).text(),
            mean_of(r.backward).text(100, 1, ""), mean_of(r.end_edges).text(1, 0, ""), mean_of(r.cpu_s).text(1, 0, ""),
        ])  # fmt: skip
    columns = ["", *ORDER, "average", "average less the default's", "change of earlier tasks", "edges", "CPU s"]
    about = "Scores at the end, %; the difference is paired by seed; change since a task's own stage, points."
    return [StudyTable("Combinations", about, columns, rows)]

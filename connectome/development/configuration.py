"""The configuration of a development: every number that can be set, checked once, from Python or from TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast

from connectome import plugins
from connectome.development.birth import Anatomy
from connectome.development.links import LinkEvolution
from connectome.development.stage import LearningRates, Stage
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.learning.task import Task
from connectome.parameters import Parameters, bounded, from_table, to_table
from connectome.rules import Rule

__all__ = ["Configuration", "Data", "Training", "plan_stages", "read_configuration"]


@dataclass(frozen=True)
class Data(Parameters):
    """Where images come from.

    Parameters
    ----------
    idx_folder : a folder with MNIST's four IDX files; empty: the digits that come with scikit-learn
    jitter_pixels : training images are shifted at random by up to this much
    test_trials : at most this many test trials for each task
    """

    idx_folder: str = ""
    jitter_pixels: float = bounded(0.5, 0, 8)
    test_trials: int = bounded(400, 1)


@dataclass(frozen=True)
class Training(Parameters):
    """How long each region trains, in updates of ``batch`` samples; rules act once in ``epoch_updates`` updates.

    ``importance`` is what the pruning rule goes by, a name of the registry (:mod:`connectome.mechanisms.importance`).
    """

    perception: int = bounded(800, 1)
    motor: int = bounded(1000, 1)
    interaction: int = bounded(1000, 1)
    other: int = bounded(1000, 1)
    batch: int = bounded(64, 1, 2**16)
    epoch_updates: int = bounded(20, 1)
    importance: str = "feedback"

    def __post_init__(self) -> None:
        super().__post_init__()
        known = plugins.known("importance")
        if self.importance not in known:
            raise ConnectomeError("Training.importance", f"must be one of {', '.join(known)}", repr(self.importance))

    def updates(self, region: str) -> int:
        """How long this region trains."""
        return cast(int, getattr(self, region)) if region in ("perception", "motor", "interaction") else self.other


#: The rules that act unless a configuration says otherwise, in their order.
_RULES: Final = ("growth", "strengthening", "pruning", "homeostasis")


def _default_rules() -> Mapping[str, Rule]:
    return MappingProxyType({name: plugins.load("rules", name, "rules")() for name in _RULES})


@dataclass(frozen=True)
class Configuration:
    """Everything that a development depends on, besides its regions, its seed and its engine."""

    anatomy: Anatomy = Anatomy()
    training: Training = Training()
    learning_rates: LearningRates = LearningRates()
    links: LinkEvolution = LinkEvolution()
    data: Data = Data()
    rules: Mapping[str, Rule] = field(default_factory=_default_rules)

    def table(self) -> dict[str, Any]:
        """All of it as nested tables: what :func:`read_configuration` reads."""
        parts = {f.name: to_table(getattr(self, f.name)) for f in fields(self) if f.name != "rules"}
        return parts | {"rules": {name: to_table(rule) for name, rule in self.rules.items()}}


#: Bytes of a configuration file; a device may have no end.
_LARGEST: Final = 1 << 20

#: The tables of a configuration file other than [rules].
_TABLES: Final = {
    "anatomy": Anatomy,
    "training": Training,
    "learning_rates": LearningRates,
    "links": LinkEvolution,
    "data": Data,
}


def read_configuration(path: str | Path) -> Configuration:
    """A configuration from a TOML file; what it leaves out keeps its default.

    Tables: ``[anatomy] [training] [learning_rates] [links] [data] [rules.NAME]``. Raises :class:`ConnectomeError` for a
    file that cannot be read, for unknown tables and keys, and for values out of range.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise ValueError(f"more than {_LARGEST:,} bytes")
        table = tomllib.loads(data.decode())
    except (OSError, ValueError, RecursionError) as error:  # Python reads no number of 5,000 digits: a ValueError
        raise ConnectomeError(f"configuration {path}", "must be a readable TOML file", str(error)) from error
    known = {*_TABLES, "rules"}
    for name in table:
        if name not in known:
            raise ConnectomeError(
                f"configuration {path}", f"must have no tables but {', '.join(sorted(known))}", repr(name)
            )
    try:
        return _configuration(table)
    except ConnectomeError as error:
        raise ConnectomeError(f"configuration {path}: {error.field}", error.rule, error.found, error.hint) from None


def _configuration(table: Mapping[str, Any]) -> Configuration:
    parts: dict[str, Any] = {name: from_table(_TABLES[name], table[name], name) for name in table if name != "rules"}
    rules = dict(_default_rules())
    given = table.get("rules", {})
    if not isinstance(given, Mapping):
        raise ConnectomeError("rules", "must be tables, one for each rule", repr(given))
    for name, values in given.items():
        rules[name] = from_table(plugins.load("rules", name, "rules"), values, f"rules.{name}")
    return Configuration(**parts, rules=MappingProxyType(rules))


def plan_stages(
    regions: list[str], tasks: Mapping[str, Task], configuration: Configuration, wiring: Connectome | None = None
) -> list[Stage]:
    """The stages for these regions in this order. Raises :class:`ConnectomeError` for an order that cannot be.

    ``wiring`` is the connectome of the file that ``anatomy.wiring`` names, if it names one.
    """
    if (wiring is None) == bool(configuration.anatomy.wiring):
        raise ConnectomeError(
            "anatomy.wiring", "must be the file that the wiring was read from", repr(configuration.anatomy.wiring)
        )
    there_is = f"Known regions: {', '.join({**tasks, **plugins.known('tasks')})}."
    if not regions or not all(regions):
        raise ConnectomeError(
            "regions", "must name at least one region, separated by commas", repr(",".join(regions)), there_is
        )
    for number, name in enumerate(regions):
        if name not in tasks:
            raise ConnectomeError("regions", "must be known", repr(name), there_is)
        if name in regions[:number]:
            raise ConnectomeError("regions", "must not repeat", repr(name), there_is)
        missing = [need for need in tasks[name].requires if need not in regions[:number]]
        if missing:
            raise ConnectomeError(
                "regions",
                f"must have {' and '.join(missing)} before {name}, which builds on it",
                repr(",".join(regions)),
                there_is,
            )
    c = configuration
    return [
        Stage(
            tasks[name], c.training.updates(name), c.training.batch, c.training.epoch_updates, c.learning_rates,
            tuple(c.rules.values()), c.links, c.training.importance, wiring,
        )
        for name in regions
    ]  # fmt: skip

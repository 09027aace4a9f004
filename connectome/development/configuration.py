"""The configuration of a development: every number that can be set, checked once, from Python or from TOML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast

from connectome import plugins
from connectome.arrays import ReadOnly
from connectome.development.birth import NEURON, Anatomy, sensor_maps
from connectome.development.links import LinkEvolution
from connectome.development.stage import LearningRates, Select, Stage
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.parts import KINDS
from connectome.learning.learning_rule import LearningRule, check_chain
from connectome.learning.neuron_parameters import checked_learn
from connectome.learning.task import Task
from connectome.learning.views import WeightView
from connectome.neurons.model import NeuronModel
from connectome.neurons.model import from_table as neuron_from
from connectome.neurons.model import to_table as neuron_table
from connectome.parameters import Parameters, bounded, from_table, parse_toml, read_toml, set_value, to_table
from connectome.rules import Rule

__all__ = ["Configuration", "Data", "Training", "parse_configuration", "plan_stages", "read_configuration"]


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

    ``importance`` is what the pruning rule goes by, a name of the registry
    (:mod:`connectome.mechanisms.importance`); ``method`` is a comparator of it, or development itself. A score on
    ``validation_trials`` is taken every ``validate_every`` epochs; after ``patience`` of them without a better one
    the stage ends (0: never). A batch is used for ``reuse`` updates. ``kappa`` is how long running means of rates
    remember, 1: some ten updates, 0: the whole stage (:func:`~connectome.development.training.momentum`).
    ``surrogate_width_mv`` is half the width of the surrogate gradient's support; ``diagnostics`` names, with
    commas, what a stage is measured by when it has ended.
    """

    perception: int = bounded(800, 1)
    motor: int = bounded(1000, 1)
    interaction: int = bounded(1000, 1)
    other: int = bounded(1000, 1)
    batch: int = bounded(64, 1, 2**16)
    epoch_updates: int = bounded(20, 1)
    importance: str = "feedback"
    method: str = "development"
    validate_every: int = bounded(5, 1)
    validation_trials: int = bounded(96, 1)
    patience: int = bounded(0, 0)
    reuse: int = bounded(1, 1)
    kappa: float = bounded(1.0, 0, 1)
    surrogate_width_mv: float = bounded(10.0, 1e-3, 1e6)
    diagnostics: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        for group, names in (("importance", (self.importance,)), ("diagnostics", self.diagnosed)):
            for name in names:
                if not plugins.has(group, name):
                    rule = f"must be among {', '.join(plugins.known(group))}"
                    raise ConnectomeError(f"Training.{group}", rule, repr(name))

    @property
    def diagnosed(self) -> tuple[str, ...]:
        """The diagnostics by name."""
        return tuple(name.strip() for name in self.diagnostics.split(",") if name.strip())

    def updates(self, region: str) -> int:
        """How long this region trains."""
        return cast(int, getattr(self, region)) if region in ("perception", "motor", "interaction") else self.other


#: The rules that act, and the chain of learning rules, unless a configuration says otherwise.
_RULES: Final = ("growth", "strengthening", "pruning", "homeostasis")
_CHAIN: Final = ("adam", "dale")


def _default(group: str, names: Sequence[str]) -> Mapping[str, Any]:
    return MappingProxyType({name: plugins.load(group, name, group)() for name in names})


@dataclass(frozen=True)
class Configuration(ReadOnly):
    """Everything that a development depends on, besides its regions, its seed and its engine.

    Parameters
    ----------
    rules : developmental rules by name, in the order in which they act
    learning : the chain of learning rules by name, in order
    chains : kind of edge -> name -> learning rule: another chain for its sets
    views : kind of edge -> name -> what the weights of its sets are made of, one
    block : kinds of edge that pass no spike's gradient back
    select : name -> what chooses the samples of a batch, one or none
    neuron : the model of all regions' neurons; learn : names of those of its parameters that learn
    regions : region -> what is otherwise there: fields of the anatomy, ``updates``, ``links``, ``mode`` and ``neuron``,
        parameters and ``learn``
    tasks : task -> what it is made with besides images
    """

    anatomy: Anatomy = Anatomy()
    training: Training = Training()
    learning_rates: LearningRates = LearningRates()
    links: LinkEvolution = LinkEvolution()
    data: Data = Data()
    rules: Mapping[str, Rule] = field(default_factory=lambda: _default("rules", _RULES))
    learning: Mapping[str, LearningRule] = field(default_factory=lambda: _default("learning", _CHAIN))
    chains: Mapping[str, Mapping[str, LearningRule]] = field(default_factory=lambda: MappingProxyType({}))
    views: Mapping[str, Mapping[str, WeightView]] = field(default_factory=lambda: MappingProxyType({}))
    block: tuple[str, ...] = ()
    select: Mapping[str, Select] = field(default_factory=lambda: MappingProxyType({}))
    neuron: NeuronModel = NEURON
    learn: tuple[str, ...] = ()
    regions: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: MappingProxyType({}))
    tasks: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: MappingProxyType({}))

    def table(self) -> dict[str, Any]:
        """All of it as nested tables: what :func:`read_configuration` reads."""
        learning = {**{name: rule for chain in self.chains.values() for name, rule in chain.items()}, **self.learning}
        edges: dict[str, dict[str, Any]] = {kind: {} for kind in (*self.chains, *self.views, *self.block)}
        for kind, chain in self.chains.items():
            edges[kind]["learn"] = list(chain)
        for kind, view in self.views.items():
            edges[kind]["view"] = next(iter(view))
        for kind in self.block:
            edges[kind]["block"] = True
        views = {name: to_table(view) for named in self.views.values() for name, view in named.items()}
        learn = {"learn": list(self.learn)} if self.learn else {}
        chosen = {key: value for name, s in self.select.items() for key, value in (("by", name), (name, to_table(s)))}
        return {
            **{name: to_table(getattr(self, name)) for name in _TABLES},
            "rules": {"act": list(self.rules), **{name: to_table(rule) for name, rule in self.rules.items()}},
            "learning": {"chain": list(self.learning), **{name: to_table(rule) for name, rule in learning.items()}},
            **({"edges": edges} if edges else {}),
            **({"views": views} if views else {}),
            **({"select": chosen} if chosen else {}),
            "neuron": {"model": self.neuron.model, **neuron_table(self.neuron), **learn},
            **({"regions": {name: dict(t) for name, t in self.regions.items()}} if self.regions else {}),
            **({"tasks": {name: dict(t) for name, t in self.tasks.items()}} if self.tasks else {}),
        }

    def anatomy_of(self, region: str) -> Anatomy:
        """The anatomy of a region."""
        others = {k: v for k, v in self.regions.get(region, {}).items() if k not in _OF_A_STAGE}
        return from_table(Anatomy, {**to_table(self.anatomy), **others}, f"regions.{region}")

    def neuron_of(self, region: str) -> NeuronModel:
        """The model of a region's neurons."""
        own = _without(self.regions.get(region, {}).get("neuron", {}), "learn")
        if not own:
            return self.neuron
        here = {} if own.get("model", self.neuron.model) != self.neuron.model else neuron_table(self.neuron)
        return neuron_from({**here, **own}, f"regions.{region}.neuron")

    def learn_of(self, region: str) -> tuple[str, ...]:
        """The parameters of a region's neurons that learn: its own, or those of all if it is of their model."""
        neuron, own = self.neuron_of(region), self.regions.get(region, {}).get("neuron", {})
        names = own.get("learn", self.learn if neuron.model == self.neuron.model else ())
        return checked_learn(f"regions.{region}.neuron.learn", neuron, names)

    def stage(self, task: Task, wiring: Connectome | None = None) -> Stage:
        """The stage of a task, by the method of the training."""
        t, own = self.training, self.regions.get(task.name, {})
        stage = Stage(
            task, own.get("updates", t.updates(task.name)), t.batch, t.epoch_updates, self.learning_rates,
            tuple(self.rules.values()), self.links, t.importance, wiring, learning=tuple(self.learning.values()),
            chains={kind: tuple(chain.values()) for kind, chain in self.chains.items()},
            first_links=tuple((a, b) for a, b in own["links"]) if "links" in own else None,
            validate_every=t.validate_every, validation_trials=t.validation_trials, patience=t.patience, reuse=t.reuse,
            kappa=t.kappa, select=next(iter(self.select.values()), None),
            anatomy=self.anatomy_of(task.name) if own else None, neuron=self.neuron_of(task.name),
            views={kind: view for kind, named in self.views.items() for view in named.values()}, block=self.block,
            surrogate_width_mv=t.surrogate_width_mv, mode=own.get("mode", ""), diagnostics=t.diagnosed,
            learn={name: names for name in task.recruits if (names := self.learn_of(name))},
        )  # fmt: skip
        changed: Stage = plugins.load("comparators", t.method, "training.method")(stage)
        return changed


#: The tables of a configuration file that are a dataclass each.
_TABLES: Final = {
    "anatomy": Anatomy,
    "training": Training,
    "learning_rates": LearningRates,
    "links": LinkEvolution,
    "data": Data,
}
_OTHERS: Final = ("rules", "learning", "edges", "views", "select", "neuron", "regions", "tasks")
#: Keys of ``[regions.NAME]`` that are no anatomy.
_OF_A_STAGE: Final = ("updates", "links", "mode", "neuron")


def read_configuration(path: str | Path | None, changes: Sequence[str] = ()) -> Configuration:
    """A configuration from a TOML file; what it leaves out keeps its default.

    Tables: ``[anatomy] [training] [learning_rates] [links] [data] [rules] [rules.NAME] [learning] [learning.NAME]
    [edges.KIND] [views.NAME] [select] [select.NAME] [neuron] [regions.NAME] [regions.NAME.neuron] [tasks.NAME]``.
    ``rules.act`` names the rules that act, ``learning.chain`` the learning rules of the chain, each in order;
    ``edges.KIND`` says of a kind of edge ``learn``, another chain, ``view``, one of the views, and ``block``, whether
    spikes' gradients stop there. ``select.by`` names what chooses the samples of a batch. ``neuron.learn`` and
    ``regions.NAME.neuron.learn`` name parameters of neurons that learn. ``changes`` are ``"table.key=value"`` each
    and come last; without a file, they are all. Raises :class:`ConnectomeError` for a file that cannot be read, for
    unknown tables and keys, and for values out of range.
    """
    where = "configuration" if path is None else f"configuration {path}"
    table: dict[str, Any] = {} if path is None else read_toml(Path(path), where)
    for change in changes:
        set_value(table, change, "table.key=value", "For example training.perception=200.")
    return _checked(table, where)


def parse_configuration(text: str) -> Configuration:
    """A configuration from the text that a snapshot or results carry. Raises as :func:`read_configuration`."""
    return _checked(parse_toml(text, "configuration"), "configuration")


def _checked(table: Mapping[str, Any], where: str) -> Configuration:
    known = {*_TABLES, *_OTHERS}
    for name in table:
        if name not in known:
            raise ConnectomeError(where, f"must have no tables but {', '.join(sorted(known))}", repr(name))
    try:
        return _configuration(table)
    except ConnectomeError as error:
        raise error.within(where) from None


def _configuration(table: Mapping[str, Any]) -> Configuration:
    parts: dict[str, Any] = {
        name: from_table(kind, table[name], name) for name, kind in _TABLES.items() if name in table
    }
    given = {name: _mapping(table.get(name, {}), name) for name in _OTHERS}
    if "rules" in table:
        named = [name for name in given["rules"] if name != "act"]
        acting = _names(given["rules"].get("act", [*dict.fromkeys([*_RULES, *named])]), "rules.act")
        parts["rules"] = _pool("rules", acting, given["rules"], "act")
    edges = {kind: _edges(kind, of_kind) for kind, of_kind in given["edges"].items()}
    chain = _names(given["learning"].get("chain", _CHAIN), "learning.chain")
    chains = {kind: _names(t["learn"], f"edges.{kind}.learn") for kind, t in edges.items() if "learn" in t}
    every = [*dict.fromkeys([*chain, *(name for names in chains.values() for name in names)])]
    pool = _pool("learning", every, given["learning"], "chain")
    parts["learning"] = MappingProxyType({name: pool[name] for name in chain})
    parts["chains"] = MappingProxyType(
        {kind: MappingProxyType({name: pool[name] for name in names}) for kind, names in chains.items()}
    )
    viewed = {kind: t["view"] for kind, t in edges.items() if "view" in t}
    views = _pool("views", [*dict.fromkeys(viewed.values())], given["views"], "")
    parts["views"] = MappingProxyType({kind: MappingProxyType({name: views[name]}) for kind, name in viewed.items()})
    by = given["select"].get("by", "")
    if not isinstance(by, str):
        raise ConnectomeError("select.by", "must be a name", repr(by))
    parts["select"] = _pool("select", [by] if by else [], given["select"], "by")
    parts["block"] = tuple(kind for kind, t in edges.items() if t.get("block"))
    if "neuron" in table:
        here = {} if given["neuron"].get("model", NEURON.model) != NEURON.model else neuron_table(NEURON)
        parts["neuron"] = neuron_from({**here, **_without(given["neuron"], "learn")}, "neuron")
        parts["learn"] = checked_learn("neuron.learn", parts["neuron"], given["neuron"].get("learn", ()))
    for rules in (parts["learning"], *parts["chains"].values()):
        check_chain(tuple(rules.values()))
    for group in ("regions", "tasks"):
        parts[group] = MappingProxyType(
            {name: MappingProxyType(dict(_mapping(t, f"{group}.{name}"))) for name, t in given[group].items()}
        )
    configuration = Configuration(**parts)
    plugins.load("comparators", configuration.training.method, "training.method")
    for name, own in configuration.regions.items():
        _check_region(configuration, name, own)
    return configuration


def _edges(kind: str, given: object) -> Mapping[str, Any]:
    """What is said of a kind of edge."""
    where, table = f"edges.{kind}", _mapping(given, f"edges.{kind}")
    if kind.partition("-")[0] not in KINDS:
        raise ConnectomeError(
            where, f"must be about one of {', '.join(KINDS)}, or one with a name of its own", repr(kind)
        )
    for key, value in table.items():
        if key not in ("learn", "view", "block"):
            raise ConnectomeError(where, "must have no keys but learn, view, block", repr(key))
        if (key == "view" and not isinstance(value, str)) or (key == "block" and not isinstance(value, bool)):
            raise ConnectomeError(
                f"{where}.{key}", f"must be {'a name' if key == 'view' else 'true or false'}", repr(value)
            )
    return table


def _check_region(configuration: Configuration, name: str, own: Mapping[str, Any]) -> None:
    where = f"regions.{name}"
    _mapping(own.get("neuron", {}), f"{where}.neuron")
    if not isinstance(own.get("mode", ""), str):
        raise ConnectomeError(f"{where}.mode", "must be a name", repr(own["mode"]))
    configuration.anatomy_of(name)
    configuration.learn_of(name)
    for key in ("wiring", "wiring_digest", "signs", "unknown_signs"):
        if own.get(key):
            rule = "must be left out" + (", or empty for a region without" if key == "wiring" else "")
            raise ConnectomeError(f"{where}.{key}", rule, repr(own[key]), f"Set anatomy.{key}.")
    updates = own.get("updates", 1)
    if type(updates) is not int or updates < 1:
        raise ConnectomeError(f"{where}.updates", "must be an integer of at least 1", repr(updates))
    links = own.get("links", [])
    pairs = isinstance(links, list) and all(isinstance(p, list) and len(p) == 2 for p in links)
    if not pairs or not all(isinstance(end, str) for pair in links for end in pair):
        raise ConnectomeError(f"{where}.links", "must be a list of [source, target]", repr(links))


def _without(table: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in table.items() if k != key}


def _mapping(given: object, where: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise ConnectomeError(where, "must be a table", repr(given))
    return given


def _names(given: object, where: str) -> list[str]:
    if not isinstance(given, (list, tuple)) or not all(isinstance(name, str) for name in given):
        raise ConnectomeError(where, "must be a list of names", repr(given))
    twice = {name for name in given if list(given).count(name) > 1}
    if twice:
        raise ConnectomeError(where, "must name each once", ", ".join(sorted(twice)))
    return list(given)


def _pool(group: str, names: Sequence[str], tables: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Name -> what the registry has under it, with the parameters of its table."""
    for name in tables:
        if name != key and name not in names:
            plugins.load(group, name, group)
            where = f"{group}.{key}" if key else "a table of edges"
            raise ConnectomeError(f"{group}.{name}", f"must be in {where}, or have no table", repr(list(names)))
    found = {}
    for name in names:
        make = plugins.load(group, name, group)
        found[name] = from_table(make, tables.get(name, {}), f"{group}.{name}")
    return MappingProxyType(found)


def plan_stages(
    regions: list[str], tasks: Mapping[str, Task], configuration: Configuration, wiring: Connectome | None = None
) -> list[Stage]:
    """The stages for these regions in this order. Raises :class:`ConnectomeError` for an order that cannot be.

    ``wiring`` is what is taken from the connectome that ``anatomy.wiring`` names, if it names one:
    :func:`~connectome.development.measured.measured_regions`.
    """
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
    for name in configuration.regions:
        if name not in regions:
            raise ConnectomeError(f"regions.{name}", f"must be about one of {', '.join(regions)}", repr(name))
    for name, table in {"anatomy": to_table(configuration.anatomy), **configuration.regions}.items():
        alone = [key for key in ("cells", "sensory", "output", "signs") if table.get(key)]
        if alone and not configuration.anatomy.wiring:
            where = name if name == "anatomy" else f"regions.{name}"
            raise ConnectomeError(f"{where}.{alone[0]}", "must go with anatomy.wiring", repr(table[alone[0]]))
    for name in regions:
        sensor_maps(tasks[name], configuration.anatomy_of(name))
    wanted = [name for name in regions if configuration.anatomy_of(name).wiring]
    taken = [name for name in regions if wiring is not None and name in wiring.regions]
    if wanted != taken:
        raise ConnectomeError(
            "anatomy.wiring", f"must go with what was taken from it for {', '.join(wanted) or 'no region'}",
            ", ".join(taken), "Give plan_stages what measured_regions gives.",
        )  # fmt: skip
    return [configuration.stage(tasks[name], wiring) for name in regions]

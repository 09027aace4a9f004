"""What an experiment is: conditions, read-outs, controls, seeds. Frozen, checked once, the same from Python and TOML.

A specification names a connectome, says how to make it live (``[physiology]``), and has conditions. In TOML::

    connectome = "larva.csv"
    duration_ms = 1000
    seeds = 10

    [physiology]
    preset = "shiu2024"

    [condition.sugar]
    stimulate = [{cells = "class == 'gustatory'", rate_hz = 150, from_ms = 100, to_ms = 600}]

    [condition.without_IN1]
    from = "sugar"
    silence = "label == 'IN1'"

``Experiment.of(table)`` is the only way in: it takes these tables as nested dictionaries. ``read_experiment`` reads
them from a file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

from connectome.arrays import ReadOnly, integer
from connectome.errors import ConnectomeError
from connectome.experiment.parts import Condition, number, part, plain_table, query, several, text
from connectome.parameters import Parameters, bounded, read_toml, set_value

__all__ = [
    "CONTROLS", "Control", "Controls", "Correction", "Experiment", "Paths", "Readouts", "Sweep", "Test",
    "read_experiment",
]  # fmt: skip

Control = Literal["measured", "shuffled", "random-targets"]
#: What a condition is tried on: the wiring as it was measured, shuffled wiring, and other cells instead of those named.
CONTROLS: Final[tuple[Control, ...]] = get_args(Control)
Test = Literal["t", "permutation", "wilcoxon"]
Correction = Literal["holm", "fdr_bh", "none"]
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_NAME_RULE: Final = "letters, digits, '_', '.', '-', at most 64 of them, not starting with '.' or '-'"
_MOST_SEEDS: Final = 10_000


@dataclass(frozen=True)
class Readouts:
    """What is measured in every trial.

    Parameters
    ----------
    by : populations: ``"region"``, or names of attributes of neurons; a rate, a share of active cells and a latency for
        each of their values
    cells : a query for the cells that are read out one by one; by default all that can fire
    bin_ms : width of the bins of rates over time
    from_ms, to_ms : the time that is counted; by default the whole trial
    raster : how many cells a raster shows
    """

    by: tuple[str, ...] = ("region",)
    cells: str = ""
    bin_ms: float = 20.0
    from_ms: float = 0.0
    to_ms: float | None = None
    raster: int = 120

    def __post_init__(self) -> None:
        by = tuple(text("Readouts.by", name) for name in several(self.by))
        if not by or len(set(by)) < len(by):
            raise ConnectomeError("Readouts.by", "must name region or attributes, each once", list(by))
        object.__setattr__(self, "by", by)
        if self.cells:
            query("Readouts.cells", self.cells)
        object.__setattr__(self, "bin_ms", number("Readouts.bin_ms", self.bin_ms, 0.0, above=True))
        object.__setattr__(self, "from_ms", number("Readouts.from_ms", self.from_ms, 0.0))
        if self.to_ms is not None and number("Readouts.to_ms", self.to_ms, 0.0) <= self.from_ms:
            raise ConnectomeError("Readouts.to_ms", f"must be later than from_ms, {self.from_ms:g}", self.to_ms)
        integer("Readouts.raster", self.raster, 0, 2000)


@dataclass(frozen=True)
class Controls(Parameters):
    """The controls that every condition is run with, besides the measured wiring.

    Parameters
    ----------
    shuffled : wiring in which each neuron keeps its degrees: :mod:`connectome.analysis.shuffled`
    random_targets : the same number of other cells of the same regions, or edges of the same sets, in place of those
        that a condition itself names
    """

    shuffled: bool = True
    random_targets: bool = True

    @property
    def names(self) -> tuple[Control, ...]:
        """The names of the controls asked for, the measured wiring first."""
        there = (True, self.shuffled, self.random_targets)
        return tuple(name for name, asked in zip(CONTROLS, there, strict=True) if asked)


@dataclass(frozen=True)
class Sweep:
    """Each of these cells silenced, one at a time, in the condition ``base`` (``from`` in TOML)."""

    silence_each: str
    base: str = ""

    def __post_init__(self) -> None:
        query("Sweep.silence_each", self.silence_each)
        text("Sweep.from", self.base)


@dataclass(frozen=True)
class Paths(Parameters):
    """The strongest paths, by input fractions, to the cells ``to`` from those ``start`` (``from`` in TOML; by default
    those that ``condition`` stimulates), with the first spikes along them in that condition.

    Parameters
    ----------
    n : number of paths; hops : number of steps for effective connectivity
    nulls : number of shuffled wirings to compare with
    """

    to: str
    start: str = ""
    condition: str = ""
    n: int = bounded(10, 1, 1000)
    hops: int = bounded(4, 1, 20)
    nulls: int = bounded(20, 0, 10_000)

    def __post_init__(self) -> None:
        super().__post_init__()
        query("Paths.to", self.to)


@dataclass(frozen=True)
class Experiment(ReadOnly):
    """An experiment: see the head of this module. Make one with :meth:`of`.

    Parameters
    ----------
    connectome : a file or a name, as the programs take it; not read here
    physiology : what :func:`connectome.experiment.conditions.animated` takes: ``{"preset": ..., parameter: value}``;
        empty for a connectome that is already live
    duration_ms : duration of a trial
    conditions : by name, in order
    reference : the condition that those without a base are compared with; default: the first
    seeds, first_seed : number of trials of each condition, and the first seed
    test : test of differences between conditions, paired by seed: Student's t, a permutation of signs, or Wilcoxon's
    correction : for the p-values of one read-out: Holm, Benjamini-Hochberg, or none
    dtype : floating type of the simulation
    """

    conditions: Mapping[str, Condition]
    connectome: str = ""
    title: str = ""
    physiology: Mapping[str, Any] = field(default_factory=dict)
    duration_ms: float = 1000.0
    reference: str = ""
    seeds: int = 10
    first_seed: int = 0
    readouts: Readouts = Readouts()
    controls: Controls = Controls()
    sweep: Sweep | None = None
    paths: Paths | None = None
    test: Test = "t"
    correction: Correction = "holm"
    dtype: Literal["float32", "float64"] = "float32"

    def __post_init__(self) -> None:
        if not isinstance(self.conditions, Mapping) or not self.conditions:
            raise ConnectomeError("condition", "must have one table or more: [condition.NAME]", "none")
        for name in self.conditions:
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise ConnectomeError("condition", f"must have names of {_NAME_RULE}", repr(name))
        object.__setattr__(self, "conditions", MappingProxyType(dict(self.conditions)))
        object.__setattr__(self, "physiology", MappingProxyType(dict(self.physiology)))
        for key in ("connectome", "title", "reference"):
            text(key, getattr(self, key))
        object.__setattr__(self, "reference", self.reference or next(iter(self.conditions)))
        object.__setattr__(self, "duration_ms", number("duration_ms", self.duration_ms, 0.0, above=True))
        integer("seeds", self.seeds, 1, _MOST_SEEDS)
        integer("first_seed", self.first_seed, 0, 2**62)
        for key, kind in (("test", Test), ("correction", Correction), ("dtype", Literal["float32", "float64"])):
            if getattr(self, key) not in get_args(kind):
                rule = f"must be one of {', '.join(get_args(kind))}"
                raise ConnectomeError(key, rule, repr(getattr(self, key)))
        self._check_names()
        self._check_times()

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Experiment:
        """An experiment from the tables of a TOML file, or the same in Python. Raises :class:`ConnectomeError` naming
        the key."""
        if not isinstance(table, Mapping):
            raise ConnectomeError("experiment", "must be a table", repr(table))
        known = [*(f.name for f in fields(cls) if f.name != "conditions"), "condition"]
        for key in table:
            if key not in known:
                raise ConnectomeError("experiment", f"must have no keys but {', '.join(sorted(known))}", repr(key))
        parts = {k: v for k, v in table.items() if k != "condition"}
        conditions = table.get("condition", {})
        if not isinstance(conditions, Mapping):
            raise ConnectomeError("condition", "must be tables: [condition.NAME]", repr(conditions))
        parts["conditions"] = {name: Condition.of(t, f"condition.{name}") for name, t in conditions.items()}
        if isinstance(parts.get("physiology"), str):
            parts["physiology"] = {"preset": parts["physiology"]}
        if not isinstance(parts.get("physiology", {}), Mapping):
            raise ConnectomeError("physiology", "must be a table, or the name of a preset", repr(parts["physiology"]))
        for key, kind, named in (
            ("readouts", Readouts, {}), ("controls", Controls, {}), ("sweep", Sweep, {"from": "base"}),
            ("paths", Paths, {"from": "start"}),
        ):  # fmt: skip
            given = parts.get(key)
            if given is not None and not isinstance(given, kind):
                given = {named.get(k, k): v for k, v in given.items()} if isinstance(given, Mapping) else given
                parts[key] = part(kind, given, key)
        return cls(**parts)

    def table(self) -> dict[str, Any]:
        """The tables that :meth:`of` reads, with defaults written out, in TOML's types."""
        found: dict[str, Any] = {
            f.name: plain_table(getattr(self, f.name))
            for f in fields(self)
            if f.name not in ("conditions", "sweep", "paths")
        }
        for key, renamed in (("sweep", {"base": "from"}), ("paths", {"start": "from"})):
            part = getattr(self, key)
            if part is not None:
                found[key] = {renamed.get(k, k): v for k, v in plain_table(part).items()}
        found["condition"] = {
            name: {{"base": "from"}.get(k, k): v for k, v in plain_table(c).items() if v not in ("", [])}
            for name, c in self.conditions.items()
        }
        return found

    def whole(self, name: str) -> Condition:
        """Everything that is done in a condition: first by the conditions it builds on, then by itself."""
        condition = self.conditions[name]
        return condition.after(self.whole(condition.base)) if condition.base else condition

    def against(self, name: str) -> str:
        """The condition that this one is compared with; "" for the reference."""
        return self.conditions[name].base or ("" if name == self.reference else self.reference)

    @property
    def all_seeds(self) -> range:
        """The seeds of its trials."""
        return range(self.first_seed, self.first_seed + self.seeds)

    def _check_names(self) -> None:
        names = list(self.conditions)
        there_is = f"must be a condition: {', '.join(names)}"
        for name, condition in self.conditions.items():
            if condition.base and condition.base not in names:
                raise ConnectomeError(f"condition.{name}.from", there_is, repr(condition.base))
            seen, at = [name], condition.base
            while at:
                if at in seen:
                    raise ConnectomeError(f"condition.{name}.from", "must not lead back", " from ".join([*seen, at]))
                seen.append(at)
                at = self.conditions[at].base
        for key, found in (
            ("reference", self.reference), ("sweep.from", self.sweep.base if self.sweep else ""),
            ("paths.condition", self.paths.condition if self.paths else ""),
        ):  # fmt: skip
            if found and found not in names:
                raise ConnectomeError(key, there_is, repr(found))

    def _check_times(self) -> None:
        for name, c in self.conditions.items():
            for key in ("stimulate", "silence", "hold"):
                for each in getattr(c, key):
                    if each.from_ms >= self.duration_ms or (each.to_ms or 0) > self.duration_ms:
                        late = each.from_ms if each.from_ms >= self.duration_ms else each.to_ms
                        rule = f"must be within duration_ms, {self.duration_ms:g}"
                        raise ConnectomeError(f"condition.{name}.{key}", rule, f"{late:g} ms")
        r = self.readouts
        if r.from_ms >= self.duration_ms or (r.to_ms or 0) > self.duration_ms:
            found = f"{r.from_ms:g} .. {r.to_ms}" if r.to_ms else f"{r.from_ms:g}"
            raise ConnectomeError("readouts.from_ms", f"must be within duration_ms, {self.duration_ms:g}", found)


def read_experiment(path: str | Path, changes: Sequence[str] = ()) -> Experiment:
    """An experiment from a TOML file, with changes such as ``seeds=3`` or ``readouts.bin_ms=5``, which are applied
    last. Raises :class:`ConnectomeError` naming the file."""
    table = read_toml(Path(path))
    for change in changes:
        set_value(table, change, "key=value", "For example readouts.bin_ms=5.")
    try:
        return Experiment.of(table)
    except ConnectomeError as error:
        raise error.within(str(path)) from None

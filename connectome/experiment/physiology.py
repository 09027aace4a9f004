"""How to turn synapse counts into a network: signs by transmitter, weights, delays, neuron model; by name or from TOML.

A file has a table ``[physiology]``, in which every key is optional::

    [physiology]
    preset = "shiu2024"
    gain = 1.2
    unknown = "drop"
    [physiology.neuron]
    t_ref_ms = 3.0
    [physiology.signs]
    dopamine = -1
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

from connectome.arrays import ReadOnly
from connectome.errors import ConnectomeError
from connectome.experiment.parts import number
from connectome.neurons.iaf_psc_exp import NeuronParameters
from connectome.neurons.model import NeuronModel, from_table, to_table
from connectome.neurons.shiu2024 import Shiu2024
from connectome.parameters import read_toml, set_value

__all__ = [
    "FLY", "MAMMAL", "PRESETS", "TRANSMITTER_COLUMNS", "WORM", "Physiology", "physiology_from", "plain", "preset",
    "read_physiology", "table_of", "with_parameters",
]  # fmt: skip

Unknown = Literal["refuse", "excitatory", "inhibitory", "drop"]
Normalise = Literal["", "in_degree", "in_strength"]
Count = Literal["linear", "log"]

#: Names of transmitters in FlyWire, hemibrain, MaleCNS and MANC -> sign. Glutamate inhibits in the fly's central
#: nervous system (Liu & Wilson 2013, PNAS 110:10294); histamine is the photoreceptors'. Amines count as excitatory, as
#: in Shiu et al. (2024).
FLY: Final[Mapping[str, int]] = MappingProxyType({
    "acetylcholine": 1, "ach": 1, "cholinergic": 1, "gaba": -1, "gabaergic": -1, "glutamate": -1, "glut": -1, "glu": -1,
    "glutamatergic": -1, "histamine": -1, "his": -1, "dopamine": 1, "da": 1, "octopamine": 1, "oct": 1, "oa": 1,
    "serotonin": 1, "ser": 1, "5ht": 1, "tyramine": 1, "tyr": 1,
})  # fmt: skip
#: The same where glutamate excites, and classes of cells as tables of the mouse have them.
MAMMAL: Final[Mapping[str, int]] = MappingProxyType({
    **FLY, "glutamate": 1, "glut": 1, "glutamatergic": 1, "glu": 1, "glycine": -1, "gly": -1, "excitatory": 1, "exc": 1,
    "e": 1, "excitatory_neuron": 1, "inhibitory": -1, "inh": -1, "i": -1, "inhibitory_neuron": -1, "23p": 1, "4p": 1,
    "5p-it": 1, "5p-et": 1, "5p-np": 1, "6p-it": 1, "6p-ct": 1, "6p": 1, "bc": -1, "bpc": -1, "mc": -1, "ngc": -1,
})  # fmt: skip
#: What the worm's cells release, as :mod:`connectome.datasets.references` has it. Acetylcholine and glutamate count as
#: excitatory, GABA as inhibitory, though each has receptors of the other sign there (Fenyves et al. 2020, PLoS Comput
#: Biol 16, e1007974), amines as in the fly's table, and beside another transmitter as nothing. Of acetylcholine with
#: GABA, and of betaine alone, the sign is not known.
WORM: Final[Mapping[str, int]] = MappingProxyType({
    **FLY, "glutamate": 1, "glut": 1, "glutamatergic": 1, "glu": 1, "acetylcholine + glutamate": 1,
    "acetylcholine + serotonin": 1, "acetylcholine + betaine": 1, "betaine + glutamate": 1,
    "betaine + glutamate + tyramine": 1, "glutamate + octopamine": 1, "dopamine + glutamate": 1,
    "glutamate + serotonin": 1,
})  # fmt: skip
_SPECIES: Final = MappingProxyType({"fly": FLY, "mammal": MAMMAL, "worm": WORM})
#: What tables call the column that says what a neuron releases, the most reliable one first.
TRANSMITTER_COLUMNS: Final = (
    "transmitter", "neurotransmitter", "consensus_nt", "celltype_predicted_nt", "nt_type", "top_nt", "predicted_nt",
    "predictedNt", "nt", "ntype", "classification_system",
)  # fmt: skip


def with_parameters(neuron: NeuronModel, parameters: Mapping[str, Any], where: str) -> NeuronModel:
    """The neuron with other parameters. Raises :class:`ConnectomeError` for one that its model does not have."""
    for name in parameters:
        if name not in neuron.parameters():
            rule = f"must be parameters of {neuron.model}: {', '.join(neuron.parameters())}"
            raise ConnectomeError(where, rule, repr(name))
    return replace(neuron, **parameters) if parameters else neuron


def plain(text: str) -> str:
    """A column's text in the form in which it is looked up in ``signs``."""
    return text.strip().lower()


@dataclass(frozen=True)
class Physiology(ReadOnly):
    """How to turn synapse counts into a network. Raises :class:`ConnectomeError` for invalid values.

    Parameters
    ----------
    name : its name in an account
    neuron : every neuron's model and parameters
    weight : weight of one synapse, in the unit of the neuron model, > 0
    gain : multiplies every weight; :func:`connectome.experiment.calibration.calibrate` finds it
    sign_by : the attributes that may say what a neuron, or else an edge, releases; the first one present counts. ""
        keeps the signs that the weights have
    signs : text of that attribute, in any case -> 1 or -1
    unknown : what becomes of edges whose sign is not known: "refuse" all, keep them as "excitatory" or "inhibitory", or
        "drop" them
    normalise : divide a weight by its target's number of edges ("in_degree") or synapses ("in_strength"), so that each
        neuron's input is ``weight`` times the mean count, or ``weight`` in total; "" does not divide
    count : "linear" in the number of synapses, or its logarithm ("log": log(1 + n))
    size_by : an attribute of neurons, such as an area: weights are divided by the target's value over the mean of its
        region
    delay_ms : delay of every edge; None keeps the edges' own
    velocity_um_per_ms : adds the distance between two neurons, divided by this, to the delay; None adds nothing
    stimulus_weight : weight of an event that stimulates a cell, in the unit of the neuron model
    stimulated : neuron parameters of cells while they are stimulated
    """

    name: str = "physiology"
    neuron: NeuronModel = field(default_factory=NeuronParameters)
    weight: float = 1.0
    gain: float = 1.0
    sign_by: Sequence[str] = TRANSMITTER_COLUMNS
    signs: Mapping[str, int] = field(default_factory=lambda: FLY)
    unknown: Unknown = "refuse"
    normalise: Normalise = ""
    count: Count = "linear"
    size_by: str = ""
    delay_ms: float | None = None
    velocity_um_per_ms: float | None = None
    stimulus_weight: float = 1000.0
    stimulated: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("weight", "gain", "stimulus_weight", "delay_ms", "velocity_um_per_ms"):
            value = getattr(self, name)
            if value is None and name in ("delay_ms", "velocity_um_per_ms"):
                continue
            number(f"physiology.{name}", value, 0.0, above=True)
        for name, kind in (("unknown", Unknown), ("normalise", Normalise), ("count", Count)):
            if getattr(self, name) not in get_args(kind):
                rule = f"must be one of {', '.join(map(repr, get_args(kind)))}"
                raise ConnectomeError(f"physiology.{name}", rule, repr(getattr(self, name)))
        for name in ("name", "size_by"):
            if not isinstance(getattr(self, name), str):
                raise ConnectomeError(f"physiology.{name}", "must be a text", repr(getattr(self, name)))
        by = (self.sign_by,) if isinstance(self.sign_by, str) else self.sign_by
        if not isinstance(by, Sequence) or not all(isinstance(name, str) for name in by):
            raise ConnectomeError("physiology.sign_by", "must be names of attributes", repr(self.sign_by))
        for text, sign in self.signs.items():
            if not isinstance(text, str) or type(sign) is not int or sign not in (-1, 1):
                raise ConnectomeError(f"physiology.signs[{text}]", "must be 1 or -1", repr(sign))
        object.__setattr__(self, "sign_by", tuple(name for name in by if name))
        object.__setattr__(self, "signs", MappingProxyType({plain(k): v for k, v in self.signs.items()}))
        object.__setattr__(self, "stimulated", MappingProxyType(dict(self.stimulated)))
        with_parameters(self.neuron, self.stimulated, "physiology.stimulated")


#: Name -> physiology. ``shiu2024`` is Shiu et al. (2024), Nature 634:210, doi 10.1038/s41586-024-07763-9: weights stay
#: counts, as its neuron knows what to make of them; whatever is not known to inhibit excites; an event that stimulates
#: a cell makes it fire. ``mammal`` is of no paper, but something to begin with and to calibrate. ``worm`` are the fly's
#: neurons with the worm's transmitters, to be calibrated: a stand-in, as most of the worm's neurons do not spike.
PRESETS: Final[Mapping[str, Physiology]] = MappingProxyType({
    "shiu2024": Physiology(
        "shiu2024", Shiu2024(), unknown="excitatory", delay_ms=1.8, stimulus_weight=50_000.0,
        stimulated={"t_ref_ms": 0.0},
    ),
    "mammal": Physiology("mammal", NeuronParameters(), weight=20.0, signs=MAMMAL, delay_ms=1.0),
    "worm": Physiology(
        "worm", Shiu2024(), signs=WORM, unknown="excitatory", delay_ms=1.8, stimulus_weight=50_000.0,
        stimulated={"t_ref_ms": 0.0},
    ),
})  # fmt: skip


def preset(name: str) -> Physiology:
    """A physiology by name. Raises :class:`ConnectomeError`."""
    if name not in PRESETS:
        raise ConnectomeError("physiology", f"must be among {', '.join(PRESETS)}", repr(name))
    return PRESETS[name]


# Tables


def physiology_from(table: Mapping[str, Any]) -> Physiology:
    """A physiology from a table of its fields, ``preset`` naming the one that it changes. ``neuron`` is a table of
    parameters, with another ``model`` if it names one; ``signs`` is "fly", "mammal" or "worm", or a table that adds to
    them, in which ``species`` names the one to extend. Raises :class:`ConnectomeError`."""
    given = dict(table)
    base = preset(given.pop("preset")) if "preset" in given else Physiology()
    known = [f.name for f in fields(Physiology)]
    for name, value in given.items():
        if name not in known:
            raise ConnectomeError("physiology", f"must have no keys but preset, {', '.join(known)}", repr(name))
        if name in ("neuron", "stimulated") and not isinstance(value, Mapping):
            raise ConnectomeError(f"physiology.{name}", "must be a table", repr(value))
    neuron = given.get("neuron", {})
    if neuron.get("model", base.neuron.model) != base.neuron.model:
        given["neuron"] = from_table(neuron, "physiology.neuron")
        base = replace(base, stimulated={})  # which may be no parameters of this one
    elif "neuron" in given:
        parameters = {k: v for k, v in neuron.items() if k != "model"}
        given["neuron"] = with_parameters(base.neuron, parameters, "physiology.neuron")
    signs = given.get("signs", {})
    signs = {"species": signs} if isinstance(signs, str) else signs
    rule = f"must be a table, or one of {', '.join(_SPECIES)}"
    if not isinstance(signs, Mapping):
        raise ConnectomeError("physiology.signs", rule, repr(signs))
    if signs:
        species = signs.get("species")
        if species is not None and species not in _SPECIES:
            raise ConnectomeError("physiology.signs", rule, repr(species))
        own = {plain(k): v for k, v in signs.items() if k != "species"}
        given["signs"] = {**(base.signs if species is None else _SPECIES[species]), **own}
    return replace(base, **given)


def table_of(physiology: Physiology) -> dict[str, Any]:
    """The inverse of :func:`physiology_from`, with every field written out except those that are None."""
    found = {f.name: getattr(physiology, f.name) for f in fields(physiology)}
    found |= {k: dict(v) for k, v in found.items() if isinstance(v, Mapping)}
    found |= {"neuron": to_table(physiology.neuron), "sign_by": list(physiology.sign_by)}
    return {name: value for name, value in found.items() if value is not None}


def read_physiology(text: str, changes: Sequence[str] = ()) -> Physiology:
    """A preset by name, or the table ``[physiology]`` of a TOML file, with changes such as ``gain=2`` or
    ``neuron.t_ref_ms=3``. Raises :class:`ConnectomeError`."""
    table: dict[str, Any] = {"preset": text}
    if text.endswith(".toml"):
        found = read_toml(Path(text))
        if not isinstance(found.get("physiology"), dict):
            raise ConnectomeError(text, "must have a table [physiology]", ", ".join(found) or "none")
        table = found["physiology"]
    for change in changes:
        set_value(table, change, "key=value", "For example gain=2 or neuron.t_ref_ms=3.")
    try:
        return physiology_from(table)
    except ConnectomeError as error:
        raise (error.within(text) if text.endswith(".toml") else error) from None

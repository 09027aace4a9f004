"""What a configuration may name: a table of ours, then the entry points of installed packages.

A package adds to a group by an entry point ``connectome.GROUP``; it cannot take the place of what is ours. Nothing is
imported before it is asked for, so what cannot be imported breaks those runs alone that name it. The groups:

- ``rules``, ``learning``, ``importance``, ``comparators``: ``mechanisms/README.md`` shows how to write one of each;
- ``neurons``: models, see ``neurons/README.md``;
- ``views``: what the weights of an edge set are made of, see ``learning/README.md``;
- ``select``: what chooses the samples of a batch, see ``mechanisms/gradient_clusters.py``;
- ``run_rules``: plasticity in a run, see ``simulate/README.md``;
- ``tasks``: ``make(images, jitter_pixels, **table)`` gives a task, ``[tasks.NAME]`` being the table;
- ``diagnostics``: what a stage is measured by, see ``mechanisms/diagnostics.py``;
- ``studies``: ``make(quick, images)`` gives a study of ``sims.study``; one that takes ``config`` gets its path too;
- ``circuits``, ``mechanisms``: a :class:`sims.studies.published.Trial` of the study of that name;
- ``metrics``: a :class:`connectome.analysis.simple_graph.Metric`.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.metadata
import inspect
import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import connectome
from connectome.errors import ConnectomeError

__all__ = ["GROUPS", "Plugin", "has", "known", "load", "origin_of", "package_versions"]

#: Group -> name -> ``module:attribute``, in the order in which rules act.
_OURS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "rules": {
            "growth": "connectome.mechanisms.growth:LongRangeGrowth",
            "strengthening": "connectome.mechanisms.strengthening:Strengthening",
            "pruning": "connectome.mechanisms.feedback_pruning:FeedbackPruning",
            "homeostasis": "connectome.mechanisms.homeostasis:Homeostasis",
            "shuffled": "connectome.analysis.shuffled:Shuffled",
            "low_rank_birth": "connectome.mechanisms.low_rank_birth:LowRankBirth",
            "dead_maps": "connectome.mechanisms.dead_maps:DeadMaps",
            "balanced_birth": "connectome.mechanisms.balanced_birth:BalancedBirth",
            "replay_ratio": "connectome.mechanisms.replay_ratio:ReplayRatio",
        },
        "learning": {
            "adam": "connectome.learning.optimisers:Adam",
            "sgd": "connectome.learning.optimisers:Sgd",
            "dale": "connectome.learning.optimisers:Dale",
            "ewc": "connectome.mechanisms.ewc:Ewc",
            "consolidation": "connectome.mechanisms.consolidation:Consolidation",
            "refresh": "connectome.mechanisms.refresh:Refresh",
            "classp": "connectome.mechanisms.classp:Classp",
            "memory_momentum": "connectome.mechanisms.memory_momentum:MemoryMomentum",
            "restoration": "connectome.mechanisms.restoration:Restoration",
            "teacher": "connectome.mechanisms.teacher:Teacher",
            "frozen": "connectome.mechanisms.frozen:Frozen",
            "hlop": "connectome.mechanisms.hlop:Hlop",
            "devices": "connectome.mechanisms.devices:Devices",
            "hypergradient": "connectome.mechanisms.hypergradient:Hypergradient",
            "merging": "connectome.mechanisms.merging:Merging",
            "rate_matching": "connectome.mechanisms.rate_matching:RateMatching",
            "soft_hebb": "connectome.mechanisms.soft_hebb:SoftHebb",
        },
        "comparators": {
            name: f"connectome.mechanisms.comparators:{name}"
            for name in (
                "development",
                "blind",
                "magnitude",
                "unpruned",
                "sequential",
                "frozen",
                "ewc",
                "replay",
                "er",
                "der",
                "derpp",
                "lwf",
                "cpr",
                "refresh",
                "cotta",
                "ecotta",
            )
        },
        "importance": {
            name: f"connectome.mechanisms.importance:{name}"
            for name in ("feedback", "taylor", "gradient", "magnitude", "activity", "bcm", "random")
        },
        "neurons": {
            "iaf_psc_exp": "connectome.neurons.iaf_psc_exp:NeuronParameters",
            "iaf_cond_exp": "connectome.neurons.iaf_cond_exp:IafCondExp",
            "alif": "connectome.neurons.alif:Alif",
            "izhikevich": "connectome.neurons.izhikevich:Izhikevich",
            "aeif_psc_exp": "connectome.neurons.aeif_psc_exp:AeifPscExp",
            "leaky_integrator": "connectome.neurons.leaky_integrator:LeakyIntegrator",
            "shiu2024": "connectome.neurons.shiu2024:Shiu2024",
            "iaf_psc_alpha": "connectome.neurons.iaf_psc_alpha:IafPscAlpha",
        },
        "views": {
            "gain": "connectome.mechanisms.weight_gain:WeightGain",
            "gate": "connectome.mechanisms.gate:Gate",
            "quantised": "connectome.mechanisms.quantised:Quantised",
            "noisy": "connectome.mechanisms.noisy:Noisy",
            "variability": "connectome.mechanisms.variability:Variability",
            "low_rank": "connectome.mechanisms.low_rank:LowRank",
        },
        "diagnostics": {
            name: f"connectome.mechanisms.diagnostics:{name}"
            for name in ("mean_rate", "active_fraction", "active_units", "silent_neurons", "gradient_norm")
        }
        | {name: f"connectome.mechanisms.voids:{name}" for name in ("silencing_effect", "void_samples")},
        "studies": {
            "claims": "sims.studies.claims:claims",
            "ablations": "sims.studies.claims:ablations",
            "combinations": "sims.studies.combinations:combinations",
            "candidate": "sims.studies.combinations:candidate",
            "transfer": "sims.studies.transfer:transfer",
            "pruning": "sims.studies.pruning:pruning",
            "sleep": "sims.studies.sleep:sleep",
            "wiring": "sims.studies.wiring:wiring",
            "circuits": "sims.studies.published:circuits",
            "mechanisms": "sims.studies.published:mechanisms",
            "split-mnist": "sims.studies.streams:split_mnist",
            "permuted-mnist": "sims.studies.streams:permuted_mnist",
            "rotated-mnist": "sims.studies.streams:rotated_mnist",
            "split-cifar10": "sims.studies.streams:split_cifar10",
            "split-cifar100": "sims.studies.streams:split_cifar100",
            "split-pictures": "sims.studies.streams:split_pictures",
        },
        "circuits": {
            "clamping": "sims.studies.circuits.clamping:clamping",
            "ca3_memory": "sims.studies.circuits.ca3_memory:ca3_memory",
            "feast": "sims.studies.circuits.feast:feast",
            "gain_control": "sims.studies.circuits.gain_control:gain_control",
            "pspm": "sims.studies.circuits.pspm:pspm",
            "reservoir": "sims.studies.circuits.reservoir:reservoir",
            "rewriting": "sims.studies.circuits.rewriting:rewriting",
            "colour_cubes": "sims.studies.circuits.colour_cubes:colour_cubes",
            "places": "sims.studies.circuits.places:places",
            "ncap": "sims.studies.circuits.ncap:ncap",
            "what_and_when": "sims.studies.circuits.what_and_when:what_and_when",
            "sparse_recordings": "sims.studies.circuits.sparse_recordings:sparse_recordings",
            "structural_plasticity": "sims.studies.circuits.structural_plasticity:structural_plasticity",
            "cognitive_graph": "sims.studies.circuits.cognitive_graph:cognitive_graph",
            "liquid": "sims.studies.circuits.liquid:liquid",
            "timescales": "sims.studies.circuits.timescales:timescales",
        },
        "mechanisms": {
            "links": "sims.studies.mechanisms.links:links",
            "inhibition": "sims.studies.mechanisms.inhibition:inhibition",
            "strengthening": "sims.studies.mechanisms.strengthening:strengthening",
            "hlop": "sims.studies.mechanisms.hlop:hlop",
            "retention": "sims.studies.mechanisms.retention:retention",
            "memory_momentum": "sims.studies.mechanisms.memory_momentum:memory_momentum",
            "variability": "sims.studies.mechanisms.variability:variability",
            "voids": "sims.studies.mechanisms.voids:voids",
            "modes": "sims.studies.mechanisms.modes:modes",
            "rich_lazy": "sims.studies.mechanisms.rich_lazy:rich_lazy",
            "devices": "sims.studies.mechanisms.devices:devices",
            "codebooks": "sims.studies.mechanisms.codebooks:codebooks",
            "classp": "sims.studies.mechanisms.classp:classp",
            "selection": "sims.studies.mechanisms.selection:selection",
            "spike_code": "sims.studies.mechanisms.spike_code:spike_code",
            "concept_shift": "sims.studies.mechanisms.concept_shift:concept_shift",
            "bricks": "sims.studies.mechanisms.bricks:bricks",
            "running_mean": "sims.studies.mechanisms.running_mean:running_mean",
            "consolidation": "sims.studies.mechanisms.consolidation:consolidation",
            "routing": "sims.studies.mechanisms.routing:routing",
            "adapters": "sims.studies.mechanisms.adapters:adapters",
            "plasticity_loss": "sims.studies.mechanisms.plasticity_loss:plasticity_loss",
            "fast_slow": "sims.studies.mechanisms.fast_slow:fast_slow",
            "cascade": "sims.studies.mechanisms.cascade:cascade",
            "counter_current": "sims.studies.mechanisms.counter_current:counter_current",
            "adaptation": "sims.studies.mechanisms.adaptation:adaptation",
            "novelty": "sims.studies.mechanisms.novelty:novelty",
        },
        "tasks": {
            "perception": "connectome.datasets.tasks:Perception",
            "motor": "connectome.datasets.tasks:make_motor",
            "interaction": "connectome.datasets.tasks:Interaction",
            "events": "connectome.datasets.event_task:EventPerception",
            "adaptation": "connectome.datasets.corruptions:Adaptation",
            **{f"bits{n}": f"connectome.circuits.bits:bits{n}" for n in range(2, 7)},
        },
        "select": {"gradient_clusters": "connectome.mechanisms.gradient_clusters:GradientClusters"},
        "run_rules": {
            "pair_stdp": "connectome.simulate.stdp:PairSTDP",
            "triplet_stdp": "connectome.simulate.stdp:TripletSTDP",
            "error_modulated": "connectome.simulate.error_modulated:ErrorModulated",
            "target_rate": "connectome.simulate.target_rate:TargetRate",
        },
    }
)


@dataclass(frozen=True)
class Plugin:
    """Something that can be named: where it is, and which package, in which version, offers it (empty if it is ours).

    Parameters
    ----------
    value : ``module:attribute``
    """

    group: str
    name: str
    value: str
    package: str = ""
    version: str = ""

    def load(self) -> Any:
        """The thing itself. Raises :class:`ConnectomeError` if it cannot be imported."""
        module, _, attribute = self.value.partition(":")
        try:
            found: Any = importlib.import_module(module)
            for name in attribute.split("."):
                found = getattr(found, name)
        except Exception as error:  # what another package does when it is imported is not ours to know
            raise ConnectomeError(
                f"{self.group}.{self.name}", "must be something that can be imported",
                f"{self.value} of {self.package or 'connectome'}: {type(error).__name__}: {error}",
                f"Mend or uninstall {self.package}." if self.package else "",
            ) from error  # fmt: skip
        return found


#: All groups.
GROUPS: Final = (*_OURS, "metrics")


def known(group: str) -> dict[str, Plugin]:
    """Everything of a group by name: ours, in its order, then what installed packages offer, by name."""
    ours = {name: Plugin(group, name, value) for name, value in _OURS.get(group, {}).items()}
    offered = {}
    for entry in importlib.metadata.entry_points(group=f"connectome.{group}"):
        package = entry.dist
        offered[entry.name] = Plugin(
            group, entry.name, entry.value, package.name if package else "", package.version if package else ""
        )
    return ours | {name: offered[name] for name in sorted(offered) if name not in ours}


def has(group: str, name: str) -> bool:
    """Whether something of a group has this name. What is ours is found without a look at the installed packages, which
    takes some 20 ms."""
    return name in _OURS.get(group, {}) or name in known(group)


def load(group: str, name: str, field: str) -> Any:
    """What has this name in a group. Raises :class:`ConnectomeError`, with ``field``, for an unknown name and
    for what cannot be imported."""
    if not has(group, name):
        raise ConnectomeError(field, f"must be among {', '.join(known(group))}", repr(name))
    ours = _OURS.get(group, {})
    return (Plugin(group, name, ours[name]) if name in ours else known(group)[name]).load()


def origin_of(things: Iterable[object]) -> dict[str, str]:
    """What is not ours among these objects, classes and functions: ``module:name`` -> the version of its package, if it
    has one, and the first digits of a digest of its source. So a run that goes on notices that it has changed."""
    found = {}
    for thing in things:
        made = thing if isinstance(thing, type) or inspect.isroutine(thing) else type(thing)
        module = getattr(made, "__module__", "")
        if module.split(".")[0] in ("connectome", "sims", "builtins"):
            continue
        source = getattr(sys.modules.get(module), "__file__", None)
        digest = hashlib.sha256(Path(source).read_bytes()).hexdigest()[:12] if source else "unknown"
        packages = _packages().get(module.split(".")[0], [])
        version = " ".join(f"{name} {importlib.metadata.version(name)}" for name in packages[:1])
        found[f"{module}:{getattr(made, '__qualname__', '')}"] = f"{version} {digest}".strip()
    return found


def package_versions() -> dict[str, str]:
    """The versions of what results' last bits depend on: Python, ours, and the packages that compute and write."""
    names = ("numpy", "numba", "torch", "torch-geometric", "h5py")
    ours = {"connectome": connectome.__version__, "python": platform.python_version()}
    return ours | {name: importlib.metadata.version(name) for name in names}


@functools.cache  # it reads every installed package's list of files
def _packages() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()

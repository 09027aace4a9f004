"""What a configuration may name: a table of ours, then the entry points of installed packages.

A package adds to a group by an entry point ``connectome.GROUP``: ``neurons``, ``rules``, ``tasks`` or ``metrics``. It
cannot take the place of what is ours. Nothing is imported before it is asked for, so what cannot be imported breaks
those runs alone that name it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from connectome.errors import ConnectomeError

__all__ = ["Plugin", "known", "load"]

#: Group -> name -> ``module:attribute``, in the order in which rules act.
_OURS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "rules": {
            "growth": "connectome.mechanisms.growth:LongRangeGrowth",
            "strengthening": "connectome.mechanisms.strengthening:Strengthening",
            "pruning": "connectome.mechanisms.feedback_pruning:FeedbackPruning",
            "homeostasis": "connectome.mechanisms.homeostasis:Homeostasis",
        },
        "neurons": {
            "iaf_psc_exp": "connectome.neurons.iaf_psc_exp:NeuronParameters",
            "iaf_cond_exp": "connectome.neurons.iaf_cond_exp:IafCondExp",
            "alif": "connectome.neurons.alif:Alif",
            "izhikevich": "connectome.neurons.izhikevich:Izhikevich",
            "aeif_psc_exp": "connectome.neurons.aeif_psc_exp:AeifPscExp",
            "leaky_integrator": "connectome.neurons.leaky_integrator:LeakyIntegrator",
        },
        "tasks": {
            "perception": "connectome.datasets.tasks:Perception",
            "motor": "connectome.datasets.tasks:make_motor",
            "interaction": "connectome.datasets.tasks:Interaction",
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


def load(group: str, name: str, field: str) -> Any:
    """What has this name in a group. Raises :class:`ConnectomeError`, with ``field``, for an unknown name and
    for what cannot be imported."""
    there_is = known(group)
    if name not in there_is:
        raise ConnectomeError(field, f"must be among {', '.join(there_is)}", repr(name))
    return there_is[name].load()

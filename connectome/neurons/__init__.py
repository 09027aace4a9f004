"""Models of neurons, one file each: parameters, units, equations, source and step.

A model is imported only when it is used.
"""

from typing import TYPE_CHECKING

from connectome.lazy import names_from

if TYPE_CHECKING:
    from connectome.neurons.aeif_psc_exp import AeifPscExp
    from connectome.neurons.alif import Alif
    from connectome.neurons.iaf_cond_exp import IafCondExp
    from connectome.neurons.iaf_psc_alpha import IafPscAlpha
    from connectome.neurons.iaf_psc_exp import NeuronParameters
    from connectome.neurons.izhikevich import Izhikevich
    from connectome.neurons.leaky_integrator import LeakyIntegrator
    from connectome.neurons.model import Arrivals, NeuronModel, draw, register
    from connectome.neurons.shiu2024 import Shiu2024

__all__ = [
    "AeifPscExp", "Alif", "Arrivals", "IafCondExp", "IafPscAlpha", "Izhikevich", "LeakyIntegrator", "NeuronModel",
    "NeuronParameters", "Shiu2024", "draw", "register",
]  # fmt: skip

__getattr__ = names_from(
    __name__,
    {
        "connectome.neurons.aeif_psc_exp": ["AeifPscExp"],
        "connectome.neurons.alif": ["Alif"],
        "connectome.neurons.iaf_cond_exp": ["IafCondExp"],
        "connectome.neurons.iaf_psc_alpha": ["IafPscAlpha"],
        "connectome.neurons.iaf_psc_exp": ["NeuronParameters"],
        "connectome.neurons.izhikevich": ["Izhikevich"],
        "connectome.neurons.leaky_integrator": ["LeakyIntegrator"],
        "connectome.neurons.model": ["Arrivals", "NeuronModel", "draw", "register"],
        "connectome.neurons.shiu2024": ["Shiu2024"],
    },
)

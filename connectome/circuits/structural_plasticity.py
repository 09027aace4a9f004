"""A network that wires itself until its neurons reach their target activity: homeostatic structural plasticity (Butz &
van Ooyen 2013, "A simple rule for dendritic spine and axonal bouton formation can account for cortical reorganization
after focal retinal lesions", PLoS Comput. Biol. 9: e1003259), as in NEST's example.

Excitatory and inhibitory neurons begin without an edge, driven by Poisson noise alone. With z elements of a kind and Ca
the calcium of a neuron,

    ``dCa/dt = -Ca / tau_Ca``, Ca <- Ca + beta at a spike;  ``dz/dt = nu (2 exp(-((Ca - xi) / zeta)^2) - 1)``

Elements neither grow nor shrink at eta = 0 and at eps, the set point: 0.05 for excitatory neurons (5 Hz: Ca is beta
tau_Ca times the rate), 0.2 for inhibitory ones (20 Hz). The excitatory and inhibitory spines and the boutons of both
populations follow their own neuron's calcium. The engine's part is :mod:`connectome.simulate.structural`.

All constants are NEST's except the interval between two updates of the edges, which is a choice: NEST's example had 0.1
s when it was published, and has 10 s since its unit became the millisecond. Positions in a square and a distance kernel
are ours; without ``length_um`` they have no effect, as in NEST.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from connectome.graph.connectome import Connectome
from connectome.graph.parts import Region
from connectome.neurons.iaf_psc_alpha import IafPscAlpha
from connectome.simulate.growth_curves import Gaussian
from connectome.simulate.rewiring import Elements, StructuralPlasticity, Synapse
from connectome.simulate.stimulus import Poisson, Stimulus

__all__ = ["BACKGROUND_HZ", "SET_POINT", "background", "growing_network", "homeostasis"]

#: The calcium that each population is for.
SET_POINT: Final = {"e": 0.05, "i": 0.2}
BACKGROUND_HZ: Final = 10_000.0
#: The peak of the current of an event of the background, and of a synapse.
_BACKGROUND_PA, _SYNAPSE_PA = 6.2, 585.0
_NU: Final = 1e-4  # elements a millisecond


def growing_network(n_e: int = 800, n_i: int = 200, *, side_um: float = 1000.0, seed: int = 0) -> Connectome:
    """Regions ``e`` and ``i`` without edges; neurons at random positions in a square. Raises
    :class:`ConnectomeError`."""
    rng = np.random.default_rng(seed)
    neuron = IafPscAlpha(
        tau_m_ms=10.0, c_m_pf=250.0, t_ref_ms=2.0, e_l_mv=-70.0, v_reset_mv=-70.0, v_th_mv=-55.0, tau_syn_ex_ms=2.0,
        tau_syn_in_ms=2.0,
    )  # fmt: skip
    regions = [
        Region(
            name,
            n,
            neuron=neuron,
            sign=np.full(n, sign),
            position_um=np.c_[rng.uniform(0, side_um, (n, 2)), np.zeros(n)],
        )
        for name, n, sign in (("e", n_e, 1), ("i", n_i, -1))
    ]
    return Connectome.of(regions)


def homeostasis(*, interval_ms: float = 10_000.0, length_um: float | None = None) -> StructuralPlasticity:
    """The rule. ``length_um``: length constant of the distance kernel by which elements pair; None for none. Raises
    :class:`ConnectomeError`."""
    curve = {name: Gaussian(0.0, eps) for name, eps in SET_POINT.items()}
    slow = {name: Elements(of, _NU) for name, of in curve.items()}
    return StructuralPlasticity(
        {
            "e": {"axon_ex": slow["e"], "den_ex": slow["e"], "den_in": slow["e"]},
            "i": {"axon_in": slow["i"], "den_ex": Elements(curve["i"], 4 * _NU), "den_in": slow["i"]},
        },
        (
            Synapse("axon_ex", "den_ex", _SYNAPSE_PA, 1.0, length_um),
            Synapse("axon_in", "den_in", -_SYNAPSE_PA, 1.0, length_um),
        ),
        interval_ms,
    )  # fmt: skip


def background(rate_hz: float = BACKGROUND_HZ) -> Stimulus:
    """Poisson noise, independent for each neuron."""
    return Stimulus(poisson={name: Poisson(rate_hz, _BACKGROUND_PA) for name in SET_POINT})

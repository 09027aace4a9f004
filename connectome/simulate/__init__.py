"""Run spikes through a connectome: one contract, two engines (:mod:`connectome.simulate.runs`).

Modules are imported only when they are used: a run without plasticity does not pay for any rule.
"""

from typing import TYPE_CHECKING

from connectome.lazy import names_from

if TYPE_CHECKING:
    from connectome.simulate.clamp import Clamp
    from connectome.simulate.error_modulated import ErrorModulated
    from connectome.simulate.growth_curves import Gaussian, Linear, Sigmoid
    from connectome.simulate.rewiring import Elements, StructuralPlasticity, Synapse
    from connectome.simulate.run_rules import RunRule, SoFar
    from connectome.simulate.run_state import RunState
    from connectome.simulate.runs import run
    from connectome.simulate.stdp import PairSTDP, TripletSTDP, learnt
    from connectome.simulate.stimulus import Poisson, Stimulus
    from connectome.simulate.structural import run_structural

__all__ = [
    "Clamp", "Elements", "ErrorModulated", "Gaussian", "Linear", "PairSTDP", "Poisson", "RunRule", "RunState",
    "Sigmoid", "SoFar", "Stimulus", "StructuralPlasticity", "Synapse", "TripletSTDP", "learnt", "run", "run_structural",
]  # fmt: skip

__getattr__ = names_from(
    __name__,
    {
        "connectome.simulate.clamp": ["Clamp"],
        "connectome.simulate.error_modulated": ["ErrorModulated"],
        "connectome.simulate.growth_curves": ["Gaussian", "Linear", "Sigmoid"],
        "connectome.simulate.rewiring": ["Elements", "StructuralPlasticity", "Synapse"],
        "connectome.simulate.run_rules": ["RunRule", "SoFar"],
        "connectome.simulate.run_state": ["RunState"],
        "connectome.simulate.runs": ["run"],
        "connectome.simulate.stdp": ["PairSTDP", "TripletSTDP", "learnt"],
        "connectome.simulate.stimulus": ["Poisson", "Stimulus"],
        "connectome.simulate.structural": ["run_structural"],
    },
)

"""Run spikes through a connectome: one contract, two engines (:mod:`connectome.simulate.runs`)."""

from connectome.simulate.clamp import Clamp
from connectome.simulate.error_modulated import ErrorModulated
from connectome.simulate.run_rules import RunRule, SoFar
from connectome.simulate.run_state import RunState
from connectome.simulate.runs import run
from connectome.simulate.stdp import PairSTDP, TripletSTDP, learnt
from connectome.simulate.stimulus import Poisson, Stimulus

__all__ = [
    "Clamp", "ErrorModulated", "PairSTDP", "Poisson", "RunRule", "RunState", "SoFar", "Stimulus", "TripletSTDP",
    "learnt", "run",
]  # fmt: skip

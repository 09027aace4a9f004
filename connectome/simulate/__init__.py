"""Run spikes through a connectome: one contract, two engines (:mod:`connectome.simulate.runs`)."""

from connectome.simulate.clamp import Clamp
from connectome.simulate.run_state import RunState
from connectome.simulate.runs import run
from connectome.simulate.stdp import PairSTDP, learnt
from connectome.simulate.stimulus import Poisson, Stimulus

__all__ = ["Clamp", "PairSTDP", "Poisson", "RunState", "Stimulus", "learnt", "run"]

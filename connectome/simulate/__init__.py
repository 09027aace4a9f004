"""Run spikes through a connectome: one contract, two engines (:mod:`connectome.simulate.runs`)."""

from connectome.simulate.error_modulated import ErrorModulated
from connectome.simulate.run_rules import RunRule, SoFar
from connectome.simulate.runs import run
from connectome.simulate.stdp import PairSTDP, TripletSTDP, learnt
from connectome.simulate.stimulus import Poisson, Stimulus

__all__ = ["ErrorModulated", "PairSTDP", "Poisson", "RunRule", "SoFar", "Stimulus", "TripletSTDP", "learnt", "run"]

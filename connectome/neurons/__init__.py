"""What a neuron is: one file a model, with its parameters, units, equations and source."""

from connectome.neurons.iaf_psc_exp import NeuronParameters

__all__ = ["NeuronParameters"]

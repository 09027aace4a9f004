"""Experiments on a connectome: what makes counts a live network, what is done to it, and what is read out of it."""

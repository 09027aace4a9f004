"""Soft competition: neurons learn what they hear without an error, each as much as it wins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from connectome.learning.learning_rule import State, Update, one_thread
from connectome.parameters import Parameters, bounded

__all__ = ["SoftHebb"]


@dataclass(frozen=True)
class SoftHebb(Parameters):
    """Soft Hebbian learning (Moraitis et al. 2022, arXiv 2107.05747), which NHL does at test time in the first layer
    (Tang et al. 2023, arXiv 2303.00914, whose exact form was not at hand): ``dw_ik = eta y_k (x_i - u_k w_ik)``, with
    ``u = W x`` and ``y = softmax(u / tau)`` over the neurons k of the target, the mean over samples.

    x are the sources' mean rates in a sample, as a vector of length 1; w the weights in units of the norm of all that a
    neuron hears over the set when the stage begins: that norm is where the rule leads back to, whatever x is. It stands
    in place of an optimiser and takes no notice of the gradient; ``eta`` is the learning rate, pA.

    State of an edge: ``hebb_norm``, pA. What is no weight, or is shared by edges, stays.

    Parameters
    ----------
    tau : the lower, the fewer win
    """

    tau: float = bounded(0.1, 1e-3, 1e3)

    paper: ClassVar = "Tang et al. 2023, arXiv 2303.00914; Moraitis et al. 2022, arXiv 2107.05747"
    stands: ClassVar = "optimiser"
    keeps: ClassVar = ("hebb_norm",)
    hears_spikes: ClassVar = True

    def __call__(self, update: Update, change: Tensor, state: State) -> Tensor:
        """The step."""
        edges, weight, norm = update.edges, update.weight, state["hebb_norm"]
        if edges is None or update.pre is None or update.name != "weight" or len(edges) != len(weight):
            return torch.zeros_like(change)
        source, target = (torch.tensor(n, dtype=torch.int64).to(weight.device) for n in (edges.source, edges.target))
        with one_thread():
            total = weight.new_zeros(edges.n_target).index_add_(0, target, weight.square()).sqrt()
            norm.copy_(torch.where(norm > 0, norm, total[target].clamp(min=1e-30)))
            unit = weight / norm
            x = torch.nn.functional.normalize(update.pre.to(weight).mean(1), dim=1)
            dense = weight.new_zeros(edges.n_source, edges.n_target)
            u = x @ dense.index_put_((source, target), unit, accumulate=True)
            y = torch.softmax(u / self.tau, 1)
            met, kept = (x.T @ y)[source, target], (y * u).sum(0)[target]
        return (met - kept * unit) * (update.rate_pa / len(x))

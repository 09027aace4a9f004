"""Rich or lazy learning: how much of what a network represents, and of how it learns, is as it was before."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from connectome.graph.connectome import Connectome
from connectome.graph.parts import EdgeKey
from connectome.learning.network import SpikingNetwork
from connectome.learning.task import Task, outputs_of

__all__ = ["alignment", "effective_rank", "kernel_alignment", "representation_alignment", "tangent"]


def alignment(before: ArrayLike, after: ArrayLike) -> float:
    """``<K_f, K_0> / (|K_f| |K_0|)`` (Frobenius) of ``K = H H'``, H (B, N) and (B, M): 1 where samples are as alike to
    each other as they were, 0 where nothing of that is left (Liu et al. 2024, ICLR, arXiv 2310.08513). Nan where either
    has nothing but zeros."""
    x, y = (np.asarray(h, np.float64) for h in (before, after))
    k, f = x @ x.T, y @ y.T
    size = float(np.linalg.norm(k) * np.linalg.norm(f))
    return float((k * f).sum() / size) if size else float("nan")


def representation_alignment(
    before: Connectome, after: Connectome, task: Task, region: str, rng: np.random.Generator, samples: int = 128
) -> float:
    """Of a region's mean rates in so many samples of a task: 1 is lazy, less is rich."""
    spikes, _ = task.batch(rng, samples)

    def rates(connectome: Connectome) -> NDArray[np.float32]:
        with torch.no_grad():
            seen = SpikingNetwork(connectome, recruit=task.recruits)(spikes, record=(region,)).spikes[region]
        return np.asarray(seen.to(torch.float32).mean(1).numpy())

    return alignment(rates(before), rates(after))


def kernel_alignment(
    before: Connectome, after: Connectome, task: Task, key: EdgeKey, rng: np.random.Generator, samples: int = 8,
    outputs: int = 3,
) -> float:  # fmt: skip
    """Of the tangent kernels of an edge set: 1 is lazy, less is rich. The edges must be the same, their weights not."""
    spikes, _ = task.batch(rng, samples)
    return alignment(*(tangent(connectome, task, key, spikes, outputs) for connectome in (before, after)))


def tangent(
    connectome: Connectome, task: Task, key: EdgeKey, spikes: Mapping[str, Tensor], outputs: int
) -> NDArray[np.float32]:
    """(B * outputs, P) the gradient of each of the first outputs of the task in each sample for the weights of a set;
    its Gram matrix is the tangent kernel."""
    network = SpikingNetwork(connectome, recruit=task.recruits)
    weight, rows = network.weight[key], []
    for b in range(len(next(iter(spikes.values())))):
        one = network({name: s[b : b + 1] for name, s in spikes.items()})
        for x in outputs_of(task, one)[0, :outputs]:
            (slope,) = torch.autograd.grad(x, weight, retain_graph=True, allow_unused=True)
            rows.append(torch.zeros_like(weight) if slope is None else slope)
    return np.asarray(torch.stack(rows).numpy())


def effective_rank(matrix: ArrayLike) -> float:
    """``(sum s)^2 / sum s^2`` of a matrix' singular values; 0 of zeros."""
    s = np.linalg.svd(np.asarray(matrix, np.float64), compute_uv=False)
    return float(s.sum() ** 2 / np.square(s).sum()) if s.any() else 0.0

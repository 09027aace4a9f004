"""What is left of steps and of traces outside of what some rows span."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from connectome.graph.parts import EdgeSet

__all__ = ["outside", "without"]

#: Of a row of length 1, added to the Gram matrix of rows: a target that has few sources may have more rows than those.
_RIDGE = 1e-6


def without(rows: Tensor, values: Tensor) -> Tensor:
    """(S, N) without what (M, N) rows span."""
    return values - torch.cholesky_solve(rows @ values.T, _factor(rows @ rows.T)).T @ rows if len(rows) else values


def outside(rows: Tensor, change: Tensor, edges: EdgeSet) -> Tensor:
    """(E,) what is left of a change of E weights when each target's part along the (M, N) rows has gone, the rows taken
    at the sources that the target has."""
    source, target = (torch.from_numpy(x.astype(np.int64)).to(rows.device) for x in (edges.source, edges.target))
    n, m = edges.n_source, edges.n_target
    if int(torch.bincount(target).max()) <= len(rows):
        return _outside_by_edges(rows, change, source, target)
    place = source * m + target

    def matrix(values: Tensor) -> Tensor:
        return torch.zeros(n * m, dtype=rows.dtype, device=rows.device).index_add_(0, place, values).view(n, m)

    met = rows @ matrix(change.to(rows.dtype))
    joined = matrix(torch.ones_like(place, dtype=rows.dtype))
    if bool((joined == joined[:, :1]).all()):
        along = torch.cholesky_solve(met, _factor(rows * joined[:, 0] @ rows.T))
    else:
        pairs = torch.einsum("kn,ln->nkl", rows, rows).flatten(1)
        gram = (joined.T @ pairs).view(m, len(rows), len(rows))
        along = torch.cholesky_solve(met.T[..., None], _factor(gram))[..., 0].T
    return change - (rows.T @ along).flatten()[place].to(change.dtype)


def _outside_by_edges(rows: Tensor, change: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """The same where no target has more edges than there are rows: with A the rows at its edges, ``dw - A^T (A A^T +
    ridge)^-1 A dw = ridge (A^T A + ridge)^-1 dw``, a matrix of edges."""
    order = torch.argsort(target, stable=True)
    number = torch.bincount(target)
    place = torch.arange(len(order), device=order.device) - torch.repeat_interleave(number.cumsum(0) - number, number)
    edge = torch.full((len(number), int(number.max())), -1, device=order.device)
    edge[target[order], place] = order
    there = (edge >= 0).to(rows.dtype)
    at = source[edge]  # of the last edge where there is none
    alike = (rows.T @ rows)[at[:, :, None], at[:, None, :]] * there[:, :, None] * there[:, None, :]
    left = _RIDGE * torch.cholesky_solve((change[edge].to(rows.dtype) * there)[..., None], _factor(alike))[..., 0]
    return left[target[order], place][torch.argsort(order)].to(change.dtype)


def _factor(gram: Tensor) -> Tensor:
    ridge = _RIDGE * torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    factor: Tensor = torch.linalg.cholesky(gram + ridge)
    return factor

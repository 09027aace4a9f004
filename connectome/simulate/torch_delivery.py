"""Spikes over edges in torch: a sparse matrix a step, so that memory does not grow with edges times samples.

Torch's own gradient of a sparse product refuses parallel edges; this one does not, and can be differentiated again.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor
from torch_geometric.nn import MessagePassing

from connectome.graph.flat import FlatNetwork

__all__ = ["Delivery"]


class Delivery(MessagePassing):  # type: ignore[misc]  # torch_geometric has no annotations
    """What arrives at 2 N places, excitatory then inhibitory, from K N: the neurons as they were at each of the K
    ``delays`` that occur, in steps. Differentiable in (E,) weights, in the order of the CSR, and in spikes.

    ``block``: (E,) bool, edges through which no gradient of spikes flows back.
    """

    def __init__(self, flat: FlatNetwork, weight: Tensor, block: Tensor | None = None) -> None:
        super().__init__()
        edges = _Edges(flat, weight.detach() < 0, block)
        self._delays, self._weight = flat.delays.tolist(), weight.index_select(0, edges.order)
        self._weighted = _Weighted(edges, self._weight.detach())

    def forward(self, past: tuple[Tensor, ...]) -> Tensor:
        """(2 N, B) pA from (N, B) spikes of the last steps, the latest first."""
        sent = [past[k - 1] for k in self._delays]
        return cast(Tensor, self.propagate(self._weighted.matrix, sent=sent))

    def message_and_aggregate(self, adj_t: Tensor, sent: list[Tensor]) -> Tensor:
        """Both at once, by ``adj_t``, the (2 N, K N) matrix."""
        return _product(self._weighted, False, self._weight, *sent)


class _Edges:
    """The edges in the ``order`` in which their targets have them, those that inhibit in the end, and the way back."""

    def __init__(self, flat: FlatNetwork, negative: Tensor, block: Tensor | None) -> None:
        n, device, (source, by_target, by_source) = flat.n_neurons, negative.device, flat.orders

        def tensor(array: Any) -> Tensor:
            return torch.as_tensor(array, device=device)

        target = tensor(flat.target) + n * negative.to(torch.int32)
        of_targets = tensor(by_target)
        last = negative[of_targets]
        self.order = torch.cat([of_targets[~last], of_targets[last]])
        place = torch.empty_like(self.order)
        place[self.order] = torch.arange(len(place), dtype=place.dtype, device=device)
        of_sources = tensor(by_source)
        self.place = place[of_sources]  # where a source's edges are in the order of the targets
        self.closed = None if block is None else block[self.order]
        self._size = 2 * n, len(flat.delays) * n
        #: Forward, back: where rows begin, and columns.
        self._rows = tuple(_rows(x, size) for x, size in zip((target, tensor(source)), self._size, strict=True))
        self._columns = tensor(source)[self.order], target[of_sources]

    def matrix(self, weight: Tensor, back: bool) -> Tensor:
        """(2 N, K N) of (E,) weights in their order; or its transpose."""
        values = weight.index_select(0, self.place) if back else weight
        size = self._size[::-1] if back else self._size
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*Sparse CSR tensor support is in beta")
            return torch.sparse_csr_tensor(self._rows[back], self._columns[back], values, size, check_invariants=False)


class _Weighted:
    """The edges with (E,) weights: their matrix, its transpose, and themselves without those that are closed, each made
    once, when it is asked for."""

    def __init__(self, edges: _Edges, weight: Tensor) -> None:
        self.edges, self.weight = edges, weight

    @cached_property
    def matrix(self) -> Tensor:
        return self.edges.matrix(self.weight, False)

    @cached_property
    def transposed(self) -> Tensor:
        return self.edges.matrix(self.weight, True)

    @cached_property
    def open(self) -> _Weighted:
        closed = self.edges.closed
        return self if closed is None else _Weighted(self.edges, self.weight.masked_fill(closed, 0))


def _rows(of: Tensor, n: int) -> Tensor:
    """(n + 1,) where each row begins."""
    zero = torch.zeros(1, dtype=torch.int32, device=of.device)
    return torch.cat([zero, torch.bincount(of, minlength=n).cumsum(0, dtype=torch.int32)])


class _Product(torch.autograd.Function):
    """The matrix, or with ``back`` its transpose, times (n, B) parts on top of each other."""

    @staticmethod
    def forward(ctx: Any, weighted: _Weighted, back: bool, weight: Tensor, *parts: Tensor) -> Tensor:
        ctx.weighted, ctx.back = weighted, back
        ctx.save_for_backward(weight, *parts)  # not what is made of them, which would be another copy for each step
        return (weighted.transposed if back else weighted.matrix) @ _stacked(parts)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor | None, ...]:
        weighted, back, (weight, *parts) = ctx.weighted, ctx.back, ctx.saved_tensors
        of_weight: Tensor | None = None
        of_parts: tuple[Tensor | None, ...] = (None,) * len(parts)
        if ctx.needs_input_grad[2]:
            pair = grad[0], _stacked(parts)
            of_weight = _edgewise(weighted, *(pair[::-1] if back else pair))
        if any(ctx.needs_input_grad[3:]):
            product = _product(weighted, False, weight, grad[0]) if back else _back(weighted, weight, grad[0])
            of_parts = product.chunk(len(parts))
        return None, None, of_weight, *of_parts


class _Edgewise(torch.autograd.Function):
    """(E,) for each edge the product of what its target and its source have, (2 N, B) and (K N, B), summed over B."""

    @staticmethod
    def forward(ctx: Any, weighted: _Weighted, at_target: Tensor, at_source: Tensor) -> Tensor:
        ctx.edges = weighted.edges
        ctx.save_for_backward(at_target, at_source)
        found: Tensor = torch.sparse.sampled_addmm(weighted.matrix, at_target, at_source.T, beta=0.0)
        return found.values()

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor | None, ...]:
        (at_target, at_source), weight = ctx.saved_tensors, grad[0]
        weighted = _Weighted(ctx.edges, weight.detach())
        return None, _product(weighted, False, weight, at_source), _back(weighted, weight, at_target)


def _back(weighted: _Weighted, weight: Tensor, at_target: Tensor) -> Tensor:
    """(K N, B) what flows back to sources."""
    closed = weighted.edges.closed
    return _product(weighted.open, True, weight if closed is None else weight.masked_fill(closed, 0), at_target)


def _stacked(parts: tuple[Tensor, ...] | list[Tensor]) -> Tensor:
    return torch.cat(list(parts)) if len(parts) > 1 else parts[0]


_product = cast(Callable[..., Tensor], _Product.apply)
_edgewise = cast(Callable[..., Tensor], _Edgewise.apply)

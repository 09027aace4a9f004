"""Weight views: what the weights of an edge set are made of, where they are not parameters themselves.

A view has parameters, among them ``"weight"``, and makes the weights that edges have from them: differentiably, so that
any optimiser learns the parameters. What it learns is state of the edges, under the parameters' names; the weights of
the graph are always those that spikes meet, so that whoever does not know the view runs the same network.

The weights before the view are state too, ``"base"``, where they differ. They count where they still make the weight
that the edge has; where a rule has changed it, or an edge is new, they are changed so that they do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple, Protocol, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from connectome.errors import ConnectomeError
from connectome.graph.parts import TIED, EdgeSet

__all__ = [
    "BASE",
    "By",
    "Chained",
    "Moment",
    "Shared",
    "WeightView",
    "begin",
    "shared",
    "values_by_edge",
    "weights",
]

#: Which edges have an element of a parameter together: none, those of a source, of a target, or all of a set. In a
#: kernel set sources and targets are maps.
By = Literal["edge", "source", "target", "set"]
#: What noise is drawn by: whole numbers such as seed, stage and update. None: there is none.
Moment = tuple[int, ...] | None
#: The per-edge state of the weights before a view.
BASE: Final = "base"


class Shared(NamedTuple):
    """A parameter: its values (P,), and which of them each edge has, (E,) int64; None if each has its own.

    How fast it learns: at ``pace`` times the learning rate, which is one in pA if ``in_pa``, and a plain number if not.
    """

    value: NDArray[np.float64]
    element: NDArray[np.int64] | None = None
    in_pa: bool = False
    pace: float = 1.0


class WeightView(Protocol):
    """Makes the weights of a set of E edges; mostly a frozen dataclass of what is not learnt.

    ``pointwise``, if it has this, is False where an edge's weight depends on others' too.
    """

    def parameters(self, edges: EdgeSet) -> dict[str, Shared]:
        """What is learnt, as it is at first or as the state of the edges has it; ``"weight"`` (see :func:`weights`)
        among them, pA. :func:`shared` makes the others."""
        ...

    def __call__(self, values: Mapping[str, Tensor], edges: EdgeSet, moment: Moment) -> Tensor:
        """(E,) pA, from (E,) values of each parameter by edge."""
        ...


def weights(edges: EdgeSet) -> Shared:
    """The weights of edges; those that are tied share one, at first the mean."""
    if TIED not in edges.state:
        return Shared(edges.weight.astype(np.float64))
    _, group = np.unique(edges.state[TIED], return_inverse=True)
    return Shared(np.bincount(group, edges.weight) / np.bincount(group), group)


def shared(edges: EdgeSet, name: str, by: By, initial: ArrayLike) -> Shared:
    """A parameter as the state ``name`` of the edges has it. Where that is 0, as on an edge that is new, an edge has
    what others have with whom it shares; if there is none, ``initial``: a number, or (E,) of each edge.

    Raises :class:`ConnectomeError` for another ``by``.
    """
    if by not in get_args(By):
        raise ConnectomeError(f"{name}.by", f"must be one of {', '.join(get_args(By))}", repr(by))
    kept = edges.state.get(name, np.zeros(len(edges), np.float32)).astype(np.float64)
    first = np.broadcast_to(np.asarray(initial, np.float64), len(edges))
    if by == "edge":
        return Shared(np.where(kept != 0, kept, first))
    of = np.zeros(len(edges), np.int32)
    if by != "set":  # the mean number of its neurons tells a map from another
        of = (
            edges.at_source(np.arange(edges.n_source)) if by == "source" else edges.at_target(np.arange(edges.n_target))
        )
    _, group = np.unique(of, return_inverse=True)
    known = np.bincount(group, kept != 0)
    value = np.zeros(known.size)
    value[group[::-1]] = first[::-1]  # of the first edge
    np.divide(np.bincount(group, kept), known, out=value, where=known > 0)
    return Shared(value, group)


@dataclass(frozen=True)
class Chained:
    """Views one after the other: what one makes is the ``"weight"`` of the next. Names of parameters must differ."""

    views: tuple[WeightView, ...]

    def parameters(self, edges: EdgeSet) -> dict[str, Shared]:
        """Those of all views, and the weights before the first."""
        found = {"weight": weights(edges)}
        for view in self.views:
            own = {name: x for name, x in view.parameters(edges).items() if name != "weight"}
            for name in own.keys() & found.keys():
                raise ConnectomeError("views", "must have parameters of different names", repr(name))
            found |= own
        return found

    def __call__(self, values: Mapping[str, Tensor], edges: EdgeSet, moment: Moment) -> Tensor:
        """What the last makes."""
        weight = values["weight"]
        for view in self.views:
            weight = view({**values, "weight": weight}, edges, moment)
        return weight


def values_by_edge(values: Mapping[str, Tensor], elements: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """(E,) values of each parameter. ``elements``: (E,) of those parameters that edges share."""
    return {
        name: value.index_select(0, elements[name].to(value.device)) if name in elements else value
        for name, value in values.items()
    }


def begin(view: WeightView, edges: EdgeSet, dtype: torch.dtype) -> dict[str, Shared]:
    """The parameters of a view on edges, whose state may have them already. Raises :class:`ConnectomeError` for a view
    whose parameters do not fit."""
    found = view.parameters(edges)
    _check(view, found, edges)
    if BASE not in edges.state:
        return found
    base = edges.state[BASE].astype(np.float64)
    new = (base == 0) & (edges.weight != 0)
    base[new] = edges.weight[new]

    def behind(base: NDArray[np.float64]) -> Shared:
        return weights(replace(edges, weight=base.astype(np.float32)))

    made, slope = _made(view, {**found, "weight": behind(base)}, edges, dtype)
    stale = _differ(made, edges.weight) & (slope != 0)
    if getattr(view, "pointwise", True) and stale.any():
        tried = np.where(stale, base + (edges.weight - made) / np.where(slope == 0, 1, slope), base)
        made, _ = _made(view, {**found, "weight": behind(tried)}, edges, dtype)
        base = np.where(new & _differ(made, edges.weight), base, tried)  # as well as the view can
    found["weight"] = behind(base)
    return found


def _differ(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    return ~np.isclose(a, b, rtol=1e-6, atol=0)


def _made(view: WeightView, parameters: Mapping[str, Shared], edges: EdgeSet, dtype: torch.dtype) -> Any:
    """The (E,) weights that a view makes, and how each changes with the weight before it."""
    values = {name: torch.tensor(p.value, dtype=dtype) for name, p in parameters.items()}
    elements = {name: torch.from_numpy(p.element) for name, p in parameters.items() if p.element is not None}
    by_edge = values_by_edge(values, elements)
    by_edge["weight"] = by_edge["weight"].clone().requires_grad_()
    with torch.enable_grad():
        made = view(by_edge, edges, None)
        (slope,) = torch.autograd.grad(made.sum(), by_edge["weight"], allow_unused=True)
    return made.detach().numpy(), np.zeros(len(edges)) if slope is None else slope.numpy()


def _check(view: WeightView, parameters: Mapping[str, Shared], edges: EdgeSet) -> None:
    where = f"views[{edges.key}]"
    if "weight" not in parameters:
        raise ConnectomeError(where, "must have a parameter 'weight'", sorted(parameters), "Use views.weights.")
    for name, parameter in parameters.items():
        shape = np.shape(parameter.value if parameter.element is None else parameter.element)
        if shape != (len(edges),):
            raise ConnectomeError(f"{where}.{name}", f"must have one value for each of {len(edges)} edges", shape)
    for name in parameters.keys() & {BASE, TIED}:
        raise ConnectomeError(f"{where}.{name}", "must have another name", repr(name))

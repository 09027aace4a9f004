"""Where a batch stands after a run, so that another can go on from there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from connectome.errors import ConnectomeError
from connectome.graph.flat import Selection
from connectome.learning.bundle_kernels import CHUNK

__all__ = ["NetworkState", "checked_state", "later_spikes"]


class NetworkState(NamedTuple):
    """The state of a batch of B samples after ``steps`` steps since rest.

    v : region or effector -> (B, N) mV above e_l; i_ex, i_in : (B, N) pA, synaptic currents. Where all time constants
    are the same, the event-driven engine has their sum in ``i_ex``.
    spikes : region or sensor -> (B, H, N), 0 or 1, of the last H steps: those that are on their way, and who is
    refractory.

    The torch engine's carries a gradient; :meth:`detach` cuts it, for truncated backpropagation through time.
    """

    v: Mapping[str, Tensor]
    i_ex: Mapping[str, Tensor]
    i_in: Mapping[str, Tensor]
    spikes: Mapping[str, Tensor]
    steps: int

    def detach(self) -> NetworkState:
        """The same numbers without a gradient."""
        v, i_ex, i_in, spikes = ({k: x.detach() for k, x in part.items()} for part in self[:4])
        return NetworkState(v, i_ex, i_in, spikes, self.steps)

    @property
    def requires_grad(self) -> bool:
        """Whether any of it carries a gradient."""
        return any(x.requires_grad for part in self[:4] for x in part.values())


def later_spikes(before: NetworkState | None, spikes: Mapping[str, Tensor], look: int) -> tuple[dict[str, Tensor], int]:
    """The spikes to keep after a run, and how many steps there have been. ``look``: the longest delay or refractory
    time in steps. What is kept begins with a chunk of the kernels: sums are then made in the order of one long run."""
    steps = next(iter(spikes.values())).shape[1] + (0 if before is None else before.steps)
    kept = steps - max(0, (steps - look) // CHUNK * CHUNK)
    if before is not None:
        spikes = {name: torch.cat([before.spikes[name].to(x.dtype), x], 1) for name, x in spikes.items()}
    return {name: x[:, -kept:] for name, x in spikes.items()}, steps


def checked_state(state: NetworkState, selection: Selection, batch: int) -> None:
    """Raise :class:`ConnectomeError` for the state of another network, or of another batch."""
    if not isinstance(state, NetworkState):
        raise ConnectomeError("state", "must be a NetworkState", type(state).__name__, "Ask for it with return_state.")
    roles = {name: r.role for name, r in selection.regions.items()}
    membranes = {name for name, role in roles.items() if role != "sensor"}
    fire = {name for name, role in roles.items() if role != "effector"}
    for field, names in (("v", membranes), ("i_ex", membranes), ("i_in", membranes), ("spikes", fire)):
        part: Mapping[str, Tensor] = getattr(state, field)
        if set(part) != names:
            raise ConnectomeError(f"state.{field}", f"must be of {sorted(names)}, which take part", sorted(part))
        for name, x in part.items():
            size = selection.regions[name].size
            if x.shape[0] != batch or x.shape[-1] != size or x.ndim != (3 if field == "spikes" else 2):
                raise ConnectomeError(
                    f"state.{field}[{name}]", f"must be of {batch} samples and {size} neurons", tuple(x.shape)
                )

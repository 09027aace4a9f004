"""Where a batch stands after a run, so that another can go on from there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from connectome.errors import ConnectomeError
from connectome.graph.flat import Selection
from connectome.learning.bundle_kernels import CHUNK

__all__ = ["NetworkState", "checked_state", "later_spikes", "model_states", "waiting"]


class NetworkState(NamedTuple):
    """The state of a batch of B samples after ``steps`` steps since rest.

    v : region or effector -> (B, N) mV above e_l; i_ex, i_in : (B, N) pA, synaptic currents. Where all time constants
    are the same, the event-driven engine has their sum in ``i_ex``.
    spikes : region or sensor -> (B, H, N), 0 or 1, of the last H steps: those that are on their way, and who is
    refractory. models : region or effector of a model other than ``iaf_psc_exp`` and ``leaky_integrator`` -> name ->
    (B, N), the rest of its state, such as how far its threshold has risen.

    It carries a gradient; :meth:`detach` cuts it, for truncated backpropagation through time.
    """

    v: Mapping[str, Tensor]
    i_ex: Mapping[str, Tensor]
    i_in: Mapping[str, Tensor]
    spikes: Mapping[str, Tensor]
    models: Mapping[str, Mapping[str, Tensor]]
    steps: int

    def detach(self) -> NetworkState:
        """The same numbers without a gradient."""
        v, i_ex, i_in, spikes = ({k: x.detach() for k, x in part.items()} for part in self[:4])
        models = {k: {n: x.detach() for n, x in part.items()} for k, part in self.models.items()}
        return NetworkState(v, i_ex, i_in, spikes, models, self.steps)

    @property
    def requires_grad(self) -> bool:
        """Whether any of it carries a gradient."""
        parts = (*self[:4], *self.models.values())
        return any(x.requires_grad for part in parts for x in part.values())


def waiting(fired: Tensor, ref_steps: Tensor) -> Tensor:
    """(B, N) steps that are left of refractory times, () or (N,), of the spikes (B, H, N) of the last H steps."""
    left = torch.zeros_like(fired[:, 0], dtype=torch.int32)
    for ago in range(1, min(fired.shape[1], int(ref_steps.max())) + 1):
        left = torch.maximum(left, (fired[:, -ago] > 0).to(torch.int32) * (ref_steps - ago + 1))
    return left


def later_spikes(before: NetworkState | None, spikes: Mapping[str, Tensor], look: int) -> tuple[dict[str, Tensor], int]:
    """The spikes to keep after a run, and how many steps there have been. ``look``: the longest delay or refractory
    time in steps. What is kept begins with a chunk of the kernels: sums are then made in the order of one long run."""
    steps = next(iter(spikes.values())).shape[1] + (0 if before is None else before.steps)
    kept = steps - max(0, (steps - look) // CHUNK * CHUNK)
    if before is not None:
        spikes = {name: torch.cat([before.spikes[name].to(x.dtype), x], 1) for name, x in spikes.items()}
    return {name: x[:, -kept:] for name, x in spikes.items()}, steps


def model_states(selection: Selection) -> dict[str, tuple[str, ...]]:
    """Region or effector -> what a state has of it besides potential and synaptic currents."""
    return {
        name: tuple(k for k in r.neuron.state if k not in ("v", "i_ex", "i_in"))
        for name, r in selection.regions.items()
        if r.role != "sensor" and r.neuron.linear() is None
    }


def checked_state(state: NetworkState, selection: Selection, batch: int) -> None:
    """Raise :class:`ConnectomeError` for the state of another network, or of another batch."""
    if not isinstance(state, NetworkState):
        raise ConnectomeError("state", "must be a NetworkState", type(state).__name__, "Ask for it with return_state.")
    roles = {name: r.role for name, r in selection.regions.items()}
    membranes = {name for name, role in roles.items() if role != "sensor"}
    fire = {name for name, role in roles.items() if role != "effector"}
    own = model_states(selection)
    names_of = {name: set(x) for name, x in state.models.items()}
    if names_of != {name: set(x) for name, x in own.items()}:
        raise ConnectomeError("state.models", f"must be of {own}, which take part", names_of)
    for name, rest in state.models.items():
        whole = (batch, selection.regions[name].size)
        for k, x in rest.items():
            if x.shape != whole:
                raise ConnectomeError(f"state.models[{name}].{k}", f"must have shape {whole}", tuple(x.shape))
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

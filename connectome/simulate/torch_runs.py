"""A run by the torch engine, in blocks of steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.flat import FlatNetwork, Selection, flatten
from connectome.neurons.step_kernels import HELD
from connectome.simulate.clamp import Clamped
from connectome.simulate.event_engine import Block, poisson_counts
from connectome.simulate.recording import Recorded
from connectome.simulate.run_state import RunState
from connectome.simulate.stimulus import Input, poisson_drive
from connectome.simulate.torch_engine import BatchState, ClampedBatch, at_rest, propagate

__all__ = ["checked_device", "run_messages"]

_NESTED = ("past", "models")
_BLOCK_STEPS = 1024  # steps between two returns
_BLOCK_VALUES = 2**22  # values of what is made for each step and neuron of a block


def checked_device(field: str, device: str | None) -> torch.device:
    """A device that torch has here; torch's default if None. Raises :class:`ConnectomeError` naming the field."""
    if device is None:
        return torch.get_default_device()
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        why = str(error).partition("\n")[0]
        raise ConnectomeError(
            field, "must be one that torch has here, such as cpu or cuda", f"{device}: {why}"
        ) from None
    return torch.device(device)


def run_messages(
    connectome: Connectome, selection: Selection, given: Input, n_steps: int, real: np.dtype[Any],
    v_mv: Mapping[str, NDArray[Any]], wanted: Sequence[Recorded], clamp: Mapping[str, Clamped],
    before: RunState | None, after: dict[str, dict[str, NDArray[Any]]], device: torch.device,
) -> Iterator[Block]:  # fmt: skip
    """Simulate: see :func:`connectome.simulate.event_engine.run_events`."""
    flat, span = flatten(connectome, list(selection.regions)), selection.span
    n, dtype = flat.n_neurons, getattr(torch, real.name)

    def tensor(array: NDArray[Any]) -> torch.Tensor:
        return torch.as_tensor(array, device=device).to(dtype)[..., None]  # a batch of one

    weight = tensor(flat.weight)[:, 0]
    state = _begin(flat, selection, weight, v_mv, clamp, before)
    drives = {name: poisson_drive(list(runs), given.seed, real) for name, runs in given.poisson.items()}
    pa = {name: np.zeros(selection.regions[name].size) for name in drives}
    for name, runs in given.poisson.items():
        for r in runs:
            pa[name][r.start : r.stop] = r.weight
    neurons = [torch.as_tensor(w.neurons, device=device) for w in wanted]
    seen: list[torch.Tensor] = []

    def watch(now: BatchState) -> None:
        rows = []
        for w, which in zip(wanted, neurons, strict=True):
            own = w.region in flat.models and w.name != "v"
            of_region = now.models[w.region][w.name] if own else getattr(now, w.name)[span[w.region]]
            rows.append(of_region[which, 0].to(dtype))
        seen.append(torch.cat(rows))

    held = np.zeros(n)
    for name, c in clamp.items():
        held[span[name]] = c.held
    out_degree = flat.out_degree
    stop = np.array([s.stop for s in span.values()])
    most = max(1, min(_BLOCK_STEPS, _BLOCK_VALUES // max(n, 1)))
    none = np.zeros(0, np.int32)
    origin = before.step if before else 0
    columns = sum(w.neurons.size for w in wanted)
    yield Block(none, none, none, np.zeros((0, columns), real), 0)
    for first in range(origin, origin + n_steps, most):
        steps = min(most, origin + n_steps - first)
        sent, arrivals, current = np.zeros((steps, n)), np.zeros((steps, n)), np.zeros((steps, n))
        for name, drive in drives.items():
            drawn = poisson_counts(drive, first, steps, selection.regions[name].size)
            if selection.regions[name].role == "sensor":
                sent[:, span[name]] += drawn
            else:
                arrivals[:, span[name]] += drawn * pa[name]
        for name, injected in given.injected.items():
            a, b = np.searchsorted(injected.step, (first, first + steps))
            np.add.at(sent[:, span[name]], (injected.step[a:b] - first, injected.neuron[a:b]), 1)
        for name, pa_now in given.current_pa.items():
            row = first - origin
            current[:, span[name]] = pa_now[row : row + steps] if len(pa_now) > 1 else pa_now
        clamped = None
        if clamp:
            codes = np.zeros((steps, n), np.uint8)
            for name, c in clamp.items():
                codes[:, span[name]] = c.codes(first, steps)
            clamped = ClampedBatch(torch.as_tensor(codes, device=device)[..., None], tensor(held))
        with torch.no_grad():
            _, spikes, state = propagate(
                flat, weight, tensor(sent[:, flat.is_sensor]), current=tensor(current),
                arrivals=tensor(arrivals) if drives else None, state=state, clamp=clamped,
                watch=watch if columns else None,
            )  # fmt: skip
        recorded = torch.stack(seen).numpy(force=True) if columns else np.zeros((steps, 0), real)
        seen.clear()
        step, neuron = (x.numpy(force=True) for x in spikes[..., 0].nonzero(as_tuple=True))
        times = spikes[..., 0].numpy(force=True)[step, neuron].astype(np.int64)
        step, neuron = np.repeat(step, times), np.repeat(neuron, times)
        region = np.searchsorted(stop, neuron, side="right")
        yield Block(
            (first + step).astype(np.int32), region.astype(np.int32),
            (neuron - np.array([s.start for s in span.values()])[region]).astype(np.int32),
            recorded, int(out_degree[neuron].sum()),
        )  # fmt: skip
    after |= _end(flat, selection, state)


def _begin(
    flat: FlatNetwork, selection: Selection, weight: torch.Tensor, v_mv: Mapping[str, NDArray[Any]],
    clamp: Mapping[str, Clamped], before: RunState | None,
) -> BatchState:  # fmt: skip
    """At rest with nothing on its way; or as it was."""

    def tensor(array: NDArray[Any]) -> torch.Tensor:
        return torch.as_tensor(array, device=weight.device).to(weight.dtype)[:, None]

    rest = at_rest(flat, weight)
    whole = {name: x[:, 0].numpy(force=True).copy() for name, x in rest._asdict().items() if name not in _NESTED}
    models = {name: dict(values) for name, values in rest.models.items()}
    for place, (name, span) in enumerate(flat.span.items()):
        if name in v_mv:
            whole["v"][span] = v_mv[name]
        if name in clamp:
            whole["v"][span] = np.where(clamp[name].code == HELD, clamp[name].held, whole["v"][span])
        if before is not None and selection.regions[name].role != "sensor":
            values = before.values[name]
            whole["v"][span] = values["v"]
            if name in models:
                models[name] |= {k: tensor(values.get(k, np.zeros(len(values["v"])))) for k in models[name]}
            else:
                whole["i_ex"][span], whole["i_in"][span] = values["i_ex"], values.get("i_in", 0.0)
                whole["refractory"][span] = before.waits(place, flat.dynamics.ref_steps[span])
    for name in models:
        models[name]["v"] = tensor(whole["v"][flat.span[name]])
    past = rest.past
    if before is not None:
        depth = len(past)
        ago = [before.ago(place, depth, s.stop - s.start) for place, s in enumerate(flat.span.values())]
        past = tuple(tensor(row) for row in np.concatenate([np.zeros((depth, 0)), *ago], axis=1))
    refractory = torch.as_tensor(whole.pop("refractory"), device=weight.device)[:, None]
    v, i_ex, i_in = (tensor(whole[name]) for name in ("v", "i_ex", "i_in"))
    return BatchState(v, i_ex, i_in, refractory, past, models)


def _end(flat: FlatNetwork, selection: Selection, state: BatchState) -> dict[str, dict[str, NDArray[Any]]]:
    """What each region remembers, by name."""
    found: dict[str, dict[str, NDArray[Any]]] = {}
    whole = {name: x[:, 0].numpy(force=True) for name, x in state._asdict().items() if name not in _NESTED}
    for name, region in selection.regions.items():
        if region.role == "sensor":
            continue
        if name in flat.models:
            found[name] = {k: x[:, 0].numpy(force=True).copy() for k, x in state.models[name].items()}
        else:
            found[name] = {k: whole[k][flat.span[name]].copy() for k in region.neuron.state if k in whole}
            if "refractory" in found[name]:
                found[name]["refractory"] = found[name]["refractory"].astype(whole["v"].dtype)
    return found

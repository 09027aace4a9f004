"""One forward pass of a network on either engine, with its gradients to weights, currents, gains and sensors' spikes.

The event-driven one is a :class:`torch.autograd.Function` over the kernels: what it cannot give as numbers of a tape it
finds from the adjoints of potentials and currents, of all steps, which the backward pass leaves if it is asked to.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, cast
from weakref import finalize

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from connectome.arrays import aligned_zeros
from connectome.errors import ConnectomeError
from connectome.graph.flat import FlatNetwork, Selection
from connectome.graph.parts import Region
from connectome.learning.adjoints import Job, after_the_last, ends_of, from_lanes, input_gradients, to_lanes
from connectome.learning.bundle_kernels import LANES, Mask, pack
from connectome.learning.bundles import membrane_constants
from connectome.learning.inputs import Inputs
from connectome.learning.learning_kernels import Extra
from connectome.learning.parameter_kernels import CONSTANTS
from connectome.learning.state import NetworkState, later_spikes, model_states, waiting
from connectome.learning.tiles import ForwardPass, Tiles
from connectome.neurons.model import NeuronModel

__all__ = ["Result", "event_driven", "message_passing"]

Array = NDArray[Any]


class Result(NamedTuple):
    """Potentials of the effectors (B, T, K), recorded spikes (B, T, n), counts (n,) by region, and the last state."""

    potential: Tensor
    spikes: dict[str, Tensor]
    counts: dict[str, NDArray[np.int64]]
    state: NetworkState | None


def look_back(selection: Selection) -> int:
    """The steps that a state has to remember: the longest delay, or the longest refractory time."""
    delays = [int(e.delay_steps.max()) for e in selection.edges.values() if len(e)]
    refractory = [int(np.max(_ref_steps(r, selection.dt_ms), initial=0)) for r in selection.regions.values()]
    return max([1, *delays, *refractory])


def _ref_steps(region: Region, dt_ms: float) -> Any:
    """() or (N,)"""
    return membrane_constants(region, region.neuron, dt_ms)["ref_steps"]


def message_passing(
    flat: FlatNetwork, selection: Selection, weights: Sequence[Tensor], inputs: Inputs, record: Sequence[str], *,
    blocked: Collection[int], return_state: bool, surrogate: Callable[[Tensor], Tensor], dtype: torch.dtype,
    learnt: Mapping[str, NeuronModel],
) -> Result:  # fmt: skip
    """The pass in torch, in which every gradient is autograd's."""
    from connectome.simulate.torch_engine import BatchState, propagate

    batch, steps, *_ = inputs
    device = weights[0].device if weights else torch.device("cpu")
    keys = list(selection.edges)
    kernels = {key: w for key, w in zip(keys, weights, strict=True) if key in flat.kernels}
    listed = [(i, w) for i, w in enumerate(weights) if keys[i] not in kernels]
    weight = torch.cat([*(w for _, w in listed), torch.empty(0, dtype=dtype, device=device)])
    order = torch.from_numpy(flat.order).to(device)
    closed = None
    if blocked:
        of_set = [torch.full((len(w),), i in blocked) for i, w in listed]
        closed = torch.cat([*of_set, torch.empty(0, dtype=torch.bool)]).to(device)[order]

    def gather(parts: Mapping[str, Tensor], empty: Callable[[slice], Tensor], names: Collection[str]) -> Tensor:
        """(T, N, B) of all regions, or (N, B)."""
        found = [parts[n] if n in parts else empty(s) for n, s in flat.span.items() if n in names]
        return torch.cat(found, -1).movedim(0, -1)

    def nothing(span: slice) -> Tensor:
        return torch.zeros(batch, steps, span.stop - span.start, device=device, dtype=dtype)

    sensors = [n for n, r in selection.regions.items() if r.role == "sensor"]
    fires = {n: x.to(dtype) if x.requires_grad else (x != 0).to(dtype) for n, x in inputs.fires.items()}
    options: dict[str, Any] = {}
    if inputs.current:
        options["current"] = gather(inputs.current, nothing, flat.span)
    if inputs.gain:
        options["gain"] = gather(inputs.gain, lambda s: nothing(s)[:, 0] + 1, flat.span)
    if inputs.clamp:
        held = {n: pair[0] for n, pair in inputs.clamp.items()}
        played = {n: pair[1].to(dtype) for n, pair in inputs.clamp.items()}
        options["replaced"] = gather(held, lambda s: nothing(s) != 0, flat.span), gather(played, nothing, flat.span)
    before = inputs.state
    if before is not None:

        def membrane(part: Mapping[str, Tensor]) -> Tensor:
            return gather(part, lambda s: nothing(s)[:, 0], flat.span).to(device, dtype)

        history = {n: x.to(device, dtype) for n, x in before.spikes.items()}
        kept = next(iter(history.values())).shape[1] if history else 0
        past = gather(
            history, lambda s: torch.zeros(batch, kept, s.stop - s.start, device=device, dtype=dtype), flat.span
        )
        past = torch.cat([past.new_zeros(max(0, flat.max_delay - kept), *past.shape[1:]), past])
        ref_steps = torch.as_tensor(flat.dynamics.ref_steps, device=device)[:, None]
        left = torch.zeros(flat.n_neurons, batch, dtype=torch.int32, device=device)
        for ago in range(1, min(kept, int(flat.dynamics.ref_steps.max(initial=0))) + 1):
            left = torch.maximum(left, torch.where(past[-ago].detach() > 0, ref_steps - ago + 1, 0).to(torch.int32))
        options["state"] = BatchState(
            membrane(before.v), membrane(before.i_ex), membrane(before.i_in), left,
            tuple(past[-k - 1] for k in range(flat.max_delay)), _models(before, flat, device, dtype),
        )  # fmt: skip
    if closed is not None:
        options["block"] = closed
    out = propagate(
        flat, weight[order], gather(fires, nothing, sensors), surrogate=surrogate, learnt=learnt, kernels=kernels,
        closed={keys[i] for i in blocked}, **options,
    )  # fmt: skip
    spikes = {name: out.spikes[:, span].permute(2, 0, 1) for name, span in flat.span.items()}
    counts = {name: s.detach().sum((0, 1)).to(torch.int64).numpy(force=True) for name, s in spikes.items()}
    read = [np.r_[flat.span[n]] for n, r in selection.regions.items() if r.role == "effector"]
    columns = torch.from_numpy(np.concatenate([*read, np.empty(0, np.int64)]))
    state = None
    if return_state:
        roles = {n: r.role for n, r in selection.regions.items()}
        v, i_ex, i_in = ({n: x[s].T for n, s in flat.span.items() if roles[n] != "sensor"} for x in out.state[:3])
        fired, so_far = later_spikes(
            before, {n: s for n, s in spikes.items() if roles[n] != "effector"}, look_back(selection)
        )
        models = {n: {k: x.T for k, x in m.items()} for n, m in out.state.models.items()}
        for part, channel in ((i_ex, "i_ex"), (i_in, "i_in")):
            part |= {n: m.get(channel, torch.zeros_like(m["v"])) for n, m in models.items()}
        own = {n: {k: models[n][k] for k in names} for n, names in model_states(selection).items()}
        state = NetworkState(v, i_ex, i_in, fired, own, so_far)
    return Result(out.u[:, columns].permute(2, 0, 1), {name: spikes[name] for name in record}, counts, state)


def _models(
    before: NetworkState, flat: FlatNetwork, device: torch.device, dtype: torch.dtype
) -> dict[str, dict[str, Tensor]]:
    """What regions of other models remember, (N, B), as the engine has it."""
    found = {}
    for name, neuron in flat.models.items():
        parts = {"v": before.v[name], "i_ex": before.i_ex[name], "i_in": before.i_in[name], **before.models[name]}
        found[name] = {k: parts[k].to(device, dtype).T for k in neuron.state}
    return found


def event_driven(
    tiles: Tiles, selection: Selection, weights: Sequence[Tensor], inputs: Inputs, record: Sequence[str], *,
    blocked: Collection[int], return_state: bool, columns: int, threads: int, learnt: Mapping[str, NeuronModel],
) -> Result:  # fmt: skip
    """The pass over the kernels. A tape is kept if anything that goes in learns: weights as edges have them in the end,
    which need not be parameters themselves, constants of neurons, or an input."""
    layout = tiles.layout
    found = {name: membrane_constants(selection.regions[name], m, selection.dt_ms) for name, m in learnt.items()}
    constants = {
        (name, k): c[k] for name, c in found.items() for k in CONSTANTS
        if isinstance(c[k], Tensor) and (layout.channels == 2 or not k.endswith("_in"))
    }  # fmt: skip
    # In mV a step, so that torch knows what a membrane makes of a pA.
    p20 = {name: found.get(name, {}).get("p20", layout.p20[name]) for name in inputs.current}
    push = {name: x * torch.as_tensor(p20[name], dtype=x.dtype) for name, x in inputs.current.items()}
    inputs = inputs._replace(current=push)
    learning = {name: x for name, x in inputs.fires.items() if x.requires_grad}
    before = _gradient_parts(inputs.state) if torch.is_grad_enabled() else {}
    goes_on = not learnt and not model_states(selection)
    if before and not goes_on:
        rule = "must carry no gradient on the engine 'numba' where thresholds rise or neurons' parameters learn"
        raise ConnectomeError("state", rule, "one", "Use state.detach(), or 'torch'.")
    tensors = [
        *weights, *constants.values(), *push.values(), *inputs.gain.values(), *learning.values(), *before.values()
    ]  # fmt: skip
    keep = torch.is_grad_enabled() and any(x.requires_grad for x in tensors)
    fires = [n for n, r in selection.regions.items() if r.role == "neuron"] if keep and return_state and goes_on else []
    seen = tuple(dict.fromkeys((*record, *fires)))
    job = Job(
        tiles, selection, inputs, seen, tuple(blocked), columns, threads, keep, return_state, tuple(learning),
        len(weights), tuple(constants), tuple(before), keep and goes_on,
    )  # fmt: skip
    propagate = cast(Callable[..., tuple[Tensor, ...]], _Propagate.apply)
    u, *rest = propagate(job, *tensors)
    spikes, state = dict(zip(seen, rest, strict=False)), job.state
    if state is not None and job.goes_on:
        v, i_ex, i_in = (dict(part) for part in state[:3])
        for (part, name), x in zip(ends_of(selection, tiles.layout), rest[len(seen) :], strict=True):
            (v, i_ex, i_in)[part][name] = x
        now = {**learning, **{name: spikes[name] for name in fires}}
        fired, _ = later_spikes(inputs.state, now, look_back(selection)) if now else ({}, 0)
        state = state._replace(v=v, i_ex=i_ex, i_in=i_in, spikes={**state.spikes, **fired})
    return Result(u, {name: spikes[name] for name in record}, job.counts, state)


def _gradient_parts(state: NetworkState | None) -> dict[tuple[str, str], Tensor]:
    """What of a state carries a gradient, by part and region."""
    parts = {} if state is None else {k: getattr(state, k) for k in ("v", "i_ex", "i_in", "spikes")}
    return {(part, name): x for part, of in parts.items() for name, x in of.items() if x.requires_grad}


class _Propagate(torch.autograd.Function):
    """Event-driven forward pass, and its adjoint, over the tiles of a batch."""

    @staticmethod
    def forward(ctx: Any, job: Job, *tensors: Tensor) -> tuple[Tensor, ...]:
        tiles, record = job.tiles, job.record
        values = [x.detach().numpy() for x in tensors]
        weights = values[: job.n_weights]
        learnt = [(*place, x) for place, x in zip(job.constants, values[job.n_weights :], strict=False)]
        spikes = {name: _plain(x.detach()) for name, x in job.inputs.fires.items()}
        extra = level = None
        if job.return_state or job.learning or job.before or not job.inputs.plain:
            spikes, extra = _extra(job, spikes)
            level = _level(job)
        run, potential = tiles.forward(
            spikes, weights, job.columns, job.keep, job.threads, blocked=job.blocked, extra=extra, level=level,
            learnt=learnt,
        )  # fmt: skip
        job.counts = tiles.counts(run)
        start = job.start
        ends: list[Tensor] = []
        if job.return_state:
            job.state = _last_state(job, run)
            if job.goes_on:
                ends = [job.state[:3][part][name] for part, name in ends_of(job.selection, tiles.layout)]
        recorded = tuple(torch.from_numpy(tiles.spikes(run, name)[:, start:]) for name in record)
        ctx.job, ctx.run, ctx.shape = job, run, potential.shape
        ctx.weights = weights if job.learning or job.before else []
        ctx.set_materialize_grads(False)
        # The run's memory is free for another when torch lets go of what it saved: mostly after the backward pass.
        token = np.empty(1)
        finalize(token, tiles.give_back, run).atexit = False
        ctx.save_for_backward(torch.from_numpy(token))
        return torch.from_numpy(potential[:, start:]), *recorded, *ends

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        job, run = ctx.job, ctx.run
        tiles, span = job.tiles, job.tiles.layout.span
        assert ctx.saved_tensors, "torch raises an error if they are gone"
        batch, steps, _ = ctx.shape
        start = job.start

        def every_step(g: Tensor) -> Array:
            array: Array = g.contiguous().numpy()
            return np.concatenate([np.zeros((batch, start, g.shape[2]), tiles.real), array], 1) if start else array

        potential = np.zeros(ctx.shape, tiles.real) if grads[0] is None else every_step(grads[0])
        seen, ends = grads[1 : 1 + len(job.record)], grads[1 + len(job.record) :]
        given = [(span[name], every_step(g)) for name, g in zip(job.record, seen, strict=True) if g is not None]
        if any(g is not None for g in ends):
            run.extra = run.extra._replace(after=after_the_last(job, ends))
        rows = np.concatenate(
            [np.zeros(0, np.uint64), *(np.arange(s.start, s.stop, dtype=np.uint64) for s, _ in given)]
        )
        spikes = np.concatenate([np.zeros((batch, steps, 0), tiles.real), *(g for _, g in given)], axis=-1)
        inner = any(ctx.needs_input_grad[1 + job.n_weights + len(job.constants) :])
        if inner:
            layout, shape = tiles.layout, run.tape.mask.shape[:2]
            adjoint = aligned_zeros((*shape, 1 + layout.channels, layout.n_membranes * LANES), tiles.real)
            run.extra = run.extra._replace(adjoint=adjoint)
        gradients = tiles.backward(run, potential, spikes, rows, job.threads)
        gradients += [tiles.constant_gradient(run, *place) for place in job.constants]
        found = [*gradients, *(input_gradients(job, run, ctx.weights) if inner else [])]
        none = (None,) * (len(ctx.needs_input_grad) - 1 - len(found))
        return (None, *(torch.from_numpy(np.ascontiguousarray(g)) for g in found), *none)


def _plain(spikes: Tensor) -> Array:
    """As an array of one of two types, so that kernels are compiled for no more: numbers of 32 bits, or bytes."""
    if spikes.dtype not in (torch.bool, torch.uint8, torch.float32):
        spikes = spikes != 0
    array: Array = spikes.contiguous().numpy()
    return array.view(np.uint8) if array.dtype == np.bool_ else array


def _extra(job: Job, spikes: dict[str, Array]) -> tuple[dict[str, Array], Extra]:
    """The spikes that are known before the run, and the rest of its input, as the kernels read it."""
    layout, inputs, before = job.tiles.layout, job.inputs, job.inputs.state
    real, span, wide = job.tiles.real, layout.span, layout.n_membranes * LANES
    n_tiles, batch = -(-inputs.batch // LANES), inputs.batch
    start = 0 if before is None or not before.spikes else next(iter(before.spikes.values())).shape[1]
    steps, job.start = start + inputs.steps, start
    known = {**spikes, **{n: _plain(pair[1]) for n, pair in inputs.clamp.items()}}
    if start:
        assert before is not None
        for name, x in before.spikes.items():
            size = span[name].stop - span[name].start
            now = known.get(name, np.zeros((batch, inputs.steps, size), np.uint8))
            known[name] = np.concatenate([_plain(x.detach().to("cpu", torch.uint8)), now != 0], 1, dtype=np.uint8)
    if not known:
        known = {name: np.zeros((batch, steps, 0), np.uint8) for name in (next(iter(span)),)}

    def over_steps(n: int, dtype: Any, rows: int, given: bool) -> Array:
        return aligned_zeros((n_tiles, steps if given else 0, rows), dtype)

    push = over_steps(n_tiles, real, wide, bool(inputs.current))
    for name, x in inputs.current.items():
        to_lanes(push[:, start:], span[name], x.detach().numpy())
    clamped = np.zeros((n_tiles, steps if inputs.clamp else 0, layout.n_membranes), Mask)
    for name, (who, _) in inputs.clamp.items():
        held = np.concatenate([np.zeros((batch, start, who.shape[2]), np.uint8), _plain(who)], 1)
        pack(held, span[name].start, clamped, 0, 1)
    gain = np.ones((n_tiles if inputs.gain else 0, wide), real)
    for name, x in inputs.gain.items():
        to_lanes(gain, span[name], x.detach().numpy())
    state = np.zeros((n_tiles, 1 + layout.channels, wide), real)
    if before is not None:
        for name in before.v:
            v, ex, inh = (x[name].detach().to("cpu").numpy() for x in before[:3])
            parts = (v, ex, inh) if layout.channels == 2 else (v, ex + inh)
            for row, part in enumerate(parts):
                to_lanes(state[:, row], span[name], part)
    channels = layout.channels
    learns = job.keep and any(x.requires_grad for x in inputs.gain.values())
    return known, Extra(
        np.uint64(start), push, gain, clamped, state,
        aligned_zeros((n_tiles, steps if learns else 0, channels, wide), real),
        aligned_zeros((n_tiles, 0, 1 + channels, wide), real), aligned_zeros((0, 1 + channels, wide), real),
    )  # fmt: skip


def _level(job: Job) -> Array | None:
    """How far thresholds have risen before the run, in lanes; None where it begins from rest."""
    before, layout = job.inputs.state, job.tiles.layout
    if before is None:
        return None
    level = aligned_zeros((-(-job.inputs.batch // LANES), layout.n_membranes * LANES), job.tiles.real)
    for name, part in before.models.items():
        to_lanes(level, layout.span[name], part["a"].detach().to("cpu").numpy())
    return level


def _last_state(job: Job, run: ForwardPass) -> NetworkState:
    """What the kernels left, as tensors by region."""
    assert run.extra is not None
    layout, roles = job.tiles.layout, {name: r.role for name, r in job.selection.regions.items()}
    batch = job.inputs.batch
    parts: list[dict[str, Tensor]] = [{}, {}, {}]
    for name in (n for n, role in roles.items() if role != "sensor"):
        for row, part in enumerate(parts):
            if row <= layout.channels:
                part[name] = torch.from_numpy(from_lanes(run.extra.state[:, row], layout.span[name], batch).copy())
            else:
                part[name] = torch.zeros_like(parts[0][name])
    fired = {n: torch.from_numpy(job.tiles.spikes(run, n)) for n, role in roles.items() if role != "effector"}
    now = {name: x[:, job.start :].to(torch.uint8) for name, x in fired.items()}
    v, i_ex, i_in = parts
    kept, steps = later_spikes(job.inputs.state, now, look_back(job.selection))
    models = {}
    for name in model_states(job.selection):
        region, level = job.selection.regions[name], np.zeros(0)
        if run.adaptation is not None:
            level = from_lanes(run.adaptation.level, layout.span[name], batch)
        a = torch.from_numpy(level.copy()) if level.size else torch.zeros_like(v[name])
        ref_steps = torch.as_tensor(_ref_steps(region, job.selection.dt_ms))
        none = torch.zeros(v[name].shape, dtype=torch.int32)
        models[name] = {"refractory": waiting(kept[name], ref_steps) if name in kept else none, "a": a}
    return NetworkState(v, i_ex, i_in, kept, models, steps)

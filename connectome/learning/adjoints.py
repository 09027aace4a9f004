"""What the adjoints that kernels leave say of a pass's inputs and first state, and how those of its last begin them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from connectome.arrays import aligned_zeros
from connectome.graph.flat import Selection
from connectome.graph.kernel_set import KernelSet
from connectome.learning.bundle_kernels import LANES
from connectome.learning.bundles import Bundles, membrane_constants
from connectome.learning.inputs import Inputs
from connectome.learning.learning_kernels import Extra
from connectome.learning.state import NetworkState
from connectome.learning.tiles import ForwardPass, Tiles

__all__ = ["Job", "after_the_last", "ends_of", "from_lanes", "input_gradients", "to_lanes"]

Array = NDArray[Any]


@dataclass(eq=False)
class Job:
    """What a pass is told besides its tensors, and what it tells besides them."""

    tiles: Tiles
    selection: Selection
    inputs: Inputs
    record: tuple[str, ...]
    blocked: tuple[int, ...]
    columns: int
    threads: int
    keep: bool
    return_state: bool
    learning: tuple[str, ...]
    n_weights: int
    constants: tuple[tuple[str, str], ...]
    before: tuple[tuple[str, str], ...]
    goes_on: bool
    start: int = 0
    counts: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    state: NetworkState | None = None


def ends_of(selection: Selection, layout: Bundles) -> list[tuple[int, str]]:
    """Potentials, then currents, of each region in turn: what of the last state has a gradient of its own."""
    names = [name for name, r in selection.regions.items() if r.role != "sensor"]
    return [(part, name) for part in range(1 + layout.channels) for name in names]


def _step(job: Job, region: str) -> tuple[Any, list[Any], list[Any]]:
    """() or (N,) each: what a step makes of a potential, what currents of each channel make of one, and what is left
    of them."""
    found, two = job.selection.regions[region], job.tiles.layout.channels == 2
    c = membrane_constants(found, found.neuron, job.selection.dt_ms)
    names = (("p21", "p11"), *((("p21_in", "p11_in"),) if two else ()))
    return c["p22"], [c[k] for k, _ in names], [c[k] for _, k in names]


def after_the_last(job: Job, ends: Sequence[Tensor | None]) -> Array:
    """The adjoints of a step after the last, of which the last state's have the given gradients."""
    layout, tiles = job.tiles.layout, -(-job.inputs.batch // LANES)
    after = aligned_zeros((tiles, 1 + layout.channels, layout.n_membranes * LANES), job.tiles.real)
    given = dict(zip(ends_of(job.selection, layout), ends, strict=True))
    for name in (name for part, name in given if part == 0):
        p22, p21, p11 = _step(job, name)
        g = [given[part, name] for part in range(1 + layout.channels)]
        of_u = 0.0 if g[0] is None else g[0].numpy() / p22
        for row, x in enumerate(g):
            of_i = 0.0 if x is None else x.numpy()
            value = of_u if row == 0 else (of_i - p21[row - 1] * of_u) / p11[row - 1]
            if isinstance(value, np.ndarray):
                to_lanes(after[:, row], layout.span[name], value)
    return after


def to_lanes(array: Array, span: slice, values: Array) -> None:
    """(B, ..., n) of a region to its place in (tiles, ..., N' * LANES); lanes without a sample keep what they have."""
    tiles = len(array)
    whole = np.zeros((tiles * LANES, *values.shape[1:]), array.dtype)
    whole[: len(values)] = values
    lanes = array.reshape(*array.shape[:-1], -1, LANES)
    lanes[..., span, :] = np.moveaxis(whole.reshape(tiles, LANES, *values.shape[1:]), 1, -1)


def from_lanes(array: Array, span: slice, batch: int) -> Array:
    """The inverse of :func:`to_lanes`, (B, ..., n)."""
    lanes = np.moveaxis(array.reshape(*array.shape[:-1], -1, LANES)[..., span, :], -1, 1)
    return lanes.reshape(-1, *lanes.shape[2:])[:batch]


def input_gradients(job: Job, run: ForwardPass, weights: Sequence[Array]) -> list[Array]:
    """The gradients of currents, gains of samples, sensors' spikes, and the first state, in this order."""
    extra, layout, inputs = run.extra, job.tiles.layout, job.inputs
    assert extra is not None
    start, batch = job.start, inputs.batch
    found = []
    for name in inputs.current:
        found.append(from_lanes(extra.adjoint[:, start:, 0], layout.span[name], batch))
    if inputs.gain:
        if extra.arrived.shape[1]:
            total = np.einsum("gtcn,gtcn->gn", extra.adjoint[:, start:, 1:], extra.arrived[:, start:])
        else:
            total = np.zeros_like(extra.gain)
        found += [from_lanes(total, layout.span[name], batch) for name in inputs.gain]
    for name in job.learning:
        found.append(_spike_gradient(job, extra, layout, name, weights)[:, start:])
    steps = {name: _step(job, name) for part, name in job.before if part != "spikes"}
    for part, name in job.before:
        if part == "spikes":
            found.append(_spike_gradient(job, extra, layout, name, weights)[:, :start])
            continue
        p22, p21, p11 = steps[name]
        of_u, *of_i = (from_lanes(extra.adjoint[:, start, k], layout.span[name], batch) for k in range(1 + len(p11)))
        c = len(p11) - 1 if part == "i_in" else 0
        found.append(p22 * of_u if part == "v" else p11[c] * of_i[c] + p21[c] * of_u)
    return [np.asarray(g, job.tiles.real) for g in found]


def _spike_gradient(job: Job, extra: Extra, layout: Bundles, source: str, weights: Sequence[Array]) -> Array:
    """(B, T, n) what flows back to a sensor or region over its edges, as if its spikes were real numbers; of all steps,
    those that were over when the run began, too."""
    batch, steps = job.inputs.batch, job.start + job.inputs.steps
    adjoint = extra.adjoint[:, :, 1:]
    if len(extra.gain):
        adjoint = adjoint * extra.gain[:, None, None]
    sent = np.zeros((batch, steps, job.selection.regions[source].size), job.tiles.real)
    for number, (key, edges) in enumerate(job.selection.edges.items()):
        if key.source != source or number in job.blocked:
            continue
        at_target = from_lanes(adjoint, layout.span[key.target], batch)  # (B, T, C, n)
        if isinstance(edges, KernelSet):
            _through_kernels(sent, edges, weights[number], at_target)
            continue
        channel = (weights[number] < 0) & (layout.channels == 2)
        for delay in np.unique(edges.delay_steps):
            if delay >= steps:
                continue
            for c in range(layout.channels):
                mine = (edges.delay_steps == delay) & (channel == c)
                matrix = csr_array(
                    (weights[number][mine], (edges.source[mine], edges.target[mine])),
                    shape=(edges.n_source, edges.n_target),
                )
                later = at_target[:, delay:, c].reshape(-1, edges.n_target)
                sent[:, : steps - delay] += (matrix @ later.T).T.reshape(batch, steps - delay, -1)
    return sent


def _through_kernels(sent: Array, kernels: KernelSet, weight: Array, at_target: Array) -> None:
    """Add what flows back through a kernel set, (B, T, n), from the adjoints (B, T, C, n) of its target's currents."""
    from connectome.simulate.torch_convolution import Convolution

    batch, steps, channels, n = at_target.shape
    for delay in kernels.delay_steps[:1].astype(np.int64):
        if delay >= steps:
            continue
        convolve = Convolution(kernels, torch.from_numpy(weight), apart=channels == 2)
        later = torch.from_numpy(np.moveaxis(at_target[:, delay:], 2, 0).reshape(channels, -1, n))
        with torch.enable_grad():
            spikes = torch.zeros(later.shape[1], kernels.n_source, dtype=later.dtype, requires_grad=True)
            (back,) = torch.autograd.grad(convolve(spikes), spikes, later)
        sent[:, : steps - delay] += back.numpy().reshape(batch, steps - delay, -1)

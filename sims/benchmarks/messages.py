"""What the torch engine delivers in a step: by a sparse matrix, beside a message for each edge and sample.

Both are a graph of PyG's and give the same sums and gradients. Then a whole training step of a network, which is ours
on both engines.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor
from torch_geometric.nn import MessagePassing

from connectome.graph.flat import flatten
from connectome.learning.learning_rule import one_thread
from connectome.simulate.torch_delivery import Delivery
from sims.benchmarks.bench import Spread, Table, forget_peak, peak_gb
from sims.benchmarks.training import INPUT_RATE, recurrent, steps

if TYPE_CHECKING:
    from sims.benchmarks.bench import Bench

__all__ = ["messages"]


class _Messages(MessagePassing):  # type: ignore[misc]  # torch_geometric has no annotations
    """One for each edge and sample, summed by their targets."""

    def forward(self, spikes: Tensor, edge_index: Tensor, weight: Tensor, n: int) -> Tensor:
        return cast(Tensor, self.propagate(edge_index, x=(spikes, None), weight=weight, size=(len(spikes), 2 * n)))

    def message(self, x_j: Tensor, weight: Tensor) -> Tensor:
        return weight[:, None] * x_j


def messages(bench: Bench) -> Iterator[Table]:
    """The tables."""
    n, density, batches = (64, 0.1, (1, 4)) if bench.quick else (4096, 0.1, (1, 64))
    connectome = recurrent(n, density)
    rows: list[dict[str, Any]] = []
    with one_thread():
        for batch in batches:
            for gradient in (False, True):
                bench.say(f"{batch} samples, {'with' if gradient else 'no'} gradient")
                rows.append(_delivered(bench, connectome, batch, gradient))
    note = (
        f"{connectome.n_edges:,} edges between {connectome.n_neurons:,} neurons, {INPUT_RATE:.0%} of which fire; one "
        "thread, CPU seconds; GB: by how much the process grew at most. off: the largest difference of what is found."
    )
    yield Table("A step's spikes over edges in torch", note, rows)

    bench.say("training steps")
    whole: dict[str, list[float]] = {"numba": [], "torch": []}
    with one_thread():
        parts = {name: steps(connectome, 5, batches[-1], threads=1, engine=name).ours for name in whole}
        for k in range(bench.repeats + 1):  # the first compiles
            for name, step in parts.items():
                seconds, _ = _spent(step)
                if k:
                    whole[name].append(seconds)
    ratio = [b / a for a, b in zip(*whole.values(), strict=True)]
    yield Table(
        "A training step, event driven and in torch", f"The same network, 5 steps, {batches[-1]} samples, on the CPU.",
        [{f"{name}_ms": Spread.of([1000 * s for s in x]) for name, x in whole.items()} | {"ratio": Spread.of(ratio)}],
    )  # fmt: skip


def _delivered(bench: Bench, connectome: Any, batch: int, gradient: bool) -> dict[str, Any]:
    flat = flatten(connectome)
    n = flat.n_neurons
    spikes = (torch.rand(n, batch, generator=torch.Generator().manual_seed(0)) < INPUT_RATE).float()
    spikes, weight = (x.requires_grad_(gradient) for x in (spikes, torch.from_numpy(flat.weight.copy())))
    source = np.repeat(np.arange(n), np.diff(flat.indptr))
    target = flat.target.astype(np.int64) + n * (flat.weight < 0)
    edge_index = torch.from_numpy(np.stack([source, target]))
    ours, theirs = Delivery(flat, weight), _Messages()

    def work(arrived: Callable[[], Tensor]) -> list[Tensor]:
        found = arrived()
        if not gradient:
            return [found]
        return [found.detach(), *torch.autograd.grad(found.square().sum(), (spikes, weight), retain_graph=True)]

    parts = {
        "ours": lambda: work(lambda: ours((spikes,))),
        "messages": lambda: work(lambda: theirs(spikes, edge_index, weight, n)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    found: dict[str, list[Tensor]] = {}
    grew: dict[str, float] = {}
    for k in range(bench.repeats + 1):
        for name, part in parts.items():
            forget_peak()
            before = peak_gb()
            cpu_s, found[name] = _spent(part)
            grew[name] = max(grew.get(name, 0.0), peak_gb() - before)
            if k:
                seconds[name].append(cpu_s)
    off = max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(*found.values(), strict=True))
    return {
        "samples": batch, "gradient": "yes" if gradient else "no",
        **{f"{name}_ms": Spread.of([1000 * s for s in x]) for name, x in seconds.items()},
        "ratio": Spread.of([b / a for a, b in zip(*seconds.values(), strict=True)]),
        **{f"{name}_gb": x for name, x in grew.items()}, "off": off,
    }  # fmt: skip


def _spent(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds, and what came of it."""
    began = time.process_time()
    found = work()
    return time.process_time() - began, found

"""A training step of a network of convolutions: kernel sets beside torch's conv2d and beside a list of connections.

All do the whole step on the same spikes: forward pass, cross entropy, backward pass and Adam. Torch convolves all steps
of a layer at once, in the better of its two memory formats, and finds no gradient of the image, nor do we.
"""

from __future__ import annotations

import pickle
import statistics
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from connectome import Connectome, EdgeSet, KernelSet, Maps, Region
from connectome.learning.network import SpikingNetwork
from connectome.wiring.convolution import convolution, convolved
from sims.benchmarks.training import CLASSES, NEURON, WIDTH_MV, Layers

if TYPE_CHECKING:
    from sims.benchmarks.bench import Bench, Table

__all__ = ["Convolved", "convolutions", "layered"]

_STEPS, _BATCH = 8, 32


class Layer(NamedTuple):
    """Maps that it makes, the side of its kernels, its stride, the spread of its weights for 3 and for 10 %, pA."""

    maps: int
    side: int
    stride: int
    scales: tuple[float, float]


_NETWORKS: Final = {
    "3x32x32 -5x5/2-> 32 -5x5-> 64": (32, [Layer(32, 5, 2, (2930.0, 10900.0)), Layer(64, 5, 1, (14900.0, 26600.0))]),
    "3x32x32 -3x3-> 32 -3x3-> 64": (32, [Layer(32, 3, 1, (2930.0, 10700.0)), Layer(64, 3, 1, (13000.0, 19900.0))]),
}


def layered(pixels: int, layers: list[Layer], level: int, seed: int = 0) -> Connectome:
    """An image of three colours, layers of maps, and ten classes that hear the last layer."""
    rng = np.random.default_rng(seed)
    maps = Maps(3, pixels, pixels)
    regions, edges = [Region("image", maps.size, "sensor", maps=maps)], []
    for number, (made, side, stride, scales) in enumerate(layers):
        shape = (made, maps.count, side, side)
        kernel = rng.normal(0.0, scales[level] / np.sqrt(maps.count * side * side), shape)
        maps = convolved(maps, shape, stride=stride, padding=side // 2)
        regions.append(Region(f"layer{number}", maps.size, neuron=NEURON, maps=maps))
        edges.append(convolution(regions[-2], regions[-1], kernel, stride=stride, padding=side // 2, dt_ms=1.0))
    source = np.arange(maps.size)
    weight = rng.normal(0.0, 500.0 / np.sqrt(maps.size / CLASSES), maps.size)
    regions.append(Region("out", CLASSES, "effector", NEURON))
    read = EdgeSet.from_arrays(
        (regions[-2].name, "efferent", "out"), source, source % CLASSES, weight, n_source=maps.size, n_target=CLASSES,
        dt_ms=1.0,
    )  # fmt: skip
    return Connectome.of(regions, [*edges, read], dt_ms=1.0)


class Convolved(Layers):
    """The same network in plain torch. ``last``: channels innermost in memory."""

    def __init__(self, connectome: Connectome, layers: list[Layer], *, last: bool) -> None:
        super().__init__()
        self.last, self.layers = last, layers
        sets = [e for e in connectome.edges.values() if isinstance(e, KernelSet)]
        sets.sort(key=lambda e: e.key.target)
        self.kernels = []
        for e, layer in zip(sets, layers, strict=True):
            shape = (e.target_maps.count, e.source_maps.count, layer.side, layer.side)
            self.kernels.append(torch.from_numpy(e.weight.reshape(shape).copy()).requires_grad_())
        self.read = torch.from_numpy(next(e.weight for k, e in connectome.edges.items() if k.target == "out").copy())
        self.read.requires_grad_()

    def __call__(self, x: Tensor) -> Tensor:
        """(T, B, maps, rows, columns) spikes of the image to the mean potential of the effector, (B, 10) mV."""
        for kernel, layer in zip(self.kernels, self.layers, strict=True):
            steps, batch = x.shape[:2]
            flat = x.flatten(0, 1)
            if self.last:
                flat = flat.contiguous(memory_format=torch.channels_last)
            arrivals = functional.conv2d(flat, kernel, stride=layer.stride, padding=layer.side // 2)
            x = self._layer(arrivals.view(steps, batch, *arrivals.shape[1:]), None)
        sent = functional.pad(x.flatten(2) * self.read, (0, -self.read.numel() % CLASSES))
        return self._readout(sent.view(*x.shape[:2], -1, CLASSES).sum(2))


def convolutions(bench: Bench) -> Iterator[Table]:
    """The tables."""
    from sims.benchmarks.bench import Spread, Table

    rows, pruned = [], []
    torch.set_num_threads(1)
    for name, (pixels, layers) in _NETWORKS.items():
        for level, rate in enumerate((0.03, 0.1)):
            small = [layer._replace(maps=8) for layer in layers] if bench.quick else layers
            c = layered(8 if bench.quick else pixels, small, level)
            x, y = _batch(c)
            took = _Took(c)
            ours = _ours(c, x, y, took)
            whole = [_torchs(Convolved(c, small, last=last), x, y) for last in (False, True)]
            listed = None if bench.quick or level else _ours(c.expanded(), x, y, _Took(c))
            half = _half(c)
            parts = {"ours": ours, "torch": whole[0], "torch, channels last": whole[1], "half": _ours(half, x, y, took)}
            parts |= {} if listed is None else {"edges": listed}
            seconds = _rounds(parts, bench.repeats)
            best = [min(pair) for pair in zip(seconds["torch"], seconds["torch, channels last"], strict=True)]
            rows.append(
                {
                    "network": name, "connections": c.n_connections, "free_weights": c.n_edges,
                    "rates": ", ".join(f"{took.rate(c, n):.1%}" for n in c.regions if n.startswith("layer")),
                    "ours_ms": Spread.of([1000 * s for s in seconds["ours"]]),
                    "torch_ms": Spread.of([1000 * s for s in best]),
                    "torch / ours": Spread.of([t / o for t, o in zip(best, seconds["ours"], strict=True)]),
                    "edges / ours": Spread.of([e / o for e, o in zip(seconds["edges"], seconds["ours"], strict=True)])
                    if listed else "-",
                    "begin / step": took.beginning / statistics.median(seconds["ours"]),
                    "loss": f"{ours():.5f}, {whole[0]():.5f}",
                }
            )  # fmt: skip
            pruned.append(
                {
                    "network": name, "rate": rate, "free_weights": half.n_edges,
                    "of the time": Spread.of([h / o for h, o in zip(seconds["half"], seconds["ours"], strict=True)]),
                }
            )  # fmt: skip
            bench.say(f"{name} at {rate:.0%}: done")
    note = f"T = {_STEPS}, {_BATCH} samples, one thread, CPU seconds; torch in the better of its memory formats"
    yield Table("A training step of convolutions against conv2d, and against a list of connections", note, rows)
    yield Table("With half of each layer's maps pruned", "the same step, less half of the maps' kernels", pruned)
    sides = (8, 16) if bench.quick else (32, 128)
    sizes = [
        {
            "pixels": f"{n} x {n}", "connections": c.n_connections,
            "bytes": sum(len(pickle.dumps(e)) for e in c.edges.values() if isinstance(e, KernelSet)),
        }
        for n in sides for c in [layered(n, [Layer(8, 5, 1, (1.0, 1.0))], 0)]
    ]  # fmt: skip
    yield Table("Memory of a set against the size of the picture", "pickled", sizes)


class _Took:
    """What was seen beside the steps: seconds to lay a network out, and spikes."""

    def __init__(self, connectome: Connectome) -> None:
        self.beginning, self.counts = 0.0, dict.fromkeys(connectome.regions, 0.0)

    def rate(self, connectome: Connectome, name: str) -> float:
        return self.counts[name] / (connectome.regions[name].size * _STEPS * _BATCH)


def _batch(connectome: Connectome) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    size = connectome.regions["image"].size
    x = (torch.rand(_BATCH, _STEPS, size, generator=generator) < 0.12).float()
    return x, torch.randint(0, CLASSES, (_BATCH,), generator=generator)


def _half(c: Connectome) -> Connectome:
    """Without the kernels from and to every other map of the layers."""
    edges: dict[Any, EdgeSet] = dict(c.edges)
    for key, e in c.edges.items():
        if isinstance(e, KernelSet):
            from_half = (e.in_map % 2 == 0) | (key.source == "image")
            edges[key] = e.take(from_half & (e.out_map % 2 == 0))
    return Connectome.of(c.regions.values(), edges.values(), dt_ms=c.dt_ms)


def _ours(connectome: Connectome, x: Tensor, y: Tensor, took: _Took) -> Callable[[], float]:
    began = time.process_time()
    network = SpikingNetwork(connectome, surrogate_width_mv=WIDTH_MV, threads=1)
    took.beginning = took.beginning or time.process_time() - began
    optimizer = torch.optim.Adam(network.parameters(), 1e-6)

    def step() -> float:
        activity = network({"image": x})
        loss = functional.cross_entropy(activity.potential["out"].mean(1), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        took.counts |= {n: float(count.sum()) for n, count in activity.counts.items()}
        return loss.item()

    return step


def _torchs(network: Convolved, x: Tensor, y: Tensor) -> Callable[[], float]:
    parameters = [*network.kernels, network.read]
    optimizer = torch.optim.Adam(parameters, 1e-6)
    maps = network.kernels[0].shape[1]
    side = round((x.shape[2] / maps) ** 0.5)
    time_first = x.permute(1, 0, 2).reshape(_STEPS, _BATCH, maps, side, side).contiguous()

    def step() -> float:
        loss = functional.cross_entropy(network(time_first), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        return loss.item()

    return step


def _rounds(parts: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """CPU seconds of each, in turns; the first turn compiles."""
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for turn in range(repeats + 1):
        for name, step in parts.items():
            began = time.process_time()
            step()
            if turn:
                seconds[name].append(time.process_time() - began)
    return seconds

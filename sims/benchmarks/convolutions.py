"""A training step of a network of convolutions: kernel sets beside torch's conv2d and beside a list of connections.

All do the whole step on the same spikes: forward pass, cross entropy, backward pass and Adam. Torch convolves all steps
of a layer at once, in the better of its two memory formats, and finds no gradient of the image, nor do we.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from connectome import Connectome, EdgeSet, KernelSet, Maps, Region
from connectome.graph.selection import node_set
from connectome.learning.network import SpikingNetwork
from connectome.wiring.convolution import convolution, convolved
from sims.benchmarks.training import CLASSES, NEURON, WIDTH_MV, Layers, trained

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

    rows: list[dict[str, Any]] = []
    torch.set_num_threads(1)
    for name, (pixels, layers) in _NETWORKS.items():
        for level, rate in enumerate((0.03, 0.1)):
            small = [layer._replace(maps=8) for layer in layers] if bench.quick else layers
            c = layered(8 if bench.quick else pixels, small, level)
            x, y = _batch(c)
            counts: dict[str, float] = {}
            ours = _ours(c, x, y, counts)
            parts = {
                "ours": ours,
                "torch": _torchs(Convolved(c, small, last=False), x, y),
                "torch, channels last": _torchs(Convolved(c, small, last=True), x, y),
                "half": _ours(_half(c), x, y, {}),
            } | ({} if bench.quick or level else {"edges": _ours(c.expanded(), x, y, {})})
            seconds = _rounds(parts, bench.repeats)
            beginning = [_seconds(lambda c=c: SpikingNetwork(c, threads=1)) for _ in range(bench.repeats)]  # type: ignore[misc]  # mypy knows no defaults of lambdas

            def over(a: list[float], seconds: dict[str, list[float]] = seconds) -> Spread:
                return Spread.of([x / o for x, o in zip(a, seconds["ours"], strict=True)])

            best = [min(pair) for pair in zip(seconds["torch"], seconds["torch, channels last"], strict=True)]
            size = {n: r.size * _STEPS * _BATCH for n, r in c.regions.items()}
            rows.append(
                {
                    "network": name, "connections": c.n_connections, "free_weights": c.n_edges,
                    "rates": ", ".join(f"{counts[n] / size[n]:.1%}" for n in c.regions if n.startswith("layer")),
                    "ours_ms": Spread.of([1000 * s for s in seconds["ours"]]),
                    "torch_ms": Spread.of([1000 * s for s in best]),
                    "torch / ours": over(best), "edges / ours": over(seconds["edges"]) if "edges" in seconds else "-",
                    "begin / step": over(beginning), "half of the maps": over(seconds["half"]),
                    "losses": f"{ours():.5f}, {parts['torch']():.5f}",
                }
            )  # fmt: skip
            bench.say(f"{name} at {rate:.0%}: done")
    note = (
        f"T = {_STEPS}, {_BATCH} samples, one thread, CPU seconds; torch in the better of its memory formats. "
        "half of the maps: the time of a step without every other map of the layers, over that with all."
    )
    yield Table("A training step of convolutions against conv2d, and against a list of connections", note, rows)
    sides = (8, 16) if bench.quick else (32, 128)
    sizes = [
        {
            "pixels": f"{n} x {n}", "connections": c.n_connections,
            "bytes": sum(len(pickle.dumps(e)) for e in c.edges.values() if isinstance(e, KernelSet)),
        }
        for n in sides for c in [layered(n, [Layer(8, 5, 1, (1.0, 1.0))], 0)]
    ]  # fmt: skip
    yield Table("Memory of a set against the size of the picture", "pickled", sizes)


def _batch(connectome: Connectome) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    size = connectome.regions["image"].size
    x = (torch.rand(_BATCH, _STEPS, size, generator=generator) < 0.12).float()
    return x, torch.randint(0, CLASSES, (_BATCH,), generator=generator)


def _half(c: Connectome) -> Connectome:
    """Without every other map of the layers."""
    kept = {}
    for name, r in c.regions.items():
        every = 2 if name.startswith("layer") else 1
        places = r.size if r.maps is None else r.maps.places
        kept[name] = np.flatnonzero(np.arange(r.size) // places % every == 0)
    return c.subnetwork(node_set(c, kept))


def _ours(connectome: Connectome, x: Tensor, y: Tensor, counts: dict[str, float]) -> Callable[[], float]:
    network = SpikingNetwork(connectome, surrogate_width_mv=WIDTH_MV, threads=1)

    def answers() -> Tensor:
        activity = network({"image": x})
        counts.update({n: float(count.sum()) for n, count in activity.counts.items()})
        found: Tensor = activity.potential["out"].mean(1)
        return found

    return trained(network.parameters(), 1e-6, answers, y)


def _torchs(network: Convolved, x: Tensor, y: Tensor) -> Callable[[], float]:
    maps = network.kernels[0].shape[1]
    side = round((x.shape[2] / maps) ** 0.5)
    time_first = x.permute(1, 0, 2).reshape(_STEPS, _BATCH, maps, side, side).contiguous()
    return trained([*network.kernels, network.read], 1e-6, lambda: network(time_first), y)


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _rounds(parts: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """CPU seconds of each, in turns, after one that compiles."""
    turns = [{name: _seconds(step) for name, step in parts.items()} for _ in range(repeats + 1)]
    return {name: [turn[name] for turn in turns[1:]] for name in parts}

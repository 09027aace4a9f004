"""What ``python -m sims.benchmark`` measures: each model gives tables of figures."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal

from connectome.errors import ConnectomeError
from sims.benchmarks.bench import Bench, Ours, Peer, PeerFailed, Spread, Table, forget_peak, peak_gb
from sims.benchmarks.peers import Network, Trial

if TYPE_CHECKING:
    import numpy as np

    from connectome.graph.connectome import Connectome
    from connectome.models import Model

__all__ = ["MODELS", "compare"]

Drive = Literal["poisson", "dc"]
_PER_SYNAPSE: Final = "ours"


# Networks


def _cuba(n: int) -> Callable[[Bench], Iterator[Table]]:
    def tables(bench: Bench) -> Iterator[Table]:
        from connectome.models import cuba

        size = n // 10 if bench.quick else n
        network = Network("cuba", size, 80 / size, "none", 200.0 if bench.quick else 1000.0)
        yield compare(bench, network, lambda weights: cuba(size, 80, weights=weights))

    return tables


def _brunel(drive: Drive) -> Callable[[Bench], Iterator[Table]]:
    def tables(bench: Bench) -> Iterator[Table]:
        from connectome.models import brunel

        size = 500 if bench.quick else 12_500
        network = Network("brunel", size, 0.1, drive, 200.0 if bench.quick else 1000.0)
        yield compare(bench, network, lambda weights: brunel(size, drive=drive, weights=weights))

    return tables


def compare(bench: Bench, network: Network, make: Callable[[Any], Model]) -> Table:
    """Rounds of ours and of each peer, in turns. ``make`` is given ``weights`` of :mod:`connectome.models`."""
    contestants: dict[str, Any] = {}
    built: dict[str, dict[str, Any]] = {}
    trials: dict[str, list[Trial]] = {}
    failed = []
    with ExitStack() as stack:
        for name, python in bench.peers.items():  # they build while we do
            contestants[name] = peer = Peer(name, python, network, bench.core)
            stack.callback(peer.close)
        bench.say("building")
        models = {weights: make(weights) for weights in ("per_synapse", "constant")}
        ours = {
            _PER_SYNAPSE: Ours(models["per_synapse"], network.duration_ms, bench),
            f"{_PER_SYNAPSE}, constant weights": Ours(models["constant"], network.duration_ms, bench),
        }
        if bench.threads > 1:
            name = f"{_PER_SYNAPSE}, {bench.threads} threads"
            ours[name] = Ours(models["per_synapse"], network.duration_ms, bench, bench.threads)
        for name in list(bench.peers):
            bench.say(f"waiting for {name}")
            try:
                built[name] = contestants[name].built()
            except PeerFailed as error:
                failed.append(str(error))
                del contestants[name]
        contestants = {**ours, **contestants}
        for k in range(bench.repeats):
            for name in list(contestants):
                bench.say(f"round {k + 1} of {bench.repeats}: {name}")
                try:
                    trials.setdefault(name, []).append(contestants[name].trial())
                except PeerFailed as error:
                    failed.append(str(error))
                    del contestants[name]
    base = trials[_PER_SYNAPSE]
    rows = []
    for name in contestants:
        mine = trials[name]
        measure = "wall_s" if name in ours and ours[name].threads > 1 else "cpu_s"
        spikes = statistics.median(t.spikes for t in mine)
        if name in ours:
            edges = ours[name].model.connectome.n_edges
            events = int(ours[name].last.attrs["synaptic_operations"])
        else:
            edges = built[name]["synapses"]
            events = round(spikes * edges / network.n)
        rows.append({
            "simulator": built[name]["version"] if name in built else name,
            "seconds": Spread.of([getattr(t, measure) for t in mine]),
            "ratio": Spread.of([getattr(t, measure) / getattr(b, measure) for t, b in zip(mine, base, strict=True)]),
            "rate_hz": spikes / network.n / network.duration_ms * 1000, "synapses": edges, "events": events,
            "events_per_us": events / statistics.median(getattr(t, measure) for t in mine) / 1e6,
        })  # fmt: skip
    note = "ratio: seconds over those of the first row. "
    if bench.threads > 1:
        one, several = (ours[k].last.drop_attrs() for k in (_PER_SYNAPSE, list(ours)[-1]))
        same = "the same" if one.equals(several) else "OTHER"
        note += f"Wall seconds for the row of several threads, which has {same} spikes. "
    return Table(f"{network.n:,} neurons, {network.duration_ms:g} ms", note + " ".join(failed), rows)


# The machine


def _scale(bench: Bench) -> Iterator[Table]:
    from connectome.models import random_network
    from sims.benchmarks.delivery import compiled_limit, limit_mev_s, our_mev_s, rows

    sizes = [(12_500, 12_500, 1000), (100_000, 100_000, 80), (100_000, 1_000_000, 1000)]
    events = 60_000_000
    if bench.quick:
        sizes, events = [(1000, 1000, 50), (1000, 70_000, 50)], 2_000_000
    found = []
    title, note = (
        "Delivery of spikes",
        "share: ours over the limit, plain C on the same rows. 1 % of the sources fire in a step.",
    )
    try:
        with compiled_limit() as library:
            our_mev_s(rows(100, 100, 10, 100))  # compiles
            for n_source, n_target, k in sizes:
                name = f"{n_target:,} x {k:,}" + (f", {n_source:,} rows" if n_source != n_target else "")
                bench.say(f"building {name}")
                given = rows(n_source, n_target, k, events)
                ours, limit = [], []
                for r in range(bench.repeats):
                    bench.say(f"{name}: round {r + 1} of {bench.repeats}")
                    limit.append(limit_mev_s(library, given))
                    ours.append(our_mev_s(given))
                share = [a / b for a, b in zip(ours, limit, strict=True)]
                ((_, edges),) = given.connectome.edges.items()
                found.append({
                    "targets": name, "target_bits": 8 * edges.indices.itemsize, "limit_events_per_us": Spread.of(limit),
                    "our_events_per_us": Spread.of(ours), "share": Spread.of(share),
                })  # fmt: skip
                del given, edges
    except ConnectomeError as error:
        note = f"Left out: {error}"
    yield Table(title, note, found)

    n, k, duration_ms = (20_000, 100, 20.0) if bench.quick else (1_000_000, 100, 100.0)
    bench.say(f"building {n:,} neurons")
    forget_peak()
    began = time.process_time()
    model = random_network(n, k)
    build_s, build_gb = time.process_time() - began, peak_gb()
    forget_peak()
    bench.say(f"running {n:,} neurons")
    ours_run = Ours(model, duration_ms, bench)
    trials = [ours_run.trial() for _ in range(bench.repeats)]
    run_gb, n_edges = peak_gb(), model.connectome.n_edges
    seconds = [t.cpu_s for t in trials]
    stored = sum(_stored(e) for e in model.connectome.edges.values())
    yield Table(
        "A large network", f"{duration_ms:g} ms of activity; memory is that of the whole process at its peak.",
        [{
            "neurons": n, "synapses": n_edges, "build_s": build_s, "build_peak_gb": build_gb,
            "seconds": Spread.of(seconds), "run_peak_gb": run_gb, "bytes_per_synapse": stored / n_edges,
            "rate_hz": trials[-1].spikes / n / duration_ms * 1000,
            "events_per_us": ours_run.last.attrs["synaptic_operations"] / statistics.median(seconds) / 1e6,
        }],
    )  # fmt: skip


def _stored(edges: Any) -> int:
    """Bytes of an edge set, without the columns that are the same for all edges and stored once."""
    columns = (edges.indptr, edges.indices, edges.weight, edges.delay_steps, edges.birth_stage)
    return sum(c.nbytes for c in columns if any(c.strides))


# Training and pruning


def _train(bench: Bench) -> Iterator[Table]:
    from sims.benchmarks.training import feed_forward, recurrent

    shapes = [(25, 64), (25, 256), (100, 64), (100, 256)]
    if bench.quick:
        cases: list[tuple[str, Any, int, int]] = [("recurrent 128, 10 %", lambda: recurrent(128, 0.1), 5, 16)]
    else:
        cases = [
            (f"784-512-512-10, {density:.4g} of the edges", lambda d=density: feed_forward(d), t, b)
            for density in (1.0, 0.1, 0.01, 0.0001) for t, b in shapes  # of the last, neurons' updates are all there is
        ] + [
            (f"recurrent {n:,}, {density:.4g} of the edges", lambda m=n, d=density: recurrent(m, d), 25, 64)
            for n, density in ((1024, 0.01), (4096, 0.01), (1024, 0.0001))
        ]  # fmt: skip
    found = []
    for name, make, n_steps, batch in cases:
        bench.say(f"{name}, {n_steps} steps, batch {batch}")
        ours, torchs, rates = _training_step(bench, make(), n_steps, batch)
        found.append({
            "network": name, "steps": n_steps, "batch": batch, "ours_ms": Spread.of([1000 * s for s in ours]),
            "torch_ms": Spread.of([1000 * s for s in torchs]),
            "ratio": Spread.of([b / a for a, b in zip(ours, torchs, strict=True)]),
            "hidden_firing": max(v for k, v in rates.items() if k.startswith("hidden")),
        })  # fmt: skip
    note = (
        "Forward pass, loss, backward pass, all gradients and Adam. ratio: torch's time over ours. "
        "hidden_firing: spikes a neuron and step."
    )
    yield Table("A training step against plain torch, one thread", note, found)


def _training_step(
    bench: Bench, connectome: Any, n_steps: int, batch: int, *, against: bool = True
) -> tuple[list[float], list[float], Mapping[str, float]]:
    """CPU seconds of a step, ours and torch's, and spikes a neuron and step of each region."""
    from connectome.learning.learning_rule import one_thread
    from sims.benchmarks.training import steps

    with one_thread():
        pair = steps(connectome, n_steps, batch, threads=1)
        ours, torchs = [], []
        for k in range(bench.repeats + 1):  # the first compiles
            began = time.process_time()
            pair.ours()
            between = time.process_time()
            if against:
                pair.torch()
            if k:
                ours.append(between - began)
                torchs.append(time.process_time() - between)
    return ours, torchs, pair.rates()


def _forward(bench: Bench, connectome: Connectome, n_steps: int, batch: int) -> list[float]:
    """CPU seconds of forward passes that no gradient will be asked of."""
    import torch

    from connectome.learning.network import SpikingNetwork

    x = torch.rand(batch, n_steps, connectome.regions["image"].size, generator=torch.Generator().manual_seed(0)) < 0.05
    network = SpikingNetwork(connectome, threads=1)
    cpu = []
    with torch.no_grad():
        for _ in range(bench.repeats + 1):  # the first compiles
            began = time.process_time()
            network({"image": x})
            cpu.append(time.process_time() - began)
    return cpu[1:]


def _pruned(bench: Bench) -> Iterator[Table]:
    """The same networks with 100 % .. 1 % of their edges, pruned at random."""
    import numpy as np

    from connectome.models import brunel
    from sims.benchmarks.training import recurrent

    size, duration_ms = (500, 50.0) if bench.quick else (12_500, 500.0)
    model = brunel(size, drive="dc")
    network = recurrent(128, 0.5) if bench.quick else recurrent(4096, 0.1)
    fractions = (1.0, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01)
    runs, forward, step = [], [], []
    for f in fractions:
        bench.say(f"pruning to {f:.0%}")
        rng = np.random.default_rng(1)
        kept = model._replace(connectome=_keep(model.connectome, f, rng, strength=1e-6))
        runs.append(Ours(kept, duration_ms, bench))
        kept_network = _keep(network, f, rng, strength=f**-0.5)  # so that as many neurons fire
        forward.append(_forward(bench, kept_network, 25, 64))
        step.append(_training_step(bench, kept_network, 25, 64, against=False))
    cpu: list[list[float]] = [[] for _ in fractions]
    for r in range(bench.repeats):
        for at, f in enumerate(fractions):
            bench.say(f"run, round {r + 1} of {bench.repeats}: {f:.0%} of the edges")
            cpu[at].append(runs[at].trial().cpu_s)
    found = []
    for at, f in enumerate(fractions):
        found.append({
            "edges": f"{f:.0%}", "run_s": Spread.of(cpu[at]),
            "run_ratio": Spread.of([a / b for a, b in zip(cpu[0], cpu[at], strict=True)]),
            "events": int(runs[at].last.attrs["synaptic_operations"]),
            "forward_ms": Spread.of([1000 * s for s in forward[at]]),
            "forward_ratio": statistics.median(forward[0]) / statistics.median(forward[at]),
            "training_ms": Spread.of([1000 * s for s in step[at][0]]),
            "training_ratio": statistics.median(step[0][0]) / statistics.median(step[at][0]),
            "hidden_firing": step[at][2]["hidden"],
        })  # fmt: skip
    yield Table(
        f"Cost against edges: a run of {size:,} neurons for {duration_ms:g} ms; a forward pass and a training step",
        "ratio: cost with all edges over the cost with so many. The neurons of the run fire by their own current, "
        "whatever arrives. hidden_firing: spikes a neuron and step in training.",
        found,
    )


def _keep(connectome: Connectome, fraction: float, rng: np.random.Generator, strength: float = 1.0) -> Connectome:
    """A random part of the edges, with weights times ``strength``."""
    from connectome.graph.connectome import Connectome

    edges = [e if fraction == 1 else e.take(rng.random(len(e)) < fraction) for e in connectome.edges.values()]
    if strength != 1:
        edges = [replace(e, weight=e.weight * type(e.weight[0])(strength)) for e in edges]
    return Connectome.of(connectome.regions.values(), edges, dt_ms=connectome.dt_ms)


#: Name -> what makes its tables.
MODELS: Final[Mapping[str, Callable[[Bench], Iterator[Table]]]] = {
    "cuba": _cuba(4000),
    "cuba40k": _cuba(40_000),
    "brunel": _brunel("poisson"),
    "brunel_dc": _brunel("dc"),
    "scale": _scale,
    "train": _train,
    "pruned": _pruned,
}

"""Plan a run: memory, time and a training step here, on NEST and on a GPU, before anything is run; which way fits.

python -m sims.plan net.h5 --rate-hz 8 --poisson
python -m sims.plan fly
python -m sims.plan --measure machine.json
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from connectome.errors import ConnectomeError
from connectome.memory import free_bytes
from sims.inputs import stage_path
from sims.program import add_common, add_json, ended, exit_codes, refuse_taken
from sims.screen import console_of, print_json, print_table, progress

if TYPE_CHECKING:
    from connectome.simulate.costs import Constants, Size

__all__ = ["NETWORKS", "Network", "main", "parser", "size_of"]


class Network(NamedTuple):
    """A network by its numbers alone."""

    neurons: float
    edges: float
    source: str


#: What can be planned by name.
NETWORKS: Final = {
    "fly": Network(139_255, 5e7, "the fly's brain, each synapse an edge: FlyWire, Dorkenwald et al. 2024"),
    "mouse_cortex": Network(1.4e7, 7e10, "neurons: Herculano-Houzel et al. 2013; 5,000 edges a neuron are assumed"),
    "mouse_brain": Network(7e7, 1e11, "neurons: Herculano-Houzel et al. 2013; edges are assumed"),
}
_GPU_GB: Final = 141.0  # the largest there is, H200


def parser() -> argparse.ArgumentParser:
    """The options, and what ``--help`` says."""
    parser = argparse.ArgumentParser(
        prog="python -m sims.plan",
        description="Say what a network would cost: memory at the peak, CPU seconds of one core for a second of model "
        "time and for a training step, here; the same on NEST and on a GPU, which are estimates.",
        epilog=f"Names: {', '.join(NETWORKS)}. {exit_codes()}",
    )
    parser.add_argument("network", nargs="?", metavar="NETWORK", help="a snapshot, a run's folder, or a name")
    parser.add_argument("--neurons", type=float, metavar="N", help="without NETWORK: how many, and")
    parser.add_argument("--edges", type=float, metavar="N", help="how many edges")
    parser.add_argument("--rate-hz", type=float, default=5.0, metavar="HZ", help="each neuron fires so (default: 5)")
    parser.add_argument("--poisson", action="store_true", help="each neuron has Poisson drive")
    parser.add_argument("--delays", type=int, default=1, metavar="N", help="of a neuron's edges, without a snapshot")
    parser.add_argument("--steps", type=int, default=25, metavar="T", help="of a training step (default: 25)")
    parser.add_argument("--batch", type=int, default=64, metavar="B", help="of a training step (default: 64)")
    parser.add_argument("--ranks", type=int, metavar="N", help="of NEST, a core each (default: as many as hold it)")
    parser.add_argument("--rank-gb", type=float, default=4.0, metavar="GB", help="memory of a rank (default: 4)")
    parser.add_argument("--measure", type=Path, metavar="FILE", help="measure this machine's constants, half a minute")
    parser.add_argument("--constants", type=Path, metavar="FILE", help="what --measure has written (default: ours)")
    add_common(parser)
    add_json(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = parser().parse_args(argv)
    return ended("plan", lambda: _measure(options) if options.measure else _plan(options))


def size_of(options: argparse.Namespace) -> Size:
    """What costs depend on. A snapshot is read an edge set at a time. Raises :class:`ConnectomeError`."""
    import numpy as np

    from connectome.arrays import is_constant
    from connectome.graph.kernel_set import KernelSet
    from connectome.io.snapshot import open_snapshot
    from connectome.simulate.costs import MERGED_EDGE_BYTES, Size, edge_bytes, stretches

    if not 0 <= options.rate_hz < math.inf:
        raise ConnectomeError("--rate-hz", "must be finite and 0 or more", options.rate_hz)
    given = (options.neurons, options.edges)
    if (options.network is None) == (None in given) or (options.network and given != (None, None)):
        raise ConnectomeError("NETWORK", "must be given, or both --neurons and --edges", options.network)
    if options.delays < 1:
        raise ConnectomeError("--delays", "must be 1 or more", options.delays)
    if options.network is None or options.network in NETWORKS:
        neurons, edges, *_ = NETWORKS.get(options.network or "", given)
        if not 1 <= neurons < math.inf:
            raise ConnectomeError("--neurons", "must be finite and 1 or more", neurons)
        wide = 4 if neurons > 2**16 else 2
        events = edges / neurons
        return Size(
            neurons, edges, neurons * options.rate_hz, events, min(options.delays, events), neurons * options.poisson,
            edge_bytes=wide + 4 + 2 * (options.delays > 1),
        )  # fmt: skip
    found = open_snapshot(stage_path(options.network))
    regions = [found.region(name) for name in found.regions]
    neurons = sum(r.size for r in regions if r.role != "sensor")
    firing = sum(r.size for r in regions if r.role != "effector")
    edges, taken, largest = 0, 0, 0
    together: dict[tuple[str, float | None], list[Any]] = {}  # what a long run merges: pairs, edges and targets of each
    for key in found.edges:
        e = found.edge_set(key)
        if isinstance(e, KernelSet):
            raise ConnectomeError(f"edges[{key}]", "must be edges: what kernel sets cost is not known", options.network)
        edges, largest, taken = edges + len(e), max(largest, len(e)), taken + edge_bytes(e)
        weight = float(e.weight[0]) if is_constant(e.weight) and len(e) else None
        together.setdefault((key.source, weight), []).append((stretches(e), len(e), e.n_target))
    visits, targets, copied = 0, 0, 0
    for group in together.values():
        pairs, numbers, sizes = zip(*group, strict=True)
        apart, merged = sum(map(len, pairs)), np.unique(np.concatenate(pairs)).size
        visits += merged
        if merged < apart:
            targets, copied = targets + sum(numbers) * sum(sizes), copied + MERGED_EDGE_BYTES * sum(numbers)
        else:
            targets += sum(n * size for n, size in zip(numbers, sizes, strict=True))
    spikes = max(firing, 1)
    return Size(
        neurons, edges, firing * options.rate_hz, edges / spikes, visits / spikes, neurons * options.poisson,
        found.dt_ms, taken / max(edges, 1), largest, targets / max(edges, 1), copied,
    )  # fmt: skip


def _plan(options: argparse.Namespace) -> int:
    import pandas

    from connectome.simulate.costs import of_gpu, of_nest, of_run, of_training

    for name in ("steps", "batch", "ranks"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise ConnectomeError(f"--{name}", "must be 1 or more", getattr(options, name))
    if not 0.5 <= options.rank_gb < math.inf:
        raise ConnectomeError("--rank-gb", "must be finite and 0.5 or more", options.rank_gb)
    constants = _constants(options.constants)
    with progress(options, f"Reading {options.network or ''}"):
        size = size_of(options)
    ranks = options.ranks or _ranks(size, options.rank_gb * 1e9)
    free = free_bytes()
    training = of_training(size, options.steps, options.batch, constants)
    rows: list[dict[str, Any]] = []
    for where, cost, room, basis in (
        ("here, a run", of_run(size, constants), free, "constants measured"),
        (f"here, training, {options.steps} x {options.batch}", training, free, "constants measured"),
        (f"NEST, {ranks:,} ranks", of_nest(size, ranks, constants), options.rank_gb * 1e9, "estimated"),
        ("GPU, GeNN", of_gpu(size), _GPU_GB * 1e9, "estimated"),
    ):  # fmt: skip
        fits = "?" if room is None else "yes" if cost.memory_bytes <= room else "no"
        rows.append({
            "way": where, "memory_gb": cost.memory_bytes / 1e9, "seconds": cost.seconds, "fits": fits, "basis": basis,
        })  # fmt: skip
    best = rows[0] if rows[0]["fits"] != "no" else rows[3] if rows[3]["fits"] == "yes" else rows[2]
    console = console_of(options)
    shown = [[row["way"], f"{row['memory_gb']:.3g}", f"{row['seconds']:.3g}", row["fits"], row["basis"]]
             for row in rows]  # fmt: skip
    if options.network in NETWORKS:
        console.print(f"{options.network}: {NETWORKS[options.network].source}", highlight=False, soft_wrap=True)
    events = size.spikes_s * size.events
    console.print(
        f"{size.neurons:,.0f} neurons, {size.edges:,.0f} edges; a second of model time has {size.spikes_s:.3g} spikes, "
        f"{size.spikes_s * size.visits:.3g} visits, {events:.3g} events.", highlight=False, soft_wrap=True,
    )  # fmt: skip
    print_table(console, "", ["way", "GB", "s", "fits", "basis"], shown)
    console.print(
        "GB: of one process, rank or GPU, at the peak. s: CPU seconds of one core for a second of model time, or for a "
        f"training step; of one rank; of the GPU. Take: {best['way']}.", highlight=False, soft_wrap=True,
    )  # fmt: skip
    if options.json:
        print_json({"plan": pandas.DataFrame(rows), "size": pandas.DataFrame([asdict(size)])})
    return 0


def _ranks(size: Size, rank_bytes: float) -> int:
    """The least that hold the network."""
    from connectome.simulate.costs import of_nest

    empty = of_nest(size, 2**62).memory_bytes
    return max(1, math.ceil((of_nest(size, 1).memory_bytes - empty) / (rank_bytes - empty)))


def _constants(path: Path | None) -> Constants:
    from connectome.io.files import read_bytes
    from connectome.simulate.costs import MEASURED, Constants

    if path is None:
        return MEASURED
    try:
        found: Any = json.loads(read_bytes(path, 10_000))
        values = {f.name: float(found[f.name]) for f in fields(Constants)}
        if not all(0 <= v < math.inf for v in values.values()):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise ConnectomeError("--constants", "must be a file that --measure has written", repr(str(path))) from None
    return Constants(**values)


def _measure(options: argparse.Namespace) -> int:
    from connectome.io.files import write_lines
    from sims.benchmarks.constants import measure

    refuse_taken("--measure", options.measure, overwrite=options.overwrite)
    with progress(options, "Compiling") as say:
        found = asdict(measure(say))
    write_lines(options.measure, [json.dumps(found, indent=1)])
    if not options.quiet:
        print("\n".join(f"{name:18} {value:.3g}" for name, value in found.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What makes a graph live before it is run: the options, and what they do."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from connectome.errors import ConnectomeError

if TYPE_CHECKING:
    from rich.console import Console

    from connectome.graph.connectome import Connectome
    from connectome.simulate.stimulus import Stimulus

__all__ = ["add_physiology", "check_physiology", "made_alive"]

_MAX_RATE_HZ = 1e4


def add_physiology(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument(
        "--physiology", metavar="NAME",
        help="what to make of numbers of synapses: shiu2024, mammal, or a TOML file with a table [physiology]",
    )  # fmt: skip
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="after --physiology, e.g. --set gain=2 or --set neuron.t_ref_ms=3; may be given again",
    )  # fmt: skip
    parser.add_argument(
        "--stimulate", metavar="QUERY",
        help="""cells that get Poisson events which make them fire, e.g. "class == 'ORN' and side == 'left'" """,
    )  # fmt: skip
    parser.add_argument(
        "--stimulate-hz", type=float, default=150.0, metavar="HZ", help="the rate of these events (default: 150)"
    )
    parser.add_argument(
        "--calibrate", metavar="HZ",
        help="find the gain at which neurons fire at this mean rate while cells are stimulated; edge: the largest at "
        "which activity dies out afterwards. Draws the scan beside --out, NAME_gain.png",
    )  # fmt: skip


def check_physiology(options: argparse.Namespace) -> float | None:
    """Refuse options that need another. What to calibrate to, None for the edge or for nothing."""
    for name in ("set", "stimulate", "calibrate"):
        if getattr(options, name) and not options.physiology:
            raise ConnectomeError(f"--{name}", "must go with --physiology", repr(getattr(options, name)))
    if not 0 <= options.stimulate_hz <= _MAX_RATE_HZ:
        raise ConnectomeError("--stimulate-hz", f"must be 0 .. {_MAX_RATE_HZ:,.0f}", options.stimulate_hz)
    if options.calibrate in (None, "edge"):
        return None
    try:
        target = float(options.calibrate)
    except ValueError:
        target = math.nan
    if not 0 < target < math.inf:
        raise ConnectomeError("--calibrate", "must be a rate in Hz, or edge", repr(options.calibrate))
    return target


def made_alive(
    connectome: Connectome, options: argparse.Namespace, console: Console, picture: Path
) -> tuple[Connectome, Stimulus]:
    """The network that the options make of a graph, and what stimulates it. Raises :class:`ConnectomeError`."""
    from connectome.experiment import animate, calibrate, read_physiology, stimulate
    from connectome.experiment.calibration import Trial
    from connectome.graph.selection import node_set

    physiology, target = read_physiology(options.physiology, options.set), check_physiology(options)
    cells = connectome.select(options.stimulate) if options.stimulate else node_set(connectome, {})
    if options.stimulate and not len(cells):
        raise ConnectomeError("--stimulate", "must hold for some cells", repr(options.stimulate))

    def drive(network: Connectome) -> tuple[Connectome, Stimulus]:
        return stimulate(network, physiology, cells, options.stimulate_hz)

    if options.calibrate:
        from connectome.analysis.figures import draw_gain_scan
        from connectome.io.results import save_figure

        trial = Trial(seed=options.seed, threads=options.threads)
        physiology, scan = calibrate(connectome, physiology, drive, target_hz=target, trial=trial)
        save_figure(draw_gain_scan(scan), picture)
        found = scan.sel(gain=physiology.gain)
        console.print(
            f"Gain {physiology.gain:.4g}: {float(found.mean_hz):.3g} Hz driven, {float(found.mean_after_hz):.3g} Hz "
            f"after; {picture}", highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip
    network, account = animate(connectome, physiology)
    console.print(str(account), highlight=False, markup=False, soft_wrap=True)
    network, stimulus = drive(network)
    if options.stimulate:
        line = f"Stimulated at {options.stimulate_hz:g} Hz: {len(cells):,} cells, {options.stimulate}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return network, stimulus

"""The whole brain of the fly, made up: from its files to the spikes of 1 s, and the simulation alone, beside Brian 2's
C++ standalone model of Shiu et al. on the same files.

``python -m sims.benchmarks.shiu2024 '{"folder": ...}'`` is our side in a process of its own; ``brian2_shiu2024.py`` is
theirs, which is asked the same and answers alike.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

from sims.benchmarks.bench import Bench, PeerFailed, Spread, Table

__all__ = ["main", "shiu2024"]

_CELLS: Final = 20
_RATE_HZ: Final = 150.0
_PHASES: Final = ("import_s", "read_s", "build_s", "compile_s", "run_s")


def shiu2024(bench: Bench) -> Iterator[Table]:
    """Two drives: 20 cells at random, whose activity dies away, and the 20 excitatory cells with the most synapses."""
    import numpy as np

    from sims.benchmarks.fly import FLYWIRE, fly_like, write_files

    with tempfile.TemporaryDirectory(prefix="benchmark-") as place:
        bench.say("making the graph")
        fly = fly_like(*((1000, 20_000) if bench.quick else FLYWIRE))
        write_files(fly, Path(place))
        out = np.bincount(fly.source, fly.synapses, fly.id.size) * (fly.sign > 0)
        drives = {
            "20 cells at random": np.random.default_rng(1).choice(fly.id.size, _CELLS, replace=False),
            "the 20 with the most synapses": np.argsort(out)[-_CELLS:],
        }
        title = f"{fly.id.size:,} neurons, {fly.source.size:,} connections"
        del out, fly
        for name, cells in drives.items():
            asked = {
                "folder": place, "duration_ms": 100.0 if bench.quick else 1000.0, "cells": cells.tolist(),
                "rate_hz": _RATE_HZ,
            }  # fmt: skip
            yield _compared(bench, f"{title}, {name} at {_RATE_HZ:g} Hz", asked)


def _compared(bench: Bench, title: str, asked: Mapping[str, Any]) -> Table:
    commands = {"ours": [sys.executable, "-m", "sims.benchmarks.shiu2024"]}
    if "brian2" in bench.peers:
        commands["brian2"] = [bench.peers["brian2"], str(Path(__file__).with_name("brian2_shiu2024.py"))]
    note = (
        "CPU seconds, of compilers too: from the start of the process to the first spikes (import, read, build, "
        "compile, run); simulate: the simulation alone. Ours has been compiled before, once for this machine; theirs "
        "is compiled for each network. Ratios: over ours."
    )
    with ExitStack() as stack:
        sides: dict[str, _Side] = {}
        bench.say("ours: compiling, unless that has been done")
        with _Side(commands["ours"], {**asked, "duration_ms": 1.0}, None):
            pass
        for name, command in commands.items():
            bench.say(f"{name}: from the files to the spikes")
            try:
                sides[name] = stack.enter_context(_Side(command, asked, bench.core))
            except PeerFailed as error:
                note += f" {name} failed: {error}"
        trials: dict[str, list[float]] = {name: [] for name in sides}
        for k in range(bench.repeats):
            for name, side in list(sides.items()):
                bench.say(f"round {k + 1} of {bench.repeats}: {name}")
                try:
                    trials[name].append(side.again()["simulate_cpu_s"])
                except PeerFailed as error:
                    note += f" {name} failed: {error}"
                    del sides[name]
        ours, rows = sides["ours"].first, []
        for name, side in sides.items():
            ratios = [a / b for a, b in zip(trials[name], trials["ours"], strict=True)]
            rows.append(
                {"simulator": str(side.first["version"])} | {p: float(side.first.get(p, 0.0)) for p in _PHASES} | {
                    "first_result_s": side.first["first_result_s"],
                    "first_result_ratio": side.first["first_result_s"] / ours["first_result_s"],
                    "simulate_s": Spread.of(trials[name]), "simulate_ratio": Spread.of(ratios),
                    "spikes": int(side.first["spikes"]),
                }
            )  # fmt: skip
    return Table(title, note, rows)


class _Side:
    """A process that answers: what it did first, and how long one more simulation took."""

    def __init__(self, command: list[str], asked: Mapping[str, Any], core: int | None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="benchmark-")
        root = "" if command[0] != sys.executable else str(Path(__file__).resolve().parents[2])
        self._process = subprocess.Popen(
            [*command, json.dumps(asked)], cwd=self._folder.name, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": root},
        )  # fmt: skip
        if core is not None:
            os.sched_setaffinity(self._process.pid, {core})
        self.first = self._answer()

    def again(self) -> dict[str, Any]:
        """One more simulation."""
        with suppress(BrokenPipeError):  # then there is no answer either
            if self._process.stdin is not None:
                self._process.stdin.write("\n")
                self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            self._folder.cleanup()
            raise PeerFailed(f"exit code {self._process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def __enter__(self) -> _Side:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        with suppress(BrokenPipeError):
            self._process.communicate()
        self._folder.cleanup()


def _cpu_s() -> float:
    return sum(os.times()[:4])


def main(argument: str) -> None:
    """Our side."""
    asked, marks = json.loads(argument), [_cpu_s()]
    from connectome import __version__
    from connectome.experiment import animate, preset, stimulate
    from connectome.io.measured import read
    from connectome.simulate import run

    marks.append(_cpu_s())
    graph = read("shiu2024", asked["folder"])
    marks.append(_cpu_s())
    physiology = preset("shiu2024")
    network, _ = animate(graph, physiology)
    network, stimulus = stimulate(network, physiology, {"brain": asked["cells"]}, asked["rate_hz"])
    marks.append(_cpu_s())

    def simulate(duration_ms: float) -> tuple[float, int]:
        began = time.process_time()
        spikes = run(network, duration_ms, stimulus, threads=1, seed=1)
        return time.process_time() - began, int(spikes.attrs["n_spikes"])

    _, spikes = simulate(asked["duration_ms"])
    marks.append(_cpu_s())
    phases = ("import_s", "read_s", "build_s", "run_s")
    said: dict[str, Any] = {p: after - before for p, before, after in zip(phases, marks, marks[1:], strict=False)}
    print(
        json.dumps(said | {"first_result_s": _cpu_s(), "spikes": spikes, "version": f"ours, {__version__}"}), flush=True
    )
    for _ in sys.stdin:  # less a run of a single step, which is all setting up
        seconds = simulate(asked["duration_ms"])[0] - statistics.median(simulate(network.dt_ms)[0] for _ in range(3))
        print(json.dumps({"simulate_cpu_s": max(seconds, 1e-9)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])

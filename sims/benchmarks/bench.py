"""What every benchmark is made with: rounds, tables, our own side and the peers' processes."""

from __future__ import annotations

import json
import math
import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sims.benchmarks.peers import Network, Trial

if TYPE_CHECKING:
    import xarray as xr

    from connectome.models import Model


__all__ = ["Bench", "Ours", "Peer", "PeerFailed", "Spread", "Table", "digits", "forget_peak", "peak_gb"]


def digits(value: float) -> str:
    """Three digits, and no exponent where a reader can do without."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"


class Spread(NamedTuple):
    """Of the rounds: median, and the least and the largest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{digits(self.median)} ({digits(self.low)}-{digits(self.high)})"


class Table(NamedTuple):
    """What one model showed: rows with the same keys, which are the headings and the keys in the JSON file."""

    title: str
    note: str
    rows: list[dict[str, Any]]


class Bench(NamedTuple):
    """What the parts of the program need to know."""

    repeats: int
    threads: int
    quick: bool
    peers: Mapping[str, str]  # name -> interpreter
    core: int | None  # that everything runs on, where the system lets one choose
    cores: set[int]  # all that there are
    say: Callable[[str], None]

    @contextmanager
    def on_cores(self, threads: int) -> Iterator[None]:
        """More than one thread runs on all cores."""
        if threads > 1 and self.core is not None:
            os.sched_setaffinity(0, self.cores)
        try:
            yield
        finally:
            if threads > 1 and self.core is not None:
                os.sched_setaffinity(0, {self.core})


class Peer:
    """A peer's process, with the network built."""

    def __init__(self, name: str, python: str, network: Network, core: int | None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="benchmark-")
        asked = {"peer": name, **network._asdict()}
        # As if its environment were activated, not ours: peers that compile look for headers there.
        home = Path(python).parent
        path = os.pathsep.join((str(home), os.environ.get("PATH", "")))
        self._errors = (Path(self._folder.name) / "stderr").open("w+")
        self._process = subprocess.Popen(
            [python, str(Path(__file__).with_name("peers.py")), json.dumps(asked)], cwd=self._folder.name, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            env={
                **os.environ, "PATH": path, "VIRTUAL_ENV": str(home.parent), "OMP_NUM_THREADS": "1", "PYTHONPATH": "",
            },
        )  # fmt: skip
        if core is not None:
            os.sched_setaffinity(self._process.pid, {core})
        self._name = name

    def built(self) -> dict[str, Any]:
        """Version and number of synapses; waits until the network is built."""
        return self._answer()

    def trial(self) -> Trial:
        """Simulate once."""
        with suppress(BrokenPipeError):  # then there is no answer either
            if self._process.stdin is not None:
                self._process.stdin.write("\n")
                self._process.stdin.flush()
        return Trial(**self._answer())

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            self._process.wait()
            self._errors.seek(0)
            said = [text for text in self._errors.read().splitlines() if text.strip()]
            raise PeerFailed(f"{self._name} failed: {said[-1].strip() if said else 'it said nothing'}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        with suppress(BrokenPipeError):
            self._process.communicate()
        self._errors.close()
        self._folder.cleanup()


class PeerFailed(Exception):
    """A peer ended by itself; the others go on."""


class Ours:
    """Our simulator on a model. ``last``: what it gave."""

    def __init__(self, model: Model, duration_ms: float, bench: Bench, threads: int = 1) -> None:
        self.model, self.threads = model, threads
        self._duration_ms, self._bench = duration_ms, bench
        self.last = self._run(duration_ms / 10)  # compiles

    def _run(self, duration_ms: float) -> xr.Dataset:
        from connectome.simulate.runs import run

        m = self.model
        return run(m.connectome, duration_ms, m.stimulus, initial_v_mv=m.initial_v_mv, threads=self.threads, seed=1)

    def trial(self) -> Trial:
        """Simulate once: a run, less one of a single step, which is all setting up."""
        with self._bench.on_cores(self.threads):
            cpu, wall = [time.process_time()], [time.perf_counter()]
            for duration_ms in (self.model.connectome.dt_ms, self._duration_ms):
                self.last = self._run(duration_ms)
                cpu.append(time.process_time())
                wall.append(time.perf_counter())
        return Trial(
            max(cpu[2] - 2 * cpu[1] + cpu[0], 1e-9), max(wall[2] - 2 * wall[1] + wall[0], 1e-9),
            int(self.last.attrs["n_spikes"]),
        )  # fmt: skip


def forget_peak() -> None:
    """Let the peak of the process's memory start anew, where the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_gb() -> float:
    """Peak of the process's memory since then, 1e9 bytes; nan where the system does not say."""
    try:
        found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        found = None
    return int(found[1]) * 1024 / 1e9 if found else math.nan

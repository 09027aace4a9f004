"""Kill developments at random instants, go on with them, and compare with the one that nothing broke.

python -m tests.kill_runs --kills 200
python -m tests.kill_runs --kills 90 --ways all

Every run is killed (SIGKILL) several times, by turns at a random time and at a random instant of a phase drawn by lot,
and is then left to end. Each file must equal, byte for byte, that of the run that was never killed. Runs are forked
from one process that has compiled and imported everything, so that a life takes a second or two.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import mmap
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Final, NamedTuple

from connectome import plugins

__all__ = ["CONFIGURATION", "contents", "fork", "main", "say", "wait", "warm_up"]

CONFIGURATION: Final = """
[anatomy]
neurons = 40
[training]
perception = 12
motor = 12
interaction = 12
batch = 16
epoch_updates = 3
[data]
test_trials = 20
[rules.growth]
edges = 20
[rules.pruning]
inhibition = 0.5
"""
_CHAIN: Final = "learning.chain=['adam', '{}', 'dale']"
_ACT: Final = "rules.act=['growth', 'strengthening', 'pruning', 'homeostasis', '{}']"
_KINDS: Final = ("afferent", "local", "long_range")
#: What a run does besides, by name: whatever the registry has that a development can name. One run after the other.
WAYS: Final[dict[str, tuple[str, ...]]] = {
    "development": (),
    **{name: (f"training.method={name}",) for name in plugins.known("comparators") if name != "development"},
    **{name: (f"learning.chain=['{name}', 'dale']",) for name in ("sgd", "classp", "memory_momentum", "soft_hebb")},
    "restoration": (_CHAIN.format("restoration"), "learning.restoration.p=0.2"),
    "teacher": ("learning.chain=['adam', 'dale', 'teacher']", "learning.teacher.m=0.9"),
    "shuffled": (
        _ACT.format("shuffled"),
        "anatomy.wiring=celegans_witvliet2021_8",
        "anatomy.sensory=region == 'sensory'",
    ),
    **{name: (_ACT.format(name),) for name in ("generative_growth", "low_rank_birth", "balanced_birth", "dead_maps")},
    "replay_ratio": (_ACT.format("replay_ratio"), "rules.replay_ratio.tolerance=0.5"),
    "areas": (
        "regions.perception.areas='4x3, 6x3/2'",
        "rules.pruning.unit=kernel",
        _ACT.format("dead_maps', 'balanced_birth"),
    ),
    **{
        name: (_CHAIN.format(name),)
        for name in ("hlop", "consolidation", "devices", "hypergradient", "merging", "rate_matching")
    },
    **{f"by {name}": (f"training.importance={name}",) for name in plugins.known("importance") if name != "feedback"},
    **{name: (f"select.by={name}",) for name in plugins.known("select")},
    **{name: tuple(f"edges.{kind}.view={name}" for kind in _KINDS) for name in plugins.known("views")},
    "alif": ("neuron.model=alif",),
    "neurons": ("neuron.learn=['tau_m_ms', 'v_th_mv']", "regions.motor.neuron.learn=['tau_syn_ex_ms']"),
    "mode": ("regions.perception.mode=dawn", "regions.interaction.mode=dusk"),
    "diagnostics": (f"training.diagnostics={', '.join(plugins.known('diagnostics'))}",),
    "reuse": ("training.reuse=4", "training.patience=2", "training.validate_every=1"),
}
#: What a run is at, by the functions that do it. Outside of all of them it is starting.
PHASES: Final = {
    "birth": [("connectome.development.stages", "_begin")],
    "training": [("connectome.development.training", "Training.step")],
    "rules": [("connectome.development.training", "Training._edit")],
    "testing": [("connectome.development.stages", "perform")],
    "checkpoint": [("connectome.io.checkpoint", "save_checkpoint")],
    "snapshot": [("connectome.io.snapshot", "save")],
    "results": [("connectome.io.results", "save_results"), ("connectome.io.results", "save_figure")],
    "going on": [("connectome.io.checkpoint", "load_checkpoint")],
    "ending": [("connectome.io.checkpoint", "remove_checkpoints")],
}
NAMES: Final = ("starting", *PHASES)
#: How often each is aimed at: less what comes late or once, where a run mostly ends before. "": any time.
AIMS: Final = {
    "": 3, "birth": 1, "training": 3, "rules": 3, "testing": 2, "checkpoint": 3, "snapshot": 2, "results": 1,
    "going on": 2, "ending": 1,
}  # fmt: skip


class Watch:
    """Memory shared with the forked runs: the phase that one is in, and how often it began each."""

    _FORM = struct.Struct(f"{1 + len(NAMES)}q")

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, self._FORM.size)
        for phase, functions in PHASES.items():
            for module, path in functions:
                *owners, name = path.split(".")
                owner: Any = importlib.import_module(module)
                for part in owners:
                    owner = getattr(owner, part)
                setattr(owner, name, self._marked(getattr(owner, name), NAMES.index(phase)))

    def clear(self) -> None:
        """Before a life."""
        self._shared[:] = bytes(self._FORM.size)

    def read(self) -> tuple[str, Counter[str]]:
        """The phase now, and how often each began."""
        now, *began = self._FORM.unpack(self._shared[:])
        return NAMES[now], Counter(dict(zip(NAMES, began, strict=True)))

    def _marked(self, function: Callable[..., Any], phase: int) -> Callable[..., Any]:
        @wraps(function)
        def marked(*arguments: Any, **options: Any) -> Any:
            before, *began = self._FORM.unpack(self._shared[:])
            began[phase] += 1
            self._shared[:] = self._FORM.pack(phase, *began)
            try:
                return function(*arguments, **options)
            finally:
                _, *began = self._FORM.unpack(self._shared[:])
                self._shared[:] = self._FORM.pack(before, *began)

        return marked


class _Whole(NamedTuple):
    """A run that was never killed: its files, how long it took, and each phase took, and how often that began."""

    files: dict[str, str]
    seconds: float
    durations: dict[str, float]
    counts: Counter[str]


def contents(run: Path) -> dict[str, str]:
    """SHA-256 of every file of a run."""
    files = sorted(path for path in run.rglob("*") if not path.is_dir())
    return {str(p.relative_to(run)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; 0 if every run ended as it should."""
    parser = argparse.ArgumentParser(prog="python -m tests.kill_runs", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, metavar="N", help="default: 200")
    parser.add_argument("--ways", default="development", metavar="A,B", help=f"'all', or of {', '.join(WAYS)}")
    parser.add_argument("--seed", type=int, default=0, help="of the instants, and the way to begin with (default: 0)")
    options = parser.parse_args(argv)
    lot = random.Random(options.seed)
    place = Path(tempfile.mkdtemp(prefix="kill_runs_"))
    (place / "small.toml").write_text(CONFIGURATION)
    warm_up(place)
    watch = Watch()
    ways = list(WAYS) if options.ways == "all" else options.ways.split(",")
    known: dict[str, _Whole] = {}
    kills: Counter[str] = Counter()
    lives = runs = equal = 0
    while kills.total() < options.kills:
        run, way = place / f"lives{runs}" / "run", ways[(options.seed + runs) % len(ways)]
        if way not in known:
            known[way] = _whole(place, way, watch)
        whole = known[way]
        left = lot.randint(1, 24)
        while True:
            begun = (run / "results.nc").exists() or any((run / "checkpoints").glob("*.h5"))
            command = ["--resume", str(run), "--quiet"] if begun else _begin(place, run, way)
            command += ["--checkpoint-every", lot.choice(["0", "0.05", "0.3"])]
            watch.clear()
            child, lives = fork(command), lives + 1
            at = None
            if left and kills.total() < options.kills:
                at = _kill(child, watch, lot, whole)
            if at is None:
                break
            kills[at] += 1
            left -= 1
        if (code := wait(child)) != 0:
            say(f"{run}: exit code {code}")
        runs += 1
        found = contents(run)
        if found == whole.files and not code:
            equal += 1
            shutil.rmtree(run.parent)
        else:
            say(f"{run} ({way}) is not as it should be: {sorted(k for k, _ in found.items() ^ whole.files.items())}")
        say(f"{kills.total()} kills, {runs} runs, {equal} of them equal")
    say(f"Kills by phase: {', '.join(f'{name} {kills[name]}' for name in NAMES)}.")
    say(f"{kills.total()} kills in {runs} runs ({lives} lives): {equal} of {runs} runs ended bit-identical.")
    if equal == runs:
        shutil.rmtree(place)
    return int(equal != runs)


def _whole(place: Path, way: str, watch: Watch) -> _Whole:
    """Let a run end."""
    began = time.monotonic()
    child = fork([*_begin(place, place / way / "run", way), "--checkpoint-every", "0"])
    durations, seconds = _follow(child, watch), time.monotonic() - began
    files = contents(place / way / "run")
    say(f"{way}, never killed: {len(files)} files in {seconds:.1f} s.")
    return _Whole(files, seconds, durations, watch.read()[1])


def _begin(place: Path, run: Path, way: str = "development") -> list[str]:
    changes = [word for change in WAYS[way] for word in ("--set", change)]
    return ["--out", str(run), "--config", str(place / "small.toml"), "--quiet", *changes]


def warm_up(place: Path) -> None:
    """Import and compile on one thread: a process with others must not be forked."""
    import torch

    from sims.develop import main as develop

    mine = os.sched_getaffinity(0)
    torch.set_num_threads(1)
    os.sched_setaffinity(0, {min(mine)})
    if develop([*_begin(place, place / "warm")]):
        sys.exit("the program itself fails")
    os.sched_setaffinity(0, mine)


def fork(command: list[str], error: int = 2) -> int:
    """Start a run; return its process. What it says goes to ``error``."""
    from sims.develop import main as develop

    child = os.fork()
    if not child:
        os.dup2(error, 2)
        os._exit(develop(command))
    return child


def _ended(child: int) -> bool:
    """Whether a run has come to its end; :func:`_wait` can still be asked how."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def wait(child: int) -> int:
    """The exit code of a run."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _follow(child: int, watch: Watch) -> dict[str, float]:
    """Wait for a run that is left alone: the mean duration of each phase, in seconds."""
    total: Counter[str] = Counter()
    while not _ended(child):
        total[watch.read()[0]] += 1
        time.sleep(0.001)
    if wait(child):
        sys.exit("the run that is never killed fails")
    times = watch.read()[1]
    return {name: 0.001 * total[name] / max(times[name], 1) for name in NAMES}


def _kill(child: int, watch: Watch, lot: random.Random, whole: _Whole) -> str | None:
    """Kill a run at a random instant; return its phase then, or None if it came to its end before."""
    phase = lot.choices(list(AIMS), list(AIMS.values()))[0]
    wanted = lot.randint(1, max(1, min(whole.counts[phase] // 3, 6)))
    soon = lot.random() * lot.random() / 2  # what is left of a run is mostly less than the whole
    deadline = time.monotonic() + soon * whole.seconds
    while not _ended(child):
        if time.monotonic() >= deadline if not phase else watch.read()[1][phase] >= wanted:
            if phase:
                time.sleep(lot.uniform(0, whole.durations[phase]))
            at = watch.read()[0]
            if _ended(child):
                return None
            os.kill(child, signal.SIGKILL)
            wait(child)
            return at
        time.sleep(0.0002)
    return None


def say(line: str) -> None:
    """Print a line now."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

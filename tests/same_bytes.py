"""Whether a development gives the same bytes on one core and on two, every time, compiled anew or cached.

    python -m tests.same_bytes [--repeats 3]

Each run is a process of its own, bound to its cores; where it is compiled anew it has an empty cache. All files of
all runs must be the same. Linux (taskset), two cores; a few minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["digest", "main"]

#: Default sizes, so that threads share the work; few updates.
CONFIGURATION = "[training]\nperception = 40\nmotor = 40\ninteraction = 60\n[data]\ntest_trials = 64\n"


def digest(run: Path) -> str:
    """SHA-256 over every file of a run, with its name."""
    sha = hashlib.sha256()
    for path in sorted(p for p in run.rglob("*") if p.is_file()):
        sha.update(f"{path.relative_to(run)}:{hashlib.sha256(path.read_bytes()).hexdigest()}".encode())
    return sha.hexdigest()


def say(text: str) -> None:
    """A line, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; 0 if all runs gave the same."""
    parser = argparse.ArgumentParser(prog="python -m tests.same_bytes", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="of each kind of run (default: 3)")
    options = parser.parse_args(argv)
    cores = sorted(os.sched_getaffinity(0))
    found = set()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "few.toml").write_text(CONFIGURATION)
        for compiled in ("cached", "anew"):
            for threads in (1, 2):
                for repeat in range(options.repeats):
                    home = place / f"{compiled}{threads}{repeat}"
                    run = home / "run"  # whose name is on its page
                    cache = {"NUMBA_CACHE_DIR": str(home / "cache")} if compiled == "anew" else {}
                    command = [sys.executable, "-m", "sims.develop", "--quiet", "--out", str(run)]
                    bound = ["taskset", "-c", ",".join(map(str, cores[:threads]))]
                    config = ["--config", str(place / "few.toml")]
                    subprocess.run([*bound, *command, *config], check=True, env=os.environ | cache)
                    found.add(digest(run))
                    say(f"compiled {compiled}, {threads} thread(s), run {repeat + 1}: {digest(run)}")
    say("The same bytes." if len(found) == 1 else f"{len(found)} different results.")
    return int(len(found) != 1)


if __name__ == "__main__":
    sys.exit(main())

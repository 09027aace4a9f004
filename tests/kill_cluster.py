"""Kill what a study on a Dask cluster is made of, and compare its cells with those of ``--jobs 2``.

sudo python -m tests.kill_cluster

The study, the scheduler and two workers are hosts of their own: network namespaces, joined by a bridge in one more.
Nothing is sent to anywhere else. Needs Linux, root, ``ip``, and the extra ``dask``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.kill_runs import contents, say

__all__ = ["main"]

STUDY: Final = ("sims.study", "pruning", "--quick", "--quiet", "--conditions", "random structured,magnitude structured")
FAULTS: Final = ("nothing", "worker", "nanny", "link", "study", "scheduler")
_BRIDGE, _HOSTS = "ckbridge", ("ckstudy", "ckscheduler", "ckworker1", "ckworker2")
_ADDRESS: Final = "tcp://10.231.77.2:8786"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; 0 if every study ended as it should."""
    parser = argparse.ArgumentParser(prog="python -m tests.kill_cluster", description=__doc__.splitlines()[0])
    parser.add_argument("--faults", default=",".join(FAULTS), metavar="A,B", help=f"of {', '.join(FAULTS)}")
    options = parser.parse_args(argv)
    place = Path(tempfile.mkdtemp(prefix="kill_cluster_"))
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", *STUDY, "--jobs", "2", "--out", str(place / "jobs")], check=True)
    whole = contents(place / "jobs" / "cells")
    say(f"--jobs 2: {len(whole) - 1} cells in {time.monotonic() - began:.0f} s.")
    equal = 0
    faults = options.faults.split(",")
    with _network():
        for fault in faults:
            began = time.monotonic()
            out = place / fault
            with ExitStack() as running:
                ended = _broken(fault, out, place, running)
            found = contents(out / "cells")
            equal += found == whole and not ended
            as_it_should = "byte-equal" if found == whole else f"not equal: {sorted(found.items() ^ whole.items())}"
            say(f"{fault}: exit code {ended}, {as_it_should}, {time.monotonic() - began:.0f} s.")
    say(f"{equal} of {len(faults)} as they should be.")
    if equal == len(faults):
        shutil.rmtree(place)
    return int(equal != len(faults))


def _broken(fault: str, out: Path, place: Path, running: ExitStack) -> int:
    """Begin a study, break something at its first finished cell, let it end; its exit code, of the second try if the
    first could not end."""

    def start(host: str, *words: str) -> subprocess.Popen[bytes]:
        command = ["ip", "netns", "exec", host, sys.executable, "-m", *words]
        with open(place / f"{fault}.log", "ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        running.callback(_end, process)
        return process

    def cluster() -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]:
        scheduler = start("ckscheduler", "dask", "scheduler", "--port", "8786", "--no-dashboard")
        nannies = [
            start(host, "dask", "worker", _ADDRESS, "--nworkers", "1", "--nthreads", "1", "--no-dashboard",
                  "--local-directory", str(place / host))
            for host in _HOSTS[2:]
        ]  # fmt: skip
        return scheduler, nannies[0]

    def study() -> subprocess.Popen[bytes]:
        return start("ckstudy", *STUDY, "--out", str(out), "--scheduler", _ADDRESS)

    scheduler, nanny = cluster()
    first = study()
    while not list((out / "cells").glob("*.nc")) and first.poll() is None:
        time.sleep(0.05)
    acts: dict[str, Callable[[], object]] = {
        "nothing": lambda: None, "worker": lambda: os.kill(_worker_of(nanny.pid), signal.SIGKILL),
        "nanny": nanny.kill, "study": first.kill, "scheduler": scheduler.kill,
        "link": lambda: _ip("-n", "ckworker1", "link", "set", "eth0", "down"),
    }  # fmt: skip
    acts[fault]()
    code = first.wait()
    if fault == "link":
        _ip("-n", "ckworker1", "link", "set", "eth0", "up")
    if fault in ("study", "scheduler"):
        say(f"{fault}: {len(list((out / 'cells').glob('*.nc')))} cells were there; exit code {code}.")
        if fault == "scheduler":
            cluster()
        code = study().wait()
    return code


def _worker_of(nanny: int) -> int:
    """The process that a nanny looks after."""
    children = [c for tasks in Path(f"/proc/{nanny}/task").glob("*/children") for c in tasks.read_text().split()]
    return next(int(c) for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes())


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def _network() -> Iterator[None]:
    """The hosts, each with its address, joined by a bridge."""
    try:
        _ip("netns", "add", _BRIDGE)
        _ip("-n", _BRIDGE, "link", "add", "name", "bridge0", "type", "bridge")
        _ip("-n", _BRIDGE, "link", "set", "bridge0", "up")
        for k, host in enumerate(_HOSTS):
            _ip("netns", "add", host)
            _ip("-n", host, "link", "set", "lo", "up")
            _ip("-n", host, "link", "add", "eth0", "type", "veth", "peer", "name", f"p{k}", "netns", _BRIDGE)
            _ip("-n", _BRIDGE, "link", "set", f"p{k}", "master", "bridge0", "up")
            _ip("-n", host, "addr", "add", f"10.231.77.{k + 1}/24", "dev", "eth0")
            _ip("-n", host, "link", "set", "eth0", "up")
        yield
    finally:
        for name in (*_HOSTS, _BRIDGE):
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


if __name__ == "__main__":
    sys.exit(main())

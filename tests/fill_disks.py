"""Let disks run full under developments, at random points, and see what is left (as root: it mounts small tmpfs).

python -m tests.fill_disks --faults 50

Each run has a disk of a size drawn by lot, too small for it. It must end with exit code 2 and one line that says why;
every snapshot that is there must be whole; nothing may be half-written. Then the disk is made larger, and every fifth
run goes on, to the bytes of the run that had room. Last, a folder that became read-only.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.kill_runs import CONFIGURATION, contents, fork, say, wait, warm_up

__all__ = ["main"]

_REGIONS = ["--regions", "perception,motor"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; 0 if every fault was met as it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.fill_disks", description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=50, metavar="N", help="default: 50")
    parser.add_argument("--seed", type=int, default=0, help="of the sizes (default: 0)")
    options = parser.parse_args(argv)
    if os.geteuid():
        say("Not root: nothing can be mounted, nothing was tested.")
        return 0
    lot = random.Random(options.seed)
    place = Path(tempfile.mkdtemp(prefix="fill_disks_"))
    (place / "small.toml").write_text(CONFIGURATION)
    begin = ["--config", str(place / "small.toml"), *_REGIONS, "--quiet", "--checkpoint-every", "0", "--out"]
    warm_up(place)
    roomy, disk = place / "roomy", place / "disk"
    roomy.mkdir()
    disk.mkdir()
    if _life([*begin, str(roomy / "run")], place)[0]:  # of the same name: it is on the page
        sys.exit("the run that has room fails")
    whole = contents(roomy / "run")
    room = sum((roomy / "run" / name).stat().st_size for name in whole)
    full: Counter[str] = Counter()
    bad = faults = 0
    while faults < options.faults:
        _mount(f"size={lot.randrange(4096, room)}", disk)
        try:
            code, error = _life([*begin, str(disk / "run")], place)
            if code == 0:
                continue  # it had room
            faults += 1
            found = _wrong(disk / "run", code, error, whole)
            full[error.split(" must ")[0].rpartition("/")[2]] += 1
            if not found and faults % 5 == 0:
                _mount(f"remount,size={64 << 20}", disk)
                again = (
                    ["--resume", str(disk / "run"), "--quiet"] if "--resume" in error else [*begin, str(disk / "run")]
                )
                code, error = _life(again, place)
                if code or contents(disk / "run") != whole:
                    found = f"goes on to {code}, {error}, or other bytes"
            if found:
                bad += 1
                say(found)
        finally:
            subprocess.run(["umount", str(disk)], check=True)
    bad += _read_only(begin, disk, place)
    say(f"Full while writing: {', '.join(f'{name} {n}' for name, n in sorted(full.items()))}.")
    say(f"{faults} disks ran full, one became read-only: {bad} of {faults + 1} not met as they should be.")
    return int(bad > 0)


def _mount(how: str, disk: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", how, "tmpfs", str(disk)], check=True)


def _life(command: list[str], place: Path) -> tuple[int, str]:
    """Exit code and what was said."""
    with (place / "error").open("w+") as error:
        code = wait(fork(command, error.fileno()))
        return code, (place / "error").read_text()


def _wrong(run: Path, code: int, error: str, whole: dict[str, str]) -> str:
    """What is not as it should be after a fault."""
    if code != 2 or error.count("\n") != 1 or "No space left on device" not in error:
        return f"exit code {code}: {error}"
    left = contents(run) if run.is_dir() else {}
    for name, digest in left.items():
        if name.endswith(".tmp"):
            return f"{name} is left behind"
        if name.endswith((".h5", ".toml", ".png")) and "/" not in name and digest != whole[name]:
            return f"{name} is not whole"
    return ""


def _read_only(begin: list[str], disk: Path, place: Path) -> int:
    """The number of runs, begun and gone on with, that did not say that their folder cannot be written."""
    _mount("size=64m", disk)
    try:
        (disk / "run").mkdir()
        _mount("remount,ro", disk)
        code, error = _life([*begin, str(disk / "run")], place)
        is_clear = code == 2 and error.count("\n") == 1 and "Read-only file system" in error
        if not is_clear:
            say(f"read-only: exit code {code}: {error}")
        return int(not is_clear)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


if __name__ == "__main__":
    sys.exit(main())

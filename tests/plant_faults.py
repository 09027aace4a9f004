"""Make every file call of small runs fail, cut their power, take their memory, set their clock back.

python -m tests.plant_faults
python -m tests.plant_faults --kinds power --cuts 200

A run of sims.develop, one that goes on, and what sims.verify, sims.report and sims.export do with a finished one: each
of their calls for files fails once (EIO, ENOSPC, EACCES). A program must then end with all of its bytes as ever, or
with exit code 2 and one line that says what failed; nothing finished may be damaged; and when it is started again, it
must come to the same bytes. So must a run that goes on with what a power loss may leave (``power_loss.py``), one that
was refused a large piece of memory, and one whose clock runs backwards.

The programs run in forked processes, into which ``faults.c`` is preloaded: Linux with glibc and gcc.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.disturbed import CHECKPOINT, QUICK, RUNS, Bench, Case, Due, Files, cases_of
from tests.kill_runs import contents, say, wait
from tests.power_loss import Call, Disk, read_log

__all__ = ["main"]

KINDS: Final = ("files", "power", "memory", "clock")
WAYS: Final = ("EIO", "ENOSPC", "EACCES")
_LOADED: Final = "CONNECTOME_FAULTS"


def _fail_files(bench: Bench, case: Case, options: argparse.Namespace) -> int:
    """The number of faults that did harm."""
    bench.lay(case.before)
    calls = bench.live(case.command).calls
    numbers, ways = _some(calls, options.most), [getattr(errno, way) for way in options.ways.split(",")]
    (heard, tell), (told, answer) = os.pipe(), os.pipe()
    bench.lay(case.before)
    if not (first := os.fork()):
        files = Files(bench.life, ways, numbers, tell, told)
        os._exit(bench.do(case.command, bench.life, Due(files.ask)))
    os.close(tell)
    ends, harm = Counter[int](), 0
    with open(heard) as outcomes:
        for outcome in outcomes:
            number, way, what, code, text = json.loads(outcome)
            ends[code] += 1
            # A look for whether a file is there has no reason to give.
            about = f"{os.strerror(way)}|{bench.life}" if what.startswith(("stat", "access")) else os.strerror(way)
            if found := bench.wrong(case, code, text, about):
                harm += 1
                say(f"{case.name}, call {number}, {errno.errorcode[way]}, {what}: {found}")
            os.write(answer, b".")
    if code := wait(first):
        sys.exit(f"{case.name}: the process between the faults ended with {code}, after {ends.total()} faults")
    if contents(bench.life) != case.whole or ends.total() != len(numbers) * len(ways):
        sys.exit(f"{case.name}: the process between the faults was not as the one without, in {ends.total()} faults")
    say(f"{case.name}: {calls} calls for files, {ends.total()} faults: {ends[0]} made no difference, "
        f"{ends.total() - ends[0]} ended it with a line, {harm} did harm.")  # fmt: skip
    return harm


def _fail_memory(bench: Bench, case: Case, options: argparse.Namespace) -> int:
    bench.lay(case.before)
    pieces = bench.live(case.command, large=options.large).allocations
    ends, harm = Counter[int](), 0
    for number in _some(pieces, options.most):
        bench.lay(case.before)
        life = bench.live(case.command, large=options.large, fail_allocation=number)
        ends[life.code] += 1
        if found := bench.wrong(case, life.code, life.said, "memory"):
            harm += 1
            say(f"{case.name}, piece of memory {number}: {found}")
    say(f"{case.name}: {pieces} pieces of memory of {options.large:,} bytes or more, {ends.total()} refused: {ends[0]} "
        f"made no difference, {ends.total() - ends[0]} ended it with a line, {harm} did harm.")  # fmt: skip
    return harm


def _cut_power(bench: Bench, case: Case, options: argparse.Namespace) -> int:
    lot = random.Random(options.seed)
    calls = list(read_log(bench.logged(case)))
    cuts = sorted(lot.sample(range(1, len(calls) + 1), min(options.cuts, len(calls))))
    promised = _promised(calls)
    bad, tried, before = 0, 0, bench.seen
    disk, done = Disk(bench.life, case.before), 0
    for cut in cuts:
        for call in calls[done:cut]:
            disk.do(call)
        done = cut
        for _ in range(options.draws):
            shutil.rmtree(bench.life, ignore_errors=True)
            disk.write(bench.life, lot)
            tried += 1
            if found := _lost(case, contents(bench.life), promised[cut - 1]) or bench.goes_on(case):
                bad += 1
                say(f"{case.name}, power lost after {cut} of {len(calls)} changes: {found}")
    say(f"{case.name}: {len(calls)} changes, power lost at {len(cuts)} points, {tried} disks "
        f"({bench.seen - before} not seen before): {bad} did not go on to the same bytes.")  # fmt: skip
    return bad


def _lost(case: Case, found: dict[str, str], promised: int) -> str:
    """What should be there after a power loss, or should not."""
    for name, digest in found.items():
        if not name.endswith(".tmp") and digest not in case.ever.get(name, ()):
            return f"{name} is neither the old nor the new one"
    kept = max([-1, *(int(Path(name).stem) for name in found if CHECKPOINT.fullmatch(name))])
    return f"checkpoint {promised} is gone" if kept < promised else ""


def _promised(calls: Sequence[Call]) -> list[int]:
    """After each call, the checkpoint that must be there, or a later one; -1 for none."""
    promised, written, last, ends = [], -1, -1, False
    for call in calls:
        if call.name == "rename" and (named := re.search(rb"/checkpoints/(\d+)\.h5$", call.data)):
            written = int(named[1])
        elif call.name == "fsync":  # the first one after that is of its folder
            last, written = max(last, written), -1
        ends |= call.name == "rename" and call.data.endswith(b"/manifest.json")
        promised.append(-1 if ends else last)
    return promised


def _set_back(bench: Bench, case: Case, options: argparse.Namespace) -> int:
    bench.lay(case.before)
    life = bench.live(case.command, back_ns=10**9)
    is_bad = bool(life.code) or contents(bench.life) != case.whole
    say(f"{case.name}, the clock a second back whenever it is read: {life.said if is_bad else 'the same bytes'}.")
    return int(is_bad)


def _some(count: int, most: int) -> list[int]:
    """Of 1 .. count: all, or so many, spread evenly."""
    return sorted({1 + i * count // most for i in range(most)}) if 0 < most < count else list(range(1, count + 1))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; 0 if nothing did harm."""
    parser = argparse.ArgumentParser(prog="python -m tests.plant_faults", description=__doc__.splitlines()[0])
    cases = (*QUICK, *RUNS)
    parser.add_argument("--kinds", default=",".join(KINDS), metavar="A,B", help=f"of {', '.join(KINDS)} (default: all)")
    parser.add_argument("--cases", default=",".join(cases), metavar="A,B", help=f"of {', '.join(cases)} (default: all)")
    parser.add_argument("--ways", default=",".join(WAYS), metavar="A,B", help=f"default: {','.join(WAYS)}")
    parser.add_argument("--most", type=int, default=0, metavar="N", help="faults of a kind and case (default: all)")
    parser.add_argument("--large", type=int, default=1 << 20, metavar="BYTES", help="of memory (default: 1 MiB)")
    parser.add_argument("--cuts", type=int, default=100, metavar="N", help="of power, in each case (default: 100)")
    parser.add_argument("--draws", type=int, default=5, metavar="N", help="disks of a cut (default: 5)")
    parser.add_argument("--seed", type=int, default=0, help="of the cuts (default: 0)")
    options = parser.parse_args(argv)
    if _LOADED not in os.environ:
        return _preloaded(sys.argv[1:] if argv is None else list(argv))
    bad = 0
    with tempfile.TemporaryDirectory(prefix="plant_faults_") as folder:
        bench = Bench(Path(folder))
        names = options.cases.split(",")
        bench.warm_up(names)
        for case in cases_of(bench, names):
            for kind, cases, attack in (
                ("files", names, _fail_files), ("power", ("save", "develop", "resume"), _cut_power),
                ("memory", names, _fail_memory), ("clock", names, _set_back),
            ):  # fmt: skip
                if case.name in cases and kind in options.kinds.split(","):
                    bad += attack(bench, case, options)
        say(f"{bench.seen} different folders gone on with.")
    return int(bad > 0)


def _preloaded(argv: list[str]) -> int:
    """The same in a process with ``faults.c``."""
    with tempfile.TemporaryDirectory(prefix="faults_") as folder:
        library = Path(folder) / "faults.so"
        source = Path(__file__).with_name("faults.c")
        subprocess.run(["gcc", "-O1", "-fPIC", "-shared", "-o", library, source, "-ldl"], check=True)
        command = [sys.executable, "-m", "tests.plant_faults", *argv]
        environment = {**os.environ, "LD_PRELOAD": str(library), _LOADED: "1"}
        return subprocess.run(command, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())

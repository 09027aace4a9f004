"""The digest of a short development, stored for the pinned versions and a kind of processor.

    python -m tests.golden

writes ``golden.json`` anew: after a change that is meant to change results, which the commit has to give the reason
for, and after other versions have been pinned.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

__all__ = ["FILE", "digests", "here", "main"]

FILE: Final = Path(__file__).with_suffix(".json")


def here() -> dict[str, Any]:
    """What the last bits of results depend on: versions, processor, the C library with its functions."""
    from llvmlite.binding import get_host_cpu_name

    from connectome.development.stages import versions

    processor = os.environ.get("NUMBA_CPU_NAME") or get_host_cpu_name()  # instruction_sets.py says another
    kind = f"{platform.machine()} {processor}, {' '.join(platform.libc_ver())}"
    return {"versions": versions(), "processor": kind}


def digests() -> dict[str, str]:
    """Of each stage: SHA-256 over its connectome with all that its edges keep, its scores, its links and its losses."""
    from connectome.datasets.images import load_digits
    from connectome.datasets.tasks import known_tasks
    from connectome.development.configuration import Configuration, plan_stages
    from connectome.development.stage import Progress
    from connectome.development.stages import develop

    c = Configuration()
    c = replace(
        c, anatomy=replace(c.anatomy, neurons=64),
        training=replace(c.training, perception=6, motor=6, interaction=6, epoch_updates=2),
    )  # fmt: skip
    images, names = load_digits(), ["perception", "motor", "interaction"]
    tasks = {name: known_tasks()[name](images, c.data.jitter_pixels) for name in names}
    shown: list[Progress] = []
    found = {}
    stages = plan_stages(names, tasks, c)
    for stage, outcome in zip(
        stages, develop(stages, c.anatomy, seed=5, on_progress=shown.append, test_trials=40), strict=True
    ):
        scores = [dict(part) for part in (outcome.scores, outcome.scores_all_recruited)]
        said = repr((outcome.connectome.digest(), scores, outcome.links, [p.loss for p in shown]))
        found[stage.task.name] = hashlib.sha256(said.encode()).hexdigest()
    return found


def main() -> int:
    """Write the file."""
    FILE.write_text(json.dumps(here() | {"digests": digests()}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Data-parallel training: processes that share each batch learn what one alone does, and go on after one is lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from connectome import ConnectomeError
from connectome.development.birth import birth
from connectome.development.stages import develop
from connectome.learning.learner import Learner
from connectome.learning.optimisers import Adam
from connectome.learning.ranks import Ranks
from connectome.mechanisms.hlop import Hlop
from tests.kill_runs import CONFIGURATION, contents
from tests.test_development import ANATOMY, stages

ROOT = Path(__file__).parents[1]
#: Each default task's gradients and counts of one update, by those who share the batch and by one alone.
STEP = """
import sys
import numpy as np
from connectome import Anatomy
from connectome.datasets.images import load_digits
from connectome.datasets.tasks import Motor, Perception
from connectome.development.birth import birth
from connectome.learning.learner import Learner
from connectome.learning.ranks import ALONE, joined

with joined() as ranks:
    found = {}
    for task in (Perception(load_digits()), Motor()):
        for name, who in {"shared": ranks, "alone": ALONE}.items():
            rng = np.random.default_rng(1)
            learner = Learner(birth(None, task, Anatomy(neurons=64), 1, (), rng), task, ranks=who)

            def watch(activity):
                found[f"{name} {task.name} counts"] = np.concatenate(list(activity.counts.values()))
                for key, weight in learner.network.weight.items():
                    found[f"{name} {task.name} {key}"] = weight.grad.numpy().copy()

            loss = learner.step(*task.batch(rng, 33), lambda key: 1.0, watch=watch)
            found[f"{name} {task.name} loss"] = loss
            found[f"{name} {task.name} weight"] = np.concatenate([w.detach() for w in learner.network.weight.values()])
    np.savez(f"{sys.argv[1]}/{ranks.rank}.npz", **found)
"""


def torchrun(*words: str, processes: int = 2, **options: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*command, *words], env=environment, stderr=subprocess.DEVNULL, **options)


def test_two_ranks_have_the_gradients_of_one(tmp_path: Path) -> None:
    (tmp_path / "step.py").write_text(STEP)
    assert torchrun(str(tmp_path / "step.py"), str(tmp_path)).wait() == 0
    ranks = [dict(np.load(tmp_path / f"{rank}.npz")) for rank in range(2)]
    names = [name.removeprefix("shared ") for name in ranks[0] if name.startswith("shared")]
    assert len(names) > 8
    for name in names:
        mine, other, alone = ranks[0][f"shared {name}"], ranks[1][f"shared {name}"], ranks[0][f"alone {name}"]
        assert mine.tobytes() == other.tobytes(), "ranks are alike, to the bit"
        if name.endswith("counts"):
            assert (mine == alone).all()
        elif not name.endswith("weight"):
            assert np.abs(mine - alone).max() <= 1e-6 * np.abs(alone).max()


def test_the_script_of_the_page(tmp_path: Path) -> None:
    """DistributedDataParallel: two processes learn alike, and what one alone does."""
    page = (ROOT / "connectome" / "learning" / "README.md").read_text("utf-8")
    script = next(block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "# train.py" in block)
    script += "\nweights = np.concatenate([p.detach().numpy() for p in network.parameters()])"
    script += f"\nnp.savez(f'{tmp_path}/{{ranks}}_{{rank}}.npz', weights=weights, counts=counts)"
    (tmp_path / "train.py").write_text(script)
    for n in (1, 2):
        assert torchrun(str(tmp_path / "train.py"), processes=n).wait() == 0
    alone, first, second = (dict(np.load(tmp_path / f"{name}.npz")) for name in ("1_0", "2_0", "2_1"))
    assert all((first[name] == second[name]).all() for name in first)
    assert np.abs(first["weights"] - alone["weights"]).max() < 1e-3 * np.abs(alone["weights"]).max()


def test_a_batch_in_parts() -> None:
    batch = {"eye": torch.arange(15).reshape(5, 3)}, (torch.arange(5), torch.tensor(2.0), "name")
    (spikes, (number, scale, name)), weights = Ranks(1, 2).part(batch, 5), [Ranks(k, 2).weight(5) for k in range(2)]
    assert spikes["eye"].tolist() == [[3, 4, 5], [9, 10, 11]]
    assert (number.tolist(), float(scale), name) == ([1, 3], 2.0, "name")
    assert weights == [0.6, 0.4]
    with pytest.raises(ConnectomeError, match=r"training\.batch must be 6 or more, a sample for each rank; found 5"):
        Ranks(0, 6).part(batch, 5)


def test_what_ranks_cannot_share_is_refused() -> None:
    """Rules that hear spikes would hear those of a part; losses that remember would remember a part."""
    two, stage = Ranks(0, 2), stages(updates=5)[0]
    with pytest.raises(ConnectomeError, match=r"learning\.chain must not hear spikes when ranks share a batch"):
        Learner(
            birth(None, stage.task, ANATOMY, 1, (), np.random.default_rng(0)), stage.task, (Adam(), Hlop()), ranks=two
        )
    losing = replace(stage, extra_loss=lambda context: torch.zeros(()))
    with pytest.raises(ConnectomeError, match=r"training\.method must add no loss when ranks share a batch"):
        next(develop([losing], ANATOMY, ranks=two))


def developed(tmp_path: Path, out: str, *words: str) -> subprocess.Popen[bytes]:
    (tmp_path / "small.toml").write_text(CONFIGURATION)
    given = words or ("--config", str(tmp_path / "small.toml"), "--regions", "perception,motor", "--out", out)
    return torchrun("-m", "sims.develop", *given, "--no-report", "--quiet", "--checkpoint-every", "0", cwd=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_rank_ends_the_job_and_it_goes_on_to_the_same_bytes(tmp_path: Path, killed: int) -> None:
    assert developed(tmp_path, "whole").wait() == 0
    job, run = developed(tmp_path, "run"), tmp_path / "run"
    while not (run / "checkpoints" / "00000008.h5").exists():
        time.sleep(0.01)
    ranks = [int(c) for path in Path(f"/proc/{job.pid}/task").glob("*/children") for c in path.read_text().split()]
    os.kill(next(pid for pid in ranks if f"\0RANK={killed}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes()),
            signal.SIGKILL)  # fmt: skip
    assert job.wait() != 0
    assert not (run / "manifest.json").exists()
    alone = [sys.executable, "-m", "sims.develop", "--resume", str(run)]
    assert subprocess.run(alone, cwd=ROOT, stderr=subprocess.DEVNULL, check=False).returncode == 2, "of two ranks"
    assert developed(tmp_path, "run", "--resume", "run").wait() == 0
    assert contents(run) == contents(tmp_path / "whole")
    assert developed(tmp_path, "run", "--resume", "run").wait() == 0, "nothing to go on with"

"""A development followed elsewhere: what arrives there, and at which step."""

from __future__ import annotations

import math
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from connectome import ConnectomeError
from connectome.development import trackers
from connectome.development.stage import Progress
from sims import develop

STAGES: Any = [SimpleNamespace(updates=40), SimpleNamespace(updates=60)]
SAID = (
    Progress(1, "see", 20, 40, 0.5, math.nan, math.nan, 100, 0, 130),
    Progress(2, "reach", 60, 60, 0.25, 0.75, 2000.0, 80, 10, 120),
)


class Wandb(ModuleType):
    """A stand-in, which keeps what it is told."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.told: list[Any] = []

    def init(self, **given: Any) -> Any:
        self.told.append(given)
        return SimpleNamespace(
            log=lambda values, step: self.told.append((step, values)), finish=lambda: self.told.append("finished")
        )


def test_what_is_not_known_yet_is_left_out() -> None:
    assert trackers.scalars(SAID[0]) == {"loss/see": 0.5, "edges/local": 100, "edges/long-range": 0, "edges/all": 130}
    assert trackers.scalars(SAID[1])["validation score/reach"] == 0.75


def test_event_files_hold_every_number_at_its_update(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with trackers.tensorboard(tmp_path, STAGES) as follow:
        for progress in SAID:
            follow(progress)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(tmp_path))
    read.Reload()
    assert {name: [(e.step, e.value) for e in read.Scalars(name)] for name in read.Tags()["scalars"]} == {
        "loss/see": [(20, 0.5)], "loss/reach": [(100, 0.25)], "validation score/reach": [(100, 0.75)],
        "synaptic operations/reach": [(100, 2000.0)], "edges/local": [(20, 100.0), (100, 80.0)],
        "edges/long-range": [(20, 0.0), (100, 10.0)], "edges/all": [(20, 130.0), (100, 120.0)],
    }  # fmt: skip


def test_weights_and_biases_hear_the_same_and_are_told_when_it_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    heard = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", heard)
    with suppress(ZeroDivisionError), trackers.wandb(STAGES, mode="offline") as follow:
        follow(SAID[1])
        raise ZeroDivisionError
    assert heard.told == [{"mode": "offline"}, (100, trackers.scalars(SAID[1])), "finished"]
    heard.told.clear()
    tiny = ["anatomy.neurons=12", "training.perception=2", "training.epoch_updates=1", "data.test_trials=2"]
    given = [word for change in tiny for word in ("--set", change)]
    command = ["--regions", "perception", "--out", str(tmp_path / "run"), "--no-report", "--quiet", "--track", "wandb"]
    assert develop.main([*command, *given]) == 0
    (about, *steps, end) = heard.told
    assert (about["name"], about["config"]["training"]["perception"], end) == ("run", 2, "finished")
    assert [step for step, _ in steps] == [1, 2]


def test_without_the_package_it_says_which_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConnectomeError, match=r"connectome-engine\[wandb\]"):
        trackers.wandb(STAGES).__enter__()

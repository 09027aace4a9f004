"""Runs, gradients and developments on another device than the CPU, where there may be none: every tensor is made where
it belongs, and what comes out has the CPU's bits. On a GPU: test_gpu.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from connectome import ConnectomeError
from connectome.development.stages import develop
from connectome.graph.flat import FlatNetwork
from connectome.learning.network import SpikingNetwork
from connectome.simulate import torch_engine, torch_runs
from connectome.simulate.runs import Poisson, Stimulus, run
from tests.pretended import pretended
from tests.test_contract import ALL, stages_with
from tests.test_development import ANATOMY
from tests.test_gpu import network


def test_what_is_made_on_the_wrong_device_is_found() -> None:
    with pretended() as device, pytest.raises(RuntimeError, match=r"on one device, found \(3,\) on the CPU"):
        torch.ones(3, device=device) + torch.ones(3)


@pytest.fixture(autouse=True)
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The devices on which the engine ran."""
    devices: list[str] = []

    def noted(flat: FlatNetwork, weight: torch.Tensor, *args: Any, **options: Any) -> torch_engine.Propagation:
        devices.append(weight.device.type)
        return propagate(flat, weight, *args, **options)

    propagate = torch_engine.propagate
    for module in (torch_engine, torch_runs):
        monkeypatch.setattr(module, "propagate", noted)
    return devices


def test_a_run(seen: list[str]) -> None:
    stimulus = Stimulus(poisson={"eye": Poisson(300.0)}, current_pa={"cells": 300.0})
    wanted = run(network(), 50.0, stimulus, dtype="float64", engine="torch", record_v={"cells": "all"})
    with pretended() as device:
        found = run(
            network(), 50.0, stimulus, dtype="float64", engine="torch", record_v={"cells": "all"}, device=str(device)
        )
    assert found.identical(wanted)
    assert wanted.sizes["spike"] > 300
    assert seen == ["cpu", device.type]


def test_gradients() -> None:
    given = (torch.rand(4, 30, 20, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    on_cpu, elsewhere = (SpikingNetwork(network(), engine="torch", dtype=torch.float64) for _ in range(2))
    on_cpu({"eye": given}).potential["hand"].square().sum().backward()
    with pretended() as device:
        elsewhere.to(device)({"eye": given}).potential["hand"].square().sum().backward()
        for a, b in zip(on_cpu.parameters(), elsewhere.parameters(), strict=True):
            assert a.grad is not None and b.grad is not None  # noqa: PT018
            assert b.device == device
            np.testing.assert_array_equal(a.grad.numpy(), b.grad.cpu().numpy())


QUICK = ("learning ewc", "learning hlop", "views low_rank", "a mode")


@pytest.mark.parametrize(
    ("group", "thing"), [pytest.param(*p.values, id=p.id, marks=[pytest.mark.slow] * (p.id not in QUICK)) for p in ALL]
)
def test_a_development(group: str, thing: Any, seen: list[str]) -> None:
    small: dict[str, Any] = {"updates": 4, "epoch_updates": 2, "validation_trials": 2, "batch": 4}
    plan = [replace(stage, **small) for stage in stages_with(group, thing)]
    wanted = [o.connectome.digest() for o in develop(plan, ANATOMY, seed=4, test_trials=2, engine="torch")]
    with pretended() as device:
        found = list(develop(plan, ANATOMY, seed=4, test_trials=2, engine="torch", device=str(device)))
    assert [o.connectome.digest() for o in found] == wanted
    assert seen.count(device.type) > 8  # updates of two stages


def test_a_device_that_is_not_there_is_one_line() -> None:
    for name in ("cuda:99", "meta", "abacus"):
        with pytest.raises(ConnectomeError, match=r"^device must be one that torch has here.*" + name) as error:
            run(network(), 1.0, engine="torch", device=name)
        assert "\n" not in str(error.value)
    with pytest.raises(ConnectomeError, match="device must be left out for the engine 'numba'"):
        run(network(), 1.0, device="cpu")

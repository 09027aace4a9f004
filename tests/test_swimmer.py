"""The swimmer: a Gymnasium environment, its physics where they can be told, what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mujoco")

from gymnasium.utils.env_checker import check_env

from connectome import ConnectomeError
from connectome.datasets import swimmer
from connectome.datasets.swimmer import Swimmer


def test_it_is_a_gymnasium_environment() -> None:
    check_env(Swimmer(4), skip_render_check=True)


def test_a_still_swimmer_stays_and_one_that_is_bent_by_its_muscles_bends() -> None:
    body = Swimmer(6)
    q, _ = body.reset(seed=1)
    before = body.shape_m
    assert (np.abs(q) <= 1).all()
    np.testing.assert_allclose(np.linalg.norm(np.diff(before, axis=0), axis=1), 0.1, atol=1e-9)
    for _ in range(5):
        after, reward, *_ = body.step(np.zeros(5))
        assert 0 <= reward <= 1
    np.testing.assert_allclose(after, q, atol=0.05)  # nothing pushes it; limits give way a little
    np.testing.assert_allclose(body.shape_m, before, atol=0.01)
    for _ in range(40):
        bent, *_ = body.step(np.ones(5))
    assert bent[0] > 0.5
    assert bent[-1] > 0.5
    # An angle over its limit of 360 / n degrees is that between two links.
    along = np.diff(body.shape_m, axis=0)
    turned = np.degrees(np.diff(np.unwrap(np.arctan2(along[:, 1], along[:, 0]))))
    np.testing.assert_allclose(turned, bent * 360 / 6, atol=1e-6)


def test_it_is_paid_for_speed_of_the_head_ahead() -> None:
    body = Swimmer(3, moves=4)
    body.reset(seed=0)
    body._data.qpos[:] = 0.0
    for speed, reward in ((0.05, 0.5), (0.3, 1.0), (-0.1, 0.0)):
        body._data.qvel[:] = 0.0
        body._data.qvel[1] = -speed  # it heads down the axis
        swimmer._mujoco().mj_forward(body._body, body._data)
        _, found, _, over, info = body.step(np.zeros(2))
        assert 0 < info["speed_m_per_s"] / speed < 1  # water slows it
        assert found == pytest.approx(np.clip(info["speed_m_per_s"] / 0.1, 0, 1))
        assert found == pytest.approx(reward, abs=0.5)
        assert not over
    assert body.step(np.zeros(2))[3]


def test_trials_with_one_seed_are_the_same() -> None:
    ends = []
    for seed in (5, 5, 6):
        body = Swimmer(4)
        q, _ = body.reset(seed=seed)
        for _ in range(10):
            q = body.step(np.tanh(3 * q))[0]
        ends.append(q)
    np.testing.assert_array_equal(ends[0], ends[1])
    assert (ends[0] != ends[2]).all()


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConnectomeError, match="links"):
        Swimmer(1)
    with pytest.raises(ConnectomeError, match="moves"):
        Swimmer(3, moves=0)
    monkeypatch.setitem(__import__("sys").modules, "mujoco", None)
    with pytest.raises(ConnectomeError, match="needs MuJoCo"):
        Swimmer(3)

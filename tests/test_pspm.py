"""Presynaptic pool modification: its closed form, what is counted as missing, and gradients beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from connectome import Connectome, ConnectomeError
from connectome.analysis.activity import train_similarity
from connectome.circuits import pspm as circuit
from connectome.circuits.pspm import LOCAL, Pspm
from connectome.io.snapshot import load, save

#: The whole pool changes.
ALL = Pspm(share=1)


def trains(*spikes: tuple[int, int], steps: int = 40, n: int = 3) -> NDArray[np.bool_]:
    found = np.zeros((steps, n), bool)
    for step, neuron in spikes:
        found[step, neuron] = True
    return found


def change(target: NDArray[np.bool_], own: NDArray[np.bool_], rule: Pspm = ALL, seed: int = 0) -> NDArray[np.float64]:
    """(N, N) of weights, source by target."""
    before = circuit.network(own.shape[1], np.random.default_rng(0))
    after = before.apply(circuit.pool_modification(before, target, own, np.random.default_rng(seed), rule))
    edges = before.edges[LOCAL]
    found = np.zeros((own.shape[1],) * 2)
    found[edges.source, edges.target] = after.edges[LOCAL].weight - edges.weight
    return found


@pytest.mark.parametrize(("missing", "sign"), [(True, 1), (False, -1)])
def test_one_spike_changes_the_weights_of_its_pool_alone(missing: bool, sign: int) -> None:
    pool = trains((10, 0))
    whole = pool | trains((15, 1))
    found = change(whole, pool) if missing else change(pool, whole)
    assert 0 < sign * found[0, 1] < Pspm().eta_pa
    found[0, 1] = 0
    assert not found.any()


def test_who_is_in_the_pool() -> None:
    """Who fired in the ten steps before, and nobody in the same step."""
    for lag in range(13):
        found = change(trains((20 - lag, 0), (20, 1)), trains((20 - lag, 0)))
        assert (found[0, 1] > 0) == (1 <= lag <= 10), lag
    assert not change(trains((20, 1)), trains(), Pspm(share=0)).any()


def test_the_same_spike_within_a_window() -> None:
    for shift in range(-4, 5):
        found = change(trains((15, 0), (20, 1)), trains((15, 0), (20 + shift, 1)))
        assert (abs(found[0, 1]) > 0) == (abs(shift) > 2), shift


def test_a_part_of_the_pool_changes() -> None:
    everyone = [(10, k) for k in range(1, 200)]
    own, target = trains(*everyone, n=200), trains(*everyone, (12, 0), n=200)
    found = change(target, own, Pspm(share=0.3))[1:, 0]
    assert 0.2 < (found > 0).mean() < 0.4
    assert found[found > 0].mean() == pytest.approx(Pspm().eta_pa / 2, rel=0.2)


def test_homeostasis_in_closed_form() -> None:
    before = circuit.network(3, np.random.default_rng(0))
    own, target = trains((3, 0), (9, 0)), trains((9, 0), (9, 1), (15, 1), (20, 1))
    rule = Pspm(eta_pa=0, homeostasis=0.1)
    after = before.apply(circuit.pool_modification(before, target, own, np.random.default_rng(0), rule))
    edges = before.edges[LOCAL]
    lacking = np.array([-1, 3, 0])[edges.target]
    np.testing.assert_allclose(
        after.edges[LOCAL].weight, edges.weight + 0.1 * lacking * np.abs(edges.weight), rtol=1e-6
    )


def test_fits_raise_similarity(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    teacher, student = circuit.network(8, rng), circuit.network(8, rng)
    current = circuit.drive(8, 300, rng)
    save(teacher, tmp_path / "teacher.h5")
    target = circuit.fired(load(tmp_path / "teacher.h5"), current)
    for fitted in (
        circuit.fit(student, current, target, 100, rng, Pspm()),
        circuit.fit_by_gradient(student, current, target, 60),
    ):
        first, best = fitted.passes[0], fitted.passes.max()
        assert best > first + 0.15
        assert circuit.similarity(circuit.fired(fitted.connectome, current), target) == pytest.approx(best, abs=1e-6)


@given(st.integers(1, 5), st.floats(1, 30), st.integers(0, 2**32 - 1))
def test_similarity_of_trains(n: int, tau: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.random((2, 60, n)) < 0.1
    keep = np.exp(-1 / tau)
    lags = np.arange(60)
    filter_ = np.where(lags[:, None] >= lags, keep ** np.maximum(lags[:, None] - lags, 0), 0)
    inner = [(filter_ @ a[:, k]) @ (filter_ @ b[:, k]) for k in range(n)]
    size = [np.linalg.norm(filter_ @ a[:, k]) * np.linalg.norm(filter_ @ b[:, k]) for k in range(n)]
    each = [i / s if s else 0.0 for i, s, f in zip(inner, size, (a | b).any(0), strict=True) if f]
    found = train_similarity(a, b, tau)
    assert (np.isnan(found) and not each) or found == pytest.approx(np.mean(each))
    if a.any():
        assert train_similarity(a, a, tau) == pytest.approx(1)
        assert train_similarity(a, np.zeros_like(a), tau) == 0


def refused(connectome: Connectome) -> list[tuple[str, object]]:
    some = trains(steps=5, n=2)
    rng = np.random.default_rng(0)
    return [
        ("n must be 2 or more", lambda: circuit.network(1, rng)),
        ("target must have shape", lambda: circuit.pool_modification(connectome, some, trains(), rng, Pspm())),
        ("trains must be", lambda: train_similarity(some, trains(), 10)),
        ("tau_steps must be finite", lambda: train_similarity(some, some, 0)),
        ("Pspm.share must be in 0 .. 1", lambda: Pspm(share=1.5)),
    ]


def test_what_does_not_fit() -> None:
    for message, call in refused(circuit.network(3, np.random.default_rng(0))):
        with pytest.raises(ConnectomeError, match=message):
            call()  # type: ignore[operator]

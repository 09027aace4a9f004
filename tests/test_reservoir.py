"""Reservoirs: both ways to the targets, against the equations, in rates and in spikes; and the readouts and series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from connectome import ConnectomeError
from connectome.analysis.readout import memory_capacity, nrmse, predictions
from connectome.circuits import reservoir as circuit
from connectome.datasets.series import mackey_glass, narma10
from connectome.graph.connectome import Connectome
from connectome.graph.parts import EdgeSet
from connectome.io.snapshot import load, save
from sims.studies.circuits import reservoir_wirings as wirings

TRAIN, TEST = slice(100, 900), slice(900, 1400)


def dense(c: Connectome) -> NDArray[np.float64]:
    """(N, N) A_E - A_I, row = target."""
    e = c.edges[circuit.KEY]
    a = np.zeros((e.n_target, e.n_target))
    a[e.target, e.source] = e.weight / circuit.WEIGHT_PA
    return a


def test_a_preset_is_balanced_and_keeps_to_dale() -> None:
    c = circuit.reservoir(100, 20, seed=1)
    e, sign = c.edges[circuit.KEY], c.regions[circuit.REGION].sign
    assert (np.bincount(e.target) == 20).all()
    assert (np.sign(e.weight) == sign[e.source]).all()
    assert (sign > 0).sum() == 80
    assert np.maximum(dense(c), 0).sum(1).mean() == pytest.approx(1, rel=0.1)
    assert np.minimum(dense(c), 0).sum(1).mean() == pytest.approx(-1, rel=0.1)
    pairs = (np.array([0, 1, 1]), np.array([1, 0, 2]))
    wired = circuit.reservoir(3, pairs=pairs).edges[circuit.KEY]
    assert list(zip(wired.source, wired.target, strict=True)) == [(0, 1), (1, 0), (1, 2)]


def test_one_step_reaches_the_targets_of_the_equation() -> None:
    """Equation 8 makes the targets the fixed point of the equation, whatever they are."""
    c = circuit.reservoir(seed=2)
    rho = np.random.default_rng(0).uniform(0.4, 0.55, 200)
    made = circuit.designed(c, rho)
    np.testing.assert_allclose(1 / (1 + np.exp(-10 * dense(made) @ rho)), rho, atol=1e-5)
    moved = circuit.designed(c, rho, mean_input=0.3)
    drive = dense(moved) @ rho + 0.3 * c.regions[circuit.REGION].state["w_in"]
    np.testing.assert_allclose(1 / (1 + np.exp(-10 * drive)), rho, atol=1e-5)
    before, weights = c.edges[circuit.KEY].weight, made.edges[circuit.KEY].weight
    np.testing.assert_array_equal(weights[before > 0], before[before > 0])
    ratio = dense(made) / np.where(dense(c) < 0, dense(c), np.nan)
    assert np.nanmax(np.nanmax(ratio, 1) - np.nanmin(ratio, 1)) < 1e-5


def test_adaptation_is_equation_7() -> None:
    """Against the same with full matrices, in few steps: so large ones make chaos."""
    c, rng = circuit.reservoir(60, 15, seed=3), np.random.default_rng(3)
    u, w_in = rng.uniform(-0.2, 0.2, 6), c.regions[circuit.REGION].state["w_in"]
    a, rho = dense(c), np.where(np.arange(60) % 2, 0.4, 0.8)  # what is to fire more loses its inhibition
    r, bites = rho, 0
    inhibitory = a < 0
    for x in u:
        r = 1 / (1 + np.exp(-10 * (a @ r + w_in * x)))
        a = np.where(inhibitory, np.minimum(0, a - 0.5 * (r - rho)[:, None]), a)
        bites += (a[inhibitory] == 0).sum()
    found = circuit.adapted(c, u, rho, delta=(0.5,))
    np.testing.assert_allclose(dense(found), a, atol=1e-6)
    assert bites > 0


def test_adaptation_brings_mean_rates_to_their_targets() -> None:
    """Within 0.02, as is claimed, of a reservoir whose inhibition can."""
    c, rng = circuit.reservoir(60, 20, seed=5), np.random.default_rng(5)
    made = circuit.adapted(c, 0.2 * rng.uniform(-1, 1, 12_000), 0.5)
    off = [np.abs(circuit.responses(x, 0.2 * rng.uniform(-1, 1, 3000))[500:].mean(0) - 0.5).max() for x in (c, made)]
    assert off[0] > 0.2
    assert off[1] < 0.02


def test_local_inhibition_remembers_more_than_any_scaling() -> None:
    c, rng = circuit.reservoir(seed=4), np.random.default_rng(4)
    u = 0.2 * rng.uniform(-1, 1, 1400)
    local, *others = (
        memory_capacity(circuit.responses(made, u), u, TRAIN, TEST, 50).sum()
        for made in (circuit.designed(c, 0.5), *(circuit.scaled(c, b) for b in (0.9, 1.1, 1.3, 1.6)))
    )
    assert local > 1.3 * max(others)
    found = circuit.adapted(c, 0.2 * rng.uniform(-1, 1, 8_000), 0.5)
    states = circuit.responses(found, u)
    assert np.abs(states[100:].mean(0) - 0.5).max() < 0.1
    assert memory_capacity(states, u, TRAIN, TEST, 50).sum() == pytest.approx(local, rel=0.1)


def test_spikes_carry_it(tmp_path: Path) -> None:
    """The targets are reached in spikes, in one step and step by step, also by what was saved and loaded."""
    c = circuit.reservoir(100, 30, seed=5)
    path = tmp_path / "reservoir.h5"
    save(c, path)
    kept, u = load(path), np.random.default_rng(5).uniform(-0.2, 0.2, 100)
    off = {}
    for name, made in (
        ("before", kept), ("one-step", circuit.designed(kept, 0.36, form="spikes")),
        ("adapted", circuit.adapted(kept, np.tile(u, 3), 0.36, form="spikes", delta=(0.02, 0.005))),
    ):  # fmt: skip
        found = circuit.responses(made, u, "spikes")
        assert found.shape == (100, 100)
        off[name] = np.sqrt(((found[20:].mean(0) - 0.36) ** 2).mean())
    assert off["before"] > 0.15
    assert off["one-step"] < 0.08
    assert off["adapted"] < 0.08


def test_memory_of_a_delay_line_is_its_length() -> None:
    rng = np.random.default_rng(0)
    u = rng.uniform(-1, 1, 3000)
    line = np.stack([np.roll(u, k) for k in range(8)], 1)  # u(t) .. u(t-7)
    found = memory_capacity(line, u, slice(50, 1500), slice(1500, 3000), 20)
    np.testing.assert_allclose(found[:7], 1, atol=1e-6)
    assert found[7:].max() < 0.05
    assert memory_capacity(0 * line, u, slice(50, 1500), slice(1500, 3000), 20).sum() == 0
    y = 2 * u + 3 * np.roll(u, 3) + 1
    told = predictions(line, y, slice(50, 1500), slice(1500, 3000))
    assert nrmse(told, y[1500:]) < 1e-6
    assert nrmse(np.full(1500, y[1500:].mean()), y[1500:]) == pytest.approx(1)


def test_series_keep_to_their_equations() -> None:
    u, y = narma10(500, np.random.default_rng(1))
    t = 300
    want = 0.3 * y[t] + 0.05 * y[t] * sum(y[t - i] for i in range(10)) + 1.5 * u[t - 9] * u[t] + 0.1
    assert y[t + 1] == pytest.approx(want)
    assert u.max() <= 0.5
    x = mackey_glass(2000, np.random.default_rng(1))
    right = 0.2 * x[:-18] / (1 + x[:-18] ** 10) - 0.1 * x[17:-1]
    assert ((x[18:] - x[16:-2]) / 2 - right).std() < 0.1 * right.std()  # central differences
    assert 0.2 < x.std() < 0.26
    np.testing.assert_allclose(mackey_glass(5, np.random.default_rng(1), tau=2), 1, atol=1e-6)  # a stable fixed point


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda c: circuit.reservoir(excitatory=1.0), "excitatory"),
        (lambda c: circuit.scaled(c, -1.0), "beta"),
        (lambda c: circuit.designed(c, 1.0), "rho"),
        (lambda c: circuit.adapted(c, np.ones((2, 2)), 0.5), "u"),
        (lambda c: memory_capacity(np.ones((100, 3)), np.ones(100), slice(10, 50), slice(60, 100)), "train"),
        (lambda c: predictions(np.ones((9, 3)), np.ones(9), slice(0, 5), slice(9, 12)), "test"),
        (lambda c: narma10(5, np.random.default_rng(0)), "steps"),
        (lambda c: mackey_glass(5, np.random.default_rng(0), tau=0), "tau"),
    ],
)
def test_what_does_not_fit_is_refused(call: object, field: str) -> None:
    with pytest.raises(ConnectomeError, match=field):
        call(circuit.reservoir(20, 4))  # type: ignore[operator]


# Measured wirings


def test_a_larva_like_file_is_read_as_the_larva_and_is_of_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In small; and whoever names a folder has what is in it."""
    monkeypatch.delenv("LARVA_FOLDER", raising=False)
    made = wirings.larva(90, 700, 3000)
    (edges,) = made.edges.values()
    assert (made.n_neurons, len(edges), edges.weight.sum()) == (90, 700, 3000)
    assert edges.weight.min() >= 1
    assert (edges.source != edges.target).all()
    assert np.std(edges.out_degree) > 1.5 * np.sqrt(700 / 90), "a wider spread than by chance"
    table = "," + ",".join("abc") + "\na,0,2,0\nb,1,0,0\nc,0,0,4\n"
    (tmp_path / "all-all_connectivity_matrix.csv").write_text(table)
    monkeypatch.setenv("LARVA_FOLDER", str(tmp_path))
    found = wirings.larva(90, 700, 3000)
    assert np.array_equal(np.asarray(found.regions["brain"].label), ["a", "b", "c"])
    assert found.n_edges == 3


def test_a_reservoir_has_the_wiring_of_its_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs that are joined twice, by dendrites and by axons, are joined once; shuffling keeps degrees."""
    of = wirings.larva(60, 300, 900)
    (edges,) = of.edges.values()
    twice = EdgeSet.from_arrays(
        edges.key, np.repeat(edges.source, 2), np.repeat(edges.target, 2), np.ones(600), n_source=60, n_target=60,
        dt_ms=of.dt_ms, attributes={"synapse": ["aa", "ad"] * 300},
    )  # fmt: skip
    monkeypatch.setattr(wirings, "larva", lambda *size: Connectome.of([*of.regions.values()], [twice], dt_ms=of.dt_ms))
    wirings._larva.cache_clear()
    made, shuffled = (wirings.network_of(c, 3, True).edges[circuit.KEY] for c in ("larva: x", "larva shuffled: x"))
    wirings._larva.cache_clear()
    np.testing.assert_array_equal(made.pair, edges.pair)
    assert not np.array_equal(shuffled.pair, edges.pair)
    np.testing.assert_array_equal(shuffled.in_degree, made.in_degree)
    np.testing.assert_array_equal(shuffled.out_degree, made.out_degree)

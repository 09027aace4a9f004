"""The balloon model: its steady state in closed form, another integrator, what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from connectome import ConnectomeError
from connectome.analysis.bold import FRISTON_2003, STEPHAN_2007, Balloon, bold, steady_bold, synaptic_gating


def signal(values: NDArray[np.float64], step_s: float = 0.02) -> xr.DataArray:
    """(T, N) as a signal."""
    n = values.shape[1]
    time_s = np.arange(1, len(values) + 1) * step_s
    return xr.DataArray(values, {"time_s": time_s, "node": [f"n{i}" for i in range(n)]}, ("time_s", "node"))


def reference(x: NDArray[np.float64], step_s: float, at: NDArray[np.float64], b: Balloon) -> NDArray[np.float64]:
    """The signal of one node at these times, written a second time, by SciPy, bin by bin."""

    def slope(_: float, y: NDArray[np.float64], u: float) -> list[float]:
        s, f, v, q = y
        out = v ** (1 / b.alpha)
        return [
            u - b.kappa_hz * s - b.gamma_hz * (f - 1), s, (f - out) / b.tau_s,
            (f * (1 - (1 - b.rho) ** (1 / f)) / b.rho - out * q / v) / b.tau_s,
        ]  # fmt: skip

    y, found = np.array([0.0, 1.0, 1.0, 1.0]), []
    for t, u in enumerate(x):
        y = solve_ivp(slope, (0, step_s), y, args=(u,), method="DOP853", rtol=1e-11, atol=1e-13).y[:, -1]
        if np.isclose(at, (t + 1) * step_s).any():
            found.append(b.v0 * (b.k1 * (1 - y[3]) + b.k2 * (1 - y[3] / y[2]) + b.k3 * (1 - y[2])))
    return np.array(found)


@pytest.mark.parametrize("balloon", [FRISTON_2003, STEPHAN_2007], ids=["friston", "stephan"])
@pytest.mark.parametrize("step_s", [0.02, 0.1])
def test_as_another_integrator_has_it(balloon: Balloon, step_s: float) -> None:
    x = np.random.default_rng(0).uniform(0, 0.6, (round(8 / step_s), 2))
    found = bold(signal(x, step_s), 1.0, balloon=balloon)
    for node in range(2):
        wanted = reference(x[:, node], step_s, found.time_s.values, balloon)
        np.testing.assert_allclose(found.values[:, node], wanted, rtol=1e-6, atol=1e-10)


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 1.5), st.sampled_from([FRISTON_2003, STEPHAN_2007]))
def test_constant_activity_ends_in_the_closed_form(activity: float, balloon: Balloon) -> None:
    found = bold(signal(np.full((1500, 1), activity), 0.05), 75.0, balloon=balloon)
    np.testing.assert_allclose(found.values[-1, 0], steady_bold(np.array(activity), balloon), rtol=1e-6, atol=1e-9)


def test_friston_2003_in_numbers() -> None:
    """Activity of gamma doubles flow: v = 2^alpha, q = v (1 - sqrt(1 - rho)) / rho."""
    b, v = FRISTON_2003, 2**0.32
    q = v * (1 - 0.66**0.5) / 0.34
    wanted = 0.02 * (7 * 0.34 * (1 - q) + 2 * (1 - q / v) + (2 * 0.34 - 0.2) * (1 - v))
    np.testing.assert_allclose(steady_bold(np.array(0.41), b), wanted, rtol=1e-12)
    assert steady_bold(np.array(0.0), b) == pytest.approx(0, abs=1e-12)


def test_samples_are_the_same_whatever_is_cut_off() -> None:
    x = signal(np.random.default_rng(1).uniform(0, 1, (1000, 3)))
    whole, late = bold(x, 0.5), bold(x, 0.5, skip_s=10.0)
    assert late.time_s.values.tolist() == pytest.approx(np.arange(10.5, 20.1, 0.5).tolist())
    np.testing.assert_array_equal(whole.values[20:], late.values)
    assert late.node.values.tolist() == ["n0", "n1", "n2"]
    assert late.dims == ("time_s", "node")


def test_gating_has_the_rate_of_its_equation() -> None:
    """Constant rate: S = gamma r tau / (1 + gamma r tau). A step up: it relaxes with 1 / tau + gamma r."""
    rate = np.r_[np.full(50, 2.0), np.full(50, 20.0)][:, None]
    found = synaptic_gating(signal(rate)).values[:, 0]
    mean = 11.0
    first = 0.641 * mean / (10 + 0.641 * mean)
    for part, hz, start in ((found[:50], 2.0, first), (found[50:], 20.0, found[49])):
        leak = 10 + 0.641 * hz
        steady = 0.641 * hz / leak
        t = 0.02 * np.arange(1, 51)
        np.testing.assert_allclose(part, steady + (start - steady) * np.exp(-leak * t), rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: bold(x, 0.03), "tr_s must be a whole number of bins of 0.02 s"),
        (lambda x: bold(x, 0.0), "tr_s"), (lambda x: bold(x, np.inf), "tr_s"),
        (lambda x: bold(x, 1.0, skip_s=2.5), "skip_s"), (lambda x: bold(x, 1.0, skip_s=-1.0), "skip_s"),
        (lambda x: bold(x, 1.0, skip_s=np.nan), "skip_s"),
        (lambda x: bold(x.T, 1.0), "dimensions time_s and node"),
        (lambda x: bold(x.where(x.time_s > 0.1), 1.0), "activity must be finite"),
        (lambda x: bold(x.assign_coords(time_s=x.time_s**2), 1.0), "time_s must be evenly spaced and increasing"),
        (lambda x: synaptic_gating(-x), "rate_hz must be 0 or more"),
        (lambda x: synaptic_gating(x, tau_ms=0), "tau_ms"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(call, said: str) -> None:  # type: ignore[no-untyped-def]
    x = signal(np.ones((150, 2)))
    with pytest.raises(ConnectomeError, match=said):
        call(x)


def test_activity_after_which_flow_would_turn_negative_is_refused() -> None:
    x = np.zeros((2000, 2))
    x[:1000, 1] = 8.0
    with pytest.raises(ConnectomeError, match=r"blood flow stays positive, such as 0 \.\. 1; found 8 before 2"):
        bold(signal(x), 1.0)
    assert np.isfinite(bold(signal(x / 8), 1.0)).all()

"""Several steps at once: bit for bit what step by step gives, whatever the delays, the threads and how much goes on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from connectome import Connectome, EdgeSet, Region
from connectome.neurons import Shiu2024
from connectome.simulate import Clamp, Poisson, Stimulus, run
from connectome.simulate.window_kernels import Window

#: Neurons, edges, the delays that there are, and the part of the neurons that events make fire: little and much.
CASES: dict[str, tuple[int, int, list[float], float]] = {
    "little": (2000, 4000, [1.8], 0.01), "much": (300, 9000, [0.7, 1.8, 6.1], 0.3),
    "short": (90, 2000, [0.2, 0.5], 0.5),
}  # fmt: skip


def network(case: str) -> tuple[Connectome, Stimulus]:
    """Two regions that excite and inhibit each other; some neurons do not rest after a spike."""
    n, m, delays, part = CASES[case]
    rng = np.random.default_rng(0)
    cut = n // 3
    sizes, sign = {"a": cut, "b": n - cut}, np.where(rng.random(n) < 1 / 3, -1, 1)
    ref = np.where(np.arange(cut) % 7, 2.2, 0.0)
    regions = [
        Region("a", cut, neuron=Shiu2024(t_ref_ms=ref)), Region("b", n - cut, neuron=Shiu2024(v_reset_mv=-53.0)),
    ]  # fmt: skip
    source, target = rng.integers(0, n, m), rng.integers(0, n, m)
    weight = (1 + rng.lognormal(1.0, 1.3, m).astype(int)) * sign[source]
    edges = []
    for s, first in (("a", 0), ("b", cut)):
        for t, start in (("a", 0), ("b", cut)):
            here = (source >= first) & (source < first + sizes[s]) & (target >= start) & (target < start + sizes[t])
            edges.append(
                EdgeSet.from_arrays(
                    (s, "local" if s == t else "long_range", t), source[here] - first, target[here] - start,
                    weight[here], n_source=sizes[s], n_target=sizes[t], dt_ms=0.1,
                    delay_ms=rng.choice(delays, int(here.sum())),
                )
            )  # fmt: skip
    rate = np.where(rng.random(cut) < part, 150.0, 0.0)
    stimulus = Stimulus(poisson={"a": Poisson(rate, 50_000.0)}, current_pa={"b": np.linspace(0, 7.2, n - cut)})
    return Connectome.of(regions, edges), stimulus


def same(a: xr.Dataset, b: xr.Dataset) -> None:
    for name in ("spike_time_ms", "spike_region", "spike_neuron", "n_spikes"):
        np.testing.assert_array_equal(a[name].values, b[name].values)


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps of each window that there is room for in the runs of a test."""
    made: list[int] = []
    make = Window._make

    def noted(*given: Any) -> Any:
        made.append(len(given[0]))
        return make(given)

    monkeypatch.setattr("connectome.simulate.event_engine.Window", noted)
    return made


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_windows_are_the_steps(case: str, dtype: Any, windows: list[int]) -> None:
    """A recorded potential wants every step; so does the reference."""
    c, stimulus = network(case)
    by_step = run(c, 200.0, stimulus, dtype=dtype, record_v={"a": [0]}, threads=1)
    assert not windows
    assert by_step.attrs["n_spikes"] > 100
    assert by_step.n_spikes.values[1] > 10
    for threads in (1, 2, 3):
        same(run(c, 200.0, stimulus, dtype=dtype, threads=threads), by_step)
    assert windows == [min(32, round(10 * min(CASES[case][2])))] * 6


@pytest.mark.parametrize("case", CASES)
def test_what_goes_on_is_the_same(case: str) -> None:
    """From the middle of a window, with windows and without; the last state as well."""
    c, stimulus = network(case)
    whole, state = run(c, 200.0, stimulus, record_v={"a": [0]}, return_state=True)
    for first, record in ((67.3, {}), (67.3, {"a": [0]})):
        start, middle = run(c, first, stimulus, record_v=record, return_state=True)
        rest, last = run(c, 200.0 - first, stimulus, state=middle, return_state=True)
        assert start.attrs["n_spikes"] + rest.attrs["n_spikes"] == whole.attrs["n_spikes"]
        for region, values in state.values.items():
            for name, value in values.items():
                np.testing.assert_array_equal(last.values[region][name], value)


def test_what_windows_cannot_do_is_done_by_step(windows: list[int]) -> None:
    c, stimulus = network("much")
    for options in ({"clamp": {"b": Clamp([0])}}, {"record_v": {"b": "all"}}):
        run(c, 5.0, stimulus, **options)
    run(c, 5.0, Stimulus(current_pa={"b": np.ones((50, 1))}))
    regions = [c.regions["a"], Region("b", 200, neuron=Shiu2024(tau_m_ms=np.linspace(10, 20, 200)))]
    run(Connectome.of(regions, c.edges.values()), 5.0, stimulus)
    assert not windows


def test_what_is_nearly_nothing_becomes_nothing(windows: list[int]) -> None:
    """Potentials that decay alone never become denormal, which would be a hundred times as slow."""
    c, stimulus = network("little")
    _, busy = run(c, 5.0, stimulus, return_state=True)
    assert any(np.abs(values["v"]).max() > 1.0 for values in busy.values.values())
    _, quiet = run(c, 1200.0, state=busy, return_state=True)  # 60 time constants: 1e-25 mV
    assert windows
    assert not any(values["v"].any() for values in quiet.values.values())

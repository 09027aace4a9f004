"""Statistics of activity: closed forms, slow references, and the raster."""

from __future__ import annotations

import math
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from scipy.signal import lfilter

from connectome import ConnectomeError, Region
from connectome.analysis import figures
from connectome.analysis.activity import activity, autocorrelation, decay_time
from connectome.analysis.figures import draw_raster

DT_MS, STEPS = 0.5, 600  # 300 ms


def dataset(
    spikes: list[tuple[int, int, int]], names: list[str], steps: int = STEPS, dt_ms: float = DT_MS
) -> xr.Dataset:
    """(step, region, neuron) as a run returns them; a spike of step t has the time (t + 1) dt."""
    step, region, neuron = np.array(sorted(spikes), np.int64).reshape(-1, 3).T
    return xr.Dataset(
        {
            "spike_time_ms": ("spike", (step + 1) * dt_ms),
            "spike_region": ("spike", region.astype(np.int32)), "spike_neuron": ("spike", neuron.astype(np.int32)),
        },
        {"region": ("region", np.array(names, str))}, {"duration_ms": steps * dt_ms, "dt_ms": dt_ms},
    )  # fmt: skip


def one(spikes: list[tuple[int, int]], size: int = 4, **options: Any) -> xr.Dataset:
    """The statistics of one region of unsigned neurons, (step, neuron)."""
    found = activity(dataset([(t, 0, n) for t, n in spikes], ["a"]), {"a": Region("a", size)}, **options)
    assert found.population.values.tolist() == ["a"]
    return found.isel(population=0)


# Closed forms


def test_a_clock_has_rate_n_over_t_and_no_variation() -> None:
    found = one([(t, 0) for t in range(0, STEPS, 20)])  # every 10 ms
    assert float(found.rate_hz) == pytest.approx(100 / 4)
    assert found.neuron_rate_hz.values.tolist() == pytest.approx([100, 0, 0, 0])
    assert (float(found.cv_isi), int(found.cv_isi_neurons)) == (0.0, 1)
    assert float(found.silent_fraction) == 0.75


def test_two_intervals_in_turn() -> None:
    """Intervals a and b equally often: mean (a + b) / 2, standard deviation |a - b| / 2."""
    steps = np.cumsum([0] + [10, 30] * 8)
    assert float(one([(int(t), 2) for t in steps]).cv_isi) == pytest.approx(10 / 20)


def test_cv_is_a_mean_over_neurons_with_three_spikes() -> None:
    clock, irregular = [(t, 0) for t in (0, 10, 20)], [(t, 1) for t in (0, 10, 40)]
    found = one([*clock, *irregular, (0, 2), (10, 2)])
    assert float(found.cv_isi) == pytest.approx((0 + 10 / 20) / 2)
    assert int(found.cv_isi_neurons) == 2
    np.testing.assert_allclose(found.neuron_cv_isi, [0, 0.5, math.nan, math.nan])


def test_cv_of_simultaneous_spikes_is_not_defined() -> None:
    """A sensor may fire several times in a step."""
    assert math.isnan(float(one([(5, 0)] * 4).cv_isi))


@pytest.mark.parametrize("period_bins", [1, 2, 5])
def test_synchrony_of_volleys(period_bins: int) -> None:
    """n spikes at once, in one bin of k: counts of mean n / k and variance n² (1/k - 1/k²): ratio n (1 - 1/k)."""
    n = 4
    spikes = [(6 * b, neuron) for b in range(0, STEPS // 6, period_bins) for neuron in range(n)]
    assert float(one(spikes).synchrony) == pytest.approx(n * (1 - 1 / period_bins))


@pytest.mark.parametrize(("shift", "wanted"), [(0, 1.0), (6, -1.0)])
def test_correlation_of_the_same_and_of_opposite_trains(shift: int, wanted: float) -> None:
    """Every second bin, the same ones or the others."""
    spikes = [(12 * k, 0) for k in range(STEPS // 12)] + [(12 * k + shift, 1) for k in range(STEPS // 12)]
    found = one(spikes)
    assert found.pair_correlation.values.tolist() == pytest.approx([wanted])
    assert float(found.correlation) == pytest.approx(wanted)


def test_poisson_neurons_are_irregular_asynchronous_and_uncorrelated() -> None:
    """CV 1 (less what a finite window takes), variance over mean 1, correlation 0: each within its sampling error."""
    rng = np.random.default_rng(0)
    neurons, steps, p = 200, 20_000, 0.01  # 20 Hz
    step, neuron = np.nonzero(rng.random((steps, neurons)) < p)
    found = activity(
        dataset([(int(t), 0, int(n)) for t, n in zip(step, neuron, strict=True)], ["a"], steps),
        {"a": Region("a", neurons)},
    ).isel(population=0)  # fmt: skip
    assert float(found.rate_hz) == pytest.approx(20, rel=0.02)
    assert float(found.cv_isi) == pytest.approx(math.sqrt(1 - p), abs=0.02)  # a geometric interval's
    assert float(found.synchrony) == pytest.approx(1 - p, abs=4 * math.sqrt(2 / (steps / 6)))
    pairs = neurons * (neurons - 1) // 2
    assert float(found.correlation) == pytest.approx(0, abs=4 / math.sqrt(pairs * steps / 6))
    assert found.pair_correlation.size == pairs


def test_a_window_leaves_the_start_out_and_rates_know() -> None:
    spikes = [(t, 0) for t in range(100)] + [(t, 1) for t in range(200, STEPS, 40)]
    found = one(spikes, skip_ms=100.0)
    assert found.attrs["skip_ms"] == 100.0
    assert int(found.n_spikes) == 10
    assert float(found.rate_hz) == pytest.approx(10 / 4 / 0.2)
    edge = one([(199, 0), (200, 0)], skip_ms=100.0)  # at 100 ms and at 100.5 ms
    assert int(edge.n_spikes) == 1


def test_bins_are_whole_steps_and_none_is_cut() -> None:
    """600 steps in bins of 7 are 85 bins; what falls in the last 5 steps is in none, but in the rate."""
    found = one([(7 * b, 0) for b in range(86)], bin_ms=3.4)
    assert found.attrs["bin_ms"] == 3.5
    assert (int(found.n_spikes), float(found.synchrony)) == (86, 0.0)
    assert math.isnan(float(one([(0, 0)], bin_ms=1e6).synchrony))


# Populations


def test_signs_of_a_region_are_told_apart_where_it_has_both() -> None:
    regions = {
        "mixed": Region("mixed", 5, sign=np.array([1, -1, 1, 0, -1])),
        "eye": Region("eye", 2, "sensor"),
        "positive": Region("positive", 2, sign=np.array([1, 0])),
        "hand": Region("hand", 3, "effector"),
        "nobody": Region("nobody", 0),
    }
    spikes = [(1, 0, 0), (2, 0, 1), (3, 0, 1), (4, 0, 4), (5, 0, 3), (6, 1, 1)]
    found = activity(dataset(spikes, list(regions)), regions)
    assert found.population.values.tolist() == [
        "mixed", "mixed excitatory", "mixed inhibitory", "eye", "positive", "nobody",
    ]  # fmt: skip
    assert found.region.values.tolist() == ["mixed"] * 3 + ["eye", "positive", "nobody"]
    assert found.sign.values.tolist() == [0, 1, -1, 0, 0, 0]
    assert found.n_neurons.values.tolist() == [5, 2, 2, 2, 2, 0]
    assert found.n_spikes.values.tolist() == [5, 1, 3, 1, 0, 0]
    np.testing.assert_allclose(found.silent_fraction, [1 / 5, 1 / 2, 0, 1 / 2, 1, math.nan])
    assert found.neuron_region.values.tolist() == ["mixed"] * 5 + ["eye"] * 2 + ["positive"] * 2
    assert found.neuron_number.values.tolist() == [0, 1, 2, 3, 4, 0, 1, 0, 1]
    assert found.neuron_sign.values.tolist() == [1, -1, 1, 0, -1, 0, 0, 1, 0]


def test_only_regions_that_took_part_are_there() -> None:
    found = activity(dataset([], ["b"]), {"a": Region("a", 2), "b": Region("b", 2)})
    assert found.population.values.tolist() == ["b"]


def test_no_region_and_no_spike() -> None:
    found = activity(dataset([], []), {})
    assert dict(found.sizes) == {"population": 0, "pair": 0, "neuron": 0}
    silent = one([])
    assert float(silent.rate_hz) == 0.0
    assert all(math.isnan(float(silent[name])) for name in ("cv_isi", "synchrony", "correlation"))


def test_everything_says_its_unit_and_definition() -> None:
    found = one([(t, n) for t in range(0, 60, 7) for n in range(4)])
    for name, variable in found.data_vars.items():
        assert variable.attrs["long_name"], name
        assert variable.attrs["units"] == {"hz": "Hz", "ms": "ms"}.get(str(name).rsplit("_", 1)[-1], "1")
    assert "100 bins of 3 ms" in found.synchrony.attrs["long_name"]


# Timescale


def process(tau: float, samples: int, rng: np.random.Generator, trials: int = 10) -> Any:
    """(trials, T), of variance 1, whose autocorrelation is exp(-k / tau)."""
    keep = math.exp(-1 / tau)
    noise = math.sqrt(1 - keep**2) * rng.standard_normal((trials, samples + 200))
    return lfilter([1.0], [1.0, -keep], noise, axis=1)[:, 200:]


def test_autocorrelation_against_the_slow_and_obvious() -> None:
    x = np.random.default_rng(0).standard_normal((3, 40)).cumsum(1)
    y = x - x.mean(1, keepdims=True)
    slow = np.array([np.mean([(z[: 40 - k] * z[k:]).mean() for z in y]) for k in range(8)])
    np.testing.assert_allclose(autocorrelation(x, 7), slow / slow[0], atol=1e-12)
    np.testing.assert_allclose(autocorrelation(5 - 3 * x[0], 7), autocorrelation(x[0], 7), atol=1e-12)
    assert np.isnan(autocorrelation(np.full(40, 0.1), 7)).all()


@given(st.floats(0.5, 30), st.floats(4, 40), st.floats(0.1, 0.9), st.floats(0.01, 100))
def test_time_constants_of_exponentials_are_found(tau: float, times: float, share: float, step: float) -> None:
    """Of one exactly, of two the slower; whatever the unit."""
    lag = np.arange(31)
    assert decay_time(np.exp(-lag / tau), step) == pytest.approx(tau * step, rel=1e-3)
    slow = min(tau * times, 60.0)
    if slow > 3 * tau:
        both = share * np.exp(-lag / tau) + (1 - share) * np.exp(-lag / slow)
        assert decay_time(both, step) == pytest.approx(slow * step, rel=0.02)


@pytest.mark.parametrize("tau", [1.5, 5.0, 15.0])
def test_a_process_decays_with_its_time_constant(tau: float) -> None:
    """A first-order process, one under noise that is new in each sample, and two at once."""
    rng = np.random.default_rng(1)
    x = process(tau, 20_000, rng)
    assert decay_time(autocorrelation(x, 30)) == pytest.approx(tau, rel=0.05)
    assert decay_time(autocorrelation(x + rng.standard_normal(x.shape), 30)) == pytest.approx(tau, rel=0.1)
    assert decay_time(autocorrelation(process(0.5, 20_000, rng) + process(8.0, 20_000, rng), 30)) == pytest.approx(
        8, rel=0.1
    )


def test_a_slow_part_counts_from_five_percent_on() -> None:
    """Whether it is there or not is no question of the fit, which has both exactly."""
    lag = np.arange(31)
    for share, wanted in ((0.03, 4.0), (0.08, 25.0)):
        both = (1 - share) * np.exp(-lag / 4) + share * np.exp(-lag / 25)
        assert decay_time(both) == pytest.approx(wanted, rel=0.01)


def test_noise_has_no_timescale_and_what_does_not_vary_an_unknown_one() -> None:
    rng = np.random.default_rng(2)
    assert decay_time(autocorrelation(rng.standard_normal((10, 5000)), 30)) < 0.5
    assert math.isnan(decay_time(np.full(31, math.nan)))
    with pytest.raises(ConnectomeError, match="autocorrelation must be"):
        decay_time(np.ones(5))
    with pytest.raises(ConnectomeError, match="step must be"):
        decay_time(np.ones(9), 0.0)
    with pytest.raises(ConnectomeError, match="lags must be"):
        autocorrelation(np.ones(9), 0)
    with pytest.raises(ConnectomeError, match="x must be"):
        autocorrelation(np.ones(9), 9)


def test_timescale_of_a_population() -> None:
    """Neurons whose common rate is a slow process; of a run that is too short: not known."""
    rng = np.random.default_rng(3)
    rate = 0.05 * np.clip(1 + 0.3 * process(80.0, 40_000, rng, 1)[0], 0, None)  # 40 ms
    step, neuron = np.nonzero(rng.random((40_000, 50)) < rate[:, None])
    spikes = [(int(t), 0, int(n)) for t, n in zip(step, neuron, strict=True)]
    found = activity(dataset(spikes, ["a"], 40_000), {"a": Region("a", 50)}, bin_ms=5.0)
    assert float(found.timescale_ms[0]) == pytest.approx(40, rel=0.2)
    again = activity(dataset(spikes, ["a"], 40_000), {"a": Region("a", 50)}, bin_ms=10.0)
    assert float(again.timescale_ms[0]) == pytest.approx(float(found.timescale_ms[0]), rel=0.1)
    assert math.isnan(float(one([(0, 0), (30, 1)], bin_ms=4.0).timescale_ms))


# Against the slow and obvious


@st.composite
def trains(draw: st.DrawFn) -> tuple[list[tuple[int, int, int]], dict[str, Region]]:
    sizes = draw(st.lists(st.integers(0, 4), min_size=1, max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    regions = {f"r{k}": Region(f"r{k}", n, sign=rng.integers(-1, 2, n, np.int8)) for k, n in enumerate(sizes)}
    rate = draw(st.sampled_from([0.0, 0.01, 0.2]))
    spikes = [
        (t, k, n) for k, size in enumerate(sizes) for n in range(size) for t in np.flatnonzero(rng.random(STEPS) < rate)
    ]
    return spikes, regions


@given(trains(), st.sampled_from([0.0, 0.5, 37.0]), st.sampled_from([0.5, 3.0, 20.0]))
def test_agrees_with_a_slow_reference(
    made: tuple[list[tuple[int, int, int]], dict[str, Region]], skip_ms: float, bin_ms: float
) -> None:
    spikes, regions = made
    found = activity(dataset(spikes, list(regions)), regions, skip_ms=skip_ms, bin_ms=bin_ms)
    for at, (name, sign) in enumerate(zip(found.region.values, found.sign.values, strict=True)):
        region, place = regions[name], list(regions).index(name)
        train = [
            np.array(
                [(t + 1) * DT_MS for t, k, m in sorted(spikes) if (k, m) == (place, n) and (t + 1) * DT_MS > skip_ms]
            )
            for n in range(region.size)
            if sign in (0, region.sign[n])
        ]
        seconds = (STEPS * DT_MS - skip_ms) / 1000
        edges = np.arange(skip_ms, STEPS * DT_MS + 1e-9, bin_ms) + DT_MS / 2  # a bin holds its end, not its start
        counts = np.array([np.histogram(times, edges)[0] for times in train]).reshape(len(train), edges.size - 1)
        intervals = [np.diff(times) for times in train if times.size > 2]
        pairs = [np.corrcoef(a, b)[0, 1] for a, b in combinations([c for c in counts if np.ptp(c)], 2)]
        total = counts.sum(axis=0)
        wanted = {
            "n_neurons": len(train),
            "n_spikes": sum(map(len, train)),
            "rate_hz": np.mean([t.size / seconds for t in train]) if train else math.nan,
            "silent_fraction": np.mean([t.size == 0 for t in train]) if train else math.nan,
            "cv_isi": np.mean([i.std() / i.mean() for i in intervals]) if intervals else math.nan,
            "cv_isi_neurons": len(intervals),
            "synchrony": total.var() / total.mean() if total.any() else math.nan,
            "correlation": np.mean(pairs) if pairs else math.nan,
        }
        for key, value in wanted.items():
            assert float(found[key][at]) == pytest.approx(value, rel=1e-9, abs=1e-12, nan_ok=True), key
        mine = found.pair_correlation.values[at]
        np.testing.assert_allclose(mine[np.isfinite(mine)], pairs, atol=1e-12)


@given(trains(), st.permutations(range(4)))
def test_the_numbers_of_neurons_mean_nothing(
    made: tuple[list[tuple[int, int, int]], dict[str, Region]], order: list[int]
) -> None:
    """Neurons renumbered within their regions: the same statistics."""
    spikes, regions = made
    new = {r.name: [n for n in order if n < r.size] for r in regions.values()}  # new[name][old] is the new number
    moved = {name: Region(name, r.size, sign=r.sign[np.argsort(new[name])]) for name, r in regions.items()}
    shuffled = [(t, k, new[f"r{k}"][n]) for t, k, n in spikes]
    a = activity(dataset(spikes, list(regions)), regions)
    b = activity(dataset(shuffled, list(regions)), moved)
    for key in ("n_spikes", "rate_hz", "silent_fraction", "cv_isi", "cv_isi_neurons", "synchrony", "correlation"):
        np.testing.assert_allclose(a[key], b[key], rtol=1e-9, atol=1e-12)


def test_samples_are_drawn_without_repeats_and_by_the_seed() -> None:
    """Of ten clocks in step, three drawn: volleys of three."""
    spikes = [(12 * k, n) for k in range(STEPS // 12) for n in range(10)]
    found = one(spikes, 10, synchrony_neurons=3, correlation_neurons=4)
    assert float(found.synchrony) == pytest.approx(3 * (1 - 1 / 2))
    assert found.pair_correlation.values.tolist() == pytest.approx([1.0] * 6)
    rng = np.random.default_rng(5)
    noisy = [(int(t), n) for n in range(10) for t in rng.integers(0, STEPS, 20)]
    same, again, other = (one(noisy, 10, correlation_neurons=4, seed=seed) for seed in (1, 1, 2))
    assert same.identical(again)
    assert not np.array_equal(same.pair_correlation, other.pair_correlation)


# Mistakes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skip_ms": 300.0}, "skip_ms must be >= 0 and less than the run's 300 ms; found 300.0"),
        ({"skip_ms": -1.0}, "skip_ms must be >= 0"),
        ({"skip_ms": math.nan}, "skip_ms must be >= 0"),
        ({"bin_ms": 0.0}, "bin_ms must be finite and > 0; found 0.0"),
        ({"synchrony_neurons": 0}, "synchrony_neurons must be an integer in 1 .. "),
        ({"correlation_neurons": 2.0}, "correlation_neurons must be an integer in 1 .. "),
    ],
)
def test_an_argument_that_does_not_fit_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConnectomeError, match=message):
        one([(0, 0)], **options)


def test_spikes_that_do_not_fit_the_regions_are_refused() -> None:
    with pytest.raises(ConnectomeError, match=r"spikes.region must name regions of \['a'\]; found 'b'"):
        activity(dataset([], ["b"]), {"a": Region("a", 2)})
    with pytest.raises(ConnectomeError, match="must be below 2, the number of neurons of 'a' that fire; found 2"):
        activity(dataset([(0, 0, 2)], ["a"]), {"a": Region("a", 2)})
    with pytest.raises(ConnectomeError, match=r"must be below 0, .* 'hand'"):
        activity(dataset([(0, 0, 0)], ["hand"]), {"hand": Region("hand", 2, "effector")})
    with pytest.raises(ConnectomeError, match=r"spikes.attrs\[dt_ms\] must be there"):
        activity(dataset([], ["a"]).assign_attrs({}).drop_attrs().assign_attrs(duration_ms=1.0), {"a": Region("a", 2)})


# The raster


def dots(figure: Figure) -> dict[tuple[float, ...], Any]:
    """Colour -> (x, y) of the dots."""
    found: dict[tuple[float, ...], list[Any]] = {}
    for drawn in figure.axes[0].collections:
        places = np.array(drawn.get_offsets())
        if isinstance(drawn, PathCollection) and places.size:
            found.setdefault(tuple(np.array(drawn.get_facecolor())[0].tolist()), []).append(places)
    return {colour: np.concatenate(parts) for colour, parts in found.items()}


def test_a_raster_has_a_dot_a_spike_in_its_band() -> None:
    regions = {
        "eye": Region("eye", 3, "sensor"),
        "cortex": Region("cortex", 4, sign=np.array([1, -1, 1, -1])),
        "hand": Region("hand", 2, "effector"),
    }
    spikes = [(9, 0, 2), (19, 1, 0), (29, 1, 1), (39, 1, 2), (49, 1, 3)]
    figure = draw_raster(dataset(spikes, list(regions)), regions)
    by_time = {x: y for found in dots(figure).values() for x, y in found}
    assert sorted(by_time) == [5.0, 10.0, 15.0, 20.0, 25.0]
    assert by_time[5.0] < 40 < by_time[10.0] < by_time[20.0] < by_time[15.0] < by_time[25.0] < 80  # bands of 40
    assert len(dots(figure)) == 3  # a colour for each sign
    axis = figure.axes[0]
    assert axis.get_title(loc="left") == "7 neurons: 5 spikes"
    assert [t.get_text() for t in axis.texts] == ["eye\n1.11 Hz", "cortex\n3.33 Hz"]
    legend = axis.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == ["excitatory", "inhibitory", "sensor, or unsigned"]
    assert axis.get_xlim() == (0, 300)


@pytest.mark.parametrize("small", [3, 19, 60, 200])
def test_names_beside_a_raster_do_not_overlap(small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One region has most of the neurons; where the picture would be too tall, some regions have no name."""
    monkeypatch.setattr(figures, "_TALLEST", 22.0)
    regions = {f"r{i}": Region(f"r{i}", 5) for i in range(small)} | {"large": Region("large", 3000)}
    figure = draw_raster(dataset([(9, 0, 2), (19, small, 0)], list(regions)), regions)
    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
    boxes = sorted((t.get_window_extent() for t in figure.axes[0].texts), key=lambda box: -box.y1)
    assert all(above.y0 >= below.y1 - 0.5 for above, below in pairwise(boxes))
    assert len(boxes) == small + 1 or (small == 200 and 60 < len(boxes) < 200)


def test_a_raster_of_many_neurons_draws_some_and_says_so() -> None:
    """All spikes of the neurons that it shows, and no other; a small region is shown whole."""
    regions = {"large": Region("large", 20_000), "small": Region("small", 30)}
    spikes = [(5, 0, n) for n in range(20_000)] + [(t, 1, n) for n in range(30) for t in (6, 8)]
    figure = draw_raster(dataset(spikes, list(regions)), regions)
    (found,) = dots(figure).values()
    title = figure.axes[0].get_title(loc="left")
    assert title == "1,029 neurons of 20,030, drawn at random: 1,059 spikes"
    assert len(found) == 1059
    (again,) = dots(draw_raster(dataset(spikes, list(regions)), regions)).values()
    np.testing.assert_array_equal(again, found)


def test_a_raster_of_many_spikes_draws_fewer_neurons() -> None:
    spikes = dataset([], ["a"]).drop_dims("spike")
    rng = np.random.default_rng(0)
    number = 1_000_000
    spikes = spikes.assign(
        spike_time_ms=("spike", rng.integers(1, STEPS + 1, number) * DT_MS),
        spike_region=("spike", np.zeros(number, np.int32)), spike_neuron=("spike", np.arange(number) % 1000),
    )  # fmt: skip
    figure = draw_raster(spikes, {"a": Region("a", 1000)})
    assert figure.axes[0].get_title(loc="left") == "200 neurons of 1,000, drawn at random: 200,000 spikes"


@pytest.mark.parametrize("names", [[], ["a"], ["nobody"]])
def test_a_raster_of_nothing(names: list[str]) -> None:
    figure = draw_raster(dataset([], names), {"a": Region("a", 3), "nobody": Region("nobody", 0)})
    assert figure.axes[0].get_title(loc="left").endswith("neurons: 0 spikes")
    figure.canvas.draw()

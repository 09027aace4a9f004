"""What spikes say about a network's state: rates, irregularity, synchrony, correlation and timescale, by population.

The measures are those of Potjans & Diesmann (2014, Cereb. Cortex 24:785, Fig. 6), together with the correlation of
spike counts and the decay time of their autocorrelation. Each variable of the result carries its definition in its
attributes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, get_type_hints

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from connectome.arrays import finite_step, integer
from connectome.errors import ConnectomeError
from connectome.graph.parts import Region

__all__ = ["activity", "autocorrelation", "decay_time", "train_similarity"]

#: Two intervals are the fewest that can differ.
_MIN_SPIKES = 3
_SIGNS = {1: "excitatory", -1: "inhibitory"}
#: Autocorrelations are fitted up to so many bins; of fewer than three times as many they are mostly noise.
_LAGS = 30
#: An exponential with less than this share of the variance is none: AIC takes one to mend the last bit of noise.
_SHARE = 0.05


class _Window(NamedTuple):
    """The part of a run that is analysed, in steps: spikes of steps ``first`` .. ``first + n_steps - 1``."""

    first: int
    n_steps: int
    bin_steps: int
    dt_ms: float

    @property
    def seconds(self) -> float:
        """Its length, s."""
        return self.n_steps * self.dt_ms / 1000

    @property
    def bin_ms(self) -> float:
        """Width of a bin, ms."""
        return self.bin_steps * self.dt_ms

    @property
    def n_bins(self) -> int:
        """Number of whole bins; a remainder after the last one is in no bin."""
        return self.n_steps // self.bin_steps


def activity(
    spikes: xr.Dataset, regions: Mapping[str, Region], *, skip_ms: float = 0.0, bin_ms: float = 3.0,
    synchrony_neurons: int = 1000, correlation_neurons: int = 200, seed: int = 0,
) -> xr.Dataset:  # fmt: skip
    """Statistics of each population. Every region that can fire is one; its excitatory and its inhibitory neurons are
    two more if it has both.

    Parameters
    ----------
    spikes : what :func:`connectome.simulate.run` or :func:`connectome.io.spikes.load_spikes` gives, with the attributes
        ``duration_ms`` and ``dt_ms``
    regions : the connectome's, for sizes and signs. Effectors never fire and are left out.
    skip_ms : how much of the start to leave out. Spikes with skip_ms < t <= duration_ms count.
    bin_ms : width of the bins of synchrony, correlation and timescale, rounded to whole steps, at least one
    synchrony_neurons, correlation_neurons : how many neurons of a population are drawn at random for these, >= 1; all,
        if it has no more. Synchrony grows with the number of neurons, so compare it only between equal numbers;
        correlation is averaged over all pairs of the neurons drawn, which are drawn from those that fired.
    seed : seeds both draws

    Returns
    -------
    Dataset by ``population`` (its name; coordinates ``region`` and ``sign``, 0 for the whole region): ``n_neurons``,
    ``n_spikes``, ``rate_hz``, ``silent_fraction``, ``cv_isi``, ``cv_isi_neurons``, ``synchrony``, ``correlation``,
    ``timescale_ms``, and ``pair_correlation`` (population, pair); and the distributions behind them by ``neuron``
    (coordinates ``neuron_region``, ``neuron_number``, ``neuron_sign``): ``neuron_rate_hz``, ``neuron_cv_isi``. Values
    that are not defined, such as the rate of an empty population, are nan.

    Raises
    ------
    ConnectomeError : an argument is invalid; the message names it
    """
    window = _window(spikes, skip_ms, bin_ms)
    for name, number in (("synchrony_neurons", synchrony_neurons), ("correlation_neurons", correlation_neurons)):
        integer(name, number, 1, 2**31 - 1)
    names = [str(name) for name in spikes.region.values]
    for name in names:
        if name not in regions:
            raise ConnectomeError("spikes.region", f"must name regions of {list(regions)}", repr(name))
    step, neuron, n_neurons = _numbered(spikes, [regions[name] for name in names], window)
    firing = [regions[name] for name in names if regions[name].role != "effector"]
    count = np.bincount(neuron, minlength=n_neurons)
    cv = _cv_isi(step, neuron, count)
    rng = np.random.default_rng(seed)
    rows, pairs = [], []
    for name, region, sign, members in _populations(firing):
        fired = members[count[members] > 0]
        irregular = cv[members][np.isfinite(cv[members])]
        _, column = _binned(step, neuron, _draw(rng, members, synchrony_neurons), window)
        drawn = _draw(rng, fired, correlation_neurons)
        pair = _correlations(*_binned(step, neuron, drawn, window), drawn.size, window.n_bins)
        pairs.append(pair)
        rows.append(_Row(
            name, region, sign, members.size, int(count[members].sum()), _mean(count[members]) / window.seconds,
            1 - _mean(count[members] > 0), _mean(irregular), irregular.size,
            _variance_over_mean(np.bincount(column, minlength=window.n_bins)), _mean(pair),
            _timescale(_binned(step, neuron, members, window)[1], window),
        ))  # fmt: skip
    by_population = {
        name: ("population", np.array([getattr(row, name) for row in rows], kind))
        for name, kind in zip(_Row._fields, get_type_hints(_Row).values(), strict=True)
    }
    most = max((pair.size for pair in pairs), default=0)
    padded = [np.pad(pair, (0, most - pair.size), constant_values=math.nan) for pair in pairs]
    result = xr.Dataset(
        by_population
        | {
            "pair_correlation": (("population", "pair"), np.array(padded).reshape(len(pairs), most)),
            "neuron_rate_hz": ("neuron", count / window.seconds),
            "neuron_cv_isi": ("neuron", cv),
        },
        {
            "neuron_region": ("neuron", np.repeat(np.array([r.name for r in firing], str), [r.size for r in firing])),
            "neuron_number": ("neuron", np.concatenate([np.zeros(0, int), *(np.arange(r.size) for r in firing)])),
            "neuron_sign": ("neuron", np.concatenate([np.zeros(0, np.int8), *(r.sign for r in firing)])),
        },
        {
            "skip_ms": window.first * window.dt_ms, "duration_ms": (window.first + window.n_steps) * window.dt_ms,
            "bin_ms": window.bin_ms, "seed": seed,
        },
    ).set_coords(["region", "sign"])  # fmt: skip
    for name, definition in _definitions(window, synchrony_neurons, correlation_neurons).items():
        unit = {"hz": "Hz", "ms": "ms"}.get(name.rsplit("_", 1)[-1], "1")
        result[name].attrs = {"long_name": definition, "units": unit}
    return result


def autocorrelation(x: ArrayLike, lags: int) -> NDArray[np.float64]:
    """Autocorrelation (lags + 1,) of (T,) or (trials, T) samples, 1 at lag 0: the mean product of samples that many
    steps apart, each trial about its own mean, averaged over trials. nan if nothing varies. An estimate from T samples
    is too small by about 2 tau / T where the autocorrelation decays with time constant tau. Raises
    :class:`ConnectomeError`."""
    x = np.atleast_2d(np.asarray(x, float))
    n, lags = x.shape[-1], integer("lags", lags, 1, 10**6)
    if x.ndim != 2 or n <= lags:
        raise ConnectomeError("x", f"must be (T,) or (trials, T), T above {lags} lags", f"a shape of {x.shape}")
    power = np.abs(np.fft.rfft(x - x.mean(1, keepdims=True), 2 * n)) ** 2
    found: NDArray[np.float64] = np.fft.irfft(power.mean(0), 2 * n)[: lags + 1] / (n - np.arange(lags + 1))
    return found / found[0] if x.std(1).max() > 1e-12 * np.abs(x).max() else np.full(lags + 1, math.nan)


def decay_time(autocorrelation: ArrayLike, step: float = 1.0) -> float:
    """The slowest time constant of an autocorrelation (lags + 1,), in the unit of ``step``, the length of a lag: of one
    or two exponentials with weights >= 0, whichever fit better by Akaike's criterion (Khajehabdollahi, Zeraati et al.
    2024, ICLR, arXiv 2309.12927). An exponential with less than 5 % of the weight is not counted; this rule is our own.
    Time constants are sought between a tenth of a lag, which means no correlation, and 100 lags. nan if the
    autocorrelation is nan. Raises :class:`ConnectomeError`."""
    from scipy.optimize import least_squares, nnls  # slow to import

    y = np.asarray(autocorrelation, float)
    if y.ndim != 1 or y.size < 6:
        raise ConnectomeError("autocorrelation", "must be (lags + 1,), of at least 5 lags", f"a shape of {y.shape}")
    step = finite_step("step", step)
    if not np.isfinite(y).all():
        return math.nan
    lag = np.arange(y.size)[:, None]
    low, high = math.log(0.1), math.log(100)

    def exponentials(log_tau: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = np.exp(-lag / np.exp(log_tau))
        return found

    def residual(log_tau: NDArray[np.float64]) -> NDArray[np.float64]:
        """Residuals at the best weights, so that only the time constants are searched for."""
        found: NDArray[np.float64] = exponentials(log_tau) @ nnls(exponentials(log_tau), y)[0] - y
        return found

    guess = min(max(math.log(np.abs(y).sum()), low + 1.1), high - 1.1)
    best = (math.inf, math.nan)
    for start in ([guess], [guess - 1, guess + 1]):
        fit = least_squares(residual, start, bounds=(low, high), xtol=1e-10, ftol=1e-12, gtol=1e-14)
        weight = nnls(exponentials(fit.x), y)[0]
        criterion = 4 * len(start) + y.size * math.log(max(2 * fit.cost, 1e-12) / y.size)
        if criterion < best[0] and weight.any():
            best = (criterion, float(np.exp(fit.x)[weight >= _SHARE * weight.sum()].max()))
    return best[1] * step


def train_similarity(first: NDArray[Any], second: NDArray[Any], tau_steps: float) -> float:
    """Similarity of two sets of (T, N) spike trains: for each neuron the normalised inner product of its two trains,
    each filtered by an exponential of time constant ``tau_steps`` (Schreiber et al. 2003, Neurocomputing 52:925; van
    Rossum's filter), averaged over neurons. 1: the same trains; 0 for a neuron that is silent in one of the two.
    Neurons that are silent in both are left out; nan if all are. Raises :class:`ConnectomeError`."""
    from scipy.signal import lfilter  # slow to import

    a, b = np.asarray(first, float), np.asarray(second, float)
    if a.ndim != 2 or a.shape != b.shape:
        raise ConnectomeError("trains", "must be (T, N), the same for both", f"{a.shape} and {b.shape}")
    keep = math.exp(-1 / finite_step("tau_steps", tau_steps))
    x, y = (lfilter([1.0], [1.0, -keep], trains, axis=0) for trains in (a, b))
    inner, of_a, of_b = ((p * q).sum(0) for p, q in ((x, y), (x, x), (y, y)))
    fired = (of_a > 0) | (of_b > 0)
    if not fired.any():
        return math.nan
    scale = np.sqrt(of_a * of_b)[fired]
    return float(np.divide(inner[fired], scale, out=np.zeros_like(scale), where=scale > 0).mean())


class _Row(NamedTuple):
    """Statistics of one population."""

    population: str
    region: str
    sign: int
    n_neurons: int
    n_spikes: int
    rate_hz: float
    silent_fraction: float
    cv_isi: float
    cv_isi_neurons: int
    synchrony: float
    correlation: float
    timescale_ms: float


def _definitions(window: _Window, synchrony_neurons: int, correlation_neurons: int) -> dict[str, str]:
    bins = f"{window.n_bins} bins of {window.bin_ms:g} ms"
    return {
        "sign": "Dale's sign of the population's neurons; 0 for the whole region",
        "n_neurons": "number of neurons",
        "n_spikes": "number of spikes",
        "rate_hz": "spikes / neurons / time",
        "silent_fraction": "fraction of the neurons without a spike",
        "cv_isi": "coefficient of variation of the inter-spike intervals: a neuron's standard deviation (ddof 0) over "
        f"its mean, averaged over the neurons with {_MIN_SPIKES} or more spikes",
        "cv_isi_neurons": "number of neurons that cv_isi is averaged over",
        "synchrony": f"variance over mean of the spike count of {synchrony_neurons} neurons, drawn at random, or all "
        f"where there are fewer, in {bins} (Potjans & Diesmann 2014); 1 for independent Poisson neurons",
        "correlation": f"Pearson's correlation of two neurons' spike counts in {bins}, averaged over all pairs among "
        f"{correlation_neurons} of the neurons that fired, drawn at random, or all where there are fewer",
        "timescale_ms": f"time in which the autocorrelation of the population's spike count in {bins} decays: the "
        f"slower of one or two exponentials fitted to its first {_LAGS} lags; nan with fewer than {3 * _LAGS} bins",
        "pair_correlation": "correlation of each pair; nan beyond a population's last pair",
        "neuron_rate_hz": "rate of each neuron",
        "neuron_cv_isi": f"coefficient of variation of each neuron's intervals; nan below {_MIN_SPIKES} spikes",
    }


def _window(spikes: xr.Dataset, skip_ms: float, bin_ms: float) -> _Window:
    for name in ("duration_ms", "dt_ms"):
        if name not in spikes.attrs:
            raise ConnectomeError(f"spikes.attrs[{name}]", "must be there", "none", "Set it with assign_attrs.")
    dt_ms = float(spikes.attrs["dt_ms"])
    duration_ms = float(spikes.attrs["duration_ms"])
    n_steps = round(duration_ms / dt_ms)
    first = math.floor(skip_ms / dt_ms + 1e-6) if math.isfinite(skip_ms) else -1
    if not (skip_ms >= 0 and 0 <= first < n_steps):
        raise ConnectomeError("skip_ms", f"must be >= 0 and less than the run's {duration_ms:g} ms", skip_ms)
    bin_steps = max(1, round(finite_step("bin_ms", bin_ms) / dt_ms))
    return _Window(first, n_steps - first, bin_steps, dt_ms)


def _numbered(
    spikes: xr.Dataset, regions: list[Region], window: _Window
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Steps since the window began and neurons of the spikes in it, by neuron, then step. Neurons are numbered through
    the regions; an effector has no neuron, as it has no spike."""
    size = np.array([0 if r.role == "effector" else r.size for r in regions], np.int64)
    region, number = spikes.spike_region.values.astype(np.int64), spikes.spike_neuron.values.astype(np.int64)
    bad = (number < 0) | (number >= size[region]) if number.size else np.zeros(0, bool)
    if bad.any():
        name = regions[region[bad][0]].name
        raise ConnectomeError(
            "spikes.spike_neuron", f"must be below {size[region[bad][0]]}, the number of neurons of {name!r} that fire",
            int(number[bad][0]),
        )  # fmt: skip
    step = np.rint(spikes.spike_time_ms.values / window.dt_ms).astype(np.int64) - 1 - window.first
    neuron = (np.cumsum(size) - size)[region] + number if number.size else number
    inside = (step >= 0) & (step < window.n_steps)
    key = np.sort(neuron[inside] * window.n_steps + step[inside])  # one sort of numbers: the quickest there is
    return key % window.n_steps, key // window.n_steps, int(size.sum())


def _populations(regions: list[Region]) -> Iterator[tuple[str, str, int, NDArray[np.int64]]]:
    """Name, region, sign and neurons of each population."""
    first = 0
    for region in regions:
        yield region.name, region.name, 0, first + np.arange(region.size)
        parts = {sign: first + np.flatnonzero(region.sign == sign) for sign in _SIGNS}
        if all(part.size for part in parts.values()):
            for sign, part in parts.items():
                yield f"{region.name} {_SIGNS[sign]}", region.name, sign, part
        first += region.size


def _cv_isi(step: NDArray[np.int64], neuron: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.float64]:
    """Each neuron's coefficient of variation, (N,). nan below three spikes, and where all fall in one step."""
    interval, of = np.diff(step), neuron[1:]
    mine = of == neuron[:-1]
    interval, of = interval[mine], of[mine]
    n = np.maximum(count - 1, 1)
    mean = np.bincount(of, interval, count.size) / n
    variance = np.bincount(of, (interval - mean[of]) ** 2, count.size) / n
    cv = np.full(count.size, math.nan)
    defined = (count >= _MIN_SPIKES) & (mean > 0)
    cv[defined] = np.sqrt(variance[defined]) / mean[defined]
    return cv


def _draw(rng: np.random.Generator, members: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    return members if members.size <= number else np.sort(rng.choice(members, number, replace=False))


def _binned(
    step: NDArray[np.int64], neuron: NDArray[np.int64], members: NDArray[np.int64], window: _Window
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each spike of these neurons that is in a bin: its neuron's place in ``members``, which is ascending, and its
    bin."""
    if not members.size:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    first = members[0]
    row = np.full(members[-1] - first + 1, -1)
    row[members - first] = np.arange(members.size)
    start, stop = np.searchsorted(neuron, (first, members[-1] + 1))
    place, column = row[neuron[start:stop] - first], step[start:stop] // window.bin_steps
    mine = (place >= 0) & (column < window.n_bins)
    return place[mine], column[mine]


def _variance_over_mean(counts: NDArray[np.int64]) -> float:
    return float(counts.var() / counts.mean()) if counts.any() else math.nan


def _timescale(column: NDArray[np.int64], window: _Window) -> float:
    if window.n_bins < 3 * _LAGS:
        return math.nan
    return decay_time(autocorrelation(np.bincount(column, minlength=window.n_bins), _LAGS), window.bin_ms)


def _correlations(row: NDArray[np.int64], column: NDArray[np.int64], n_rows: int, n_bins: int) -> NDArray[np.float64]:
    """Pearson's correlation of each pair of neurons whose counts vary."""
    counts = np.bincount(row * n_bins + column, minlength=n_rows * n_bins).reshape(n_rows, n_bins)
    counts = counts[counts.min(axis=1, initial=np.iinfo(np.int64).max) < counts.max(axis=1, initial=0)]
    if len(counts) < 2:
        return np.zeros(0)
    pairs: NDArray[np.float64] = np.corrcoef(counts)[np.triu_indices(len(counts), 1)]
    return pairs


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if values.size else math.nan

"""Gains: scans, calibration to a rate and to the edge of activity, and what a run's activity says is wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from connectome import Connectome, ConnectomeError, EdgeSet, NeuronParameters, Region
from connectome.analysis.figures import draw_gain_scan
from connectome.experiment import (
    Physiology,
    Trial,
    activity_warnings,
    animate,
    calibrate,
    gain_scan,
    preset,
    stimulate,
    weight_warnings,
)
from connectome.experiment.calibration import GAINS
from connectome.graph.attributes import Attribute
from connectome.neurons import Shiu2024
from connectome.simulate import Poisson, Stimulus, run
from sims.benchmarks.fly import fly_like

TRIAL = Trial(drive_ms=100.0, after_ms=100.0, threads=1)


def brain(n: int = 300, m: int = 6000) -> Connectome:
    """Two regions that excite and inhibit each other."""
    fly = fly_like(n, m)
    half = n // 2
    nt = Attribute.of("nt", np.where(fly.sign < 0, "GABA", "ACH"), n)
    shares = [np.arange(k * half, (k + 1) * half) for k in (0, 1)]
    regions = [Region(name, half, attributes={"nt": nt.take(s)}) for name, s in zip("ab", shares, strict=True)]
    edges = []
    for i, s in enumerate("ab"):
        for j, t in enumerate("ab"):
            here = (fly.source // half == i) & (fly.target // half == j)
            edges.append(
                EdgeSet.from_arrays(
                    (s, "local" if s == t else "long_range", t), fly.source[here] % half, fly.target[here] % half,
                    fly.synapses[here], n_source=half, n_target=half, dt_ms=0.1,
                )
            )  # fmt: skip
    return Connectome.of(regions, edges)


SHIU = preset("shiu2024")


def drive(network: Connectome) -> tuple[Connectome, Stimulus]:
    return stimulate(network, SHIU, {"a": np.arange(0, 150, 5)}, 150.0)


def test_a_scan_is_its_runs() -> None:
    gains = [2.0, 0.5]
    scan = gain_scan(brain(), SHIU, drive, gains, TRIAL)
    assert scan.gain.values.tolist() == [0.5, 2.0]
    assert scan.region.values.tolist() == ["a", "b"]
    network, stimulus = drive(animate(brain(), replace(SHIU, gain=2.0))[0])
    spikes = run(network, 200.0, Stimulus(), threads=1)
    assert not spikes.n_spikes.values.any()
    driven, state = run(network, 100.0, stimulus, threads=1, return_state=True)
    after = run(network, 100.0, threads=1, state=state)
    np.testing.assert_allclose(scan.rate_hz.values[1], driven.n_spikes.values / 150 / 0.1)
    mine = driven.spike_neuron.values[driven.spike_region.values == 1]
    assert scan.active_share.values[1, 1] == np.unique(mine).size / 150 > 0
    late = after.spike_time_ms.values > 50
    assert scan.mean_after_hz.values[1] == pytest.approx(late.sum() / 300 / 0.05)
    assert scan.mean_hz.values[1] == pytest.approx(driven.attrs["n_spikes"] / 300 / 0.1)


@pytest.mark.parametrize("region", [None, "b"])
def test_calibrated_to_a_rate(region: Any) -> None:
    found, scan = calibrate(brain(), SHIU, drive, target_hz=20.0, region=region, trial=TRIAL)
    rate = scan.mean_hz if region is None else scan.rate_hz.sel(region=region)
    below = scan.gain.values[scan.gain.values < found.gain]
    assert below.size > 3
    assert float(rate.sel(gain=found.gain)) == pytest.approx(20, rel=0.25)
    assert float(rate.sel(gain=below[0])) < 20
    assert (np.diff(scan.gain) > 0).all()
    assert scan.gain.size == len(GAINS) + 6
    assert scan.attrs["chosen_gain"] == found.gain


def test_calibrated_to_the_edge_of_activity() -> None:
    """At the gain found everything ends with the drive; at the next that was tried it goes on."""
    excited = brain()
    ach = {"nt": Attribute.of("nt", "ACH", 150)}
    excited = replace(excited, regions={k: replace(r, attributes=ach) for k, r in excited.regions.items()})
    found, scan = calibrate(excited, SHIU, drive, trial=TRIAL)
    after = scan.mean_after_hz
    assert float(after.sel(gain=found.gain)) == 0
    (higher,) = scan.gain.values[scan.gain.values > found.gain][:1]
    assert float(after.sel(gain=higher)) > 0
    assert higher / found.gain < 1.05
    axis: Any = draw_gain_scan(scan).axes[1]
    lines = axis.get_lines()
    np.testing.assert_array_equal(lines[-2].get_ydata(), after)
    assert lines[-1].get_xdata()[0] == found.gain
    assert [t.get_text() for t in axis.get_legend().get_texts()] == ["a", "b", "all neurons"]


def test_what_no_gain_gives_is_refused() -> None:
    with pytest.raises(ConnectomeError, match=r"between what the gains give, 1e\+06 Hz; found .* Hz at"):
        calibrate(brain(), SHIU, drive, target_hz=1e6, gains=(0.1, 1.0), trial=TRIAL)
    with pytest.raises(ConnectomeError, match=r"edge of activity between them; found it dies out even at 0\.02"):
        calibrate(brain(), SHIU, drive, gains=(0.01, 0.02), trial=TRIAL)
    alive = replace(SHIU, neuron=Shiu2024(i_e_pa=10.0))
    with pytest.raises(ConnectomeError, match=r"it outlives the drive at the least gain, 0\.01"):
        calibrate(brain(), alive, drive, gains=(0.01, 0.02), trial=TRIAL)
    with pytest.raises(ConnectomeError, match="region must be one of a, b; found 'c'"):
        calibrate(brain(), SHIU, drive, target_hz=1.0, region="c", gains=(0.01, 0.02), trial=TRIAL)
    with pytest.raises(ConnectomeError, match="target_hz must be finite and > 0; found 0"):
        calibrate(brain(), SHIU, drive, target_hz=0, trial=TRIAL)
    with pytest.raises(ConnectomeError, match="gains must be some"):
        gain_scan(brain(), SHIU, drive, [], TRIAL)
    with pytest.raises(ConnectomeError, match="gain must be a finite number > 0; found -1"):
        gain_scan(brain(), SHIU, drive, [-1.0], TRIAL)


def test_warnings_of_silence_and_of_saturation() -> None:
    quick = NeuronParameters(t_ref_ms=5.0)
    network = Connectome.of([Region("quiet", 7), Region("calm", 200), Region("mad", 20, neuron=quick)])
    stimulus = Stimulus(current_pa={"calm": 400.0, "mad": np.where(np.arange(20) < 3, 1e5, 0.0)})
    said = list(activity_warnings(run(network, 200.0, stimulus), network))
    assert said[0] == "quiet is silent: none of its 7 neurons fired in 200 ms."
    assert said[1].startswith("mad is saturated: 15.0\N{NO-BREAK SPACE}% of its 20 neurons fire at more than half")
    assert len(said) == 2
    poisson = Stimulus(poisson={"quiet": Poisson(100.0, 5000.0)})
    assert not [line for line in activity_warnings(run(network, 200.0, poisson), network) if "quiet" in line]


def test_warnings_of_counts() -> None:
    counts = brain()
    (line,) = weight_warnings(counts)
    assert line.startswith("All 6,000 weights are whole numbers, half of them 1 or less")
    assert not list(weight_warnings(animate(counts, SHIU)[0])), "its neurons want counts"
    assert not list(weight_warnings(animate(counts, Physiology(weight=87.8))[0]))
    assert not list(weight_warnings(animate(counts, Physiology(weight=1.0, normalise="in_degree"))[0]))

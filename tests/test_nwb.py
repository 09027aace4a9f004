"""Spikes as NWB: opened by pynwb and checked by its validator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pynwb import NWBHDF5IO, validate

from connectome import Connectome, ConnectomeError, Region
from connectome.io.nwb import write_nwb
from connectome.io.spikes import load_spikes, save_spikes
from connectome.simulate.runs import Poisson, Stimulus, run


@pytest.fixture(scope="module")
def connectome() -> Connectome:
    labels = np.array(["AVAL", "", "é"])
    eye = Region("eye", 3, "sensor", position_um=np.arange(9, dtype=np.float64).reshape(3, 3), label=labels)
    return Connectome.of([Region("none", 0), eye, Region("cell", 2)])


@pytest.mark.parametrize("whole", [True, False])
def test_pynwb_reads_the_spikes_and_finds_nothing_wrong(connectome: Connectome, whole: bool, tmp_path: Path) -> None:
    spikes = run(connectome, 200.0, Stimulus(poisson={"eye": Poisson(50.0)}), seed=3)
    save_spikes(spikes, tmp_path / "a.h5")
    write_nwb(load_spikes(tmp_path / "a.h5"), tmp_path / "a.nwb", connectome if whole else None)
    assert not validate(path=str(tmp_path / "a.nwb"))
    with NWBHDF5IO(str(tmp_path / "a.nwb"), "r") as file:
        read = file.read()
        units = read.units.to_dataframe()
        notes = read.notes
    assert '"seed": 3' in notes
    found = {(u.region, u.neuron): np.asarray(u.spike_times) for u in units.itertuples()}
    if whole:
        assert list(found) == [("eye", 0), ("eye", 1), ("eye", 2), ("cell", 0), ("cell", 1)]
        assert units[["x", "y", "z"]].to_numpy()[:3].tolist() == connectome.regions["eye"].position_um.tolist()
        assert units["label"].tolist() == ["AVAL", "", "é", "", ""]
    assert sum(times.size for times in found.values()) == spikes.sizes["spike"] > 0
    for (region, neuron), times in found.items():
        mine = (spikes.spike_region == list(spikes.region).index(region)) & (spikes.spike_neuron == neuron)
        np.testing.assert_allclose(times, spikes.spike_time_ms.values[mine] / 1000)


def test_attributes_are_columns_and_what_is_missing_stays_so(tmp_path: Path) -> None:
    given: Any = {
        "class": ["KC", None, "é"], "area": [1.5, None, 2.0], "root": [2**60 + 1, None, 3], "n": [3, 4, 5],
        "traced": [True, None, False], "known": [True, False, True], "electrodes": ["a", "b", "c"],
    }  # fmt: skip
    c = Connectome.of([Region("eye", 3, "sensor", attributes=given), Region("cell", 1)])
    write_nwb(run(c, 50.0, Stimulus(poisson={"eye": Poisson(100.0)})), tmp_path / "a.nwb", c)
    assert not validate(path=str(tmp_path / "a.nwb"))
    with NWBHDF5IO(str(tmp_path / "a.nwb"), "r") as file:
        units = file.read().units.to_dataframe()
    assert units["class"].tolist() == ["KC", "", "é", ""]
    np.testing.assert_array_equal(units["area"], [1.5, np.nan, 2.0, np.nan])
    assert units["root"].tolist() == [str(2**60 + 1), "", "3", ""], "an integer that no float holds"
    assert units["traced"].tolist() == ["True", "", "False", ""]
    assert units["electrodes_"].tolist() == ["a", "b", "c", ""], "NWB has the name for something else"
    alone = Connectome.of([c.regions["eye"]])
    write_nwb(run(alone, 50.0, Stimulus(poisson={"eye": Poisson(100.0)})), tmp_path / "b.nwb", alone)
    with NWBHDF5IO(str(tmp_path / "b.nwb"), "r") as file:
        units = file.read().units.to_dataframe()
    assert (units["n"].tolist(), units["known"].tolist()) == ([3, 4, 5], [True, False, True])


def test_no_spikes_are_a_file_too(connectome: Connectome, tmp_path: Path) -> None:
    write_nwb(run(connectome, 5.0), tmp_path / "a.nwb")
    assert not validate(path=str(tmp_path / "a.nwb"))


def test_a_seed_that_hdf5_cannot_hold_as_text_is_quoted(connectome: Connectome, tmp_path: Path) -> None:
    """A file of spikes may say anything of itself."""
    write_nwb(run(connectome, 5.0).assign_attrs(seed="\0"), tmp_path / "a.nwb")
    with NWBHDF5IO(str(tmp_path / "a.nwb"), "r") as file:
        assert file.read().identifier == 'connectome "\\u0000"'


def test_spikes_of_another_connectome_are_refused(connectome: Connectome, tmp_path: Path) -> None:
    spikes = run(connectome, 200.0, Stimulus(poisson={"eye": Poisson(50.0)}), seed=3)
    for other in ([Region("eye", 1, "sensor"), Region("none", 0), Region("cell", 2)], [Region("cell", 2)]):
        with pytest.raises(ConnectomeError, match="spikes"):
            write_nwb(spikes, tmp_path / "a.nwb", Connectome.of(other))
    assert list(tmp_path.iterdir()) == []

"""The program that runs a snapshot: what it writes and shows, and every message for a mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import libsonata
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from matplotlib.image import imread

import sims.develop
from connectome import Connectome, ConnectomeError, EdgeSet, NeuronParameters, Region
from connectome.experiment import animate, physiology_from, stimulate
from connectome.io.exchange import read
from connectome.io.snapshot import load, save
from connectome.io.spikes import load_spikes, save_spikes
from connectome.neurons import AeifPscExp, Izhikevich
from connectome.simulate.runs import Poisson, Stimulus, run
from sims.benchmarks.fly import fly_like
from sims.simulate import main, stimulus_of

DRIVE = ["--drive", "eye:poisson=200", "--drive", "*:current=200", "--drive", "cortex:poisson=500,100"]


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sensor, two regions, one with both signs, an effector."""
    path = tmp_path_factory.mktemp("snapshot") / "01_some.h5"
    rng = np.random.default_rng(0)
    neuron = NeuronParameters(tau_syn_in_ms=5.0)
    regions = [
        Region("eye", 8, "sensor"), Region("cortex", 12, neuron=neuron, sign=np.array([1] * 9 + [-1] * 3, np.int8)),
        Region("thalamus", 5), Region("hand", 2, "effector"),
    ]  # fmt: skip
    edges = []
    for source, kind, target in (
        (0, "afferent", 1), (1, "local", 1), (1, "long_range", 2), (2, "long_range", 1), (2, "efferent", 3),
    ):  # fmt: skip
        a, b = regions[source], regions[target]
        n = 4 * a.size
        i, j = rng.integers(0, a.size, n), rng.integers(0, b.size, n)
        weight = np.where(a.sign[i] < 0, -1, 1) * rng.uniform(50, 400, n)
        edges.append(
            EdgeSet.from_arrays(
                (a.name, kind, b.name), i, j, weight, n_source=a.size, n_target=b.size, dt_ms=0.5, delay_ms=1.5
            )
        )
    save(Connectome.of(regions, edges, dt_ms=0.5), path)
    return path


def program(snapshot: Path, out: Path, *arguments: str) -> int:
    return main([str(snapshot), "--out", str(out), "--duration-ms", "200", *arguments])


def test_writes_the_spikes_of_a_run(snapshot: Path, tmp_path: Path) -> None:
    """The same as run() gives, under the regions' names, as libsonata reads them; and a picture."""
    out = tmp_path / "spikes.h5"
    assert program(snapshot, out, *DRIVE, "--seed", "3", "--quiet") == 0
    stimulus = Stimulus(
        poisson={"eye": Poisson(200.0), "cortex": Poisson(500.0, 100.0)},
        current_pa={"cortex": 200.0, "thalamus": 200.0},
    )
    wanted = run(load(snapshot), 200.0, stimulus, seed=3)
    assert all(wanted.n_spikes.sel(region=name) > 0 for name in ("eye", "cortex", "thalamus"))
    assert load_spikes(out).identical(wanted)
    reader, nodes = libsonata.SpikeReader(str(out)), libsonata.NodeStorage(str(snapshot))
    assert set(reader.get_population_names()) == nodes.population_names
    assert len(reader["cortex"].get()) == int(wanted.n_spikes.sel(region="cortex"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["spikes.h5", "spikes.png"]
    assert imread(tmp_path / "spikes.png").shape[2] == 4


def test_shows_a_table_and_the_cost(snapshot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program(snapshot, tmp_path / "s.h5", *DRIVE, "--no-raster", "--skip-ms", "50") == 0
    shown = capsys.readouterr().out
    spikes = load_spikes(tmp_path / "s.h5")
    n = int(((spikes.spike_region == 1) & (spikes.spike_time_ms > 50)).sum())
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.startswith(" ") and line.strip()}
    assert rows["cortex"][:3] == ["12", str(n), f"{n / 12 / 0.15:.2f}"]
    assert (rows["excitatory"][0], rows["inhibitory"][0]) == ("9", "3")
    assert "hand" not in rows
    flat = " ".join(shown.split())
    assert "27 neurons, 168 edges, steps of 0.5 ms" in flat
    assert "50 to 200 ms." in flat
    assert f"{spikes.attrs['synaptic_operations']:,} synaptic operations" in flat
    assert "real-time factor" in flat
    assert max(len(line) for line in shown.splitlines() if not line.startswith("Written")) <= 80
    assert [p.name for p in tmp_path.iterdir()] == ["s.h5"]


def test_progress_gives_the_factor_after_the_preparation(
    snapshot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """5 s of preparation, then 0.2 s of model time in 0.1 s."""
    now = [0.0]
    monkeypatch.setattr("sims.simulate.time", mock.Mock(perf_counter=lambda: now[0]))

    def fake(network: Connectome, duration_ms: float, stimulus: Stimulus, **options: Any) -> Any:
        progress = options.pop("progress")
        for at, then in ((5.0, 0.0), (5.04, 80.0), (5.1, 200.0)):
            now[0] = at
            progress(then)
        options.pop("threads")
        return run(network, duration_ms, stimulus, **options)

    monkeypatch.setattr("connectome.simulate.runs.run", fake)
    assert program(snapshot, tmp_path / "s.h5", "--no-raster") == 0
    flat = " ".join(capsys.readouterr().out.split())
    assert "200/200 ms real-time factor 0.5" in flat
    assert "200 ms in 0.10 s after 5.00 s of preparation: real-time factor 0.5;" in flat


def test_a_run_replays_from_its_spikes(snapshot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The sensors' spikes come back from the file; those of neurons in it are what they are to become again."""
    first, second = tmp_path / "first.h5", tmp_path / "second.h5"
    neurons = ["--drive", "*:current=350", "--no-raster"]
    assert program(snapshot, first, "--drive", "eye:poisson=200", *neurons, "--quiet") == 0
    assert program(snapshot, second, "--spikes", str(first), *neurons) == 0
    a, b = load_spikes(first), load_spikes(second)
    assert int(a.n_spikes.sel(region="cortex")) > 0
    assert a.identical(b)
    assert f"Replayed: eye {int(a.n_spikes.sel(region='eye'))} spikes" in capsys.readouterr().out


def test_a_run_without_spikes(snapshot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program(snapshot, tmp_path / "s.h5") == 0
    assert load_spikes(tmp_path / "s.h5").n_spikes.values.tolist() == [0, 0, 0, 0]
    shown = capsys.readouterr().out
    assert "Drive: none" in shown
    (cortex,) = (line.split() for line in shown.splitlines() if line.strip().startswith("cortex"))
    assert cortex == ["cortex", "12", "0", "0.00", "-", "(0)", "-"]


def test_the_same_seed_gives_the_same_bytes_on_any_number_of_threads(snapshot: Path, tmp_path: Path) -> None:
    for name, options in (("a", ["--threads", "1"]), ("b", ["--threads", "2"]), ("c", ["--seed", "1"])):
        assert program(snapshot, tmp_path / f"{name}.h5", *DRIVE, "--quiet", *options) == 0
    a, b, c = ([(tmp_path / f"{name}{suffix}").read_bytes() for suffix in (".h5", ".png")] for name in "abc")
    assert a == b
    assert a[0] != c[0]


def test_precision_is_an_option(snapshot: Path, tmp_path: Path) -> None:
    assert program(snapshot, tmp_path / "s.h5", *DRIVE, "--dtype", "float64", "--quiet", "--no-raster") == 0
    assert load_spikes(tmp_path / "s.h5").attrs["dtype"] == "float64"


def test_a_device_is_checked_before_anything_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Here, and by develop."""
    for options, said in (
        (["--device", "cpu"], "--device must go with --engine torch"),
        (["--device", "abacus", "--engine", "torch"], "--device must be one that torch has here, such as cpu or cuda"),
    ):
        assert program(tmp_path / "none.h5", tmp_path / "out.h5", *options) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    if not torch.cuda.is_available():
        for engine in ("torch", "numba"):
            run = ["--regions", "perception", "--out", str(tmp_path / "run"), "--engine", engine, "--device", "cuda"]
            assert sims.develop.main(run) == 2
            error = capsys.readouterr().err
            assert "--device must be one that torch has here, such as cpu or cuda; found cuda" in error
            assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_file_of_other_models_runs_on_either_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    regions = [Region("a", 3, neuron=Izhikevich(i_e_pa=[5.0, 10.0, 15.0])), Region("b", 2, neuron=AeifPscExp())]
    save(Connectome.of(regions), tmp_path / "a.h5")
    found = []
    for engine in ("numba", "torch"):
        options = ["--dtype", "float64", "--drive", "b:current=800", "--no-raster", "--engine", engine]
        assert program(tmp_path / "a.h5", tmp_path / f"{engine}.h5", *options) == 0
        assert "neurons of izhikevich, aeif_psc_exp" in capsys.readouterr().out
        found.append(load_spikes(tmp_path / f"{engine}.h5"))
    assert found[0].spike_time_ms.size > 20
    np.testing.assert_array_equal(found[0].spike_time_ms, found[1].spike_time_ms)


def test_quiet_is_quiet(snapshot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program(snapshot, tmp_path / "s.h5", *DRIVE, "--quiet")
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    """The message: one line and no traceback."""
    error = capsys.readouterr().err
    assert error.startswith("simulate: ")
    assert error.count("\n") == 1
    return error


def test_files_that_exist_are_kept_unless_told(
    snapshot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, picture = tmp_path / "s.h5", tmp_path / "s.png"
    for kept in (out, picture):
        kept.write_text("mine")
        assert program(snapshot, out, "--quiet") == 2
        assert f"must not exist already; found {str(kept)!r}" in refused(capsys)
        assert [p.read_text() for p in tmp_path.iterdir()] == ["mine"]
        kept.unlink()
    out.write_text("mine")
    picture.write_text("mine")
    assert program(snapshot, out, "--quiet", "--overwrite") == 0
    assert load_spikes(out).sizes["spike"] == 0
    assert imread(picture).size


def test_its_own_input_is_never_written_over(
    snapshot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot.read_bytes()
    assert program(snapshot, snapshot, "--overwrite") == 2
    assert "--out must not be the file of GRAPH" in refused(capsys)
    assert snapshot.read_bytes() == before
    assert program(snapshot, tmp_path / "s.h5", "--spikes", str(tmp_path / "s.h5"), "--overwrite") == 2
    assert "--out must not be the file of --spikes" in refused(capsys)


def test_ctrl_c_leaves_nothing(
    snapshot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("connectome.simulate.runs.run", interrupted)
    assert program(snapshot, tmp_path / "s.h5") == 130
    assert "interrupted" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


FORM = "--drive must be REGION:poisson=RATE_HZ[,WEIGHT_PA] or REGION:current=PA"


@pytest.mark.parametrize(
    ("drive", "message"),
    [
        ("", f"{FORM}; found ''"),
        ("cortex", f"{FORM}; found 'cortex'"),
        ("cortex:poisson", FORM),
        ("cortex:poisson=", FORM),
        ("cortex:poisson=,", FORM),
        ("cortex:poisson=5;6", FORM),
        ("cortex:poisson=5,6,7", f"{FORM}, with finite numbers"),
        ("cortex:current=5,6", f"{FORM}, with finite numbers"),
        ("cortex:current=nan", f"{FORM}, with finite numbers"),
        ("cortex:poisson=5,inf", f"{FORM}, with finite numbers"),
        ("cortex:noise=5", FORM),
        (":current=5", FORM),
        ("cortex:cortex:current=5", FORM),
        ("cortex:poisson=-1,5", "--drive must have a rate of 0 .. 1,000,000 Hz; found 'cortex:poisson=-1,5'"),
        ("eye:poisson=1e300", "--drive must have a rate of 0 .. 1,000,000 Hz"),
        ("nose:current=5", "--drive must name a region of eye, cortex, thalamus, hand, or *"),
        ("*eye:current=5", "--drive must name a region of eye"),
        ("eye:current=5", "--drive must be eye:poisson=RATE_HZ, as eye is a sensor"),
        ("eye:poisson=5,6", "--drive must be eye:poisson=RATE_HZ, as eye is a sensor"),
        ("cortex:poisson=5", "--drive must be cortex:poisson=RATE_HZ,WEIGHT_PA; only a sensor goes without"),
        ("*:poisson=5", "--drive must be *:poisson=RATE_HZ,WEIGHT_PA"),
    ],
)
def test_a_drive_that_cannot_be_used_gets_one_line(
    drive: str, message: str, snapshot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(snapshot, tmp_path / "s.h5", "--drive", drive) == 2
    assert message in refused(capsys)
    assert not list(tmp_path.iterdir())


@given(
    st.text()
    | st.lists(
        st.sampled_from(
            ["eye", "cortex", "*", ":", "=", ",", "poisson", "current", "5", "-1", "1e400", "nan", "\n", "٣"]
        )
    ).map("".join)
)
@example("cortex:current=5")
def test_any_drive_is_used_or_refused(drive: str) -> None:
    """Nothing else."""
    try:
        stimulus, _ = stimulus_of([drive], None, {"eye": Region("eye", 3, "sensor"), "cortex": Region("cortex", 5)})
    except ConnectomeError as error:
        said = error.field
    else:
        said = "--drive" if stimulus.poisson or stimulus.current_pa else "nothing"
    assert said == "--drive"


def test_a_region_is_driven_once_by_each_kind(
    snapshot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(snapshot, tmp_path / "s.h5", "--drive", "cortex:current=5", "--drive", "*:current=6") == 2
    assert "--drive must give a region one current drive; found '*:current=6', a second one" in refused(capsys)


def test_star_needs_a_region_of_neurons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(Connectome.of([Region("eye", 2, "sensor")]), tmp_path / "eye.h5")
    assert program(tmp_path / "eye.h5", tmp_path / "s.h5", "--drive", "*:current=5") == 2
    assert "found '*:current=5', and no region of neurons" in refused(capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--duration-ms", "0"], "--duration-ms must be finite and > 0; found 0.0"),
        (["--duration-ms", "nan"], "--duration-ms must be finite and > 0"),
        (["--duration-ms", "0.7"], "duration_ms must be a whole number of steps of 0.5 ms; found 0.7"),
        (["--skip-ms", "200"], "--skip-ms must be 0 or more and less than --duration-ms, 200; found 200.0"),
        (["--seed", "-1"], "--seed must be in 0 .. 2**63 - 1; found -1"),
        (["--threads", "0"], "--threads must be 1 or more; found 0"),
        (["--raster", "s.jpg"], "--raster must end in .png; found 's.jpg'"),
        (["--out", "s.txt"], "--out must end in .h5; found 's.txt'"),
        (["--out", "nowhere/s.h5"], "--out must be a file in a folder that can be written; found 'nowhere/s.h5'"),
        (["--raster", "nowhere/s.png"], "--raster must be a file in a folder that can be written"),
        (["--spikes", "nowhere.h5"], "nowhere.h5 must be a file that can be read"),
    ],
)
def test_an_option_that_cannot_be_used_gets_one_line(
    arguments: list[str], message: str, snapshot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert program(snapshot, tmp_path / "s.h5", "--quiet", *arguments) == 2
    assert message in refused(capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["nose"], "must have populations among ['eye', 'cortex', 'thalamus', 'hand']; found 'nose'"),
        (["cortex"], "must have a population of a sensor, of ['eye']; found none"),
    ],
)
def test_spikes_of_another_network_are_refused(
    names: list[str], message: str, snapshot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Connectome.of([Region(name, 2) for name in names])
    save_spikes(run(other, 1.0), tmp_path / "other.h5")
    assert program(snapshot, tmp_path / "s.h5", "--spikes", str(tmp_path / "other.h5")) == 2
    assert message in refused(capsys)


def test_what_is_no_snapshot_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program(tmp_path / "none.h5", tmp_path / "s.h5") == 2
    assert "graph must be a file, a run's folder or the name" in refused(capsys)
    save_spikes(run(Connectome.of([Region("a", 2)]), 1.0), tmp_path / "spikes.h5")
    assert program(tmp_path / "spikes.h5", tmp_path / "s.h5") == 2
    assert "must be to the SONATA format, with groups /nodes and /edges" in refused(capsys)


@pytest.mark.parametrize("arguments", [[], ["--duration-ms", "long"], ["--raster", "a.png", "--no-raster"]])
def test_usage_is_shown(arguments: list[str], snapshot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([str(snapshot), *arguments] if arguments else [])
    assert left.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_what_would_not_fit_in_memory_is_refused(
    snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("connectome.memory.free_bytes", lambda: 100e6)
    assert main([str(snapshot), "--out", str(tmp_path / "spikes.h5")]) == 2
    error = capsys.readouterr().err
    assert "memory must have about 0.3 GB free for" in error
    assert "found 0.1 GB" in error
    assert not list(tmp_path.iterdir())


# Physiology


@pytest.fixture
def counted(tmp_path: Path) -> Path:
    """A table of counts, and one of cells."""
    fly = fly_like(200, 4000)
    file = tmp_path / "fly.csv"
    rows = zip(fly.id[fly.source], fly.id[fly.target], fly.synapses, strict=True)
    file.write_text("pre_root_id,post_root_id,syn_count\n" + "".join(f"{i},{j},{k}\n" for i, j, k in rows))
    cells = [
        (i, "ACH" if sign > 0 else "GABA", ("PN", "KC")[k % 2])
        for k, (i, sign) in enumerate(zip(fly.id, fly.sign, strict=True))
    ]
    lines = "".join(f"{i},{nt},{kind}\n" for i, nt, kind in cells)
    (tmp_path / "fly_nodes.csv").write_text(f"root_id,nt_type,class\n{lines}")
    return file


def test_counts_are_made_alive(counted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The spikes are those of the same in Python, and the program says what it made of the counts."""
    out = tmp_path / "a.h5"
    query = "class == 'PN' and nt_type == 'ACH'"
    given = [str(counted), "--regions-from", "class", "--out", str(out), "--duration-ms", "200", "--no-raster"]
    assert main([*given, "--physiology", "shiu2024", "--set", "gain=2", "--stimulate", query, "--seed", "3"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    graph = read(counted, regions_from="class")
    physiology = physiology_from({"preset": "shiu2024", "gain": 2})
    network, account = animate(graph, physiology)
    cells = network.select(query)
    network, stimulus = stimulate(network, physiology, cells, 150.0)
    wanted, found = run(network, 200.0, stimulus, seed=3), load_spikes(out)
    assert wanted.n_spikes.values.min() > 10
    np.testing.assert_array_equal(found.spike_neuron, wanted.spike_neuron)
    np.testing.assert_allclose(found.spike_time_ms, wanted.spike_time_ms)
    assert str(account) in said
    assert f"Stimulated at 150 Hz: {len(cells)} cells" in said
    assert "neurons of shiu2024" in said


def test_a_calibration_is_drawn(counted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [str(counted), "--out", str(tmp_path / "a.h5"), "--duration-ms", "50", "--no-raster"]
    options = ["--physiology", "shiu2024", "--stimulate", "class == 'PN'", "--calibrate"]
    assert main([*given, *options, "edge"]) == 0
    assert "Hz after;" in capsys.readouterr().out
    assert (tmp_path / "a_gain.png").stat().st_size > 10_000
    assert main([*given, *options, "edge"]) == 2
    assert "must not exist already" in refused(capsys)
    assert main([*given, *options, "1e6", "--overwrite"]) == 2
    assert "between what the gains give" in refused(capsys)


def test_silence_and_counts_are_said(counted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(counted), "--out", str(tmp_path / "a.h5"), "--duration-ms", "5", "--no-raster"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Note: All 4,000 weights are whole numbers" in said
    assert "Note: all is silent: none of its 200 neurons fired in 5 ms." in said


def test_a_region_has_one_poisson_drive(counted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [str(counted), "--out", str(tmp_path / "a.h5"), "--drive", "all:poisson=5,5", "--physiology", "shiu2024"]
    assert main([*given, "--stimulate", "class == 'PN'"]) == 2
    assert "--stimulate must not be of regions that --drive gives Poisson events; found all" in refused(capsys)

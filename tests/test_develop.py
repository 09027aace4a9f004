"""The main program, small: what it writes, that the same seed gives the same bytes, and every message for a mistake."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from connectome import ConnectomeError
from connectome.analysis.intervals import mean_of
from connectome.datasets.images import Images
from connectome.development import stages as development
from connectome.development.stages import versions
from connectome.io import checkpoint, hdf5
from connectome.io.checkpoint import Checkpoint
from connectome.io.results import load_results, save_results
from connectome.io.snapshot import list_stages, load, open_snapshot
from sims.develop import _sweep, main
from sims.program import locked
from sims.summarize import main as summarize
from tests.kill_runs import contents
from tests.sonata_readers import check_bmtk, check_libsonata

SMALL = """
[anatomy]
neurons = 40
[training]
perception = 24
motor = 24
interaction = 24
batch = 16
epoch_updates = 4
[data]
test_trials = 20
[rules.growth]
edges = 20
[rules.pruning]
inhibition = 0.5
"""
FILES = ["00_birth.h5", "01_perception.h5", "02_motor.h5", "03_interaction.h5", "configuration.toml", "development.png",
         "manifest.json", "report.html", "results.nc"]  # fmt: skip


def run(folder: Path, *arguments: str, config: str = SMALL, report: bool = False) -> tuple[int, Path]:
    (folder / "small.toml").write_text(config)
    out = folder / "out"
    command = ["--out", str(out), "--config", str(folder / "small.toml"), *arguments]
    return main(command if report else [*command, "--no-report"]), out


def digests(out: Path) -> dict[str, str]:
    """SHA-256 of every dataset of every snapshot."""
    found: dict[str, str] = {}
    for path in sorted(out.glob("*.h5")):
        with h5py.File(path) as file:

            def visit(name: str, item: object, path: Path = path) -> None:
                if isinstance(item, h5py.Dataset):
                    value = np.asarray(item[()])
                    content = repr(value.tolist()).encode() if value.dtype.hasobject else value.tobytes()
                    found[f"{path.name}:{name}"] = hashlib.sha256(content).hexdigest()

            file.visititems(visit)
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three stages."""
    code, out = run(tmp_path_factory.mktemp("run"), "--quiet", report=True)
    assert code == 0
    return out


def test_writes_a_snapshot_a_stage_and_the_results(finished: Path) -> None:
    assert sorted(p.name for p in finished.iterdir() if p.is_file()) == FILES
    stages = list_stages(finished)
    assert [s.provenance.stage_name for s in stages] == ["birth", "perception", "motor", "interaction"]
    assert [s.provenance.stage for s in stages] == [0, 1, 2, 3]
    assert all(s.config == (finished / "configuration.toml").read_text() for s in stages)


def test_a_region_is_added_when_its_stage_begins(finished: Path) -> None:
    regions = [set(s.regions) for s in list_stages(finished)]
    assert regions[0] == regions[1] == {"image", "perception", "digit"}
    assert regions[2] - regions[1] == {"joints", "goal", "motor", "muscles"}
    assert regions[3] - regions[2] == {"interaction"}
    last = load(finished / "03_interaction.h5")
    assert {k.kind for k in last.edges if "interaction" in (k.source, k.target)} == {"local", "long_range"}


def test_stages_are_linked_by_their_parents(finished: Path) -> None:
    snapshots = [load(finished / name) for name in FILES[1:4]]
    for parent, child in pairwise(snapshots):
        assert child.provenance.parents == (parent.digest(),)


def test_the_rule_log_accounts_for_every_edge(finished: Path) -> None:
    """Edges at birth, plus what was grown, less what was removed, are the edges that there are."""
    newborn, last = load(finished / "00_birth.h5"), load(finished / "03_interaction.h5")
    log = last.provenance.rule_log
    assert {r.rule for r in log} == {"growth", "strengthening", "feedback_pruning", "homeostasis"}
    key = next(k for k in newborn.edges if k.kind == "local")
    mine = [r for r in log if (r.source, r.kind, r.target) == key]
    assert len(newborn.edges[key]) + sum(r.added - r.removed for r in mine) == len(last.edges[key])
    assert sum(r.removed for r in mine) > 0


def test_results_agree_with_the_snapshots(finished: Path) -> None:
    results = load_results(finished / "results.nc")
    assert list(results.stage.values) == list(results.task.values) == ["perception", "motor", "interaction"]
    score = results.score.values
    assert np.isnan(score[np.triu_indices(3, 1)]).all()
    assert ((score[np.tril_indices(3)] >= 0) & (score[np.tril_indices(3)] <= 1)).all()
    for stage, name in zip(results.stage.values, FILES[1:4], strict=True):
        snapshot = open_snapshot(finished / name)
        edges = results.edges.sel(stage=stage)
        assert {str(k): n for k, n in snapshot.edges.items()} == {
            str(k): int(n) for k, n in zip(edges.edge_set.values, edges.values, strict=True) if n
        }
    log = load(finished / "03_interaction.h5").provenance.rule_log
    assert int(results.rule_count.sel(change="removed").sum()) == sum(r.removed for r in log)
    assert results.attrs["seed"] == 0


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")  # bmtk's use of pandas
def test_libsonata_and_bmtk_open_every_snapshot(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Node counts, edges, weights, delays, afferent and efferent queries equal ours."""
    for path in sorted(finished.glob("*.h5")):
        snapshot = load(path)
        check_libsonata(snapshot, path)
        monkeypatch.chdir(path.with_suffix(".sonata"))
        check_bmtk(snapshot, stride=9)


def test_the_same_seed_gives_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    _, out = run(tmp_path, "--quiet")
    assert digests(out) == digests(finished)
    assert load_results(out / "results.nc").equals(load_results(finished / "results.nc"))
    _, other = run(tmp_path, "--quiet", "--seed", "1", "--overwrite")
    assert digests(other) != digests(finished)


def test_what_is_half_written_is_swept_or_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of checkpoints that could not be listed kept what was in it."""
    left = tmp_path / "checkpoints" / ".00000001.h5.a.tmp"
    left.parent.mkdir()
    left.touch()
    listed = os.listdir

    def refuse(path: Any) -> list[str]:
        if Path(path) == left.parent:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", refuse)
        with pytest.raises(PermissionError):
            _sweep(tmp_path)
    _sweep(tmp_path)
    assert not left.exists()


def test_any_number_of_threads_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several tiles of samples, so that threads have something to share."""
    config = SMALL.replace("= 24", "= 6").replace("batch = 16", "batch = 70")
    found = []
    for threads in (1, 2, 3):
        monkeypatch.setattr("connectome.learning.network.cores", lambda threads=threads: threads)
        code, out = run(tmp_path, "--regions", "perception", "--quiet", "--overwrite", config=config)
        assert code == 0
        found.append(contents(out))
    assert found[0] == found[1] == found[2]


def test_a_folder_with_a_run_is_refused_and_kept(
    finished: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = {p.name: p.read_bytes() for p in finished.iterdir() if p.is_file()}
    assert main(["--out", str(finished)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert {p.name: p.read_bytes() for p in finished.iterdir() if p.is_file()} == before


def test_one_region_and_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(tmp_path, "--regions", "motor")
    shown = capsys.readouterr().out
    assert code == 0
    assert "Test score on each task" in shown
    assert "01_motor.h5" in shown
    assert sorted(p.name for p in out.glob("*.h5")) == ["00_birth.h5", "01_motor.h5"]


def test_quiet_is_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, "--regions", "perception", "--quiet")
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_the_torch_engine_runs_the_same_program(tmp_path: Path) -> None:
    tiny = SMALL.replace("= 24", "= 4").replace("neurons = 40", "neurons = 16")
    code, out = run(tmp_path, "--regions", "perception", "--engine", "torch", "--quiet", config=tiny)
    assert code == 0
    assert load_results(out / "results.nc").attrs["engine"] == "torch"


def test_images_from_idx_files(tmp_path: Path) -> None:
    """MNIST's format, at another size than scikit-learn's digits."""
    rng = np.random.default_rng(0)
    for prefix, n in (("train", 40), ("t10k", 20)):
        images, labels = rng.integers(0, 256, (n, 6, 5), np.uint8), np.arange(n, dtype=np.uint8) % 10
        header = bytes([0, 0, 8, 3]) + np.array(images.shape, ">u4").tobytes()
        (tmp_path / f"{prefix}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        (tmp_path / f"{prefix}-labels-idx1-ubyte").write_bytes(
            bytes([0, 0, 8, 1]) + np.array([n], ">u4").tobytes() + labels.tobytes()
        )
    config = SMALL.replace("[data]", f"[data]\nidx_folder = '{tmp_path}'")
    code, out = run(tmp_path, "--regions", "perception", "--quiet", config=config)
    assert code == 0
    assert load(out / "01_perception.h5").regions["image"].size == 30


def test_a_summary_over_seeds(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, other = run(tmp_path, "--quiet", "--seed", "1")
    assert summarize([str(finished), str(other)]) == 0
    shown = capsys.readouterr().out
    scores = [float(load_results(p / "results.nc").score.sel(stage="motor", task="motor")) for p in (finished, other)]
    mean, half, _ = mean_of(scores)
    assert mean == pytest.approx(np.mean(scores))
    assert half == pytest.approx(
        12.7062 * abs(scores[0] - scores[1]) / 2, rel=1e-5
    )  # Student's t, one degree of freedom
    assert f"{mean * 100:.1f} ± {half * 100:.1f} %" in shown
    assert summarize([str(tmp_path)]) == 2
    assert "must be a folder that sims.develop wrote" in capsys.readouterr().err
    _, unlike = run(tmp_path, "--quiet", "--overwrite", config=SMALL.replace("neurons = 40", "neurons = 41"))
    assert summarize([str(finished), str(unlike)]) == 2
    assert "must have the configuration of" in capsys.readouterr().err
    half_done = load_results(finished / "results.nc").isel(stage=slice(2), task=slice(2))
    save_results(half_done, other / "results.nc")
    assert summarize([str(finished), str(other)]) == 2
    assert (
        "must be a finished run of perception, motor, interaction; found perception, motor" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--regions", ""], "regions must name at least one region"),
        (["--regions", "perception,,motor"], "regions must name at least one region"),
        (
            ["--regions", "vision"],
            "regions must be known; found 'vision'. Known regions: perception, motor, interaction, events, adaptation",
        ),
        (["--regions", "motor,motor"], "regions must not repeat; found 'motor'"),
        (["--regions", "interaction"], "regions must have perception and motor before interaction"),
        (["--regions", "perception,interaction,motor"], "regions must have motor before interaction"),
        (["--seed", "-1"], "--seed must be in 0 .. 2**63 - 1; found -1"),
        (["--config", "nowhere.toml"], "configuration nowhere.toml must be a readable TOML file"),
    ],
)
def test_a_mistake_gets_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path / "out"), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("[anatomy]\nneurons = 0", "anatomy.neurons must be in 1 .. "),
        ("[anatomy]\nneurons = 1.5", "anatomy.neurons must be of type int; found 1.5, a float"),
        ("[anatomy]\nneuron = 5", "anatomy must have no keys but"),
        ("[brain]", "must have no tables but"),
        (
            "[rules.magic]",
            "shuffled, low_rank_birth, dead_maps, balanced_birth, replay_ratio, generative_growth; found 'magic'",
        ),
        ("[rules.pruning]\nkeep = 2", "rules.pruning.keep must be in 0 .. 1; found 2"),
        ("[training]\nimportance = 'luck'", "training.importance must be among"),
        ("not toml", "must be a readable TOML file"),
        ("[data]\nidx_folder = 'nowhere'", "images must be mnist, cifar10, cifar100 or a file or folder that exists"),
    ],
)
def test_a_wrong_configuration_gets_one_line(
    config: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = run(tmp_path, config=config)
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_an_out_that_cannot_be_made_gets_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("a file")
    assert main(["--out", str(tmp_path / "out")]) == 2
    assert "--out must be a folder that can be written" in capsys.readouterr().err


def after_checkpoints(monkeypatch: pytest.MonkeyPatch, act: Callable[[Checkpoint], None]) -> None:
    """Do something after each checkpoint of a run in this process."""
    save = checkpoint.save_checkpoint

    def saved(made: Checkpoint, run: Path) -> None:
        save(made, run)
        act(made)

    monkeypatch.setattr(checkpoint, "save_checkpoint", saved)


@pytest.mark.parametrize(
    ("number", "code", "point"),
    [(signal.SIGTERM, 143, (2, 7)), (signal.SIGINT, 130, (3, 24))],
    ids=["within an epoch", "before the tests"],
)
def test_an_interrupted_run_goes_on_to_the_same_bytes(
    number: signal.Signals, code: int, point: tuple[int, int], finished: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The signal comes right after a checkpoint, and is heeded at the next point."""

    def interrupt(made: Checkpoint) -> None:
        if made.state is not None and (made.state.stage, made.state.update) == point:
            signal.raise_signal(number)

    with monkeypatch.context() as patch:
        after_checkpoints(patch, interrupt)
        ended, out = run(tmp_path, "--quiet", "--checkpoint-every", "0")
    assert ended == code
    error = capfd.readouterr().err
    assert "Stopping at the next point" in error
    assert f"Go on with: python -m sims.develop --resume {out}" in error
    assert "Traceback" not in error
    assert len(list((out / "checkpoints").iterdir())) == 2
    stage, _ = point
    assert [s.provenance.stage for s in list_stages(out)] == list(range(max(stage, 1)))
    assert main(["--resume", str(out), "--quiet"]) == 0
    assert contents(out) == contents(finished)


def test_a_second_interrupt_stops_at_once(
    tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Even in the middle of a write, of which nothing is left."""

    def interrupt(made: Checkpoint) -> None:
        if made.number == 9:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            pytest.fail("it went on")

    with monkeypatch.context() as patch:
        after_checkpoints(patch, interrupt)
        ended, out = run(tmp_path, "--quiet", "--checkpoint-every", "0")
    assert ended == 130
    assert "--resume" in capfd.readouterr().err
    assert sorted(p.name for p in (out / "checkpoints").iterdir()) == ["00000008.h5", "00000009.h5"]
    # The last checkpoint is damaged: the one before it is as good.
    last = out / "checkpoints" / "00000009.h5"
    last.write_bytes(last.read_bytes()[:-100])
    (out / ".results.nc.0123.tmp").write_text("half a file of a process that was killed")
    assert main(["--resume", str(out), "--quiet"]) == 0
    assert "00000009.h5 must be a whole, undamaged HDF5 file" in capfd.readouterr().err
    assert contents(out) == contents(finished)


def test_a_killed_process_goes_on_to_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    """SIGKILL at some instant in the second stage, of a process of its own."""
    (tmp_path / "small.toml").write_text(SMALL)
    out = tmp_path / "out"
    command = ["--out", str(out), "--config", str(tmp_path / "small.toml"), "--checkpoint-every", "0"]
    program = subprocess.Popen([sys.executable, "-m", "sims.develop", *command], cwd=Path(__file__).parents[1])
    deadline = time.monotonic() + 300
    while not (out / "results.nc").exists():
        assert program.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    program.kill()
    program.wait()
    assert not (out / "development.png").exists()
    assert main(["--resume", str(out), "--quiet"]) == 0
    assert contents(out) == contents(finished)


@pytest.fixture
def broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of one stage that was interrupted in it."""

    def interrupt(made: Checkpoint) -> None:
        if made.number == 2:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        after_checkpoints(patch, interrupt)
        code, out = run(tmp_path, "--regions", "motor", "--quiet", "--checkpoint-every", "0")
    assert code == 143
    return out


def test_damage_to_what_a_run_is_done_with_is_seen_when_it_goes_on(
    broken_off: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a byte of the birth that no reader looks at, and of a file beside it."""
    for name in ("00_birth.h5", "00_birth.sonata/node_types.csv"):
        whole = (broken_off / name).read_bytes()
        (broken_off / name).write_bytes(bytes([*whole[:-1], whole[-1] ^ 1]))
        assert main(["--resume", str(broken_off), "--quiet"]) == 2
        assert f"{name} must be as the run wrote it; found another content" in capsys.readouterr().err
        (broken_off / name).write_bytes(whole)
    assert main(["--resume", str(broken_off), "--quiet"]) == 0


def test_what_is_wrong_with_going_on_gets_one_line(
    broken_off: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    capsys.readouterr()

    def refused(*arguments: str) -> str:
        assert main([*arguments, "--quiet"]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    def full(sink: hdf5.Sink, data: Any) -> int:
        sink.failure = OSError(28, "No space")
        return len(memoryview(data).cast("B"))

    here = str(broken_off)
    error = refused("--resume", here, "--seed", "1", "--regions", "motor")
    assert "must come without options that say what the run is: its folder knows; found --regions, --seed" in error
    assert "must be the folder of a run" in refused("--resume", f"{here}/nowhere")
    assert "must have a checkpoint to go on from; found none" in refused("--resume", str(broken_off.parent))
    assert "--checkpoint-every must be finite and 0 or more" in refused("--resume", here, "--checkpoint-every", "nan")
    assert f"Go on with: python -m sims.develop --resume {here}; or" in refused("--out", here)
    with locked("--out", broken_off):
        assert "must be a folder that no other run writes to" in refused("--resume", here)
        assert "must be a folder that no other run writes to" in refused("--out", here, "--overwrite")
    text = (broken_off / "configuration.toml").read_text()
    (broken_off / "configuration.toml").write_text(text.replace("neurons = 40", "neurons = 50"))
    assert "configuration.toml must be as the run wrote it" in refused("--resume", here)
    (broken_off / "configuration.toml").write_text(text)
    with monkeypatch.context() as patch:
        patch.setattr(development, "versions", lambda stages=(): {**versions(stages), "numpy": "9.9"})
        assert f"numpy {np.__version__}, now 9.9" in refused("--resume", here)
    with monkeypatch.context() as patch:
        patch.setattr(Images, "digest", lambda images: "another set of images")
        error = refused("--resume", here)
        assert "must be with the versions and data that the run began with; found images " in error
    with monkeypatch.context() as patch:
        patch.setattr(hdf5.Sink, "write", full)
        error = refused("--resume", here)
        assert "01_motor.h5 must be writable; found No space" in error
        assert f"--resume {here}" in error
    for path in (broken_off / "checkpoints").iterdir():
        path.write_bytes(b"")
    assert "must have a checkpoint to go on from; found" in refused("--resume", here)


def test_another_machine_is_noted_and_a_finished_run_is_left_alone(
    broken_off: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sims.develop.machine", lambda: "an abacus")
    assert main(["--resume", str(broken_off), "--quiet"]) == 0
    assert "last bits could differ" in capsys.readouterr().err
    attrs = load_results(broken_off / "results.nc").attrs
    assert attrs["machine"].endswith("; an abacus")
    assert f"numpy {np.__version__}" in attrs["versions"]
    before = contents(broken_off)
    assert main(["--resume", str(broken_off)]) == 0
    assert "nothing to go on with" in capsys.readouterr().out
    assert contents(broken_off) == before


def test_a_checkpoint_that_cannot_be_written_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save = checkpoint.save_checkpoint

    def sometimes(made: Checkpoint, run: Path) -> None:
        if made.number % 3:
            raise ConnectomeError("checkpoint", "must be writable", "No space left on device")
        save(made, run)

    monkeypatch.setattr(checkpoint, "save_checkpoint", sometimes)
    code, out = run(tmp_path, "--checkpoint-every", "0", "--regions", "perception")
    assert code == 0
    assert "no checkpoint: checkpoint must be writable; found No space" in capsys.readouterr().out
    assert not (out / "checkpoints").exists()


def test_what_would_not_fit_in_memory_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(tmp_path, config="[anatomy]\nneurons = 1000000")
    error = capsys.readouterr().err
    assert code == 2
    assert "memory must have about 300,038.3 GB free for about 1,500,058,800,000 edges; found" in error
    assert "Lower anatomy.neurons" in error
    assert error.count("\n") == 1
    assert not out.exists()

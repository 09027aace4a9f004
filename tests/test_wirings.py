"""A development on a measured connectome as a program: what its options mean, what a run holds, and what is refused."""

from __future__ import annotations

import shutil
import signal
import tomllib
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from connectome import Edit
from connectome.graph.attributes import Attribute
from connectome.io.checkpoint import Checkpoint
from connectome.io.edge_tables import write_csv
from connectome.io.seal import renew
from connectome.io.snapshot import list_stages, load, save
from sims.develop import main
from sims.verify import main as verify
from tests.kill_runs import contents
from tests.test_develop import after_checkpoints
from tests.test_measured_regions import ACT, SEE, larva

SMALL = """
[training]
perception = 6
batch = 8
epoch_updates = 3
validation_trials = 4
[data]
test_trials = 8
"""
QUERIES = ["--sensory", SEE, "--output", ACT]


def develop(folder: Path, *arguments: str, regions: str = "perception") -> tuple[int, Path]:
    """A run in a folder, which names its file from there."""
    if not (folder / "larva.csv").exists():
        write_csv(larva(), folder / "larva.csv")
    (folder / "small.toml").write_text(SMALL)
    command = ["--regions", regions, "--config", "small.toml", "--out", "out", "--wiring", "larva.csv"]
    with chdir(folder):
        return main([*command, "--no-report", "--quiet", *arguments]), folder / "out"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    code, out = develop(tmp_path_factory.mktemp("run"), *QUERIES, "--signs", "fly", "--wiring-shuffled")
    assert code == 0
    (out.parent / "larva.csv").unlink()
    return out


def test_a_run_says_and_holds_what_it_took(finished: Path) -> None:
    table = tomllib.loads((finished / "configuration.toml").read_text())
    held = load(finished / "wiring" / "wiring.h5")
    assert table["anatomy"]["wiring_digest"] == held.digest()
    assert (table["anatomy"]["sensory"], table["anatomy"]["output"], table["anatomy"]["signs"]) == (SEE, ACT, "fly")
    assert table["rules"]["act"][0] == "shuffled"
    assert [s.provenance.stage_name for s in list_stages(finished)] == ["birth", "perception"]
    assert held.n_edges == load(finished / "00_birth.h5").count("local")


def test_it_is_verified_without_the_file(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not (finished.parent / "larva.csv").exists()
    assert verify([str(finished)]) == 0
    assert "every dataset of wiring/wiring.h5, 00_birth.h5, 01_perception.h5" in capsys.readouterr().out
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    path = run / "wiring" / "wiring.h5"
    held = load(path)
    (key,) = held.edges
    save(held.apply(Edit(reweight={key: held.edges[key].weight * 2})), path, overwrite=True)
    assert verify([str(run), "--quick"]) == 2
    assert "wiring.h5 must be as the run wrote it; found another content" in capsys.readouterr().err
    for file in ("wiring.h5", "wiring.sonata/circuit_config.json", "wiring.sonata/node_types.csv"):
        renew(run, f"wiring/{file}")
    renew(run, "wiring/wiring.sonata/edge_types.csv")
    assert verify([str(run)]) == 2  # under a new seal
    assert "wiring.h5 must give the wiring that the run took, with the digest" in capsys.readouterr().err
    path.unlink()
    assert verify([str(run), "--quick"]) == 2
    assert "wiring.h5 must be there, as the run wrote it; found nothing there" in capsys.readouterr().err


def test_a_broken_run_goes_on_to_the_same_bytes_without_the_file(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(made: Checkpoint) -> None:
        if made.number == 6:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        after_checkpoints(patch, interrupt)
        arguments = [*QUERIES, "--signs", "fly", "--wiring-shuffled", "--checkpoint-every", "0"]
        code, out = develop(tmp_path, *arguments)
    assert code == 143
    for path in tmp_path.glob("larva*"):
        path.unlink()
    shutil.copytree(out / "wiring", tmp_path / "held")
    save(larva(), out / "wiring" / "wiring.h5", overwrite=True)
    capsys.readouterr()
    assert main(["--resume", str(out), "--quiet"]) == 2
    assert "wiring.h5 must be as the run wrote it; found another content" in capsys.readouterr().err
    (out / "wiring" / "wiring.h5").unlink()
    assert main(["--resume", str(out), "--quiet"]) == 2
    assert "wiring.h5 must be there, as the run wrote it; found nothing there" in capsys.readouterr().err
    shutil.rmtree(out / "wiring")
    (tmp_path / "held").rename(out / "wiring")
    assert main(["--resume", str(out), "--quiet", "--no-report"]) == 0
    assert contents(out) == contents(finished)


def test_a_run_that_was_killed_as_it_began_may_begin_again(tmp_path: Path, finished: Path) -> None:
    shutil.copytree(finished / "wiring", tmp_path / "out" / "wiring")
    code, out = develop(tmp_path, *QUERIES, "--signs", "fly", "--wiring-shuffled")
    assert code == 0
    assert contents(out) == contents(finished)


def test_another_wiring_in_the_folder_is_refused_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out" / "wiring").mkdir(parents=True)
    mine = tmp_path / "out" / "wiring" / "wiring.h5"
    save(larva(), mine)
    before = mine.read_bytes()
    assert develop(tmp_path)[0] == 2
    assert "--out must not hold a run already" in capsys.readouterr().err
    assert mine.read_bytes() == before


def test_regions_are_named_and_the_same_file_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``NAME=REGION`` by an attribute; the run's own configuration, on a file that has changed."""
    code, out = develop(tmp_path, "--regions-from", "side", regions="perception=left")
    assert code == 0
    table = tomllib.loads((out / "configuration.toml").read_text())
    assert table["regions"]["perception"]["cells"] == 'side == "left"'
    newborn = load(out / "00_birth.h5").regions["perception"]
    assert set(newborn.attributes["side"].tolist()) == {"left"}
    assert newborn.size == 45
    again = ["--regions", "perception", "--config", "out/configuration.toml", "--no-report", "--quiet"]
    monkeypatch.chdir(tmp_path)
    assert main([*again, "--out", "again"]) == 0
    assert contents(tmp_path / "again") == contents(out)
    write_csv(larva(seed=2), tmp_path / "larva.csv")
    assert main([*again, "--out", "third"]) == 2
    error = capsys.readouterr().err
    assert "larva.csv must give the wiring that the run took, with the digest" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "third").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sensory", "class == 'nose'"], "sensory cells of perception must be some of its 90 cells; found"),
        (["--output", "klass == 'x'"], "must name a column; found klass == 'x'. Did you mean class?"),
        (["--wiring", "nowhere.csv"], "anatomy.wiring must be a file, a run's folder or the name of a "),
        (["--wiring", "small.toml"], "small.toml must end in one of"),
        (["--regions-from", "side"], "--regions-from must go with --regions NAME=REGION; found 'side'"),
        (["--regions", "perception=brian"], "cells of perception must hold for some of 90 neurons"),
        (["--regions", "perception=left", "--regions-from", "sid"], "must name a column; found sid == "),
        (["--signs", "plant"], "anatomy.signs must be a table, or one of fly, mammal, worm; found 'plant'"),
        (["--signs", "fly", "--set", "anatomy.unknown_signs=guess"], "anatomy.unknown_signs must be one of 'refuse'"),
        (["--set", "anatomy.wiring_digest=0123"], "larva.csv must give the wiring that the run took, with the"),
        (["--set", "regions.perception.signs=fly"], "regions.perception.signs must be left out; found 'fly'"),
        (["--regions", "perception,motor", "--set", "regions.motor.cells=index < 9"], "cells of motor must be none"),
    ],
)  # fmt: skip
def test_a_mistake_gets_one_line(
    tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = develop(tmp_path, *arguments)
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_signs_that_are_not_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused unless said; a file without transmitters, and one with signs already."""
    brain = larva()
    region = brain.regions["brain"]
    texts = region.attributes["transmitter"].tolist()
    odd = Attribute.of("odd", ["unclear" if i % 9 == 0 else t for i, t in enumerate(texts)], region.size)
    unclear = replace(region, attributes={**region.attributes, "transmitter": odd})
    write_csv(replace(brain, regions={"brain": unclear}), tmp_path / "larva.csv")
    assert develop(tmp_path, "--signs", "fly")[0] == 2
    error = capsys.readouterr().err
    assert "anatomy.signs by transmitter of neurons must give a sign to every edge" in error
    assert "(unclear " in error
    assert 'Or anatomy.unknown_signs = "excitatory", "inhibitory" or "drop".' in error
    code, out = develop(tmp_path, "--signs", "fly", "--set", "anatomy.unknown_signs=drop")
    assert code == 0
    newborn = load(out / "00_birth.h5")
    local = newborn.edges["perception", "local", "perception"]  # type: ignore[index]  # a key is a tuple
    lost = np.array([t == "unclear" for t in newborn.regions["perception"].attributes["transmitter"].tolist()])
    assert not lost[local.source].any()
    bare = replace(brain, regions={"brain": replace(region, attributes={})})
    write_csv(bare, tmp_path / "larva.csv")
    assert develop(tmp_path, "--signs", "fly", "--overwrite")[0] == 2
    assert "anatomy.sign_by must name an attribute of neurons or edges (there is none)" in capsys.readouterr().err

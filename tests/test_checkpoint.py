"""Checkpoints: what is read is what was written, or it is refused."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectome import Connectome, ConnectomeError, EdgeSet, KernelSet, Provenance, Region, RuleRecord
from connectome.development.stage import Progress, StageOutcome, StageState
from connectome.io.checkpoint import (
    Checkpoint,
    has_checkpoint,
    load_checkpoint,
    remove_checkpoints,
    save_checkpoint,
    stage_file,
)
from connectome.io.snapshot import save
from connectome.learning.task import Score
from connectome.rules import Link
from tests import strategies


def checkpoint(number: int = 3, state: StageState | None = None) -> Checkpoint:
    return Checkpoint(number, ("eye", "hand"), 7, "numba", "[anatomy]\n", {"numpy": "2"}, ("an abacus",), state)


def small() -> Connectome:
    """Two regions, one with labels, and an edge set with a state."""
    rng = np.random.default_rng(0)
    a, b = Region("a", 4, label=np.array(["x", "", "y", "x"])), Region("b", 3, position_um=rng.normal(size=(3, 3)))
    edges = EdgeSet.from_arrays(
        ("a", "long_range", "b"), rng.integers(0, 4, 6), rng.integers(0, 3, 6), rng.normal(size=6), n_source=4,
        n_target=3, dt_ms=0.1, delay_ms=rng.integers(1, 9, 6) * 0.1, state={"importance": rng.random(6)},
    )  # fmt: skip
    return Connectome.of([a, b], [edges])


def state_of(connectome: Connectome, seed: int) -> StageState:
    """A state with something of everything."""
    rng = np.random.default_rng([seed, 1])
    batch, rules = rng.spawn(2)
    rules.integers(0, 9, 3, dtype=np.uint32)  # half a word is left over
    batch.spawn(3)
    numbers = rng.normal(size=5)
    record = RuleRecord(1, 5, "growth", "a", "local", "a", added=3)
    provenance = Provenance(seed, 2, "hand", ("0" * 64,), {"numpy": "2"}, (record, record))
    return StageState(
        2, replace(connectome, provenance=provenance), (Link("a", "b", 0.1 + 0.2, 4, float(numbers[0])),),
        random={"batch": batch, "rules": rules},
        scale={key: float(numbers[1]) for key in connectome.edges}, mean_rate={"a": rng.random(4), "b": np.zeros(0)},
        rate={"a": np.zeros(4)}, update=5, seen=2, loss=float(numbers[2]), score=Score(0.5, math.nan, 3.0, 0.1),
        peak_local_edges=11,
    )  # fmt: skip


def content(value: Any) -> Any:
    """Something that is equal for equal checkpoints alone; nan is nan."""
    if isinstance(value, np.random.Generator):
        return repr((value.bit_generator.state, value.bit_generator.seed_seq.state))  # type: ignore[attr-defined]  # NumPy says ISeedSequence
    if isinstance(value, Connectome):
        return value.digest(), repr(value.provenance), value.dt_ms
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    if isinstance(value, (Checkpoint, StageState, StageOutcome)):
        return [content(getattr(value, f.name)) for f in fields(value)]
    if isinstance(value, dict):
        return [(key, content(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return [content(item) for item in value]
    return repr(value)


@given(strategies.connectomes(), st.integers(0, 9))
def test_a_state_comes_back_bit_for_bit(connectome: Connectome, seed: int) -> None:
    made = checkpoint(state=state_of(connectome, seed))
    with TemporaryDirectory() as place:
        save_checkpoint(made, Path(place))
        read, damage = load_checkpoint(Path(place))
    assert damage == []
    assert content(read) == content(made)
    assert read.state is not None
    assert made.state is not None
    for name in ("batch", "rules"):  # what they draw next, and what they spawn
        mine, theirs = (s.random[name] for s in (made.state, read.state))
        assert mine.spawn(1)[0].random() == theirs.spawn(1)[0].random()
        assert (mine.integers(0, 9, 5, dtype=np.uint32) == theirs.integers(0, 9, 5, dtype=np.uint32)).all()


@given(strategies.kernel_sets())
def test_kernel_sets_come_back(kernels: KernelSet) -> None:
    maps = {"a": kernels.source_maps, "b": kernels.target_maps}
    c = Connectome.of([Region(n, m.size, maps=m) for n, m in maps.items()], [kernels], dt_ms=kernels.dt_ms)
    with TemporaryDirectory() as place:
        save_checkpoint(checkpoint(state=state_of(c, 0)), Path(place))
        read, damage = load_checkpoint(Path(place))
    assert damage == []
    assert read.state is not None
    assert read.state.connectome.digest() == c.digest()
    assert isinstance(read.state.connectome.edges[kernels.key], KernelSet)


def test_outcomes_are_the_snapshots(tmp_path: Path) -> None:
    connectome = small()
    scores = {"eye": Score(0.1, 2.0, 3.0, math.nan)}
    outcome = StageOutcome(connectome, scores, scores, (Link("a", "b", 0.5),), 4)
    epoch = Progress(1, "eye", 5, 10, 0.1, math.nan, 70.0, 3, 4, 9)
    made = replace(checkpoint(), outcomes=(outcome,), history=(epoch, epoch))
    save(connectome, tmp_path / stage_file(1, "eye"))
    save_checkpoint(made, tmp_path)
    assert content(load_checkpoint(tmp_path)[0]) == content(made)
    save(Connectome.of([]), tmp_path / stage_file(1, "eye"), overwrite=True)
    with pytest.raises(ConnectomeError, match=r"01_eye.h5 must be as the run wrote it; found another digest"):
        load_checkpoint(tmp_path)
    (tmp_path / stage_file(1, "eye")).unlink()
    with pytest.raises(ConnectomeError, match=r"01_eye.h5 must be a file that can be read"):
        load_checkpoint(tmp_path)


def test_the_last_two_are_kept_and_numbers_go_on(tmp_path: Path) -> None:
    def numbers() -> list[int]:
        return sorted(int(p.stem) for p in (tmp_path / "checkpoints").iterdir())

    assert not has_checkpoint(tmp_path)
    for number in range(12):
        save_checkpoint(checkpoint(number), tmp_path)
    assert numbers() == [10, 11]
    assert load_checkpoint(tmp_path)[0].number == 11
    (tmp_path / "checkpoints/00000011.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    read, damage = load_checkpoint(tmp_path)
    assert read.number == 10
    assert len(damage) == 1
    assert "00000011.h5 must be" in damage[0]
    save_checkpoint(replace(read, number=11), tmp_path)  # takes the place of what was damaged
    assert numbers() == [10, 11]
    assert load_checkpoint(tmp_path)[1] == []
    (tmp_path / "checkpoints/notes.txt").write_text("somebody's")
    (tmp_path / "checkpoints/00000099.h5").mkdir()
    remove_checkpoints(tmp_path)
    assert not has_checkpoint(tmp_path), "a folder is none"
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["00000099.h5", "notes.txt"]
    with pytest.raises(ConnectomeError, match="must have a checkpoint to go on from; found none"):
        load_checkpoint(tmp_path)


@pytest.fixture(scope="module")
def bytes_of_one(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    place = tmp_path_factory.mktemp("one")
    save_checkpoint(checkpoint(state=state_of(small(), 1)), place)
    return (place / "checkpoints/00000003.h5").read_bytes()


@pytest.mark.parametrize("change", ["a number", "a word"])
def test_content_must_have_its_digest(tmp_path: Path, change: str) -> None:
    """Also where all else that can be checked is in order: the file has been written to as HDF5 is."""
    save_checkpoint(checkpoint(2), tmp_path)
    save_checkpoint(checkpoint(3, state_of(small(), 1)), tmp_path)
    with h5py.File(tmp_path / "checkpoints/00000003.h5", "r+") as h5:
        if change == "a number":
            column = next(c for c in h5["columns"].values() if c.dtype == np.float64 and c.size > 1)
            column[0] = 12.5
        else:
            text = h5["checkpoint/text"]
            text[0] = text[0].replace(b"an abacus", b"an ab4cus")
    read, damage = load_checkpoint(tmp_path)
    assert read.number == 2
    assert len(damage) == 1
    assert "must be the digest of the content" in damage[0]


@given(st.data())
def test_damage_is_refused_and_never_believed(bytes_of_one: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.booleans())
    at = data.draw(st.integers(8, len(bytes_of_one) - 1))
    flipped = bytes_of_one[:at] + bytes([bytes_of_one[at] ^ data.draw(st.integers(1, 255))]) + bytes_of_one[at + 1 :]
    with TemporaryDirectory() as place:
        save_checkpoint(checkpoint(2), Path(place))
        (Path(place) / "checkpoints/00000003.h5").write_bytes(bytes_of_one[:at] if cut else flipped)
        read, damage = load_checkpoint(Path(place))
        if read.number == 3:  # a byte that nothing is read from
            (Path(place) / "checkpoints/00000003.h5").write_bytes(bytes_of_one)
            assert content(read) == content(load_checkpoint(Path(place))[0])
        else:
            assert len(damage) == 1

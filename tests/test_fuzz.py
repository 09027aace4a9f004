"""Damaged files for every reader: a few, and what was found before. The long run is tests.fuzz_readers."""

from __future__ import annotations

import multiprocessing
import os
import pkgutil
import time
import warnings
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

import sims
from connectome import ConnectomeError
from tests.fuzz_programs import PROGRAMS
from tests.fuzz_readers import READERS, Reader, corpus, fuzz, input_of, outcome
from tests.mutations import mutate

FEW = 15


@pytest.mark.parametrize("name", READERS)
def test_seeds_are_read_and_damage_is_read_or_refused(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    for seed in reader.seeds():
        assert outcome(reader, seed, tmp_path) == ("read", "")
    make = input_of(name, reader)
    for number in range(FEW):
        found, what = outcome(reader, make(number), tmp_path)
        assert found in ("read", "refused"), f"input {number}: {what}"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (reader.share < 0.3)) for name, reader in PROGRAMS.items()]
)
def test_programs_do_their_work_or_refuse_in_a_line(name: str, tmp_path: Path) -> None:
    reader = PROGRAMS[name]
    for seed in reader.seeds():
        assert outcome(reader, seed, tmp_path) == ("read", "")
    make = input_of(name, reader)
    for number in range(3):
        found, what = outcome(reader, make(number), tmp_path)
        assert found in ("read", "refused"), f"input {number}: {what}"


def test_every_program_that_reads_is_attacked() -> None:
    names = {Path(module.name).stem for module in pkgutil.iter_modules(sims.__path__) if not module.ispkg}
    programs = {name for name in names if hasattr(import_module(f"sims.{name}"), "main")}
    assert programs - {name.partition("_")[0] for name in PROGRAMS} == {"__main__", "benchmark", "mechanisms"}


@pytest.mark.parametrize(("name", "case"), [(name, case) for name in READERS for case in corpus(name)])
def test_what_was_found_is_read_or_refused(name: str, case: str, tmp_path: Path) -> None:
    found, what = outcome(READERS[name], corpus(name)[case], tmp_path)
    assert found in ("read", "refused"), what


def test_every_case_has_a_reader() -> None:
    assert {place.name for place in (Path(__file__).parent / "corpus").iterdir()} <= set(READERS)


def test_equal_numbers_make_equal_inputs() -> None:
    tree = {"a.txt": b"1 2 3\nx y z\n" * 20, "b.json": b'{"a": [1, {"b": null}]}'}
    made = [[mutate(tree, Random(seed), (b"word",), (b"other",)) for seed in range(200)] for _ in range(2)]
    assert made[0] == made[1]
    assert sum(changed != tree for changed in made[0]) > 150
    assert tree["a.txt"] == b"1 2 3\nx y z\n" * 20


def refuse(path: Path) -> None:
    raise ConnectomeError(str(path), "must be another", path.read_bytes()[:10])


def write(path: Path) -> None:
    (path.parent / "new").write_text("x")


def allocate(path: Path) -> None:
    np.ones(1 << 28)


def unpickle(path: Path) -> None:
    import pickle

    pickle.loads(b"cos\nsystem\n.")


def spin(path: Path) -> None:
    while True:
        pass


def nameless(path: Path) -> None:
    raise ConnectomeError("file", "must be another", "this")


def warn(path: Path) -> None:
    warnings.warn("something", UserWarning, stacklevel=1)


@pytest.mark.parametrize(
    ("read", "what"),
    [
        (lambda path: {}[path], "KeyError"), (nameless, "does not name the file"), (warn, "UserWarning"),
        (write, "to write"), (allocate, "MiB"), (unpickle, "pickle"), (spin, "hangs"),
        (lambda path: os.kill(os.getpid(), 9), "dies with exit code -9"),
    ],
)  # fmt: skip
def test_what_no_reader_may_do_is_found(read: Any, what: str) -> None:
    def sometimes(path: Path) -> None:
        if path.read_bytes().startswith(b"bad"):
            read(path)
        refuse(path)

    made: list[dict[str, bytes]] = [{"input": b"bad"}, {"input": b"good"}]
    seeds = Reader(lambda path: None, lambda: made, "input")
    inputs = iter(range(10**6))

    def read_one(path: Path) -> None:
        if next(inputs) < len(made):  # whole ones are read
            return
        sometimes(path)

    start = time.monotonic()
    tally = fuzz("none", seeds._replace(read=read_one), 6, seconds=0.3 if what == "hangs" else 20)
    assert time.monotonic() - start < 300
    assert tally.findings
    assert all(what in finding.what for finding in tally.findings)
    assert tally.inputs == tally.read + tally.refused + len(tally.findings)


def test_what_is_allowed_to_write_does_so_only_there(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    places = iter(["ok", "out/fine", "out/../beside"])  # the first is for the seed

    def read(path: Path) -> None:
        place = next(places)
        if place != "ok":
            (tmp_path / place).write_text("x")

    tally = fuzz("none", Reader(read, lambda: [{"input": b"x"}], "input", writes=f"{tmp_path}/out/"), 2)
    assert tally.read == 1
    assert [finding.number for finding in tally.findings] == [1]
    assert "beside" in tally.findings[0].what


def test_what_was_read_before_it_was_stopped_counts() -> None:
    count = multiprocessing.Value("q")

    def read(path: Path) -> None:
        count.value += 1

    tally = fuzz("none", Reader(read, lambda: [{"input": b"x"}], "input"), 10**6, stopped=lambda: count.value > 20)
    assert 0 < tally.inputs < 10**6
    assert tally.read == tally.inputs

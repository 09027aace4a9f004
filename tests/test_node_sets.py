"""SONATA's node sets: read as libsonata reads them, written so that it does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import libsonata
import numpy as np
import pytest

from connectome import Connectome, ConnectomeError, Region
from connectome.io.node_sets import read_node_sets, write_node_sets
from connectome.io.snapshot import save

SETS: dict[str, Any] = {
    "KC": {"class": "KC"}, "some": {"class": ["KC", "PN"], "layer": [1, 2]}, "of a": {"population": "a", "class": "PN"},
    "ids": {"population": "a", "node_id": [0, 3, 5]}, "big": {"size": {"$gt": 0.5}},
    "named": {"class": {"$regex": "K.*"}, "population": ["a", "b"]}, "both": ["KC", "ids"], "again": ["both", "of a"],
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "node_sets.json").write_text(json.dumps(SETS))
    return tmp_path / "node_sets.json"


def example() -> Connectome:
    rng = np.random.default_rng(3)

    def region(name: str, n: int) -> Region:
        attributes: dict[str, Any] = {
            "class": rng.choice(["KC", "PN", "DN", "KX"], n), "layer": rng.integers(0, 4, n), "size": rng.random(n),
        }  # fmt: skip
        return Region(name, n, attributes=attributes)

    return Connectome.of([region("a", 12), region("b", 9)])


def test_sets_are_those_of_libsonata(place: Path) -> None:
    c = example()
    save(c, place.parent / "c.h5")
    theirs, ours = libsonata.NodeSets.from_file(str(place)), read_node_sets(place, c)
    storage = libsonata.NodeStorage(str(place.parent / "c.h5"))
    assert set(ours) == set(SETS) == theirs.names
    for name in SETS:
        for region in c.regions:
            wanted = theirs.materialize(name, storage.open_population(region)).flatten()
            assert ours[name].neurons.get(region, np.zeros(0)).tolist() == wanted.tolist(), (name, region)
    assert len(ours["again"]) > 3


def test_what_is_selected_is_written_and_read_back(tmp_path: Path) -> None:
    c = example()
    sets = {"KC": c.select("class == 'KC'"), "none": c.select("layer > 9")}
    write_node_sets(sets, tmp_path / "sets.json")
    back = read_node_sets(tmp_path / "sets.json", c)
    for name, nodes in sets.items():
        assert {k: v.tolist() for k, v in back[name].neurons.items()} == {
            k: v.tolist() for k, v in nodes.neurons.items()
        }
    assert libsonata.NodeSets.from_file(str(tmp_path / "sets.json")).names >= {"KC", "KC.a", "KC.b"}


def test_a_missing_value_meets_no_condition(tmp_path: Path) -> None:
    attributes: Any = {"class": ["KC", None], "n": [None, 3]}
    c = Connectome.of([Region("a", 2, attributes=attributes)])
    (tmp_path / "s.json").write_text('{"u": {"class": {"$regex": ".*"}}, "v": {"n": {"$lt": 5}}, "w": {"other": 1}}')
    found = read_node_sets(tmp_path / "s.json", c)
    assert [found[k].masks["a"].tolist() for k in "uvw"] == [[True, False], [False, True], [False, False]]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("[]", "must be an object"), ('{"a": 1}', "must be an object of conditions, or a list of names"),
        ('{"a": ["b"], "b": ["a"]}', "not by itself; found a cycle"), ('{"a": ["b"]}', "found no such set"),
        ('{"a": {"class": 1}}', "must be compared with what it is, text"),
        ('{"a": {"node_id": ["x"]}}', "must be integers"),
        ('{"a": {"class": {"$gt": 1}}}', r"must be $regex of texts"),
        ('{"a": {"size": {"$near": 1}}}', "$near 1 of number"),
        ('{"a": {"class": {"$regex": "(K+)+"}}}', "must repeat no group"),
        ('{"a": {"class": {"$regex": "K*K*K*K*"}}}', "at most 3 repeats"),
        ("{", "must be a SONATA file of node sets"),
        ('{"a": {"class": {"$regex": "("}}}', "must be a regular expression"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(text: str, rule: str, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(ConnectomeError) as error:
        read_node_sets(tmp_path / "s.json", example())
    assert rule in str(error.value)
    assert "s.json" in str(error.value)

"""Other partitions of a graph: the same neurons and edges, under other names; parallel edges as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from connectome import Connectome, ConnectomeError, EdgeKey, EdgeSet, NeuronParameters, Region
from connectome.graph.partition import merge_edges, regions_from, split_edges
from connectome.io.exchange import read, write
from connectome.simulate import Stimulus, run
from sims.export import main
from tests.strategies import connectomes
from tests.test_attributes import EDGES, annotated


def of(name: str, n: int, tau_m_ms: float = 10.0, **attributes: Any) -> Region:
    return Region(name, n, neuron=NeuronParameters(tau_m_ms=tau_m_ms), attributes=attributes)


def example(n: int = 60, n_edges: int = 500) -> Connectome:
    rng = np.random.default_rng(0)
    attributes: dict[str, Any] = {
        "class": rng.choice(["KC", "PN", ""], n), "side": rng.choice(["l", "r"], n), "layer": rng.integers(0, 3, n),
        "big": rng.random(n) < 0.5, "size": rng.random(n),
    }  # fmt: skip
    label = np.array([f"n{i}" for i in range(n)])
    region = Region("all", n, position_um=rng.normal(size=(n, 3)), label=label, attributes=attributes)
    source, target = rng.integers(0, n, (2, n_edges))
    edges = EdgeSet.from_arrays(
        ("all", "local", "all"), source, target, rng.random(n_edges) * 100, n_source=n, n_target=n, dt_ms=0.1,
        delay_ms=rng.integers(1, 4, n_edges) * 0.1, state={"memory": rng.random(n_edges)},
        attributes={"synapse": rng.choice(["chemical", "electrical", ""], n_edges)},
    )  # fmt: skip
    return Connectome.of([region], [edges])


def named_edges(c: Connectome) -> Counter[Any]:
    """Every edge by the labels of its ends, with all that it has."""

    def rows() -> Iterator[tuple[Any, ...]]:
        for key, e in c.edges.items():
            names = [np.asarray(c.regions[end].label) for end in (key.source, key.target)]
            columns = (e.weight, e.delay, e.state["memory"])
            synapse = e.attributes["synapse"].tolist() if "synapse" in e.attributes else [None] * len(e)
            for i, j, s, *row in zip(e.source, e.target, synapse, *columns, strict=True):
                yield (str(names[0][i]), str(names[1][j]), s, *map(float, row))

    return Counter(rows())


@pytest.mark.parametrize(
    ("name", "regions"),
    [
        ("class", ["KC", "PN", "unknown"]),
        ("side", ["l", "r"]),
        ("layer", ["0", "1", "2"]),
        ("big", ["false", "true"]),
    ],
)
def test_the_same_graph_in_other_regions(name: str, regions: list[str]) -> None:
    c = example()
    made = regions_from(c, name)
    assert list(made.regions) == regions
    assert named_edges(made) == named_edges(c)
    for region in made.regions.values():
        wanted = "" if region.name == "unknown" else region.name
        of = {str("" if v is None else v).lower() for v in region.attributes[name].tolist()}
        assert of == {wanted.lower()}
        assert "former_region" not in region.attributes  # it was but one
    again = regions_from(regions_from(made, "side"), "former_region")
    assert sorted(again.regions) == sorted(made.regions)
    assert named_edges(again) == named_edges(c)


def test_a_run_is_the_same_in_other_regions() -> None:
    c = example()
    made = regions_from(c, "class")
    current = {}
    for r in (*c.regions.values(), *made.regions.values()):
        assert r.label is not None
        current[r.name] = np.array([int(str(label)[1:]) * 20.0 for label in r.label])

    def spikes(one: Connectome) -> set[tuple[str, float]]:
        found = run(one, 100.0, Stimulus(current_pa={name: current[name] for name in one.regions}), dtype="float64")
        names = [np.asarray(r.label) for r in one.regions.values()]
        columns = (found.spike_region.values, found.spike_neuron.values, found.spike_time_ms.values)
        return {(str(names[r][n]), round(float(t), 6)) for r, n, t in zip(*columns, strict=True)}

    assert len(spikes(c)) > 100
    assert spikes(made) == spikes(c)


def test_regions_of_other_neurons_become_one_with_parameters_for_each() -> None:
    parts = [of(name, 2, tau, side=["l", "r"]) for name, tau in (("a", 5.0), ("b", 7.0))]
    made = regions_from(Connectome.of(parts), "side")
    assert np.asarray(made.regions["l"].neuron.tau_m_ms).tolist() == [5.0, 7.0]
    assert made.regions["l"].neuron.c_m_pf == parts[0].neuron.c_m_pf
    assert made.regions["r"].attributes["former_region"].tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("klass", "must name an attribute; found 'klass'. There are big, class, layer, side, size."),
        ("size", "must name an attribute of texts, flags or integers"),
    ],
)
def test_what_makes_no_regions(name: str, rule: str) -> None:
    with pytest.raises(ConnectomeError) as error:
        regions_from(example(), name)
    assert rule in str(error.value)


def test_too_many_regions_and_names_that_collide_are_refused() -> None:
    many = of("a", 1001, id_=np.arange(1001), u=["a b", "a_b"] + ["c"] * 999)
    with pytest.raises(ConnectomeError, match="at most 1000 values; found 'id_', 1,001"):
        regions_from(Connectome.of([many]), "id_")
    with pytest.raises(ConnectomeError, match="must differ in"):
        regions_from(Connectome.of([many]), "u")
    eye = Region("eye", 1, "sensor")
    with pytest.raises(ConnectomeError, match="must not be the names of sensors"):
        regions_from(Connectome.of([eye, of("a", 1, u="eye")]), "u")
    with pytest.raises(ConnectomeError, match="There are no attributes"):
        regions_from(Connectome.of([eye]), "u")


def test_sensors_stay_as_they_are() -> None:
    size = {"eye": 2, "v": 3, "hand": 1}
    regions = [Region("eye", 2, "sensor"), of("v", 3, layer=[1, 2, 1]), Region("hand", 1, "effector")]
    given_: list[Any] = [
        (("eye", "afferent", "v"), [0, 1, 1], [0, 1, 2], [1.0, 2, 3]),
        (("v", "efferent", "hand"), [0, 1, 2], [0, 0, 0], [4.0, 5, 6]),
        (("v", "local-slow", "v"), [0, 1], [1, 2], [7.0, 8]),
    ]
    sets = [
        EdgeSet.from_arrays(key, s, t, w, n_source=size[key[0]], n_target=size[key[2]], dt_ms=0.1)
        for key, s, t, w in given_
    ]
    made = regions_from(Connectome.of(regions, sets), "layer")
    assert {str(k): e.weight.tolist() for k, e in made.edges.items()} == {
        "1 -efferent-> hand": [4, 6], "2 -efferent-> hand": [5], "eye -afferent-> 1": [1, 3], "eye -afferent-> 2": [2],
        "1 -long_range-slow-> 2": [7], "2 -long_range-slow-> 1": [8],
    }  # fmt: skip


def test_edge_sets_split_by_a_column() -> None:
    c = example()
    made = split_edges(c, "synapse")
    count = Counter(c.edges[EdgeKey("all", "local", "all")].attributes["synapse"].tolist())
    assert {k.kind: len(e) for k, e in made.edges.items()} == {
        "local": count[None], "local-chemical": count["chemical"], "local-electrical": count["electrical"],
    }  # fmt: skip
    assert named_edges(made) == named_edges(c)
    whole, merged = merge_edges(made, kinds=True)
    assert {k.kind for k in whole.edges} == {"local"}
    assert merged.before - merged.after == c.n_edges - whole.n_edges


def test_what_was_merged_is_said() -> None:
    edges = EdgeSet.from_arrays(
        ("a", "local", "a"), [0, 0, 0, 1, 0], [1, 1, 1, 0, 2], [1.0, 2, 4, 8, 16], n_source=3, n_target=3, dt_ms=0.1,
        delay_ms=[0.1, 0.1, 0.2, 0.1, 0.1], birth_stage=[2, 1, 0, 0, 0], state={"m": [1, 3, 0, 0, 0]},
        attributes={"neuropil": ["ME", "LO", "ME", "ME", None], "side": ["l", "l", "r", None, "r"]},
    )  # fmt: skip
    made, merged = merge_edges(Connectome.of([Region("a", 3)], [edges]))
    (e,) = made.edges.values()
    assert list(zip(e.source, e.target, e.weight, e.birth_stage, e.state["m"], strict=True)) == [
        (0, 1, 3, 1, 2), (0, 2, 16, 0, 0), (0, 1, 4, 0, 0), (1, 0, 8, 0, 0),
    ]  # fmt: skip
    assert e.attributes["neuropil"].tolist() == [None, None, "ME", "ME"]
    assert e.attributes["side"].tolist() == ["l", "r", "r", None]
    assert str(merged) == (
        "5 edges became 4, one for each pair and delay, weights summed; differed, and is missing now: neuropil of 1"
    )
    assert [(r.rule, r.removed) for r in made.provenance.rule_log] == [("merge_edges", 1)]


@given(connectomes())
def test_merging_keeps_every_sum(c: Connectome) -> None:
    made, merged = merge_edges(c, kinds=True)
    assert merged.after == made.n_edges
    for key, e in made.edges.items():
        pairs = list(zip(e.source, e.delay_steps, e.target, strict=True))
        assert len({*pairs}) == len(pairs)
        weight = sum(o.weight.sum(dtype=np.float64) for k, o in c.edges.items() if k._replace(kind=k.base) == key)
        assert e.weight.sum(dtype=np.float64) == pytest.approx(weight, rel=1e-4, abs=1e-2)


def test_programs_and_readers_take_the_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(annotated(), tmp_path / "x.csv")
    found = read(tmp_path / "x.csv", regions_from="class", kinds_from="synapse")
    assert {"KC", "DN", "unknown"} <= {*found.regions}
    out = str(tmp_path / "y.h5")
    words = ["--regions-from", "side", "--kinds-from", "synapse", "--merge-edges"]
    assert main([str(tmp_path / "x.csv"), "--out", out, *words]) == 0
    assert "edges became" in capsys.readouterr().out
    made = read(out)
    assert list(made.regions) == ["left", "right", "unknown"]
    kinds = {k.kind.partition("-")[2] for k in made.edges}
    assert kinds == {str(v or "") for v in EDGES["synapse"]}
    assert read(out, regions_from="former_region").n_edges == made.n_edges
    assert main([str(tmp_path / "x.csv"), "--out", str(tmp_path / "z.h5"), "--regions-from", "klass"]) == 2
    assert "--regions-from must name an attribute; found 'klass'" in capsys.readouterr().err

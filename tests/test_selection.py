"""Look-up of neurons and edges: a language that is what it says; sets of neurons, where they are used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectome import Connectome, ConnectomeError, EdgeKey, EdgeSet, Edit, NodeSet, Region
from connectome.graph.selection import node_set
from connectome.simulate import Clamp, Stimulus, run
from tests.strategies import connectomes
from tests.test_attributes import EDGES, annotated


def chosen(query: str) -> list[str]:
    """The labels of the neurons that are selected."""
    c = annotated()
    found = c.select(query).neurons
    return [str(c.regions[name].label[i]) for name, numbers in found.items() for i in numbers]  # type: ignore[index]


@pytest.mark.parametrize(
    ("query", "labels"),
    [
        ("class == 'KC'", "vyp"), ("class == 'KC' and side == 'left'", "v"), ("class != 'KC'", "xzq"),
        ("not class == 'KC'", "xzq"), ("class is missing", "w"), ("class is not missing", "vxyzpq"),
        ("side == 'left' or class == 'DN'", "vwq"), ("class in ('KC', \"DN\")", "vypq"), ("class not in ['KC']", "xzq"),
        ("traced", "vyz"), ("not traced", "x"), ("traced == false", "x"), ("traced is missing", "wpq"),
        ("volume > 1", "vz"), ("-4 < volume <= 1", "xyp"), ("0 < volume", "vzp"),
        ("volume == 1.5", "v"), ("volume == 1e300", "z"),
        ("root_id == 9007199254740993", "x"), ("root_id == 9007199254740992", ""), ("root_id in (3, 4.0, -4)", "yz"),
        ("root_id > 1e30", ""), ("root_id < 99999999999999999999", "vxyz"), ("root_id < 3.5", "yz"),
        ("label == 'v' or label in ('q', 'nobody')", "vq"), ("region == 'b'", "pq"), ("index >= 3", "yz"),
        ("x is missing", "wpq"), ("x == 4 and y is missing", "x"), ("sign == 0 and role == 'neuron'", "vwxyzpq"),
        ("class like 'K*'", "vyp"), ("class not like '?N'", "vyzp"), ("note like 'of *'", "v"),
        ("class like '[K]C'", ""),
        ("class == side", ""), ("nt_type == '7' or nt_type == 'nan'", "wy"), ("class > 'KC'", "xz"),
        ("class == 'é <1>, \"x\"'", "z"), ("(class == 'KC' or class is missing) and (side == 'left')", "vw"),
        ("not (class == 'KC' or side == 'left')", "xz"), ("CLASS == 'x'", None),
        ("class is missing or not class is missing", "vwxyzpq"),
        ("class == 'KC' or class != 'KC'", "vxyzpq"),  # what is not known is neither
    ],
)  # fmt: skip
def test_queries(query: str, labels: str | None) -> None:
    if labels is None:
        with pytest.raises(ConnectomeError):
            chosen(query)
    else:
        assert "".join(chosen(query)) == labels


@pytest.mark.parametrize(
    ("query", "character", "rule"),
    [
        ("clas == 'x'", 1, "must name a column; found clas == 'x'. Did you mean class?"),
        ("volume * 2 > 1", 8, "must be made of names, values, comparisons and brackets"),
        ("class = 'KC'", 7, "must be == to compare"), ("class == KC", 10, "must name a column; found KC"),
        ("class == 1", 1, "must compare texts with a text in quotes"), ("volume == 'a'", 1, "must compare numbers"),
        ("traced == 1", 1, "with true or false"), ("volume == true", 1, "must compare flags"),
        ("(volume > 1", 12, "must close the bracket"), ("volume > 1 volume", 12, "must go on with"),
        ("class in ('a' 'b')", 15, "comma or )"), ("class in 'a'", 10, "a list of values"),
        ("class", 1, "as it is no flag"),
        ("", 1, "must be a column's name or a value"), ("'", 1, "must be made of"),
        ("3 < 4", 1, "must compare a column"),
        ("class is None", 10, "'is missing' or 'is not missing'"), ("class not 'a'", 11, "'not in' or 'not like'"),
        ("volume like 'a'", 1, "a column of texts"), ("class == 'a' and", 17, "found the end"),
        ("1e999 < volume", 1, "finite"),
        ("class.__class__ == 'a'", 1, "must name a column"), ("().__class__", 3, "must be made of"),
        ("class == volume", 1, "texts with texts"),
        ("__import__('os').system('true')", 17, "must be made of"),
        ("not " * 101 + "traced", 401, "nested"), ("(" * 200, 101, "nested"),
        ("-traced", 2, "must be a column's name or a value"), ("source.class == 'KC'", 1, "must name a column"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(query: str, character: int, rule: str) -> None:
    with pytest.raises(ConnectomeError) as error:
        annotated().select(query)
    assert rule in str(error.value)
    assert f"character {character} " in str(error.value)


def test_a_query_is_a_text_and_not_too_long() -> None:
    for query in (7, "traced or " * 10_001 + "traced"):
        with pytest.raises(ConnectomeError, match="must be a text of at most 100,000 characters"):
            annotated().select(query)  # type: ignore[arg-type]


@given(st.data())
def test_two_conditions_are_those_of_lists(data: st.DataObject) -> None:
    """Kleene's logic against Python's None."""
    n = 30
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    a, b = ([None if rng.random() < 0.3 else int(v) for v in rng.integers(0, 3, n)] for _ in "ab")
    a[0] = b[0] = 0  # so that both are columns of integers
    attributes: Any = {"a": a, "b": b}
    c = Connectome.of([Region("r", n, attributes=attributes)])

    def both(p: bool | None, q: bool | None) -> bool | None:
        return False if p is False or q is False else None if p is None or q is None else True

    left, right = ([None if v is None else v == 1 for v in column] for column in (a, b))
    wanted = {
        "a == 1 and b == 1": [both(p, q) for p, q in zip(left, right, strict=True)],
        "not (a == 1 and b == 1)": [_not(both(p, q)) for p, q in zip(left, right, strict=True)],
        "a == 1 or b == 1": [_not(both(_not(p), _not(q))) for p, q in zip(left, right, strict=True)],
        "a != 1": [_not(p) for p in left],
        "a < b": [None if p is None or q is None else p < q for p, q in zip(a, b, strict=True)],
    }
    for query, truth in wanted.items():
        assert c.select(query).masks["r"].tolist() == [t is True for t in truth], query


def _not(p: bool | None) -> bool | None:
    return None if p is None else not p


def test_edges_by_what_they_and_their_ends_have() -> None:
    c = annotated()
    key, far = EdgeKey("a", "local", "a"), EdgeKey("a", "long_range", "b")
    found = c.select_edges("synapse == 'electrical'")
    assert found[key].tolist() == [v == "electrical" for v in c.edges[key].attributes["synapse"].tolist()]
    assert not found[far].any()
    assert c.select_edges("n_sites > 0")[far].tolist() == [False, False]  # of a set that has no such attribute
    ends = c.select_edges("source.class == 'KC' and target.region == 'b' and weight > 1")
    assert {k: int(v.sum()) for k, v in ends.items()} == {key: 0, far: 1}
    assert c.select_edges("target.traced")[far].tolist() == [False, False]
    cut = c.apply(Edit(remove=found))
    assert cut.n_edges == c.n_edges - EDGES["synapse"].count("electrical")
    with pytest.raises(ConnectomeError, match=r"must name a column; found classes"):
        c.select_edges("classes == 'KC'")


# Sets.


def test_sets_are_sets() -> None:
    c = annotated()
    kc, left = c.select("class == 'KC'"), c.select("side == 'left'")
    assert {k: v.tolist() for k, v in kc.neurons.items()} == {"a": [0, 3], "b": [0]}
    assert (len(kc | left), len(kc & left), len(kc - left), len(~kc)) == (4, 1, 2, 4)
    assert repr(kc) == "NodeSet(3 of 7 neurons: a 2, b 1)"
    assert repr(kc & ~kc) == "NodeSet(0 of 7 neurons: none)"
    again = node_set(c, kc.neurons)
    assert {k: m.tolist() for k, m in again.masks.items()} == {k: m.tolist() for k, m in kc.masks.items()}
    assert not kc.masks["a"].flags.writeable
    with pytest.raises(ConnectomeError, match="must be of a connectome with regions"):
        kc & NodeSet({"a": np.zeros(5, bool)})
    for given_, rule in (
        ({"z": [0]}, "must name regions"),
        ({"a": [5]}, r"in 0 \.\. 4"),
        ({"a": [0.5]}, r"in 0 \.\. 4"),
    ):
        with pytest.raises(ConnectomeError, match=rule):
            node_set(c, given_)


def test_a_set_is_driven_clamped_and_recorded() -> None:
    c = annotated()
    kc = c.select("class == 'KC'")
    found = run(c, 100.0, Stimulus.to(kc, current_pa=1000.0), record_v=c.select("class is missing").neurons)
    fired = set(zip(found.spike_region.values.tolist(), found.spike_neuron.values.tolist(), strict=True))
    assert fired == {(0, 0), (0, 3), (1, 0)}
    assert found.recorded_neuron.values.tolist() == [1]
    silent = run(c, 100.0, Stimulus.to(kc, current_pa=1000.0), clamp=Clamp.on(kc))
    assert not silent.n_spikes.any()
    driven = run(c, 200.0, Stimulus.to(kc, rate_hz=5000.0, weight_pa=500.0))
    assert set(driven.spike_region.values.tolist()) == {0, 1}


@given(connectomes(), st.integers(0, 2**32 - 1))
def test_a_subnetwork_has_the_edges_among_its_neurons(c: Connectome, seed: int) -> None:
    rng = np.random.default_rng(seed)
    nodes = node_set(c, {name: rng.random(r.size) < 0.6 for name, r in c.regions.items()})
    sub = c.subnetwork(nodes)
    assert {name: r.size for name, r in sub.regions.items()} == {n: k.size for n, k in nodes.neurons.items()}
    for name, region in sub.regions.items():
        old = c.regions[name].take(nodes.masks[name])
        np.testing.assert_array_equal(region.position_um, old.position_um)
    wanted: list[tuple[Any, ...]] = []
    for key, e in c.edges.items():
        for i, j, w, d in zip(e.source.tolist(), e.target.tolist(), e.weight.tolist(), e.delay.tolist(), strict=True):
            if nodes.masks[key.source][i] and nodes.masks[key.target][j]:
                number = [int(nodes.masks[n][:k].sum()) for n, k in ((key.source, i), (key.target, j))]
                wanted.append((*key, *number, w, d))
    found = [
        (*key, *row)
        for key, e in sub.edges.items()
        for row in zip(e.source.tolist(), e.target.tolist(), e.weight.tolist(), e.delay.tolist(), strict=True)
    ]
    assert found == wanted


def test_a_subnetwork_keeps_what_is_known_of_its_edges() -> None:
    c = annotated()
    sub = c.subnetwork(c.select("side is not missing"))
    (edges,) = sub.edges.values()
    old = c.edges[EdgeKey("a", "local", "a")]
    kept = [i != 3 and j != 3 for i, j in zip(old.source, old.target, strict=True)]
    assert edges.attributes["n_sites"].tolist() == [
        v for v, is_kept in zip(old.attributes["n_sites"].tolist(), kept, strict=True) if is_kept
    ]


def test_an_empty_set_of_edges_has_an_answer() -> None:
    empty = EdgeSet.from_arrays(("a", "local", "a"), [], [], n_source=2, n_target=2, dt_ms=0.1)
    c = Connectome.of([Region("a", 2)], [empty])
    assert c.select_edges("weight > 1")[EdgeKey("a", "local", "a")].shape == (0,)
    assert len(Connectome.of([]).select("index > 1")) == 0

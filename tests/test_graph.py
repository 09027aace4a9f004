"""The typed region graph against plain Python: an edge set is a list of edges, an edit is a loop over it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from connectome import (
    Connectome,
    ConnectomeError,
    EdgeKey,
    EdgeSet,
    Edit,
    NeuronParameters,
    Provenance,
    Region,
    RuleRecord,
)
from connectome.arrays import csr_order
from connectome.graph.parts import delay_to_steps
from tests.strategies import connectomes, edge_deltas, edge_sets, regions

A = EdgeKey("a", "local", "a")
Row = tuple[Any, ...]


def rows(edges: EdgeSet) -> list[Row]:
    """The edges one by one, as plain numbers, in the order of the set."""
    names = sorted(edges.state)
    columns = (edges.source, edges.target, edges.weight, edges.delay_steps, edges.birth_stage)
    state = zip(*(edges.state[n].tolist() for n in names), strict=True) if names else [()] * len(edges)
    return list(zip(*(c.tolist() for c in columns), state, strict=True))


def in_order(edges: list[Row]) -> list[Row]:
    """Plain Python's stable sort by source, then delay, then target."""
    return sorted(edges, key=lambda row: (row[0], row[3], row[1]))


def arrays(connectome: Connectome) -> Iterator[NDArray[Any]]:
    """Every array that a connectome holds."""
    for region in connectome.regions.values():
        yield from (region.position_um, region.sign)
    for e in connectome.edges.values():
        yield from (e.indptr, e.indices, e.weight, e.delay_steps, e.birth_stage)
        yield from e.state.values()
        yield from (e.reverse.indptr, e.reverse.source, e.reverse.edge)


def check_views(edges: EdgeSet) -> None:
    """Forward and reverse views hold the same edges, each where its index says."""
    forward = list(zip(edges.source.tolist(), edges.target.tolist(), strict=True))
    in_rows = list(zip(edges.source.tolist(), edges.delay_steps.tolist(), edges.target.tolist(), strict=True))
    assert in_rows == sorted(in_rows)
    assert edges.indptr[0] == 0
    assert edges.indptr[-1] == len(edges)
    assert edges.indptr.size == edges.n_source + 1
    for i in range(edges.n_source):
        assert (edges.source[edges.indptr[i] : edges.indptr[i + 1]] == i).all()
    reverse = edges.reverse
    assert reverse.indptr.size == edges.n_target + 1
    assert sorted(reverse.edge.tolist()) == list(range(len(edges)))
    for j in range(edges.n_target):
        span = slice(reverse.indptr[j], reverse.indptr[j + 1])
        assert reverse.edge[span].tolist() == [e for e, pair in enumerate(forward) if pair[1] == j]
        assert reverse.source[span].tolist() == [pair[0] for pair in forward if pair[1] == j]


def small(**changes: Any) -> EdgeSet:
    """Three edges between two neurons, one of them an autapse."""
    given = dict(source=[1, 0, 0], target=[0, 1, 0], weight=[3.0, 2.0, 1.0], n_source=2, n_target=2, dt_ms=0.1)
    return EdgeSet.from_arrays(**{"key": A, **given, **changes})


def two_regions() -> Connectome:
    """Region a with one edge set in it."""
    return Connectome.of([Region("a", 2, sign=np.array([1, 0], np.int8)), Region("b", 1)], [small()])


# Building


@given(st.data())
def test_from_arrays_is_a_stable_sort_of_what_it_is_given(data: st.DataObject) -> None:
    n = data.draw(st.integers(0, 30))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    source, target, weight = rng.integers(0, 4, n), rng.integers(0, 3, n), rng.normal(size=n).astype(np.float32)
    delay, birth, trace = rng.integers(1, 9, n), rng.integers(0, 3, n), rng.random(n).astype(np.float32)
    edges = EdgeSet.from_arrays(
        ("a", "long_range", "b"), source, target, weight, n_source=4, n_target=3, dt_ms=0.25, delay_ms=delay * 0.25,
        birth_stage=birth, state={"trace": trace},
    )  # fmt: skip
    columns = [c.tolist() for c in (source, target, weight, delay, birth)]
    assert rows(edges) == in_order(list(zip(*columns, [(x,) for x in trace.tolist()], strict=True)))
    check_views(edges)


@given(st.data())
def test_edges_are_ordered_block_by_block(data: st.DataObject) -> None:
    """As by one sort of all; with blocks of a few edges, where a whole one has a million."""
    n, rng = data.draw(st.integers(0, 40)), np.random.default_rng(data.draw(st.integers(0, 99)))
    source = rng.integers(0, 6, n).astype(np.int32)
    if data.draw(st.booleans()):
        source.sort()
    target, delay = rng.integers(0, 4, n).astype(np.int32), rng.integers(1, 4, n).astype(np.uint16)
    indptr = np.cumsum([0, *np.bincount(source, minlength=6)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("connectome.arrays._BLOCK_EDGES", data.draw(st.integers(1, 15)))
        order = csr_order(source, target, delay, indptr, 4)
    expected = np.lexsort((target, delay, source))
    assert (np.arange(n) if order is None else order).tolist() == expected.tolist()


@given(edge_sets(), st.randoms(use_true_random=False))
def test_order_of_input_does_not_matter(edges: EdgeSet, random: Any) -> None:
    order = list(range(len(edges)))
    random.shuffle(order)
    again = EdgeSet.from_arrays(
        edges.key, edges.source[order], edges.target[order], edges.weight[order], n_source=edges.n_source,
        n_target=edges.n_target, dt_ms=edges.dt_ms, delay_ms=edges.delay[order], birth_stage=edges.birth_stage[order],
        state={k: v[order] for k, v in edges.state.items()},
    )  # fmt: skip
    assert sorted(rows(again)) == sorted(rows(edges))
    np.testing.assert_array_equal(again.indptr, edges.indptr)
    np.testing.assert_array_equal(again.target, edges.target)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32, np.int64, np.uint64, ">i4"])
def test_ends_may_be_any_integers(dtype: Any) -> None:
    assert rows(small(source=np.array([1, 0, 0], dtype), target=np.array([0, 1, 0], dtype))) == rows(small())


def test_sizes_too_large_for_the_fast_sort() -> None:
    n_source, n_target, e = 2_000_000, 2**31 - 1, 5000  # pair and position together do not fit in 63 bits
    rng = np.random.default_rng(0)
    source, target = rng.choice([0, 5, n_source - 1], e), rng.choice([0, 7, n_target - 1], e)
    edges = EdgeSet.from_arrays(
        ("a", "afferent", "b"), source, target, np.arange(e), n_source=n_source, n_target=n_target, dt_ms=1.0
    )
    expected = in_order(list(zip(source.tolist(), target.tolist(), range(e), [1] * e, strict=True)))
    assert [row[:4] for row in rows(edges)] == expected


def test_a_million_random_edges() -> None:
    n, e = 3000, 1_000_000
    rng = np.random.default_rng(1)
    source, target, weight = rng.integers(0, n, e), rng.integers(0, n, e), rng.random(e, np.float32)
    delay = rng.integers(1, 20, e)
    edges = EdgeSet.from_arrays(
        A, source, target, weight, n_source=n, n_target=n, dt_ms=0.1, delay_ms=delay * 0.1, birth_stage=2
    )
    order = np.lexsort((target, delay, source))
    np.testing.assert_array_equal(edges.source, source[order])
    np.testing.assert_array_equal(edges.target, target[order])
    np.testing.assert_array_equal(edges.weight, weight[order])
    np.testing.assert_array_equal(edges.delay_steps, delay[order])
    np.testing.assert_array_equal(np.diff(edges.reverse.indptr), np.bincount(target, minlength=n))
    np.testing.assert_array_equal(edges.target[edges.reverse.edge], np.sort(target))
    np.testing.assert_array_equal(edges.source[edges.reverse.edge], edges.reverse.source)
    assert edges.birth_stage.strides == (0,)


@given(regions())
def test_a_region_keeps_what_it_is_given(region: Region) -> None:
    numpys: Any = dict(size=np.int64(region.size), birth_stage=np.int16(region.birth_stage))
    again = replace(region, **numpys)
    assert Connectome.of([again]).digest() == Connectome.of([region]).digest()


def test_defaults_of_a_region() -> None:
    region = Region("a", 2)
    assert np.isnan(region.position_um).all()  # not known, which is not the origin
    assert region.sign.tolist() == [0, 0]
    assert region.neuron == NeuronParameters(tau_m_ms=10, c_m_pf=250)


def test_density() -> None:
    assert small().density == 0.75
    assert np.isnan(small(source=[], target=[], weight=0, n_source=0).density)


# Delays


@given(st.integers(1, 65535), st.sampled_from([0.01, 0.1, 0.25, 1.0, 1 / 3]))
def test_delays_convert_both_ways(steps: int, dt_ms: float) -> None:
    assert delay_to_steps(steps * dt_ms, dt_ms) == steps
    edges = small(delay_ms=steps * dt_ms, dt_ms=dt_ms)
    assert edges.delay_steps.tolist() == [steps] * 3
    assert edges.delay.tolist() == [steps * dt_ms] * 3
    assert edges.delay.dtype == np.float64
    each = small(delay_ms=np.array([steps, 1, 2]) * dt_ms, dt_ms=dt_ms)
    assert sorted(each.delay_steps.tolist()) == sorted([steps, 1, 2])


@given(edge_sets())
def test_delays_survive_milliseconds(edges: EdgeSet) -> None:
    np.testing.assert_array_equal(delay_to_steps(edges.delay, edges.dt_ms), edges.delay_steps)


def test_delay_defaults_to_one_step() -> None:
    assert small().delay.tolist() == [0.1] * 3


@pytest.mark.parametrize("delay_ms", [0, -1, 0.04, 6554, np.nan, np.inf, 1e308, [1, 0, 1]])
def test_delays_out_of_range(delay_ms: Any) -> None:
    with pytest.raises(ConnectomeError, match=r"delay_ms must be 0.1 .. 6553.5 ms \(1 .. 65535 steps of 0.1 ms\)"):
        small(delay_ms=delay_ms)


# Edits


@given(st.data())
def test_apply_against_a_loop_over_edges(data: st.DataObject) -> None:
    before = data.draw(connectomes())
    delta = data.draw(edge_deltas(before))
    after = before.apply(delta)
    added = {e.key: e for e in delta.add}
    assert set(after.edges) == {*before.edges, *added}
    for key, edges in after.edges.items():
        expected: list[tuple[int, int, Any, int, int, Mapping[str, Any]]] = []
        old, new = before.edges.get(key), added.get(key)
        for i in range(len(old) if old is not None else 0):
            assert old is not None
            if key in delta.remove and delta.remove[key][i]:
                continue
            weight = delta.reweight.get(key, old.weight)[i]
            state = {
                **{k: v[i] for k, v in old.state.items()},
                **{k: v[i] for k, v in delta.state.get(key, {}).items()},
            }
            expected.append((old.source[i], old.target[i], weight, old.delay_steps[i], old.birth_stage[i], state))
        for i in range(len(new) if new is not None else 0):
            assert new is not None
            state = {k: v[i] for k, v in new.state.items()}
            expected.append(
                (new.source[i], new.target[i], new.weight[i], new.delay_steps[i], new.birth_stage[i], state)
            )
        names = sorted({n for part in (old, new) if part is not None for n in part.state} | {*delta.state.get(key, ())})
        assert sorted(edges.state) == names
        plain = [(*row[:-1], tuple(row[-1].get(n, 0.0) for n in names)) for row in expected]
        assert rows(edges) == in_order(plain)
        check_views(edges)
    assert after.provenance.rule_log == (*before.provenance.rule_log, *delta.records)
    assert after.regions == before.regions


@given(st.data())
def test_apply_never_touches_its_inputs(data: st.DataObject) -> None:
    before = data.draw(connectomes())
    delta = data.draw(edge_deltas(before))
    for edges in before.edges.values():
        check_views(edges)  # the reverse view is made and kept before the edit
    digest = before.digest()
    given = [*delta.reweight.values(), *delta.remove.values(), *(v for s in delta.state.values() for v in s.values())]
    copies = [np.copy(array) for array in given]
    after = before.apply(delta)
    result = after.digest()
    assert before.digest() == digest
    for array, copy in zip(given, copies, strict=True):
        np.testing.assert_array_equal(array, copy)
        assert array.flags.writeable  # still its owner's
        array[...] = 0
    assert after.digest() == result


@given(connectomes())
def test_an_empty_edit_changes_nothing(connectome: Connectome) -> None:
    after = connectome.apply(Edit())
    assert after.digest() == connectome.digest()
    assert all(after.edges[k] is e for k, e in connectome.edges.items())  # what did not change is shared


@given(st.data())
def test_take_and_join_are_inverse(data: st.DataObject) -> None:
    edges = data.draw(edge_sets())
    mask = np.random.default_rng(data.draw(st.integers(0, 99))).random(len(edges)) < 0.5
    kept, rest = edges.take(mask), edges.take(~mask)
    assert rows(kept) == [row for row, keep in zip(rows(edges), mask, strict=True) if keep]
    joined = kept.join(rest)
    assert sorted(rows(joined)) == sorted(rows(edges))
    for part in (kept, rest, joined):
        check_views(part)


@given(st.data())
def test_join_puts_its_own_edges_first(data: st.DataObject) -> None:
    first, second = data.draw(edge_sets(n_source=3)), data.draw(edge_sets(n_source=3))
    joined = first.join(second)
    names = sorted(joined.state)
    assert names == sorted({*first.state, *second.state})
    plain = [
        (*row[:-1], tuple(dict(zip(sorted(part.state), row[-1], strict=True)).get(n, 0.0) for n in names))
        for part in (first, second)
        for row in rows(part)
    ]
    assert rows(joined) == in_order(plain)
    check_views(joined)


def test_constant_columns_stay_constant() -> None:
    first = small(delay_ms=1.5, birth_stage=1, weight=2.0)
    second = small(delay_ms=1.5, birth_stage=2, weight=2.0)
    joined = first.join(second)
    assert joined.delay_steps.strides == joined.weight.strides == joined.delay.strides == (0,)
    assert joined.birth_stage.tolist() == [1, 2, 1, 2, 1, 2]
    assert joined.take(joined.birth_stage == 1).delay_steps.strides == (0,)
    nothing = small(source=[], target=[], weight=0, delay_ms=9.0)
    for both in (first.join(nothing), nothing.join(first)):
        assert both.delay_steps.strides == (0,)
        assert rows(both) == rows(first)


def test_grow() -> None:
    before = two_regions()
    link = EdgeSet.from_arrays(("a", "long_range", "b"), [1], [0], n_source=2, n_target=1, dt_ms=0.1)
    out = EdgeSet.from_arrays(("b", "efferent", "hand"), [0], [2], n_source=1, n_target=3, dt_ms=0.1)
    after = before.grow([Region("hand", 3, "effector")], [out, link])
    assert list(after.regions) == ["a", "b", "hand"]
    assert list(after.edges) == sorted([A, link.key, out.key])
    assert (after.n_neurons, after.n_edges, after.count("local"), after.count("efferent")) == (6, 5, 3, 1)
    assert list(before.regions) == ["a", "b"]
    for edges in after.edges.values():
        check_views(edges)
    with pytest.raises(ConnectomeError, match="regions must have distinct names; found 'a' twice"):
        before.grow([Region("a", 1)])
    with pytest.raises(ConnectomeError, match="edges must have distinct keys; found a -local-> a twice"):
        before.grow(edges=[small()])


# Frozen


@given(connectomes())
def test_every_array_is_read_only(connectome: Connectome) -> None:
    for array in arrays(connectome):
        assert not array.flags.writeable
    with pytest.raises(AttributeError):
        connectome.dt_ms = 1.0  # type: ignore[misc]  # that is the point
    with pytest.raises(TypeError):
        connectome.regions["new"] = Region("new", 1)  # type: ignore[index]  # that is the point


def test_later_writes_of_the_caller_do_not_reach_in() -> None:
    source, target = np.array([0, 1], np.int32), np.array([1, 0], np.int32)
    weight, delay, birth = np.ones(2, np.float32), np.array([0.1, 0.2]), np.zeros(2, np.int16)
    trace, position, sign = np.ones(2, np.float32), np.ones((2, 3)), np.ones(2, np.int8)
    hidden = weight[:]
    hidden.flags.writeable = False  # a read-only view of what its owner can still write to
    one = np.ones(1, np.float32)
    state = {"trace": trace, "all": np.broadcast_to(one, 2)}
    edges = EdgeSet.from_arrays(
        A, source, target, hidden, n_source=2, n_target=2, dt_ms=0.1, delay_ms=delay, birth_stage=birth, state=state
    )
    indptr = np.array([0, 1, 2])
    narrow = target.astype(np.uint16)
    direct = replace(edges, indptr=indptr, indices=narrow, weight=hidden)
    regions = {"a": Region("a", 2, position_um=position, sign=sign)}
    held = Connectome(regions, {A: edges})
    digests = held.digest(), Connectome(regions, {A: direct}).digest()
    for array in (source, target, narrow, weight, delay, birth, trace, position, sign, one, indptr):
        assert array.flags.writeable
        array[...] = 9
    state.clear()
    copy = Connectome(regions, {A: direct}).digest()
    regions.clear()
    assert (held.digest(), copy) == digests


def test_what_nobody_can_write_to_is_not_copied() -> None:
    edges = small()
    assert replace(edges, weight=edges.weight * 2).indices is edges.indices or np.shares_memory(
        replace(edges, weight=edges.weight * 2).indices, edges.indices
    )


# Digest


@given(st.data())
def test_equal_graphs_have_equal_digests(data: st.DataObject) -> None:
    c = data.draw(connectomes())
    sets = [
        EdgeSet.from_arrays(
            e.key, e.source, e.target, e.weight, n_source=e.n_source, n_target=e.n_target, dt_ms=e.dt_ms,
            delay_ms=e.delay.copy(), birth_stage=e.birth_stage.copy(), state=dict(reversed([*e.state.items()])),
            attributes={k: a.take(np.arange(len(a))) for k, a in e.attributes.items()},
        )
        for e in c.edges.values()
    ]  # fmt: skip
    again = Connectome.of([replace(r) for r in c.regions.values()], reversed(sets), dt_ms=np.float64(c.dt_ms))
    assert again.digest() == c.digest()  # order of sets, constant or not, history: none of it is the graph


CHANGES: list[Callable[[Connectome], Connectome]] = [
    lambda c: replace(c, regions={"b": c.regions["b"], "a": c.regions["a"]}),
    lambda c: c.grow([Region("c", 0)]),
    lambda c: _region(c, size=2),
    lambda c: _region(c, role="sensor"),
    lambda c: _region(c, neuron=NeuronParameters(i_e_pa=1)),
    lambda c: _region(c, position_um=np.ones((1, 3))),
    lambda c: _region(c, sign=np.ones(1)),
    lambda c: _region(c, birth_stage=1),
    lambda c: _edges(c, weight=np.array([1, 2, 4], np.float32)),
    lambda c: _edges(c, indices=[1, 1, 0]),
    lambda c: _edges(c, indptr=[0, 1, 3], indices=[0, 0, 1]),
    lambda c: _edges(c, delay_steps=[1, 1, 2]),
    lambda c: _edges(c, birth_stage=[0, 0, 1]),
    lambda c: _edges(c, state={"trace": np.zeros(3)}),
    lambda c: _edges(_edges(c, state={"trace": np.zeros(3)}), state={"tracer": np.zeros(3)}),
    lambda c: c.apply(Edit(remove={A: np.array([True, False, False])})),
    lambda c: c.grow(edges=[EdgeSet.from_arrays(("a", "long_range", "b"), [], [], n_source=2, n_target=1, dt_ms=0.1)]),
    lambda c: Connectome(c.regions, {A: replace(c.edges[A], dt_ms=0.2)}, 0.2),
]


def _region(c: Connectome, **changes: Any) -> Connectome:
    return replace(
        c, regions={**c.regions, "b": replace(c.regions["b"], **{"position_um": None, "sign": None, **changes})}
    )


def _edges(c: Connectome, **changes: Any) -> Connectome:
    return replace(c, edges={A: replace(c.edges[A], **changes)})


def test_every_difference_changes_the_digest() -> None:
    digests = [two_regions().digest(), *(change(two_regions()).digest() for change in CHANGES)]
    assert len(set(digests)) == len(digests)
    aside = replace(two_regions(), provenance=Provenance(seed=3))
    assert aside.digest() == digests[0]  # the graph, not its history


# The rest


def test_records_are_appended() -> None:
    record = RuleRecord(1, 2, "prune", "a", "local", "a", removed=3)
    assert two_regions().apply(Edit(records=(record,))).provenance.rule_log == (record,)


def test_repr_is_short() -> None:
    assert repr(two_regions()) == "Connectome(a[2], b[1]; 1 edge sets, 3 edges)"
    assert repr(small()) == "EdgeSet(a -local-> a, 2 x 2, 3 edges)"
    assert str(A) == "a -local-> a"


# Labels


def test_labels_are_kept_or_none() -> None:
    region = Region("a", 3, label=["ADAL", "", "é 1"])  # type: ignore[arg-type]  # what a list becomes
    assert region.label is not None
    assert (region.label.tolist(), region.label.flags.writeable) == (["ADAL", "", "é 1"], False)
    assert Region("a", 2, label=["", ""]).label is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "label", [["a"], ["a", 1], ["a", "b\n"], ["a", "x" * 129], ["a", "\ud800"], ["a", " b"], "ab", ["a", None]]
)
def test_labels_that_are_no_names_are_refused(label: Any) -> None:
    with pytest.raises(ConnectomeError, match=r"regions\[a\].label must"):
        Region("a", 2, label=label)


def test_a_label_changes_the_digest_and_none_does_not() -> None:
    plain = Connectome.of([Region("a", 2, position_um=np.zeros((2, 3)))])
    found = {plain.digest()}
    found |= {
        Connectome.of([replace(plain.regions["a"], label=label)]).digest()  # type: ignore[arg-type]
        for label in (["x", "y"], ["y", "x"], ["xy", ""], ["x', 'y", ""])
    }
    assert len(found) == 5
    # As of before there were labels.
    assert plain.digest() == "78581fdab93f7f3faaa388e784d98efe77b7d4b48f15bdadf1603d5d5059912f"

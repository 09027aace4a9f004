"""Rules: pure, true to Dale, logged as done, and equal to slow references written from their equations."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from connectome import Connectome, EdgeKey, EdgeSet, Edit, Region, plugins
from connectome.development.links import LinkEvolution, evolve_probabilities
from connectome.mechanisms import importance
from connectome.mechanisms.feedback_pruning import FeedbackPruning
from connectome.mechanisms.growth import LongRangeGrowth
from connectome.mechanisms.homeostasis import Homeostasis
from connectome.mechanisms.strengthening import Strengthening
from connectome.rules import Context, Link, Rule, Sample, normalise
from tests.strategies import connectomes

Array = NDArray[Any]
seeds = st.integers(0, 2**32 - 1)
LOCAL = EdgeKey("a", "local", "a")

RULES: dict[str, Rule] = {
    "growth": LongRangeGrowth(edges=7, delay_ms=2.0),
    "strengthening": Strengthening(rate=0.5, limit_pa=150.0),
    "pruning": FeedbackPruning(keep=0.3, grace=2.0),
    "homeostasis": Homeostasis(target=0.1, rate=0.3),
}


# Scenes


def with_state(connectome: Connectome, **state: dict[EdgeKey, Array]) -> Connectome:
    """With this state set: name -> key -> values."""
    by_key: dict[EdgeKey, dict[str, Array]] = {}
    for name, values in state.items():
        for key, value in values.items():
            by_key.setdefault(key, {})[name] = value
    return connectome.apply(Edit(state=by_key))


def context_for(connectome: Connectome, seed: int, epoch: int = 1, **other: Any) -> Context:
    """Context that fits a connectome: the last region matures; some regions are judged, some have rates."""
    rng = np.random.default_rng(seed)
    names = [r.name for r in connectome.regions.values() if r.role == "neuron"]
    pairs = [(s, t) for s in names for t in names if s != t and names[-1] in (s, t)]
    share = rng.dirichlet(np.ones(len(pairs))) if pairs else np.zeros(0)
    given: dict[str, Any] = {
        "stage": 2, "step": 10 * epoch, "epoch": epoch, "region": names[-1] if names else "",
        "prunable": tuple(n for n in names if rng.random() < 0.8),
        "rate": {n: rng.random(r.size) * 0.4 for n, r in connectome.regions.items() if rng.random() < 0.8},
        "ever": {k: len(e) + int(rng.integers(3)) for k, e in connectome.edges.items()}, "done": min(epoch / 30, 1.0),
        "links": tuple(Link(s, t, float(p)) for (s, t), p in zip(pairs, share, strict=True)),
    }  # fmt: skip
    return Context(**{**given, **other})


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Connectome, Context]:
    """A connectome amid development: some edge sets have context, some have been judged before."""
    connectome = draw(connectomes(max_size=5))
    rng = np.random.default_rng(draw(seeds))
    state: dict[str, dict[EdgeKey, Array]] = {"importance": {}, "memory": {}, "seen": {}, "inhibition": {}}
    for key, edges in connectome.edges.items():
        if key.kind in ("local", "long_range") and rng.random() < 0.8:
            state["importance"][key] = rng.exponential(size=len(edges)) * (rng.random(len(edges)) < 0.7)
        if key.kind == "local" and rng.random() < 0.6:
            state["memory"][key] = rng.exponential(size=len(edges))
            state["seen"][key] = rng.integers(0, 6, len(edges))
        state["inhibition"][key] = rng.choice([0.0, 0.2, 0.7], len(edges))
    return with_state(connectome, **state), context_for(connectome, draw(seeds), draw(st.integers(1, 30)))


def copy_of(context: Context) -> tuple[Any, ...]:
    return (
        {k: v.copy() for k, v in context.rate.items()}, dict(context.ever), context.links, context.prunable,
    )  # fmt: skip


def same(one: tuple[Any, ...], two: tuple[Any, ...]) -> bool:
    return one[1:] == two[1:] and all((one[0][k] == two[0][k]).all() for k in one[0])


# Every rule


@pytest.mark.parametrize("name", RULES)
@given(scene=scenes(), seed=seeds)
def test_a_rule_is_pure_keeps_signs_and_logs_what_it_does(
    name: str, scene: tuple[Connectome, Context], seed: int
) -> None:
    connectome, context = scene
    mark = {k: np.arange(1, len(e) + 1, dtype=np.float32) for k, e in connectome.edges.items()}
    connectome = with_state(connectome, mark=mark)
    digest, before = connectome.digest(), copy_of(context)
    delta = RULES[name](connectome, context, np.random.default_rng(seed))
    after = connectome.apply(delta)
    assert connectome.digest() == digest, "the rule wrote to its input"
    assert same(copy_of(context), before)
    again = connectome.apply(RULES[name](connectome, context, np.random.default_rng(seed)))
    assert again.digest() == after.digest(), "the same seed, another edit"
    assert again.provenance == after.provenance
    for key, edges in after.edges.items():
        assert (edges.weight * after.regions[key.source].sign[edges.source] >= 0).all(), f"{key}: Dale"
    records = {str(EdgeKey(*r[3:6])): r for r in delta.records}
    assert len(records) == len(delta.records), "one record for each edge set at most"
    assert len({r.rule for r in delta.records}) <= 1
    assert all((r.stage, r.step) == (context.stage, context.step) for r in delta.records)
    for key, now in after.edges.items():
        record = records.pop(str(key), None)
        found = changes(connectome.edges.get(key), now, by_state=name == "pruning")
        assert {change: getattr(record, change, 0) for change in found} == found, key
    assert not records


def changes(then: EdgeSet | None, now: EdgeSet, by_state: bool) -> dict[str, int]:
    """What became of the edges, whose ``mark`` is their number in ``then`` from 1 on, counted one by one."""
    found = dict.fromkeys(("added", "removed", "inhibited", "restored", "strengthened"), 0)
    mark = now.state.get("mark", np.zeros(len(now))).astype(int)
    found["added"] = int((mark == 0).sum())
    if then is None:
        return found
    found["removed"] = len(then) - int((mark > 0).sum())
    for edge, number in enumerate(mark):
        if not number:
            continue
        if by_state:
            was, is_now = then.state["inhibition"][number - 1] > 0, now.state["inhibition"][edge] > 0
            found["inhibited"] += is_now and not was
            found["restored"] += was and not is_now
        else:
            was, is_now = abs(then.weight[number - 1]), abs(now.weight[edge])
            found["inhibited"] += is_now < was
            found["strengthened"] += is_now > was
    return found


# normalise, importance


@given(st.lists(st.floats(0, 1e6, width=32), max_size=40))
def test_normalise_against_the_definition(values: list[float]) -> None:
    found = normalise(np.array(values, np.float32))
    assert found.shape == (len(values),)
    if not values:
        return
    ordered = sorted(values)
    low = ordered[0]
    place = 0.75 * (len(values) - 1)
    below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
    high = below + (above - below) * (place - math.floor(place))
    if high - low <= max(1e-6 * high, 1e-37):  # single precision holds no difference
        assert ((found >= 0) & (found <= 1)).all()
        return
    expected = [min(max((v - low) / (high - low), 0.0), 1.0) for v in values]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_normalise_by_hand() -> None:
    np.testing.assert_allclose(normalise(np.array([10.0, 2.0, 4.0, 6.0, 6.0])), [1, 0, 0.5, 1, 1])
    assert normalise(np.full(3, 4.0)).tolist() == [0, 0, 0], "where nothing stands out, nothing matters"
    tiny = np.array([0.0, 1e-45, 2e-45, 1.0], np.float32)
    assert normalise(tiny)[[0, 3]].tolist() == [0, 1], "numbers too small to divide by"


@given(seed=seeds, n=st.integers(0, 20))
def test_importance_formulas(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    ends = (rng.integers(0, 4, n), rng.integers(0, 3, n))
    edges = EdgeSet.from_arrays(("a", "long_range", "b"), *ends, n_source=4, n_target=3, dt_ms=1.0)
    s = Sample(edges, rng.normal(size=n), rng.normal(size=n), rng.random(4), rng.random(3), rng.random(3))
    formulas = {
        "feedback": lambda w, g, pre, post, theta: abs(w) * abs(g) ** 0.5,
        "taylor": lambda w, g, pre, post, theta: abs(w * g),
        "gradient": lambda w, g, pre, post, theta: abs(g),
        "magnitude": lambda w, g, pre, post, theta: abs(w),
        "activity": lambda w, g, pre, post, theta: pre * post,
        "bcm": lambda w, g, pre, post, theta: max(0.0, post * (post - theta) * pre),
    }
    assert {*formulas, "random"} == set(plugins.known("importance"))
    for name, formula in formulas.items():
        found = plugins.load("importance", name, "importance")(s)
        assert found.shape == (n,)
        assert (found >= 0).all()
        source, target = edges.source, edges.target
        at_ends = (s.source_rate[source], s.target_rate[target], s.target_mean_rate[target])
        rows = zip(s.weight, s.gradient, *at_ends, strict=True)
        expected = [formula(*map(float, row)) for row in rows]  # type: ignore[no-untyped-call]  # a lambda
        np.testing.assert_allclose(found, np.array(expected), rtol=1e-12)


def test_random_importance_is_even_and_always_the_same() -> None:
    n = 20_000
    edges = EdgeSet.from_arrays(
        ("a", "long_range", "b"), np.arange(n), np.full(n, 5), n_source=n, n_target=6, dt_ms=1.0
    )
    none, ends = np.zeros(n), (np.zeros(n), np.zeros(6), np.zeros(6))
    found = importance.random(Sample(edges, none, none, *ends))
    assert (found == importance.random(Sample(edges, none + 1, none, *ends))).all()
    assert np.histogram(found, 10, (0, 1))[0] == pytest.approx(2000, abs=200)
    assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < 0.03


# Links that evolve


@given(seed=seeds, k=st.integers(1, 6), gamma=st.floats(0, 3))
def test_evolving_probabilities_against_a_double_loop(seed: int, k: int, gamma: float) -> None:
    rng = np.random.default_rng(seed)
    p, sampled, outcome = rng.dirichlet(np.ones(k)), rng.integers(0, 4, k), rng.integers(0, 4, k) / 3
    score = []
    for i in range(k):
        plus = minus = 0
        for j in range(k):
            dhn, dhl = int(sampled[i]) - int(sampled[j]), float(outcome[i]) - float(outcome[j])
            plus += dhn < 0 and dhl > 0
            minus += dhn > 0 and dhl < 0
        score.append(math.exp(p[i] + gamma * (plus - minus)))
    found = evolve_probabilities(p, sampled, outcome, gamma)
    np.testing.assert_allclose(found, np.array(score) / sum(score), rtol=1e-12)
    assert found.sum() == pytest.approx(1.0, abs=1e-12)


@given(k=st.integers(2, 6), which=st.integers(0, 5), gamma=st.floats(0.01, 100))
def test_sampled_more_and_doing_worse_falls(k: int, which: int, gamma: float) -> None:
    worst, even = which % k, np.full(k, 1 / k)
    sampled, outcome = np.full(k, 10), np.full(k, 1.0)
    sampled[worst], outcome[worst] = 20, 0.5
    found = evolve_probabilities(even, sampled, outcome, gamma)
    assert found[worst] < 1 / k < np.delete(found, worst).min()
    assert np.isfinite(found).all()


def linked() -> tuple[Connectome, tuple[Link, ...]]:
    """Three regions. Edges a -> b: 2, of context 3; b -> a: 3, of context 1; b -> c: 4, of none; c -> b: no edge."""
    regions = [Region(n, 4, sign=np.array([1, 1, -1, 0], np.int8)) for n in "abc"]
    sets = [
        EdgeSet.from_arrays(
            (a, "long_range", b), range(n), [1] * n, [5.0, 5.0, -5.0, -5.0][:n], n_source=4, n_target=4, dt_ms=0.1,
            state=state,
        )
        for a, b, n, state in (
            ("a", "b", 2, {"importance": [2.0, 4.0]}), ("b", "a", 3, {"importance": [0.0, 2.0, 1.0]}),
            ("b", "c", 4, {}),
        )
    ]  # fmt: skip
    links = (
        Link("a", "b", 0.25, outcome=9.0),
        Link("b", "a", 0.25, outcome=9.0),
        Link("b", "c", 0.25, outcome=2.5),
        Link("c", "b", 0.25, outcome=0.5),
    )
    return Connectome.of(regions, sets), links


def test_link_evolution_takes_what_it_sees_and_keeps_the_rest() -> None:
    connectome, links = linked()
    after = LinkEvolution(gamma=0.5)(connectome, links)
    outcome, sampled = [3.0, 1.0, 2.5, 0.5], [2, 3, 4, 0]
    assert [k.outcome for k in after] == outcome
    assert [k.sampled for k in after] == sampled, "as many as there are now, whatever made them"
    assert [(k.source, k.target) for k in after] == [(k.source, k.target) for k in links]
    expected = evolve_probabilities(np.full(4, 0.25), np.array(sampled), np.array(outcome), 0.5)
    np.testing.assert_allclose([k.probability for k in after], expected)
    assert after[0].probability > 0.25 > after[1].probability
    assert LinkEvolution()(connectome, ()) == ()


# Growth


def pairs_of(edges: Iterable[EdgeSet]) -> list[tuple[EdgeKey, int, int]]:
    return [(e.key, int(s), int(t)) for e in edges for s, t in zip(e.source, e.target, strict=True)]


@given(seed=seeds, wanted=st.integers(0, 60), epoch=st.integers(1, 4))
def test_growth_is_exact_and_never_doubles(seed: int, wanted: int, epoch: int) -> None:
    """As many new edges as asked for while there is room, each at a pair that had none."""
    connectome, links = linked()
    rule = LongRangeGrowth(edges=wanted, last_epoch=2, amplitude_pa=50.0, delay_ms=1.5)
    delta = rule(connectome, context_for(connectome, 0, epoch, links=links), np.random.default_rng(seed))
    new = pairs_of(delta.add)
    assert not delta.remove
    assert not delta.reweight
    if epoch > 2:
        assert not new
        return
    share = np.random.default_rng(seed).multinomial(wanted, [0.25] * 4)
    free = [14, 13, 12, 16]
    assert len(new) == sum(min(int(n), room) for n, room in zip(share, free, strict=True))
    assert {e.key for e in delta.add} <= {k.key for k in links}
    assert len(set(new) | set(pairs_of(connectome.edges.values()))) == len(new) + connectome.n_edges
    for edges in delta.add:
        assert (edges.delay == 1.5).all()
        assert (edges.birth_stage == 2).all()
        sign = connectome.regions[edges.key.source].sign[edges.source]
        assert (np.sign(edges.weight)[sign != 0] == sign[sign != 0]).all()
    assert connectome.apply(delta).n_edges == connectome.n_edges + len(new)


def test_growth_fills_a_link_and_stops() -> None:
    connectome, _ = linked()
    rule, links = LongRangeGrowth(edges=10), (Link("b", "a", 1.0),)
    for epoch in range(1, 5):
        delta = rule(connectome, context_for(connectome, 0, epoch, links=links), np.random.default_rng(epoch))
        connectome = connectome.apply(delta)
    assert len(connectome.edges[links[0].key]) == 16
    assert len(set(pairs_of(connectome.edges.values()))) == connectome.n_edges
    assert not delta.add
    assert not delta.records


def test_growth_follows_the_probabilities() -> None:
    region = [Region(n, 100) for n in "ab"]
    links = (Link("a", "b", 0.9), Link("b", "a", 0.1))
    connectome = Connectome.of(region)
    rule = LongRangeGrowth(edges=4000, amplitude_pa=80.0)
    delta = rule(connectome, context_for(connectome, 0, links=links), np.random.default_rng(0))
    assert len(delta.add[0]) == pytest.approx(3600, abs=5 * math.sqrt(4000 * 0.09))
    weight = np.concatenate([e.weight for e in delta.add])
    assert np.abs(weight).mean() == pytest.approx(80.0, rel=0.1)
    assert (weight > 0).mean() == pytest.approx(0.5, abs=0.05), "either sign where a neuron allows both"
    free = np.bincount(delta.add[0].source, minlength=100)
    assert free.max() < 100, "targets and sources are drawn at random"
    assert len(np.unique(delta.add[0].target)) == len(np.unique(delta.add[0].source)) == 100


def test_growth_without_links_or_neurons() -> None:
    connectome = Connectome.of([Region("a", 0), Region("b", 3)])
    for links in ((), (Link("a", "b", 0.5), Link("b", "a", 0.5))):
        delta = LongRangeGrowth()(connectome, context_for(connectome, 0, links=links), np.random.default_rng(0))
        assert not delta.add


# Strengthening


@given(scene=scenes(), rate=st.floats(0.001, 1), limit=st.floats(0, 300))
def test_strengthening_against_a_loop(scene: tuple[Connectome, Context], rate: float, limit: float) -> None:
    connectome, context = scene
    after = connectome.apply(Strengthening(rate=rate, limit_pa=limit)(connectome, context, np.random.default_rng(0)))
    for key, edges in connectome.edges.items():
        expected = edges.weight.astype(float)
        if key.kind == "long_range" and "importance" in edges.state:
            for i, matters in enumerate(normalise(edges.state["importance"])):
                stronger = expected[i] * (1 + rate * float(matters))
                if abs(stronger) <= limit:
                    expected[i] = stronger
        found = after.edges[key].weight
        near = np.isclose(np.abs(expected), limit, rtol=1e-5)  # single precision may end on either side of the limit
        np.testing.assert_allclose(found[~near], expected[~near], rtol=1e-6)


# Homeostasis


@given(
    scene=scenes(), sensory=st.floats(0.01, 0.5), association=st.floats(0.01, 0.5), rate=st.floats(0, 0.5),
    maturing=st.booleans(),
)  # fmt: skip
def test_homeostasis_against_a_loop(
    scene: tuple[Connectome, Context], sensory: float, association: float, rate: float, maturing: bool
) -> None:
    connectome, context = scene
    if maturing:  # a region that has edges, rather than one that may have none
        context = replace(context, region=next((key.target for key in connectome.edges), context.region))
    rule = Homeostasis(target=sensory, target_association=association, rate=rate)
    after = connectome.apply(rule(connectome, context, np.random.default_rng(0)))
    kinds = [key.kind for key in connectome.edges if key.target == context.region]
    target = sensory if "afferent" in kinds else association
    for key, edges in connectome.edges.items():
        found = after.edges[key].weight
        ends = zip(edges.source, edges.target, edges.weight, found, strict=True)
        for _, j, old, new in ends:
            seen = key.source in context.rate and key.target in context.rate
            if not seen or key.target != context.region or old <= 0 or context.rate[key.target][j] <= target:
                assert new == old
                continue
            excess = min(float(context.rate[key.target][j]) / target - 1, 1.0)
            assert new == pytest.approx(float(old) * (1 - rate * excess), rel=1e-6)
            assert new >= old * (1 - rate) * (1 - 1e-6)


# Pruning


def judged(n: int, weight: Array | float = 100.0, **state: Any) -> tuple[Connectome, Context]:
    """A region of 8 with n local edges, up for pruning, with this state; ``mark`` numbers them."""
    pair = np.sort(np.random.default_rng(n).permutation(64)[:n])  # in order, so that rows are as given
    edges = EdgeSet.from_arrays(
        LOCAL, pair // 8, pair % 8, weight, n_source=8, n_target=8, dt_ms=0.1,
        state={"mark": np.arange(n), **state},
    )  # fmt: skip
    context = Context(stage=1, step=1, epoch=1, region="b", prunable=("a",), ever={LOCAL: n})
    return Connectome.of([Region("a", 8), Region("b", 2)], [edges]), context


def at(context: Context, epoch: int, epochs: int, **other: Any) -> Context:
    return replace(context, epoch=epoch, step=epoch, done=epoch / epochs, **other)


class Reference:
    """What is remembered of edges, and what follows from it, edge by edge in plain Python."""

    def __init__(self, rule: FeedbackPruning, edges: EdgeSet) -> None:
        self.rule, self.ever = rule, len(edges)
        self.edges = [
            {"mark": int(m), "whole": float(w), "memory": 0.0, "recent": 0.0, "left": 1.0, "seen": 0}
            for m, w in zip(edges.state["mark"], edges.weight, strict=True)
        ]

    def live(self, epoch: int, importance: dict[int, float]) -> None:
        mean = sum(importance[int(e["mark"])] for e in self.edges) / max(len(self.edges), 1)
        for e in self.edges:
            if epoch == 1:
                e["memory"], e["recent"] = math.hypot(e["memory"], e["recent"]), 0.0
            share = importance[int(e["mark"])] / mean
            e["recent"] = 0.8 * e["recent"] + 0.2 * share if e["recent"] else share
            e["seen"] += 1

    def value(self, e: dict[str, float]) -> float:
        return math.hypot(e["memory"], e["recent"])

    def judge(self, epoch: int, epochs: int) -> bool:
        """Inhibit, restore, prune; whether it was clear which."""
        rule, done = self.rule, epoch / epochs
        lead = math.log(rule.floor) / math.log(1 - rule.inhibition) / epochs
        ramp = rule.end - lead - rule.start
        x = min(max((done - rule.start) / ramp, 0.0), 1.0) if ramp > 0 else float(done > rule.start)
        room = rule.keep * self.ever + (1 - rule.keep) * self.ever * (1 - x) ** 3
        excess = max(len(self.edges) - math.ceil(room - 1e-9), 0)
        hurry = done >= rule.late
        ordered = sorted((e for e in self.edges if hurry or e["seen"] >= rule.grace), key=self.value)
        lowest, rest = ordered[:excess], ordered[excess:]
        stay = []
        for e in self.edges:
            weak = any(e is other for other in lowest)
            if weak and (hurry or e["left"] <= rule.floor * (1 + 1e-9)):
                continue
            left = e["left"] * (1 - rule.inhibition) if weak else e["left"] / (1 - rule.inhibition)
            e["left"] = 1.0 if left > 1 - 1e-9 else max(left, rule.floor)
            stay.append(e)
        self.edges = stay
        return not (lowest and rest and self.value(rest[0]) - self.value(lowest[-1]) < 1e-4)


@given(
    seed=seeds,
    n=st.integers(1, 30),
    keep=st.sampled_from([0.0, 0.35, 1.0]),
    floor=st.sampled_from([0.05, 0.3, 0.99]),
    grace=st.sampled_from([0, 3]),
)
def test_pruning_against_a_scalar_reference(seed: int, n: int, keep: float, floor: float, grace: int) -> None:
    """Two stages of ten epochs each: what was remembered in the first counts in the second."""
    rng = np.random.default_rng(seed)
    rule = FeedbackPruning(keep=keep, floor=floor, inhibition=0.4, grace=grace)
    connectome, context = judged(n, rng.normal(0, 100, n))
    reference = Reference(rule, connectome.edges[LOCAL])
    for epoch in [*range(1, 11)] * 2:
        importance = dict(enumerate((0.01 + rng.exponential(size=n)).astype(np.float32).tolist()))
        here = connectome.edges[LOCAL].state["mark"].astype(int)
        connectome = with_state(connectome, importance={LOCAL: np.array([importance[i] for i in here], np.float32)})
        connectome = connectome.apply(rule(connectome, at(context, epoch, 10), rng))
        reference.live(epoch, importance)
        if not reference.judge(epoch, 10):
            return
        edges = connectome.edges[LOCAL]
        assert [int(e["mark"]) for e in reference.edges] == edges.state["mark"].astype(int).tolist()
        if not reference.edges:
            return
        mine = {k: np.array([e[k] for e in reference.edges]) for k in ("memory", "recent", "seen", "left", "whole")}
        for name in ("memory", "recent", "seen"):
            np.testing.assert_allclose(edges.state[name], mine[name], rtol=1e-4)
        np.testing.assert_allclose(edges.state["inhibition"], 1 - mine["left"], rtol=0, atol=1e-5)
        np.testing.assert_allclose(edges.weight, mine["whole"] * mine["left"], rtol=1e-4)
    assert len(reference.edges) == math.ceil(keep * n - 1e-9)


@given(seed=seeds, n=st.integers(0, 40), keep=st.integers(0, 99).map(lambda k: k / 99), epochs=st.integers(1, 30))
def test_inhibited_before_pruned_and_in_the_end_as_many_as_asked_for(
    seed: int, n: int, keep: float, epochs: int
) -> None:
    rng = np.random.default_rng(seed)
    rule = FeedbackPruning(keep=keep, floor=0.3, inhibition=0.5)
    connectome, context = judged(n)
    gone_by = 0
    for epoch in range(1, epochs + 1):
        before = with_state(connectome, importance={LOCAL: rng.exponential(size=len(connectome.edges[LOCAL]))})
        connectome = before.apply(rule(before, at(context, epoch, epochs), rng))
        then, now = before.edges[LOCAL], connectome.edges[LOCAL]
        inhibited = set(then.state["mark"][then.state.get("inhibition", np.zeros(len(then))) > 0])
        gone = set(then.state["mark"]) - set(now.state["mark"])
        assert gone <= inhibited or epoch / epochs >= 0.9, "pruned before it was inhibited"
        assert len(now) >= math.ceil(keep * n - 1e-9)
        gone_by += len(gone)
    assert len(connectome.edges[LOCAL]) == math.ceil(keep * n - 1e-9)
    assert sum(r.removed for r in connectome.provenance.rule_log) == gone_by == n - len(connectome.edges[LOCAL])


def test_pruning_takes_the_least_important_down_to_what_is_kept() -> None:
    rng = np.random.default_rng(0)
    importance = rng.random(60)
    connectome, context = judged(60, importance=importance)
    rule = FeedbackPruning(keep=0.35)
    for epoch in range(1, 41):
        connectome = connectome.apply(rule(connectome, at(context, epoch, 40), rng))
    kept = connectome.edges[LOCAL].state["mark"].astype(int)
    assert set(kept) == set(np.argsort(-importance)[:21])
    assert (connectome.edges[LOCAL].state["inhibition"] == 0).all(), "held back though it stays"


def test_what_an_edge_did_in_an_earlier_stage_is_not_forgotten() -> None:
    rng = np.random.default_rng(0)
    early, late = np.r_[np.full(10, 5.0), np.full(10, 1.0), np.full(20, 0.1)], np.full(40, 1.0)
    late[10:20] = 5.0
    connectome, context = judged(40, importance=early)
    rule = FeedbackPruning(keep=0.5)
    for epoch in range(1, 6):  # its own stage: not yet judged
        connectome = connectome.apply(rule(connectome, at(context, epoch, 5, prunable=()), rng))
    assert len(connectome.edges[LOCAL]) == 40
    connectome = with_state(connectome, importance={LOCAL: late})
    for epoch in range(1, 41):
        connectome = connectome.apply(rule(connectome, at(context, epoch, 40), rng))
    assert set(connectome.edges[LOCAL].state["mark"].astype(int)) == set(range(20))


@given(seed=seeds, inhibition=st.floats(0.01, 0.9), floor=st.floats(0.1, 0.99), share=st.floats(0, 1))
def test_inhibition_is_reversible(seed: int, inhibition: float, floor: float, share: float) -> None:
    """However far an edge was inhibited, once it matters it comes back to its full weight."""
    weight = np.random.default_rng(seed).normal(0, 100, 6)
    connectome, context = judged(6, weight, recent=[0.1] * 5 + [5.0], seen=np.full(6, 9))
    full = connectome.edges[LOCAL].weight
    rule = FeedbackPruning(inhibition=inhibition, floor=floor, keep=1 / 6, end=0.5)
    to_floor = math.ceil(math.log(floor) / math.log(1 - inhibition) - 1e-3)
    epochs = 1 + int(share * (to_floor - 1))
    for epoch in range(2, epochs + 2):
        connectome = connectome.apply(
            rule(connectome, replace(at(context, epoch, 1), done=0.5), np.random.default_rng(0))
        )
    low = connectome.edges[LOCAL]
    held = 1 - max((1 - inhibition) ** epochs, floor)
    np.testing.assert_allclose(low.state["inhibition"], [held] * 5 + [0.0], rtol=0, atol=1e-5)
    np.testing.assert_allclose(low.weight[:5], full[:5] * (1 - held), rtol=1e-4)
    assert low.weight[5] == full[5]
    free = replace(rule, keep=1.0)
    for epoch in range(2, epochs + 2):
        connectome = connectome.apply(
            free(connectome, replace(at(context, epoch, 1), done=0.5), np.random.default_rng(0))
        )
    back = connectome.edges[LOCAL]
    assert (back.state["inhibition"] == 0).all()
    np.testing.assert_allclose(back.weight, full, rtol=2e-5)
    counts = [(r.inhibited, r.restored, r.removed) for r in connectome.provenance.rule_log]
    assert counts[0] == (5, 0, 0)
    assert np.sum(counts, 0).tolist() == [5, 5, 0]


def test_what_is_not_judged_is_remembered_and_what_is_not_seen_stays() -> None:
    """Values follow every epoch that a region takes part in; weights change in judged regions alone."""
    rule = FeedbackPruning()
    connectome, context = judged(10, importance=np.arange(10.0))
    delta = rule(connectome, at(context, 1, 10, prunable=()), np.random.default_rng(0))
    after = connectome.apply(delta).edges[LOCAL]
    assert not delta.records
    assert (after.weight == 100).all()
    np.testing.assert_allclose(after.state["recent"], np.arange(10) / 4.5, rtol=1e-6)
    connectome, context = judged(10, memory=np.full(10, 2.0))
    after = connectome.apply(rule(connectome, at(context, 1, 10), np.random.default_rng(0))).edges[LOCAL]
    assert (after.state["memory"] == 2).all()
    assert (after.state["recent"] == 0).all()
    assert (after.weight == 100).all(), "seen for no epoch: left alone"


def test_which_edges_are_up_for_pruning() -> None:
    """Local edges of judged regions, long-range ones between them, local ones and afferents of the one that matures."""
    regions = [Region(n, 5) for n in "abc"] + [Region("eye", 5, "sensor"), Region("out", 5, "effector")]
    ends = (
        "a local a",
        "c local c",
        "a long_range b",
        "b long_range c",
        "eye afferent c",
        "eye afferent a",
        "a efferent out",
    )
    keys = [EdgeKey(*text.split()) for text in ends]
    sets = [
        EdgeSet.from_arrays(k, np.arange(25) // 5, np.arange(25) % 5, 1.0, n_source=5, n_target=5, dt_ms=0.1)
        for k in keys
    ]
    connectome = Connectome.of(regions, sets)
    context = Context(3, 9, 9, "c", prunable=("a", "b"), ever=dict.fromkeys(keys, 25), done=1.0)
    rule = FeedbackPruning(keep=0.2, keep_long_range=0.4, keep_afferent=0.6, keep_own=0.8)
    after = connectome.apply(rule(connectome, context, np.random.default_rng(0)))
    assert [len(after.edges[k]) for k in keys] == [5, 20, 10, 25, 15, 25, 25]

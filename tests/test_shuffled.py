"""Shuffled wiring of a connectome: what stays, and what does not."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from connectome import Connectome, EdgeSet, Region
from connectome.analysis.shuffled import shuffled_wiring


@given(st.integers(0, 2**20), st.integers(0, 2**40))
def test_it_keeps_degrees_and_what_belongs_to_the_source(number: int, seed: int) -> None:
    rng = np.random.default_rng(number)
    regions = [Region("a", 9), Region("b", 7)]
    edges = []
    for source, kind, target in [("a", "local", "a"), ("a", "long_range", "b"), ("b", "long_range-slow", "a")]:
        n, m = (next(r.size for r in regions if r.name == name) for name in (source, target))
        pairs = rng.choice(n * m, rng.integers(0, n * m), replace=False)
        edges.append(
            EdgeSet.from_arrays(
                (source, kind, target), pairs // m, pairs % m, rng.normal(size=pairs.size), n_source=n, n_target=m,
                dt_ms=0.1, delay_ms=0.1 * rng.integers(1, 4, pairs.size), state={"trace": rng.random(pairs.size)},
                attributes={"count": rng.integers(0, 9, pairs.size)},
            )
        )  # fmt: skip
    before = Connectome.of(regions, edges)
    after = shuffled_wiring(before, seed)
    assert after.digest() == shuffled_wiring(before, seed).digest()
    for key, e in before.edges.items():
        f = after.edges[key]
        assert np.array_equal(np.bincount(e.target, minlength=e.n_target), np.bincount(f.target, minlength=f.n_target))
        columns = [
            np.stack([x.source, x.weight, x.delay_steps, x.state["trace"], x.attributes["count"].values])
            for x in (e, f)
        ]
        one, other = (c[:, np.lexsort(c)] for c in columns)
        assert np.array_equal(one, other)
        assert np.unique(f.pair).size == len(f), "no pair is joined twice"
        one, other = (np.sort(x.source[x.source == x.target]) for x in (e, f))
        if key.source == key.target:
            assert np.array_equal(one, other)


def test_it_shuffles() -> None:
    rng = np.random.default_rng(1)
    pairs = rng.choice(200 * 200, 2000, replace=False)
    for target in ("a", "b"):
        regions = [Region("a", 200), *([Region("b", 200)] if target == "b" else [])]
        kind = "local" if target == "a" else "long_range"
        key = ("a", kind, target)
        e = EdgeSet.from_arrays(key, pairs // 200, pairs % 200, 1.0, n_source=200, n_target=200, dt_ms=0.1)
        before = Connectome.of(regions, [e])
        one, other = (shuffled_wiring(before, seed).edges[e.key] for seed in (0, 1))
        for f in (one, other):
            assert np.isin(f.pair, e.pair).mean() < 0.15, "most edges join another pair"
        assert not np.array_equal(one.target, other.target)

"""Novelty by hypervectors: closed forms, what is known and what is new, and how its trial judges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectome import ConnectomeError
from connectome.mechanisms.novelty import Encoder, auroc, encoder, familiarity, known_to
from sims.studies.mechanisms import own_regions
from sims.studies.mechanisms.novelty import novelty

PLAIN = Encoder(np.zeros(8), np.ones(8), 4096)


@given(st.floats(0, math.pi), st.integers(0, 100))
def test_elements_differ_in_the_part_that_the_angle_is_of_pi(angle: float, seed: int) -> None:
    a, b = np.linalg.qr(np.random.default_rng(seed).normal(size=(8, 2)))[0].T
    h = PLAIN(np.stack([a, math.cos(angle) * a + math.sin(angle) * b]))
    p = angle / math.pi
    assert float((h[0] != h[1]).double().mean()) == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / 4096) + 2e-3)


def test_unrelated_hypervectors_are_nearly_orthogonal() -> None:
    wide = Encoder(np.zeros(2000), np.ones(2000), 1024)
    h = wide(np.random.default_rng(0).normal(size=(200, 2000)))
    cosine = (h @ h.T / 1024).numpy()[np.triu_indices(200, 1)]
    assert cosine.std() == pytest.approx(1 / math.sqrt(1024), rel=0.1)
    assert set(np.unique(h.numpy())) == {-1.0, 1.0}


def test_rates_are_standardised_and_what_is_always_alike_counts_as_it_is() -> None:
    rates = np.array([[0.0, 0.1, 2.0], [1.0, 0.1, 4.0], [5.0, 0.1, 12.0]])
    made = encoder(rates, 64, seed=3)
    np.testing.assert_allclose(made.mean, [2, 0.1, 6])
    np.testing.assert_allclose(made.scale, [math.sqrt(14 / 3), 1, math.sqrt(56 / 3)])
    scaled = encoder(rates * [5, 1, 0.1], 64, seed=3)
    assert (made(rates) == scaled(rates * [5, 1, 0.1])).all()


def clouds(k: int, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """n samples of each of two classes of a task, which has directions of its own."""
    centre = np.random.default_rng(k).normal(size=(2, 40))
    label = np.arange(2 * n) % 2
    return centre[label] + 0.4 * np.random.default_rng([seed, k]).normal(size=(2 * n, 40)), label


def test_prototypes_are_sums_and_batches_are_known_or_novel() -> None:
    encode = encoder(np.concatenate([clouds(k, 100, 0)[0] for k in range(3)]), 2048)
    known = [familiarity(encode, *clouds(k, 100, 0), clouds(k, 100, 1)[0], batch=10) for k in range(2)]
    rates, label = clouds(0, 100, 0)
    total = encode(rates)[label == 1].sum(0).numpy()
    np.testing.assert_allclose(known[0].prototypes[1], total / np.linalg.norm(total), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(known[0].prototypes, axis=1), 1, rtol=1e-5)
    shown = clouds(0, 50, 2)[0]
    expected = encode(shown).numpy() @ known[0].prototypes.T / math.sqrt(2048)
    np.testing.assert_allclose(known[0].cosines(shown), expected, atol=1e-5)
    np.testing.assert_allclose(known[0].scores(shown), expected.max(1), atol=1e-5)
    drawn = [clouds(0, 5, seed)[0] for seed in range(10, 210)]
    assert 0.005 < np.mean([known[0].is_novel(batch) for batch in drawn]) < 0.15  # 5 % of batches of what is known
    assert all(known_to(known, clouds(k, 5, 7)[0]) == k for k in range(2))
    assert known_to(known, clouds(2, 5, 7)[0]) is None
    assert known_to([], rates) is None


def test_mistakes_are_named() -> None:
    rates, label = clouds(0, 10, 0)
    with pytest.raises(ConnectomeError, match="others must be at least a batch of 21 samples; found 20"):
        familiarity(encoder(rates, 16), rates, label, rates, 21)
    with pytest.raises(ConnectomeError, match="label must have each class; found none of 1"):
        familiarity(encoder(rates, 16), rates, 2 * label, rates, 5)


@given(st.lists(st.integers(0, 5), min_size=1), st.lists(st.integers(0, 5), min_size=1))
def test_the_area_is_the_chance_of_a_higher_score(known: list[int], novel: list[int]) -> None:
    pairs = [(a > b) + 0.5 * (a == b) for a in known for b in novel]
    assert auroc(np.array(known, float), np.array(novel, float)) == pytest.approx(np.mean(pairs))


# The trial


def test_who_is_told_is_right_and_chance_is_not() -> None:
    told, chance = (own_regions.routed(name, "split", 1, True, "validation") for name in ("told", "chance"))
    assert told["routed"] == 1
    assert told["right"] == told["batches"] > 0.8
    assert 0.1 < chance["routed"] < 0.3
    assert chance["right"] < 0.3
    seen = own_regions._grown("split", 1, True, "validation")
    outputs = own_regions._scores("outputs", [], seen["validation"][2], 2, 1)
    np.testing.assert_allclose(outputs[:, 3], seen["validation"][2].outputs[3].max(1))
    ours = own_regions.routed("hypervectors", "split", 1, True, "validation")
    assert ours["right"] > chance["right"] + 0.2


def test_growth_is_counted() -> None:
    found = own_regions.growth("permuted", 1, True, "validation")
    assert found["noticed"] in (0, 0.25, 0.5, 0.75, 1)
    assert 0 <= found["in vain"] <= 20


def test_novelty_is_judged() -> None:
    spread = np.array([-0.001, 0.0, 0.001, 0.0, 0.0])
    v = {c: dict.fromkeys(novelty.measures, 0.5 + spread) for c in novelty.conditions}
    v |= {c: dict.fromkeys(novelty.measures, 0.9 - spread) for c in v if c.startswith(("hyper", "novelty by hyper"))}
    v |= {c: {"noticed": 0.8 + np.abs(spread), "in vain": 1 - np.abs(spread)} for c in v if c.startswith("growth")}
    assert [c.claim for c in novelty.check(v) if not c.holds] == []
    v["novelty by hypervectors"]["noise"] = 0.79 + spread
    v["entropy (rotated)"]["right"] = 0.9 + 2 * spread
    v["growth (split)"] = {"noticed": 0.7 + spread, "in vain": 1.1 + spread}
    assert len([c for c in novelty.check(v) if not c.holds]) == 4

"""Trials of mechanisms: the rules that they set beside ours, the regions that they stand on, and how they judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from connectome import Connectome, EdgeSet, Region, plugins
from connectome.graph.parts import EdgeKey
from connectome.learning.network import BatchActivity
from connectome.mechanisms.feedback_pruning import FeedbackPruning
from connectome.mechanisms.growth import LongRangeGrowth
from connectome.mechanisms.strengthening import Strengthening
from connectome.rules import Context, Link
from sims.studies.development import read_images
from sims.studies.mechanisms import eight_regions, inhibition, links, strengthening

#: Claims with bounds besides: test_hlop.py, test_learning_trials.py, test_alignment.py, test_routing.py,
#: test_replay_ratio.py, test_merging.py, test_fast_slow.py, test_local_losses.py, test_cascade.py, test_adaptation.py,
#: test_novelty.py.
JUDGED_ELSEWHERE = (
    "hlop", "variability", "memory_momentum", "voids", "rich_lazy", "modes", "devices", "codebooks", "concept_shift",
    "bricks", "selection", "spike_code", "running_mean", "consolidation", "routing", "plasticity_loss", "adapters",
    "fast_slow", "cascade", "counter_current", "adaptation", "novelty",
)  # fmt: skip


@pytest.fixture
def three() -> tuple[Connectome, tuple[Link, ...]]:
    """Three links with 2, 4 and 8 edges, whose mean importance is 1, 4 and 2."""
    names, counts, worth = ("region0", "region1", "region2"), (2, 4, 8), (1.0, 4.0, 2.0)
    regions = [Region(name, 8) for name in (*names, "both")]
    edges = [
        EdgeSet.from_arrays((name, "long_range", "both"), range(n), range(n), 2.0, n_source=8, n_target=8, dt_ms=1.0,
                            state={"importance": np.full(n, w, np.float32)})
        for name, n, w in zip(names, counts, worth, strict=True)
    ]  # fmt: skip
    return Connectome.of(regions, edges, dt_ms=1.0), tuple(Link(name, "both", 1 / 3) for name in names)


def shares(found: tuple[Link, ...]) -> list[float]:
    return [round(link.probability, 6) for link in found]


def test_links_by_other_rules(three: tuple[Connectome, tuple[Link, ...]]) -> None:
    assert shares(links.by_importance(*three, power=1.0)) == pytest.approx([1 / 7, 4 / 7, 2 / 7], abs=1e-6)
    assert shares(links.by_importance(*three, power=2.0)) == pytest.approx([1 / 21, 16 / 21, 4 / 21], abs=1e-6)
    assert shares(links.told(*three, views=(0, 2))) == [0.5, 0, 0.5]
    assert shares(links.bandit(*three, c=0.0)) == pytest.approx([0, 1, 0], abs=1e-6)
    assert [link.sampled for link in links.bandit(*three, c=0.0)] == [2, 4, 8]


def test_a_bandit_goes_by_the_upper_confidence_bound(three: tuple[Connectome, tuple[Link, ...]]) -> None:
    """Of the hundredths that it deals out, each where the bound is the highest; at the end no bound is far above."""
    c = 0.5
    given = np.array(shares(links.bandit(*three, c=c))) * 100
    n = np.array([2.0, 4.0, 8.0]) + given
    bound = np.array([0.25, 1.0, 0.5]) + c * np.sqrt(np.log(n.sum()) / n)
    assert given.sum() == pytest.approx(100)
    assert np.ptp(bound[given > 0]) < 0.05
    assert (bound[given == 0] < bound[given > 0].min()).all()


def test_scaling_gives_what_strengthening_gives_on_average(three: tuple[Connectome, tuple[Link, ...]]) -> None:
    connectome, _ = three
    key = EdgeKey("region0", "long_range", "both")
    state = {"importance": np.array([0.0, 1.0], np.float32)}
    edges = EdgeSet.from_arrays(key, [0, 1], [0, 1], 2.0, n_source=8, n_target=8, dt_ms=1.0, state=state)
    one = Connectome.of(connectome.regions.values(), [edges], dt_ms=1.0)
    context, rng = Context(1, 1, 1, "both"), np.random.default_rng(0)
    stronger = one.apply(Strengthening(rate=0.1)(one, context, rng)).edges[key].weight
    scaled = one.apply(strengthening.Scaling(0.1)(one, context, rng)).edges[key].weight
    assert np.ptp(stronger) > 0
    assert scaled.tolist() == [scaled[0]] * 2
    # The 75th percentile of 0 and 1 is 0.75: importance counts as 0 and as 1.
    assert scaled.mean() == pytest.approx(stronger.mean())


def test_part_is_a_part_of_a_step() -> None:
    change = torch.tensor([1.0, -2.0])
    assert strengthening.Part(0.25)(None, change, {}).tolist() == [0.25, -0.5]  # type: ignore[arg-type]


def test_a_ninth_region_hears_eight() -> None:
    """It sees nothing itself; the eight are born the same whatever is changed in its stage; two views are named."""
    seen: list[Connectome] = []
    for edges in (0, 30):
        rules = (LongRangeGrowth(edges=edges, last_epoch=10),)
        last, scores = eight_regions.ninth_stage(partial(replace, updates=10, rules=rules), 3, True, 20)
        assert len(scores) == 2
        seen.append(last.connectome)
    for key, edges_of in seen[0].edges.items():
        if key.target in eight_regions.REGIONS:
            np.testing.assert_array_equal(edges_of.target, seen[1].edges[key].target)
            assert key.base != "long_range"
        assert key.base != "afferent" or key.target != eight_regions.NEW
    assert seen[1].count("long_range") - seen[0].count("long_range") == 60


def test_views_show_digits_of_their_own() -> None:
    task = eight_regions.Names(read_images(""), "both", (1, 6), eight_regions.REGIONS, tuple(range(8)))
    assert set(task.effectors) == {"both_1", "both_6"}
    spikes, label = task.batch(np.random.default_rng(0), 50)
    assert {name: tuple(s.shape) for name, s in spikes.items()} == {f"view{v}": (50, 20, 64) for v in range(8)}
    assert (label[0] != label[1]).any()

    def act(shown: Mapping[str, torch.Tensor]) -> BatchActivity:
        """Names the first view's digit, and says of the second that it is a 3."""
        told = {"both_1": eye[first], "both_6": eye[torch.full_like(first, 3)]}
        return BatchActivity({n: x[:, None].expand(-1, 20, -1) for n, x in told.items()}, {}, {}, 0)

    images, eye = read_images(""), torch.eye(10)
    pick = np.random.default_rng(7).integers(0, len(images.label["test"]), (8, 40))
    first, second = (torch.from_numpy(images.label["test"][pick[v]]) for v in (1, 6))
    found = task.score(act, "test", 40, np.random.default_rng(7))
    assert found.value == pytest.approx((1 + float((second == 3).float().mean())) / 2)


def test_pruning_at_once_holds_nothing_back() -> None:
    """In each regime as many edges are left in the end; only what is held back on the way differs."""
    for regime in ("usual", "early and noisy"):
        stages = [inhibition._stages(regime, at_once, True)[0] for at_once in (False, True)]
        rules = [next(r for r in s[-1].rules if isinstance(r, FeedbackPruning)) for s in stages]
        assert rules[0].keep == rules[1].keep == 0.1
        assert rules[0].floor < 0.5 < rules[1].floor
        assert rules[0].end == rules[1].end


@pytest.mark.parametrize("name", [name for name in plugins.known("mechanisms") if name not in JUDGED_ELSEWHERE])
def test_a_trial_is_judged_by_intervals(name: str) -> None:
    """What is the same everywhere holds nothing that is claimed to be better; what is far ahead does."""
    trial = plugins.load("mechanisms", name, "mechanisms")
    spread = np.array([-0.01, 0.0, 0.01, 0.0, 0.0])
    same = {c: dict.fromkeys(trial.measures, 0.5 + spread) for c in trial.conditions}
    ours = trial.conditions[0].split(" (")[0]
    better = {
        c: dict.fromkeys(trial.measures, (0.8 if c.startswith(ours) else 0.4) + (spread if c == ours else spread[::-1]))
        for c in trial.conditions
    }
    assert not any(check.holds for check in trial.check(same) if "no worse" not in check.claim)
    assert all(check.holds for check in trial.check(better))

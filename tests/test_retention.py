"""The trial of ways to retain: its tasks, and what refresh learning is compared with."""

from __future__ import annotations

import numpy as np

from connectome.mechanisms.refresh import Refresh
from sims.studies.development import read_images
from sims.studies.mechanisms import retention
from sims.studies.mechanisms.one_head import in_turn


def test_digits_two_by_two_have_one_head() -> None:
    task = retention.Shown(read_images(""), 0.0, shown=(4, 5))
    assert task.effectors == {"digit": 10}
    _, label = task.batch(np.random.default_rng(0), 40)
    assert set(label.tolist()) == {4, 5}


def test_with_nothing_to_unlearn_refresh_is_its_base() -> None:
    """It has as many updates that learn, from the same batches and the same kept samples."""
    for name, way in retention._WAYS.items():
        if name.startswith("refresh"):
            base = retention._WAYS[name.removeprefix("refresh (").removesuffix(")")]
            assert way == base._replace(optimiser=way.optimiser, reuse=2)
    pairs = [retention.Shown(read_images(""), 0.0, shown=shown) for shown in ((0, 1), (2, 3))]
    base = base._replace(optimiser=Refresh(unlearn=0, samples=2))
    nothing = base._replace(optimiser=Refresh(delta=0.0, samples=2), reuse=2)
    scores = [in_turn(way, pairs, 3, 4, "validation")[0].tolist() for way in (base, nothing, base._replace(reuse=2))]
    assert scores[0] == scores[1] != scores[2]

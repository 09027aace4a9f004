"""A small annotated connectome, and experiments on it."""

from __future__ import annotations

from typing import Any

import numpy as np

from connectome import Connectome, EdgeSet, NeuronParameters, Region
from connectome.experiment import Experiment

__all__ = ["brain", "experiment"]


def brain(n: int = 40, n_edges: int = 400, seed: int = 0) -> Connectome:
    """Two regions with classes, a sensor and an effector; every fourth neuron inhibits."""
    rng = np.random.default_rng(seed)
    sign = np.where(np.arange(n) % 4 == 3, -1, 1)
    known: dict[str, Any] = {
        "class": np.where(sign < 0, "LN", np.where(np.arange(n) < n // 4, "PN", "KC")).tolist(),
        "side": ["left", "right"] * (n // 2), "age": [None if i % 5 == 0 else i for i in range(n)],
    }  # fmt: skip
    regions = [
        Region(
            name, n, neuron=NeuronParameters(t_ref_ms=2.0), sign=sign, label=np.array([f"{name}{i}" for i in range(n)]),
            attributes=known,
        )
        for name in ("a", "b")
    ]  # fmt: skip
    regions += [Region("eye", 6, "sensor"), Region("hand", 3, "effector")]
    edges = []
    for source, kind, target, weight in (
        ("a", "local", "a", 400.0), ("a", "long_range", "b", 700.0), ("b", "local", "b", 400.0),
        ("eye", "afferent", "a", 900.0), ("b", "efferent", "hand", 50.0),
    ):  # fmt: skip
        rows, columns = ({"eye": 6, "hand": 3}.get(name, n) for name in (source, target))
        m = min(n_edges, rows * columns // 2)
        pairs = rng.choice(rows * columns, m, replace=False)
        size = weight * rng.uniform(0.5, 1.5, m)
        size *= 1 if source == "eye" else sign[pairs // columns] * np.where(sign[pairs // columns] < 0, 2.0, 1.0)
        edges.append(
            EdgeSet.from_arrays(
                (source, kind, target), pairs // columns, pairs % columns, size, n_source=rows, n_target=columns,
                dt_ms=0.1, delay_ms=0.1 * rng.integers(5, 20, m),
            )
        )  # fmt: skip
    return Connectome.of(regions, edges)


def experiment(**changes: Any) -> Experiment:
    """Neurons of one class stimulated; others silenced, lesioned, cut besides. 60 ms, three seeds."""
    drive = {
        "cells": "region == 'a' and class == 'PN'",
        "rate_hz": 600,
        "weight": 2000.0,
        "from_ms": 5.0,
        "to_ms": 50.0,
    }
    table: dict[str, Any] = {
        "duration_ms": 60.0, "seeds": 3, "readouts": {"by": ["region", "class"], "bin_ms": 5.0},
        "condition": {
            "driven": {"stimulate": [drive]},
            "quiet": {"from": "driven", "silence": "region == 'a' and class == 'LN'"},
            "without": {
                "from": "driven", "lesion": "region == 'b' and class == 'PN'",
                "cut": "source.class == 'KC' and target.class == 'KC'",
            },
        },
    }  # fmt: skip
    return Experiment.of({**table, **changes})

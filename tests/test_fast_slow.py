"""A fast learner upon slow ones: the configuration that is shipped, its parts, its trial."""

from __future__ import annotations

import numpy as np

from connectome.development.configuration import Configuration, read_configuration
from connectome.graph.parts import EdgeKey
from sims.studies.mechanisms import fast_slow as study


def test_each_condition_lacks_one_part() -> None:
    """Whole, it has what its claim names; each of the others differs from it in that part alone."""
    whole = read_configuration(study.CONFIGURATION)
    rates, usual = whole.learning_rates, Configuration()
    assert rates.mature_local == rates.mature_other == 0.1
    assert "hlop" in whole.learning
    assert {"pruning", "homeostasis"} <= set(whole.rules)
    assert whole.rules["homeostasis"].target_association < usual.rules["homeostasis"].target_association  # type: ignore[attr-defined]
    tables = {name: read_configuration(study.CONFIGURATION, way).table() for name, way in study._WAYS.items()}
    parts = {
        "all fast": "learning_rates", "all slow": "learning_rates", "not pruned": "training",
        "no sparse code": "rules", "not Hebbian": "learning",
    }  # fmt: skip
    for name, part in parts.items():
        assert {t for t in tables["whole"] if tables[name][t] != tables["whole"][t]} == {part}
    key = EdgeKey("new", "local", "new")
    slow = read_configuration(study.CONFIGURATION, study._WAYS["all slow"]).learning_rates
    assert slow.rate * slow.factor(key, "new") == rates.rate * rates.factor(key, "another")


def test_the_trial_is_judged_by_its_bounds() -> None:
    trial, spread = study.fast_slow, np.array([-0.01, 0.0, 0.01, 0.0, 0.0])

    def held(ours: float, cost: float) -> list[bool]:
        values = {
            c: dict.fromkeys(trial.measures, (0.7 if i else ours) + spread[:: 1 if i else -1])
            | dict.fromkeys(("edges", "operations"), (100 if i else cost) + spread[:: 1 if i else -1])
            for i, c in enumerate(trial.conditions)
        }
        return [check.holds for check in trial.check(values)]

    assert held(0.75, 90.0) == [True] * 7
    assert held(0.65, 100.0) == [False] * 7
    assert held(0.7, 100.0) == [False, False, False, False, True, False, True]


def test_a_cell() -> None:
    found = {name: study._run(name, 0, True) for name in ("whole", "not pruned")}
    assert found["whole"]["edges"] < 0.8 * found["not pruned"]["edges"]
    assert set(found["whole"]) == set(study.fast_slow.measures)

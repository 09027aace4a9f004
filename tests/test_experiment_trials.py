"""What a condition does, against runs made by hand; what is read out, against loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectome import Connectome
from connectome.analysis.shuffled import shuffled_wiring
from connectome.experiment.conditions import manipulated, not_counted
from connectome.experiment.controls import generator, random_targets
from connectome.experiment.readouts import Counted, Population, read_out
from connectome.experiment.trials import Setup, Trial, _spikes, alive, perform, prepare, trial_of
from connectome.graph.selection import NodeSet
from connectome.simulate import Clamp, Poisson, Stimulus, run
from tests.experiments import brain, experiment

CURRENT = {"cells": "region == 'a' and class == 'PN'", "current_pa": 1500.0}


def setup_of(condition: dict[str, Any], **changes: Any) -> Setup:
    return prepare(experiment(condition={"c": condition}, **changes), brain())


def spikes_of(setup: Setup, seed: int = 0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    return _spikes(setup, setup.network, setup.manipulation(setup.network, "c"), seed, 1)


def by_hand(c: Connectome, stimulus: Stimulus, seed: int = 0, **how: Any) -> tuple[Any, Any]:
    """Times and cells, numbered as in a setup: a, b, eye."""
    found = run(c, 60.0, stimulus, seed=seed, threads=1, **how)
    first = np.array([0, 40, 80, 0])
    return found.spike_time_ms.values, first[found.spike_region.values] + found.spike_neuron.values


def same(one: tuple[Any, Any], other: tuple[Any, Any]) -> None:
    assert one[0].size > 50, "something must happen"
    np.testing.assert_allclose(one[0], other[0], atol=1e-9)
    assert np.array_equal(one[1], other[1])


def test_windows_of_current_are_one_run_with_a_current_that_varies() -> None:
    stimulate = [{**CURRENT, "from_ms": 10.0, "to_ms": 30.0}, {**CURRENT, "current_pa": 600.0, "from_ms": 20.0}]
    current = np.zeros((600, 40))
    current[100:300, brain().select("region == 'a' and class == 'PN'").masks["a"]] += 1500
    current[200:, brain().select("region == 'a' and class == 'PN'").masks["a"]] += 600
    same(spikes_of(setup_of({"stimulate": stimulate})), by_hand(brain(), Stimulus(current_pa={"a": current})))


def test_rates_are_poisson_drive_and_sensors_emit() -> None:
    mask = brain().select("region == 'a' and class == 'PN'").masks["a"]
    poisson = {"a": Poisson(600.0 * mask, 2000.0), "eye": Poisson(300.0)}
    stimulate = [{"cells": "region == 'a' and class == 'PN'", "rate_hz": 600, "weight": 2000.0},
                 {"cells": "region == 'eye'", "rate_hz": 300}]  # fmt: skip
    same(spikes_of(setup_of({"stimulate": stimulate}), 3), by_hand(brain(), Stimulus(poisson=poisson), 3))


def test_silenced_and_held_cells_are_clamped() -> None:
    c = brain()
    quiet, held = (c.select(f"region == 'a' and class == '{k}'").masks["a"] for k in ("LN", "KC"))
    condition = {
        "stimulate": CURRENT, "silence": "region == 'a' and class == 'LN'",
        "hold": {"cells": "region == 'a' and class == 'KC'", "v_mv": -60.0},
    }  # fmt: skip
    clamp = {"a": [Clamp(quiet), Clamp(held, v_mv=-60.0)]}
    driven = c.select("region == 'a' and class == 'PN'").fill(1500.0)
    found = spikes_of(setup_of(condition))
    same(found, by_hand(c, Stimulus(current_pa=driven), clamp=clamp))
    assert not np.isin(found[1], np.flatnonzero(quiet | held)).any()


def test_a_lesion_is_a_network_without_the_cells() -> None:
    c = brain()
    gone = c.select("class == 'KC' and side == 'left'")
    rest = c.subnetwork(~gone)
    driven = rest.select("region == 'a' and class == 'PN'").fill(1500.0)
    time_ms, cell = by_hand(rest, Stimulus(current_pa=driven))
    left = np.flatnonzero(np.concatenate([~gone.masks["a"], ~gone.masks["b"]]))
    size = int((~gone.masks["a"]).sum())
    number = np.where(cell < 40, left[np.minimum(cell, size - 1)], left[np.minimum(cell - 40 + size, left.size - 1)])
    same(spikes_of(setup_of({"stimulate": CURRENT, "lesion": "class == 'KC' and side == 'left'"})), (time_ms, number))


def test_edges_are_cut_and_scaled() -> None:
    c = brain()
    setup = setup_of({
        "stimulate": CURRENT, "cut": "source.class == 'KC' and target.class == 'LN'",
        "scale": {"edges": "source.class == 'LN'", "by": 0.5}, "lesion": "region == 'b' and index == 3",
    })  # fmt: skip
    changed = manipulated(c, setup.manipulation(setup.network, "c"))
    kind = {name: np.array(r.attributes["class"].tolist()) for name, r in c.regions.items() if r.role == "neuron"}
    for key, e in c.edges.items():
        expected = []
        for i, j, w in zip(e.source.tolist(), e.target.tolist(), e.weight.tolist(), strict=True):
            a = kind[key.source][i] if key.source in kind else ""
            b = kind[key.target][j] if key.target in kind else ""
            if (a, b) == ("KC", "LN") or (key.source, i) == ("b", 3) or (key.target, j) == ("b", 3):
                continue
            expected.append((i, j, np.float32(w * 0.5) if a == "LN" else w))
        f = changed.edges[key]
        assert list(zip(f.source.tolist(), f.target.tolist(), f.weight.tolist(), strict=True)) == expected


def test_a_seed_is_the_same_events_in_every_condition() -> None:
    setup = prepare(experiment(), brain())
    driven = setup.network.select("region == 'a' and class == 'PN'").masks["a"]
    # Without any edge, stimulated cells do the same whatever else is done.
    drive = {"cells": "region == 'a' and class == 'PN'", "rate_hz": 600, "weight": 2000.0}
    bare = setup_of({"stimulate": drive, "cut": "weight != 0"})
    other = setup_of({"stimulate": drive, "cut": "weight != 0", "lesion": "region == 'b'"})
    same(spikes_of(bare, 5), spikes_of(other, 5))
    assert not np.array_equal(spikes_of(bare, 5)[0], spikes_of(bare, 6)[0])
    assert set(spikes_of(bare, 5)[1].tolist()) <= set(np.flatnonzero(driven).tolist())


@given(st.integers(0, 2**30))
def test_random_targets_are_as_many_others(seed: int) -> None:
    setup = prepare(experiment(), brain())
    own, whole = setup.own("without"), setup.manipulation(setup.network, "without")
    drawn = random_targets(setup.network, own, whole, generator(seed, "x"))
    again = random_targets(setup.network, own, whole, generator(seed, "x"))
    assert drawn is not None
    assert again is not None
    (nodes,), (before,) = drawn.lesion, own.lesion
    for name, mask in nodes.masks.items():
        assert mask.sum() == before.masks[name].sum()
        assert not (mask & before.masks[name]).any()
        assert np.array_equal(mask, again.lesion[0].masks[name])
    for key, mask in own.cut[0].items():
        assert drawn.cut[0][key].sum() == mask.sum()
        assert not (drawn.cut[0][key] & mask).any()


def test_random_targets_come_from_elsewhere_where_a_region_is_used_up() -> None:
    setup = setup_of({"silence": "region == 'a'"})
    own = setup.own("c")
    drawn = random_targets(setup.network, own, own, generator(0))
    assert drawn is not None
    assert drawn.silence[0][1].neurons.keys() == {"b"}
    assert len(drawn.silence[0][1]) == 40
    everyone = setup_of({"silence": "role == 'neuron'"})
    assert random_targets(everyone.network, everyone.own("c"), everyone.own("c"), generator(0)) is None
    assert {t.control for t in everyone.trials()} == {"measured", "shuffled"}


def test_random_targets_are_as_many_where_some_come_from_elsewhere() -> None:
    """None of them twice."""
    setup = setup_of({"silence": "region == 'a' and (class == 'PN' or class == 'KC')"})
    own = setup.own("c")
    n = len(own.silence[0][1])
    assert n > 20
    for seed in range(20):
        drawn = random_targets(setup.network, own, own, generator(seed))
        assert drawn is not None
        assert len(drawn.silence[0][1]) == n
        assert not len(drawn.silence[0][1] & own.silence[0][1])
        assert drawn.silence[0][1].neurons.keys() == {"a", "b"}


def test_a_trial_runs_its_controls_network_with_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    setup, ran = setup_of({"stimulate": CURRENT}), []

    def noted(network: Connectome, *given: Any, seed: int, **rest: Any) -> Any:
        ran.append((network.digest(), seed))
        return run(network, *given, seed=seed, **rest)

    monkeypatch.setattr("connectome.experiment.trials.run", noted)
    for control, seed in (("measured", 1), ("random-targets", 2), ("shuffled", 1), ("shuffled", 2)):
        trial_of(setup, Trial("c", control, seed), threads=1)
    digest = setup.network.digest()
    one, two = (alive(setup.experiment, shuffled_wiring(setup.wiring, seed))[0].digest() for seed in (1, 2))
    assert ran == [(digest, 1), (digest, 2), (one, 1), (two, 2)]
    assert len({digest, one, two}) == 3


def test_cells_that_something_is_done_to_are_not_counted() -> None:
    """Lesioned, silenced or held, for however short a time."""
    c = brain()
    setup = setup_of({
        "lesion": "region == 'b' and class == 'PN'",
        "silence": {"cells": "region == 'a' and class == 'LN'", "from_ms": 10.0, "to_ms": 20.0},
        "hold": {"cells": "region == 'a' and class == 'KC'", "v_mv": -60.0, "from_ms": 50.0},
    })  # fmt: skip
    wanted = c.select("(region == 'b' and class == 'PN') or (region == 'a' and (class == 'LN' or class == 'KC'))")
    found = not_counted(c, setup.manipulation(c, "c"))
    assert {name: mask.tolist() for name, mask in found.masks.items()} == {
        name: mask.tolist() for name, mask in wanted.masks.items()
    }


def test_an_instant_belongs_to_the_time_that_ends_with_it() -> None:
    """So that two stretches, one after the other, count each spike once."""
    time_ms, cell = np.array([5.0, 15.0, 33.0]), np.array([0, 0, 0])
    of = [Population("x", "all", np.array([0]))]
    for begins, ends, n, bins in ((0.0, 5.0, 1, [1]), (5.0, 33.0, 2, [1, 0, 1]), (33.0, 40.0, 0, [0])):
        found = read_out(time_ms, cell, np.zeros(1, bool), of, Counted(begins, ends, 10.0, begins))
        assert found["cell_spikes"].tolist() == [n]
        counted = found["course_hz"][0] * np.diff(Counted(begins, ends, 10.0, begins).bins) / 1000
        assert counted.tolist() == pytest.approx(bins)


@given(st.data())
def test_read_outs_are_what_loops_count(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 5))
    times = st.lists(st.tuples(st.integers(1, 400), st.integers(0, n - 1)), max_size=30)
    drawn = sorted(data.draw(times))
    time_ms, cell = (np.array([x[i] for x in drawn], float if i == 0 else int) for i in (0, 1))
    time_ms /= 10
    gone = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    of = [Population("x", "all", np.arange(n)), Population("x", "first", np.array([0]))]
    counted = Counted(5.0, 33.0, 10.0, 12.0)
    found = read_out(time_ms, cell, gone, of, counted)
    assert counted.bins.tolist() == [5, 15, 25, 33]
    for k, population in enumerate(of):
        there = [i for i in population.cells.tolist() if not gone[i]]
        spikes = [t for t, i in zip(time_ms, cell, strict=True) if i in there and 5 < t <= 33]
        if not there:
            assert np.isnan(found["rate_hz"][k])
            continue
        assert found["rate_hz"][k] == pytest.approx(len(spikes) / len(there) / 0.028)
        first = [min((t for t, i in zip(time_ms, cell, strict=True) if i == j and 12 < t <= 33), default=np.inf) - 12
                 for j in there]  # fmt: skip
        median = np.median(first)
        assert found["latency_ms"][k] == pytest.approx(median if np.isfinite(median) else np.nan, nan_ok=True, rel=1e-6)
        fired = {i for t, i in zip(time_ms, cell, strict=True) if i in there and 5 < t <= 33}
        assert found["active"][k] == len(fired) / len(there)
        for b, (low, high) in enumerate([(5, 15), (15, 25), (25, 33)]):
            inside = sum(low < t <= high for t in spikes)
            assert found["course_hz"][k, b] == pytest.approx(inside / len(there) / (high - low) * 1000)
    assert (found["cell_spikes"] == -1).tolist() == gone.tolist()


def test_results_of_all_trials() -> None:
    """Effects are over the cells that count in both; a sweep leaves out its silent cell."""
    e = experiment(sweep={"silence_each": "region == 'a' and class == 'LN'"})
    seen: list[Trial] = []
    results = perform(e, brain(), seen.append)
    setup = prepare(e, brain())
    assert seen == setup.trials()
    assert len(seen) == 3 * (3 * 3 + 10)
    assert results.rate_hz.dims == ("condition", "control", "seed", "population")
    assert results.by.values.tolist() == ["region"] * 3 + ["class"] * 3
    assert results.value.values.tolist() == ["a", "b", "eye", "KC", "LN", "PN"]
    trial = trial_of(setup, Trial("without", "shuffled", 2))
    at = {"condition": "without", "control": "shuffled", "seed": 2}
    assert np.array_equal(results.rate_hz.sel(at), trial.rate_hz, equal_nan=True)
    base = trial_of(setup, Trial("driven", "shuffled", 2)).cell_spikes.values
    b = np.arange(40, 80)
    counts = base[b][trial.cell_spikes.values[b] >= 0]
    assert counts.size == 32
    assert float(results.base_rate_hz.sel(at)[1]) == pytest.approx(counts.mean() / 0.06)
    cell = int(setup.swept[0])
    others = np.array([i for i in range(40) if i != cell])
    whole = trial_of(setup, Trial("driven", "measured", 1)).cell_spikes.values
    assert float(results.swept_base_rate_hz[0, 1, 0]) == pytest.approx(whole[others].mean() / 0.06)
    random = results.rate_hz.sel(control="random-targets", condition="quiet").values
    assert not np.array_equal(random[0], random[1])
    assert isinstance(setup.found("class == 'LN'", "x"), NodeSet)

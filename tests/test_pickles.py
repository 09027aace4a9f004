"""What is public can be pickled and deep-copied: equal content, and what nobody could write to stays so."""

from __future__ import annotations

import copy
import dataclasses
import multiprocessing
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given

import connectome.simulate as simulate
from connectome import (
    Connectome,
    EdgeKey,
    EdgeSet,
    Edit,
    NeuronParameters,
    Provenance,
    Region,
    RuleRecord,
    plugins,
)
from connectome.arrays import is_constant, read_only
from connectome.datasets.images import Images
from connectome.datasets.tasks import Interaction, Motor, Perception
from connectome.development.configuration import Configuration, read_configuration
from connectome.development.stage import Stage, StageOutcome, StageState
from connectome.learning.network import SpikingNetwork
from connectome.mechanisms.weight_gain import WeightGain
from connectome.neurons.alif import Alif
from connectome.rules import Context, Link
from connectome.simulate.clamp import Clamp
from connectome.simulate.stdp import PairSTDP
from connectome.simulate.stimulus import Poisson, Stimulus
from tests.strategies import connectomes

COPIES: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "oldest pickle": lambda thing: pickle.loads(pickle.dumps(thing, 0)),
    "deepcopy": copy.deepcopy,
}
LOCAL = EdgeKey("a", "local", "a")


def frozen(*numbers: float) -> np.ndarray[Any, Any]:
    array = np.array(numbers)
    array.flags.writeable = False
    return array


def small() -> Connectome:
    neuron, label = NeuronParameters(tau_m_ms=frozen(5, 6, 7)), np.array(["x", "", "y"])
    region = Region("a", 3, neuron=neuron, label=label, state={"gain": np.arange(3, dtype=np.float32)})
    sensor, effector = Region("eye", 2, "sensor"), Region("hand", 1, "effector")
    sizes = {"a": 3, "eye": 2, "hand": 1}
    edges = [
        EdgeSet.from_arrays(
            key, [0, 1, 1], [0, 0, 0], [5.0, 6.0, 7.0], n_source=sizes[key[0]], n_target=sizes[key[2]], dt_ms=0.1,
            delay_ms=[0.1, 0.3, 0.2], state={"memory": [1, 2, 3], "trace": 0.0},
        )
        for key in (LOCAL, ("eye", "afferent", "a"), ("a", "efferent", "hand"))
    ]  # fmt: skip
    log = (RuleRecord(1, 2, "prune", *LOCAL, removed=3),)
    return Connectome.of(
        [region, sensor, effector], edges, provenance=Provenance(3, 1, "one", ("ab",), {"numpy": "2"}, log)
    )


def images() -> Images:
    rng = np.random.default_rng(0)
    parts = ("train", "validation", "test")
    return Images(
        {p: rng.random((4, 2, 2)).astype(np.float32) for p in parts}, {p: np.arange(4) for p in parts}, tuple("abcd")
    )


def run_state() -> Any:
    plain = dataclasses.replace(small(), edges={}, regions={"a": Region("a", 3)})
    _, state = simulate.run(plain, 20.0, Stimulus(current_pa={"a": 800.0}), return_state=True)
    return state


def things() -> dict[str, Callable[[], Any]]:
    """Everything that is public and frozen, by name; made when it is asked for."""
    found: dict[str, Callable[[], Any]] = {
        "Region": lambda: small().regions["a"],
        "EdgeSet": lambda: small().edges[LOCAL],
        "Connectome": small,
        "Provenance": lambda: small().provenance,
        "Edit": lambda: Edit(
            {LOCAL: np.zeros(3, np.float32)}, {LOCAL: {"memory": frozen(1, 2, 3)}}, {LOCAL: np.zeros(3, bool)},
            tuple(small().edges.values()), add_regions=(Region("b", 2),), region_state={"a": {"gain": frozen(1, 1, 1)}},
        ),
        "Configuration": Configuration,
        "Configuration with its own": lambda: read_configuration(
            None, ["edges.afferent.learn=['sgd']", "regions.motor.neurons=5", "tasks.motor.note='x'"]
        ),
        "Stage": lambda: Stage(Motor(), 10, wiring=small(), chains=read_only({"afferent": ()})),
        "StageState": lambda: StageState(
            1, small(), (Link("a", "b", 0.5),), {"batch": np.random.default_rng(1)}, {LOCAL: 1.5}, {"a": frozen(1, 2)}
        ),
        "StageOutcome": lambda: StageOutcome(small(), {}, {}, (), 3),
        "Context": lambda: Context(1, 2, 3, "a", rate={"a": frozen(1, 2, 3)}),
        "Stimulus": lambda: Stimulus({"eye": ([1.0], [0])}, {"a": frozen(1, 2)}, {"a": Poisson(frozen(5, 6), 1.0)}),
        "Clamp": lambda: Clamp([0], (frozen(1, 2), [0, 0])),
        "RunState": run_state,
        "PairSTDP": lambda: PairSTDP(20, 20, 1, 1, 0, 100, eligibility_tau_ms=5, modulator_per_ms=frozen(0, 1)),
        "Images": images,
        "Perception": lambda: Perception(images(), pixels=np.arange(4)),
        "Motor": Motor,
        "Interaction": lambda: Interaction(images(), demonstrations=2),
        "neuron by neuron": lambda: Alif(adapt_tau_ms=frozen(5, 6)),
    }  # fmt: skip
    for group in ("rules", "learning", "neurons", "views", "comparators", "importance", "tasks", "select"):
        for name, plugin in plugins.known(group).items():
            made = group in ("comparators", "importance", "tasks")
            found[f"{group}.{name}"] = plugin.load if made else lambda plugin=plugin: plugin.load()()  # type: ignore[misc]
    return found


THINGS = things()


def same(a: Any, b: Any, where: str = "it") -> None:
    """Equal content of equal types, as writeable as it was."""
    assert type(a) is type(b), where
    if isinstance(a, np.ndarray):
        np.testing.assert_array_equal(a, b, where)
        assert (a.dtype, a.flags.writeable, is_constant(a)) == (b.dtype, b.flags.writeable, is_constant(b)), where
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, Mapping):
        assert list(a) == list(b), where
        for name in a:
            same(a[name], b[name], f"{where}[{name}]")
    elif isinstance(a, (tuple, list)):
        assert len(a) == len(b), where
        for place, (x, y) in enumerate(zip(a, b, strict=True)):
            same(x, y, f"{where}[{place}]")
    elif isinstance(a, np.random.Generator):
        assert a.bit_generator.state == b.bit_generator.state, where
    elif dataclasses.is_dataclass(a) and not isinstance(a, type):
        for field in dataclasses.fields(a):
            same(getattr(a, field.name), getattr(b, field.name), f"{where}.{field.name}")
    else:
        assert a == b or a != a, where


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("name", THINGS)
def test_a_copy_is_equal_and_as_read_only(name: str, way: str) -> None:
    thing = THINGS[name]()
    again = COPIES[way](thing)
    same(thing, again)
    same(again, COPIES[way](again))
    if hasattr(thing, "digest"):
        assert again.digest() == thing.digest()


@pytest.mark.parametrize("way", COPIES)
@given(c=connectomes())
def test_any_connectome_is_the_same_in_a_copy(way: str, c: Connectome) -> None:
    again = COPIES[way](c)
    assert again.digest() == c.digest()
    same(c, again)


@pytest.mark.parametrize("way", COPIES)
def test_nobody_writes_to_a_copy(way: str) -> None:
    again = COPIES[way](small())
    edges, region = again.edges[LOCAL], again.regions["a"]
    for array in (edges.weight, edges.indptr, edges.state["memory"], edges.state["trace"], region.sign, region.label,
                  region.state["gain"], region.position_um, region.neuron.tau_m_ms):  # fmt: skip
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    for mapping in (again.regions, again.edges, edges.state, region.state):
        with pytest.raises(TypeError, match="item assignment"):
            mapping["b"] = None
    with pytest.raises(dataclasses.FrozenInstanceError):
        again.dt_ms = 1.0


def test_a_copy_shares_what_the_original_shares_and_leaves_out_what_can_be_made_again() -> None:
    edges = small().edges[LOCAL]
    plain = len(pickle.dumps(edges))
    assert edges.reverse.edge.size == 3
    assert len(pickle.dumps(edges)) == plain
    one, two = copy.deepcopy((edges, edges))
    assert one is two
    assert copy.copy(edges) is edges
    large = EdgeSet.from_arrays(LOCAL, np.zeros(100_000, int), np.zeros(100_000, int), n_source=1, n_target=1, dt_ms=1)
    assert len(pickle.dumps(large)) < 250_000, "targets of two bytes; weights, delays and stages are one number each"


def test_a_connectome_goes_to_another_process_and_comes_back() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (again,) = pool.map(copy.deepcopy, [small()])
    same(small(), again)


# Networks


@pytest.mark.parametrize("engine", ["numba", "torch"])
@pytest.mark.parametrize("way", COPIES)
def test_a_network_computes_the_same_in_a_copy_and_learns_on_its_own(way: str, engine: Any) -> None:
    c = small()
    c = dataclasses.replace(
        c, regions={**c.regions, "a": dataclasses.replace(c.regions["a"], neuron=NeuronParameters())}
    )
    network = SpikingNetwork(c, engine=engine, views={LOCAL: WeightGain()})
    spikes = {"eye": torch.ones(2, 40, 2)}
    before = network(spikes, record=["a"])  # buffers and cached properties are there now
    again = COPIES[way](network)
    activity = again(spikes, record=["a"])
    assert torch.equal(activity.potential["hand"], before.potential["hand"])
    assert activity.operations == before.operations
    assert again.to_connectome().digest() == network.to_connectome().digest()
    assert {id(p) for p in again.parameters()} == {
        id(p) for p in [*again.weight.values(), *(p for made in again.beside.values() for p in made.values())]
    }
    activity.potential["hand"].square().sum().backward()
    with torch.no_grad():
        for parameter in again.parameters():
            parameter += 1
    assert torch.equal(network(spikes).potential["hand"], before.potential["hand"])
    assert all(parameter.grad is None for parameter in network.parameters())


def test_networks_that_share_weights_share_them_in_a_copy() -> None:
    c = dataclasses.replace(small(), regions={**small().regions, "a": Region("a", 3)})
    network = SpikingNetwork(c)
    part = network.sharing(["eye", "a"])
    again = copy.deepcopy(network)
    assert again.sharing(["eye", "a"]).weight[LOCAL] is again.weight[LOCAL]
    assert part.weight[LOCAL] is not again.weight[LOCAL]

"""Timescales by curriculum: the task by its words, units and curricula in closed form, learning on both, the trial."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from connectome import ConnectomeError, SpikingNetwork
from connectome.analysis.activity import autocorrelation, decay_time
from connectome.circuits import timescales as circuit
from connectome.circuits.bits import BitMemory, BitStage, asked_next, cross_entropy, head
from connectome.circuits.timescales import LeakyUnits
from connectome.datasets.tasks import known_tasks
from connectome.development.configuration import Configuration, plan_stages, read_configuration
from connectome.development.stage import Stage
from connectome.development.stages import develop
from connectome.learning.learning_rule import one_thread
from connectome.learning.task import acting
from sims.studies.circuits import timescale_measures as measures
from sims.studies.circuits import timescales as trial


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Matrices are small: threads would wait for each other."""
    with one_thread():
        yield


# The task


@given(st.integers(0, 10**6), st.lists(st.integers(2, 9), min_size=1, unique=True))
def test_labels_are_what_the_words_say(seed: int, heads: list[int]) -> None:
    rng, heads = np.random.default_rng(seed), sorted(heads)
    for kind in ("parity", "match"):
        task = BitMemory(kind, tuple(heads))
        bits = task.bits(rng, 5)
        assert heads[-1] + 2 <= bits.shape[1] <= 4 * heads[-1] + 1
        for row, labels in zip(bits.tolist(), task.labels(bits).tolist(), strict=True):
            for n, label in zip(heads, labels, strict=True):
                last = row[len(row) - n :]
                assert label == (sum(last) % 2 if kind == "parity" else int(last[0] == last[-1]))


def test_sequences_are_as_published() -> None:
    """Lengths evenly from N + 2 to 4 N + 1; for parity a probability of ones a sequence, for matching a half."""
    rng = np.random.default_rng(0)
    task = BitMemory("parity", (2, 3))
    drawn = [task.bits(rng, 1).shape[1] for _ in range(900)]
    count = np.bincount(drawn)
    assert (np.flatnonzero(count) == np.arange(5, 14)).all()
    assert count[5:].min() > 60
    ones = BitMemory("parity", (100,)).bits(rng, 2000).mean(1)
    np.testing.assert_allclose(np.quantile(ones, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.06)
    halves = BitMemory("match", (100,)).bits(rng, 2000).mean(1)
    assert halves.std() < 0.06


def test_bits_become_bursts() -> None:
    task = BitMemory(units=2, bit_steps=3)
    spikes = task.spikes(np.array([[True, False]]))["bit"].numpy().astype(int)
    wanted = [[1, 1, 0, 0], [0] * 4, [0] * 4, [0, 0, 1, 1], [0] * 4, [0] * 4]
    assert spikes.tolist() == [wanted]
    assert task.sensors == {"bit": 4}
    assert BitMemory(heads=(2, 5)).effectors == {head(2): 2, head(5): 2}


def test_the_loss_is_the_sum_of_the_heads() -> None:
    given_ = torch.tensor([[[0.0, 1.0], [2.0, 0.0]], [[0.5, 0.0], [0.0, 3.0]]])
    label = torch.tensor([[1, 0], [1, 0]])
    p = torch.softmax(given_, 2)
    wanted = -(p[0, 0, 1].log() + p[1, 0, 1].log()) / 2 - (p[0, 1, 0].log() + p[1, 1, 0].log()) / 2
    assert float(cross_entropy(given_, label)) == pytest.approx(float(wanted), rel=1e-5)


# Units


def units(n: int = 6, seed: int = 0) -> LeakyUnits:
    return LeakyUnits(n, 5, np.random.default_rng(seed)).double()


def test_units_follow_the_equation() -> None:
    net = units()
    net.tau.data[:3] = torch.tensor([1.0, 3.0, 20.0])
    x = np.random.default_rng(1).standard_normal((2, 7))
    found = net.states(torch.tensor(x), every=True).detach().numpy()
    w, w_in, b, tau = (p.detach().numpy() for p in (net.w, net.w_in, net.b, net.tau))
    assert (np.diag(w) == 0).all()
    assert ((tau >= 1) & (tau <= 20)).all()
    h = found[:, 0]
    for t in range(1, 7):
        z = (1 - 1 / tau) * h + (h @ w + x[:, t, None] * w_in + b) / tau
        h = np.where(z > 0, z, 0.01 * z)
        np.testing.assert_allclose(found[:, t], h, rtol=1e-12)
    first = units()
    first.tau.data[:3] = torch.tensor([1.0, 3.0, 20.0])
    heads = first(torch.tensor(x), (2, 5)).detach().numpy()
    for at, of in enumerate((0, 3)):  # of the heads for 2, 3, 4, 5
        wanted = found[:, -1] @ net.out[of].detach().numpy() + net.out_b[of].detach().numpy()
        np.testing.assert_allclose(heads[:, at], wanted)
    first = units()
    first.tau.data[:3] = torch.tensor([1.0, 3.0, 20.0])
    again = first.states(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(again, found[:, -1])
    # h = 0.1 U(0, 1) is drawn anew for each pass
    assert np.abs(first.states(torch.tensor(x)).detach().numpy() - again).max() > 0


@pytest.mark.parametrize("tau", [1.5, 4.0, 12.0])
def test_a_unit_alone_decays_with_its_time_constant(tau: float) -> None:
    """Noise on top of a bias that keeps it in the linear part: its autocorrelation is (1 - 1 / tau)^k."""
    net = units(2)
    with torch.no_grad():
        net.w.zero_()
        net.w_in.fill_(1.0)
        net.b.fill_(60.0)
        net.tau.fill_(tau)
        noise = torch.tensor(np.random.default_rng(2).standard_normal((10, 8100)))
        h = net.states(noise, every=True)[:, 100:, 0].numpy()
    assert h.min() > 0
    found = autocorrelation(h, 30)
    np.testing.assert_allclose(found, (1 - 1 / tau) ** np.arange(31), atol=0.05)
    assert decay_time(found) == pytest.approx(-1 / math.log(1 - 1 / tau), rel=0.1)


def test_gradients_reach_time_constants_and_bounds_hold() -> None:
    x = torch.tensor(np.random.default_rng(3).standard_normal((2, 5)))

    def loss(tau: torch.Tensor) -> torch.Tensor:
        net = units()
        net.tau.data.copy_(tau)
        out: torch.Tensor = net(x, (3,)).square().sum()
        out.backward()  # type: ignore[no-untyped-call]
        assert net.tau.grad is not None
        return torch.stack([out.detach(), net.tau.grad[1]])

    tau = units().tau.detach()
    step = torch.zeros(6, dtype=torch.float64)
    step[1] = 1e-5
    slope = (loss(tau + step)[0] - loss(tau - step)[0]) / 2e-5
    assert float(loss(tau)[1]) == pytest.approx(float(slope), rel=1e-5)
    net = units()
    net.tau.data[0] = 0.3
    net.w.data.fill_(1.0)
    net.keep_bounds()
    assert float(net.tau.detach().min()) == 1
    assert (net.w.diagonal() == 0).all()


# Curricula


def test_curricula() -> None:
    assert asked_next("single", (4,)) == (5,)
    assert asked_next("multi", (2, 3)) == (2, 3, 4)
    ten = tuple(range(2, 12))
    assert asked_next("sliding", ten) == tuple(range(3, 13))
    assert asked_next("sliding", (2, 3)) == (2, 3, 4)


def test_learning_solves_one_n_after_the_other() -> None:
    """In rates; what was solved is kept as it was, on sequences of its own; without a curriculum it ends."""
    rng = np.random.default_rng(0)
    network = LeakyUnits(32, 6, rng)
    solved = circuit.learn(network, BitMemory(), "multi", 400, rng, rate=0.01, batch=32, largest=3)
    assert [found.n for found in solved] == [2, 3]
    assert 50 <= solved[0].update <= solved[1].update - 50
    assert not torch.equal(solved[0].state["tau"], solved[1].state["tau"])
    for found in solved:
        network.load_state_dict(found.state)
        task = BitMemory(heads=tuple(range(2, found.n + 1)))
        assert measures.right_answers(network, task, 1).min() > 0.95
    assert measures.right_answers(network, BitMemory(heads=(6,)), 1).max() < 0.75
    once = circuit.learn(LeakyUnits(32, 6, rng), BitMemory(heads=(2, 3)), None, 400, rng, rate=0.01, batch=32)
    assert [found.n for found in once] == [3]


class Told(LeakyUnits):
    """Is told the last bits' parities, and errs in some shares of sequences for N = 2 and 3."""

    def __init__(self, errs: tuple[float, float]) -> None:
        super().__init__(2, 5, np.random.default_rng(0))
        self.errs, self.drawn = errs, np.random.default_rng(1)

    def forward(self, x: torch.Tensor, heads: Collection[int]) -> torch.Tensor:
        label = BitMemory(heads=tuple(heads)).labels(x.numpy() > 0).numpy()
        wrong = self.drawn.random(label.shape) < np.array([*self.errs, 1.0])[np.array(list(heads)) - 2]
        answer = nn.functional.one_hot(torch.from_numpy(label ^ wrong), 2).double()
        return answer + 0 * sum(p.sum() for p in self.parameters())


@pytest.mark.parametrize(
    ("errs", "wanted"),
    [
        ((0.0, 0.0), [3]), ((0.01, 0.01), [3]), ((0.0, 0.03), []), ((0.06, 0.0), []), ((0.03, 0.0), [3])
    ],
)  # fmt: skip
def test_solved_is_the_newest_and_the_mean_above_98_percent(errs: tuple[float, float], wanted: list[int]) -> None:
    task, rng = BitMemory(heads=(2, 3)), np.random.default_rng(0)
    found = circuit.learn(Told(errs), task, "multi", 60, rng, rate=0.0, batch=500)
    assert [solved.n for solved in found] == wanted
    assert all(solved.update == 50 for solved in found)


def test_spiking_networks_learn_by_the_same_loop() -> None:
    """Parity of two, which no linear readout of the bits tells. Of the heads one alone takes part."""
    task = BitMemory()
    born = circuit.bit_memory(100, 3, task=task, seed=1)
    network = SpikingNetwork(born, learn={"memory": ("tau_m_ms",)}, surrogate_width_mv=60.0, threads=1)
    before = task.score(acting(network.sharing(task.recruits)), "test", 300, np.random.default_rng(0))
    drawn = network.neuron_values("memory")["tau_m_ms"].detach().clone()
    circuit.learn(network, task, "multi", 90, np.random.default_rng(1), rate=40.0)
    after = task.score(acting(network.sharing(task.recruits)), "test", 300, np.random.default_rng(0))
    assert before.value < 0.7
    assert after.value > 0.8
    assert after.value == after.at_end
    assert after.spikes > 10
    assert after.operations > after.spikes
    assert (network.neuron_values("memory")["tau_m_ms"] - drawn).abs().min() > 0
    other = [key for key in network.weight if key.target == head(3)]
    np.testing.assert_array_equal(network.weight[other[0]].detach(), born.edges[other[0]].weight)


# The curriculum as stages of a development


def staged(folder: Path, curriculum: str, updates: int) -> tuple[list[Stage], Configuration]:
    """For N = 2, 3 and 4, by the configuration of the page."""
    page = Path(circuit.__file__).with_name("README.md").read_text()
    (folder / "bits.toml").write_text(page.split("```toml\n")[1].split("```")[0])
    names = ["bits2", "bits3", "bits4"]
    changes = [f"tasks.{name}.curriculum='{curriculum}'" for name in names]
    set_ = read_configuration(folder / "bits.toml", [*changes, f"training.other={updates}", "anatomy.neurons=40"])
    tasks = {name: known_tasks()[name](None, 0.0, **set_.tasks[name]) for name in names}
    return plan_stages(names, tasks, set_), set_


@pytest.mark.parametrize(("curriculum", "last"), [("single", (4,)), ("multi", (2, 3, 4)), ("sliding", (2, 3, 4))])
def test_stages_ask_for_what_the_curriculum_says(curriculum: str, last: tuple[int, ...], tmp_path: Path) -> None:
    stages, _ = staged(tmp_path, curriculum, 1)
    assert [stage.task.requires for stage in stages] == [(), ("bits2",), ("bits2", "bits3")]
    assert stages[2].task.effectors == {head(n): 2 for n in last}
    assert stages[2].task.recruits == ("bit", "bits2", "bits3", "bits4", *(head(n) for n in last))
    assert BitStage(14, curriculum="sliding").heads == tuple(range(5, 15))


def test_a_curriculum_is_developed_in_stages(tmp_path: Path) -> None:
    """With many heads those of earlier stages are read from the new region as well; with one they are left alone."""
    for curriculum, into in (("multi", {"bits2", "bits3"}), ("single", {"bits2"})):
        stages, set_ = staged(tmp_path, curriculum, 60)
        first, second = develop(stages[:2], set_.anatomy, seed=1, test_trials=100)
        readers = {key.source for key in second.connectome.edges if key.target == head(2)}
        assert readers == into
        assert first.scores["bits2"].value > 0.6
        assert set(second.scores) == {"bits2", "bits3"}
        tau = second.connectome.regions["bits3"].neuron.parameters()["tau_m_ms"]
        assert np.ptp(np.asarray(tau)) > 0, "time constants learn"


# The trial


def test_what_networks_bear_and_how_slow_they_are() -> None:
    """Of networks whose time constants are known; where N = 7 was not solved, nothing is said of what they bear."""
    rng = np.random.default_rng(0)
    network = LeakyUnits(12, 12, rng)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    solved = [circuit.Solved(n, 60 * n, {**before, "tau": before["tau"] + n}) for n in (5, 6, 7)]
    found = measures.time_constants(network, solved)
    mean = float(before["tau"].mean())
    assert found["tau"] == found["tau at 7"] == pytest.approx(mean + 7)
    assert found["slope"] == pytest.approx(1)
    assert found["tau_net"] > 0
    bare = measures.time_constants(network, solved[:1])
    assert math.isnan(bare["slope"])
    assert math.isnan(bare["tau at 7"])
    assert measures.robustness(network, "parity", solved[:2], 0.01, 0) == {}


def test_the_trial_judges() -> None:
    values = {c: {m: np.full(5, 0.5) for m in trial.timescales.measures} for c in trial.timescales.conditions}
    for name, of in values.items():
        of["N"] = np.full(5, 15.0 if name.startswith("multi") else 10.0)
    many, one = values["multi-head"], values["single-head"]
    many["worst earlier"] = np.full(5, 0.98)
    many["slope"], one["slope"] = np.full(5, -0.1), np.full(5, 0.1)
    many["tau at 7"], one["tau at 7"] = np.ones(5), np.array([1.1, 1.1, np.nan, 1.1, 1.1])
    many["tau_net grows"] = one["tau_net grows"] = np.full(5, 1.5)
    for name in ("ablated", "W noisy", "tau noisy", "retrained"):
        many[name] = np.full(5, 0.6)
    found = trial.timescales.check(values)
    assert [check.holds for check in found] == [True] * 15
    many["N"] = np.full(5, 14.0)
    one["best earlier"] = np.array([0.5, 0.5, 0.5, 0.5, 0.8])
    one["slope"][0] = 0
    many["slope"][1] = 0.01
    holds = [check.holds for check in trial.timescales.check(values)]
    assert [k for k, held in enumerate(holds) if not held] == [0, 4, 7, 8]


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: BitMemory("sum"), "kind"),  # type: ignore[arg-type]
        (lambda: BitMemory(heads=()), "heads"),
        (lambda: BitMemory(heads=(3, 2)), "heads"),
        (lambda: BitMemory(heads=(1,)), "heads"),
        (lambda: BitMemory(bit_steps=1), "bit_steps"),
        (lambda: BitMemory(units=0), "units"),
        (lambda: LeakyUnits(1, 3, np.random.default_rng(0)), "n "),
        (lambda: LeakyUnits(4, 1, np.random.default_rng(0)), "largest"),
        (lambda: units()(torch.zeros(1, 3, dtype=torch.float64), (1,)), "heads"),
        (lambda: units()(torch.zeros(1, 3, dtype=torch.float64), (6,)), "heads"),
        (lambda: circuit.bit_memory(1), "neurons"),
        (lambda: circuit.bit_memory(largest=1), "largest"),
        (lambda: circuit.bit_memory(tau_ms=(5.0, -1.0)), "tau_ms"),
        (lambda: asked_next("double", (2,)), "curriculum"),  # type: ignore[arg-type]
        (lambda: BitStage(2, curriculum="double"), "curriculum"),  # type: ignore[arg-type]
        (lambda: BitStage(1), "n "),
    ],
)
def test_what_does_not_fit_is_refused(call: object, field: str) -> None:
    with pytest.raises(ConnectomeError, match=field):
        call()  # type: ignore[operator]


def test_a_head_more_is_all_that_changes() -> None:
    task = replace(BitMemory(), heads=(2, 3))
    assert task.recruits == ("bit", "memory", "head2", "head3")
    assert set(circuit.bit_memory(10, 3).regions) == set(task.recruits)

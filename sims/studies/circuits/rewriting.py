"""Memory rewriting on trial: is a network that holds a cue able to exchange it for the next one?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from connectome.circuits import rewriting as circuit
from sims.studies.published import Check, Measure, Trial, Values

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from connectome.graph.connectome import Connectome

__all__ = ["rewriting"]

_DELAY: Final = 100
_CORRIDORS: Final = 3
#: Of the random numbers by which rates are chosen, and of those of the trials that count.
_VALIDATION, _TEST = 99, 2
#: Steps that are one to the GRU.
_BIN: Final = 3
_RATES: Final = {"GRU": (0.003, 0.01, 0.03), "reservoir": (1e-5, 1e-4, 1e-3)}


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    updates, size = (60, 50) if quick else (1000, 500)
    corridors = 1 if condition == "one corridor" else _CORRIDORS
    if condition in _RATES:
        test = _MADE_BY[condition](_rate(condition, quick), seed, updates)
    else:
        test = _spiking(condition, corridors, seed, updates)
    there = test(np.random.default_rng([seed, _TEST]), size, 2 * _CORRIDORS)
    parts = {"later": there[1:_CORRIDORS], "first": there[:1], "beyond": there[_CORRIDORS:]}
    return {name: float(part.mean()) for name, part in parts.items()}


Test = Callable[[np.random.Generator, int, int], "NDArray[np.float64]"]


def _spiking(condition: str, corridors: int, seed: int, updates: int) -> Test:
    """Our region, learning by surrogate gradients."""
    from connectome.learning.network import SpikingNetwork
    from connectome.neurons.alif import Alif

    born = circuit.two_halves(seed=seed, local=condition != "no local edges")
    if condition == "ALIF":
        memory = born.regions["memory"]
        adaptive = Alif(tau_m_ms=10.0, tau_syn_ex_ms=10.0, tau_syn_in_ms=10.0)
        born = replace(born, regions={**born.regions, "memory": replace(memory, neuron=adaptive)})
    network = SpikingNetwork(born, surrogate_width_mv=20.0)
    circuit.learn(network, corridors, _DELAY, updates, np.random.default_rng([seed, 1]))
    return lambda rng, size, n: circuit.passed(network, rng, size, n, _DELAY)


def _gru(rate: float, seed: int, updates: int) -> Test:
    """A gated recurrent unit of 32, with the same trials and updates, in bins."""
    import torch

    torch.manual_seed(seed)
    gru, out = torch.nn.GRU(30, 32, batch_first=True), torch.nn.Linear(32, 2)
    optimiser = torch.optim.Adam([*gru.parameters(), *out.parameters()], rate)
    rng = np.random.default_rng([seed, 1])

    def lead(spikes: Mapping[str, torch.Tensor], side: torch.Tensor) -> torch.Tensor:
        x = torch.cat([spikes["cue"], spikes["go"]], 2).float()
        y = out(gru(x.reshape(len(x), -1, _BIN, x.shape[2]).mean(2))[0])
        return circuit.lead_mv(y.repeat_interleave(_BIN, 1), side)

    for update in range(updates):
        now = circuit.growing_delay(_DELAY, update, updates)
        now -= (circuit.CUE_STEPS + now + circuit.JUNCTION_STEPS) % _BIN
        spikes, side = circuit.trials(rng, 32, _CORRIDORS, now)
        loss = torch.nn.functional.softplus(circuit.MARGIN_MV - lead(spikes, side)).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    def test(rng: np.random.Generator, size: int, corridors: int) -> NDArray[np.float64]:
        with torch.no_grad():
            found = lead(*circuit.trials(rng, size, corridors, _DELAY))
        return np.asarray((found >= circuit.MARGIN_MV).double().mean(0).numpy(), np.float64)

    return test


def _reservoir(rate: float, seed: int, updates: int) -> Test:
    """The same region with its local weights shuffled, fixed, and a readout that learns by the gated delta rule, online
    in one long run of as many trials as there are updates."""
    from connectome.graph.parts import EdgeKey
    from connectome.learning.network import SpikingNetwork
    from connectome.simulate.error_modulated import ErrorModulated
    from connectome.simulate.runs import Stimulus, run
    from connectome.simulate.stdp import learnt

    rng = np.random.default_rng([seed, 3])
    born = _shuffled(circuit.two_halves(seed=seed), rng)
    spikes, side = circuit.trials(np.random.default_rng([seed, 1]), updates, _CORRIDORS, _DELAY)
    length = circuit.CUE_STEPS + _DELAY + circuit.JUNCTION_STEPS
    gate = np.tile(np.arange(length) >= length - circuit.JUNCTION_STEPS, side.numel())[:, None]
    wanted = np.repeat(2.0 * side.numpy().ravel() - 1, length)[:, None] * np.array([-3.0, 3.0])
    given = {}
    for name, of in spikes.items():
        step, unit = np.nonzero(of.numpy().reshape(-1, of.shape[2]))
        given[name] = (step + 1.0, unit)
    into = EdgeKey("memory", "efferent", "turn")
    rule = ErrorModulated(wanted, rate, gate.astype(float))
    result = run(born, float(gate.size), Stimulus(spikes=given), plasticity={into: rule})
    network = SpikingNetwork(learnt(born, result))
    return lambda rng, size, n: circuit.passed(network, rng, size, n, _DELAY)


def _shuffled(born: Connectome, rng: np.random.Generator) -> Connectome:
    from connectome.graph.connectome import Edit
    from connectome.graph.parts import EdgeKey

    key = EdgeKey("memory", "local", "memory")
    return born.apply(Edit(reweight={key: rng.permutation(born.edges[key].weight)}))


_MADE_BY: Final = {"GRU": _gru, "reservoir": _reservoir}


@cache
def _rate(condition: str, quick: bool) -> float:
    """Chosen on a seed and trials of its own."""
    make = _MADE_BY[condition]
    updates, rng = 60 if quick else 1000, np.random.default_rng(_VALIDATION)
    score = {rate: make(rate, 1000, updates)(rng, 100, _CORRIDORS).mean() for rate in _RATES[condition]}
    return max(score, key=score.__getitem__)


def _check(v: Values) -> Sequence[Check]:
    one, ours, bare = v["one corridor"], v["three corridors"], v["no local edges"]
    gated = v["GRU"]["later"].mean()
    return [
        Check(
            "taught one corridor, it retains and does not rewrite: at least 95 %, then 40 to 60 %",
            f"{100 * one['first'].mean():.0f} %, then {100 * one['later'].mean():.0f} %",
            bool(one["first"].mean() >= 0.95 and 0.4 <= one["later"].mean() <= 0.6),
        ),
        Check(
            "taught three, it rewrites: at least 70 % of later turns", f"{100 * ours['later'].mean():.0f} %",
            bool(ours["later"].mean() >= 0.7),
        ),
        Check(
            "and every seed does, at least 90 %", f"{(ours['later'] >= 0.9).sum()} of {ours['later'].size}",
            bool((ours["later"] >= 0.9).all()),
        ),
        Check(
            "without local edges there is no memory: at most 60 %",
            f"{100 * bare['first'].mean():.0f} % of first turns", bool(bare["first"].mean() <= 0.6),
        ),
        Check(
            "what is gated rewrites best",
            f"GRU {100 * gated:.0f} % of later turns, ours {100 * ours['later'].mean():.0f} %",
            bool(gated >= ours["later"].mean()),
        ),
    ]  # fmt: skip


rewriting = Trial(
    "Memory rewriting", "Shchendrigin et al. 2026, AAMAS, arXiv 2601.15086",
    "networks that hold a cue need not be able to overwrite it; gated ones are",
    {"later": Measure(" %", 100, 0), "first": Measure(" %", 100, 0), "beyond": Measure(" %", 100, 0)},
    ("three corridors", "one corridor", "ALIF", "no local edges", "reservoir", "GRU"),
    _run, _check, ("GRU", "reservoir"),
)  # fmt: skip

"""What one update, one draw, one visit, one event take on this machine: the constants of ``sims.plan``, measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import nnls

from connectome import Connectome, NeuronParameters, Poisson, Region, Stimulus, run
from connectome.models import random_network
from connectome.simulate.costs import MEASURED, Constants, Size, of_run
from sims.benchmarks.delivery import our_mev_s, rows
from sims.benchmarks.training import INPUT_RATE, feed_forward, recurrent, steps

__all__ = ["measure", "train_terms"]

_NEURONS, _ROUNDS, _STEPS, _BATCH = 50_000, 3, 25, 64
_SHORT, _MIDDLE, _LONG = 16, 100, 1000  # edges of a row


def measure(say: Callable[[str], None]) -> Constants:
    """Measure, on one core: half a minute where it is free. The least of three rounds, as others only slow it down."""
    say("neurons and Poisson drive")
    found: dict[str, float] = {}
    quiet = Connectome.of([Region("a", _NEURONS, neuron=NeuronParameters(v_th_mv=1e6))])
    driven = Stimulus(poisson={"a": Poisson(1000.0, 0.01)})
    update, both = (_ns_a_step(quiet, stimulus) for stimulus in (Stimulus(), driven))
    found |= {"update_ns": update, "poisson_ns": max(both - update, 0.0)}
    for far, (n_edges, n_target, events) in {
        "": (MEASURED.near_edges, MEASURED.near_targets, 1e7),
        "far_": (MEASURED.far_edges, MEASURED.far_targets, 2e7),
    }.items():  # fmt: skip
        say(f"delivery {'out of' if far else 'in'} cache")
        ns = []
        for k in (_SHORT, _MIDDLE, _LONG):  # what a visit takes shows in short rows, an event in long ones
            given = rows(int(n_edges / max(k, _MIDDLE)), int(n_target), k, int(events))
            ns.append(1e3 / max(our_mev_s(given) for _ in range(_ROUNDS)))
        visit = max((ns[0] - ns[1]) / (1 / _SHORT - 1 / _MIDDLE), 0.0)
        found |= {f"{far}visit_ns": visit, f"{far}event_ns": ns[2]}
    say("training")
    known = Constants(**found, spike_ns=0.0, **_training())
    return replace(known, spike_ns=_spike_ns(known))


def _ns_a_step(connectome: Connectome, stimulus: Stimulus) -> float:
    """What a step takes, of each neuron, without what a run takes to begin."""

    def cpu(duration_ms: float) -> float:
        began = time.process_time()
        run(connectome, duration_ms, stimulus, threads=1)
        return time.process_time() - began

    cpu(1.0)
    n = connectome.n_neurons
    return min((cpu(220.0) - cpu(20.0)) * 1e9 / 2000 / n for _ in range(_ROUNDS))


def _spike_ns(known: Constants) -> float:
    """What a small recurrent network takes beside the terms that are known, for each of its spikes."""
    model = random_network(1000, 40)

    def cpu(duration_ms: float) -> tuple[float, int]:
        began = time.process_time()
        found = run(model.connectome, duration_ms, initial_v_mv=model.initial_v_mv, threads=1)
        return time.process_time() - began, int(found.attrs["n_spikes"])

    cpu(10.0)
    (short, few), (long, many) = (min(cpu(ms) for _ in range(_ROUNDS)) for ms in (200.0, 2200.0))
    spikes_s = (many - few) / 2
    size = Size(1000, model.connectome.n_edges, spikes_s, 40.0)
    return max((long - short) / 2 - of_run(size, known).seconds, 0.0) * 1e9 / spikes_s


def _training() -> dict[str, float]:
    """By least squares of relative errors, over networks in which neurons, events and weights weigh differently; with
    recurrence: dense layers without it are passed through at once, at a twentieth an event."""
    torch.set_num_threads(1)  # others would wait, and be counted
    terms, seconds = [], []
    many = recurrent(2048, 0.4)
    for network, batch in ((feed_forward(0.02), _BATCH), (many, _BATCH), (many, _BATCH // 16)):
        made = steps(network, _STEPS, batch, threads=1)
        made.ours()
        cpu = []
        for _ in range(_ROUNDS):
            began = time.process_time()
            made.ours()
            cpu.append(time.process_time() - began)
        rates = {"image": INPUT_RATE} | made.rates()
        terms.append([1e-9 * x for x in train_terms(network, rates, _STEPS, batch)])
        seconds.append(min(cpu))
    scaled = np.array(terms) / np.array(seconds)[:, None]
    values, _ = nnls(scaled, np.ones(len(seconds)))
    return dict(zip(("train_update_ns", "train_event_ns", "train_weight_ns"), values.tolist(), strict=True))


def train_terms(network: Connectome, rates: dict[str, float], n_steps: int, batch: int) -> tuple[float, float, float]:
    """Updates, events and weights of a training step. ``rates``: region -> spikes a neuron and step."""
    neurons = sum(r.size for r in network.regions.values() if r.role != "sensor")
    events = sum(rates.get(key.source, 0.0) * len(e) for key, e in network.edges.items())
    return neurons * n_steps * batch, events * n_steps * batch, network.n_edges

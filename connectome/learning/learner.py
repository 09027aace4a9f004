"""One learner: the loop that development, comparators and studies of pruning share.

It has a network of a connectome, and for each of its edge sets a chain of learning rules. What the rules keep is state
of the edges, in and out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome, EdgeDelta
from connectome.graph.flat import Engine
from connectome.graph.parts import EdgeKey
from connectome.learning.learning_rule import LearningRule, State, Update, check_chain, keeps_of, remembers_of
from connectome.learning.network import BatchActivity, SpikingNetwork
from connectome.learning.optimisers import Adam, Dale
from connectome.learning.task import Task, checked_loss

__all__ = ["CHAIN", "Chain", "Learner", "names_kept", "without"]

Chain = tuple[LearningRule, ...]
#: How weights learn unless something else is said.
CHAIN: Final[Chain] = (Adam(), Dale())


def names_kept(chain: Sequence[LearningRule]) -> tuple[str, ...]:
    """The names of all state that a chain's rules keep for a stage."""
    return tuple(name for rule in chain for name in keeps_of(rule))


def without(connectome: Connectome, names: Collection[str]) -> Connectome:
    """The connectome without these states of its edges."""
    edges = {
        key: replace(e, state={k: v for k, v in e.state.items() if k not in names})
        for key, e in connectome.edges.items()
        if not e.state.keys().isdisjoint(names)
    }
    return replace(connectome, edges={**connectome.edges, **edges})


class Learner:
    """A connectome at learning.

    Parameters
    ----------
    connectome : its edges' state, where there is any, is what the rules go on from
    task : whom it recruits, its loss
    chain : the learning rules; ``chains`` : kind of edge -> another chain for its sets, () for one that does not learn
    seed : of what rules draw
    number : updates done so far
    engine, device : of the network; on a device other than the CPU the engine is torch
    """

    def __init__(
        self, connectome: Connectome, task: Task, chain: Chain = CHAIN, *, chains: Mapping[str, Chain] | None = None,
        seed: Sequence[int] = (), number: int = 0, engine: Engine = "numba", device: str = "cpu",
    ) -> None:  # fmt: skip
        self.task, self.seed, self.number = task, tuple(seed), number
        bare = without(connectome, {name for rules in (chain, *(chains or {}).values()) for name in names_kept(rules)})
        self.network = SpikingNetwork(bare, recruit=task.recruits, engine=engine)
        self._device = torch.device(device)
        self.network.to(self._device)
        others = chains or {}
        for rules in (chain, *others.values()):
            check_chain(rules)
        self.chain = {key: others.get(key.kind, chain) for key in self.network.weight}
        self._state: dict[EdgeKey, State] = {}
        self._sign: dict[EdgeKey, Tensor] = {}
        self._pair: dict[EdgeKey, NDArray[np.uint64]] = {}
        for key, weight in self.network.weight.items():
            edges = connectome.edges[key]
            source = edges.source
            sign = torch.from_numpy(connectome.regions[key.source].sign[source])
            pair = torch.from_numpy(source.astype(np.int64) << 32 | edges.target)
            self._pair[key] = self.network.by_weight(key, pair).numpy().view(np.uint64)
            self._sign[key] = self.network.by_weight(key, sign.to(weight.device))
            self._state[key] = {}
            for rule in self.chain[key]:
                for name in (*keeps_of(rule), *remembers_of(rule)):
                    kept = torch.tensor(edges.state.get(name, np.zeros(len(edges), np.float32)), device=weight.device)
                    one = name in getattr(rule, "one_each", ())
                    self._state[key][name] = _most(kept) if one else self.network.by_weight(key, kept).clone()
        heard = {name for key, rules in self.chain.items() if _hear(rules) for name in (key.source, key.target)}
        named = [n for n in (*heard, *getattr(task, "record", ())) if connectome.regions[n].role == "neuron"]
        self._record = tuple(dict.fromkeys(named))

    def step(
        self, spikes: Mapping[str, Tensor], target: Any, rate_pa: Callable[[EdgeKey], float], *,
        extra_loss: Callable[[], Tensor] | None = None,
        watch: Callable[[BatchActivity], None] = lambda activity: None,
    ) -> float:  # fmt: skip
        """One update on a batch; its loss.

        ``rate_pa`` gives each edge set's learning rate, pA. ``extra_loss`` is called after the task's loss and added to
        it. ``watch`` is called with what the batch did when every ``weight.grad`` is known and no weight has changed
        yet. Raises :class:`ConnectomeError` for a loss that is no finite scalar.
        """
        network = self.network
        activity: BatchActivity = network(spikes, record=self._record)
        loss = checked_loss(self.task.loss(activity, _to(target, self._device)), self.task)
        if extra_loss is not None:
            loss = loss + extra_loss()
        if not torch.isfinite(loss):
            raise ConnectomeError(
                f"stage {self.task.name}", "must have a finite loss", f"{loss.item()} at update {self.number}",
                "Lower learning_rates.rate.",
            )  # fmt: skip
        network.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        watch(activity)
        self.number += 1
        with torch.no_grad():
            for key, weight in network.weight.items():
                if self.chain[key]:
                    self._learn(key, weight, rate_pa(key), spikes, activity)
        return float(loss.item())

    def connectome(self) -> Connectome:
        """The connectome as it is now, with what the rules keep as state of its edges."""
        return self.network.to_connectome().apply(EdgeDelta(state=self.edge_state()))

    def edge_state(self) -> dict[EdgeKey, dict[str, NDArray[np.float32]]]:
        """Edge set -> name -> (E,) what the rules keep."""
        return {
            key: {name: self._by_edge(key, value).numpy(force=True) for name, value in state.items()}
            for key, state in self._state.items()
        }

    def _by_edge(self, key: EdgeKey, value: Tensor) -> Tensor:
        value = value.to(torch.float32)
        n = len(self.network.connectome.edges[key])
        return self.network.by_edge(key, value) if value.ndim else value.expand(n).clone()

    def _learn(
        self, key: EdgeKey, weight: Tensor, rate_pa: float, spikes: Mapping[str, Tensor], activity: BatchActivity
    ) -> None:
        gradient = weight.grad
        assert gradient is not None
        seen = {**spikes, **activity.spikes} if _hear(self.chain[key]) else {}
        update = Update(
            key, self.network.connectome.edges[key], weight, gradient, self._sign[key], self._pair[key], rate_pa,
            self.number, self.seed, seen.get(key.source), seen.get(key.target),
        )  # fmt: skip
        change, state = gradient, self._state[key]
        for rule in self.chain[key]:
            change = rule(update, change, state)
        weight += change


def _to(target: Any, device: torch.device) -> Any:
    """What a loss wants to know, where the weights are."""
    if device.type == "cpu":
        return target
    if isinstance(target, Tensor):
        return target.to(device)
    if isinstance(target, Mapping):
        return {name: _to(value, device) for name, value in target.items()}
    return type(target)(_to(value, device) for value in target) if isinstance(target, (tuple, list)) else target


def _hear(rules: Chain) -> bool:
    return any(getattr(rule, "hears_spikes", False) for rule in rules)


def _most(values: Tensor) -> Tensor:
    """() the largest, which every edge has but those that came later; 0 of none."""
    return values.max().clone() if values.numel() else torch.zeros((), device=values.device)

"""One learner: the loop that development, comparators and studies of pruning share.

It has a network of a connectome, and for each of its edge sets a chain of learning rules. What the rules keep is state
of the edges, in and out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome, Edit
from connectome.graph.flat import Engine
from connectome.graph.parts import EdgeKey
from connectome.learning.learning_rule import LearningRule, State, Update, check_chain, keeps_of, remembers_of
from connectome.learning.modes import MODE, Mode, mode_key
from connectome.learning.network import BatchActivity, SpikingNetwork
from connectome.learning.neuron_parameters import NEURON, coordinate, neuron_key
from connectome.learning.optimisers import Adam, Dale
from connectome.learning.ranks import ALONE, Ranks
from connectome.learning.task import More, Task, checked_loss, given
from connectome.learning.views import WeightView

__all__ = ["CHAIN", "Chain", "Learner", "moved", "names_kept", "without"]

Chain = tuple[LearningRule, ...]
T = TypeVar("T")
#: How weights learn unless something else is said.
CHAIN: Final[Chain] = (Adam(), Dale())


def names_kept(chain: Sequence[LearningRule]) -> tuple[str, ...]:
    """The names of all state that a chain's rules keep for a stage."""
    return tuple(name for rule in chain for name in keeps_of(rule))


def of_kind(by_kind: Mapping[str, T], key: EdgeKey) -> T | None:
    """What is said of an edge set's kind, or of its base."""
    return by_kind.get(key.kind, by_kind.get(key.base))


def without(connectome: Connectome, names: Collection[str]) -> Connectome:
    """The connectome without these states of its edges and regions, those of the parameters of views and modes too."""
    edges = {
        key: replace(e, state={k: v for k, v in e.state.items() if k.rpartition(".")[2] not in names})
        for key, e in connectome.edges.items()
        if any(k.rpartition(".")[2] in names for k in e.state)
    }
    regions = {
        name: replace(r, state={k: v for k, v in r.state.items() if k.rpartition(".")[2] not in names})
        for name, r in connectome.regions.items()
        if any(k.rpartition(".")[2] in names for k in r.state)
    }
    return replace(connectome, edges={**connectome.edges, **edges}, regions={**connectome.regions, **regions})


class _Learnt(NamedTuple):
    """A parameter at learning: the weights of a set, what a view has beside them, or one of a region's."""

    parameter: Tensor
    chain: Chain
    sign: Tensor
    pair: NDArray[np.uint64]
    state: State


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
    views : edge set -> what its weights are made of. What a view has beside the weights learns by ``chain``, whatever
        the weights do; what rules keep of it is state ``NAME.STATE``. Noise is drawn by the seed and the update
    learn : region -> names of parameters of its neurons that learn, by ``chain``; what rules keep of one is state
        ``neuron-NAME.STATE`` of the region
    ranks : the processes that share each batch, if there are more; the task's loss must be a mean over samples

    Raises :class:`ConnectomeError` for ranks with a chain whose rules hear spikes, of which each rank has a part.
    """

    def __init__(
        self, connectome: Connectome, task: Task, chain: Chain = CHAIN, *, chains: Mapping[str, Chain] | None = None,
        seed: Sequence[int] = (), number: int = 0, engine: Engine = "numba", device: str = "cpu",
        views: Mapping[EdgeKey, WeightView] | None = None, block: Collection[EdgeKey] = (),
        inputs: More = MappingProxyType({}), mode: str = "", surrogate_width_mv: float = 10.0,
        learn: Mapping[str, Collection[str]] | None = None, ranks: Ranks = ALONE,
    ) -> None:  # fmt: skip
        self.task, self.seed, self.number, self.ranks = task, tuple(seed), number, ranks
        bare = without(connectome, {name for rules in (chain, *(chains or {}).values()) for name in names_kept(rules)})
        self.network = SpikingNetwork(
            bare, recruit=task.recruits, engine=engine, views=views, block=block, surrogate_width_mv=surrogate_width_mv,
            learn=learn,
        )  # fmt: skip
        self._device = torch.device(device)
        self.network.to(self._device)
        others = chains or {}
        for rules in (chain, *others.values()):
            check_chain(rules)
        found = {key: of_kind(others, key) for key in self.network.weight}
        self.chain = {key: chain if own is None else own for key, own in found.items()}
        if ranks.size > 1 and any(map(_hear, self.chain.values())):
            raise ConnectomeError("learning.chain", "must not hear spikes when ranks share a batch", "a rule that does")
        self._learnt: dict[tuple[EdgeKey, str], _Learnt] = {}
        for key, weight in self.network.weight.items():
            for name, parameter in {"weight": weight, **self.network.beside.get(key, {})}.items():
                self._learnt[key, name] = self._begin(connectome, key, name, parameter, chain)
            self.network.kept[key] = self._learnt[key, "weight"].state
        self._inputs = inputs
        self.mode = Mode(mode, self.network, self._device) if mode else None
        of_regions = {(neuron_key(r), n): x for r, free in self.network.neuron.items() for n, x in free.items()}
        if self.mode:
            of_regions |= {(mode_key(region), name): x for (region, name), x in self.mode.parameters.items()}
        for (key, name), parameter in of_regions.items():
            state, prefix = connectome.regions[key.source].state, self._prefix(key, name)
            kept = _kept(chain, partial(_stored, state, prefix), len(parameter), parameter.device)
            sign = torch.zeros(len(parameter), dtype=torch.int8, device=parameter.device)
            pair = np.arange(len(parameter), dtype=np.uint64)
            self._learnt[key, name] = _Learnt(parameter, chain, sign, pair, kept)
        heard = {name for key, rules in self.chain.items() if _hear(rules) for name in (key.source, key.target)}
        named = [n for n in (*heard, *getattr(task, "record", ())) if connectome.regions[n].role == "neuron"]
        self._record = tuple(dict.fromkeys(named))

    def _begin(self, connectome: Connectome, key: EdgeKey, name: str, parameter: Tensor, chain: Chain) -> _Learnt:
        edges, device = connectome.edges[key], parameter.device
        pair = torch.from_numpy(edges.pair.view(np.int64))
        sign = torch.from_numpy(edges.at_source(connectome.regions[key.source].sign)) * (name == "weight")
        rules, n = self.chain[key] if name == "weight" else chain, len(edges)
        state = {
            kept: value if value.ndim == 0 else self.network.by_weight(key, value, name)
            for kept, value in _kept(rules, lambda kept: edges.state.get(_full(name, kept)), n, device).items()
        }
        signs = self.network.by_weight(key, sign.to(device), name)
        return _Learnt(parameter, rules, signs, self.network.by_weight(key, pair, name).numpy().view(np.uint64), state)

    def _prefix(self, key: EdgeKey, name: str) -> str:
        """What states of a region begin with that are about a parameter of its neurons or of a mode."""
        return f"{NEURON}-{name}" if key.kind == NEURON or self.mode is None else self.mode.state(name)

    def step(
        self, spikes: Mapping[str, Tensor], target: Any, rate_pa: Callable[[EdgeKey], float], *,
        rate: Callable[[EdgeKey], float] = lambda key: 0.0,
        extra_loss: Callable[[BatchActivity], Tensor] | None = None,
        watch: Callable[[BatchActivity], None] = lambda activity: None,
    ) -> float:  # fmt: skip
        """One update on a batch; its loss.

        ``rate_pa`` gives each edge set's learning rate, pA; ``rate`` that of what is no weight: gains, parameters of
        neurons: by default they do not learn. ``extra_loss`` is called with what the batch did, after the task's loss,
        and added to it. ``watch`` is called with the same when every ``weight.grad`` is known and no weight has changed
        yet. Raises :class:`ConnectomeError` for a loss that is no finite scalar.
        """
        network, samples = self.network, len(next(iter(spikes.values()), ()))
        spikes, target = moved(self.ranks.part((spikes, target), samples), self._device)
        if network.views:
            network.moment = (*self.seed, self.number + 1)
        activity: BatchActivity = network(spikes, record=self._record, **self.inputs(spikes))
        loss = checked_loss(self.task.loss(activity, target), self.task)
        if extra_loss is not None:
            loss = loss + extra_loss(activity)
        if self.ranks.size > 1:
            loss = loss * self.ranks.weight(samples)
        if not torch.isfinite(loss):
            raise ConnectomeError(
                f"stage {self.task.name}", "must have a finite loss", f"{loss.item()} at update {self.number}",
                "Lower learning_rates.rate.",
            )  # fmt: skip
        for learnt in self._learnt.values():
            learnt.parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        if network.views:
            network.moment = None
        if self.ranks.size > 1:
            activity, loss = self._added_up(activity, loss.detach())
        watch(activity)
        self.number += 1
        with torch.no_grad():
            for (key, name), learnt in self._learnt.items():
                if learnt.chain:
                    in_pa, pace = network.pace.get((key, name), (key in network.weight, 1.0))
                    self._learn(key, name, learnt, pace * (rate_pa if in_pa else rate)(key), spikes, activity)
        try:
            network.settle()
        except ConnectomeError as error:
            where, hint = f"stage {self.task.name}: {error.field}", "Lower learning_rates.neuron."
            raise ConnectomeError(where, error.rule, f"{error.found} at update {self.number}", hint) from None
        return float(loss.item())

    def _added_up(self, activity: BatchActivity, loss: Tensor) -> tuple[BatchActivity, Tensor]:
        """Counts and the loss over all ranks, and gradients likewise, in their place."""
        found = [learnt.parameter.grad for learnt in self._learnt.values()]
        gradients = [gradient for gradient in found if gradient is not None]
        self.ranks.add_up([*gradients, loss])
        counts = [torch.from_numpy(count).to(self._device) for count in activity.counts.values()]
        operations = torch.tensor([activity.operations], device=self._device)
        self.ranks.add_up([*counts, operations])
        summed = {name: count.numpy(force=True) for name, count in zip(activity.counts, counts, strict=True)}
        return activity._replace(counts=summed, operations=int(operations.item())), loss

    def connectome(self) -> Connectome:
        """The connectome as it is now, with what rules keep as state of its edges, and a mode as state of regions."""
        for (key, name), learnt in self._learnt.items():
            if not torch.isfinite(learnt.parameter).all():
                found = f"{name} of {key} that is not, at update {self.number}"
                hint = "Lower learning_rates.rate, or take smaller steps."
                raise ConnectomeError(f"stage {self.task.name}", "must learn finite numbers", found, hint)
        region_state: dict[str, dict[str, NDArray[np.float32]]] = {}
        for (key, name), learnt in self._learnt.items():
            if key not in self.network.weight:
                state, n = self._prefix(key, name), len(learnt.parameter)
                values = {f"{state}.{kept}": v for kept, v in learnt.state.items()}
                if key.kind == MODE:
                    values[state] = learnt.parameter
                region_state.setdefault(key.source, {}).update(
                    {name: v.detach().expand(n).numpy(force=True) for name, v in values.items()}
                )
        return self.network.to_connectome().apply(Edit(state=self.edge_state(), region_state=region_state))

    def inputs(self, spikes: Mapping[str, Tensor]) -> dict[str, Any]:
        """What a forward pass with these spikes is given besides."""
        return {**given(self._inputs, spikes), **(self.mode.inputs() if self.mode else {})}

    def edge_state(self) -> dict[EdgeKey, dict[str, NDArray[np.float32]]]:
        """Edge set -> name -> (E,) what the rules keep."""
        found: dict[EdgeKey, dict[str, NDArray[np.float32]]] = {key: {} for key in self.network.weight}
        for (key, name), learnt in self._learnt.items():
            for kept, value in learnt.state.items() if key in found else ():
                found[key][_full(name, kept)] = self._by_edge(key, value, name).numpy(force=True)
        return found

    def _by_edge(self, key: EdgeKey, value: Tensor, name: str) -> Tensor:
        value = value.to(torch.float32)
        n = len(self.network.connectome.edges[key])
        return self.network.by_edge(key, value, name) if value.ndim else value.expand(n).clone()

    def _learn(
        self, key: EdgeKey, name: str, learnt: _Learnt, rate: float, spikes: Mapping[str, Tensor],
        activity: BatchActivity,
    ) -> None:  # fmt: skip
        weight = parameter = learnt.parameter
        if key.kind == NEURON:
            neuron = self.network.first_neuron(key.source)
            weight = coordinate(neuron, name, len(parameter)).to(parameter.device)
        gradient = parameter.grad
        assert gradient is not None
        seen = {**spikes, **activity.spikes} if _hear(learnt.chain) else {}
        update = Update(
            key, self.network.connectome.edges.get(key), weight, gradient, learnt.sign, learnt.pair, rate, self.number,
            self.seed, seen.get(key.source), seen.get(key.target), name,
        )  # fmt: skip
        change = gradient
        for rule in learnt.chain:
            change = rule(update, change, learnt.state)
        parameter += change


def _kept(rules: Chain, of: Callable[[str], NDArray[np.float32] | None], n: int, device: torch.device) -> State:
    """What rules keep, by name, (n,) or () each, as it was stored; zeros where nothing is."""
    state = State()
    for rule in rules:
        for name in (*keeps_of(rule), *remembers_of(rule)):
            stored = of(name)
            values = torch.tensor(np.zeros(n, np.float32) if stored is None else stored, device=device)
            state[name] = _most(values) if name in getattr(rule, "one_each", ()) else values
    return state


def _stored(state: Mapping[str, NDArray[np.float32]], prefix: str, kept: str) -> NDArray[np.float32] | None:
    return state.get(f"{prefix}.{kept}")


def _full(parameter: str, state: str) -> str:
    """The name of an edge's state: what a rule keeps of the weights has its own."""
    return state if parameter == "weight" else f"{parameter}.{state}"


def moved(batch: Any, device: torch.device) -> Any:
    """A batch, where the weights are."""
    if device.type == "cpu":
        return batch
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {name: moved(value, device) for name, value in batch.items()}
    return type(batch)(moved(value, device) for value in batch) if isinstance(batch, (tuple, list)) else batch


def _hear(rules: Chain) -> bool:
    return any(getattr(rule, "hears_spikes", False) for rule in rules)


def _most(values: Tensor) -> Tensor:
    """() the largest, which every edge has but those that came later; 0 of none."""
    return values.max().clone() if values.numel() else torch.zeros((), device=values.device)

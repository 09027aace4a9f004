"""Learning on the propagator: a connectome as a torch module whose parameters are the weights of its edge sets."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.flat import Engine, FlatNetwork, cores, flatten, select
from connectome.graph.kernel_set import KernelSet
from connectome.graph.parts import EdgeKey
from connectome.learning.bundles import lay_out
from connectome.learning.inputs import Clamp, checked_inputs, checked_output_gain
from connectome.learning.neuron_parameters import checked_names, free_values, learnt_model, parameter_values
from connectome.learning.propagation import event_driven, message_passing
from connectome.learning.state import NetworkState
from connectome.learning.tiles import Tiles
from connectome.learning.views import BASE, Moment, WeightView, begin, values_by_edge, weights
from connectome.neurons.model import NeuronModel

__all__ = ["BatchActivity", "SpikingNetwork"]


class BatchActivity(NamedTuple):
    """What a batch of B samples did in T steps.

    potential : effector -> (B, T, N) mV above rest, differentiable
    spikes : recorded region -> (B, T, N) 0 or 1, differentiable by the surrogate
    counts : region or sensor -> (N,) int64, spikes of each neuron over all steps and samples
    operations : synaptic operations, spikes times the edges that each was delivered over, over all samples
    state : where the batch stands in the end, if it was asked for
    """

    potential: dict[str, Tensor]
    spikes: dict[str, Tensor]
    counts: dict[str, NDArray[np.int64]]
    operations: int
    state: NetworkState | None = None

    @property
    def n_spikes(self) -> int:
        """Of all neurons and sensors, over all steps and samples."""
        return int(sum(count.sum() for count in self.counts.values()))


class SpikingNetwork(nn.Module):
    """A connectome, or the regions of it that a task recruits, ready to be trained by any torch optimiser.

    Weights are one parameter vector per edge set, (E,) pA, in the edge set's order: ``weight[key]``. Edges with the
    same number in the state ``"tied"`` of their set share one weight: the vector has one element for each number, in
    rising order, at first the mean of its edges' weights. A kernel set has one for each of its rows.
    The forward pass is the propagator's (the same spikes as :func:`connectome.simulate.run`); the backward pass is the
    exact surrogate-gradient backpropagation through time, ``ds/du = max(0, 1 - |u - theta| / width) / width``, where
    the reset and the refractory hold carry no gradient (Zenke & Vogels 2021).

    Parameters
    ----------
    recruit : names of the regions, sensors and effectors that take part (default: all). The others stay silent.
    engine : ``"numba"``, event driven; ``"torch"``, PyG message passing, for another device, other models of neurons or
        as a check. None: event driven, if all regions can be trained so.
    surrogate_width_mv : half-width of the surrogate's support.
    dtype : ``torch.float32`` or ``torch.float64``.
    threads : at most this many (default: all cores the process may use). The result does not depend on it.
    share : a network of the same connectome that recruits others; what both have learns as one.
    block : edge sets that pass no spike's gradient back, see :meth:`forward`
    learn : region or effector -> names of parameters of its neurons that learn, one for each neuron, such as
        ``("tau_m_ms", "v_th_mv")``. ``neuron[region][name]``, (N,), is what an optimiser changes, see
        :mod:`connectome.learning.neuron_parameters`; :meth:`neuron_values` gives the parameters in their units, which
        stay positive, and thresholds above the reset, by construction
    views : edge set -> what its weights are made of, see :mod:`connectome.learning.views`. ``weight[key]`` is then what
        goes into the view; its other parameters are ``beside[key]``, by name. ``moment``, an attribute, says what noise
        is drawn by while the network is in training; None, as at first: there is none.
    """

    def __init__(
        self, connectome: Connectome, *, recruit: Collection[str] | None = None, engine: Engine | None = None,
        surrogate_width_mv: float = 10.0, dtype: torch.dtype = torch.float32, threads: int | None = None,
        share: SpikingNetwork | None = None, block: Collection[EdgeKey] = (),
        views: Mapping[EdgeKey, WeightView] | None = None, learn: Mapping[str, Collection[str]] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if engine not in (None, "numba", "torch"):
            raise ConnectomeError("engine", "must be 'numba' or 'torch'", repr(engine))
        if dtype not in (torch.float32, torch.float64):
            raise ConnectomeError("dtype", "must be torch.float32 or torch.float64", dtype)
        if not 0 < surrogate_width_mv < np.inf:
            raise ConnectomeError("surrogate_width_mv", "must be finite and > 0", surrogate_width_mv)
        self.connectome = connectome
        self.selection = select(connectome, recruit)
        for name, r in self.selection.regions.items():
            able = r.neuron.linear() is not None or r.neuron.adaptive(connectome.dt_ms) is not None
            if engine != "torch" and r.role != "sensor" and not able:
                if engine == "numba":
                    rule = f"must be 'torch' to train region {name!r}, of {r.neuron.model}"
                    known = "Event driven are iaf_psc_exp, alif and leaky_integrator."
                    raise ConnectomeError("engine", rule, repr(engine), known)
                engine = "torch"
        self.engine = engine = engine or "numba"
        self.dtype = dtype
        self.threads = threads or cores()
        self.block = frozenset(block)
        self.surrogate_width_mv = surrogate_width_mv
        self.views: dict[EdgeKey, WeightView] = {}
        self.moment: Moment = None
        self.pace: dict[tuple[EdgeKey, str], tuple[bool, float]] = {}
        self._element: dict[EdgeKey, dict[str, Tensor]] = {}
        self._sharing: dict[tuple[str, ...], SpikingNetwork] = {}
        self._remembered: dict[tuple[str, ...], SpikingNetwork] = {}
        self.kept: dict[EdgeKey, dict[str, Tensor]] = {}
        self.weight: dict[EdgeKey, nn.Parameter] = {}
        self.beside: dict[EdgeKey, dict[str, nn.Parameter]] = {}
        given = {**(share.views if share is not None else {}), **(views or {})}
        for key in given.keys() - connectome.edges.keys():
            raise ConnectomeError("views", "must be of edge sets that exist", str(key))
        for key, edges in self.selection.edges.items():
            if key in given:
                self.views[key] = given[key]
            found = begin(given[key], edges, dtype) if key in given else {"weight": weights(edges)}
            self._element[key] = {n: torch.from_numpy(p.element) for n, p in found.items() if p.element is not None}
            self.pace |= {(key, n): (p.in_pa, p.pace) for n, p in found.items() if n != "weight"}
            made = {n: nn.Parameter(torch.tensor(p.value, dtype=dtype)) for n, p in found.items()}
            if share is not None and key in share.weight:
                made = {"weight": share.weight[key], **share.beside.get(key, {})}
            self.weight[key] = made.pop("weight")
            if made:
                self.beside[key] = made
        self._sets = nn.ParameterList(self.weight.values())
        self.neuron: dict[str, dict[str, nn.Parameter]] = {}
        self._first: dict[str, NeuronModel] = {}
        if share is not None:
            self._first = share._first
            self.neuron = {name: free for name, free in share.neuron.items() if name in self.selection.regions}
        for name, names in checked_names(learn or {}, self.selection).items():
            region = self.selection.regions[name]
            self._first.setdefault(name, region.neuron)
            self.neuron[name] = free_values(region.size, names, dtype) | self.neuron.get(name, {})
        self._neurons = nn.ParameterList(p for free in self.neuron.values() for p in free.values())
        self._beside = nn.ParameterList(p for made in self.beside.values() for p in made.values())
        self._numbers(self.block)
        roles = {name: r.role for name, r in self.selection.regions.items()}
        self.sensors = {n: s for n, s in self.selection.span.items() if roles[n] == "sensor"}
        self.effectors = {n: s for n, s in self.selection.span.items() if roles[n] == "effector"}
        self._out_degree = {name: np.zeros(r.size, np.int64) for name, r in self.selection.regions.items()}
        for key, edges in self.selection.edges.items():
            self._out_degree[key.source] += edges.out_degree
        self._tiles = self._laid_out()

    def __getstate__(self) -> dict[str, Any]:
        """All but what is made of the rest: buffers that a batch runs on, and functions that no pickle holds."""
        return {k: v for k, v in self.__dict__.items() if k not in ("_tiles", "_flat", "_surrogate")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]  # torch has no annotations here
        self._tiles = self._laid_out()

    def __repr__(self) -> str:
        learn = sum(p.numel() for p in self.parameters() if p.requires_grad)
        regions = ", ".join(f"{r.name}[{r.size}]" for r in self.selection.regions.values())
        return f"SpikingNetwork({regions}; {learn:,} parameters learn, engine={self.engine!r})"

    def forward(
        self, sensor_spikes: Mapping[str, Tensor], record: Sequence[str] = (), *,
        current: Mapping[str, Tensor] | None = None, gain: Mapping[str, Tensor] | None = None,
        mask: Mapping[str, Tensor] | None = None, clamp: Mapping[str, Clamp] | None = None,
        state: NetworkState | None = None, return_state: bool = False, block: Collection[EdgeKey] | None = None,
        output_gain: Mapping[str, Tensor] | None = None,
    ) -> BatchActivity:  # fmt: skip
        """Run a batch of B samples for T steps; N is a region's size.

        Parameters
        ----------
        sensor_spikes : sensor -> (B, T, N), non-zero where it fires; real numbers must be 0 or 1. Sensors left out are
            silent. What requires a gradient gets the exact one, as if a spike were a real number: what flows back over
            the sensor's edges. So a module with a surrogate gradient may come before.
        record : the regions whose spikes are wanted
        current : region or effector -> what broadcasts to (B, T, N), pA besides i_e; differentiable
        gain : region or effector -> (N,) or, of each sample, (B, N), 0 or more: times all that arrives at a neuron;
            differentiable. With ``v_reset = e_l`` and ``i_e = 0`` it divides a neuron's threshold.
        output_gain : region or sensor -> (N,): times all that a neuron's spikes deliver; differentiable
        mask : region -> (N,) or (B, N), 0 for neurons that take no part: they never fire
        clamp : region -> (who, spikes): (N,), (B, N) or (B, T, N), 1 for neurons whose spikes are replaced, by what
            broadcasts to (B, T, N), or None for silence. What is replaced has a gradient of 0.
        state : go on from the ``state`` of an earlier activity of the same network, which has it if it was run with
            ``return_state``: two runs are then, bit for bit, one, and so is their gradient, unless it is cut with
            ``state.detach()``. On the engine numba none flows where thresholds rise or neurons' parameters learn.
        block : edge sets (default: the network's) through which no spike's gradient flows back; their own weights'
            gradient is found as ever

        Raises :class:`ConnectomeError` for whatever does not fit.
        """
        device = self._sets[0].device if len(self._sets) else torch.device("cpu")
        inputs = checked_inputs(
            self.selection, device, self.dtype, sensor_spikes, record, current, gain, mask, clamp, state
        )
        inputs = inputs.of_each_sample({k.target for k, e in self.selection.edges.items() if isinstance(e, KernelSet)})
        blocked = self._numbers(self.block if block is None else block)
        effective = self._by_edge()
        sent = checked_output_gain(self.selection, {} if output_gain is None else output_gain, device, self.dtype)
        for i, (key, edges) in enumerate(self.selection.edges.items()):
            if isinstance(edges, KernelSet):
                if key.source in sent:
                    rule, hint = (
                        "must leave out regions whose maps' kernels are shared",
                        "Scale what they receive: gain=",
                    )
                    raise ConnectomeError(f"output_gain[{key.source}]", rule, str(key), hint)
                continue
            if key.target in inputs.shared_gain:
                target = torch.from_numpy(edges.target.astype(np.int64)).to(device)
                effective[i] = effective[i] * inputs.shared_gain[key.target].index_select(0, target)
            if key.source in sent:
                source = torch.from_numpy(edges.source.astype(np.int64)).to(device)
                effective[i] = effective[i] * sent[key.source].index_select(0, source)
        if self._tiles is None:
            found = message_passing(
                self._flat, self.selection, effective, inputs, record, blocked=blocked, return_state=return_state,
                surrogate=self._surrogate, dtype=self.dtype, learnt=self._learnt(),
            )  # fmt: skip
        else:
            if device.type != "cpu":
                raise ConnectomeError("engine", f"must be 'torch' where the weights are on {device}", "'numba'")
            found = event_driven(
                self._tiles, self.selection, effective, inputs, record, blocked=blocked, return_state=return_state,
                columns=sum(s.stop - s.start for s in self.effectors.values()), threads=self.threads,
                learnt=self._learnt(),
            )  # fmt: skip
        potential, at = {}, 0
        for name, span in self.effectors.items():
            width = span.stop - span.start
            potential[name] = found.potential[..., at : at + width]
            at += width
        operations = sum(int(n @ self._out_degree[name]) for name, n in found.counts.items())
        counts = {n: c for n, c in found.counts.items() if n not in self.effectors}
        return BatchActivity(potential, found.spikes, counts, operations, found.state)

    def sharing(self, recruit: Collection[str]) -> SpikingNetwork:
        """The network of the same connectome that recruits others, with the same weights where both have them; the same
        one at each call."""
        names = tuple(recruit)
        if names not in self._sharing:
            other = SpikingNetwork(
                self.connectome, recruit=names, engine=self.engine, surrogate_width_mv=self.surrogate_width_mv,
                dtype=self.dtype, threads=self.threads, share=self,
            )  # fmt: skip
            self._sharing[names] = other.to(next(self.parameters()).device)
        return self._sharing[names]

    def remembered(self, state: str, recruit: Collection[str]) -> SpikingNetwork:
        """The network of the same connectome that recruits these, whose weights are what the edges' state of this name
        says, 0 of edges that are newer; the same one at each call. Of what learning rules keep (``kept``, which a
        learner fills) they are what it says now."""
        key = (state, *recruit)
        if key not in self._remembered:
            edges = {
                k: replace(e, weight=e.state.get(state, np.zeros_like(e.weight)))
                for k, e in self.connectome.edges.items()
            }
            other = SpikingNetwork(
                replace(self.connectome, edges=edges), recruit=tuple(recruit), engine=self.engine, dtype=self.dtype,
                threads=self.threads, surrogate_width_mv=self.surrogate_width_mv,
            )  # fmt: skip
            self._remembered[key] = other.to(next(self.parameters()).device)
        with torch.no_grad():
            for k, weight in self._remembered[key].weight.items():
                if state in self.kept.get(k, {}):
                    weight.copy_(self.kept[k][state])
        return self._remembered[key]

    def by_edge(self, key: EdgeKey, values: Tensor, name: str = "weight") -> Tensor:
        """(E,) values of the edges of a set from one for each element of ``weight[key]``, or of ``beside[key][name]``:
        the same, unless edges share elements."""
        element = self._element[key].get(name)
        return values if element is None else values.index_select(0, element.to(values.device))

    def by_weight(self, key: EdgeKey, values: Tensor, name: str = "weight") -> Tensor:
        """The inverse, (P,) from (E,): the same, unless edges share elements, where each is that of the last of its
        edges."""
        element = self._element[key].get(name)
        if element is None:
            return values
        out = values.new_zeros(len(self.weight[key] if name == "weight" else self.beside[key][name]))
        out[element.to(values.device)] = values
        return out

    def effective(self, key: EdgeKey, moment: Moment = None) -> Tensor:
        """(E,) pA, the weights that edges have: what a view makes of its parameters, differentiably."""
        if key not in self.views:
            return self.by_edge(key, self.weight[key])
        values = {"weight": self.weight[key], **self.beside.get(key, {})}
        return self.views[key](values_by_edge(values, self._element[key]), self.selection.edges[key], moment)

    def keep_signs(self) -> None:
        """Dale's principle, in place: a weight that has not its source neuron's sign becomes 0. For loops of one's own,
        after each of the optimiser's steps."""
        with torch.no_grad():
            for key, weight in self.weight.items():
                sign = torch.from_numpy(self.selection.edges[key].at_source(self.connectome.regions[key.source].sign))
                weight.masked_fill_(weight * self.by_weight(key, sign.to(weight.device)) < 0, 0.0)

    def neuron_values(self, region: str) -> dict[str, Tensor]:
        """(N,) float64 of each parameter of a region's neurons that learns, in its unit, differentiable."""
        return parameter_values(self.first_neuron(region), self.neuron.get(region, {}))

    def first_neuron(self, region: str) -> NeuronModel:
        """The model of a region's neurons that what is free is counted from: the connectome's, or :meth:`settle`'s."""
        return self._first.get(region, self.connectome.regions[region].neuron)

    def settle(self) -> None:
        """Count from the parameters of neurons as they are now: what an optimiser changes is 0 again. So what they are
        is all that there is to keep. Raises :class:`ConnectomeError` for parameters that a model refuses."""
        with torch.no_grad():
            for name, free in self.neuron.items():
                self._first[name] = learnt_model(self._first[name], self.neuron_values(name))
                for x in free.values():
                    x.zero_()

    def to_connectome(self) -> Connectome:
        """The connectome with the weights and the neurons' parameters as they are now, and what views need to go on as
        state of its edges."""
        edges = dict(self.connectome.edges)
        for key, weight in self.weight.items():
            state = edges[key].state
            with torch.no_grad():
                effective = self.effective(key).detach()
            if key in self.views:
                base = self.by_edge(key, weight.detach())
                kept = {n: self.by_edge(key, p.detach(), n) for n, p in self.beside.get(key, {}).items()}
                if not torch.equal(base, effective):
                    kept[BASE] = base
                others = {n: x for n, x in state.items() if n != BASE}
                state = {**others, **{n: x.cpu().numpy() for n, x in kept.items()}}
            edges[key] = replace(edges[key], weight=effective.cpu().numpy(), state=state)
        regions = dict(self.connectome.regions)
        for name in self.neuron:
            neuron = learnt_model(self.first_neuron(name), self.neuron_values(name))
            regions[name] = replace(regions[name], neuron=neuron)
        return replace(self.connectome, regions=regions, edges=edges)

    def _learnt(self) -> dict[str, NeuronModel]:
        """The models of regions whose neurons learn, among tensors."""
        return {name: self.first_neuron(name).among_tensors(self.neuron_values(name)) for name in self.neuron}

    def _laid_out(self) -> Tiles | None:
        if self.engine != "numba":
            return None
        real = np.float32 if self.dtype == torch.float32 else np.float64
        return Tiles(lay_out(self.selection, real, self.surrogate_width_mv, self._learnt()))

    def _by_edge(self) -> list[Tensor]:
        moment = self.moment if self.training else None
        return [self.effective(key, moment) for key in self.weight]

    def _numbers(self, block: Collection[EdgeKey]) -> list[int]:
        """The places of edge sets in their order."""
        keys = list(self.selection.edges)
        for key in block:
            if key not in self.selection.edges:
                raise ConnectomeError("block", "must name edge sets that take part", str(key))
        return sorted(keys.index(key) for key in block)

    @cached_property
    def _surrogate(self) -> Callable[[Tensor], Tensor]:
        from connectome.simulate.torch_engine import triangle

        return triangle(self.surrogate_width_mv)

    @cached_property
    def _flat(self) -> FlatNetwork:
        return flatten(self.connectome, tuple(self.selection.regions))

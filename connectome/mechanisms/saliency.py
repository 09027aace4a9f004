"""Saliency: how much each edge matters, and the edit that removes what matters least.

Every criterion gives one number for each edge of a connectome, measured on batches of a task; :func:`pruning` turns
them into an edit that removes single edges (unstructured) or whole neurons (structured). What prunes
while a network develops is :class:`connectome.mechanisms.FeedbackPruning`; here an edge is judged at one moment.

Where a loss goes through spikes, "derivative" means the surrogate's: a spike's derivative is a triangle around the
threshold. So a saliency says what the loss would do if spikes came and went gradually, which they do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from connectome import plugins
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome, Edit
from connectome.graph.flat import select
from connectome.graph.parts import EdgeKey
from connectome.learning.network import BatchActivity, SpikingNetwork
from connectome.learning.task import Task
from connectome.rules import Importance, Sample, normalise

__all__ = ["CRITERIA", "FEEDBACK", "Batch", "accumulate_feedback", "curvature", "pruning", "saliency"]

#: What a task gives to learn from: sensor -> (B, T, N) spikes, and what its loss wants to know of them.
Batch = tuple[Mapping[str, Tensor], Any]
Saliency = dict[EdgeKey, NDArray[np.float64]]

#: The per-edge state in which feedback is accumulated.
FEEDBACK: Final = "feedback"
#: A trace keeps this much of itself in a step: trace(t) = 0.5 trace(t - 1) + s(t) (METHOD section 1).
_TRACE_DECAY: Final = 0.5


def saliency(
    criterion: str, connectome: Connectome, task: Task, batches: Sequence[Batch], rng: np.random.Generator
) -> Saliency:
    """Edge set -> (E,) saliency of each edge by a criterion, one of :data:`CRITERIA` or an importance of the registry,
    whose mean over the batches it is.

    All are 0 or more. Sets that the task does not recruit are left out.

    ``random``: uniform. ``magnitude``: ``w^2``, in the order of ``|w|``. ``taylor``: the mean over batches of
    ``|w dL/dw|`` (Molchanov et al. 2017), which is what a region sends back to its own edges: METHOD's feedback at one
    moment. ``feedback``: the same, accumulated over training by :func:`accumulate_feedback`. ``obd``:
    ``1/2 H_kk w_k^2`` with the diagonal that :func:`curvature` estimates (LeCun et al. 1990). ``bcm``:
    post (post - theta) pre of spike traces, averaged over steps and samples, theta the mean of post; 0 where that is
    negative. ``activity``: mean spikes per step of source times target. An effector does not spike: of its edges, the
    last two see the source's part alone.

    Raises :class:`ConnectomeError` for an unknown criterion, or without batches.
    """
    if criterion not in CRITERIA and not plugins.has("importance", criterion):
        there_is = sorted({*CRITERIA, *plugins.known("importance")})
        raise ConnectomeError("criterion", f"must be among {', '.join(there_is)}", repr(criterion))
    if not batches:
        raise ConnectomeError("batches", "must be one or more", "none")
    if criterion not in CRITERIA:
        return _importance(plugins.load("importance", criterion, "criterion"), connectome, task, batches)
    return dict(CRITERIA[criterion](connectome, task, batches, rng))


def pruning(connectome: Connectome, saliency: Mapping[EdgeKey, NDArray[Any]], edges: int, *, structured: bool) -> Edit:
    """The edit that leaves ``edges`` of the edges that saliency is known of: the most salient, all sets together.

    ``structured``: whole neurons of regions go, those with the least sum over their edges in and out first, as few as
    leave ``edges`` edges or fewer (never the last neuron of a region); sensors and effectors stay. Ties go by order.

    So that sets are comparable, a saliency is divided by the sum of all in its set that are not below it (LAMP: Lee et
    al. 2021): the most salient edge of every set counts 1, and no set is emptied before the others. Raises
    :class:`ConnectomeError` for a saliency that does not fit the edges, or a number of edges below 0.
    """
    if edges < 0:
        raise ConnectomeError("edges", "must be 0 or more", edges)
    for key, values in saliency.items():
        if key not in connectome.edges or np.shape(values) != (len(connectome.edges[key]),):
            raise ConnectomeError(f"saliency[{key}]", "must have one value for each edge", np.shape(values))
        if not np.isfinite(values).all() or (values < 0).any():
            raise ConnectomeError(f"saliency[{key}]", "must be finite and 0 or more", values)
    share = {key: _share(np.asarray(values, np.float64)) for key, values in saliency.items()}
    if structured:
        return Edit(remove=_without_neurons(connectome, share, edges))
    every = np.concatenate([np.zeros(0), *share.values()])
    gone = np.ones(every.size, bool)
    gone[np.argsort(-every, kind="stable")[:edges]] = False
    ends = np.cumsum([len(v) for v in share.values()])[:-1]
    return Edit(remove=dict(zip(share, np.split(gone, ends), strict=True)) if share else {})


def curvature(
    connectome: Connectome, task: Task, batches: Sequence[Batch], rng: np.random.Generator,
    dtype: torch.dtype = torch.float32,
) -> Saliency:  # fmt: skip
    """Edge set -> (E,) estimate of the loss's second derivative for each weight, the diagonal of the Gauss-Newton
    matrix ``J^T H_z J``: J the surrogate Jacobian of the effectors' potentials z, H_z the loss's own Hessian for them.

    Optimal Brain Damage leaves out the same term of the Hessian, which has the second derivative of the activation
    (LeCun et al. 1990, the Levenberg-Marquardt approximation): here that would be the slope of the surrogate's flanks,
    an artefact. What is left is never negative, and exact for edges to an effector, which does not spike.

    One pass a batch: where the loss is the mean of ``-log p(label)`` over B samples, labels drawn from the network's
    own p make ``B g^2`` of the batch's gradient g an unbiased estimate (the Gauss-Newton-Bartlett estimator, Liu et
    al. 2023). Raises :class:`ConnectomeError` for a task whose targets are not labels.
    """
    network = SpikingNetwork(connectome, recruit=task.recruits, dtype=dtype)
    total = {key: np.zeros(len(network.connectome.edges[key])) for key in network.weight}
    for spikes, target in batches:
        if not (isinstance(target, Tensor) and target.dtype == torch.int64 and target.ndim == 1):
            raise ConnectomeError("task", "must have labels as targets, one a sample", task.name, "Use taylor.")
        activity = network(spikes)
        gradient = _gradient(network, task.loss(activity, _drawn_labels(activity, task, rng)))
        for key, g in gradient.items():
            total[key] += len(target) * g.astype(np.float64) ** 2
    return {key: h / len(batches) for key, h in total.items()}


def accumulate_feedback(connectome: Connectome, importance: Mapping[EdgeKey, NDArray[Any]]) -> Edit:
    """The edit that adds an epoch's mean ``|w dL/dw|`` to the state ``"feedback"`` of each edge: ``norm(importance)``,
    as in the survival law (METHOD section 1) without its constant, its decay and its end."""
    state = {}
    for key, values in importance.items():
        before = connectome.edges[key].state.get(FEEDBACK, np.zeros(len(values), np.float32))
        state[key] = {FEEDBACK: (before + normalise(values)).astype(np.float32)}
    return Edit(state=state)


_Criterion = Callable[[Connectome, Task, Sequence[Batch], np.random.Generator], Mapping[EdgeKey, NDArray[Any]]]


def _random(c: Connectome, task: Task, batches: Sequence[Batch], rng: np.random.Generator) -> Saliency:
    return {key: rng.random(len(c.edges[key])) for key in _recruited(c, task)}


def _magnitude(c: Connectome, task: Task, batches: Sequence[Batch], rng: np.random.Generator) -> Saliency:
    return {key: c.edges[key].weight.astype(np.float64) ** 2 for key in _recruited(c, task)}


def _taylor(c: Connectome, task: Task, batches: Sequence[Batch], rng: np.random.Generator) -> Saliency:
    network = SpikingNetwork(c, recruit=task.recruits)
    total = {key: np.zeros(len(c.edges[key])) for key in network.weight}
    for spikes, target in batches:
        for key, g in _gradient(network, task.loss(network(spikes), target)).items():
            total[key] += np.abs(c.edges[key].weight * g)
    return {key: values / len(batches) for key, values in total.items()}


def _feedback(c: Connectome, task: Task, batches: Sequence[Batch], rng: np.random.Generator) -> Mapping[EdgeKey, Any]:
    for key in _recruited(c, task):
        if FEEDBACK not in c.edges[key].state:
            raise ConnectomeError(
                f"edges[{key}].state", f"must have {FEEDBACK!r}", list(c.edges[key].state), "Use accumulate_feedback."
            )
    return {key: c.edges[key].state[FEEDBACK] for key in _recruited(c, task)}


def _obd(c: Connectome, task: Task, batches: Sequence[Batch], rng: np.random.Generator) -> Saliency:
    found = curvature(c, task, batches, rng)
    return {key: 0.5 * h * c.edges[key].weight.astype(np.float64) ** 2 for key, h in found.items()}


def _bcm(c: Connectome, task: Task, batches: Sequence[Batch], rng: np.random.Generator) -> Saliency:
    trace = {name: _traces(s) for name, s in _all_spikes(c, task, batches).items()}
    found = {}
    for key in _recruited(c, task):
        pre, edges = trace[key.source], c.edges[key]
        if key.target in trace:
            post = trace[key.target]
            pairs = pre.T @ (post * (post - post.mean(0))) / len(pre)
            found[key] = np.maximum(pairs[edges.source, edges.target], 0.0)
        else:
            found[key] = edges.at_source(pre.mean(0))
    return found


def _activity(c: Connectome, task: Task, batches: Sequence[Batch], rng: np.random.Generator) -> Saliency:
    rate = {name: s.reshape(-1, s.shape[-1]).mean(0) for name, s in _all_spikes(c, task, batches).items()}
    found = {}
    for key in _recruited(c, task):
        found[key] = c.edges[key].at_source(rate[key.source])
        if key.target in rate:
            found[key] = found[key] * c.edges[key].at_target(rate[key.target])
    return found


#: How much an edge matters: functions of a connectome, its task, batches of it and a random generator.
CRITERIA: Final[Mapping[str, _Criterion]] = MappingProxyType(
    {
        "random": _random, "magnitude": _magnitude, "taylor": _taylor, "feedback": _feedback, "obd": _obd, "bcm": _bcm,
        "activity": _activity,
    }
)  # fmt: skip


def _importance(measure: Importance, c: Connectome, task: Task, batches: Sequence[Batch]) -> Saliency:
    """The mean over batches of what development goes by; an effector does not spike."""
    network = SpikingNetwork(c, recruit=task.recruits)
    total = {key: np.zeros(len(c.edges[key])) for key in network.weight}
    for spikes, target in batches:
        activity = network(spikes)
        samples = int(np.prod(next(iter(spikes.values())).shape[:2]))
        for key, g in _gradient(network, task.loss(activity, target)).items():
            e = c.edges[key]
            pre = activity.counts[key.source] / samples
            post = activity.counts.get(key.target, np.zeros(e.n_target)) / samples
            total[key] += measure(Sample(e, e.weight, g, pre, post, post))
    return {key: values / len(batches) for key, values in total.items()}


def _recruited(connectome: Connectome, task: Task) -> list[EdgeKey]:
    return list(select(connectome, task.recruits).edges)


def _gradient(network: SpikingNetwork, loss: Tensor) -> dict[EdgeKey, NDArray[Any]]:
    """Edge set -> (E,) gradient of a loss."""
    found = torch.autograd.grad(loss, list(network.weight.values()))
    return {key: network.by_edge(key, g).numpy() for key, g in zip(network.weight, found, strict=True)}


def _drawn_labels(activity: BatchActivity, task: Task, rng: np.random.Generator) -> Tensor:
    """(B,) labels drawn from the probabilities that the network gives them, which the loss tells."""
    potential = {name: u.detach() for name, u in activity.potential.items()}
    labels = torch.arange(next(iter(potential.values())).shape[2])

    def of_sample(u: dict[str, Tensor], label: Tensor) -> Tensor:
        return task.loss(BatchActivity({name: x[None] for name, x in u.items()}, {}, {}, 0), label[None])

    of_labels = torch.vmap(of_sample, in_dims=(None, 0))
    loss = torch.vmap(lambda u: of_labels(u, labels))(potential)
    edge = torch.softmax(-loss, 1).cumsum(1).numpy()
    return torch.from_numpy((edge[:, :-1] < rng.random((len(edge), 1))).sum(1))


def _all_spikes(c: Connectome, task: Task, batches: Sequence[Batch]) -> dict[str, NDArray[np.float32]]:
    """Sensor or region -> (samples, T, N) spikes."""
    regions = [name for name, r in select(c, task.recruits).regions.items() if r.role == "neuron"]
    network = SpikingNetwork(c, recruit=task.recruits)
    with torch.no_grad():
        seen = [{**spikes, **network(spikes, record=regions).spikes} for spikes, _ in batches]
    return {name: torch.cat([s[name] != 0 for s in seen]).numpy().astype(np.float32) for name in seen[0]}


def _traces(spikes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(samples * T, N) traces of spikes (samples, T, N)."""
    trace = np.empty_like(spikes)
    last = np.zeros_like(spikes[:, 0])
    for t in range(spikes.shape[1]):
        last = _TRACE_DECAY * last + spikes[:, t]
        trace[:, t] = last
    return trace.reshape(-1, spikes.shape[-1])


def _share(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(E,) each value's share in the sum of those that are not below it; of equal ones the first has the largest."""
    order = np.argsort(-values, kind="stable")
    total = np.cumsum(values[order])
    share = np.zeros(values.size)
    share[order] = np.divide(values[order], total, out=np.zeros(values.size), where=total > 0)
    return share


def _without_neurons(
    connectome: Connectome, saliency: Mapping[EdgeKey, NDArray[Any]], edges: int
) -> dict[EdgeKey, NDArray[np.bool_]]:
    """Masks of the edges of the neurons that go."""
    total = {r.name: np.zeros(r.size) for r in connectome.regions.values() if r.role == "neuron"}
    for key, values in saliency.items():
        e = connectome.edges[key]
        for name, neuron, counts in (
            (key.source, e.source, np.ones(len(e), bool)),
            (key.target, e.target, (e.source != e.target) | (key.base != "local")),  # a neuron's edge to itself is one
        ):
            if name in total:
                total[name] += np.bincount(neuron[counts], values[counts], minlength=len(total[name]))
    order = np.argsort(np.concatenate([np.zeros(0), *total.values()]), kind="stable")
    turn = np.empty(order.size)
    turn[order] = np.arange(order.size)
    goes, start = {r.name: np.full(r.size, np.inf) for r in connectome.regions.values()}, 0
    for name, sums in total.items():
        goes[name] = turn[start : start + len(sums)]
        goes[name][goes[name] == goes[name].max(initial=-1)] = np.inf  # the last neuron stays
        start += len(sums)
    ends = {key: (connectome.edges[key].source, connectome.edges[key].target) for key in saliency}
    # An edge goes with the first of its neurons.
    first = {key: np.minimum(goes[key.source][s], goes[key.target][t]) for key, (s, t) in ends.items()}
    every = np.sort(np.concatenate([np.zeros(0), *first.values()]))
    going = every.size - edges
    last = np.inf if going <= 0 else every[going - 1]
    return {key: (g <= last) & np.isfinite(g) & (going > 0) for key, g in first.items()}

"""One objective of continual learning: what outputs were to be, or weights were, as Bregman divergences in the loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Final

import numpy as np
import torch
from torch import Tensor

from connectome.development.stage import LossContext
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome, Edit
from connectome.learning.learner import moved
from connectome.learning.network import BatchActivity, SpikingNetwork
from connectome.learning.task import Batch, Task, checked_loss, outputs_of
from connectome.parameters import Parameters, bounded

__all__ = [
    "PHI", "Divergence", "Objective", "confidence_penalty", "dark_experience", "experience_replay", "log_sum_exp",
    "negative_entropy", "square", "without_forgetting",
]  # fmt: skip

#: Of the samples that are kept: a stream that nothing else draws from.
_KEPT: Final = 141421


def square(h: Tensor, z: Tensor) -> Tensor:
    """(B,) ``D_Phi(h, z) = 1/2 |h - z|^2`` of outputs h and z (B, K): ``Phi(h) = 1/2 |h|^2``."""
    return (h - z).square().sum(1) / 2


def log_sum_exp(h: Tensor, z: Tensor) -> Tensor:
    """(B,) ``D_Phi(h, z) = KL(softmax z | softmax h)`` of logits h and z (B, K): ``Phi(h) = log sum_k exp h_k``, which
    is conjugate to the negative entropy. As z becomes the label's corner, it becomes the cross-entropy."""
    q = z.log_softmax(1)
    return (q.exp() * (q - h.log_softmax(1))).sum(1)


def negative_entropy(h: Tensor, z: Tensor) -> Tensor:
    """(B,) ``D_Phi(p, q) = KL(p | q)`` of p = softmax h and q = softmax z (B, K): ``Phi(p) = sum_k p_k log p_k``."""
    return log_sum_exp(z, h)


#: Name -> the divergence that Phi makes.
PHI: Final = MappingProxyType({"square": square, "log_sum_exp": log_sum_exp, "negative_entropy": negative_entropy})


@dataclass(frozen=True)
class Divergence(Parameters):
    """A term ``alpha D_Phi(h(x), z)`` of the objective, the mean over samples x. Where there is nothing earlier, 0.

    Samples are new, the stage's own batch, or kept: of a buffer of so many in all. That is no reservoir of the stream
    (Vitter 1985), which nothing could find again: the samples that are kept of a stage's task are those which a
    generator of (seed, stage, chunk) draws from all that the task has to learn from, by the stage's end. So nothing is
    stored and a broken run goes on with the same; each task has as many, to a chunk, and gives up its last ones when
    another comes; none is of the task that is being learnt; and what they are drawn from is more than what updates saw.
    Spikes are kept, not images. An update sees one chunk, any as often; of more tasks than there are chunks the
    latest have none. With ``kept`` 0 nothing is bounded: a batch of any earlier task is drawn anew in each update.

    z are labels, whose divergence is the task's loss (cross-entropy, or half the squared error); old outputs: of the
    network as it was when the kept sample's stage ended, or, of new samples, the last stage; or uniform, all the same.
    The old network has the edges that are left, with the weights of then, and everything else as it is now.

    Parameters
    ----------
    alpha : of the term; of : "kept" or "new"; z : "labels", "old" or "uniform"
    phi : "square", "log_sum_exp" or "negative_entropy", where z are no labels
    temperature : that outputs are divided by
    kept : samples in all; batch : of them in an update, a chunk
    """

    alpha: float = bounded(1.0, 0)
    of: str = "kept"
    z: str = "labels"
    phi: str = "log_sum_exp"
    temperature: float = bounded(1.0, 1e-3)
    kept: int = bounded(200, 0)
    batch: int = bounded(25, 1, 2**16)

    _known: ClassVar = {"of": ("kept", "new"), "z": ("labels", "old", "uniform"), "phi": tuple(PHI)}

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in self._known.items():
            if getattr(self, name) not in known:
                rule = f"must be among {', '.join(known)}"
                raise ConnectomeError(f"Divergence.{name}", rule, repr(getattr(self, name)))
        if (self.of, self.z) in (("new", "labels"), ("kept", "uniform")):
            rule = "must be labels or old of kept samples, old or uniform of new ones"
            raise ConnectomeError("Divergence.z", rule, f"{self.z!r} of {self.of} ones")
        if self.of == "kept" and 0 < self.kept < self.batch:
            raise ConnectomeError("Divergence.kept", "must be 0, or at least a batch", f"{self.kept} of {self.batch}")
        if (self.of, self.z, self.kept) == ("kept", "old", 0):
            raise ConnectomeError("Divergence.kept", "must be above 0 where z are old outputs", 0)

    @property
    def needs(self) -> str:
        """The name of the state of edges that it needs, where it ends with ``_`` without the number of the stage."""
        return "" if self.z != "old" else "bregman_" if self.of == "kept" else "bregman_last"

    def __call__(self, now: LossContext) -> Tensor:
        """The term's value in an update."""
        if self.of == "kept":
            return self._of_kept(now) if now.earlier else torch.zeros(())
        if self.z == "uniform":
            h = outputs_of(now.task, now.activity)
            return self._between(h, torch.zeros_like(h))
        others = {tuple(t.recruits): t for t in now.earlier if {*now.spikes} & {*t.recruits}}
        found = torch.zeros(())
        for recruits, task in others.items():
            activity = now.activity if recruits == tuple(now.task.recruits) else None
            found = found + self._of_old(now.network, task, now.spikes, "bregman_last", activity)
        return found

    def kept_batch(self, now: LossContext) -> tuple[int, Batch]:
        """Which of the earlier tasks, from 0, and a chunk of its samples."""
        n = len(now.earlier)
        if not self.kept:
            which = int(now.rng.integers(n))
            return which, now.earlier[which].batch(now.rng, self.batch)
        chunk, which = divmod(int(now.rng.integers(self.kept // self.batch)), n)
        drawn = np.random.default_rng([now.seed, which + 1, chunk, _KEPT])
        return which, now.earlier[which].batch(drawn, self.batch)

    def _of_kept(self, now: LossContext) -> Tensor:
        which, (spikes, target) = self.kept_batch(now)
        task = now.earlier[which]
        if self.z == "old":
            return self._of_old(now.network, task, spikes, f"bregman_{which + 1}")
        activity = now.network.sharing(task.recruits)(spikes, record=getattr(task, "record", ()))
        target = moved(target, next(now.network.parameters()).device)
        return self.alpha * checked_loss(task.loss(activity, target), task)

    def _of_old(
        self, network: SpikingNetwork, task: Task, spikes: Mapping[str, Tensor], state: str,
        activity: BatchActivity | None = None,
    ) -> Tensor:  # fmt: skip
        """From what the network said whose weights are this state; ``activity``: what it does now, if that is known."""
        seen = {name: x for name, x in spikes.items() if name in task.recruits}
        record = getattr(task, "record", ())
        with torch.no_grad():
            z = outputs_of(task, network.remembered(state, task.recruits)(seen, record=record))
        if activity is None:
            activity = network.sharing(task.recruits)(seen, record=record)
        return self._between(outputs_of(task, activity), z)

    def _between(self, h: Tensor, z: Tensor) -> Tensor:
        return self.alpha * PHI[self.phi](h / self.temperature, z / self.temperature).mean()


@dataclass(frozen=True)
class Objective:
    """The objective of Wang, Li, Shen & Huang (2024, ICLR, arXiv 2403.13249), of which many methods are cases:
    ``L(theta) = L_new + sum_i alpha_i D_Phi_i(h(x_i), z_i) + beta D_Psi(theta, theta_old)``. These are the terms of
    outputs, added to a stage's loss; that of weights is :class:`~connectome.mechanisms.ewc.Ewc`, in the chain, whose
    gradient is ``beta (grad Psi(theta) - grad Psi(theta_old))``.

    State of an edge, as far as terms need it: ``bregman_1``, ``bregman_2`` ..., its weight when each stage ended, pA;
    ``bregman_last``, when the last one did.
    """

    terms: tuple[Divergence, ...]

    paper: ClassVar = "Wang et al. 2024, ICLR, arXiv 2403.13249"

    def __call__(self, now: LossContext) -> Tensor:
        """The sum of the terms."""
        return sum((term(now) for term in self.terms), torch.zeros(()))

    def learnt(self, connectome: Connectome, task: Task, rng: np.random.Generator) -> Edit:
        """Keep the weights as they are."""
        names = {term.needs for term in self.terms} - {""}
        names = {f"{name}{connectome.provenance.stage}" if name.endswith("_") else name for name in names}
        return Edit(state={key: dict.fromkeys(names, edges.weight) for key, edges in connectome.edges.items()})


def experience_replay(alpha: float = 1.0, kept: int = 200, batch: int = 25) -> Divergence:
    """Experience replay (Rolnick et al. 2019, arXiv 1811.11682; Chaudhry et al. 2019, arXiv 1902.10486): the loss of
    kept samples. With ``kept`` 0 it sees as much as the task has, and forgets nothing of the data."""
    return Divergence(alpha, kept=kept, batch=batch)


def dark_experience(alpha: float = 0.03, kept: int = 200, batch: int = 25) -> Divergence:
    """Dark experience replay, DER (Buzzega et al. 2020, arXiv 2004.07211): kept samples' outputs stay as they were. Its
    logits are of when a sample was seen, ours of its stage's end. With experience replay besides it is DER++."""
    return Divergence(alpha, z="old", phi="square", kept=kept, batch=batch)


def without_forgetting(alpha: float = 3.0, temperature: float = 2.0) -> Divergence:
    """Learning without forgetting, LwF (Li & Hoiem 2016, arXiv 1606.09282): what the network would have said of the
    new samples before the stage, it is to say still; of every set of regions that an earlier task recruits."""
    return Divergence(alpha, "new", "old", temperature=temperature)


def confidence_penalty(alpha: float = 0.3) -> Divergence:
    """The confidence penalty, CPR (Cha et al. 2021, arXiv 2006.07326): minus the entropy of what is said of the new
    samples, but for a constant."""
    return Divergence(alpha, "new", "uniform", "negative_entropy")

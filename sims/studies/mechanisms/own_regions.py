"""Streams of tasks whose regions are joined with no other: what they say, who answers where no task is told, and what a
region makes of what it has never met."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import torch

from connectome.datasets.corruptions import entropy
from connectome.datasets.streams import rotated_tasks
from connectome.datasets.tasks import Perception, permuted_tasks, split_tasks
from connectome.development.birth import Anatomy, birth
from connectome.development.stage import LearningRates, Stage
from connectome.development.stages import develop
from connectome.learning.learner import Learner
from connectome.learning.network import SpikingNetwork
from connectome.learning.task import acting
from connectome.mechanisms.novelty import auroc, encoder, familiarity, known_to
from sims.studies.development import read_images
from sims.studies.mechanisms.one_region import matured_region
from sims.studies.mechanisms.retention import Shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from connectome.graph.connectome import Connectome
    from connectome.mechanisms.novelty import Familiarity

__all__ = ["ROUTERS", "detected", "growth", "nearest", "routed", "sequential"]

_TASKS, _UPDATES, _RATE, _BATCH, _SEGMENT = 5, 150, 0.08, 20, 20
#: Routers that go by hypervectors, and of what.
_BY: Final = {"hypervectors": "rates", "pixels": "pixels"}
ROUTERS: Final = ("hypervectors", "pixels", "entropy", "energy", "outputs", "chance", "told")


class Seen(NamedTuple):
    """S images: rates of a region (S, N) and of pixels, what each task's region says (S, K), and labels (S,)."""

    rates: NDArray[np.float64]
    pixels: NDArray[np.float64]
    outputs: tuple[NDArray[np.float32], ...]
    label: NDArray[np.int64]


def _see(connectome: Connectome, shown: Perception, tasks: Sequence[Perception], split: str, seed: int) -> Seen:
    """Images of a task, as the regions of all tasks see them; the first one's activity is what novelty is told by."""
    spikes, label = shown.seen(split, 1000, np.random.default_rng([seed, 1]))
    outputs, rates = [], []
    for task in tasks:
        with torch.no_grad():
            found = SpikingNetwork(connectome, recruit=task.recruits)(spikes, record=(task.name,))
        outputs.append(task.outputs(found).numpy())
        rates.append(found.spikes[task.name].double().mean(1).numpy())
    return Seen(rates[0], spikes["image"].double().mean(1).numpy(), tuple(outputs), label)


def _stream(kind: str, seed: int) -> list[Perception]:
    """Tasks that each have a region of their own, which is joined with no other."""
    make: Any = {"split": split_tasks, "rotated": rotated_tasks, "permuted": permuted_tasks}[kind]
    order = {"seed": seed} if kind == "permuted" else {}
    return [replace(task, earlier=()) for task in make(read_images(""), _TASKS, jitter=0.0, **order)]


@lru_cache(maxsize=1)  # a worker goes through the conditions of a seed
def _grown(kind: str, seed: int, quick: bool, split: str) -> dict[str, list[Seen]]:
    """Images of each task to learn from, and others, when all regions have matured."""
    tasks = _stream(kind, seed)
    plan = Stage(
        tasks[0], _UPDATES // (5 if quick else 1), learning_rates=LearningRates(_RATE), validate_every=10**6,
        validation_trials=1, first_links=(),
    )  # fmt: skip
    *_, last = develop([replace(plan, task=t) for t in tasks], Anatomy(neurons=128), seed=seed, test_trials=1)
    parts = dict.fromkeys(("train", "validation", split))
    return {part: [_see(last.connectome, task, tasks, part, seed) for task in tasks] for part in parts}


def _known(seen: Mapping[str, Sequence[Seen]], by: str, seed: int) -> list[Familiarity]:
    """What is known of each task, by the rates of the region or of pixels."""
    encode = encoder(getattr(seen["train"][0], by), seed=seed)
    return [
        familiarity(encode, getattr(one, by), one.label, getattr(held, by), _BATCH)
        for one, held in zip(seen["train"], seen["validation"], strict=True)
    ]


def _scores(router: str, known: Sequence[Familiarity], of: Seen, task: int, seed: int) -> NDArray[np.float64]:
    """(S, tasks) how much speaks for each task's region."""
    if router in _BY:
        return np.stack([one.scores(getattr(of, _BY[router])) for one in known], 1)
    if router == "chance":
        return np.random.default_rng([seed, task, 2]).random((len(of.label), _TASKS))
    if router == "told":
        return np.broadcast_to(np.eye(_TASKS)[task], (len(of.label), _TASKS))
    says: Callable[[Tensor], Tensor] = {
        "entropy": lambda logits: -entropy(logits), "energy": lambda logits: logits.logsumexp(1),
        "outputs": lambda logits: logits.amax(1),
    }[router]  # fmt: skip
    return np.stack([says(torch.from_numpy(logits)).double().numpy() for logits in of.outputs], 1)


def routed(router: str, kind: str, seed: int, quick: bool, split: str) -> dict[str, float]:
    """What is right, over all tasks, each image by the region that most speaks for; the same of batches of one task,
    by their mean; and how many images come to their own task's region."""
    seen, found = _grown(kind, seed, quick, split), []
    known = _known(seen, _BY[router], seed) if router in _BY else []
    for task, of in enumerate(seen[split]):
        scores = _scores(router, known, of, task, seed)
        whole = [scores[i : i + _BATCH].mean(0, keepdims=True).repeat(_BATCH, 0) for i in range(0, len(scores), _BATCH)]
        named = np.stack([logits.argmax(1) for logits in of.outputs], 1)
        ways = [s.argmax(1) for s in (scores, np.concatenate(whole)[: len(scores)])]
        right = [(named[np.arange(len(way)), way] == of.label) & ((way == task) | (kind != "split")) for way in ways]
        found.append([right[0].mean(), right[1].mean(), (ways[0] == task).mean()])
    return dict(zip(("right", "batches", "routed"), np.mean(found, 0), strict=True))


def nearest(kind: str, seed: int, quick: bool, split: str) -> dict[str, float]:
    """The control without regions of their own: the class of the nearest prototype of all tasks is named."""
    seen = _grown(kind, seed, quick, split)
    known, right = _known(seen, "rates", seed), []
    for task, of in enumerate(seen[split]):
        cosines = np.stack([x.cosines(of.rates) for x in known], 1)
        way, named = np.divmod(cosines.reshape(len(cosines), -1).argmax(1), cosines.shape[2])
        right.append(((named == of.label) & ((way == task) | (kind != "split"))).mean())
    return {"right": float(np.mean(right))}


def sequential(kind: str, seed: int, quick: bool, split: str, rate: float) -> dict[str, float]:
    """One region with one head learns the tasks one after the other, as many updates each."""
    tasks, images = _stream(kind, seed), read_images("")
    if kind == "split":
        tasks = [Shown(images, 0.0, shown=task.classes) for task in tasks]
    tasks = [replace(task, name="all", effector="digit") for task in tasks]
    rng = np.random.default_rng([seed, 3])
    learner = Learner(birth(None, tasks[0], Anatomy(neurons=128), 1, (), rng), tasks[0], seed=(seed,))
    typical = {k: float(np.sqrt(w.detach().square().mean())) for k, w in learner.network.weight.items()}
    for task in tasks:
        for _ in range(_UPDATES // (5 if quick else 1)):
            learner.step(*task.batch(rng, 64), lambda key: rate * typical[key])
    act = acting(learner.network)
    return {"right": float(np.mean([t.score(act, split, 1000, np.random.default_rng([seed, 1])).value for t in tasks]))}


def detected(by: str, seed: int, quick: bool, split: str) -> dict[str, float]:
    """Of a region that knows digits 0 to 7: areas under the curve for digits 8 and 9, digits turned by 90 degrees, and
    noise; told by hypervectors of its activity or by its confidence."""
    images = read_images("")
    task = Perception(images, 0.0, classes=tuple(range(8)))
    connectome = matured_region(task, seed, _UPDATES // (5 if quick else 1), _RATE)
    noise = np.random.default_rng([seed, 4]).permuted(images.image[split].reshape(len(images.image[split]), -1), axis=1)
    others = {
        "unseen": replace(task, classes=(8, 9)), "turned": replace(task, degrees=90),
        "noise": replace(task, images=replace(images, image={**images.image, split: noise.reshape(-1, *images.shape)})),
    }  # fmt: skip
    seen = {part: [_see(connectome, task, [task], part, seed)] for part in ("train", "validation", split)}

    def score(of: Seen) -> NDArray[np.float64]:
        if by == "confidence":
            return torch.from_numpy(of.outputs[0]).softmax(1).amax(1).numpy()
        return _known(seen, "rates", seed)[0].scores(of.rates)

    known = score(seen[split][0])
    return {name: auroc(known, score(_see(connectome, x, [task], split, seed))) for name, x in others.items()}


def growth(kind: str, seed: int, quick: bool, split: str) -> dict[str, float]:
    """Tasks come one after the other, in batches, and no one says when another begins; then the first one comes again.
    A batch that is novel to all that is known makes a region grow, which learns the task that is there. The share of
    new tasks that are noticed within three batches, and regions that grow in vain in twenty batches."""
    seen, rng = _grown(kind, seed, quick, split), np.random.default_rng([seed, 5])
    all_known = _known(seen, "rates", seed)
    known, noticed, vain = [all_known[0]], list[bool](), 0
    for task in (*range(_TASKS), 0):
        when = 0 if len(known) > task else _SEGMENT
        for number in range(_SEGMENT):
            rates = seen[split][task].rates
            if known_to(known, rates[rng.choice(len(rates), _BATCH, replace=False)]) is None:
                vain += len(known) > task
                when = min(when, number)
                known += all_known[len(known) : task + 1]
        known += all_known[len(known) : task + 1]  # told, at last
        noticed.append(when < 3)
    return {"noticed": float(np.mean(noticed[1:_TASKS])), "in vain": vain * 20 / (_SEGMENT * (_TASKS + 1))}

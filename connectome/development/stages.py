"""Development: regions mature one after the other, each with its task, under rules that grow and prune edges.

A stage makes its region (birth), trains it with every weight plastic, and lets the rules edit the graph once an epoch.
There is no replay (a stage sees its own task alone), no regularisation term (the loss is the task's) and no frozen
weight: what has matured stays plastic, at a stated fraction of a new region's rate.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from torch import Tensor

from connectome import plugins
from connectome.development.birth import Anatomy, birth, new_links
from connectome.development.stage import Progress, Stage, StageOutcome, StageState
from connectome.development.training import Training, context_of
from connectome.graph.connectome import Connectome
from connectome.graph.flat import Engine
from connectome.learning.network import SpikingNetwork
from connectome.learning.probe import Probe
from connectome.learning.ranks import ALONE, Ranks
from connectome.learning.task import More, Score, Task, acting, checked_score, given
from connectome.rules import acts

__all__ = ["develop", "perform", "versions"]

#: Random numbers of the test trials: a stream that nothing else draws from, first used after the defaults were chosen.
_TEST_STREAM = 271828
#: Of what is done when a stage ends: one stream for all stages.
_END_STREAM = 161803


def develop(
    stages: Sequence[Stage], anatomy: Anatomy, *, seed: int = 0, engine: Engine = "numba", device: str = "cpu",
    on_birth: Callable[[Connectome], None] = lambda c: None, on_progress: Callable[[Progress], None] = lambda p: None,
    on_update: Callable[[Training], None] = lambda training: None,
    on_point: Callable[[Callable[[], StageState]], None] = lambda state: None, resume: StageState | None = None,
    test_trials: int = 400, ranks: Ranks = ALONE,
) -> Iterator[StageOutcome]:  # fmt: skip
    """Develop a connectome through the stages, yielding the outcome of each. The same seed gives the same bytes.

    ``on_update`` is called after each update with the training, to look at. ``on_point`` is called wherever development
    can be taken up again, between two updates for one: with a function that gives its state there. From that state,
    with ``resume``, the stage under way and those after it go on to the same bytes. So tasks and rules keep nothing
    from one call to the next, and draw from the generator they are given. ``device`` is where weights are and learn;
    on another than the CPU the engine must be ``"torch"``. ``ranks``: the processes that share each batch, all of which
    develop this.
    """
    connectome: Connectome | None = None
    peak, end = 0, np.random.default_rng([seed, _END_STREAM])
    for number, stage in enumerate(stages, start=1):
        if resume is not None and number < resume.stage:
            continue
        last, earlier = number == len(stages), [s.task for s in stages[: number - 1]]
        if resume is not None and number == resume.stage:
            state = resume
        else:
            state = _begin(connectome, stage, anatomy, seed, number, peak, end, last=last)
            if number == 1:
                newborn = replace(state.connectome.provenance, stage=0, stage_name="birth")
                on_birth(replace(state.connectome, provenance=newborn))
        training = Training(state, stage, earlier, engine, seed, last=last, device=device, ranks=ranks)
        on_point(training.state)
        while not training.finished:
            progress = training.step()
            on_update(training)
            if progress is not None:
                on_progress(progress)
            on_point(training.state)
        connectome, peak, end = training.connectome, training.peak_local_edges, training.random["end"]
        scores: tuple[dict[str, Score], dict[str, Score]] = {}, {}
        for task in (*earlier, stage.task):
            for recruits, found in zip((task.recruits, tuple(connectome.regions)), scores, strict=True):
                found[task.name] = perform(
                    connectome, task, "test", test_trials, [seed, _TEST_STREAM], recruits=recruits, engine=engine,
                    device=device, inputs=training.learner.inputs if task is stage.task else stage.inputs,
                )  # fmt: skip
                on_point(training.state)
        diagnostics = _diagnostics(connectome, stage, seed, number, engine)
        yield StageOutcome(connectome, *scores, training.links, peak, diagnostics)


def _begin(
    connectome: Connectome | None, stage: Stage, anatomy: Anatomy, seed: int, number: int, peak: int,
    end: np.random.Generator, *, last: bool,
) -> StageState:  # fmt: skip
    """A stage's state at the birth of its region."""
    rng = np.random.default_rng([seed, number])
    parents = () if connectome is None else (connectome.digest(),)
    links = new_links(connectome, stage.task.name, stage.first_links)
    born = birth(connectome, stage.task, stage.anatomy or anatomy, number, links, rng, stage.wiring, stage.neuron)
    provenance = replace(
        born.provenance,
        seed=seed,
        stage=number,
        stage_name=stage.task.name,
        parents=parents,
        versions=versions([stage]),
    )
    born = replace(born, provenance=provenance)
    random = dict(zip(("batch", "rules", "score"), rng.spawn(3), strict=True))
    for rule in acts(stage.rules, "birth"):
        born = born.apply(rule(born, context_of(stage, number, born, links, seed, last=last), random["rules"]))
    return StageState(number, born, links, random=random | {"end": end}, peak_local_edges=peak)


def _diagnostics(
    connectome: Connectome, stage: Stage, seed: int, number: int, engine: Engine
) -> dict[str, dict[str, float]]:
    probe = Probe(stage.task, stage.batch, (seed, number, _END_STREAM), engine)
    return {
        name: dict(plugins.load("diagnostics", name, "diagnostics")(connectome, probe)) for name in stage.diagnostics
    }


def perform(
    connectome: Connectome, task: Task, split: str, trials: int, seed: Sequence[int], *,
    recruits: Sequence[str] | None = None, engine: Engine = "numba", device: str = "cpu",
    inputs: More = MappingProxyType({}),
) -> Score:  # fmt: skip
    """The score of a task that a connectome performs, with data of a split and whom the task recruits, or others. The
    same seed gives the same trials, whatever the connectome. ``inputs`` are what each forward pass is given besides:
    gains, masks, clamps; what of it is about regions that are not recruited is left out."""
    network = SpikingNetwork(connectome, recruit=task.recruits if recruits is None else recruits, engine=engine)
    network.to(device)
    here = network.selection.regions

    def there(spikes: Mapping[str, Tensor]) -> dict[str, Any]:
        return {name: {r: x for r, x in of.items() if r in here} for name, of in given(inputs, spikes).items()}

    return checked_score(task.score(acting(network, there), split, trials, np.random.default_rng(seed)), task)


def versions(stages: Sequence[Stage] = ()) -> dict[str, str]:
    """The versions of what a development's bytes depend on, and the origin of what in its stages is not ours."""
    used: list[object] = []
    for s in stages:
        used += [s.task, *s.rules, *s.learning, *itertools.chain(*s.chains.values()), s.extra_loss, s.select, s.inputs]
        used.append(plugins.load("importance", s.importance, "importance"))
        used += [*s.views.values(), s.neuron, *(plugins.load("diagnostics", n, "diagnostics") for n in s.diagnostics)]
    return plugins.package_versions() | plugins.origin_of(used)

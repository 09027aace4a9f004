"""What a development is made of, from its configuration: stages, their data, and whether they fit in memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from connectome.memory import refuse_memory
from sims import wirings

if TYPE_CHECKING:
    from connectome.development.birth import Anatomy
    from connectome.development.configuration import Configuration
    from connectome.development.stage import Stage
    from connectome.graph.connectome import Connectome

__all__ = ["planned"]

#: About as many steps as a task's samples have: for an estimate.
_STEPS = 30


def planned(
    regions: Sequence[str], configuration: Configuration, held: Path | None
) -> tuple[Configuration, Connectome | None, list[Stage], dict[str, str]]:
    """The configuration with the digest of its wiring, what is taken of that, the stages, and digests of their data;
    refused if they cannot be, or would not fit in memory. ``held``: the run that holds the wiring."""
    from connectome.datasets.images import load_images
    from connectome.datasets.tasks import known_tasks
    from connectome.development.configuration import plan_stages

    data = configuration.data
    images = load_images(data.idx_folder)
    tasks = {
        name: make(images, data.jitter_pixels, **configuration.tasks.get(name, {}))
        for name, make in known_tasks().items()
        if name in regions
    }
    known = [tasks[name] for name in dict.fromkeys(regions) if name in tasks]
    configuration, wiring = wirings.wired(configuration, known, held)
    stages = plan_stages(list(regions), tasks, configuration, wiring)
    edges, needed = _size(stages, configuration.anatomy)
    refuse_memory(
        f"about {edges:,.0f} edges", needed,
        "Lower anatomy.neurons (edges go with its square), anatomy.local_density or training.batch.",
    )  # fmt: skip
    data_digests = {"images": images.digest()[:16]}
    if wiring is not None:
        data_digests["wiring"] = configuration.anatomy.wiring_digest[:16]
    return configuration, wiring, stages, data_digests


def _size(stages: Sequence[Stage], anatomy: Anatomy) -> tuple[float, float]:
    """Edges expected when all regions are born, and bytes to train them. Measured at 35,000 to 2.6 million edges."""
    from connectome.development.areas import maps_of, parse_areas
    from connectome.development.birth import sensor_maps
    from connectome.graph.parts import EdgeKey

    neurons = edges = 0.0
    for earlier, stage in enumerate(stages):
        own = stage.anatomy or anatomy
        sensors, effectors = sum(stage.task.sensors.values()), sum(stage.task.effectors.values())
        n, local = own.neurons, own.neurons**2 * own.local_density * own.over_production
        if stage.wiring is not None and stage.task.name in stage.wiring.regions:
            n = stage.wiring.regions[stage.task.name].size
            local = len(stage.wiring.edges[EdgeKey(stage.task.name, "local", stage.task.name)])
        seen = sensor_maps(stage.task, own)
        for maps in seen.values():
            for layer, made in zip(parse_areas(own.areas), maps_of(parse_areas(own.areas), maps), strict=True):
                edges += math.prod(layer.kernel(maps))
                neurons, maps = neurons + made.size, made
            sensors += maps.size - sum(stage.task.sensors[name] for name in seen)
        others = sensors * own.afferent_density + effectors + 2 * earlier * n * own.long_range_density
        edges += local + n * others
        neurons += n + sum(stage.task.sensors.values()) + effectors
    samples = max(stage.batch for stage in stages)
    return edges, 600e6 + 200 * edges + 4.5 * _STEPS * samples * neurons

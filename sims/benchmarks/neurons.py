"""Each model of neurons beside Brian 2's same model: 4,000 neurons, a current for each, edges of next to no weight."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from sims.benchmarks.bench import Bench, Table
from sims.benchmarks.brian2_models import CURRENT, METHODS
from sims.benchmarks.models import compare
from sims.benchmarks.peers import Network

if TYPE_CHECKING:
    from connectome.models import Model

__all__ = ["neurons"]

_EDGES_A_NEURON = 80


def neurons(bench: Bench) -> Iterator[Table]:
    """A table for each model and method that Brian 2 integrates it by; of the peers, Brian alone."""
    n = 400 if bench.quick else 4000
    peers = {name: python for name, python in bench.peers.items() if name == "brian2"}
    for model, method in ((model, method) for model, methods in METHODS.items() for method in methods):
        network = Network(f"neurons:{model}:{method}", n, _EDGES_A_NEURON / n, "none", 100.0 if bench.quick else 1000.0)
        table = compare(bench._replace(peers=peers), network, partial(_model, model, n))
        yield table._replace(title=f"{model}, Brian's by {method}: {table.title}")


def _model(name: str, n: int, weights: Any) -> Model:
    import numpy as np

    from connectome import Connectome, EdgeSet, Region
    from connectome.models import Model
    from connectome.neurons.model import model_named
    from connectome.simulate import Stimulus

    rng = np.random.default_rng(1)
    edges = n * _EDGES_A_NEURON
    weight = 1e-3 if weights == "constant" else rng.uniform(0.9e-3, 1.1e-3, edges)
    all_edges = EdgeSet.from_arrays(
        ("all", "local", "all"), rng.integers(0, n, edges), rng.integers(0, n, edges), weight, n_source=n, n_target=n,
        dt_ms=0.1,
    )  # fmt: skip
    region = Region("all", n, neuron=model_named(name, "model")())
    current = np.linspace(*CURRENT[name], n)
    stimulus = Stimulus(current_pa={"all": current})
    return Model(Connectome.of([region], [all_edges]), stimulus, {}, {"all": ("all", slice(0, n))})

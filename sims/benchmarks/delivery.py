"""Delivery of spikes against the machine's limit: the same rows, through ``run`` and through a few lines of C."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.parts import Region
from connectome.neurons.iaf_psc_exp import NeuronParameters
from connectome.simulate.runs import Stimulus, run
from connectome.wiring.connection_rules import FixedOutDegree
from connectome.wiring.edges import Normal, wire

__all__ = ["Rows", "compiled_limit", "deliver", "limit_mev_s", "our_mev_s", "rows"]

_FIRING: Final = 0.01  # of the sources in a step
_AHEAD: Final = (0, 4, 8)  # rows; the fastest counts
_DT_MS: Final = 0.1
_OUT_OF_REACH_MV: Final = 1e6


class Rows(NamedTuple):
    """A network that does nothing but deliver: a sensor with edges to neurons that never fire, one without, and the
    spikes that either may emit."""

    connectome: Connectome
    step: NDArray[np.int64]
    neuron: NDArray[np.uint32]
    events: int
    duration_ms: float


def rows(n_source: int, n_target: int, k: int, events: int, seed: int = 1) -> Rows:
    """k edges from each of ``n_source`` neurons to random ones of ``n_target``, a float32 weight each, one delay; in
    each step 1 % of the sources fire, at random, in the order of their numbers; ``events`` or some more in all."""
    rng = np.random.default_rng(seed)
    sensor, silent = Region("sensor", n_source, "sensor"), Region("silent", n_source, "sensor")
    target = Region("target", n_target, "neuron", NeuronParameters(v_th_mv=_OUT_OF_REACH_MV))
    edges = wire(sensor, target, FixedOutDegree(k), weight_pa=Normal(0.01, 0.001), rng=rng, dt_ms=_DT_MS)
    per_step = max(1, round(n_source * _FIRING))
    n_steps = -(-events // (per_step * k))
    neuron = np.sort(rng.integers(0, n_source, (n_steps, per_step), np.uint32), axis=1).ravel()
    step = np.repeat(np.arange(n_steps), per_step)
    return Rows(
        Connectome.of([sensor, silent, target], [edges], dt_ms=_DT_MS), step, neuron, neuron.size * k,
        (n_steps + 1) * _DT_MS,
    )  # fmt: skip


def our_mev_s(given: Rows) -> float:
    """Million events a second: what the run takes longer than one in which the silent sensor emits the same spikes."""
    cpu = {}
    for sensor in ("sensor", "silent"):
        spikes = {sensor: ((given.step + 1) * _DT_MS, given.neuron)}
        began = time.process_time()
        run(given.connectome, given.duration_ms, Stimulus(spikes), threads=1)
        cpu[sensor] = time.process_time() - began
    return given.events / max(cpu["sensor"] - cpu["silent"], 1e-9) / 1e6


def limit_mev_s(library: ctypes.CDLL, given: Rows) -> float:
    """Million events a second of the C code, with the distance of prefetching that suits it best."""
    return given.events / min(deliver(library, given, ahead)[0] for ahead in _AHEAD) / 1e6


def deliver(library: ctypes.CDLL, given: Rows, ahead: int) -> tuple[float, NDArray[np.float32]]:
    """CPU seconds of the C code, and what arrived at each target, (N,) pA. ``ahead``: rows, 0 for no prefetching."""
    (edges,) = given.connectome.edges.values()
    function = library.deliver_16 if edges.indices.itemsize == 2 else library.deliver_32
    begin = edges.indptr.astype(np.uint32)
    current = np.zeros(edges.n_target, np.float32)
    began = time.process_time()
    function(
        _address(given.neuron), ctypes.c_uint64(given.neuron.size), _address(begin), _address(edges.indices),
        _address(edges.weight), _address(current), ctypes.c_uint64(ahead),
    )  # fmt: skip
    return time.process_time() - began, current


def _address(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


@contextmanager
def compiled_limit() -> Iterator[ctypes.CDLL]:
    """The C code, compiled into a temporary folder by the system's compiler. Raises :class:`ConnectomeError`."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise ConnectomeError("the delivery limit", "needs a C compiler named cc", "none on PATH")
    source = Path(__file__).with_name("delivery_limit.c")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "delivery_limit.so"
        command = [compiler, "-O3", "-march=native", "-shared", "-fPIC", "-o", str(library), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ConnectomeError("the delivery limit", "must compile", (done.stderr.splitlines() or ["?"])[0])
        yield ctypes.CDLL(str(library))

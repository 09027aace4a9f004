"""A content-addressable memory after hippocampal CA3: a memory is learnt in three milliseconds, recalled by its cue or
by any part of its content, and forgotten when the cue is learnt again (Casanueva-Morato and others 2023, "Bio-inspired
computational memory model of the hippocampus: an approach to a neuromorphic spike-based content-addressable memory",
arXiv 2310.05868).

C cues and K bits of content. The regions that the paper calls CA3cueCue, CA3contCue, CA3contCond, CA3contCondInt,
CA3cueCont, CA3contCont and CA3merge are here ``cue_cue``, ``content_cue``, ``condition``, ``interneuron``,
``cue_content``, ``content_content`` and ``*_merged``. Two all-to-all sets learn, from 0, by additive pair STDP with
``tau+ = tau- = 3 ms``, ``A+ = A- = 6 nA``, ``0 <= w <= 6 nA``: ``cue_cue -> content_cue``, which recalls by cue, and
``content_content -> cue_content``, which recalls by content. A memory is learnt by presenting its cue and its bits for
3 ms, and recalled by presenting one of them for 1 ms.

The paper ran on SpiNNaker, in steps of 1 ms. Our mapping of such a step is two steps of 0.5 ms, with synaptic currents
that last only one of them. Then

- a delay of d ms is 2 d - 1 steps, plus the step in which the arrival acts, so that every spike is on the 1 ms grid;
- c_m is chosen so that a spike raises the potential as it does there, by
  ``w tau_m/c_m (1 - e^(-1/tau_m)) tau_syn (1 - e^(-1/tau_syn))``; the e^(-1/0.3) = 3.6 % of a current that outlasts a
  step there is left out;
- there the target's spikes reach the synapse 1 ms late, and one that coincides with a spike of the source counts as
  depression. Here they come half a millisecond late, between the grid points. With ``A+ e^(-1/6)`` and ``A- e^(1/6)``
  each pair of spikes changes the weight as it does there, to float32 precision.

Operations need time: 10 ms from one to the next recall of what was learnt, 14 where bits of many memories are recalled
one after another, as spike pairs act for some 3 ms. Recalling several bits at once pairs each with the cues of all,
which leaves synapses of half strength between them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
import xarray as xr

from connectome.arrays import integer
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.parts import EdgeKey, EdgeSet, Region
from connectome.graph.tables import kind_between
from connectome.neurons.iaf_psc_exp import NeuronParameters
from connectome.simulate.runs import Stimulus
from connectome.simulate.stdp import PairSTDP

__all__ = [
    "DT_MS", "PLASTICITY", "Operation", "Recall", "ca3_memory", "duration_ms", "expected", "recalled", "stimulus",
]  # fmt: skip

DT_MS: Final = 0.5
_W_PA: Final = 6000.0
_LEARN_MS: Final = 3
_OUT_MS: Final = 9  # after which nothing comes out any more
_TAU_SYN_MS: Final = 0.3
_STDP: Final = PairSTDP(
    3.0, 3.0, _W_PA * math.exp(-DT_MS / 3), _W_PA * math.exp(DT_MS / 3), 0.0, _W_PA, delay="dendritic"
)
#: The sets that learn, and how: for ``run(..., plasticity=PLASTICITY)``.
PLASTICITY: Final[Mapping[EdgeKey, PairSTDP]] = MappingProxyType(
    {
        EdgeKey("cue_cue", "long_range", "content_cue"): _STDP,
        EdgeKey("content_content", "long_range", "cue_content"): _STDP,
    }
)


@dataclass(frozen=True)
class Operation:
    """What the memory is to do at ``at_ms``: learn, if it is given a cue and content; recall, if it is given one of
    them."""

    at_ms: int
    cue: int | None = None
    content: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.cue is None and not self.content:
            raise ConnectomeError("operation", "must have a cue, content or both", f"neither, at {self.at_ms} ms")

    @property
    def learns(self) -> bool:
        """Whether it is to learn."""
        return self.cue is not None and bool(self.content)


class Recall(NamedTuple):
    """The output: cues and bits."""

    cues: frozenset[int]
    content: frozenset[int]


def _neuron(tau_m_ms: float, c_m_pf: float, v_th_mv: float = -57.0) -> NeuronParameters:
    """A spike raises the potential at once by as much as in one step of the hardware."""
    lift = tau_m_ms / c_m_pf * -math.expm1(-1 / tau_m_ms) * _TAU_SYN_MS * -math.expm1(-1 / _TAU_SYN_MS)
    tau_syn_ms = DT_MS / 1000
    charge = math.exp(-DT_MS / tau_m_ms) / (1 / tau_syn_ms - 1 / tau_m_ms)
    return NeuronParameters(
        tau_m_ms=tau_m_ms, c_m_pf=charge / lift, t_ref_ms=1.0, v_th_mv=v_th_mv, v_reset_mv=-60.0, e_l_mv=-60.0,
        tau_syn_ex_ms=tau_syn_ms, tau_syn_in_ms=tau_syn_ms,
    )  # fmt: skip


_SLOW, _FAST, _OUT = _neuron(3.0, 270.0), _neuron(0.5, 140.0), _neuron(3.0, 270.0, -57.5)
#: Region -> whether it has a neuron a cue, or a bit, or one; its neurons (a sensor has none).
_REGIONS: Final[Mapping[str, tuple[str, NeuronParameters | None]]] = {
    "cue_in": ("cue", None), "content_in": ("bit", None), "cue_cue": ("cue", _SLOW), "content_cue": ("bit", _SLOW),
    "condition": ("bit", _FAST), "interneuron": ("one", _FAST), "cue_content": ("cue", _FAST),
    "content_content": ("bit", _SLOW), "cue_merged": ("cue", _SLOW), "content_merged": ("bit", _SLOW),
    "cue_out": ("cue", _OUT), "content_out": ("bit", _OUT),
}  # fmt: skip
#: Source, target; who is joined: each to its own, all to all, each to the others; nA (to the others: -6 a bit), ms.
_EDGES: Final = (
    ("cue_in", "cue_cue", "own", 6, 1), ("content_in", "content_cue", "own", 6, 1),
    ("cue_cue", "cue_content", "own", 6, 2), ("cue_cue", "cue_content", "others", 0, 3),
    ("cue_cue", "condition", "all", -6, 2), ("content_cue", "condition", "own", 9, 1),
    ("condition", "content_content", "own", 6, 1), ("content_cue", "interneuron", "all", 6, 1),
    ("interneuron", "condition", "all", 2, 1), ("cue_content", "cue_content", "others", 0, 2),
    ("cue_cue", "cue_merged", "own", 6, 3), ("cue_content", "cue_merged", "own", 6, 1),
    ("content_cue", "content_merged", "own", 6, 3), ("content_content", "content_merged", "own", 6, 1),
    ("cue_merged", "cue_out", "own", 6, 1), ("content_merged", "content_out", "own", 6, 1),
    *((key.source, key.target, "all", 0, 1) for key in PLASTICITY),
)  # fmt: skip


def ca3_memory(cues: int, bits: int) -> Connectome:
    """The memory, with nothing learnt. Raises :class:`ConnectomeError`."""
    size = {"cue": integer("cues", cues, 1, 10_000), "bit": integer("bits", bits, 1, 10_000), "one": 1}
    regions = {
        name: Region(name, size[of], "neuron" if neuron else "sensor", neuron or NeuronParameters())
        for name, (of, neuron) in _REGIONS.items()
    }
    edges = []
    for source, target, who, weight_na, delay_ms in _EDGES:
        a, b = regions[source], regions[target]
        kind = kind_between(a, b) + ("-inhibition" if who == "others" else "")
        joined = np.ones((a.size, b.size), bool) if who == "all" else np.eye(a.size, dtype=bool) ^ (who == "others")
        weight_pa = -_W_PA * bits if who == "others" else 1000.0 * weight_na
        i, j = np.nonzero(joined)
        edges.append(
            EdgeSet.from_arrays(
                (source, kind, target), i, j, weight_pa,
                n_source=a.size, n_target=b.size, dt_ms=DT_MS, delay_ms=(2 * delay_ms - 1) * DT_MS,
            )
        )  # fmt: skip
    return Connectome.of(list(regions.values()), edges, dt_ms=DT_MS)


def stimulus(operations: Iterable[Operation]) -> Stimulus:
    """The stimulus of these operations: millisecond T of the hardware is the time T + 0.5 ms of a run. Raises
    :class:`ConnectomeError`."""
    spikes: dict[str, tuple[list[float], list[int]]] = {"cue_in": ([], []), "content_in": ([], [])}
    for operation in operations:
        cues = () if operation.cue is None else (operation.cue,)
        for name, neurons in (("cue_in", cues), ("content_in", operation.content)):
            for ms in range(_LEARN_MS if operation.learns else 1):
                spikes[name][0].extend([operation.at_ms + ms + DT_MS] * len(neurons))
                spikes[name][1].extend(neurons)
    return Stimulus(spikes={name: (np.array(at, float), np.array(who, int)) for name, (at, who) in spikes.items()})


def duration_ms(operations: Sequence[Operation]) -> float:
    """Duration of a run of these operations, ms."""
    return float(max(operation.at_ms for operation in operations) + _OUT_MS)


def expected(operations: Iterable[Operation]) -> list[Recall]:
    """The right output of each operation, by set algebra: for a cue, its content; for bits, all cues whose content has
    one of them; for learning, what is learnt."""
    memory: dict[int, frozenset[int]] = {}
    found = []
    for operation in operations:
        content = frozenset(operation.content)
        if operation.learns:
            assert operation.cue is not None
            memory[operation.cue] = content
        if operation.cue is None:
            found.append(Recall(frozenset(cue for cue, kept in memory.items() if kept & content), content))
        else:
            found.append(Recall(frozenset({operation.cue}), memory.get(operation.cue, frozenset())))
    return found


def recalled(result: xr.Dataset, operations: Iterable[Operation]) -> list[Recall]:
    """The output of each operation of a run: what came out 5 to 7 ms later. For a cue that is learnt again it includes
    the old content."""
    ms = result.spike_time_ms.values - DT_MS
    out = {}
    for name in ("cue_out", "content_out"):
        here = result.spike_region.values == list(result.region.values).index(name)
        out[name] = ms[here], result.spike_neuron.values[here]
    return [
        Recall(*(frozenset(who[(at >= o.at_ms + 5) & (at < o.at_ms + 8)].tolist()) for at, who in out.values()))
        for o in operations
    ]

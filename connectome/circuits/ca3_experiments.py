"""Experiments on the CA3 memory (:mod:`connectome.circuits.ca3_memory`): the three published ones, and random memories
that are learnt again with other content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
import xarray as xr

from connectome.circuits.ca3_memory import DT_MS, Operation, expected

__all__ = ["EXPERIMENTS", "in_order", "random_memories"]

_Told = list[tuple[int | None, tuple[int, ...]]]


def _mixed() -> list[Operation]:
    """Operations of all kinds, one of which forgets."""
    told: _Told = [
        (0, (0, 1, 8, 9)), (4, (1, 5, 6)), (3, (4, 5, 6, 8)), (0, ()), (None, (6,)), (None, (0, 4)),
        (3, (1, 3, 4, 8)), (3, ()), (None, (6,)),
    ]  # fmt: skip
    return [Operation(10 * k, *each) for k, each in enumerate(told)]


def _numbers() -> list[Operation]:
    """Five cues have their number as content, then its complement, then the number again; each time all are
    recalled."""
    found: list[Operation] = []
    for complement in (False, True, False):
        content = [tuple(b for b in range(10) if (c + 1 >> b & 1) != complement) for c in range(5)]
        asked: _Told = [*enumerate(content), *((c, ()) for c in range(5))]
        asked += [(None, (b,)) for b in range(10)]
        found += [Operation(1 + 14 * (len(found) + k), *each) for k, each in enumerate(asked)]
    return found


def _map() -> list[Operation]:
    """A room of 16 cells, each in one of six states; a robot recalls cells by their state."""
    cells, asked = (0, 5, 1, 3, 0, 3, 4, 5, 0, 5, 4, 3, 2, 4, 4, 3), ((1, 2, 4), (3,), (5,), (0,))
    return [
        *(Operation(7 * k, k, (state,)) for k, state in enumerate(cells)),
        *(Operation(112 + 6 * k, content=bits) for k, bits in enumerate(asked)),
    ]


#: What was published: cues and bits, and operations, 54 recalls in all.
EXPERIMENTS: Final[Mapping[str, tuple[int, int, Sequence[Operation]]]] = MappingProxyType(
    {"mixed": (5, 10, _mixed()), "numbers": (5, 10, _numbers()), "map": (16, 6, _map())}
)


def random_memories(
    cues: int, bits: int, rng: np.random.Generator, *, pace_ms: tuple[int, int] = (14, 14), together: int = 0,
    rounds: int = 2,
) -> list[Operation]:  # fmt: skip
    """All cues learn random content, of 5 to 90 % of the bits, and all are recalled by cue, then by bit; then again
    with other content, ``rounds`` times. ``pace_ms``: time from learning, and from recall, to the next operation;
    ``together``: how often several bits are recalled at once."""
    found: list[Operation] = []
    at = 0
    for _ in range(rounds):
        told: _Told = []
        for cue in rng.permutation(cues):
            content = np.flatnonzero(rng.random(bits) < rng.uniform(0.05, 0.9))
            told.append((int(cue), tuple(map(int, content)) or (int(rng.integers(bits)),)))
        told += [(int(cue), ()) for cue in rng.permutation(cues)] + [(None, (int(b),)) for b in rng.permutation(bits)]
        told += [(None, tuple(map(int, rng.choice(bits, rng.integers(2, 5), replace=False)))) for _ in range(together)]
        for each in told:
            found.append(Operation(at, *each))
            at += pace_ms[0] if found[-1].learns else pace_ms[1]
    return found


def in_order(result: xr.Dataset, operations: Sequence[Operation]) -> list[bool]:
    """For each operation, whether its output comes at the right times: a learnt memory after 5 and 7 ms; for recall by
    cue, the cue after 5 and its content after 6; for recall by content, the content after 5 and the cues after 6."""
    ms = np.rint(result.spike_time_ms.values - DT_MS)
    name = result.region.values[result.spike_region.values]
    out = {
        (part, t): set(result.spike_neuron.values[(name == f"{part}_out") & (ms == t)].tolist())
        for o in operations for t in range(o.at_ms + 5, o.at_ms + 8) for part in ("cue", "content")
    }  # fmt: skip
    found = []
    for o, (cues, content) in zip(operations, expected(operations), strict=True):
        came = [[out[part, o.at_ms + late] for late in (5, 6, 7)] for part in ("cue", "content")]
        if o.learns:
            found.append(all(c[0] == c[2] == want for c, want in zip(came, (cues, content), strict=True)))
        elif o.cue is not None:
            found.append(came == [[cues, set(), set()], [set(), content, set()]])
        else:
            found.append(came == [[set(), cues, set()], [content, set(), set()]])
    return found

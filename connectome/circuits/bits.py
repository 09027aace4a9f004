"""Bits that must be remembered: the parity of the last N bits, or whether the last bit equals the one N - 1 before it.

As in Khajehabdollahi, Zeraati, Giannakakis, Schäfer, Martius & Levina (2024, ICLR, arXiv 2309.12927): sequences have M
bits, M drawn uniformly from N + 2 .. 4 N + 1 for the largest N that is asked for. For parity each sequence has its own
probability of ones, drawn uniformly from 0 .. 1; for matching it is a half. Each N has a head of two classes, which
answers after the last bit. Every sequence is newly drawn, in training and in testing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from connectome.arrays import integer
from connectome.errors import ConnectomeError
from connectome.learning.network import BatchActivity
from connectome.learning.task import Act, Score

__all__ = [
    "BitMemory", "BitStage", "BitTask", "Curriculum", "asked_next", "bits2", "bits3", "bits4", "bits5", "bits6",
    "cross_entropy", "head",
]  # fmt: skip

BitTask = Literal["parity", "match"]
Curriculum = Literal["single", "multi", "sliding"]
#: How many heads a sliding curriculum asks for at most.
_SLIDING: Final = 10
#: Heads are the means of their potentials over so many last steps, in units of so many mV.
_READ_STEPS: Final = 2
_UNIT_MV: Final = 3.0
#: Sequences that are scored at once.
_SCORED: Final = 500


def head(n: int) -> str:
    """Name of the effector that answers for the last n bits."""
    return f"head{n}"


def asked_next(curriculum: Curriculum, heads: tuple[int, ...]) -> tuple[int, ...]:
    """The heads to train next, once these are solved. Raises :class:`ConnectomeError`."""
    if curriculum not in get_args(Curriculum):
        raise ConnectomeError("curriculum", f"must be one of {', '.join(get_args(Curriculum))}", repr(curriculum))
    kept = {"single": (), "multi": heads, "sliding": heads[1 - _SLIDING :]}[curriculum]
    return (*kept, heads[-1] + 1)


@dataclass(frozen=True)
class BitMemory:
    """Parity or matching of bits, with a head of two classes for each N: bit -> memory -> head2, head3, ...

    Parameters
    ----------
    kind : ``"parity"``: of the last N bits; ``"match"``: whether bit M - N + 1 is the same as bit M
    heads : the N that are asked for, each at least 2, ascending
    bit_steps : length of a bit in steps; in its first step all units of its value fire
    units : units of the sensor for each of the two values
    """

    kind: BitTask = "parity"
    heads: tuple[int, ...] = (2,)
    bit_steps: int = 8
    units: int = 10
    name: str = "memory"
    requires: ClassVar[tuple[str, ...]] = ()
    _sensor: ClassVar[str] = "bit"

    def __post_init__(self) -> None:
        if self.kind not in get_args(BitTask):
            raise ConnectomeError("kind", f"must be one of {', '.join(get_args(BitTask))}", repr(self.kind))
        for n in self.heads:
            integer("heads", n, 2, 1000)
        if not self.heads or list(self.heads) != sorted(set(self.heads)):
            raise ConnectomeError("heads", "must be at least one, in ascending order", self.heads)
        integer("bit_steps", self.bit_steps, _READ_STEPS, 1000)
        integer("units", self.units, 1, 10**6)

    @property
    def sensors(self) -> Mapping[str, int]:
        """Units for ones, then for zeros."""
        return {self._sensor: 2 * self.units}

    @property
    def effectors(self) -> Mapping[str, int]:
        """A head for each N, one unit a class."""
        return {head(n): 2 for n in self.heads}

    @property
    def recruits(self) -> tuple[str, ...]:
        """The regions that take part."""
        return (self._sensor, self.name, *self.effectors)

    def bits(self, rng: np.random.Generator, size: int) -> NDArray[np.bool_]:
        """(size, M) sequences."""
        longest = self.heads[-1]
        chance = rng.random((size, 1)) if self.kind == "parity" else 0.5
        return np.asarray(rng.random((size, int(rng.integers(longest + 2, 4 * longest + 2)))) < chance)

    def labels(self, bits: NDArray[np.bool_]) -> Tensor:
        """(B, heads) the class of each, 0 or 1."""
        if self.kind == "parity":
            found = [bits[:, -n:].sum(1) % 2 for n in self.heads]
        else:
            found = [bits[:, -n] == bits[:, -1] for n in self.heads]
        return torch.from_numpy(np.stack(found, 1).astype(np.int64))

    def spikes(self, bits: NDArray[np.bool_]) -> Mapping[str, Tensor]:
        """The sensor's spikes for these sequences."""
        size, m = bits.shape
        fires = np.zeros((size, m, self.bit_steps, 2 * self.units), bool)
        fires[:, :, 0] = np.repeat(np.stack([bits, ~bits], -1), self.units, -1)
        return {self._sensor: torch.from_numpy(fires.reshape(size, -1, 2 * self.units))}

    def answers(self, activity: BatchActivity) -> Tensor:
        """(B, heads, 2) each head's final output for the two classes."""
        read = [activity.potential[name][:, -_READ_STEPS:].mean(1) for name in self.effectors]
        return torch.stack(read, 1) / _UNIT_MV

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Mapping[str, Tensor], Any]:
        """New sequences, and the class of each for each head."""
        bits = self.bits(rng, size)
        return self.spikes(bits), self.labels(bits)

    def loss(self, activity: BatchActivity, target: Any) -> Tensor:
        """The sum of the heads' cross-entropies."""
        return cross_entropy(self.answers(activity), target)

    def score(self, act: Act, split: str, trials: int, rng: np.random.Generator) -> Score:
        """The fraction of new sequences that the heads answer correctly; ``at_end``: that of the worst head."""
        right = np.zeros(len(self.heads))
        operations = spikes = 0
        for start in range(0, trials, _SCORED):
            given, label = self.batch(rng, min(_SCORED, trials - start))
            activity = act(given)
            right += (self.answers(activity).argmax(2) == label).sum(0).numpy()
            operations += activity.operations
            spikes += activity.n_spikes
        right /= trials
        return Score(float(right.mean()), operations / trials, spikes / trials, float(right.min()))


def cross_entropy(answers: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy of (B, heads, 2) answers to (B, heads) labels, averaged over sequences and summed over heads."""
    found: Tensor = torch.nn.functional.cross_entropy(answers.flatten(0, 1), label.flatten()) * label.shape[1]
    return found


class BitStage(BitMemory):
    """The N of a curriculum as a stage of a development: a region ``bitsN`` of its own beside those of all smaller N,
    which take part, and the heads that the curriculum asks for at that stage.

    Parameters
    ----------
    n : at least 2
    curriculum : ``"single"``: the newest head alone; ``"multi"``: all so far; ``"sliding"``: the last ten
    others : as of :class:`BitMemory`
    """

    def __init__(self, n: int, *, curriculum: Curriculum = "multi", **others: Any) -> None:
        heads: tuple[int, ...] = (2,)
        for _ in range(3, integer("n", n, 2, 1000) + 1):
            heads = asked_next(curriculum, heads)
        asked_next(curriculum, heads)
        super().__init__(heads=heads, name=f"bits{n}", **others)

    @property
    def requires(self) -> tuple[str, ...]:  # type: ignore[override]
        """The regions of all smaller N."""
        return tuple(f"bits{n}" for n in range(2, self.heads[-1]))

    @property
    def recruits(self) -> tuple[str, ...]:
        """The regions that take part."""
        return (self._sensor, *self.requires, self.name, *self.effectors)


@dataclass(frozen=True)
class _Named:
    n: int

    def __call__(self, images: object, jitter: float, **table: Any) -> BitStage:
        return BitStage(self.n, **table)


#: Made as a configuration names them, of what it says in ``[tasks.bitsN]``; longer curricula are for Python.
bits2 = _Named(2)
bits3 = _Named(3)
bits4 = _Named(4)
bits5 = _Named(5)
bits6 = _Named(6)

"""Maps: how the neurons of a region lie on a grid, for convolutions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from connectome.arrays import ReadOnly, integer, lock
from connectome.errors import ConnectomeError

__all__ = ["Maps"]

MAX_MAPS: Final = np.iinfo(np.uint16).max
#: Rows and columns: an offset between any two places, in any stride, fits in 16 bits.
MAX_SIDE: Final = 2**14


@dataclass(frozen=True)
class Maps(ReadOnly):
    """``count`` maps of one grid, each with a neuron at each place. Neurons are numbered map by map, row by row.

    Parameters
    ----------
    count, height, width : maps, rows, columns
    hexagonal : places are those of a hexagonal grid, in axial coordinates from the middle, (row, column) = (u, v):
        those with ``max(|u|, |v|, |u + v|) <= R``. Height and width are 2 R + 1.
    every : (rows, columns): only places whose coordinates are multiples of these have neurons. Coordinates count from
        the first place; on a hexagonal grid from the middle.

    >>> Maps(3, 32, 32).size, Maps.hexagon(1, 15).size, Maps.hexagon(1, 15, every=(3, 2)).size
    (3072, 721, 123)
    """

    count: int
    height: int
    width: int
    hexagonal: bool = False
    every: tuple[int, int] = (1, 1)

    def __repr__(self) -> str:
        """Every field: the digest of a connectome is taken of this."""
        return (
            f"Maps(count={self.count}, height={self.height}, width={self.width}, hexagonal={self.hexagonal}, "
            f"every={self.every})"
        )

    def __post_init__(self) -> None:
        object.__setattr__(self, "count", integer("maps.count", self.count, 1, MAX_MAPS))
        for side in ("height", "width"):
            object.__setattr__(self, side, integer(f"maps.{side}", getattr(self, side), 1, MAX_SIDE))
        if not isinstance(self.hexagonal, (bool, np.bool_)):
            raise ConnectomeError("maps.hexagonal", "must be True or False", repr(self.hexagonal))
        object.__setattr__(self, "hexagonal", bool(self.hexagonal))
        if self.hexagonal and (self.height != self.width or self.height % 2 == 0):
            sides = f"{self.height} x {self.width}"
            raise ConnectomeError("maps", "must have a height and a width of 2 R + 1 on a hexagonal grid", sides)
        if not isinstance(self.every, (tuple, list)) or len(self.every) != 2:
            raise ConnectomeError("maps.every", "must be two numbers, of rows and of columns", repr(self.every))
        object.__setattr__(self, "every", tuple(integer("maps.every", x, 1, MAX_SIDE) for x in self.every))

    @classmethod
    def hexagon(cls, count: int, radius: int, every: tuple[int, int] = (1, 1)) -> Maps:
        """Maps of a hexagonal grid. Raises :class:`ConnectomeError`."""
        side = 2 * integer("maps.radius", radius, 0, (MAX_SIDE - 1) // 2) + 1
        return cls(count, side, side, True, every)

    @property
    def size(self) -> int:
        """Neurons of all maps."""
        return self.count * self.places

    @property
    def places(self) -> int:
        """Neurons of a map."""
        return int(self.row.size)

    def take(self, which: NDArray[Any]) -> Maps | None:
        """The maps that these neurons are, a mask or numbers; None if they are not whole maps."""
        of = np.flatnonzero(which) if which.dtype == bool else which
        whole = of.reshape(-1, self.places) if of.size and of.size % self.places == 0 else of[:0].reshape(0, 1)
        first = whole[:, :1] if len(whole) else of[:0].reshape(0, 1)
        if not len(whole) or (first % self.places).any() or (whole != first + np.arange(self.places)).any():
            return None
        return replace(self, count=len(whole))

    def mixed(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """(maps,) whether the neurons of each have more than one of (N,) values."""
        of_map = values.reshape(self.count, self.places)
        found: NDArray[np.bool_] = (of_map != of_map[:, :1]).any(axis=1)
        return found

    @property
    def origin(self) -> tuple[int, int]:
        """The row and the column that coordinates count from."""
        return (self.height // 2, self.width // 2) if self.hexagonal else (0, 0)

    @property
    def row(self) -> NDArray[np.int32]:
        """(places,)"""
        return self._places[0]

    @property
    def column(self) -> NDArray[np.int32]:
        """(places,)"""
        return self._places[1]

    @cached_property
    def number(self) -> NDArray[np.int32]:
        """(height, width) which place it is; -1 where there is none."""
        number = np.full((self.height, self.width), -1, np.int32)
        number[self.row, self.column] = np.arange(self.places, dtype=np.int32)
        return lock(number)

    @cached_property
    def _places(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        u, v = (np.arange(n) - o for n, o in zip((self.height, self.width), self.origin, strict=True))
        there = (u[:, None] % self.every[0] == 0) & (v % self.every[1] == 0)
        if self.hexagonal:
            there &= np.abs(u[:, None] + v) <= self.height // 2
        row, column = np.nonzero(there)
        return lock(row.astype(np.int32)), lock(column.astype(np.int32))

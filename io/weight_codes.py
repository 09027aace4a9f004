"""Weights of few values in a snapshot: the values, and for each edge a code of as many bits as it takes.

``/development/edges/<source:kind:target>/codebook`` has ``code``, bytes, the bits of the first edge first and of each
the lowest first, and ``value``, K float32. Where no weight has another sign than its source neuron, they are called
``magnitude``, and the sign takes no bit. K is a column of the table ``edge_sets``: 0 where the weights are a column of
SONATA's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.kernel_set import without_kernels
from connectome.graph.parts import EdgeKey, EdgeSet, Region
from connectome.io.hdf5 import Reader, write_column
from connectome.io.sonata import edges_each

__all__ = ["Codebook", "codebook", "codebooks", "read", "write"]

_MOST_VALUES: Final = 256


class Codebook(NamedTuple):
    """(E,) weights as ``code``, (E,) places among the (K,) ``values``, magnitudes or not."""

    values: NDArray[np.float32]
    code: NDArray[np.int64]
    magnitudes: bool

    @property
    def n_bytes(self) -> int:
        """Of values and codes in a file."""
        return 4 * len(self.values) - (-len(self.code) * _bits(len(self.values)) // 8)


def codebook(edges: EdgeSet, source: Region) -> Codebook | None:
    """The codebook that gives the weights bit for bit; None where it would have one value, which takes no room as it
    is, or more than 256."""
    sign = edges.at_source(source.sign)
    size = np.where(edges.weight == 0, edges.weight, np.abs(edges.weight))
    magnitudes = bool((_signed(size, sign).view(np.uint32) == edges.weight.view(np.uint32)).all())
    bits, code = np.unique((size if magnitudes else edges.weight).view(np.uint32), return_inverse=True)
    return Codebook(bits.view(np.float32), code, magnitudes) if 1 < len(bits) <= _MOST_VALUES else None


def write(ours: Any, found: Codebook) -> None:
    """Write it to our group of the edge set."""
    group = ours.create_group("codebook")
    write_column(group, "magnitude" if found.magnitudes else "value", found.values, shrink=False)
    each = np.arange(_bits(len(found.values)), dtype=np.uint8)
    spread = found.code.astype(np.uint8)[:, None] >> each & 1
    write_column(group, "code", np.packbits(spread, bitorder="little"), shrink=False)


def codebooks(connectome: Connectome) -> dict[EdgeKey, Codebook]:
    """Those of all edge sets that have one."""
    edges = without_kernels(connectome.edges)
    found = {key: codebook(e, connectome.regions[key.source]) for key, e in edges.items()}
    return {key: book for key, book in found.items() if book}


def read(
    reader: Reader, key: EdgeKey, name: str, row: Mapping[str, Any], indptr: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The (E,) weights, codes or not, of the set of this ``name`` among the groups. ``row``: what the table says of it;
    ``indptr``: the edges of its sources. Raises :class:`ConnectomeError`."""
    place, k, n = ("development", "edges", name, "codebook"), row["n_values"], row["n_edges"]
    if not k:
        return reader.column("edges", name, "0", "syn_weight", dtype=np.float32, shape=(n,))
    if not 1 < k <= _MOST_VALUES:
        raise ConnectomeError(f"/{'/'.join(place)}", f"must have 2 .. {_MOST_VALUES} values", k)
    of = "magnitude" if reader.has(*place, "magnitude") else "value"
    values = reader.column(*place, of, dtype=np.float32, shape=(k,), shrunk=False)
    packed = reader.column(*place, "code", dtype=np.uint8, shape=(-(-n * _bits(k) // 8),), shrunk=False)
    spread = np.unpackbits(packed, count=n * _bits(k), bitorder="little").reshape(n, _bits(k))
    code = np.packbits(spread, axis=1, bitorder="little")[:, 0]
    if (code >= k).any():
        raise ConnectomeError(f"/{'/'.join((*place, 'code'))}", f"must have codes below {k}", int(code.max()))
    if of == "value":
        return values[code]
    sign = reader.column("development", "nodes", key.source, "sign", dtype=np.int8, shape=(len(indptr) - 1,))
    return _signed(values[code], np.repeat(sign, edges_each(key, indptr, n)))


def _signed(size: NDArray[np.float32], sign: NDArray[np.int8]) -> NDArray[np.float32]:
    return np.where(sign < 0, np.where(size == 0, size, -size), size)


def _bits(k: int) -> int:
    return (k - 1).bit_length()

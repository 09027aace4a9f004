"""Edge sets in a snapshot so that they need not be read: a file is mapped into memory, and its pages are the columns.

Such a snapshot (``save(..., mapped=True)``, :func:`connectome.io.snapshot.save_parts`) is one of the same format, which
earlier versions and SONATA's readers open. The rows of a column lie one after the other in the file (chunks without
filters, whose place HDF5 allots at once), and ``/development/edges/<source:kind:target>`` has the two columns that
SONATA has in other types: ``indices`` and ``delay_steps``. It has no checksums of columns, only the digest of all, and
no index by target, which SONATA does not ask for; bmtk does, and libsonata for queries by target.

Edge sets are written one by one, and a large one part by part, in the order of its sources. What is not known before
the last part has come, the number of edges, HDF5 has to know first: parts lie in files without a name until then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from connectome.arrays import in_blocks, index_type, is_constant, lock
from connectome.errors import ConnectomeError
from connectome.graph.parts import EdgeSet
from connectome.io import hdf5, sonata
from connectome.io.attribute_columns import write_properties

__all__ = ["place_edges"]

#: Rows of a column that are in memory at a time.
_ROWS: Final = 1 << 20
_COLUMNS: Final = ("indices", "weight", "delay_steps", "birth_stage")


class _Column:
    """A column that comes part by part. One value for all takes no space; a single part stays where it is."""

    def __init__(self, dtype: type, new_file: Callable[[], BinaryIO]) -> None:
        self.dtype, self.size = np.dtype(dtype), 0
        self._whole: NDArray[Any] = np.zeros(0, dtype)
        self._new_file = new_file
        self._file: BinaryIO | None = None

    def add(self, part: NDArray[Any]) -> None:
        """Take the next rows."""
        if not part.size:
            return
        same = self._file is None and hdf5.is_one_value(part)
        if not self.size:
            self._whole = np.broadcast_to(part[0], part.shape) if same else part
        elif same and is_constant(self._whole) and self._whole[:1].tobytes() == part[:1].tobytes():
            self._whole = np.broadcast_to(part[0], self.size + part.size)
        else:
            rows = [part] if self._file is not None else [self._whole, part]
            self._file = self._file or self._new_file()
            for row in rows:
                for block in in_blocks(row.size, _ROWS):
                    self._file.write(np.ascontiguousarray(row[block]).data)
        self.size += part.size

    def blocks(self) -> Iterator[NDArray[Any]]:
        """The rows, block by block."""
        if self._file is None:
            yield from (self._whole[block] for block in in_blocks(self.size, _ROWS))
            return
        self._file.seek(0)
        for block in in_blocks(self.size, _ROWS):
            yield np.frombuffer(self._file.read((block.stop - block.start) * self.dtype.itemsize), self.dtype)

    def place(
        self, sink: hdf5.Sink, group: Any, name: str, dtype: Any = None,
        change: Callable[[NDArray[Any]], NDArray[Any]] = lambda block: block, shrink: bool = True,
    ) -> NDArray[Any]:  # fmt: skip
        """Write the rows, changed to those of another column if need be, and return them as they lie there. With
        ``shrink``, one value for all rows takes no space."""
        kind = np.dtype(dtype or self.dtype)
        if shrink and self._file is None and self.size and is_constant(self._whole):
            (value,) = change(self._whole[:1])
            hdf5.write_constant(group, name, self.size, value, kind)
            return np.broadcast_to(kind.type(value), self.size)
        blocks = (change(block) for block in self.blocks())
        return hdf5.place_column(sink, group, name, self.size, kind, blocks)


def place_edges(h5: Any, sink: hdf5.Sink, parts: Iterator[EdgeSet], folder: Path) -> EdgeSet:
    """Write an edge set, in one part or several, but for its type; return it as it lies in the file. ``folder``: where
    parts lie until all have come. Raises :class:`ConnectomeError` if they do not fit together, and
    :class:`OSError`."""
    with ExitStack() as stack:
        first = next(parts)
        types = (index_type(first.n_target), np.float32, np.uint16, np.int16)
        kinds = dict(zip(_COLUMNS, types, strict=True)) | {f"state/{name}": np.float32 for name in first.state}
        columns = {
            name: _Column(kind, lambda: stack.enter_context(TemporaryFile(dir=folder))) for name, kind in kinds.items()
        }
        indptr = _gather(first, parts, columns)
        return _place(h5, sink, first, indptr, columns)


def _gather(first: EdgeSet, others: Iterator[EdgeSet], columns: Mapping[str, _Column]) -> NDArray[np.int64]:
    """Add all parts to the columns, and return their ``indptr``."""
    where, degree, last = f"edges[{first.key}]", np.zeros(first.n_source, np.int64), -1
    for part in chain([first], others):
        (wanted, found) = ((e.n_source, e.n_target, e.dt_ms, list(e.state)) for e in (first, part))
        if wanted != found:
            raise ConnectomeError(where, f"must have parts of the sizes, dt_ms and state of the first, {wanted}", found)
        if part is not first and (first.attributes or part.attributes):
            raise ConnectomeError(
                where, "must be in one part, as it has attributes", [*first.attributes, *part.attributes]
            )
        rows = np.flatnonzero(part.out_degree)
        if rows.size and rows[0] <= last:
            raise ConnectomeError(where, f"must go on after its last part, whose last source is {last}", int(rows[0]))
        last = int(rows[-1]) if rows.size else last
        degree += part.out_degree
        for name in _COLUMNS:
            columns[name].add(getattr(part, name))
        for name, values in part.state.items():
            columns[f"state/{name}"].add(values)
    return lock(np.concatenate([np.zeros(1, np.int64), np.cumsum(degree)]))


def _place(
    h5: Any, sink: hdf5.Sink, first: EdgeSet, indptr: NDArray[np.int64], columns: Mapping[str, _Column]
) -> EdgeSet:
    key, n, dt_ms = first.key, int(indptr[-1]), first.dt_ms
    population = sonata.population(key)
    theirs, ours = (h5.create_group(f"{at}edges/{population}") for at in ("", "development/"))
    properties, _ = theirs.create_group("0"), ours.create_group("state")
    targets = columns["indices"].place(sink, theirs, "target_node_id", np.uint32, shrink=False)
    if columns["indices"].dtype == np.int32:
        ours["indices"] = theirs["target_node_id"]  # the same bytes
        indices = targets.view(np.int32)
    else:
        indices = columns["indices"].place(sink, ours, "indices", shrink=False)
    edges = EdgeSet(
        key, first.n_target, indptr, indices, columns["weight"].place(sink, properties, "syn_weight"),
        columns["delay_steps"].place(sink, ours, "delay_steps"), dt_ms,
        columns["birth_stage"].place(sink, ours, "birth_stage"),
        {name: columns[f"state/{name}"].place(sink, ours["state"], name) for name in first.state}, first.attributes,
    )  # fmt: skip
    columns["delay_steps"].place(sink, properties, "delay", np.float64, lambda steps: steps * np.float64(dt_ms))
    write_properties(properties, first.attributes)
    sonata.write_source_index(theirs, indptr)
    whole = np.dtype(np.uint32 if n < 2**32 else np.uint64)
    sources = (block for _, block in edges.source_blocks(np.arange(first.n_source, dtype=np.uint32)))
    hdf5.place_column(sink, theirs, "source_node_id", n, np.dtype(np.uint32), sources)
    numbers = (np.arange(block.start, block.stop, dtype=whole) for block in in_blocks(n, _ROWS))
    hdf5.place_column(sink, theirs, "edge_group_index", n, whole, numbers)
    for end in ("source", "target"):
        theirs[f"{end}_node_id"].attrs["node_population"] = getattr(key, end)
    return edges

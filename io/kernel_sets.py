"""Kernel sets in a snapshot: only their rows are stored, whatever the number of connections.

``/development/edges/<source:kind:target>/kernels`` has the columns ``in_map``, ``out_map``, ``dy``, ``dx``, ``weight``,
``delay_steps`` and, in ``attributes``, those of the rows; anything else that edge sets have in our group, kernel sets
have there, too. The stride is a column of the table ``edge_sets``, 0 for a set of edges; the maps are those of the
regions: JSON in the table ``regions``, an empty text if a region has none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.kernel_set import KernelSet
from connectome.graph.maps import Maps
from connectome.graph.parts import EdgeKey
from connectome.io import attribute_columns
from connectome.io.hdf5 import Reader, write_column

__all__ = ["GROUP", "maps_of", "maps_text", "read", "write"]

GROUP = "kernels"
_COLUMNS: Mapping[str, type] = {"in_map": np.uint16, "out_map": np.uint16, "dy": np.int16, "dx": np.int16}


def write(ours: Any, kernels: KernelSet) -> None:
    """Write the rows to our group of the set."""
    group = ours.create_group(GROUP)
    for name in _COLUMNS:
        write_column(group, name, getattr(kernels, name), shrink=False)
    write_column(group, "weight", kernels.weight)
    write_column(group, "delay_steps", kernels.delay_steps)
    attribute_columns.write_properties(group.create_group("attributes"), kernels.attributes)


def read(
    reader: Reader, key: EdgeKey, name: str, row: Mapping[str, Any], maps: tuple[Maps | None, Maps | None],
    dt_ms: float, types: attribute_columns.Types, texts: attribute_columns.Texts,
) -> KernelSet:  # fmt: skip
    """The set of this ``name`` among the groups; ``row``: its row of the table; ``maps``: those of the source and the
    target. Raises :class:`ConnectomeError`."""
    ours, n = ("development", "edges", name), row["n_edges"]
    if maps[0] is None or maps[1] is None:
        raise ConnectomeError(f"edges[{key}]", "must join regions with maps", "none", "The file was changed.")

    def column(*place: str, dtype: type, shrunk: bool = True) -> NDArray[Any]:
        return reader.column(*ours, *place, dtype=dtype, shape=(n,), shrunk=shrunk)

    rows: dict[str, Any] = {k: column(GROUP, k, dtype=kind, shrunk=False) for k, kind in _COLUMNS.items()}
    place = (*ours, GROUP, "attributes")
    return KernelSet(
        key=key, source_maps=maps[0], target_maps=maps[1], stride=row["stride"], dt_ms=dt_ms,
        weight=column(GROUP, "weight", dtype=np.float32), delay_steps=column(GROUP, "delay_steps", dtype=np.uint16),
        birth_stage=column("birth_stage", dtype=np.int16),
        state={k: column("state", k, dtype=np.float32) for k in reader.members(*ours, "state")},
        attributes=attribute_columns.read(reader, "edges", name, n, types, texts, place), **rows,
    )  # fmt: skip


def maps_text(maps: Maps | None) -> str:
    """Maps as text for the table of regions."""
    return "" if maps is None else json.dumps(asdict(maps))


def maps_of(reader: Reader, where: str, text: str) -> Maps | None:
    """Maps from the text of that table. Raises :class:`ConnectomeError`."""
    if not text:
        return None
    try:
        given = json.loads(text)
        maps = Maps(**given)
    except (TypeError, ValueError) as error:
        if isinstance(error, ConnectomeError):
            raise error.within(where) from None
        raise ConnectomeError(f"{where}.maps", "must be JSON of maps", f"{text!r:.80}") from None
    reader.backs(maps.height * maps.width)
    return maps

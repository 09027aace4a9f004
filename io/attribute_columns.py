"""Attributes in a snapshot: values in the SONATA groups, where SONATA's readers look, and their types in our own group.

A text is a place in an enumeration (``@library``), whose first entry is the empty text if any is missing; integers and
flags are stored as they are, and the number that stands for a missing one is the column's ``_FillValue``; a missing
float is nan. The table ``attributes`` in ``/development`` has the type of each column, and the number and bytes of the
texts, which are in ``texts/<name>`` of our group of the region or edge set: UTF-8, one a line. The library is not read
back, as variable-length texts have no checksum in HDF5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

from connectome.errors import ConnectomeError
from connectome.graph.attributes import FLAG, TEXT, TYPES, Attribute
from connectome.graph.columns import code_type, missing_of
from connectome.graph.connectome import Connectome
from connectome.io.hdf5 import Reader, write_column, write_table

__all__ = ["Texts", "Types", "read", "read_types", "write", "write_properties"]

#: ``nodes/<region>`` or ``edges/<source:kind:target>`` -> name -> type.
Types = Mapping[str, Mapping[str, str]]
#: The same place and a name -> how many texts, in how many bytes.
Texts = Mapping[tuple[str, str], tuple[int, int]]
_KINDS: Final[Mapping[str, type]] = {"of": str, "name": str, "type": str, "texts": int, "bytes": int}


def write_properties(properties: Any, attributes: Mapping[str, Attribute]) -> None:
    """Write columns to the group of properties of a SONATA population."""
    for name, attribute in attributes.items():
        column = write_column(properties, name, attribute.values)
        if attribute.names is not None:
            library = properties.require_group("@library")
            library.create_dataset(name, data=np.array(attribute.names, object), dtype=h5py.string_dtype())
        elif attribute.kind != "number":
            column.attrs["_FillValue"] = missing_of(attribute.values.dtype, attribute.is_flag)


def write(ours: Any, connectome: Connectome) -> None:
    """Write types and texts to ``/development``."""
    parts = {f"nodes/{name}": r.attributes for name, r in connectome.regions.items()}
    parts |= {f"edges/{':'.join(key)}": e.attributes for key, e in connectome.edges.items()}
    rows: list[tuple[Any, ...]] = []
    for of, attributes in parts.items():
        for name, attribute in attributes.items():
            names = attribute.names or ()
            blob = "\n".join(names).encode()
            rows.append((of, name, attribute.type, len(names), len(blob)))
            if attribute.names is not None:
                group = ours.require_group(f"{of}/texts")
                write_column(group, name, np.frombuffer(blob, np.uint8), shrink=False)
    columns = zip(*rows, strict=True) if rows else [()] * len(_KINDS)
    kinds = zip(_KINDS.items(), columns, strict=True)
    write_table(ours, "attributes", {name: (kind, column) for (name, kind), column in kinds})


def read_types(reader: Reader) -> tuple[Types, Texts]:
    """The types and texts that :func:`read` needs. Raises :class:`ConnectomeError`."""
    table = reader.table("development", "attributes", kinds=_KINDS)
    types: dict[str, dict[str, str]] = {}
    texts = {}
    for of, name, kind, count, size in zip(*table.values(), strict=True):
        if kind not in TYPES or name in types.get(of, ()):
            rule = f"must be there once, and be {', '.join(TYPES)}"
            raise ConnectomeError(f"{of}.attributes[{name}]", rule, repr(kind))
        reader.backs(max(size, count - 1))
        types.setdefault(of, {})[name] = kind
        texts[of, name] = count, size
    return types, texts


def read(
    reader: Reader, part: str, name: str, n: int, types: Types, texts: Texts, values: tuple[str, ...] = ()
) -> dict[str, Attribute]:
    """The attributes of a region or an edge set; ``part`` is ``"nodes"`` or ``"edges"``, ``values`` the group that
    holds their values, by default SONATA's. Raises :class:`ConnectomeError`."""
    found = {}
    for attribute, kind in types.get(f"{part}/{name}", {}).items():

        def column(dtype: DTypeLike, attribute: str = attribute) -> NDArray[Any]:
            return reader.column(*(values or (part, name, "0")), attribute, dtype=dtype, shape=(n,))

        if kind != TEXT:
            found[attribute] = Attribute(column(np.int8 if kind == FLAG else kind), None, kind == FLAG)
            continue
        count, size = texts[f"{part}/{name}", attribute]
        place = ("development", part, name, "texts", attribute)
        lines = reader.column(*place, dtype=np.uint8, shape=(size,), shrunk=False).tobytes().decode().split("\n")
        code = column(code_type(count))
        if len(lines) != max(count, 1) or (n and code.max() >= count):
            found_there = f"{len(lines)} texts, or a place beyond them"
            raise ConnectomeError("/".join(("", *place)), f"must be {count} texts, with places of them", found_there)
        found[attribute] = Attribute.of_codes("/".join(("", *place)), code, lines)
    return found

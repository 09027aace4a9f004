"""Tables of nodes beside tables of edges and matrices: names, regions, positions, signs, state, attributes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from connectome.graph.attributes import NODE_WORDS, Attribute, attribute_name
from connectome.graph.tables import DEFAULT_REGION, count_within, region_names
from connectome.io.delimited import INTEGER, Column, Columns, normal, read_columns

if TYPE_CHECKING:
    import pandas

__all__ = ["NODE_COLUMNS", "End", "categorical", "node_attributes", "node_table", "read_nodes", "signed_weights"]

#: The region of each edge's source (or target), and its number there.
End = tuple["pandas.Categorical[str]", NDArray[np.int64]]

#: Columns of a table of nodes; positions are in micrometres.
NODE_COLUMNS: Final[Mapping[str, Column]] = {
    "id": Column(("node", "node_id", "neuron_id", "cell_id", "root_id", "body_id", "bodyid"), is_key=True),
    "label": Column(("name", "neuron", "cell", "neuron_name", "cell_name")),
    "region": Column(("region_name", "area", "brain_region", "neuropil", "population")),
    "index": Column((), True),
    "role": Column(),
    "sign": Column((), True),
    "x": Column(("x_um",), True, True),
    "y": Column(("y_um",), True, True),
    "z": Column(("z_um",), True, True),
    "birth_stage": Column((), True),
}


def read_nodes(path: Path, types: Mapping[str, str] = MappingProxyType({})) -> Columns | None:
    """A table of nodes, if there is one: see :func:`connectome.io.delimited.read_columns`. Raises
    :class:`ConnectomeError`."""
    return read_columns(path, NODE_COLUMNS, NODE_WORDS, types) if path.exists() else None


def node_attributes(nodes: Columns, key: str = "") -> dict[str, Attribute]:
    """The attributes of the nodes. The column that gives them their region is one as well, if it is not called so, and
    so is their id where something else, ``key``, is what they are called."""
    found = dict(nodes.attributes)
    for name in ("id", "region"):
        title = nodes.titles.get(name, name)
        if name in nodes.texts and name != key and (name == "id" or normal(title) != "region"):
            code, names = nodes.texts[name]
            attribute = Attribute.of_codes(title, code, names)
            if attribute.names and all(map(INTEGER.fullmatch, attribute.categories)) and name == "id":
                attribute = Attribute.of(title, [None if v is None else int(v) for v in attribute.tolist()], nodes.size)
            found[attribute_name(title, NODE_WORDS, found)] = attribute
    return found


def node_table(nodes: Columns) -> tuple[pandas.DataFrame, NDArray[np.int64], list[str]]:
    """The nodes as :func:`from_pandas` takes them, the place of each node's region, and the regions' names."""
    import pandas

    region, regions = np.zeros(nodes.size, np.int64), [DEFAULT_REGION]
    if "region" in nodes.texts:
        region, regions = nodes.texts["region"].code.astype(np.int64), nodes.texts["region"].names
        lack = (region < 0) | np.isin(region, [i for i, name in enumerate(regions) if not name])
        if lack.any():
            raise nodes.refuse("region", int(np.argmax(lack)), "must be given", "nothing", "Give every node a region.")
        regions = region_names(nodes.path, regions)
        used, at = np.unique(region, return_index=True)
        rank = np.argsort(at, kind="stable")
        place = np.zeros(len(regions) + 1, np.int64)
        place[used[rank]] = np.arange(used.size)
        region, regions = place[region], [regions[i] for i in used[rank]]
    table = pandas.DataFrame({k: v for k, v in nodes.numbers.items() if k != "index"}, index=range(nodes.size))
    table["region"] = categorical(region, regions)
    for name in ("role", "label"):
        if name in nodes.texts:
            code, names = nodes.texts[name]
            table[name] = np.array([*names, ""], object)[code]
    return table, region, regions


def categorical(code: NDArray[np.int64], names: list[str]) -> pandas.Categorical[str]:
    """The names at these places."""
    import pandas

    return pandas.Categorical.from_codes(code, categories=pandas.Index(names, dtype=object))


def signed_weights(edges: Columns, table: pandas.DataFrame, source: End, unsigned: bool) -> NDArray[np.float64]:
    """The weights with the signs of their sources. Raises :class:`ConnectomeError` if they have other signs."""
    weight, region = edges.numbers["weight_pa"], table["region"].cat.codes.to_numpy().astype(np.int64)
    index = table["index"].to_numpy() if "index" in table else count_within(region)
    place = region << 32 | index.astype(np.int64)
    order = np.argsort(place)
    wanted = source[0].codes.astype(np.int64) << 32 | source[1]
    at = np.minimum(np.searchsorted(place[order], wanted), len(order) - 1)
    sign = np.where(place[order][at] == wanted, table["sign"].to_numpy()[order][at], 0)
    if unsigned:
        if (weight < 0).any():
            row = int(np.argmax(weight < 0))
            raise edges.refuse("weight", row, "must be >= 0, as weights have no signs", weight[row])
        return np.where(sign < 0, -weight, weight)
    bad = sign * weight < 0
    if bad.any():
        row = int(np.argmax(bad))
        raise edges.refuse(
            "weight", row, f"must have its source's sign, {sign[row]:g}", f"{weight[row]:g}",
            "Read weights that are magnitudes, such as synapse counts, with unsigned=True (sims.export --unsigned). A "
            "sign of 0 allows both.",
        )  # fmt: skip
    return weight

"""Node sets, SONATA's file of named sets of neurons: reading for a connectome, and writing.

A set is an object of conditions that all must hold: ``population`` (one or more regions), ``node_id`` (numbers in
them), and attributes, with one value, several alternatives, or ``{"$regex": "..."}``, ``$gt``, ``$gte``, ``$lt``,
``$lte``; or a list of names of other sets, whose union it is. A neuron for which an attribute is missing meets no
condition on it. See https://sonata-extension.readthedocs.io.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.attributes import Attribute
from connectome.graph.connectome import Connectome
from connectome.graph.parts import Region
from connectome.graph.selection import NodeSet
from connectome.io.files import naming, read_bytes, write_lines

__all__ = ["read_node_sets", "write_node_sets"]

_MOST_SETS: Final = 10_000
_MOST_REPEATS: Final = 3
_COMPARE: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "$gt": np.greater, "$gte": np.greater_equal, "$lt": np.less, "$lte": np.less_equal,
}  # fmt: skip


def read_node_sets(path: str | os.PathLike[str], connectome: Connectome) -> dict[str, NodeSet]:
    """The sets of a file, by name, as neurons of this connectome. Raises :class:`ConnectomeError` naming file and
    set."""
    with naming(path, "a SONATA file of node sets"):
        given = json.loads(read_bytes(path))
        if not isinstance(given, dict) or len(given) > _MOST_SETS:
            raise ConnectomeError(
                "node sets", f"must be an object of at most {_MOST_SETS:,} sets", type(given).__name__
            )
        found: dict[str, NodeSet] = {}
        for name in given:
            _made(str(name), given, connectome, found, ())
        return {name: found[name] for name in given}


def write_node_sets(node_sets: Mapping[str, NodeSet], path: str | os.PathLike[str]) -> None:
    """Write sets by the numbers of their neurons: one for each region, ``name.region``, and their union, ``name``.
    Raises :class:`ConnectomeError` if the file cannot be written."""
    found: dict[str, Any] = {}
    for name, nodes in node_sets.items():
        parts = nodes.neurons
        found |= {f"{name}.{r}": {"population": r, "node_id": numbers.tolist()} for r, numbers in parts.items()}
        found[name] = [f"{name}.{r}" for r in parts]
    write_lines(path, [json.dumps(found, indent=1)])


def _made(
    name: str, given: Mapping[str, Any], connectome: Connectome, found: dict[str, NodeSet], within: tuple[str, ...]
) -> NodeSet:
    where = f"node set {name!r}"
    if name in found:
        return found[name]
    if name not in given or name in within:
        raise ConnectomeError(
            where, "must be defined, and not by itself", "a cycle" if name in within else "no such set"
        )
    rule = given[name]
    if isinstance(rule, list) and all(isinstance(other, str) for other in rule):
        made = NodeSet({region: np.zeros(r.size, bool) for region, r in connectome.regions.items()})
        for other in rule:
            made = made | _made(other, given, connectome, found, (*within, name))
    elif isinstance(rule, dict):
        made = NodeSet({region: _mask(where, r, rule) for region, r in connectome.regions.items()})
    else:
        raise ConnectomeError(where, "must be an object of conditions, or a list of names", type(rule).__name__)
    found[name] = made
    return made


def _mask(where: str, region: Region, rule: Mapping[str, Any]) -> NDArray[np.bool_]:
    mask = np.ones(region.size, bool)
    for key, wanted in rule.items():
        if key == "population":
            mask &= region.name in (wanted if isinstance(wanted, list) else [wanted])
        elif key == "node_id":
            ids = np.asarray(wanted if isinstance(wanted, list) else [wanted])
            if ids.size and ids.dtype.kind not in "iu":
                raise ConnectomeError(f"{where}: node_id", "must be integers", repr(wanted)[:80])
            mask &= np.isin(np.arange(region.size), ids)
        elif key in region.attributes:
            mask &= _holds(f"{where}: {key}", region.attributes[key], wanted)
        else:
            mask[:] = False  # no such attribute here
    return mask


def _holds(where: str, attribute: Attribute, wanted: Any) -> NDArray[np.bool_]:
    known = ~attribute.is_missing
    if isinstance(wanted, dict):
        for operator, value in wanted.items():
            if operator == "$regex" and attribute.names is not None and isinstance(value, str):
                matches = _pattern(where, value)
                true = np.array([matches.fullmatch(name) is not None for name in attribute.names], bool)
                known &= true[attribute.values]
            elif operator in _COMPARE and attribute.names is None and isinstance(value, (int, float)):
                known &= _COMPARE[operator](attribute.values, value)
            else:
                rule = f"must be $regex of texts, or {', '.join(_COMPARE)} of numbers"
                raise ConnectomeError(where, rule, f"{operator} {value!r:.60} of {attribute.kind}")
        return known
    values = wanted if isinstance(wanted, list) else [wanted]
    if any(isinstance(value, str) != (attribute.names is not None) for value in values):
        raise ConnectomeError(where, f"must be compared with what it is, {attribute.kind}", repr(wanted)[:80])
    if attribute.names is not None:
        true = np.array([name in values for name in attribute.names], bool)
        return known & true[attribute.values] if len(attribute) else known
    return known & np.isin(attribute.values, np.asarray(values))


def _pattern(where: str, text: str) -> re.Pattern[str]:
    """A regular expression that always terminates quickly: it has no nested repeats."""
    repeats = len(re.findall(r"(?<!\\)[*+{]", text))
    if repeats > _MOST_REPEATS or re.search(r"\)[*+?{]", text) or re.search(r"\\[1-9]", text):
        rule = f"must repeat no group, refer to none, and have at most {_MOST_REPEATS} repeats"
        raise ConnectomeError(where, rule, repr(text)[:80])
    try:
        return re.compile(text)
    except re.error as error:
        raise ConnectomeError(where, "must be a regular expression", error) from None

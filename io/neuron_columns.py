"""The models of regions' neurons in a snapshot.

A text in the table ``regions``: JSON of the model's name and parameters; null for parameters with a value for each
neuron, which are in ``nodes/<region>/neuron/<parameter>``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

import numpy as np

from connectome.errors import ConnectomeError
from connectome.graph.parts import Region
from connectome.io.hdf5 import Reader
from connectome.neurons.iaf_psc_exp import NeuronParameters
from connectome.neurons.model import NeuronModel, from_table, to_table

__all__ = ["OLD", "read", "text_of"]

#: The columns that formats 1 and 2 have instead.
OLD: Final = [f.name for f in fields(NeuronParameters)]


def text_of(region: Region) -> str:
    """The model as text for the table of regions."""
    scalars = {k: None if k in region.neuron.arrays() else v for k, v in to_table(region.neuron).items()}
    return json.dumps({"model": region.neuron.model} | scalars)


def read(reader: Reader, name: str, row: Mapping[str, Any]) -> NeuronModel:
    """The model from a row of that table. Raises :class:`ConnectomeError`."""
    if "neuron" not in row:
        return NeuronParameters(**{k: row[k] for k in OLD})
    where = f"regions[{name}].neuron"
    try:
        table = json.loads(row["neuron"])
    except ValueError as error:
        raise ConnectomeError(where, "must be JSON", error) from None
    if not isinstance(table, dict) or not isinstance(table.get("model"), str):
        raise ConnectomeError(where, "must be a table with the name of a model", repr(row["neuron"]))
    place = ("development", "nodes", name, "neuron")
    values = {
        k: reader.column(*place, k, dtype=np.float64, shape=(row["size"],), shrunk=False) if v is None else v
        for k, v in table.items()
    }
    return from_table(values, where)

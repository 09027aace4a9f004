"""How the script of a folder for NEST reads its edges from the snapshot: see ``connectome.io.nest_folder``."""

from pathlib import Path

import h5py
import numpy as np

DT_MS, EDGES = 0.1, []


# %%
# What is in a snapshot: edges, as SONATA has them.

COLUMNS = {"source": "source_node_id", "target": "target_node_id", "weight": "0/syn_weight", "delay_steps": "0/delay"}


def chunks(name, edges, value, size=2**20):
    """A column of an edge set, a million numbers at a time, so that a large network is in memory only once: in
    NEST."""
    number, _, column = name.partition(":")
    with h5py.File(Path(__file__).resolve().with_name("edges.h5")) as file:
        data = file["edges"][EDGES[int(number.removeprefix("edges"))]["population"]][COLUMNS[column]]
        for start in range(0, edges, size):
            part = data[start : start + size]
            yield np.rint(part / DT_MS) if column == "delay_steps" else part

"""How an exported script for NEST reads its edges from the archive beside it: see ``connectome.io.scripts``."""

import zipfile

import numpy as np

DATA_FILE = ""


# %%
def chunks(name, edges, value, size=2**20):
    """A column of an edge set, a million numbers at a time, so that a large network is in memory only once: in NEST.
    ``value``: the number that is the same for all edges, or None."""
    if value is not None:
        for start in range(0, edges, size):
            yield np.full(min(size, edges - start), value)
        return
    with zipfile.ZipFile(DATA_FILE) as archive, archive.open(f"{name}.npy") as file:
        np.lib.format.read_magic(file)
        _, _, dtype = np.lib.format.read_array_header_1_0(file)
        for start in range(0, edges, size):
            yield np.frombuffer(file.read(min(size, edges - start) * dtype.itemsize), dtype)

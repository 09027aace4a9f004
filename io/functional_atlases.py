"""Functional atlases: the responses of every neuron to the stimulation of each one. None is included: users point to a
file of their own.

Two forms are read, arrays (N, N) with row = responding and column = stimulated neuron:

- ``.h5``: ``funatlas.h5`` of the package ``wormneuroatlas`` (Randi et al. 2023, Nature 623, 406-414), which has texts
  ``neuron_ids``, and for each strain (``wt``, ``unc31``) a group with ``dFF``, ``q``, ``q_eq`` and ``occ1``;
- ``.npz``: ``neuron``, and for each strain ``STRAIN_dFF``, ``STRAIN_q``, ``STRAIN_q_eq``, ``STRAIN_occ1``.

Pickles are not opened.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from connectome.analysis.propagation import FunctionalAtlas, Strain
from connectome.errors import ConnectomeError
from connectome.io.archives import unzip
from connectome.io.files import naming
from connectome.io.hdf5 import reading
from connectome.io.matrices import read_npy

__all__ = ["read_functional_atlas"]

#: What a strain has, in a file -> in :class:`~connectome.analysis.propagation.Strain`.
_FIELDS: Final[Mapping[str, str]] = {"dFF": "dff", "q": "q", "q_eq": "q_equal", "occ1": "observed"}
_MOST_NEURONS: Final = 10_000
_MOST_STRAINS: Final = 16
_FORMS: Final = "a functional atlas: funatlas.h5, or an npz file of its arrays"


def read_functional_atlas(path: str | os.PathLike[str]) -> FunctionalAtlas:
    """Read ``.h5`` or ``.npz``. Raises :class:`ConnectomeError` naming the file and what is wrong with it."""
    match Path(path).suffix.lower():
        case ".h5":
            return _hdf5(path)
        case ".npz":
            with naming(path, _FORMS):
                return _npz(path)
    raise ConnectomeError(os.fspath(path), "must end in .h5 or .npz", repr(Path(path).suffix))


def _hdf5(path: str | os.PathLike[str]) -> FunctionalAtlas:
    with reading(path) as file:
        names, _ = file.foreign("neuron_ids", kinds="S")
        n = _bounded(names.size)
        groups = [name for name in file.members() if name != "neuron_ids" and file.is_group(name)]
        strains = {}
        for strain in groups[:_MOST_STRAINS]:
            arrays = {
                key: file.foreign(strain, key, kinds="iu" if key == "occ1" else "f", shape=(n, n))[0] for key in _FIELDS
            }
            strains[strain] = _strain(strain, arrays)
        return _atlas([name.decode() for name in names.tolist()], strains)


def _npz(path: str | os.PathLike[str]) -> FunctionalAtlas:
    members = unzip(path, lambda name: name.endswith(".npy"))
    arrays = {k.removesuffix(".npy"): read_npy(f"{os.fspath(path)}: {k}", data) for k, data in members.items()}
    names = arrays.get("neuron")
    if names is None or names.ndim != 1 or names.dtype.kind != "U":
        raise ConnectomeError("neuron", "must be a row of names", "none" if names is None else names.dtype)
    _bounded(names.size)
    strains = {}
    for strain in [key.removesuffix("_dFF") for key in arrays if key.endswith("_dFF")][:_MOST_STRAINS]:
        lost = [f"{strain}_{key}" for key in _FIELDS if f"{strain}_{key}" not in arrays]
        if lost:
            raise ConnectomeError(lost[0], "must be there, as the strain's other arrays are", "none")
        strains[strain] = _strain(strain, {key: arrays[f"{strain}_{key}"] for key in _FIELDS})
    return _atlas([str(name) for name in names.tolist()], strains)


def _bounded(n: int) -> int:
    if not 1 < n <= _MOST_NEURONS:
        raise ConnectomeError("neurons", f"must be 2 to {_MOST_NEURONS:,}", n)
    return n


def _strain(name: str, arrays: Mapping[str, NDArray[Any]]) -> Strain:
    try:
        return Strain(**{_FIELDS[key]: np.asarray(array) for key, array in arrays.items()})
    except ConnectomeError as error:
        raise error.within(name) from None


def _atlas(names: list[str], strains: Mapping[str, Strain]) -> FunctionalAtlas:
    if not strains:
        raise ConnectomeError("strains", f"must be one or more, each with {', '.join(_FIELDS)}", "none")
    return FunctionalAtlas(tuple(names), strains)

"""Measured connectomes to hold others against, by name: ``load("celegans_witvliet2021_8")``.

The worm *Caenorhabditis elegans*, from the package ``cect`` (OpenWorm, MIT), an optional one. The data stay theirs:
cite the papers that :func:`about` names.

A cell is a neuron here, its label its name; regions are ``sensory``, ``inter``, ``motor``, ``muscle`` and ``other``
(CANL, CANR, glia, epithelium...), as cect classes cells. A weight is what the paper counts, times ``weight_pa``: a
number of synapses for Witvliet and White, a number of electron-microscopic sections for Cook. Signs are not known, so
weights are positive. What a cell releases is its attribute ``transmitter`` (Wang et al. 2024, eLife 13, RP95402), of
several all, joined by " + "; it is missing where none is known. :mod:`connectome.experiment` makes signs of it.
Positions are those of cell bodies in the adult hermaphrodite, micrometres, at every age (Virtual Worm, with the package
``wormneuroatlas``, which cect brings along): only of neurons, and of no male ones; the others are nan.
"""

from __future__ import annotations

import functools
import importlib.resources
import importlib.util
import json
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, get_args

import numpy as np

from connectome.errors import ConnectomeError
from connectome.graph.attributes import Attribute
from connectome.graph.connectome import Connectome, Provenance
from connectome.graph.parts import EdgeSet, Region
from connectome.graph.tables import DEFAULT_DT_MS, kind_between

__all__ = ["Reference", "about", "is_installed", "load", "names"]

Synapses = Literal["chemical", "electrical", "both"]
Cells = Literal["neurons", "all"]
REGIONS: Final = ("sensory", "inter", "motor", "muscle", "other")
_CLASSES: Final[Mapping[str, str]] = {"Sensory": "sensory", "Interneuron": "inter", "Motorneuron": "motor"}
_MATRICES: Final[Mapping[str, str]] = {"chemical": "Generic_CS", "electrical": "Generic_GJ"}
#: The unit of the table of positions, micrometres.
_POSITION_UNIT_UM: Final = 100.0


class Reference(NamedTuple):
    """One measured connectome: what it is, the paper to cite, and where cect keeps it."""

    description: str
    cite: str
    file: str


_WITVLIET: Final = "Witvliet et al. (2021), Nature 596, 257-261, doi 10.1038/s41586-021-03778-8"
_COOK: Final = "Cook et al. (2019), Nature 571, 63-71, doi 10.1038/s41586-019-1352-7"
_WHITE: Final = "White et al. (1986), Phil. Trans. R. Soc. B 314, 1-340, doi 10.1098/rstb.1986.0056"
_VARSHNEY: Final = "as counted by Varshney et al. (2011), PLoS Comput. Biol. 7, e1001066"
_HOURS: Final = (0, 5, 8, 16, 23, 27, 50, 50)
_REFERENCES: Final[Mapping[str, Reference]] = MappingProxyType(
    {
        f"celegans_witvliet2021_{age}": Reference(
            f"brain of an isogenic hermaphrodite, about {hours} hours after birth", _WITVLIET,
            f"WitvlietDataReader{age}.json",
        )
        for age, hours in enumerate(_HOURS, 1)
    }
    | {
        "celegans_cook2019_hermaphrodite": Reference("whole adult hermaphrodite", _COOK, "Cook2019HermReader.json"),
        "celegans_cook2019_male": Reference("whole adult male", _COOK, "Cook2019MaleReader.json"),
        "celegans_white1986": Reference("whole adult hermaphrodite", f"{_WHITE}, {_VARSHNEY}", "White_whole.json"),
    }
)  # fmt: skip


def names() -> list[str]:
    """Every reference there is."""
    return list(_REFERENCES)


def is_installed(package: str = "cect") -> bool:
    """Whether there is this package, without loading it."""
    return importlib.util.find_spec(package) is not None


def about(name: str) -> Reference:
    """What a reference is, and what to cite. Raises :class:`ConnectomeError` for a name that is none."""
    if name not in _REFERENCES:
        raise ConnectomeError("reference", f"must be one of {', '.join(_REFERENCES)}", repr(name))
    return _REFERENCES[name]


def load(
    name: str, *, synapses: Synapses = "chemical", cells: Cells = "neurons", weight_pa: float = 1.0,
    dt_ms: float = DEFAULT_DT_MS,
) -> Connectome:  # fmt: skip
    """A measured connectome.

    Parameters
    ----------
    name : one of :func:`names`
    synapses : ``"electrical"``: gap junctions, an edge each way. ``"both"``: these have the edge state
        ``gap_junction`` = 1, the chemical ones 0
    cells : ``"neurons"``, or ``"all"``: muscles and other cells too
    weight_pa : of one synapse, or one section
    dt_ms : delays are one step of it

    Raises :class:`ConnectomeError`, also where ``cect`` is not installed.
    """
    reference = about(name)
    for option, value, allowed in (("synapses", synapses, get_args(Synapses)), ("cells", cells, get_args(Cells))):
        if value not in allowed:
            raise ConnectomeError(option, f"must be one of {', '.join(allowed)}", repr(value))
    given = _read(reference)
    region_of = _classes(given["nodes"])
    keep = sorted(
        (cell for cell in given["nodes"] if cells == "all" or region_of[cell][1]),
        key=lambda cell: (REGIONS.index(region_of[cell][0]), cell),
    )
    place = {cell: i for i, cell in enumerate(given["nodes"])}
    chosen = np.array([place[cell] for cell in keep], np.int64)
    position = _positions()
    released = _transmitters("Male" if name.endswith("_male") else "Herm")
    regions: list[Region] = []
    start = {}
    for region in REGIONS:
        here = [cell for cell in keep if region_of[cell][0] == region]
        start[region] = sum(r.size for r in regions)
        if here:
            where = np.array([position.get(cell, (math.nan,) * 3) for cell in here])
            transmitter = Attribute.of("transmitter", [released.get(cell) for cell in here], len(here))
            attributes = {"transmitter": transmitter}
            regions.append(Region(region, len(here), position_um=where, label=np.array(here), attributes=attributes))
    kinds = [kind for kind in _MATRICES if synapses in (kind, "both")]
    count = {
        kind: np.array(given["connections"][_MATRICES[kind]], np.float64)[np.ix_(chosen, chosen)] for kind in kinds
    }
    edges = []
    for s in regions:
        for t in regions:
            block = np.ix_(range(start[s.name], start[s.name] + s.size), range(start[t.name], start[t.name] + t.size))
            source, target, weight, gap = [], [], [], []
            for kind in kinds:
                i, j = np.nonzero(count[kind][block])
                source.append(i)
                target.append(j)
                weight.append(count[kind][block][i, j] * weight_pa)
                gap.append(np.full(i.size, float(kind == "electrical")))
            edges.append(
                EdgeSet.from_arrays(
                    (s.name, kind_between(s, t), t.name), np.concatenate(source), np.concatenate(target),
                    np.concatenate(weight), n_source=s.size, n_target=t.size, dt_ms=dt_ms,
                    state={"gap_junction": np.concatenate(gap)} if synapses == "both" else None,
                )
            )  # fmt: skip
    origin = Provenance(stage_name=name, versions={"cect": _version()})
    return Connectome.of(regions, (e for e in edges if len(e)), dt_ms=dt_ms, provenance=origin)


def _read(reference: Reference) -> dict[str, Any]:
    """Names of cells and matrices of counts, row = source."""
    return _cached(reference.file, list(_MATRICES.values()))


@functools.cache  # a tenth of a second
def _transmitters(sex: str) -> Mapping[str, str]:
    """Cell -> what it releases."""
    given = _cached(f"Wang2024{sex}Reader.json")
    found: dict[str, list[str]] = {}
    for name, matrix in given["connections"].items():
        for place in np.flatnonzero(np.any(matrix, axis=1)):
            found.setdefault(given["nodes"][place], []).append(name.lower())
    return {cell: " + ".join(sorted(names)) for cell, names in found.items()}


def _cached(name: str, needed: Sequence[str] | None = None) -> dict[str, Any]:
    """Nodes and matrices of a data set of cect. Its own readers load plotting libraries and print; what they read is
    this file. Raises :class:`ConnectomeError`."""
    if not is_installed():
        raise ConnectomeError(
            "reference", "needs the package cect", "none", "Install it: pip install 'connectome-engine[references]'."
        )
    file = importlib.resources.files("cect") / "cache" / name
    try:
        given = json.loads(file.read_text("utf-8"))
        cells, matrices = given["nodes"], given["connections"]
        shapes = {np.shape(matrices[matrix]) for matrix in (matrices if needed is None else needed)}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ConnectomeError(
            str(file), "must be a data set of cect 0.3.5 or newer", error, "Install another version of cect."
        ) from None
    if len(set(cells)) != len(cells) or shapes != {(len(cells), len(cells))}:
        raise ConnectomeError(str(file), "must have a row and a column for each cell", f"{len(cells)} cells, {shapes}")
    return {"nodes": cells, "connections": matrices}


def _classes(cells: list[str]) -> dict[str, tuple[str, bool]]:
    """The region of each cell, and whether it is a neuron."""
    from cect import Cells

    males = {
        "sensory": {*Cells.MALE_HEAD_SENSORY_NEURONS, *Cells.MALE_NON_HEAD_SENSORY_NEURONS},
        "inter": {*Cells.MALE_HEAD_INTERNEURONS, *Cells.MALE_NON_HEAD_INTERNEURONS},
        "muscle": {cell for cell in cells if Cells.is_known_muscle(cell)},
    }
    found = {}
    for cell in cells:
        region = next((name for name, members in males.items() if cell in members), "")
        found[cell] = region or _CLASSES.get(Cells.get_SIM_class(cell), "other"), bool(Cells.is_any_neuron(cell))
    return found


def _positions() -> dict[str, tuple[float, ...]]:
    """Cell -> x, y, z of its body, micrometres; empty without the package that has them."""
    if not is_installed("wormneuroatlas"):
        return {}
    file = importlib.resources.files("wormneuroatlas") / "data" / "anatlas_neuron_positions.txt"
    header, *rows = file.read_text("utf-8").splitlines()
    return {
        cell: tuple(_POSITION_UNIT_UM * float(v) for v in row.split())
        for cell, row in zip(header.lstrip("#").split(), rows, strict=True)
    }


def _version() -> str:
    from importlib.metadata import version

    return version("cect")

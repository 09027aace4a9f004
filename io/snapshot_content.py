"""What a snapshot consists of, written into an open HDF5 file; :mod:`connectome.io.snapshot` says what it means.

Format 6: weights of few values as codes (:mod:`connectome.io.weight_codes`) if ``save`` is asked for them, for which
SONATA has no place; ``areas``, if there, names the area of each region. Format 5: regions with maps, and kernel
sets (:mod:`connectome.io.kernel_sets`), for which it has none either: the SONATA groups have their connections if
``save`` is asked for them. Format 4: attributes; unknown positions are nan. In earlier formats they were zeros.
Format 3: regions may have any neuron model; before, all had ``iaf_psc_exp``, with its parameters as columns of the
table. Format 2: the edges of a source are sorted by delay, then target. In format 1 they were sorted by target only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import connectome as package
from connectome.graph.connectome import Connectome, RuleRecord
from connectome.graph.kernel_set import KernelSet
from connectome.graph.parts import EdgeKey, Region
from connectome.io import attribute_columns, hdf5, kernel_sets, neuron_columns, sonata, weight_codes

__all__ = ["EDGE_KINDS", "FORMAT_VERSION", "PLAIN", "REGION_KINDS", "RULE_KINDS", "SUMMARY", "write"]

#: The format that this version writes. Raise it when a file of the new format could not be read by the old code, keep
#: reading the old ones, and archive a file of each in tests/archives.
FORMAT_VERSION: Final = 6
PLAIN: Final[Mapping[str, type]] = {"name": str, "role": str, "size": int, "birth_stage": int}
REGION_KINDS: Final = {**PLAIN, "neuron": str, "maps": str}
#: What :meth:`Connectome.to_xarray` says of an edge set.
SUMMARY: Final[Mapping[str, type]] = {
    "n_edges": int, "density": float, "mean_abs_weight_pa": float, "total_weight_pa": float, "mean_delay_ms": float,
}  # fmt: skip
#: The stride is 0 for a set of edges, and so are values where weights are no codes.
EDGE_KINDS: Final[Mapping[str, type]] = {
    "source": str, "kind": str, "target": str, **SUMMARY, "n_connections": int, "stride": int, "n_values": int,
}  # fmt: skip
RULE_KINDS: Final[Mapping[str, type]] = {
    name: str if name in ("rule", "source", "kind", "target") else int for name in RuleRecord._fields
}


def write(
    h5: Any, connectome: Connectome, circuit: Connectome, config: str, *, codebooks: bool = False,
    placed: Collection[EdgeKey] = (),
) -> None:  # fmt: skip
    """Write a snapshot into an open file. ``circuit``: what SONATA's groups have of it; ``placed``: the edge sets whose
    columns are there already (:mod:`connectome.io.mapped`)."""
    sonata.write_root(h5)
    ours = h5.require_group("development")
    ours.attrs["format_version"] = FORMAT_VERSION
    ours.attrs["version"] = f"connectome {package.__version__}"
    ours.attrs["digest"] = connectome.digest()
    ours.attrs["dt_ms"] = connectome.dt_ms
    p = connectome.provenance
    origin = {
        "seed": None if p.seed is None else int(p.seed), "stage": int(p.stage), "stage_name": p.stage_name,
        "parents": list(p.parents), "versions": dict(p.versions),
    }  # fmt: skip
    hdf5.write_text(ours, "provenance", json.dumps(origin, sort_keys=True))
    hdf5.write_text(ours, "config", config)
    log = {name: (kind, [getattr(record, name) for record in p.rule_log]) for name, kind in RULE_KINDS.items()}
    hdf5.write_table(ours, "rule_log", log)
    regions = list(connectome.regions.values())
    texts: dict[str, Callable[[Region], str]] = {
        "neuron": neuron_columns.text_of,
        "maps": lambda region: kernel_sets.maps_text(region.maps),
    }
    table: dict[str, tuple[type, list[Any]]] = {
        name: (kind, [texts[name](r) if name in texts else getattr(r, name) for r in regions])
        for name, kind in REGION_KINDS.items()
    }
    hdf5.write_table(ours, "regions", table)
    if any(r.area for r in regions):
        hdf5.write_texts(ours, "areas", [r.area for r in regions])
    summary = connectome.to_xarray()
    rows = [summary.loc[{"source": k.source, "kind": k.kind, "target": k.target}] for k in connectome.edges]
    table = {name: (str, [getattr(k, name) for k in connectome.edges]) for name in EdgeKey._fields}
    table |= {name: (kind, [row[name].item() for row in rows]) for name, kind in SUMMARY.items()}
    table["n_connections"] = (int, [e.n_connections for e in connectome.edges.values()])
    table["stride"] = (int, [e.stride if isinstance(e, KernelSet) else 0 for e in connectome.edges.values()])
    books = weight_codes.codebooks(connectome) if codebooks else {}
    table["n_values"] = (int, [len(books[key].values) if key in books else 0 for key in connectome.edges])
    hdf5.write_table(ours, "edge_sets", table)
    attribute_columns.write(ours, connectome)
    for number, region in enumerate(regions):
        sonata.write_nodes(h5, region, number)
        about = ours.require_group(f"nodes/{region.name}")
        hdf5.write_column(about, "sign", region.sign)
        if region.label is not None:
            hdf5.write_texts(about, "label", region.label.tolist())
        if region.state:
            kept = about.create_group("state")
            for name, values in region.state.items():
                hdf5.write_column(kept, name, values)
        for name, parameter in region.neuron.arrays().items():
            hdf5.write_column(about.require_group("neuron"), name, parameter, shrink=False)
    for number, edges in enumerate(circuit.edges.values()):
        if edges.key not in placed:
            sonata.write_edges(h5, edges, number, weights=edges.key not in books)
        sonata.write_edge_type(h5, edges, number)
    for edges in connectome.edges.values():
        if edges.key in placed:
            continue
        group = ours.require_group(f"edges/{sonata.population(edges.key)}")
        hdf5.write_column(group, "birth_stage", edges.birth_stage)
        state = group.create_group("state")
        for name, kept in edges.state.items():
            hdf5.write_column(state, name, kept)
        if isinstance(edges, KernelSet):
            kernel_sets.write(group, edges)
        elif edges.key in books:
            weight_codes.write(group, books[edges.key])

"""A snapshot as NEST runs it on many machines: a thin folder beside it, in which no edge is copied.

``nodes.h5``, ``sensors.h5`` and ``edges.h5`` are links to the snapshot. ``run.py`` builds and runs the network in NEST:
under MPI each rank reads the edges, a million at a time, and keeps those into its own neurons. ``config.json``, with
tables of types and files of parameters, is the same network for bmtk's PointNet and for ``nest.SonataNetwork``; it is
left out where they cannot run it, and ``run.py`` says why. No edge is read here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import h5py
import numpy as np
from numpy.typing import ArrayLike

from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.parts import EdgeKey
from connectome.io import hdf5
from connectome.io.files import write_lines, writing
from connectome.io.scripts import SIMULATORS, as_json, checked_drive, region_values, write_parts
from connectome.io.snapshot import Snapshot, open_snapshot
from connectome.io.sonata import FIRST_TYPE_ID, population, write_marks
from connectome.io.spikes import save_spikes

if TYPE_CHECKING:
    import xarray as xr

    from connectome.simulate.plastic import AnyRule
    from connectome.simulate.stimulus import Stimulus

__all__ = ["synapse", "write_folder"]

Table = dict[str, Any]
_ABOUT: Final = SIMULATORS["nest"]._replace(
    needs="NEST 3.10 or later and h5py (pip install nest-simulator h5py)",
    imports="import argparse\nimport csv\nfrom pathlib import Path\n\n"
    "import h5py  # before NEST, which may bring another HDF5 library\nimport nest\nimport numpy as np",
)  # fmt: skip
_COLUMNS: Final = "pop_name model_type model_template dynamics_params"
_CODE: Final = ("nest_links", "nest_script", "shared")


def write_folder(
    snapshot: str | os.PathLike[str], folder: str | os.PathLike[str], stimulus: Stimulus | None = None, *,
    duration_ms: float = 1000.0, seed: int = 0, initial_v_mv: Mapping[str, ArrayLike] = MappingProxyType({}),
    plasticity: Mapping[EdgeKey, AnyRule] = MappingProxyType({}),
) -> None:  # fmt: skip
    """Write the folder of a snapshot; files of an earlier one are replaced. It must stay where it is, seen from the
    snapshot, or both must move.

    ``stimulus``, ``duration_ms``, ``seed``, ``initial_v_mv`` and ``plasticity`` are those of
    :func:`connectome.simulate.run`. Sensors fire exactly as they do there; Poisson events of neurons are drawn by NEST,
    with other numbers. Raises :class:`ConnectomeError` for what ``run`` refuses, for currents that change in time, and
    for a model, or a rule of plasticity, that NEST does not have.
    """
    place, out = Path(snapshot), Path(folder)
    found = open_snapshot(place)
    regions = [found.region(name) for name in found.regions]
    bare = Connectome.of(regions, dt_ms=found.dt_ms, provenance=found.provenance)
    edges = _edges(found)
    stimulus, fired = _fired(bare, stimulus, duration_ms, seed)
    data: Table = {}
    drive, v_mv = checked_drive(bare, stimulus, duration_ms, seed, initial_v_mv, data)
    synapses, cells = _plastic(plasticity, edges, bare)
    values = {r.name: region_values(r, _ABOUT, v_mv.get(r.name), data) for r in regions if r.size}
    for name, more in cells.items():
        values[name]["parameters"] |= more
    listed = [
        {"source_region": key.source, "target_region": key.target, "edges": n, "population": population(key)}
        | ({"synapse": synapses[key]} if key in synapses else {})
        for key, n in edges.items()
    ]  # fmt: skip
    why = _why_no_config(values, drive)
    taught = [str(key) for key in synapses if bare.regions[key.source].role == "sensor"]
    said = [
        f"Needs {_ABOUT.needs} and, beside it, edges.h5, which is links to {os.path.relpath(place, out)}, and "
        "run.npz. With a NEST that has MPI: mpirun -n RANKS python run.py --out spikes.h5.",
        f"There is no config.json for bmtk and nest.SonataNetwork: {why}." if why else
        "config.json is the same network for bmtk's PointNet and for nest.SonataNetwork; run it in this folder.",
        *(f"Not by PointNet: {key} learns, and its sensors are devices, whose edges cannot." for key in taught[:1]),
    ]  # fmt: skip
    try:
        hdf5.make_folder(out)
    except OSError as error:
        raise ConnectomeError(str(out), "must be a folder that can be written", error.strerror or error) from None
    _link(place, out / "nodes.h5", "nodes", [r.name for r in regions if r.size and r.role != "sensor"])
    _link(place, out / "edges.h5", "edges", [population(key) for key in edges])
    if fired:
        _link(place, out / "sensors.h5", "nodes", [r.name for r in regions if r.size and r.role == "sensor"])
        for name, spikes in fired.items():  # a file each: bmtk looks no further than the first population of one
            save_spikes(spikes, out / f"inputs_{name}.h5", overwrite=True)
    if why:
        (out / "config.json").unlink(missing_ok=True)
    else:
        _write_config(
            out, found.regions, values, data | drive | {"DT_MS": found.dt_ms}, list(found.edges), edges, synapses
        )
    n_edges = sum(edges.values())
    values_of = {"REGIONS": values, "EDGES": listed, **drive}
    write_parts(bare, out / "run.py", _ABOUT, n_edges, values_of, data, said, _CODE)


def _edges(found: Snapshot) -> dict[EdgeKey, int]:
    """The edge sets that have edges, and how many. Raises :class:`ConnectomeError` for kernel sets without them."""
    number = found.region_connectivity().n_connections
    sizes = {k: int(number.loc[{"source": k.source, "kind": k.kind, "target": k.target}]) for k in found.edges}
    with hdf5.reading(found.path) as reader:
        for key, n in sizes.items():
            if n and not reader.has("edges", population(key)):
                raise ConnectomeError(
                    f"edges[{key}]", "must be edges, not a kernel set", found.path.name,
                    "Write a file that has them: python -m sims.export FILE --connections --out OTHER.h5.",
                )  # fmt: skip
    return {key: n for key, n in sizes.items() if n}


def _fired(
    bare: Connectome, stimulus: Stimulus | None, duration_ms: float, seed: int
) -> tuple[Stimulus, dict[str, xr.Dataset]]:  # fmt: skip
    """The stimulus with what sensors fire in place of their rates, and what each fires as a run's result."""
    from connectome.simulate.runs import run
    from connectome.simulate.stimulus import Stimulus

    given = stimulus or Stimulus()
    sensors = [r.name for r in bare.regions.values() if r.role == "sensor" and r.size]
    if not sensors:
        return given, {}
    rates = {name: drive for name, drive in given.poisson.items() if name in sensors}
    found = run(bare, duration_ms, Stimulus(given.spikes, poisson=rates), seed=seed, recruit=sensors)
    fired = {}
    for at, name in enumerate(found.region.values.tolist()):
        mine = found.isel(spike=found.spike_region.values == at, region=[at])
        fired[name] = mine.assign(spike_region=mine.spike_region * 0)
    spikes = {
        name: (mine.spike_time_ms.values, mine.spike_neuron.values)
        for name, mine in fired.items()
        if mine.sizes["spike"]
    }
    rest = {name: drive for name, drive in given.poisson.items() if name not in sensors}
    return replace(given, spikes=spikes, poisson=rest), fired


def synapse(key: EdgeKey, rule: AnyRule) -> tuple[Table, Table]:
    """A rule as NEST has it: its synapse model with parameters, and the parameters of the target's neurons.

    Raises :class:`ConnectomeError` for a rule that NEST does not have.
    """
    from connectome.simulate.stdp import PairSTDP, TripletSTDP

    def need(name: str, *only: Any) -> None:
        value = getattr(rule, name)
        if value not in only:
            wanted = " or ".join(map(str, only))
            raise ConnectomeError(f"plasticity[{key}].{name}", f"must be {wanted} for NEST", repr(value)[:80])

    if not isinstance(rule, (PairSTDP, TripletSTDP)):
        raise ConnectomeError(
            f"plasticity[{key}]", "must be a rule that NEST has: PairSTDP, TripletSTDP", type(rule).__name__
        )
    need("delay", "dendritic")
    need("simultaneous", "none")
    if 0 not in (rule.w_min_pa, rule.w_max_pa) or rule.side < 0:
        raise ConnectomeError(f"plasticity[{key}].w_min_pa", "must be 0 for NEST", f"{rule.w_min_pa:g}")
    if isinstance(rule, TripletSTDP):
        need("pairing", "all")
        return {
            "synapse_model": "stdp_triplet_synapse", "tau_plus": rule.tau_plus_ms, "tau_plus_triplet": rule.tau_x_ms,
            "Aplus": rule.a2_plus_pa, "Aplus_triplet": rule.a3_plus_pa, "Aminus": rule.a2_minus_pa,
            "Aminus_triplet": rule.a3_minus_pa, "Wmax": rule.w_max_pa,
        }, {"tau_minus": rule.tau_minus_ms, "tau_minus_triplet": rule.tau_y_ms}  # fmt: skip
    need("eligibility_tau_ms", None)
    if rule.a_plus_pa <= 0:
        raise ConnectomeError(f"plasticity[{key}].a_plus_pa", "must be > 0 for NEST", rule.a_plus_pa)
    power = 1.0 if rule.dependence == "multiplicative" else 0.0
    return {
        "synapse_model": "stdp_synapse", "tau_plus": rule.tau_plus_ms, "lambda": rule.a_plus_pa / rule.w_max_pa,
        "alpha": rule.a_minus_pa / rule.a_plus_pa, "mu_plus": power, "mu_minus": power, "Wmax": rule.w_max_pa,
    }, {"tau_minus": rule.tau_minus_ms}  # fmt: skip


def _plastic(
    plasticity: Mapping[EdgeKey, AnyRule], edges: Mapping[EdgeKey, int], bare: Connectome
) -> tuple[dict[EdgeKey, Table], dict[str, Table]]:
    """Synapses by edge set, and what neurons keep for them, by region."""
    synapses: dict[EdgeKey, Table] = {}
    cells: dict[str, Table] = {}
    for key, rule in plasticity.items():
        if key not in edges:
            raise ConnectomeError("plasticity", f"must name edge sets with edges, of {list(map(str, edges))}", str(key))
        synapses[key], kept = synapse(key, rule)
        for name, value in kept.items():
            other = cells.setdefault(key.target, {}).setdefault(name, value)
            if other != value:
                raise ConnectomeError(
                    f"plasticity[{key}].{name}_ms", f"must be one for all rules into {key.target}, as NEST's neurons "
                    "have it", f"{value:g} and {other:g}",
                )  # fmt: skip
    return synapses, cells


def _why_no_config(values: Mapping[str, Table], drive: Table) -> str:
    if drive["POISSON"]:
        return f"they have no Poisson drive of neurons, such as that of {next(iter(drive['POISSON']))}"
    adaptive = [name for name, r in values.items() if r.get("model") == "gif_psc_exp"]
    return f"gif_psc_exp of {adaptive[0]} wants delays a step longer than the snapshot's" if adaptive else ""


def _link(place: Path, file: Path, part: str, names: list[str]) -> None:
    """A SONATA file whose populations are links to those of the snapshot."""
    with writing(file) as sink, hdf5.create(sink) as h5:
        write_marks(h5)  # bmtk takes an empty group for one whose types are missing
        for name in names:
            columns = [f"{part}/{name}"]
            if part == "nodes":  # without texts, which bmtk reads as bytes: tables of types have them
                h5.create_group(f"nodes/{name}/0")
                columns = [f"nodes/{name}/node_{column}" for column in ("id", "type_id", "group_id", "group_index")]
            for column in columns:
                h5[column] = h5py.ExternalLink(os.path.relpath(place, file.parent), f"/{column}")


def _write_config(
    out: Path, names: Mapping[str, int], values: Mapping[str, Table], data: Table, keys: list[EdgeKey],
    edges: Mapping[EdgeKey, int], synapses: Mapping[EdgeKey, Table],
) -> None:  # fmt: skip
    """The configuration, the tables of types and the files of parameters that it names."""
    hdf5.make_folder(out / "models")
    types: dict[str, list[str]] = {name: [f"node_type_id {_COLUMNS}"] for name in ("nodes", "sensors")}
    for number, name in enumerate(names, FIRST_TYPE_ID):
        r = values.get(name)
        if r is None:
            continue
        if r["role"] == "sensor":
            types["sensors"].append(f"{number} {name} virtual virtual NULL")
            continue
        start = {f"{key.upper()}_m": value for key, value in r["start"].items()}
        given = {key: as_json(value, data) for key, value in (r["parameters"] | start).items()}
        current = np.add(given["I_e"], as_json(data["CURRENT_PA"].get(name, 0.0), data))
        write_lines(out / "models" / f"{name}.json", [json.dumps(given | {"I_e": current.tolist()})])
        types["nodes"].append(f"{number} {name} point_neuron nest:{r['model']} {name}.json")
    rows = [f"edge_type_id {_COLUMNS}".replace("model_type ", "")]
    for number, key in enumerate(keys, FIRST_TYPE_ID):
        if key in edges:
            more = dict(synapses.get(key, {"synapse_model": "static_synapse"}))
            rows.append(f"{number} {population(key)} {more.pop('synapse_model')} synapse{number}.json")
            write_lines(out / "models" / f"synapse{number}.json", [json.dumps(more)])
    sensors = [name for name, r in values.items() if r["role"] == "sensor"]
    circuit = ["nodes", "sensors"] if sensors else ["nodes"]
    for name in circuit:
        write_lines(out / f"{name[:-1]}_types.csv", types[name])
    write_lines(out / "edge_types.csv", rows)
    here = "$BASE_DIR"
    config = {
        "manifest": {here: "."}, "target_simulator": "NEST",
        # Devices hear of the last step two steps later. Spikes are on the grid.
        "run": {
            "tstop": data["DURATION_MS"] + 2 * data["DT_MS"], "dt": data["DT_MS"], "precise_times": False,
            "overwrite_output_dir": True,
        },
        "components": {"point_neuron_models_dir": f"{here}/models", "synaptic_models_dir": f"{here}/models"},
        "inputs": {
            n: {"input_type": "spikes", "module": "sonata", "input_file": f"{here}/inputs_{n}.h5", "node_set": n}
            for n in sensors
        },
        "output": {"output_dir": f"{here}/output", "spikes_file": "spikes.h5", "log_file": "log.txt"},
        "networks": {
            "nodes": [
                {"nodes_file": f"{here}/{name}.h5", "node_types_file": f"{here}/{name[:-1]}_types.csv"}
                for name in circuit
            ],
            "edges": [{"edges_file": f"{here}/edges.h5", "edge_types_file": f"{here}/edge_types.csv"}],
        },
    }  # fmt: skip
    write_lines(out / "config.json", [json.dumps(config, indent=2)])

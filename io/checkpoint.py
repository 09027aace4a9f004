"""Checkpoints: the state of a development, from which an interrupted run resumes to the same bytes.

``RUN/checkpoints/00000007.h5`` is the seventh of a run. It appears whole or not at all, its digest tells whether it is
unchanged, and the one before it is kept in case it is not. It holds a text, ``checkpoint/text`` (JSON: every number,
name and random state), and in ``columns`` the arrays, which the text refers to by number. A run's first checkpoint,
number 0, is written before anything else and has no state yet: it says what the run is. The connectomes of finished
stages are in their snapshots.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from connectome.arrays import is_constant
from connectome.development.stage import Progress, StageOutcome, StageState
from connectome.errors import ConnectomeError
from connectome.graph.attributes import Attribute
from connectome.graph.connectome import Connectome, Provenance, RuleRecord
from connectome.graph.flat import Engine
from connectome.graph.kernel_set import KERNEL_COLUMNS, KernelSet
from connectome.graph.maps import Maps
from connectome.graph.parts import EdgeKey, EdgeSet, Region
from connectome.io import hdf5, snapshot
from connectome.io.seal import check_files
from connectome.learning.task import Score
from connectome.neurons.model import NeuronModel, from_table, to_table
from connectome.rules import Link

__all__ = [
    "FOLDER", "Checkpoint", "has_checkpoint", "load_checkpoint", "remove_checkpoints", "save_checkpoint", "stage_file",
]  # fmt: skip

FOLDER: Final = "checkpoints"
#: A checkpoint is for the version that wrote it, so nothing else is read.
FORMAT_VERSION: Final = 5
_KINDS: Final = {
    "number": int, "seed": int, "engine": str, "configuration": str, "versions": dict, "files": dict,
}  # fmt: skip
_COLUMNS: Final = ("indptr", "indices", "weight", "delay_steps", "birth_stage")
_NAME: Final = re.compile(r"\d{8,}\.h5")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Where a run stands.

    Parameters
    ----------
    number : counts a run's checkpoints, from 0
    regions, seed, engine, configuration : what the run is; the configuration as TOML
    versions : of what its bytes depend on
    machines : the machines it has run on
    state : state of the current stage; None before the first
    history : the epochs so far
    outcomes : outcomes of the stages so far; their connectomes must be in the run's snapshots
    files : the files that the run has finished, and their digests (:mod:`connectome.io.seal`)
    """

    number: int
    regions: tuple[str, ...]
    seed: int
    engine: Engine
    configuration: str
    versions: Mapping[str, str]
    machines: tuple[str, ...]
    state: StageState | None = None
    history: tuple[Progress, ...] = ()
    outcomes: tuple[StageOutcome, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)


def stage_file(stage: int, name: str) -> str:
    """The name of a stage's snapshot."""
    return f"{stage:02d}_{name}.h5"


def has_checkpoint(run: Path) -> bool:
    """Whether a run has a checkpoint to resume from."""
    return bool(_files(run))


def save_checkpoint(checkpoint: Checkpoint, run: Path) -> None:
    """Write the next checkpoint of a run: whole, or not at all. Of the earlier ones, only the last is kept. Raises
    :class:`ConnectomeError` if it cannot be written; the earlier ones are then unchanged."""
    columns: list[NDArray[Any]] = []
    packed = _packed(checkpoint, columns)
    text = json.dumps({"checkpoint": packed, "columns": [[c.dtype.str, c.shape] for c in columns]})
    path = run / FOLDER / f"{checkpoint.number:08d}.h5"
    try:
        hdf5.make_folder(path.parent)
        with hdf5.atomic(path) as sink, hdf5.create(sink) as h5:
            ours = h5.create_group("checkpoint")
            ours.attrs["format_version"] = FORMAT_VERSION
            ours.attrs["digest"] = _digest(text, columns)
            hdf5.write_text(ours, "text", text)
            for number, column in enumerate(columns):
                hdf5.write_column(h5, f"columns/{number}", column, shrink=is_constant(column))
        for number, other in _files(run).items():
            if number not in (checkpoint.number, checkpoint.number - 1):
                other.unlink()
    except OSError as error:
        raise ConnectomeError(str(path), "must be writable", error.strerror or error) from error


def load_checkpoint(run: Path) -> tuple[Checkpoint, list[str]]:
    """The last intact checkpoint of a run, and what is wrong with later ones. Raises :class:`ConnectomeError` if there
    is none, or if a file that the run has finished was changed."""
    files = _files(run)
    damage: list[str] = []
    for path in reversed(files.values()):
        try:
            return _load(path, run), damage
        except _Damaged as error:
            damage.append(str(error))
    raise ConnectomeError(
        str(run), "must have a checkpoint to go on from", "; ".join(damage) or "none", "Start the run again."
    )


def remove_checkpoints(run: Path) -> None:
    """Remove all of a run's checkpoints, the last one first: what is left of them at any time is true. Raises
    :class:`OSError`."""
    for path in reversed(_files(run).values()):
        path.unlink()
    with suppress(OSError):  # none, or there are others' files in it
        (run / FOLDER).rmdir()


class _Damaged(ConnectomeError):
    """A checkpoint that was changed after it was written."""


def _files(run: Path) -> dict[int, Path]:
    """A run's checkpoints by number, in order."""
    folder = run / FOLDER
    found = [p for p in folder.iterdir() if _NAME.fullmatch(p.name) and p.is_file()] if folder.is_dir() else []
    return {int(p.stem): p for p in sorted(found, key=lambda p: int(p.stem))}


def _load(path: Path, run: Path) -> Checkpoint:
    try:
        with hdf5.reading(path) as reader:
            version = reader.attribute("checkpoint", "format_version", int)
            if version != FORMAT_VERSION:
                raise ConnectomeError("format", f"must be {FORMAT_VERSION}", version)
            text = reader.text("checkpoint", "text")
            stored = json.loads(text)
            columns = []
            for number, (kind, shape) in enumerate(stored["columns"]):
                reader.backs(int(np.prod(shape, dtype=object)))  # a column of one value has no bytes of its own
                columns.append(reader.column("columns", str(number), dtype=np.dtype(kind), shape=tuple(shape)))
            digest = reader.attribute("checkpoint", "digest", str)
            if _digest(text, columns) != digest:
                raise ConnectomeError("/checkpoint@digest", "must be the digest of the content", digest)
            given = stored["checkpoint"]
            read = Checkpoint(
                **given | {
                    "regions": tuple(given["regions"]), "machines": tuple(given["machines"]), "outcomes": (),
                    "state": _state(given["state"], columns),
                    "history": tuple(Progress(*epoch) for epoch in given["history"]),
                }
            )  # fmt: skip
            if not all(isinstance(getattr(read, name), kind) for name, kind in _KINDS.items()):
                raise ConnectomeError("/checkpoint/text", f"must have {', '.join(_KINDS)} of their types", "others")
            if not all(isinstance(digest, str) for digest in read.files.values()):
                raise ConnectomeError("/checkpoint/text", "must have digests of files", "others")
            outcomes = [_outcome(o) for o in given["outcomes"]]
            files = [run / stage_file(n, name) for n, name in enumerate(read.regions[: len(outcomes)], 1)]
            if len(files) < len(outcomes):
                raise ConnectomeError("/checkpoint/text", "must have an outcome for a region", len(outcomes))
    except ConnectomeError as error:
        raise _Damaged(error.field, error.rule, error.found) from None
    except AttributeError as error:  # what should be a mapping is none
        raise _Damaged(str(path), "must be as it was written", error) from None
    check_files(run, read.files)
    return replace(read, outcomes=tuple(finish(file) for finish, file in zip(outcomes, files, strict=True)))


def _digest(text: str, columns: list[NDArray[Any]]) -> str:
    sha = hashlib.sha256(text.encode())
    for column in columns:
        sha.update(np.ascontiguousarray(column[:1] if is_constant(column) else column).data)
    return sha.hexdigest()


def _packed(value: Any, columns: list[NDArray[Any]]) -> Any:
    """As JSON has it. Arrays go to ``columns``, and are their place there; a mapping by edge sets is a list of pairs; a
    connectome that is a snapshot is its digest."""

    def packed(value: Any) -> Any:
        return _packed(value, columns)

    if isinstance(value, np.ndarray) and value.dtype.kind == "U":
        return value.tolist()
    if isinstance(value, np.ndarray):
        columns.append(value)
        return len(columns) - 1
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.random.Generator):
        seed: Any = value.bit_generator.seed_seq  # counts the generators made of this one
        return {"seed": packed(seed.state), "state": packed(value.bit_generator.state)}
    if isinstance(value, StageOutcome):
        rest = {f.name: packed(getattr(value, f.name)) for f in fields(value) if f.name != "connectome"}
        return rest | {"digest": value.connectome.digest()}
    if isinstance(value, NeuronModel):
        return to_table(value)
    if is_dataclass(value):
        return {f.name: packed(getattr(value, f.name)) for f in fields(value) if f.init}
    if isinstance(value, Mapping):
        if any(isinstance(key, EdgeKey) for key in value):
            return [[key, packed(item)] for key, item in value.items()]
        return {key: packed(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [packed(item) for item in value]
    return value


def _state(given: Any, columns: list[NDArray[Any]]) -> StageState | None:
    if given is None:
        return None
    connectome = given["connectome"]
    regions = [
        Region(
            **region | {
                "neuron": from_table(region["neuron"], "neuron"), "position_um": columns[region["position_um"]],
                "sign": columns[region["sign"]],
                "state": {name: columns[at] for name, at in region["state"].items()},
                "attributes": _attributes(region["attributes"], columns),
                "maps": None if region["maps"] is None else Maps(**region["maps"]),
            }
        )
        for region in connectome["regions"].values()
    ]  # fmt: skip
    edges = [_edge_set(EdgeKey(*key), edge_set, columns) for key, edge_set in connectome["edges"]]
    origin = connectome["provenance"]
    log = tuple(RuleRecord(*record) for record in origin["rule_log"])
    provenance = Provenance(**origin | {"parents": tuple(origin["parents"]), "rule_log": log})
    return StageState(
        **given | {
            "connectome": Connectome.of(regions, edges, dt_ms=connectome["dt_ms"], provenance=provenance),
            "links": tuple(Link(*link) for link in given["links"]),
            "score": Score(*given["score"]),
            "scale": {EdgeKey(*key): scale for key, scale in given["scale"]},
            "random": {name: _generator(random) for name, random in given["random"].items()},
            "mean_rate": {name: columns[at] for name, at in given["mean_rate"].items()},
            "rate": {name: columns[at] for name, at in given["rate"].items()},
        }
    )  # fmt: skip


def _edge_set(key: EdgeKey, given: dict[str, Any], columns: list[NDArray[Any]]) -> EdgeSet:
    kind = KernelSet if "stride" in given else EdgeSet
    names = {*_COLUMNS, *KERNEL_COLUMNS} & given.keys()
    return kind(
        **given | {"key": key, "state": {k: columns[v] for k, v in given["state"].items()}}
        | {"attributes": _attributes(given["attributes"], columns)}
        | {name: columns[given[name]] for name in names}
        | {name: Maps(**given[name]) for name in ("source_maps", "target_maps") if name in given}
    )  # fmt: skip


def _attributes(given: Any, columns: list[NDArray[Any]]) -> dict[str, Attribute]:
    return {
        name: Attribute(columns[a["values"]], None if a["names"] is None else tuple(a["names"]), a["is_flag"])
        for name, a in given.items()
    }


def _generator(given: Any) -> np.random.Generator:
    generator = np.random.PCG64(np.random.SeedSequence(**given["seed"]))
    generator.state = given["state"]
    return np.random.Generator(generator)


def _outcome(given: Any) -> Callable[[Path], StageOutcome]:
    """What is known of a stage, to be made whole by its snapshot."""
    scores, everyone = (
        {name: Score(*score) for name, score in given[which].items()} for which in ("scores", "scores_all_recruited")
    )
    links, peak, digest = tuple(Link(*link) for link in given["links"]), given["peak_local_edges"], given["digest"]

    def finish(path: Path) -> StageOutcome:
        connectome = snapshot.load(path)
        if connectome.digest() != digest:
            raise ConnectomeError(
                str(path), "must be as the run wrote it", "another digest", "Start the run again, in another folder."
            )
        return StageOutcome(connectome, scores, everyone, links, peak, given["diagnostics"])

    return finish

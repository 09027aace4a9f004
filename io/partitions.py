"""A graph as a folder of parquet tables, one for each edge set: what is larger than memory is written, and queried
(:mod:`connectome.io.queries`), block by block.

    graph/neurons.parquet
    graph/edges/source_region=a/kind=local/target_region=b/edges.parquet

The folders' names are columns to DuckDB, Arrow, polars and Spark ("Hive partitioning"); all else is as
:func:`~connectome.io.edge_tables.write_parquet` writes it: ``source`` and ``target`` count from 0 in their regions, as
``index`` does in the table of neurons.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from connectome.arrays import row_blocks
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.parts import EdgeSet
from connectome.graph.tables import STATE, header_of
from connectome.graph.views import to_pandas
from connectome.io.parquet_files import ABOUT, pyarrow_parquet

__all__ = ["EDGES", "FILES", "NEURONS", "is_partitions", "refuse_no_partitions", "refuse_place", "write_partitions"]

NEURONS: Final = "neurons.parquet"
EDGES: Final = "edges"
#: The tables of edges, within a folder.
FILES: Final = f"{EDGES}/*/*/*/*.parquet"


def is_partitions(path: str | os.PathLike[str]) -> bool:
    """Whether a folder is one that :func:`write_partitions` writes."""
    return (Path(path) / NEURONS).is_file() and (Path(path) / EDGES).is_dir()


def refuse_no_partitions(path: str | os.PathLike[str]) -> None:
    """Refuse what is no such folder. Raises :class:`ConnectomeError`."""
    if not is_partitions(path):
        raise ConnectomeError(
            os.fspath(path), f"must be a folder of tables, with {NEURONS} and {EDGES}", "none",
            "python -m sims.export PATH --format parquet --out FOLDER writes one.",
        )  # fmt: skip


def refuse_place(path: Path, *, overwrite: bool) -> None:
    """Refuse a path that is taken, with ``overwrite`` by anything but such a folder. Raises
    :class:`ConnectomeError`."""
    if os.path.lexists(path) and not (overwrite and is_partitions(path)):
        raise ConnectomeError(
            str(path), "must not exist already, or be a folder of tables to overwrite", "it does",
            "Choose another name.",
        )  # fmt: skip


def write_partitions(connectome: Connectome, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a folder, whole or not at all; kernel sets as their connections. Of a snapshot that is mapped
    (:func:`connectome.io.snapshot.load`), a block of edges is in memory at a time. Raises :class:`ConnectomeError`, for
    a path that is taken too: with ``overwrite`` by anything but such a folder."""
    arrow, parquet = pyarrow_parquet()
    connectome = connectome.expanded()
    nodes, _ = to_pandas(replace(connectome, edges={}))
    about = {ABOUT: json.dumps(header_of(connectome), sort_keys=True).encode()}
    nodes.attrs.clear()
    table = arrow.Table.from_pandas(nodes, preserve_index=False)
    with _new_folder(Path(path), overwrite) as folder:
        with _synced(folder / NEURONS) as file:
            parquet.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), **about}), file)
        (folder / EDGES).mkdir()
        for key, edges in connectome.edges.items():
            if not len(edges):
                continue  # the metadata name it
            names = (f"source_region={key.source}", f"kind={key.kind}", f"target_region={key.target}")
            inside = folder.joinpath(EDGES, *names)
            inside.mkdir(parents=True)
            with _synced(inside / "edges.parquet") as file:
                _write_edges(arrow, parquet, edges, file)


def _write_edges(arrow: Any, parquet: Any, edges: EdgeSet, file: Any) -> None:
    writer = None
    for rows, block in row_blocks(edges.indptr):
        some = np.arange(block.start, block.stop)
        degree = np.diff(edges.indptr[rows.start : rows.stop + 1])
        columns = {
            "source": np.repeat(np.arange(rows.start, rows.stop, dtype=np.int32), degree),
            "target": edges.indices[block].astype(np.int32),
            "weight_pa": edges.weight[block],
            "delay_ms": edges.delay_steps[block] * edges.dt_ms,
            "birth_stage": edges.birth_stage[block],
            **{STATE + name: values[block] for name, values in edges.state.items()},
            **{name: attribute.take(some).to_pandas() for name, attribute in edges.attributes.items()},
        }
        arrays = [arrow.array(column, from_pandas=True) for column in columns.values()]
        plain = [a.cast(arrow.string()) if arrow.types.is_dictionary(a.type) else a for a in arrays]
        table = arrow.table(plain, list(columns))
        if writer is None:
            coded = [name for name in columns if name not in ("source", "target", "weight_pa")]
            writer = parquet.ParquetWriter(file, table.schema, compression="zstd", use_dictionary=coded)
        writer.write_table(table)
    if writer is not None:
        writer.close()


@contextmanager
def _synced(path: Path) -> Iterator[Any]:
    with open(path, "xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _new_folder(path: Path, overwrite: bool) -> Iterator[Path]:
    """A folder to fill in the block, which then has this path. Raises :class:`ConnectomeError`."""
    refuse_place(path, overwrite=overwrite)
    folder = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    earlier = folder.with_suffix(".old")
    try:
        folder.mkdir()
        yield folder
        if path.exists():
            path.rename(earlier)
        folder.rename(path)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise ConnectomeError(str(path), "must be writable", error.strerror or error) from None
        raise
    shutil.rmtree(earlier, ignore_errors=True)

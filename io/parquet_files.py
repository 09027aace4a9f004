"""Columns of a parquet table, read without trust. Needs ``pyarrow``, an optional package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from connectome.errors import ConnectomeError
from connectome.graph.attributes import Attribute, attribute_name
from connectome.graph.tables import STATE
from connectome.io.delimited import Column, Columns, Texts, normal
from connectome.io.files import read_bytes

__all__ = ["ABOUT", "columns_of", "pyarrow_parquet", "read_columns", "read_table"]

#: What a table may claim once it is in memory: this, or as many times its size on disk.
_LARGEST: Final = 1 << 31
_MOST_TIMES: Final = 32
#: The key of our metadata.
ABOUT: Final = b"connectome"


def pyarrow_parquet() -> tuple[Any, Any]:
    """pyarrow and its parquet module. Raises :class:`ConnectomeError` where it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ConnectomeError(
            "parquet", "needs the package pyarrow", "none", "Install it: pip install 'connectome-engine[exchange]'."
        ) from None
    return pyarrow, pyarrow.parquet


def read_columns(path: Path, wanted: Mapping[str, Column], words: frozenset[str]) -> tuple[Columns, dict[str, Any]]:
    """The wanted columns, the others as attributes, and the file's metadata."""
    return columns_of(str(path), read_table(path), wanted, words)


def read_table(path: Path) -> Any:
    """A table of Arrow's. Raises :class:`ConnectomeError`."""
    arrow, parquet = pyarrow_parquet()
    data = read_bytes(path, 1 << 33)
    try:
        file = parquet.ParquetFile(arrow.BufferReader(data), page_checksum_verification=True)
        size = file.metadata.num_rows
        if size * 8 * len(file.schema_arrow.names) > max(_LARGEST, _MOST_TIMES * len(data)):
            rule = f"must be at most {_MOST_TIMES} times larger in memory"
            raise ConnectomeError(str(path), rule, f"{size:,} rows")
        return file.read()
    except arrow.ArrowException as error:
        raise ConnectomeError(str(path), "must be a parquet table", str(error).splitlines()[0][:200]) from None


def columns_of(
    where: str, table: Any, wanted: Mapping[str, Column], words: frozenset[str]
) -> tuple[Columns, dict[str, Any]]:
    """The wanted columns of a table of Arrow's, the others as attributes, and its metadata. ``where``: for messages."""
    arrow, _ = pyarrow_parquet()
    try:
        size, schema = table.num_rows, table.schema
        given = [normal(name) for name in schema.names]
        chosen = {}
        for name, column in wanted.items():
            known = next((k for k in (name, *column.aliases) if k in given), None)
            if known is not None:
                chosen[name] = given.index(known)
        chosen |= {name: at for at, name in enumerate(schema.names) if name.startswith(STATE)}
        if len(set(schema.names)) < len(schema.names):
            raise ConnectomeError(where, "must name each column once", schema.names)
        others = [at for at in range(len(given)) if at not in chosen.values()]
        about = json.loads((schema.metadata or {}).get(ABOUT, b"{}"))
        texts, numbers = {}, {}
        for name, at in chosen.items():
            values, title = table[schema.names[at]], schema.names[at]
            if wanted.get(name, Column(is_number=True)).is_number:
                numbers[name] = values.cast(arrow.float64()).to_numpy()
                bad = ~np.isfinite(numbers[name])
                if name in wanted and bad.any() and not wanted[name].may_lack:
                    row = int(np.argmax(bad))
                    raise ConnectomeError(f"{where}: row {row}, {title}", "must be a finite number", numbers[name][row])
                continue
            is_dictionary = arrow.types.is_dictionary(values.type)
            plain = values.cast(values.type.value_type) if is_dictionary else values
            coded = plain.cast(arrow.string()).combine_chunks().dictionary_encode()
            coded = coded.combine_chunks() if isinstance(coded, arrow.ChunkedArray) else coded
            code = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
            texts[name] = Texts(code, [str(v) for v in coded.dictionary.to_pylist()])
        attributes: dict[str, Attribute] = {}
        for at in others:
            attribute = _attribute(f"{where}: {schema.names[at]}", table[schema.names[at]], arrow)
            if attribute is not None and not attribute.is_missing.all():
                attributes[attribute_name(schema.names[at], words, attributes)] = attribute
    except arrow.ArrowException as error:
        raise ConnectomeError(where, "must be a parquet table", str(error).splitlines()[0][:200]) from None
    if not isinstance(about, dict):
        raise ConnectomeError(where, "must have metadata that are a JSON object", type(about).__name__)
    titles = {name: schema.names[at] for name, at in chosen.items()}
    return Columns(where, size, texts, numbers, attributes, titles), about


def _attribute(where: str, column: Any, arrow: Any) -> Attribute | None:
    """A column of Arrow's as an attribute; None for one of another kind, of lists or times say."""
    kind = column.type
    if arrow.types.is_dictionary(kind) or arrow.types.is_string(kind) or arrow.types.is_large_string(kind):
        plain = column.combine_chunks()
        coded = plain if arrow.types.is_dictionary(kind) else plain.dictionary_encode()
        coded = coded.combine_chunks() if isinstance(coded, arrow.ChunkedArray) else coded
        names = coded.dictionary.to_pylist()
        if not all(isinstance(name, str) for name in names):
            return None
        code = coded.indices.cast(arrow.int32()).fill_null(-1).to_numpy(zero_copy_only=False)
        return Attribute.of_codes(where, code, names)
    lost = column.is_null().to_numpy()
    if arrow.types.is_boolean(kind):
        return Attribute.of_masked(where, column.fill_null(False).to_numpy(), lost)
    if arrow.types.is_integer(kind):
        return Attribute.of_masked(where, column.fill_null(0).to_numpy(), lost)
    return Attribute.of(where, column.to_numpy(), len(column)) if arrow.types.is_floating(kind) else None

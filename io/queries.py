"""Degrees, strengths, reciprocity, hubs and what joins what, of a graph that need not fit in memory: SQL over the
tables of :mod:`connectome.io.partitions`. Needs ``duckdb``, an optional package.

DuckDB keeps to a limit of memory and lays what is beyond it in temporary files (``TMPDIR``). An edge is an edge:
several from one neuron to another count each, and so do those of a neuron to itself. With ``simple`` they are counted
as :mod:`connectome.analysis` does: once for each pair, with the sum of their weights, and no neuron with itself.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from connectome.errors import ConnectomeError
from connectome.graph.parts import KINDS
from connectome.io.partitions import FILES, NEURONS, refuse_no_partitions
from connectome.memory import free_bytes

if TYPE_CHECKING:
    import os

    import pandas

__all__ = ["Tables", "open_tables"]

_SHARE: Final = 0.5  # of the memory that is free
_LEAST: Final = 2**28

_NO_EDGES: Final = """
SELECT '' AS source_region, 0 AS source, '' AS kind, '' AS target_region, 0 AS target, 0.0 AS weight_pa WHERE false
"""
_PAIRS: Final = """
SELECT source_region, source, target_region, target, sum(weight_pa) AS weight_pa FROM chosen
WHERE source <> target OR source_region <> target_region GROUP BY ALL
"""
_DEGREES: Final = """
WITH outgoing AS (
    SELECT source_region AS region, source AS index, count(*) AS out_degree, sum(abs(weight_pa)) AS out_strength_pa
    FROM counted GROUP BY ALL
), incoming AS (
    SELECT target_region AS region, target AS index, count(*) AS in_degree, sum(abs(weight_pa)) AS in_strength_pa
    FROM counted GROUP BY ALL
)
SELECT neurons.* EXCLUDE (number), coalesce(in_degree, 0) AS in_degree, coalesce(out_degree, 0) AS out_degree,
    coalesce(in_strength_pa, 0) AS in_strength_pa, coalesce(out_strength_pa, 0) AS out_strength_pa
FROM neurons LEFT JOIN incoming USING (region, index) LEFT JOIN outgoing USING (region, index)
"""
#: A pair of neurons that are joined is one row, with whether each way is there: the greater of two ends first or last.
_RECIPROCITY: Final = """
WITH ends AS (
    SELECT s.first + e.source AS source, t.first + e.target AS target
    FROM chosen e JOIN places s ON s.region = e.source_region JOIN places t ON t.region = e.target_region
), pairs AS (
    SELECT bit_or(CASE WHEN source < target THEN 1 ELSE 2 END) AS ways FROM ends
    WHERE source <> target GROUP BY least(source, target), greatest(source, target)
)
SELECT 2 * count(*) FILTER (ways = 3) / (count(*) + count(*) FILTER (ways = 3)) FROM pairs
"""


@contextmanager
def open_tables(
    path: str | os.PathLike[str], *, memory_bytes: float | None = None, threads: int | None = None
) -> Iterator[Tables]:
    """Tables to query in the block. ``memory_bytes``: what DuckDB keeps to, by default half of what is free. Raises
    :class:`ConnectomeError` for a folder that has none, and where duckdb is not installed."""
    try:
        import duckdb
    except ImportError:
        raise ConnectomeError(
            "queries", "need the package duckdb", "none", "Install it: pip install 'connectome-engine[query]'."
        ) from None
    refuse_no_partitions(path)
    limit = int(memory_bytes if memory_bytes is not None else max(_SHARE * (free_bytes() or 2**32), _LEAST))
    if not limit >= _LEAST:
        raise ConnectomeError("memory_bytes", f"must be {_LEAST:,} or more", limit)
    with TemporaryDirectory(prefix="connectome_") as folder:
        options = {"memory_limit": f"{limit}B", "temp_directory": folder, "preserve_insertion_order": False}
        options |= {"autoinstall_known_extensions": False} | ({} if threads is None else {"threads": threads})
        with duckdb.connect(config=options) as connection:
            yield Tables(connection, Path(path))


class Tables:
    """The tables of a graph. Make one with :func:`open_tables`. ``kinds``: the edges that count, all by default; each
    method raises :class:`ConnectomeError` for one that is none, and for what DuckDB cannot do."""

    def __init__(self, connection: Any, path: Path) -> None:
        self._connection = connection
        neurons = _quoted(path / NEURONS)
        options = "hive_partitioning=true, hive_types_autocast=false, union_by_name=true"
        edges = f"SELECT * FROM read_parquet({_quoted(path / FILES)}, {options})"
        self._run(f"""CREATE VIEW neurons AS SELECT file_row_number AS number, * EXCLUDE (file_row_number)
                  FROM read_parquet({neurons}, file_row_number=true)""")
        self._run(f"CREATE VIEW edges AS {edges if next(path.glob(FILES), None) else _NO_EDGES}")
        self._run("CREATE TABLE places AS SELECT region, min(number) AS first FROM neurons GROUP BY region")

    def sql(self, query: str) -> pandas.DataFrame:
        """What a query of yours gives: of ``neurons`` (``number``, ``region``, ``index``, ``label``, attributes) and
        ``edges`` (``source_region``, ``source``, ``kind``, ``target_region``, ``target``, ``weight_pa``, ``delay_ms``,
        attributes). It may do all that SQL can do, also write files."""
        found: pandas.DataFrame = self._run(query).df()
        return found

    def degrees(self, *, kinds: Collection[str] | None = None, simple: bool = False) -> pandas.DataFrame:
        """A row for each neuron, in order, with all that is known of it, and ``in_degree``, ``out_degree``,
        ``in_strength_pa`` and ``out_strength_pa``, sums of |weight|."""
        self._choose(kinds, simple)
        return self.sql(f"{_DEGREES} ORDER BY number")

    def hubs(self, top: int = 20, *, kinds: Collection[str] | None = None, simple: bool = False) -> pandas.DataFrame:
        """As :meth:`degrees`, the neurons of the largest degree, in and out, alone; the first of equals first."""
        self._choose(kinds, simple)
        return self.sql(f"{_DEGREES} ORDER BY in_degree + out_degree DESC, number LIMIT {int(top)}")

    def between(
        self, by: str = "region", *, kinds: Collection[str] | None = None, simple: bool = False
    ) -> pandas.DataFrame:
        """What joins what: a row for each two regions that edges join, or values of another attribute of neurons:
        ``source``, ``target``, ``edges``, ``weight_pa``, their sum, and ``mean_abs_weight_pa``."""
        known = [row[0] for row in self._run("DESCRIBE neurons").fetchall() if row[0] != "number"]
        if by not in known:
            raise ConnectomeError("by", f"must be one of {', '.join(known)}", repr(by))
        self._choose(kinds, simple)
        name = '"' + by.replace('"', '""') + '"'
        ends = "e.source_region AS source, e.target_region AS target"
        joins = ""
        if by != "region":
            ends = f"s.{name} AS source, t.{name} AS target"
            joins = "".join(
                f" JOIN neurons {x} ON {x}.region = e.{end}_region AND {x}.index = e.{end}"
                for x, end in (("s", "source"), ("t", "target"))
            )
        return self.sql(
            f"SELECT {ends}, count(*) AS edges, sum(e.weight_pa) AS weight_pa, avg(abs(e.weight_pa)) AS"
            f" mean_abs_weight_pa FROM counted e{joins} GROUP BY 1, 2 ORDER BY 1, 2"
        )

    def reciprocity(self, *, kinds: Collection[str] | None = None) -> float:
        """The share of pairs with an edge that have one back: :func:`connectome.analysis.degrees.reciprocity`. Takes
        temporary files of some 20 bytes an edge."""
        self._choose(kinds, simple=False)
        (found,) = self._run(_RECIPROCITY).fetchone()
        return math.nan if found is None else float(found)

    def _choose(self, kinds: Collection[str] | None, simple: bool) -> None:
        """Make the views of the edges that count."""
        for kind in kinds or ():
            if kind not in KINDS:
                raise ConnectomeError("kinds", f"must be among {', '.join(KINDS)}", repr(kind))
        chosen = " OR ".join(f"split_part(kind, '-', 1) = '{kind}'" for kind in kinds or KINDS)
        self._run(f"CREATE OR REPLACE VIEW chosen AS SELECT * FROM edges WHERE {chosen}")
        self._run(f"CREATE OR REPLACE VIEW counted AS {_PAIRS if simple else 'SELECT * FROM chosen'}")

    def _run(self, query: str) -> Any:
        import duckdb

        try:
            return self._connection.execute(query)
        except duckdb.Error as error:
            said = " ".join(str(error).split())[:300]
            raise ConnectomeError("query", "must be one that DuckDB can do", said) from None


def _quoted(path: Path) -> str:
    text = str(path).replace("'", "''")
    return f"'{text}'"

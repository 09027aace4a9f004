"""Query a graph that need not fit in memory: degrees, hubs, reciprocity, what joins what, or SQL of your own.

python -m sims.query tables hubs
python -m sims.query tables between --by class --kinds local
python -m sims.query tables "SELECT kind, count(*) FROM edges GROUP BY kind"
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from connectome.errors import ConnectomeError
from connectome.texts import readable
from sims.program import add_common, add_json, ended, exit_codes, refuse_taken, split_names
from sims.screen import console_of, print_json, print_table, progress

if TYPE_CHECKING:
    import pandas

    from connectome.io.queries import Tables

__all__ = ["main", "parser"]

_WHAT: Final = ("between", "degrees", "hubs", "reciprocity")
_SHOWN: Final = 50


def parser() -> argparse.ArgumentParser:
    """The options, and what ``--help`` says."""
    parser = argparse.ArgumentParser(
        prog="python -m sims.query",
        description="Query the tables that python -m sims.export PATH --format parquet --out FOLDER writes, in SQL of "
        "DuckDB's, within a limit of memory. degrees: a row for each neuron, with strengths (sums of |weight|); hubs: "
        "those of the largest degree; between: edges and weights between regions; reciprocity: the share of joined "
        "pairs that are joined the other way too.",
        epilog="SQL has the tables neurons (region, index, label, attributes) and edges (source_region, source, kind, "
        "target_region, target, weight_pa, delay_ms). What is larger than the limit is laid in temporary files "
        "(TMPDIR). " + exit_codes(),
    )  # fmt: skip
    parser.add_argument("tables", type=Path, metavar="FOLDER", help="the tables of a graph")
    parser.add_argument("what", metavar="WHAT", help=f"{', '.join(_WHAT)}, or a query that begins with SELECT or WITH")
    parser.add_argument("--by", metavar="NAME", help="of between: an attribute of neurons in place of region")
    parser.add_argument("--top", type=int, metavar="N", help="of hubs: how many (default: 20)")
    parser.add_argument("--kinds", metavar="A,B,...", help="the edges that count (default: all)")
    parser.add_argument(
        "--simple", action="store_true",
        help="as sims.analyze counts: one edge for each pair, with the sum of weights, and none to the neuron itself",
    )  # fmt: skip
    parser.add_argument("--memory-gb", type=float, metavar="GB", help="the limit (default: half of what is free)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write all rows: .csv")
    add_common(parser)
    add_json(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = parser().parse_args(argv)
    return ended("query", lambda: _query(options))


def _query(options: argparse.Namespace) -> int:
    is_sql = options.what.lstrip().lower().startswith(("select", "with"))
    if not is_sql and options.what not in _WHAT:
        raise ConnectomeError("WHAT", f"must be {', '.join(_WHAT)}, or begin with SELECT or WITH", repr(options.what))
    for name, there in (
        ("by", options.what == "between"), ("top", options.what == "hubs"), ("kinds", not is_sql),
        ("simple", options.what in ("between", "degrees", "hubs")),
    ):  # fmt: skip
        if getattr(options, name) and not there:
            raise ConnectomeError(f"--{name}", "must go with a query that takes it", repr(options.what))
    if options.top is not None and options.top < 1:
        raise ConnectomeError("--top", "must be 1 or more", options.top)
    if options.out is not None:
        if options.out.suffix != ".csv":
            raise ConnectomeError("--out", "must end in .csv", repr(str(options.out)))
        refuse_taken("--out", options.out, overwrite=options.overwrite)
    from connectome.io.queries import open_tables
    from connectome.io.results import save_text

    memory = None if options.memory_gb is None else options.memory_gb * 1e9
    with progress(options, f"Querying {options.tables}"), open_tables(options.tables, memory_bytes=memory) as tables:
        found = _found(tables, options, is_sql)
    if options.out is not None:
        save_text(found.to_csv(index=False), options.out)
    if options.json:
        print_json({"rows": _plain(found)})
    console = console_of(options)
    rows = [[_shown(value) for value in row] for row in _plain(found.head(_SHOWN)).itertuples(index=False)]
    print_table(console, "", list(map(str, found.columns)), rows)
    if len(found) > _SHOWN:
        console.print(f"And {len(found) - _SHOWN:,} more rows: see --out, or --json.", highlight=False)
    return 0


def _found(tables: Tables, options: argparse.Namespace, is_sql: bool) -> pandas.DataFrame:
    import pandas

    kinds = None if options.kinds is None else split_names(options.kinds)
    if is_sql:
        return tables.sql(options.what)
    if options.what == "reciprocity":
        return pandas.DataFrame({"reciprocity": [tables.reciprocity(kinds=kinds)]})
    if options.what == "between":
        return tables.between(options.by or "region", kinds=kinds, simple=options.simple)
    if options.what == "hubs":
        return tables.hubs(options.top or 20, kinds=kinds, simple=options.simple)
    return tables.degrees(kinds=kinds, simple=options.simple)


def _plain(found: pandas.DataFrame) -> pandas.DataFrame:
    """With None for what is not known, and texts for what is neither a number nor a text: times, lists."""
    known = found.astype(object).where(found.notna(), None)
    return known.map(lambda value: value if value is None or isinstance(value, (int, float, str)) else str(value))


def _shown(value: object) -> str:
    return "" if value is None else readable(value) if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())

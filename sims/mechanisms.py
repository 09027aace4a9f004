"""List the mechanisms that there are, ours and those of installed packages, and say what one of them does.

python -m sims.mechanisms --describe pruning
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import inspect
import json
import math
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, Final

from connectome.errors import ConnectomeError
from sims.program import complete_names, ended, exit_codes

__all__ = ["KINDS", "catalogue", "main", "parser"]

#: Group -> what one of it is, and where a configuration names it.
KINDS: Final = {
    "rules": ("developmental rule", "[rules] act = [...], [rules.NAME]"),
    "learning": ("learning rule", "[learning] chain = [...], [learning.NAME]"),
    "importance": ("importance of an edge", "[training] importance = NAME"),
    "comparators": ("comparator", "[training] method = NAME"),
    "views": ("view of weights", "[edges.KIND] view = NAME, [views.NAME]"),
    "select": ("choice of samples", "[select] by = NAME, [select.NAME]"),
    "neurons": ("neuron model", "[regions.REGION.neuron] model = NAME"),
    "run_rules": ("plasticity in a run", "connectome.simulate.run(plasticity=...)"),
    "diagnostics": ("diagnostic of a stage", '[training] diagnostics = "NAME, ..."'),
    "studies": ("study", "python -m sims.study NAME"),
    "circuits": ("published circuit", "python -m sims.study circuits --only NAME"),
    "mechanisms": ("mechanism on trial", "python -m sims.study mechanisms --only NAME"),
    "tasks": ("task", "--regions NAME,...; [tasks.NAME]"),
}
#: How a name ends -> its unit.
_UNITS: Final = {"ms": "ms", "pa": "pA", "mv": "mV", "um": "um", "pf": "pF", "hz": "Hz", "ns": "nS"}


def parser() -> argparse.ArgumentParser:
    """The options, and what ``--help`` says."""
    parser = argparse.ArgumentParser(
        prog="python -m sims.mechanisms",
        description="List the mechanisms that a development, a training or a run can name: kind, name, one line, paper "
        "and parameters. What an installed package offers is listed with its package.",
        epilog=exit_codes(),
    )
    parser.add_argument("--kind", choices=list(KINDS), metavar="KIND", help=f"only one of {', '.join(KINDS)}")
    one = parser.add_argument(
        "--describe", metavar="NAME", help="all that one says of itself: equations, state, parameters"
    )
    complete_names(one, *KINDS)
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = parser().parse_args(argv)
    return ended("mechanisms", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    found = list(catalogue([options.kind] if options.kind else list(KINDS)))
    if options.describe is not None:
        named = [about for about in found if about["name"] == options.describe]
        if not named:
            names = sorted({about["name"] for about in found})
            near = difflib.get_close_matches(options.describe, names, 3)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(names)}."
            raise ConnectomeError("--describe", "must be the name of a mechanism", repr(options.describe), hint)
        found = named
    if options.json:
        print(json.dumps(found, indent=2))
    elif options.describe is not None:
        print("\n\n".join(_described(about) for about in found))
    else:
        print("\n".join(_listed(found)))
    return 0


def catalogue(groups: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What each says of itself. One that cannot be imported says so."""
    from connectome import plugins

    for group in groups:
        for name, plugin in plugins.known(group).items():
            about: dict[str, Any] = {
                "kind": KINDS[group][0], "group": group, "name": name, "where": plugin.value,
                "package": f"{plugin.package} {plugin.version}".strip(), "configured": KINDS[group][1],
            }  # fmt: skip
            try:
                thing = plugin.load()
            except ConnectomeError as error:
                yield about | {"line": str(error), "paper": "", "parameters": [], "text": str(error)}
                continue
            text = inspect.getdoc(thing) or "It has no description."
            line = " ".join(text.split("\n\n")[0].split())
            paper, parameters = getattr(thing, "paper", ""), list(_parameters(thing))
            yield about | {"line": line, "paper": paper, "parameters": parameters, "text": text}


def _parameters(thing: object) -> Iterator[dict[str, Any]]:
    """Name, default, bounds and unit of each."""
    if not (isinstance(thing, type) and dataclasses.is_dataclass(thing)):
        return
    for f in dataclasses.fields(thing):
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            continue  # what a program gives: images, say
        default = None if f.default is dataclasses.MISSING else f.default
        plain = default if isinstance(default, (int, float, str, bool)) else str(default)
        low, high = f.metadata.get("low"), f.metadata.get("high")
        yield {
            "name": f.name, "default": plain, "low": low, "high": None if high in (None, math.inf) else high,
            "unit": _UNITS.get(f.name.rpartition("_")[2], "1") if isinstance(default, (int, float)) else "",
        }  # fmt: skip


def _listed(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    group = ""
    for about in found:
        if about["group"] != group:
            group = about["group"]
            if about is not found[0]:
                yield ""
            yield f"{KINDS[group][0]}: {KINDS[group][1]}"
        package = f" (of {about['package']})" if about["package"] else ""
        known = _first_sentence(about["line"])
        paper = f" [{about['paper']}]" if about["paper"] and about["paper"].split()[0] not in known else ""
        names = ", ".join(p["name"] for p in about["parameters"])
        line = f"{known}{paper}{package}" + (f" Parameters: {names}." if names else "")
        yield textwrap.fill(line, 100, initial_indent=f"  {about['name']:<16} ", subsequent_indent=" " * 19)


def _first_sentence(line: str) -> str:
    """Without the marks of a docstring."""
    plain = re.sub(r":\w+:`~?(?:\w+\.)*(\w+)`|``", lambda m: m.group(1) or "", line)
    return re.split(r"(?<!et al\.)(?<=\.)\s", plain, maxsplit=1)[0]


def _described(about: dict[str, Any]) -> str:
    package = f", of {about['package']}" if about["package"] else ""
    lines = [
        f"{about['name']}: {about['kind']}{package}",
        f"Source: {about['where']}",
        f"Named in: {about['configured']}",
    ]
    if about["paper"]:
        lines.append(f"Paper: {about['paper']}")
    lines += ["", about["text"]]
    rows = []
    for p in about["parameters"]:
        high = "" if p["high"] is None else f"{p['high']:g}"
        span = "" if p["low"] is None else f"{p['low']:g} .. {high}".rstrip()
        unit = p["unit"] if p["unit"] != "1" else ""
        rows.append(f"  {p['name']:<22} default {p['default']!s:<10} {span:<14} {unit}".rstrip())
    if rows:
        lines += ["", "Defaults, bounds and units:", *rows]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

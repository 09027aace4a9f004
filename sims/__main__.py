"""What programs there are: ``python -m sims``."""

from __future__ import annotations

import ast
import difflib
import sys
import textwrap
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import NamedTuple

__all__ = ["Program", "main", "programs"]


class Program(NamedTuple):
    """A program: its name, what it does in a line, and a command to start from."""

    name: str
    purpose: str
    command: str


def programs() -> Iterator[Program]:
    """Every module of this folder that has a ``main(argv)``, by name, as its docstring has it. None is imported."""
    for file in sorted(resources.files("sims").iterdir(), key=lambda f: f.name):
        name = file.name.removesuffix(".py")
        if not file.name.endswith(".py") or name.startswith("_"):
            continue
        tree = ast.parse(file.read_text("utf-8"))
        if not any(isinstance(node, ast.FunctionDef) and node.name == "main" and node.args.args for node in tree.body):
            continue  # a program takes arguments
        first, *rest = (ast.get_docstring(tree) or "").split("\n\n")
        plain = f"python -m sims.{name}"
        commands = next((part for part in rest if part.startswith(plain)), plain)
        yield Program(name, " ".join(first.split()), commands.splitlines()[0])


def main(argv: Sequence[str] | None = None) -> int:
    """Say what there is; return the exit code, 2 if something else was asked for."""
    given = list(sys.argv[1:] if argv is None else argv)
    known = list(programs())
    if given and given[0] not in ("-h", "--help"):
        names = [p.name for p in known]
        near = difflib.get_close_matches(given[0], names, 1)
        hint = f"Write python -m sims.{near[0]}." if near else f"There are: {', '.join(names)}."
        print(f"sims: takes no arguments; found {given[0]!r}. {hint}", file=sys.stderr)
        return 2
    print("The programs. Each says more with --help.")
    for program in known:
        print(f"\n{program.name}")
        print(textwrap.fill(program.purpose, 80, initial_indent="    ", subsequent_indent="    "))
        print(f"    {program.command}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What programs there are, and the command that runs them: ``connectome``, ``connectome develop --help``.

``python -m sims.develop`` is the same as ``connectome develop``. With the extra ``complete``, a shell completes what is
typed: programs, options, their choices, names of metrics and mechanisms, files.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib
import os
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
    """Run the program that is named first, with the arguments after it, or say which there are; return the exit code, 2
    if there is no such program."""
    given = list(sys.argv[1:] if argv is None else argv)
    known = list(programs())
    if "_ARGCOMPLETE" in os.environ:
        _complete(known)
    names = [program.name for program in known]
    if given and given[0] in names:
        code: int = importlib.import_module(f"sims.{given[0]}").main(given[1:])
        return code
    if given and given[0] not in ("-h", "--help"):
        near = difflib.get_close_matches(given[0], names, 1)
        hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(names)}."
        print(f"connectome: there is no program {given[0]!r}. {hint}", file=sys.stderr)
        return 2
    lines = ["The programs. Each says more with --help. `connectome NAME` runs one; so does `python -m sims.NAME`."]
    for program in known:
        purpose = textwrap.fill(program.purpose, 80, initial_indent="    ", subsequent_indent="    ")
        lines += ["", program.name, purpose, f"    {program.command}"]
    print("\n".join(lines))
    return 0


def _complete(known: Sequence[Program]) -> None:
    """Answer the shell that asks how a line goes on, and end. Of the programs only the one in the line is imported."""
    import argcomplete

    words = os.environ["COMP_LINE"].split()
    parser = argparse.ArgumentParser(prog="connectome")
    choices = parser.add_subparsers()
    for name, purpose, _ in known:
        parents = [importlib.import_module(f"sims.{name}").parser()] if name in words[1:2] else []
        choices.add_parser(name, help=purpose.replace("%", "%%"), parents=parents, add_help=False)
    argcomplete.autocomplete(parser)


if __name__ == "__main__":
    sys.exit(main())

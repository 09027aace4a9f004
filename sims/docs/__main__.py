"""Build the site: rooms, tutorials with what they print and draw, mechanisms, the API, results.

python -m sims.docs
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from connectome.errors import ConnectomeError
from sims.docs.cells import ROOT
from sims.program import add_common, ended, exit_codes

__all__ = ["main", "parser"]


def parser() -> argparse.ArgumentParser:
    """The options, and what ``--help`` says."""
    options = argparse.ArgumentParser(
        prog="python -m sims.docs",
        description="Build the site, which works offline: open index.html of the folder. Tutorials are run for it, in "
        "about five minutes. It needs the extra `docs`.",
        epilog=exit_codes("the site has a fault: a link that leads nowhere, a page that cannot be reached"),
    )
    options.add_argument(
        "--out", type=Path, default=Path("runs", "site"), metavar="FOLDER", help="where (default: runs/site)"
    )
    options.add_argument("--quick", action="store_true", help="run the tutorials at a small size, in seconds")
    options.add_argument(
        "--notebooks", type=Path, metavar="FOLDER", help="write the tutorials as notebooks, outputs in, and no site"
    )
    add_common(options)
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = parser().parse_args(argv)
    return ended("docs", lambda: _build(options))


def _build(options: argparse.Namespace) -> int:
    from sims.docs.cells import as_notebook
    from sims.docs.pages import run_tutorials, write_pages
    from sims.tutorials import SMALL

    out: Path = (options.notebooks or options.out).absolute()
    if out.exists() and any(out.iterdir()) and not options.overwrite:
        named = "--notebooks" if options.notebooks else "--out"
        raise ConnectomeError(named, "must be empty, or not there", repr(str(out)), "Add --overwrite.")
    if not options.notebooks:
        _needed()
    if options.quick:
        os.environ[SMALL] = "1"
    done = run_tutorials()
    out.mkdir(parents=True, exist_ok=True)
    if options.notebooks:
        for name, cells in done.items():
            (out / f"{name}.ipynb").write_text(as_notebook(cells), "utf-8")
        return _say(options, f"Notebooks: {out}")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config
    from mkdocs.exceptions import Abort

    from sims.docs.check import faults

    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as sources:
        nav = write_pages(Path(folder), done)
        # connectome/io and connectome/datasets are links to folders without an __init__.py, which griffe passes by.
        shutil.copytree(ROOT / "connectome", Path(sources, "connectome"), ignore=shutil.ignore_patterns("__pycache__"))
        for linked in ("io", "datasets"):
            Path(sources, "connectome", linked, "__init__.py").touch()
        os.environ["CONNECTOME_DOCS_SOURCES"] = sources
        os.chdir(ROOT)
        logger = logging.getLogger("mkdocs")
        logger.setLevel(logging.WARNING)
        logger.addHandler(logging.StreamHandler())
        with open(Path(__file__).with_name("mkdocs.yml"), "rb") as file:
            config = load_config(file, docs_dir=folder, site_dir=str(out), nav=nav)
        try:
            build(config)
        except Abort:
            return 1
    found = [*faults(out)]
    print("\n".join(found), file=sys.stderr, end="\n" * bool(found))
    return 1 if found else _say(options, f"The site: {out / 'index.html'}")


def _needed() -> None:
    if not (ROOT / "connectome" / "graph" / "README.md").is_file():
        raise ConnectomeError("docs", "needs the repository, whose pages the site is made of", repr(str(ROOT)))
    missing = [name for name in ("material", "mkdocstrings_handlers", "latex2mathml") if find_spec(name) is None]
    if missing:
        raise ConnectomeError(
            "docs", "needs the extra `docs`", f"no {', '.join(missing)}", "pip install -c constraints.txt -e '.[docs]'"
        )


def _say(options: argparse.Namespace, text: str) -> int:
    if not options.quiet:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

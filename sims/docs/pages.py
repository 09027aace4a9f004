"""What the site is made of: pages of the rooms, tutorials as they ran, mechanisms, the API, sources that these name."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any, Final

from connectome import plugins
from connectome.errors import ConnectomeError
from sims import tutorials
from sims.docs.cells import ROOT, Done, as_page, execute
from sims.docs.equations import with_tex
from sims.mechanisms import KINDS, catalogue

__all__ = ["Nav", "run_tutorials", "write_pages"]

Nav = list[dict[str, Any]]
#: Pages of the rooms: title, and the page in the repository.
_START: Final = {
    "Programs": "sims/README.md", "Files": "io/README.md", "Graphs": "connectome/graph/README.md",
    "Neurons": "connectome/neurons/README.md", "Running": "connectome/simulate/README.md",
    "Learning": "connectome/learning/README.md", "Development": "connectome/development/README.md",
    "Experiments": "connectome/experiment/README.md", "Analysis": "connectome/analysis/README.md",
    "Wiring": "connectome/wiring/README.md", "Tasks and measured connectomes": "datasets/README.md",
    "Published circuits": "connectome/circuits/README.md", "The library's rooms": "connectome/README.md",
    "How this site is made": "sims/docs/README.md",
}  # fmt: skip
_RESULTS: Final = {
    "Studies": "sims/studies/README.md", "Published circuits on trial": "sims/studies/circuits/README.md",
    "Mechanisms on trial": "sims/studies/mechanisms/README.md", "Speed": "sims/benchmarks/README.md",
    "Promises, and how they were attacked": "tests/README.md", "Changes": "CHANGELOG.md",
}  # fmt: skip
_TUTORIALS, _MECHANISMS, _HOME = "sims/tutorials/README.md", "connectome/mechanisms/README.md", "README.md"
#: Groups of the registry that have a page for each of theirs.
_GROUPS: Final = (
    "neurons", "rules", "learning", "importance", "views", "run_rules", "comparators", "diagnostics", "tasks",
    "circuits",
)  # fmt: skip
_ROOMS: Final = (
    "connectome", "graph", "neurons", "wiring", "simulate", "learning", "development", "mechanisms", "circuits",
    "experiment", "analysis", "io", "datasets",
)  # fmt: skip
_FENCE: Final = re.compile(r"(^```.*?^```\s*?$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_MODULE: Final = re.compile(r":mod:`([^`]+)`")
_LANGUAGES: Final = {".py": "python", ".toml": "toml", ".c": "c", ".html": "html", ".js": "javascript"}


def run_tutorials() -> dict[str, list[Done]]:
    """All tutorials, each in a folder of its own that is thrown away."""
    found = {}
    for name in tutorials.ORDER:
        with tempfile.TemporaryDirectory() as folder, chdir(folder):
            found[name] = [*execute(Path(tutorials.__file__).with_name(f"{name}.py"))]
    return found


def write_pages(folder: Path, done: Mapping[str, list[Done]]) -> Nav:
    """Write Markdown and pictures to a folder, and give the navigation. Raises :class:`ConnectomeError` for a link of a
    page that leads nowhere."""
    site = _Site(folder)
    site.room(_HOME)
    begin = [{name: site.room(page)} for name, page in _START.items()]
    learn: Nav = [site.room(_TUTORIALS)]  # type: ignore[list-item]
    for name, cells in done.items():
        text, pictures = as_page(cells, name)
        learn.append({_title(text): site.write(f"tutorials/{name}.md", _with_tex(text))})
        for picture, png in pictures.items():
            (folder / "tutorials" / picture).write_bytes(png)
    results = [{name: site.room(page)} for name, page in _RESULTS.items()]
    mechanisms = [site.room(_MECHANISMS), *_mechanisms(site)]
    api = [{"Overview": site.write("api/index.md", _api_overview())}, *_api(site)]
    for name in ("style.css", "iframe-worker.js"):
        site.write(name, Path(__file__).with_name(name).read_text("utf-8"))
    site.sources()
    return [
        {"Home": "index.md"}, {"Tutorials": learn}, {"Guide": begin}, {"Mechanisms": mechanisms}, {"API": api},
        {"Results": results},
    ]  # fmt: skip


def _title(text: str) -> str:
    return text.split("\n", 1)[0].removeprefix("# ").split(":")[0]


def _with_tex(text: str) -> str:
    return "".join(part if part.startswith("`") else with_tex(part) for part in _FENCE.split(text))


class _Site:
    """A folder of pages. Links between files of the repository become links between pages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        pages = [*_START.values(), *_RESULTS.values(), _TUTORIALS, _MECHANISMS]
        self.page = {page: _name(page) for page in pages} | {_HOME: "index.md"}
        self.page |= {f"sims/tutorials/{name}.py": f"tutorials/{name}.md" for name in tutorials.ORDER}
        self.named: dict[str, str] = {}

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return name

    def room(self, page: str) -> str:
        """A page of the repository."""
        text = (ROOT / page).read_text("utf-8")
        text = re.sub(r"<!--.*?-->\n?", "", text, flags=re.DOTALL)
        parts = [p if p.startswith("`") else _LINK.sub(lambda m: self._link(m, page), p) for p in _FENCE.split(text)]
        return self.write(self.page[page], _doctests_shown("".join(parts)))

    def source(self, path: str) -> str:
        """The page that shows a file."""
        return self.named.setdefault(path, f"source/{path.replace('/', '.')}.md")

    def sources(self) -> None:
        """Write the pages of all files that were named."""
        for path, name in self.named.items():
            language = _LANGUAGES.get(Path(path).suffix, "text")
            self.write(name, f"# {path}\n\n````{language}\n{(ROOT / path).read_text('utf-8')}````\n")

    def _link(self, match: re.Match[str], page: str) -> str:
        mark, text, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match.group(0)
        place, _, anchor = target.partition("#")
        path = (ROOT / page).parent.joinpath(place).resolve()
        path = path / "README.md" if path.is_dir() else path
        name = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else ""
        if not name or not path.is_file():
            raise ConnectomeError(page, "must have links to files that are there", repr(target))
        here = self.page[page]
        if path.suffix in (".png", ".gif", ".svg"):
            there = f"pictures/{name.replace('/', '.')}"
            (self.folder / "pictures").mkdir(exist_ok=True)
            (self.folder / there).write_bytes(path.read_bytes())
        else:
            there = self.page.get(name) or self.source(name)
        relative = os.path.relpath(there, Path(here).parent)
        return f"{mark}[{text}]({relative}{'#' * bool(anchor)}{anchor})"


def _name(page: str) -> str:
    """Where a room's page is on the site."""
    folder = str(Path(page).parent)
    if page in (_TUTORIALS, _MECHANISMS):
        return f"{Path(folder).name}/index.md"
    return f"guide/{folder.replace('/', '.')}.md" if Path(page).name == "README.md" else f"{Path(page).stem.lower()}.md"


def _doctests_shown(text: str) -> str:
    """Doctests are Python sessions."""
    return re.sub(r"^```python\n(?=>>> )", "```pycon\n", text, flags=re.MULTILINE)


def _mechanisms(site: _Site) -> Iterator[dict[str, Any]]:
    for group in _GROUPS:
        pages = []
        for about in catalogue([group]):
            if about["package"]:
                continue
            path = f"mechanisms/{group}/{about['name']}.md"
            pages.append({about["name"]: site.write(path, _mechanism(site, about, path))})
        yield {KINDS[group][0].capitalize(): pages}


def _mechanism(site: _Site, about: dict[str, Any], path: str) -> str:
    """What it is, where it is named, its source, paper, parameters with bounds and units, its equations."""
    value, name = about["where"], about["name"]
    thing: Any = plugins.known(about["group"])[name].load()
    module = value.partition(":")[0]
    if about["group"] == "circuits":
        module = f"connectome.circuits.{name}"
    file = Path(inspect.getsourcefile(importlib.import_module(module)) or "").resolve().relative_to(ROOT)
    link = os.path.relpath(site.source(str(file)), Path(path).parent)
    rows = [("Kind", about["kind"]), ("Source", f"[`{file}`]({link})")]
    if about["group"] == "circuits":
        rows += [("Paper", thing.paper), ("Claim on trial", thing.claim)]
        rows += [("Try it", f"`python -m sims.study circuits --only {name}`")]
    else:
        rows += [("Named in", f"`{about['configured']}`"), ("Paper", about["paper"])]
        rows += [("All of it", f"`python -m sims.mechanisms --describe {name}`")]
    lines = [f"# {name}", "", *(f"- **{k}:** {' '.join(v.split())}" for k, v in rows if v), ""]
    if about["group"] == "circuits":
        lines += [f"::: {module}"]
    else:
        lines += [f"::: {value.replace(':', '.')}", "    options: {members: false, show_root_toc_entry: false}"]
    if about["parameters"]:
        lines += ["", "## Defaults, bounds and units", ""]
        lines += ["| Parameter | Default | Bounds | Unit |", "| --- | --- | --- | --- |"]
        lines += [f"| `{p['name']}` | {p['default']} | {_bounds(p)} | {p['unit']} |" for p in about["parameters"]]
    return "\n".join(lines) + "\n"


def _bounds(parameter: Mapping[str, Any]) -> str:
    low, high = parameter["low"], parameter["high"]
    if low is None:
        return "" if high is None else f"at most {high:g}"
    return f"at least {low:g}" if high is None else f"{low:g} to {high:g}"


def _api_overview() -> str:
    import connectome

    text = inspect.cleandoc(connectome.__doc__ or "")
    head, _, listed = text.partition("\n\n")
    listed, _, rooms = listed.partition("\n\n")[2].partition("\n\n")
    table, more = inspect.cleandoc(re.sub(_MODULE, r"\1", listed)), re.sub(_MODULE, r"`\1`", rooms)
    said = "What `import connectome` offers; each room has a page of all that is public in it."
    return f"# API\n\n{head}\n\n{said}\n\n```text\n{table}\n```\n\n{more}\n"


def _api(site: _Site) -> Iterator[dict[str, Any]]:
    """A page for each room: every module of it that says what is public."""
    for room in _ROOMS:
        folder = ROOT / ("connectome" if room == "connectome" else f"connectome/{room}")
        blocks = []
        for path in sorted(folder.glob("*.py")):
            if path.stem.endswith("_kernels") or path.stem.startswith("_") or not _public(path):
                continue
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            blocks.append(f"::: {name}\n")
        yield {room: site.write(f"api/{room}.md", f"# {room}\n\n" + "\n".join(blocks))}


def _public(path: Path) -> bool:
    """Whether a module has something public of its own."""
    tree = ast.parse(path.read_text("utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    return any(isinstance(node, kinds) and not node.name.startswith("_") for node in tree.body)

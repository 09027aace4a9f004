"""The structure: rooms, links, names, the direction of imports, and what `import connectome` costs."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import connectome

ROOT = Path(__file__).resolve().parents[1]
LINKED = ("io", "datasets")
#: The rooms of the library, and which others each may import. All may import the floor: modules beside the rooms.
ROOMS: dict[str, set[str]] = {
    "neurons": set(),
    "graph": {"neurons"},
    "wiring": {"graph", "neurons"},
    "simulate": {"graph", "neurons"},
    "learning": {"graph", "neurons", "simulate"},
    "development": {"graph", "neurons", "wiring", "learning", "simulate"},
    "mechanisms": {"graph", "neurons", "wiring", "learning", "development"},
    "analysis": {"graph", "neurons", "wiring", "development"},
    "experiment": {"graph", "neurons", "wiring", "simulate", "analysis"},
    "circuits": {"graph", "neurons", "wiring", "simulate", "learning", "development", "mechanisms", "analysis"},
}
LIBRARY = ("connectome", *(f"connectome/{room}" for room in ROOMS), "connectome/analysis/report")
PROGRAMS = (
    "sims", "sims/docs", "sims/studies", "sims/studies/circuits", "sims/studies/mechanisms", "sims/benchmarks",
)  # fmt: skip
#: What stands on the floor but knows rooms: who may be imported by which of them.
FLOOR = {
    "rules": {"learning", "development", "mechanisms", "analysis"},
    "models": {"circuits"}, "views": set[str](), "__init__": set[str](),
}  # fmt: skip
LONGEST_MODULE = 450
#: Of a published circuit, and of a trial.
LONGEST_CIRCUIT = 200
TOP_LEVEL = {
    "connectome", "io", "datasets", "sims", "tests",
    "pyproject.toml", "README.md", "LICENSE", "CITATION.cff", "CHANGELOG.md", "constraints.txt",
}  # fmt: skip
#: What a kernel may import: it takes arrays and knows nothing else of the project.
KERNEL_IMPORTS = re.compile(
    r"(numpy|numba|llvmlite|__future__|collections|operator|os|typing|connectome\.jit|connectome\.(\w+\.)?\w+_kernels)(\..*)?"
)


def modules(*folders: str) -> list[Path]:
    """The modules of these folders; those of folders inside them are not."""
    return sorted(path for folder in folders for path in (ROOT / folder).glob("*.py"))


def name_of(path: Path) -> str:
    """The name that a module is imported by."""
    folder = path.parent.relative_to(ROOT).parts
    return ".".join((("connectome",) if folder[0] in LINKED else ()) + (*folder, path.stem))


def imports(path: Path) -> Iterator[str]:
    """Every module that this one names in an import, wherever in it the import stands."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            # `from connectome import io` names connectome.io; `from numpy import zeros` makes a name that is no module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def broken(paths: list[Path], forbidden: str) -> list[str]:
    """Imports that match a pattern they must not match."""
    pattern = re.compile(forbidden)
    return [f"{name_of(p)} imports {name}" for p in paths for name in imports(p) if pattern.match(name)]


# Links and names


@pytest.mark.parametrize("name", LINKED)
def test_links_are_relative_and_lead_to_the_room(name: str) -> None:
    link = ROOT / "connectome" / name
    assert link.is_symlink(), "on Windows: git config core.symlinks true, then check out again"
    assert os.readlink(link) == f"../{name}"
    assert link.resolve() == ROOT / name
    assert modules(name), "the room is empty"


@pytest.mark.parametrize("name", LINKED)
def test_linked_rooms_are_not_packages_of_their_own(name: str) -> None:
    """With an ``__init__.py`` they would be importable as `io` and `datasets`, which are other people's names."""
    assert not (ROOT / name / "__init__.py").exists()


def test_linked_modules_are_found_under_connectome() -> None:
    for path in modules(*LINKED):
        spec = importlib.util.find_spec(name_of(path))
        assert spec is not None, f"{path} cannot be imported"
        assert spec.origin is not None
        assert Path(spec.origin).resolve() == path


def test_no_module_is_named_after_a_standard_one() -> None:
    names = {path.stem for path in modules(*LINKED, "sims")} - {"__init__", "__main__"}
    assert not names & set(sys.stdlib_module_names)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="git says which files belong to the project")
def test_top_level_holds_the_agreed_names() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    names = {path.split("/")[0] for path in listed.stdout.split("\0") if path}
    assert {name for name in names if not name.startswith(".")} == TOP_LEVEL


def test_public_modules_say_what_is_public() -> None:
    missing = []
    for path in modules(*LIBRARY, *LINKED, *PROGRAMS):
        body = ast.parse(path.read_text("utf-8")).body
        targets = [t for n in body if isinstance(n, ast.Assign) for t in n.targets]
        targets += [n.target for n in body if isinstance(n, ast.AnnAssign)]
        if not path.stem.startswith("_") and not any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets):
            missing.append(name_of(path))
    assert not missing


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    names = {re.split(r"[\[<>=~! ]", d)[0].lower() for d in wanted} - {project["name"]}
    lines = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines), "one exact version a line, no local ones"
    assert names <= {re.sub("_", "-", line.split("==")[0].lower()) for line in lines}


def test_the_citation_is_of_this_version() -> None:
    said = dict(re.findall(r'^([a-z-]+): "?([^"\n]*)"?$', (ROOT / "CITATION.cff").read_text("utf-8"), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert (said["cff-version"], said["version"]) == ("1.2.0", connectome.__version__)
    assert said["license"] == project["license"]


# Imports point one way: sims -> connectome.{io,datasets} -> connectome -> kernels


def test_connectome_knows_neither_its_rooms_nor_the_programs() -> None:
    """But for the page of the API, which imports nothing before it is used."""
    inside = [path for path in modules(*LIBRARY) if path != ROOT / "connectome" / "__init__.py"]
    assert not broken(inside, r"(sims|tests|connectome\.io|connectome\.datasets)(\.|$)")


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_in_one_direction(room: str) -> None:
    others = [other for other in ROOMS if other not in ROOMS[room] | {room}]
    others += [name for name, users in FLOOR.items() if room not in users]
    folders = [path.relative_to(ROOT) for path in (ROOT / "connectome" / room).rglob("") if path.is_dir()]
    found = [path for folder in folders for path in modules(str(folder)) if folder.name != "__pycache__"]
    assert found
    assert not broken(found, rf"connectome\.({'|'.join(others)})(\.|$)")


def test_the_floor_stands_below_the_rooms() -> None:
    floor = [path for path in modules("connectome") if path.stem not in FLOOR]
    assert not broken(floor, rf"connectome\.({'|'.join([*ROOMS, *FLOOR])})(\.|$)")


def test_modules_outside_the_graph_import_in_no_circle() -> None:
    paths = {name_of(p): p for p in modules(*LIBRARY, *LINKED, *PROGRAMS) if p.stem != "__init__"}
    known = {
        name: {".".join(found.split(".")[:n]) for found in imports(p) for n in (2, 3, 4)} & paths.keys() - {name}
        for name, p in paths.items()
        if p.parent.name != "graph"
    }
    known = {name: found & known.keys() for name, found in known.items()}
    while True:  # take away what imports nothing that is left, until nothing changes
        left = {name: found for name, found in known.items() if found}
        left = {name: found & left.keys() for name, found in left.items()}
        if left == known:
            break
        known = left
    assert not known


def test_modules_are_short_enough_to_read() -> None:
    lines = {name_of(p): len(p.read_text("utf-8").splitlines()) for p in modules(*LIBRARY, *LINKED, *PROGRAMS)}
    assert not {name: n for name, n in lines.items() if n > LONGEST_MODULE}
    short = [name_of(p) for p in modules("connectome/circuits", "sims/studies/circuits", "sims/studies/mechanisms")]
    assert not {name: lines[name] for name in short if lines[name] > LONGEST_CIRCUIT}


def test_every_room_has_a_page() -> None:
    rooms = [f"connectome/{room}" for room in ROOMS] + ["connectome", *LINKED, *PROGRAMS, "tests"]
    assert not [room for room in rooms if not (ROOT / room / "README.md").exists()]


@pytest.mark.parametrize(("room", "other"), [LINKED, LINKED[::-1]])
def test_rooms_know_neither_each_other_nor_the_programs(room: str, other: str) -> None:
    assert not broken(modules(room), rf"(sims|tests|connectome\.{other})(\.|$)")


def test_rooms_are_imported_under_connectome() -> None:
    rooms = "|".join(rf"{path.parent.name}\.{path.stem}(\.|$)" for path in modules(*LINKED))
    assert not broken(modules(*LIBRARY, *LINKED, *PROGRAMS, "tests"), rooms)


def test_kernels_import_numpy_and_numba_alone() -> None:
    kernels = [path for path in modules(*LIBRARY, *LINKED) if path.stem.endswith("_kernels")]
    assert kernels
    assert not [f"{name_of(p)} imports {n}" for p in kernels for n in imports(p) if not KERNEL_IMPORTS.fullmatch(n)]


def test_kernels_are_where_their_name_says() -> None:
    wrong = [
        f"{name_of(path)}.{node.name}"
        for path in modules(*LIBRARY, *LINKED, *PROGRAMS)
        if not path.stem.endswith("_kernels")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef)
        and any(ast.unparse(d).split("(")[0] in ("kernel", "numba.njit", "njit") for d in node.decorator_list)
    ]
    assert not wrong


# What `import connectome` costs


def loaded_by(statement: str) -> set[str]:
    """The modules of a fresh interpreter after a statement."""
    program = f"{statement}; import sys; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_import_connectome_is_light() -> None:
    loaded, numpy = loaded_by("import connectome"), loaded_by("import numpy")
    heavy = {
        "torch",
        "torch_geometric",
        "pandas",
        "xarray",
        "scipy",
        "networkx",
        "numba",
        "h5py",
        "matplotlib",
        "sklearn",
    }
    assert not loaded & heavy
    assert len(loaded - numpy) <= 40, sorted(loaded - numpy)

"""A network as a script for another simulator, NEST, Brian 2, PyNN or GeNN, which needs nothing of this package.

Two files: the script, with the parameters, the drive and all the code, and a NumPy archive beside it with the values
for each edge or neuron. The script is a head that is written here, followed by the code of two files in
``simulators/``, word for word. A model that the simulator does not have is refused; differences from
:func:`connectome.simulate.run` are listed at the top of the script.

The archive takes 8 to 14 bytes an edge. Memory at any one time: here, one column of one edge set (4 bytes an edge); in
NEST's script, a million edges in addition to the network; in Brian's, all columns of one edge set; in GeNN's, those of
all; in PyNN's, a table of one edge set, 32 bytes an edge.
"""

from __future__ import annotations

import json
import os
import textwrap
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

import connectome as package
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.parts import EdgeSet, Region
from connectome.io.files import write_lines, writing
from connectome.io.sonata import NEST_NAMES

if TYPE_CHECKING:
    from connectome.simulate.stimulus import Stimulus

__all__ = [
    "SIMULATORS", "Simulator", "as_json", "checked_drive", "data_file", "region_values", "write_parts", "write_script",
]  # fmt: skip

_CODE: Final = Path(__file__).resolve().with_name("simulators")
_MARK: Final = "# %%\n"
Table = dict[str, Any]
Cells = Callable[[Region], tuple[str, Table]]


class Simulator(NamedTuple):
    """A simulator, and the head of its scripts. ``module``: the module it imports, so that a script cannot have this
    name; ``needs``: what must be installed; ``example``: arguments that it needs; ``cells``: model -> region -> the
    simulator's name for the model, and its parameters there; ``differs``: model -> what differs there."""

    title: str
    module: str
    needs: str
    imports: str
    example: str
    cells: Mapping[str, Cells]
    differs: Mapping[str, str]


# The models of each simulator


def _named(region: Region, **more: Any) -> Table:
    """The parameters under NEST's names; cells that never fire have no threshold."""
    given = {NEST_NAMES[name]: value for name, value in region.neuron.parameters().items()}
    if region.role == "effector" or not region.neuron.fires:
        given["V_th"] = np.inf
    return given | more


def _same(region: Region) -> tuple[str, Table]:
    return region.neuron.model, _named(region)


def _leaky(region: Region, name: str = "iaf_psc_exp") -> tuple[str, Table]:
    return name, _named(region, V_reset=region.neuron.e_l_mv, t_ref=0.0)


def _nest_alif(region: Region) -> tuple[str, Table]:
    """``gif_psc_exp``: its threshold rises with each spike, and is sharp if Delta_V is next to 0."""
    p = _named(region)
    tau, beta, tau_m, v_th = (p.pop(name) for name in ("adapt_tau", "adapt_beta", "tau_m", "V_th"))
    if region.role == "effector":
        return "iaf_psc_exp", p | {"tau_m": tau_m, "V_th": v_th}
    if np.min(region.neuron.t_ref_ms) <= 0:
        raise ConnectomeError(
            f"regions[{region.name}].neuron.t_ref_ms", "must be > 0 for NEST, whose gif_psc_exp is reset while it is "
            "refractory", np.min(region.neuron.t_ref_ms),
        )  # fmt: skip
    return "gif_psc_exp", {
        **p, "g_L": p["C_m"] / tau_m, "V_T_star": v_th, "Delta_V": 1e-9, "lambda_0": 1e6, "tau_sfa": _Listed(tau),
        "q_sfa": _Listed(beta),
    }  # fmt: skip


def _pynn_currents(region: Region) -> tuple[str, Table]:
    _, p = _same(region) if region.neuron.fires else _leaky(region)
    return "IF_curr_exp", {
        "cm": p["C_m"] / 1000, "tau_m": p["tau_m"], "tau_refrac": p["t_ref"], "tau_syn_E": p["tau_syn_ex"],
        "tau_syn_I": p["tau_syn_in"], "v_rest": p["E_L"], "v_reset": p["V_reset"], "v_thresh": p["V_th"],
        "i_offset": p["I_e"] / 1000,
    }  # fmt: skip


def _pynn_conductances(region: Region) -> tuple[str, Table]:
    p = _named(region)
    return "IF_cond_exp", {
        "cm": p["C_m"] / 1000, "tau_m": p["C_m"] / p["g_L"], "tau_refrac": p["t_ref"], "tau_syn_E": p["tau_syn_ex"],
        "tau_syn_I": p["tau_syn_in"], "e_rev_E": p["E_ex"], "e_rev_I": p["E_in"], "v_rest": p["E_L"],
        "v_reset": p["V_reset"], "v_thresh": p["V_th"], "i_offset": p["I_e"] / 1000,
    }  # fmt: skip


def _pynn_izhikevich(region: Region) -> tuple[str, Table]:
    for name, only in (("v_th_mv", 30.0), ("v_min_mv", -1e9)):
        values = np.atleast_1d(getattr(region.neuron, name))
        if (values != only).any():
            raise ConnectomeError(
                f"regions[{region.name}].neuron.{name}", f"must be {only:g} for PyNN, whose Izhikevich has no such "
                "parameter", values[values != only][0],
            )  # fmt: skip
    p = _named(region)
    return "Izhikevich", {name: p[name] for name in "abcd"} | {"i_offset": p["I_e"] / 1000}


_JUMPS: Final = (
    "izhikevich: a jump that lifts v above its threshold acts a step earlier; one in the step of a spike is lost in "
    "its reset."
)
_ADAPTIVE: Final = "is integrated with an adaptive step, so that potentials differ by some 1e-3 mV"
SIMULATORS: Final[Mapping[str, Simulator]] = MappingProxyType(
    {
        "nest": Simulator(
            "NEST", "nest", "NEST 3.10 or later (pip install nest-simulator)",
            "import argparse\nimport csv\nimport zipfile\nfrom pathlib import Path\n\nimport nest\nimport numpy as np",
            "",
            {
                "iaf_psc_exp": _same, "iaf_psc_alpha": _same, "iaf_cond_exp": _same, "izhikevich": _same,
                "aeif_psc_exp": _same, "alif": _nest_alif, "leaky_integrator": _leaky,
            },
            {
                "iaf_cond_exp": f"iaf_cond_exp {_ADAPTIVE}.",
                "aeif_psc_exp": f"aeif_psc_exp {_ADAPTIVE}, and spikes by up to 0.5 ms within a second.",
                "izhikevich": _JUMPS,
                "alif": "alif is gif_psc_exp with a sharp threshold.",
                "leaky_integrator": "leaky_integrator is iaf_psc_exp without a threshold.",
            },
        ),
        "brian2": Simulator(
            "Brian 2", "brian2", "Brian 2.9 or later (pip install brian2)",
            "import argparse\nimport csv\nfrom pathlib import Path\n\nimport brian2 as b2\nimport numpy as np",
            "",
            dict.fromkeys(("iaf_psc_exp", "iaf_cond_exp", "izhikevich", "aeif_psc_exp", "alif"), _same)
            | {"leaky_integrator": partial(_leaky, name="leaky_integrator")},
            {
                "iaf_cond_exp": "iaf_cond_exp is integrated by Runge-Kutta 4, its conductances too.",
                "aeif_psc_exp": "aeif_psc_exp is integrated by Runge-Kutta 4 without substeps: spikes are some steps "
                "off.",
            },
        ),
        "pynn": Simulator(
            "PyNN", "pyNN", "PyNN 0.13 or later and a simulator for it (pip install PyNN nest-simulator)",
            "import argparse\nimport csv\nfrom importlib import import_module\nfrom pathlib import Path\n\n"
            "import numpy as np",
            "nest ",
            {
                "iaf_psc_exp": _pynn_currents, "iaf_cond_exp": _pynn_conductances, "izhikevich": _pynn_izhikevich,
                "leaky_integrator": _pynn_currents,
            },
            {
                "iaf_psc_exp": "iaf_psc_exp is IF_curr_exp: the same on NEST. On others times may be some steps off.",
                "iaf_cond_exp": f"iaf_cond_exp is IF_cond_exp; on NEST it {_ADAPTIVE}.",
                "izhikevich": _JUMPS,
                "leaky_integrator": "leaky_integrator is IF_curr_exp without a threshold.",
            },
        ),
        "genn": Simulator(
            "GeNN", "pygenn", "PyGeNN 5.4 or later (with CUDA or HIP for a GPU)",
            "import argparse\nimport csv\nimport re\nfrom pathlib import Path\n\n"
            "import numpy as np\nimport pygenn as genn",
            "",
            dict.fromkeys(("iaf_psc_exp", "iaf_psc_alpha", "iaf_cond_exp", "izhikevich", "alif"), _same)
            | {"leaky_integrator": partial(_leaky, name="leaky_integrator")},
            {},
        ),
    }
)  # fmt: skip


# Writing


def data_file(path: Path) -> Path:
    """The archive beside a script."""
    return path.with_suffix(".npz")


def write_script(
    connectome: Connectome, path: str | os.PathLike[str], simulator: str, stimulus: Stimulus | None = None, *,
    duration_ms: float = 1000.0, seed: int = 0, initial_v_mv: Mapping[str, ArrayLike] = MappingProxyType({}),
) -> None:  # fmt: skip
    """Write a script for ``simulator``, a name in :data:`SIMULATORS`, and its data beside it. Files that exist are
    replaced.

    ``stimulus``, ``duration_ms``, ``seed`` and ``initial_v_mv`` are as in :func:`connectome.simulate.run`; they are the
    script's defaults, which its command line can change. Raises :class:`ConnectomeError` for what ``run`` refuses, for
    currents that change in time, and for a region whose model the simulator does not have.
    """
    out, about = Path(path), SIMULATORS[simulator]
    if out.suffix != ".py" or out.stem.lower() == about.module.lower():
        raise ConnectomeError(
            "path", f"must end in .py and not be {about.module}.py, which a script would import instead of "
            f"{about.title}", repr(str(out)),
        )  # fmt: skip
    connectome = connectome.expanded()
    data: Table = {}
    drive, v_mv = checked_drive(connectome, stimulus, duration_ms, seed, initial_v_mv, data)
    regions = [r for r in connectome.regions.values() if r.size]
    values = {
        "REGIONS": {r.name: region_values(r, about, v_mv.get(r.name), data) for r in regions},
        "EDGES": [_edges(e, f"edges{k}", data) for k, e in enumerate(e for e in connectome.edges.values() if len(e))],
        **drive,
    }  # fmt: skip
    said = [f"Needs {about.needs} and, beside it, {data_file(out).name}."]
    before = {"nest": ["nest_archive"], "brian2": ["linear"], "genn": ["linear"]}.get(simulator, [])
    code = [*before, f"{simulator}_script", "shared"]
    write_parts(connectome, out, about, connectome.n_edges, values, data, said, code)


def write_parts(
    connectome: Connectome, out: Path, about: Simulator, n_edges: int, values: Table, data: Table, said: list[str],
    code: Sequence[str],
) -> None:  # fmt: skip
    """Write a script of the code in these files, and its data. ``values``: the constants REGIONS and EDGES, and those
    of :func:`checked_drive`; ``said``: sentences for its top, to which what differs there is added."""
    models = dict.fromkeys(r.neuron.model for r in connectome.regions.values() if r.size and r.role != "sensor")
    said = said + [about.differs[m] for m in models if m in about.differs]
    head = _HEAD.format(
        what=f"A network of {connectome.n_neurons:,} neurons and {n_edges:,} edges for {about.title}, written by "
        f"connectome {package.__version__}.",
        command=f"python {out.name} {about.example}--duration-ms 1000 --drive REGION:current=PA --out spikes.csv",
        said="\n".join(line for text in said for line in _wrapped(text)), imports=about.imports,
        data=data_file(out).name,
    )  # fmt: skip
    write_array: Callable[..., None] = np.lib.format.write_array
    with writing(data_file(out)) as sink, zipfile.ZipFile(sink, "w") as archive:
        for name, column in data.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                write_array(member, column() if callable(column) else column, (1, 0), False)
    constants = _constants({"DT_MS": connectome.dt_ms, **values})
    write_lines(out, [head, *constants, "\n\n".join(_code(name) for name in code).rstrip("\n")])


def checked_drive(
    connectome: Connectome, stimulus: Stimulus | None, duration_ms: float, seed: int,
    initial_v_mv: Mapping[str, ArrayLike], data: Table,
) -> tuple[Table, Table]:  # fmt: skip
    """The duration and the input, as values of a script's constants, and the initial potentials, by region. Raises
    :class:`ConnectomeError`."""
    from connectome.graph.flat import select
    from connectome.simulate.run_rules import whole_steps
    from connectome.simulate.stimulus import Stimulus, numbers, of_regions, prepare

    given, dt_ms = stimulus or Stimulus(), connectome.dt_ms
    whole = select(connectome, None)
    checked = prepare(connectome, whole, whole_steps("duration_ms", duration_ms, dt_ms), given, seed)
    v_mv = {
        r.name: numbers(where, v, (r.size,))
        for where, r, v in of_regions("initial_v_mv", initial_v_mv, connectome, whole.regions)
    }
    drive: Table = {"DURATION_MS": float(duration_ms), "SEED": int(seed)}
    drive |= {"POISSON": {}, "CURRENT_PA": {}, "SPIKES": {}}
    sized = {r.name for r in connectome.regions.values() if r.size}  # a script has no others
    for name, p in given.poisson.items():
        if name not in sized:
            continue
        weight = None if p.weight_pa is None else _value(f"{name}:event_weight", p.weight_pa, data)
        drive["POISSON"][name] = _value(f"{name}:rate_hz", p.rate_hz, data), weight
    for name, rows in checked.current_pa.items():
        if name not in sized:
            continue
        if len(rows) > 1:
            raise ConnectomeError(
                f"stimulus.current_pa[{name}]", "must be constant in time", f"{len(rows)} rows",
                "A script has one current for each neuron.",
            )  # fmt: skip
        drive["CURRENT_PA"][name] = _value(f"{name}:current", rows[0], data)
    for name, injected in checked.injected.items():
        if injected.step.size:
            data[f"{name}:spike_times"] = (injected.step + 1) * dt_ms
            data[f"{name}:spike_neurons"] = injected.neuron.astype(np.int64)
            drive["SPIKES"][name] = tuple(_Text(f'DATA["{name}:spike_{of}"]') for of in ("times", "neurons"))
    return drive, v_mv


def region_values(r: Region, about: Simulator, v_mv: Any, data: Table) -> Table:
    """A region as the constant REGIONS has it. Raises :class:`ConnectomeError` for a model that is not there."""
    if r.role == "sensor":
        return {"role": r.role, "size": r.size}
    if r.neuron.model not in about.cells:
        raise ConnectomeError(
            f"regions[{r.name}].neuron", f"must be of a model that {about.title} has: {', '.join(about.cells)}",
            r.neuron.model, "Leave the region out, or take another simulator.",
        )  # fmt: skip
    model, parameters = about.cells[r.neuron.model](r)
    start = {"v": r.neuron.reference_mv, **r.neuron.rest()} | ({} if v_mv is None else {"v": v_mv})
    return {
        "role": r.role, "size": r.size, "model": model,
        "parameters": {k: _value(f"{r.name}:{k}", v, data) for k, v in parameters.items()},
        "start": {k: _value(f"{r.name}:start_{k}", v, data) for k, v in start.items()},
    }  # fmt: skip


def _edges(e: EdgeSet, name: str, data: Table) -> Table:
    found: Table = {"source_region": e.key.source, "target_region": e.key.target, "edges": len(e)}
    for column, values in (("weight", e.weight), ("delay_steps", e.delay_steps)):
        found[column] = values[0].item() if (values == values[0]).all() else None
        if found[column] is None:
            data[f"{name}:{column}"] = values
    data[f"{name}:source"], data[f"{name}:target"] = partial(getattr, e, "source"), e.indices  # made when written
    return found


# The text

_HEAD: Final = '''"""{what}

    {command}

{said}
"""

{imports}

DATA_FILE = Path(__file__).resolve().with_name("{data}")
DATA = np.load(DATA_FILE)
'''
_SAID: Final = {
    "REGIONS": "Regions in the order of their neurons. A sensor emits the spikes that it is given; an effector never "
    "fires.",
    "EDGES": "Edge sets. What is not one number for all edges is a column of DATA: edges0:weight, edges0:delay_steps; "
    "edges0:source and edges0:target number neurons within their regions.",
    "POISSON": "What drives the network: region -> (Hz, weight of an event); region -> pA; sensor -> (ms, neurons).",
}  # fmt: skip


class _Text(str):
    """Python as it stands."""

    __slots__ = ()


class _Listed(NamedTuple):
    """A parameter that is a list of one number."""

    value: Any


def _value(name: str, given: Any, data: Table) -> Any:
    """A single number as it is; one number for each neuron as a column of the data."""
    if isinstance(given, _Listed):
        inner = _value(name, given.value, data)
        return _Text(f"{inner}[:, None]") if isinstance(inner, _Text) else [inner]
    values = np.asarray(given, np.float64)
    if values.ndim == 0 or (values == values.flat[0]).all():
        number = float(values.flat[0])
        return number if np.isfinite(number) else _Text("np.inf")
    data[name] = values
    return _Text(f'DATA["{name}"]')


def as_json(value: Any, data: Table) -> Any:
    """A number or a column among the constants, as JSON has it."""
    if not isinstance(value, _Text):
        return value
    return np.inf if value == "np.inf" else data[value.split('"')[1]].tolist()


def _constants(values: Table) -> Iterator[str]:
    for name, value in values.items():
        if name in _SAID:
            yield from ("", *(f"# {line}" for line in _wrapped(_SAID[name])))
        yield f"{name} = {_literal(value)}"
    yield ""


def _literal(value: Any, indent: str = "") -> str:
    """Python source for a value, one item a line if it is long."""
    if isinstance(value, _Text):
        return str(value)
    if isinstance(value, str):
        return json.dumps(value)
    if not isinstance(value, (dict, list, tuple)):
        return repr(value)
    left, right = ("{", "}") if isinstance(value, dict) else ("[", "]") if isinstance(value, list) else ("(", ")")
    keys: Sequence[str] = [f"{json.dumps(k)}: " for k in value] if isinstance(value, dict) else [""] * len(value)
    items = value.values() if isinstance(value, dict) else value
    written = [key + _literal(v, f"{indent}    ") for key, v in zip(keys, items, strict=True)]
    flat = f"{left}{', '.join(written)}{right}"
    if len(flat) + len(indent) <= 100:
        return flat
    return f"{left}\n" + "".join(f"{indent}    {line},\n" for line in written) + f"{indent}{right}"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 118, break_long_words=False, break_on_hyphens=False)


def _code(name: str) -> str:
    """The code below the mark."""
    return (_CODE / f"{name}.py").read_text("utf-8").partition(_MARK)[2]

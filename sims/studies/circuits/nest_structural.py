"""NEST's example of structural plasticity, for an interpreter that has NEST: ``python nest_structural.py ASKED``.

``ASKED`` is JSON: numbers of neurons ``e`` and ``i``, ``seconds``, ``late_s`` of which are the last part, ``seed``,
``interval_ms``. What comes back is a line of JSON: each second's mean calcium and synapses of both populations, every
neuron's mean calcium over the last part, and the CPU seconds that a second took, also without structural plasticity.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from typing import Any

__all__ = ["built", "main"]


def built(nest: Any, asked: dict[str, Any]) -> tuple[Any, Any]:
    """Both populations, with their noise."""
    nest.ResetKernel()
    nest.verbosity = nest.VerbosityLevel.ERROR
    nest.resolution, nest.rng_seed = 0.1, asked["seed"] + 1
    nest.structural_plasticity_update_interval = asked["interval_ms"]
    made = {}
    for name, weight in (("ex", 585.0), ("in", -585.0)):
        nest.CopyModel("static_synapse", name)
        nest.SetDefaults(name, {"weight": weight, "delay": 1.0})
        made[name] = {
            "synapse_model": name, "pre_synaptic_element": f"axon_{name}", "post_synaptic_element": f"den_{name}",
        }  # fmt: skip
    nest.structural_plasticity_synapses = made

    def growing(rate: float, eps: float) -> dict[str, Any]:
        return {"growth_curve": "gaussian", "growth_rate": rate, "continuous": False, "eta": 0.0, "eps": eps}

    slow, other = growing(1e-4, 0.05), growing(1e-4, 0.2)
    elements = (
        {"axon_ex": slow, "den_ex": slow, "den_in": slow},
        {"axon_in": other, "den_ex": growing(4e-4, 0.2), "den_in": other},
    )
    e, i = (
        nest.Create("iaf_psc_alpha", asked[name], {"synaptic_elements": of})
        for name, of in zip("ei", elements, strict=True)
    )
    noise = nest.Create("poisson_generator")
    noise.rate = 10_000.0
    for cells in (e, i):
        nest.Connect(noise, cells, "all_to_all", {"weight": 6.2, "delay": 1.0})
    return e, i


def main(asked: dict[str, Any]) -> dict[str, Any]:
    """What is asked for."""
    nest: Any = import_module("nest")
    built(nest, asked)
    nest.Simulate(1000.0)
    began = time.process_time()
    nest.Simulate(4000.0)
    still_s = (time.process_time() - began) / 4
    e, i = built(nest, asked)
    nest.EnableStructuralPlasticity()
    found: dict[str, Any] = {name: [] for name in ("calcium_e", "calcium_i", "synapses_e", "synapses_i")}
    late, busy_s = [0.0] * (asked["e"] + asked["i"]), 0.0
    for second in range(asked["seconds"]):
        began = time.process_time()
        nest.Simulate(1000.0)
        busy_s += time.process_time() - began
        calcium = [list(e.Ca), list(i.Ca)]
        for name, of in zip("ei", calcium, strict=True):
            found[f"calcium_{name}"].append(sum(of) / len(of))
        for name, cells, axon in (("e", e, "axon_ex"), ("i", i, "axon_in")):
            found[f"synapses_{name}"].append(sum(of[axon]["z_connected"] for of in cells.synaptic_elements))
        if second >= asked["seconds"] - asked["late_s"]:
            late = [a + b / asked["late_s"] for a, b in zip(late, calcium[0] + calcium[1], strict=True)]
    return found | {"late": late, "cpu_s": busy_s / asked["seconds"], "still_s": still_s}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))

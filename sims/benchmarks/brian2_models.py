"""Neuron models in Brian 2's own equations, for :mod:`sims.benchmarks.neurons`: what ``peers.py`` asks for. Nothing but
the standard library is imported here, and the units come with Brian. ``METHODS``: how each is integrated, by our own
method first; where that is not what Brian takes by itself, by that as well. ``CURRENT``: from the first neuron to the
last, in pA."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["CURRENT", "METHODS", "group"]

CURRENT: Final = {
    "iaf_psc_exp": (350.0, 500.0), "iaf_cond_exp": (230.0, 350.0), "alif": (180.0, 400.0), "izhikevich": (3.0, 8.0),
    "aeif_psc_exp": (500.0, 800.0), "leaky_integrator": (0.0, 300.0),
}  # fmt: skip
METHODS: Final = {
    "iaf_psc_exp": ("exact",), "iaf_cond_exp": ("rk4", "euler"), "alif": ("exact",), "izhikevich": ("euler",),
    "aeif_psc_exp": ("rk4", "euler"), "leaky_integrator": ("exact",),
}  # fmt: skip
_SYNAPSES: Final = """di_0/dt = -i_0 / tau_ex : amp
                      di_1/dt = -i_1 / tau_in : amp
                      drive : amp (constant)"""
_LINEAR: Final = "dv/dt = (e_l - v) / tau_m + (i_0 + i_1 + drive) / c_m : volt"


def group(b: Any, n: int, model: str, method: str) -> tuple[Any, str]:
    """The neurons, with the parameters that ours have by default, and what an edge of the first or second population
    does to its target."""
    ms, mv, pf, pa, ns = b.ms, b.mV, b.pF, b.pA, b.nS
    names = {"tau_ex": 2 * ms, "tau_in": 2 * ms, "tau_m": 10 * ms, "c_m": 250 * pf, "e_l": -70 * mv, "w": 0.01 * pa}
    names |= {"v_th": -55 * mv, "v_reset": -70 * mv}
    on_pre, rest, more = "i_{0}_post += w", "e_l", {"refractory": 2 * ms}
    equations, threshold, reset = f"{_LINEAR} (unless refractory)\n{_SYNAPSES}", "v >= v_th", "v = v_reset"
    if model == "alif":
        names |= {"tau_m": 20 * ms, "beta": 1.7 * mv, "tau_a": 200 * ms}
        equations += "\nda/dt = -a / tau_a : 1"
        threshold, reset = "v >= v_th + beta * a", "v = v_reset; a += 1"
    elif model == "leaky_integrator":
        equations, threshold, reset, more = f"{_LINEAR}\n{_SYNAPSES}", "v > 1*volt", "", {}
    elif model == "iaf_cond_exp":
        names |= {"g_l": 16.6667 * ns, "e_ex": 0 * mv, "e_in": -85 * mv, "v_reset": -60 * mv, "tau_ex": 0.2 * ms}
        names["w"] = 0.001 * ns
        equations = """dv/dt = (g_l*(e_l - v) + current + drive) / c_m : volt (unless refractory)
                       current = i_0*(e_ex - v) + i_1*(e_in - v) : amp
                       di_0/dt = -i_0 / tau_ex : siemens
                       di_1/dt = -i_1 / tau_in : siemens
                       drive : amp (constant)"""
    elif model == "izhikevich":
        names = {"w": 0.0001}
        equations = """dv/dt = (0.04*v**2 + 5*v + 140 - u + drive / pA) / ms : 1
                       du/dt = 0.02 * (0.2 * v - u) / ms : 1
                       drive : amp (constant)"""
        on_pre, rest, more, threshold, reset = "v_post += w", "-65", {}, "v >= 30", "v = -65; u += 8"
    elif model == "aeif_psc_exp":
        names |= {"g_l": 30 * ns, "c_m": 281 * pf, "e_l": -70.6 * mv, "v_th": -50.4 * mv, "d": 2 * mv, "a": 4 * ns}
        names |= {"tau_w": 144 * ms, "b": 80.5 * pa, "v_reset": -60 * mv, "tau_ex": 0.2 * ms}
        # As ours: otherwise the upstroke is too steep for a step of Runge-Kutta, and most neurons never fire again.
        u = "clip(v, -1*volt, 0*volt)" if method == "rk4" else "v"
        equations = f"""dv/dt = (g_l*(e_l - u) + g_l*d*exp((u - v_th) / d) + i_0 + i_1 - w_a + drive) / c_m : volt
                        dw_a/dt = (a*(u - e_l) - w_a) / tau_w : amp
                        u = {u} : volt\n{_SYNAPSES}"""
        threshold, reset, more = "v >= 0*mV", "v = v_reset; w_a += b", {}
    made = b.NeuronGroup(n, equations, threshold=threshold, reset=reset, method=method, namespace=names, **more)
    low, high = CURRENT[model]
    made.v, made.drive = rest, f"({low} + {high - low} * i / {n}) * pA"
    if model == "izhikevich":
        made.u = "0.2 * v"
    return made, on_pre

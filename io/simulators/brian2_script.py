"""How an exported script builds and runs its network in Brian 2: see ``connectome.io.scripts``."""

import brian2 as b2
import numpy as np

DATA, DT_MS, REGIONS, EDGES, propagators = {}, 0.1, {}, [], dict


# %%
# The network in Brian 2. Numbers are in mV, pA, nS, pF and ms. Every model adds the weights of its edges to two
# variables, the positive ones to the first and the negative ones to the second.
#
# A spike of step s, counted from 1, is Brian's of the time (s - 1) * DT_MS, at which that step begins.

# Leaky integrate-and-fire with exponential currents, v above E_L:
#     C_m dv/dt = -C_m v / tau_m + i_ex + i_in + I_e,   di/dt = -i / tau_syn
# solved exactly for a time step (Rotter & Diesmann 1999), also where two time constants are the same, which Brian's
# method "exact" cannot do. "a" raises the threshold, of alif.
LINEAR = {
    "equations": """
        v : 1
        i_ex : 1
        i_in : 1
        wait : 1
        a : 1
        fired : 1
        theta : 1 (constant)
        reset : 1 (constant)
        ref_steps : 1 (constant)
        p22 : 1 (constant)
        p21_ex : 1 (constant)
        p21_in : 1 (constant)
        p20 : 1 (constant)
        p11_ex : 1 (constant)
        p11_in : 1 (constant)
        rho : 1 (constant)
        beta : 1 (constant)
        I_e : 1 (constant)
    """,
    "step": """
        a = rho*a + fired
        fired = 0
        v = int(wait > 0)*reset + int(wait < 1)*(p22*v + p21_ex*i_ex + p21_in*i_in + p20*I_e)
        wait = clip(wait - 1, 0, inf)
        i_ex *= p11_ex
        i_in *= p11_in
    """,
    "threshold": "v >= theta + beta*a",
    "reset": "v = reset; wait = ref_steps; fired = 1",
    "arrivals": ("i_ex", "i_in"),
}

# Forward Euler, as NEST does it; a jump acts at the beginning of the step after its arrival.
IZHIKEVICH = {
    "equations": """
        v : 1
        u : 1
        jump : 1
        a : 1 (constant)
        b : 1 (constant)
        c : 1 (constant)
        d : 1 (constant)
        V_th : 1 (constant)
        V_min : 1 (constant)
        I_e : 1 (constant)
    """,
    "step": """
        before = v + jump
        jump = 0
        v = clip(before + DT_MS*(0.04*before*before + 5*before + 140 - u + I_e), V_min, inf)
        u += DT_MS*a*(b*before - u)
    """,
    "threshold": "v >= V_th",
    "reset": "v = c; u += d",
    "arrivals": ("jump", "jump"),
}

CONDUCTANCES = {
    "equations": """
        dv/dt = (g_L*(E_L - v) + g_ex*(E_ex - v) - g_in*(E_in - v) + I_e)/C_m/ms : 1 (unless refractory)
        dg_ex/dt = -g_ex/(tau_syn_ex*ms) : 1
        dg_in/dt = -g_in/(tau_syn_in*ms) : 1
        g_L : 1 (constant)
        C_m : 1 (constant)
        pause : 1 (constant)
        V_th : 1 (constant)
        V_reset : 1 (constant)
        E_L : 1 (constant)
        E_ex : 1 (constant)
        E_in : 1 (constant)
        tau_syn_ex : 1 (constant)
        tau_syn_in : 1 (constant)
        I_e : 1 (constant)
    """,
    "threshold": "v >= V_th",
    "reset": "v = V_reset",
    "arrivals": ("g_ex", "g_in"),
}

ADEX = {
    "equations": """
        dv/dt = (g_L*(E_L - top) + rise + i_ex + i_in - w + I_e)/C_m/ms : 1 (unless refractory)
        dw/dt = (a*(top - E_L) - w)/(tau_w*ms) : 1
        top = clip(v, -inf, peak) : 1
        rise = g_L*Delta_T*exp((top - V_th)*slope) : 1
        di_ex/dt = -i_ex/(tau_syn_ex*ms) : 1
        di_in/dt = -i_in/(tau_syn_in*ms) : 1
        C_m : 1 (constant)
        g_L : 1 (constant)
        E_L : 1 (constant)
        V_th : 1 (constant)
        Delta_T : 1 (constant)
        slope : 1 (constant)
        peak : 1 (constant)
        V_reset : 1 (constant)
        pause : 1 (constant)
        a : 1 (constant)
        b : 1 (constant)
        tau_w : 1 (constant)
        tau_syn_ex : 1 (constant)
        tau_syn_in : 1 (constant)
        I_e : 1 (constant)
    """,
    "threshold": "v >= peak",
    "reset": "v = V_reset; w += b",
    "arrivals": ("i_ex", "i_in"),
}

MODELS = {
    "iaf_psc_exp": LINEAR, "alif": LINEAR, "leaky_integrator": LINEAR, "izhikevich": IZHIKEVICH,
    "iaf_cond_exp": CONDUCTANCES, "aeif_psc_exp": ADEX,
}  # fmt: skip


def add_options(parser):
    """How Brian 2 generates its code."""
    parser.add_argument(
        "--target", default="auto", choices=["auto", "cython", "numpy"],
        help="compiled by Cython, which takes minutes the first time, or NumPy (default: %(default)s)",
    )  # fmt: skip


def constants(model, p):
    """What the equations want to know of each neuron."""
    if MODELS[model] is LINEAR:
        return {**propagators(p), "I_e": p["I_e"], "v": p["v"] - p["E_L"]}
    found = dict(p)
    if "t_ref" in p:  # Brian counts the step of the spike as well
        found["pause"] = (np.rint(found.pop("t_ref") / DT_MS) + 1) * DT_MS
    if model == "aeif_psc_exp":
        found["slope"] = 1 / np.where(p["Delta_T"] > 0, p["Delta_T"], np.inf)
        found["peak"] = np.where(p["Delta_T"] > 0, found.pop("V_peak"), p["V_th"])
    return found


def neurons(region, current_pa, poisson, seed):
    """The neurons of a region, with what drives them."""
    model = MODELS[region["model"]]
    how = {"refractory": "pause*ms", "method": "rk4"} if "step" not in model else {}
    equations = model["equations"] + "mean : 1 (constant)\njump_ex : 1 (constant)\njump_in : 1 (constant)"
    group = b2.NeuronGroup(
        region["size"], equations, threshold=model["threshold"], reset=model["reset"], namespace={"DT_MS": DT_MS},
        **how,
    )  # fmt: skip
    for name, value in constants(region["model"], region["parameters"] | region["start"]).items():
        setattr(group, name, value)
    group.I_e = group.I_e + current_pa
    if "step" in model:
        group.run_regularly(model["step"], when="groups")
    if poisson is not None:
        rate_hz, weight = poisson
        group.mean = rate_hz * DT_MS / 1000
        group.jump_ex, group.jump_in = np.maximum(weight, 0.0), np.minimum(weight, 0.0)
        excitatory, inhibitory = model["arrivals"]
        group.run_regularly(
            f"events = poisson(mean)\n{excitatory} += events*jump_ex\n{inhibitory} += events*jump_in",
            when="synapses",
        )
    return group


def sensors(size, step, neuron):
    """A generator of given spikes, and how many copies of the sensor it has. Brian fires a neuron once a step: a second
    spike in a step comes from a copy of the neuron, with the same edges."""
    fresh = np.ones(step.size, bool)
    fresh[1:] = (step[1:] != step[:-1]) | (neuron[1:] != neuron[:-1])
    place = np.arange(step.size)
    copy = place - np.maximum.accumulate(np.where(fresh, place, 0))
    copies = int(copy.max(initial=0)) + 1
    return b2.SpikeGeneratorGroup(size * copies, neuron + size * copy, (step - 1) * DT_MS * b2.ms), copies


def edges(number, e, groups, copies):
    """An edge set."""
    arrivals = MODELS[REGIONS[e["target_region"]]["model"]]["arrivals"]
    columns = {}
    for name in ("source", "target", "weight", "delay_steps"):
        columns[name] = DATA[f"edges{number}:{name}"] if e.get(name) is None else e[name]
    weight, delay = columns["weight"], columns["delay_steps"]
    names = [name for name, signed in zip(arrivals, (weight, -np.asarray(weight))) if np.any(np.asarray(signed) > 0)]
    if len(names) == 2 and arrivals[0] != arrivals[1]:
        on_pre = f"{names[0]}_post += clip(x, 0, inf); {names[1]}_post += clip(x, -inf, 0)"
    else:
        on_pre = f"{(names or arrivals)[0]}_post += x"
    same = np.ndim(delay) == 0
    made = b2.Synapses(
        groups[e["source_region"]], groups[e["target_region"]], "x : 1", on_pre=on_pre,
        **({"delay": delay * DT_MS * b2.ms} if same else {}),
    )  # fmt: skip
    many = copies.get(e["source_region"], 1)
    for copy in range(many):
        size = REGIONS[e["source_region"]]["size"]
        made.connect(i=columns["source"].astype(np.int64) + copy * size, j=columns["target"].astype(np.int64))
    made.x = weight if np.ndim(weight) == 0 else np.tile(weight, many)
    if not same:
        made.delay = np.tile(delay * DT_MS, many) * b2.ms
    return made


def simulate(options, steps, poisson, current_pa, spikes):
    """Build the network and run it. Spikes of neurons, region -> (steps, neurons); potentials, region -> (steps,
    neurons)."""
    b2.prefs.codegen.target = options.target
    b2.defaultclock.dt = DT_MS * b2.ms
    b2.seed(options.seed % 2**32)
    groups, copies, heard, seen = {}, {}, {}, {}
    for name, region in REGIONS.items():
        if region["role"] == "sensor":
            groups[name], copies[name] = sensors(region["size"], *spikes[name])
            continue
        groups[name] = neurons(region, current_pa.get(name, 0.0), poisson.get(name), options.seed)
        heard[name] = b2.SpikeMonitor(groups[name])
        if name in options.record_v:
            seen[name] = b2.StateMonitor(groups[name], "v", record=True, when="end")
    made = [edges(number, e, groups, copies) for number, e in enumerate(EDGES)]
    b2.Network(*groups.values(), *heard.values(), *seen.values(), *made).run(steps * DT_MS * b2.ms)

    fired = {
        name: (np.rint(np.asarray(m.t / b2.ms) / DT_MS).astype(np.int64) + 1, np.asarray(m.i))
        for name, m in heard.items()
    }
    v_mv = {}
    for name, monitor in seen.items():
        linear = MODELS[REGIONS[name]["model"]] is LINEAR
        v_mv[name] = np.asarray(monitor.v).T + (REGIONS[name]["parameters"]["E_L"] if linear else 0.0)
    return fired, v_mv

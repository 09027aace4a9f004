"""How an exported script builds and runs its network in GeNN: see ``connectome.io.scripts``."""

import re

import numpy as np
import pygenn as genn

DATA, DATA_FILE, DT_MS, REGIONS, EDGES, propagators = {}, None, 0.1, {}, [], dict


# %%
# The network in GeNN. Numbers are in mV, pA, nS, pF and ms. In each step a model is given what arrives over positive
# weights, "ex", and over negative ones, "inh"; both act on v from the next step on.
#
# A spike of step s, counted from 1, is GeNN's of the time (s - 1) * DT_MS, at which that step begins.

# Leaky integrate-and-fire with exponential currents, v above E_L, solved exactly (Rotter & Diesmann 1999):
#     C_m dv/dt = -C_m v / tau_m + i_ex + i_in + I_e,   di/dt = -i / tau_syn
LINEAR = {
    "state": ("v", "i_ex", "i_in", "wait"),
    "step": """
        v = (wait > 0.0) ? reset : p22 * v + p21_ex * i_ex + p21_in * i_in + p20 * I_e;
        wait = fmax(wait - 1.0, 0.0);
        i_ex = p11_ex * i_ex + ex;
        i_in = p11_in * i_in + inh;
    """,
    "threshold": "v >= theta",
    "reset": "v = reset; wait = ref_steps;",
}

# With a threshold that each spike raises by beta.
ALIF = {
    "state": (*LINEAR["state"], "a", "fired"),
    "step": "a = rho * a + fired;\nfired = 0.0;" + LINEAR["step"],
    "threshold": "v >= theta + beta * a",
    "reset": LINEAR["reset"] + " fired = 1.0;",
}

# Currents that rise before they fall; also solved exactly.
ALPHA = {
    "state": (*LINEAR["state"], "rise_ex", "rise_in"),
    "step": """
        const scalar rising = p31_ex * rise_ex + p31_in * rise_in;
        v = (wait > 0.0) ? reset : p22 * v + p21_ex * i_ex + p21_in * i_in + p20 * I_e + rising;
        wait = fmax(wait - 1.0, 0.0);
        i_ex = p11_ex * i_ex + lift_ex * rise_ex;
        i_in = p11_in * i_in + lift_in * rise_in;
        rise_ex = p11_ex * rise_ex + ex;
        rise_in = p11_in * rise_in + inh;
    """,
    "threshold": LINEAR["threshold"],
    "reset": LINEAR["reset"],
}

# Forward Euler, as NEST does it; a jump acts at the beginning of the step after its arrival.
IZHIKEVICH = {
    "state": ("v", "u", "jump"),
    "step": """
        const scalar before = v + jump;
        v = fmax(before + dt * (0.04 * before * before + 5.0 * before + 140.0 - u + I_e), V_min);
        u += dt * a * (b * before - u);
        jump = ex + inh;
    """,
    "threshold": "v >= V_th",
    "reset": "v = c; u += d;",
}

# Runge-Kutta 4 in two substeps; conductances are exact. That of inhibition is negative, as its weights are.
SLOPE = "h * (({v} - E_in) * {g_in} - ({v} - E_L) * g_L - ({v} - E_ex) * {g_ex} + I_e)"
CONDUCTANCES = {
    "state": ("v", "g_ex", "g_in", "wait"),
    "step": f"""
        for (int part = 0; part < 2; part++) {{
            const scalar mid_ex = half_ex * g_ex, mid_in = half_in * g_in;
            const scalar end_ex = half_ex * mid_ex, end_in = half_in * mid_in;
            const scalar k1 = {SLOPE.format(v="v", g_ex="g_ex", g_in="g_in")};
            const scalar k2 = {SLOPE.format(v="(v + k1 / 2.0)", g_ex="mid_ex", g_in="mid_in")};
            const scalar k3 = {SLOPE.format(v="(v + k2 / 2.0)", g_ex="mid_ex", g_in="mid_in")};
            const scalar k4 = {SLOPE.format(v="(v + k3)", g_ex="end_ex", g_in="end_in")};
            v += (k1 + 2.0 * k2 + 2.0 * k3 + k4) / 6.0;
            g_ex = end_ex;
            g_in = end_in;
        }}
        v = (wait > 0.0) ? V_reset : v;
        wait = fmax(wait - 1.0, 0.0);
        g_ex += ex;
        g_in += inh;
    """,
    "threshold": "v >= V_th",
    "reset": "v = V_reset; wait = ref_steps;",
}

MODELS = {
    "iaf_psc_exp": LINEAR, "leaky_integrator": LINEAR, "alif": ALIF, "iaf_psc_alpha": ALPHA, "izhikevich": IZHIKEVICH,
    "iaf_cond_exp": CONDUCTANCES,
}  # fmt: skip

# How many Poisson events are in a step: waiting times until its end.
POISSON_EVENTS = """
    scalar events = 0.0;
    scalar waited = gennrand_exponential();
    while (waited < mean) {
        events += 1.0;
        waited += gennrand_exponential();
    }
    ex += events * jump_ex;
    inh += events * jump_in;
"""


def add_options(parser):
    """Where GeNN runs it, and in which precision."""
    parser.add_argument(
        "--backend", choices=["cuda", "hip", "single_threaded_cpu"], help="default: a GPU, if GeNN was built for one"
    )
    parser.add_argument("--precision", default="float", choices=["float", "double"], help="default: %(default)s")


def constants(model, p):
    """What the equations want to know of each neuron, and its state at first."""
    start = {"v": p["v"]} | ({"u": p["u"]} if model == "izhikevich" else {})
    if model == "izhikevich":
        return {k: p[k] for k in ("a", "b", "c", "d", "V_th", "V_min", "I_e")} | start
    if model == "iaf_cond_exp":
        half = {f"half_{k}": np.exp(-DT_MS / (4 * p[f"tau_syn_{k}"])) for k in ("ex", "in")}
        kept = {k: p[k] for k in ("E_L", "E_ex", "E_in", "g_L", "V_th", "V_reset", "I_e")}
        return kept | half | {"h": DT_MS / 2 / p["C_m"], "ref_steps": np.rint(p["t_ref"] / DT_MS)} | start
    found = {**propagators(p), "I_e": p["I_e"], "v": p["v"] - p["E_L"]}
    if model == "iaf_psc_alpha":
        for k in ("ex", "in"):
            tau, total = p[f"tau_syn_{k}"], 0.0
            for node, weight in zip(*np.polynomial.legendre.leggauss(10)):  # of the convolution of three exponentials
                s = (node + 1) / 2 * DT_MS
                total = total + weight / 2 * s * np.exp((s - DT_MS) / p["tau_m"] - s / tau)
            found[f"p31_{k}"] = total * np.e * DT_MS / p["C_m"] / tau
            found[f"lift_{k}"] = np.e * DT_MS / tau * found[f"p11_{k}"]
    if model != "alif":
        del found["rho"], found["beta"]
    return found


def neurons(model, place, region, current_pa, poisson):
    """The neurons of a region, with what drives them."""
    about = MODELS[region["model"]]
    given = constants(region["model"], region["parameters"] | region["start"])
    given["I_e"] = given["I_e"] + current_pa
    if poisson is not None:
        rate_hz, weight = poisson
        given["mean"] = rate_hz * DT_MS / 1000
        given |= {"jump_ex": np.maximum(weight, 0.0), "jump_in": np.minimum(weight, 0.0)}
    state = {name: given.pop(name, 0.0) for name in about["state"]}
    given = {name: np.minimum(x, 1e30) for name, x in given.items()}  # no threshold
    same = {name: float(x) for name, x in given.items() if np.ndim(x) == 0}
    each = {name: x for name, x in given.items() if name not in same}
    made = genn.create_neuron_model(
        f"model{place}", params=list(same),
        vars=[(name, "scalar") for name in state] + [(name, "scalar", genn.VarAccess.READ_ONLY) for name in each],
        additional_input_vars=[("inhibitory", "scalar", 0.0)],
        sim_code="scalar ex = Isyn, inh = inhibitory;\n" + (POISSON_EVENTS if poisson else "") + about["step"],
        threshold_condition_code=about["threshold"], reset_code=about["reset"],
    )  # fmt: skip
    group = model.add_neuron_population(f"region{place}", region["size"], made, same, state | each)
    group.spike_recording_enabled = True
    return group


def sensors(model, place, size, step, neuron):
    """Neurons that fire in given steps, and how many copies of the sensor there are: a neuron fires once a step, so a
    second spike in a step comes from a copy of it, with the same edges."""
    fresh = np.ones(step.size, bool)
    fresh[1:] = (step[1:] != step[:-1]) | (neuron[1:] != neuron[:-1])
    at = np.arange(step.size)
    copy = at - np.maximum.accumulate(np.where(fresh, at, 0))
    copies = int(copy.max(initial=0)) + 1
    who = neuron + size * copy
    order = np.lexsort((step, who))
    last = np.cumsum(np.bincount(who, minlength=size * copies))
    made = genn.create_neuron_model(
        f"sensor{place}", vars=[("next", "unsigned int"), ("last", "unsigned int", genn.VarAccess.READ_ONLY)],
        extra_global_params=[("steps", "unsigned int*")],
        threshold_condition_code="next != last && t + 0.5 * dt >= steps[next] * dt", reset_code="next++;",
    )  # fmt: skip
    first = np.concatenate([[0], last[:-1]])
    group = model.add_neuron_population(f"region{place}", size * copies, made, {}, {"next": first, "last": last})
    group.extra_global_params["steps"].set_init_values(np.append(step[order] - 1, 0).astype(np.uint32))
    return group, copies


def edges(model, number, e, groups, copies):
    """An edge set: synapses for each sign of its weights, and for each copy of its source."""
    columns = {}
    for name in ("source", "target", "weight", "delay_steps"):
        columns[name] = DATA[f"edges{number}:{name}"] if e.get(name) is None else np.full(e["edges"], e[name])
    many, size = copies.get(e["source_region"], 1), REGIONS[e["source_region"]]["size"]
    for sign, target in ((1, "Isyn"), (-1, "inhibitory")):
        mine = columns["weight"] >= 0 if sign > 0 else columns["weight"] < 0
        if not mine.any():
            continue
        source, post, weight, delay = (columns[k][mine] for k in ("source", "target", "weight", "delay_steps"))
        same = {k: x[0].item() for k, x in (("g", weight), ("d", delay)) if (x == x[0]).all()}
        each = {"g": np.tile(weight, many)} if "g" not in same else {}
        if "d" not in same:
            each["d"] = np.tile(delay, many).astype(np.int64) - 1  # GeNN's 0 is the step after that of the spike
        kinds = {"g": "scalar", "d": "uint16_t"}
        pulse = genn.create_weight_update_model(
            f"pulse{number}_{sign + 1}", params=["g"] if "g" in same else [],
            vars=[(k, kinds[k], genn.VarAccess.READ_ONLY) for k in each],
            pre_spike_syn_code="addToPostDelay(g, d);" if "d" in each else "addToPost(g);",
        )  # fmt: skip
        made = model.add_synapse_population(
            f"edges{number}_{sign + 1}", "SPARSE", groups[e["source_region"]], groups[e["target_region"]],
            genn.init_weight_update(pulse, {"g": same["g"]} if "g" in same else {}, each),
            genn.init_postsynaptic("DeltaCurr"),
        )  # fmt: skip
        made.set_sparse_connections(
            np.concatenate([source.astype(np.int64) + size * copy for copy in range(many)]),
            np.tile(post.astype(np.int64), many),
        )
        made.post_target_var = target
        if "d" in each:
            made.max_dendritic_delay_timesteps = int(each["d"].max()) + 1
        else:
            made.axonal_delay_steps = same["d"] - 1


def simulate(options, steps, poisson, current_pa, spikes):
    """Build the network and run it. Spikes of neurons, region -> (steps, neurons); potentials, region -> (steps,
    neurons)."""
    name = "genn_" + re.sub(r"\W", "_", DATA_FILE.stem)
    model = genn.GeNNModel(options.precision, name, backend=options.backend, time_precision="double")
    model.dt, model.seed = DT_MS, options.seed % (2**32 - 1) + 1  # 0: another one each time
    model.fuse_postsynaptic_models = model.default_narrow_sparse_ind_enabled = True
    groups, copies = {}, {}
    for place, (name, region) in enumerate(REGIONS.items()):
        if region["role"] == "sensor":
            groups[name], copies[name] = sensors(model, place, region["size"], *spikes[name])
        else:
            groups[name] = neurons(model, place, region, current_pa.get(name, 0.0), poisson.get(name))
    for number, e in enumerate(EDGES):
        edges(model, number, e, groups, copies)
    model.build(str(DATA_FILE.parent))  # a folder beside the script, which the next run uses again
    block = min(steps, 1000)
    model.load(num_recording_timesteps=block)

    heard = {name: group for name, group in groups.items() if name not in copies}
    fired, v_mv = {name: ([], []) for name in heard}, {name: [] for name in options.record_v}
    for _ in range(0, steps, block):  # the last steps of the last block are too many
        for _ in range(block):
            model.step_time()
            for name, rows in v_mv.items():
                heard[name].vars["v"].pull_from_device()
                rows.append(heard[name].vars["v"].view.copy())
        model.pull_recording_buffers_from_device()
        for name, group in heard.items():
            times, who = group.spike_recording_data[0]
            step = np.rint(times / DT_MS).astype(np.int64) + 1
            fired[name][0].append(step[step <= steps])
            fired[name][1].append(who[step <= steps].astype(np.int64))
    for name, rows in v_mv.items():
        linear = REGIONS[name]["model"] not in ("izhikevich", "iaf_cond_exp")
        v_mv[name] = np.array(rows[:steps]) + (REGIONS[name]["parameters"]["E_L"] if linear else 0.0)
    return {name: tuple(map(np.concatenate, pair)) for name, pair in fired.items()}, v_mv

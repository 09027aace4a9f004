"""How an exported script builds and runs its network in NEST: see ``connectome.io.scripts``."""

import zipfile

import nest
import numpy as np

DT_MS, REGIONS, EDGES, DATA_FILE = 0.1, {}, [], ""


# %%
# The network in NEST.
#
# A neuron's spike of step s, counted from 1, has the time s * DT_MS. NEST's generators begin a step later than a
# constant current: so I_e holds the currents, and sensors are generators of the spikes themselves.


def add_options(parser):
    """What NEST alone can do."""
    parser.add_argument("--threads", type=int, default=1, help="of NEST (default: %(default)s)")


def listed(value, size):
    """What NEST takes: one number for all neurons, or a list with one for each; it may be a list itself."""
    if isinstance(value, list):
        return [value] * size
    return value.tolist() if isinstance(value, np.ndarray) else value


def chunks(name, edges, value, size=2**20):
    """A column of an edge set, a million numbers at a time, so that a large network is in memory only once: in NEST.
    ``value``: the number that is the same for all edges, or None."""
    if value is not None:
        for start in range(0, edges, size):
            yield np.full(min(size, edges - start), value)
        return
    with zipfile.ZipFile(DATA_FILE) as archive, archive.open(f"{name}.npy") as file:
        np.lib.format.read_magic(file)
        _, _, dtype = np.lib.format.read_array_header_1_0(file)
        for start in range(0, edges, size):
            yield np.frombuffer(file.read(min(size, edges - start) * dtype.itemsize), dtype)


def connect(nodes):
    """All edges, one by one as they are in the data. What arrives at gif_psc_exp is felt a step earlier than elsewhere:
    its delays are a step longer."""
    first = {name: node[0].global_id for name, node in nodes.items()}
    for number, e in enumerate(EDGES):
        later = 1 if REGIONS[e["target_region"]]["model"] == "gif_psc_exp" else 0
        columns = (
            chunks(f"edges{number}:{column}", e["edges"], e.get(column))
            for column in ("source", "target", "weight", "delay_steps")
        )
        for source, target, weight, delay in zip(*columns):
            nest.Connect(
                source.astype(np.int64) + first[e["source_region"]],
                target.astype(np.int64) + first[e["target_region"]],
                "one_to_one",
                {"weight": weight.astype(float), "delay": (delay + later) * DT_MS},
            )


def simulate(options, steps, poisson, current_pa, spikes):
    """Build the network and run it. Spikes of neurons, region -> (steps, neurons); potentials, region -> (steps,
    neurons)."""
    nest.ResetKernel()
    nest.set(resolution=DT_MS, local_num_threads=options.threads, rng_seed=options.seed % (2**32 - 1) + 1)
    nodes, meters = {}, {}
    recorder = nest.Create("spike_recorder")
    for name, region in REGIONS.items():
        if region["role"] == "sensor":
            step, neuron = spikes[name]
            order = np.argsort(neuron, kind="stable")
            trains = np.split(step[order] * DT_MS, np.cumsum(np.bincount(neuron, minlength=region["size"]))[:-1])
            nodes[name] = nest.Create("spike_generator", region["size"], [{"spike_times": t.tolist()} for t in trains])
            continue
        parameters = region["parameters"] | {f"{k.upper()}_m": value for k, value in region["start"].items()}
        parameters["I_e"] = parameters["I_e"] + current_pa.get(name, 0.0)
        parameters = {key: listed(value, region["size"]) for key, value in parameters.items()}
        nodes[name] = nest.Create(region["model"], region["size"], parameters)
        nest.Connect(nodes[name], recorder)
        if name in options.record_v:
            meters[name] = nest.Create("multimeter", params={"interval": DT_MS, "record_from": ["V_m"]})
            nest.Connect(meters[name], nodes[name])
        if name in poisson:  # a generator gives each of its targets a train of its own
            rate_hz, weight = (np.broadcast_to(x, region["size"]).astype(float) for x in poisson[name])
            sources = nest.Create("poisson_generator", region["size"], {"rate": rate_hz.tolist()})
            nest.Connect(sources, nodes[name], "one_to_one", {"weight": weight, "delay": np.full(weight.size, DT_MS)})
    connect(nodes)
    nest.Simulate((steps + 2) * DT_MS)  # devices hear of the last step two steps later

    fired, v_mv = {}, {}
    events = recorder.events
    for name, node in nodes.items():
        if REGIONS[name]["role"] != "sensor":
            k = events["senders"] - node[0].global_id
            step = np.rint(events["times"] / DT_MS).astype(np.int64)
            mine = (k >= 0) & (k < REGIONS[name]["size"]) & (step <= steps)
            fired[name] = step[mine], k[mine]
    for name, meter in meters.items():
        seen = meter.events
        order = np.lexsort((seen["senders"], seen["times"]))
        v_mv[name] = seen["V_m"][order].reshape(-1, REGIONS[name]["size"])[:steps]
    return fired, v_mv

"""How an exported script builds and runs its network in NEST: see ``connectome.io.scripts``."""

import nest
import numpy as np

DT_MS, REGIONS, EDGES = 0.1, {}, []
chunks = print


# %%
# The network in NEST.
#
# A neuron's spike of step s, counted from 1, has the time s * DT_MS. NEST's generators begin a step later than a
# constant current: so I_e holds the currents, and sensors are generators of the spikes themselves.


def add_options(parser):
    """What NEST alone can do."""
    parser.add_argument("--threads", type=int, default=1, help="of NEST (default: %(default)s)")


def listed(value, mine):
    """What NEST takes: one number for all neurons, or a list with one for each of these; it may be a list itself."""
    if isinstance(value, list):
        return [value] * mine.size
    return value[mine].tolist() if isinstance(value, np.ndarray) else value


def local(node):
    """Which neurons of a region this rank has: NEST deals them out one by one. All of them, without MPI."""
    return slice((nest.Rank() - node[0].global_id) % nest.NumProcesses(), None, nest.NumProcesses())


def connect(nodes):
    """All edges into neurons of this rank, one by one as they are in the data. What arrives at gif_psc_exp is felt a
    step earlier than elsewhere: its delays are a step longer."""
    first = {name: node[0].global_id for name, node in nodes.items()}
    for number, e in enumerate(EDGES):
        later = 1 if REGIONS[e["target_region"]]["model"] == "gif_psc_exp" else 0
        columns = (
            chunks(f"edges{number}:{column}", e["edges"], e.get(column))
            for column in ("source", "target", "weight", "delay_steps")
        )
        for source, target, weight, delay in zip(*columns):
            target = target.astype(np.int64) + first[e["target_region"]]
            mine = target % nest.NumProcesses() == nest.Rank()
            nest.Connect(
                source[mine].astype(np.int64) + first[e["source_region"]],
                target[mine],
                "one_to_one",
                {
                    "weight": weight[mine].astype(float),
                    "delay": (delay[mine] + later) * DT_MS,
                    **e.get("synapse", {}),
                },
            )


def on_first_rank(found, out):
    """What all ranks have found, on the first one, by way of files beside ``out``; the others end here."""
    ranks, rank = nest.NumProcesses(), nest.Rank()
    if ranks == 1:
        return found
    files = [out.with_name(f"{out.stem}.rank{k}.npz") for k in range(ranks)]
    np.savez(files[rank], **found)
    nest.SyncProcesses()
    if rank:
        raise SystemExit
    parts = [dict(np.load(file)) for file in files]
    for file in files:
        file.unlink()
    return {name: np.concatenate([part[name] for part in parts], axis=-1) for name in found}


def simulate(options, steps, poisson, current_pa, spikes):
    """Build the network and run it. Spikes of neurons, region -> (steps, neurons); potentials, region -> (steps,
    neurons)."""
    nest.ResetKernel()
    nest.set(resolution=DT_MS, local_num_threads=options.threads, rng_seed=options.seed % (2**32 - 1) + 1)
    nodes, meters = {}, {}
    recorder = nest.Create("spike_recorder")
    for name, region in REGIONS.items():
        sensor = region["role"] == "sensor"
        nodes[name] = node = nest.Create("spike_train_injector" if sensor else region["model"], region["size"])
        mine = np.arange(region["size"])[local(node)]
        if sensor:
            step, neuron = spikes[name]
            order = np.argsort(neuron, kind="stable")
            trains = np.split(step[order] * DT_MS, np.cumsum(np.bincount(neuron, minlength=region["size"]))[:-1])
            if mine.size:
                node[local(node)].set([{"spike_times": trains[k].tolist()} for k in mine])
            continue
        parameters = region["parameters"] | {f"{k.upper()}_m": value for k, value in region["start"].items()}
        parameters["I_e"] = parameters["I_e"] + current_pa.get(name, 0.0)
        if mine.size:
            node[local(node)].set({key: listed(value, mine) for key, value in parameters.items()})
        nest.Connect(node, recorder)
        if name in options.record_v:
            meters[name] = nest.Create("multimeter", params={"interval": DT_MS, "record_from": ["V_m"]})
            nest.Connect(meters[name], node)
        if name in poisson and mine.size:  # a generator gives each of its targets a train of its own
            rate_hz, weight = (np.broadcast_to(x, region["size"])[mine].astype(float) for x in poisson[name])
            sources = nest.Create("poisson_generator", mine.size, {"rate": rate_hz.tolist()})
            syn = {"weight": weight, "delay": np.full(mine.size, DT_MS)}
            nest.Connect(sources, node[local(node)], "one_to_one", syn)
    connect(nodes)
    nest.Simulate((steps + 2) * DT_MS)  # devices hear of the last step two steps later

    found = {}
    events = recorder.events
    step = np.rint(events["times"] / DT_MS).astype(np.int64)
    for name, node in nodes.items():
        if REGIONS[name]["role"] != "sensor":
            k = events["senders"] - node[0].global_id
            mine = (k >= 0) & (k < REGIONS[name]["size"]) & (step <= steps)
            found |= {f"{name}:step": step[mine], f"{name}:neuron": k[mine]}
    for name, meter in meters.items():
        seen = meter.events
        order = np.lexsort((seen["senders"], seen["times"]))
        neuron = np.unique(seen["senders"]) - nodes[name][0].global_id
        v_mv = seen["V_m"][order].reshape(-1, max(neuron.size, 1))[:steps, : neuron.size]
        found |= {f"{name}:v_mv": v_mv, f"{name}:measured": neuron}
    found = on_first_rank(found, options.out)
    fired = {name: (found[f"{name}:step"], found[f"{name}:neuron"]) for name in nodes if f"{name}:step" in found}
    v_mv = {name: found[f"{name}:v_mv"][:, np.argsort(found[f"{name}:measured"])] for name in meters}
    return fired, v_mv

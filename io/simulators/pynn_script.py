"""How an exported script builds and runs its network through PyNN: see ``connectome.io.scripts``."""

from importlib import import_module

import numpy as np

DATA, DT_MS, REGIONS, EDGES = {}, 0.1, {}, []


# %%
# The network in PyNN: currents in nA, conductances in uS, capacities in nF.


def add_options(parser):
    """Which simulator does it."""
    parser.add_argument("simulator", choices=["nest", "brian2", "neuron"], help="what PyNN runs the network on")


def edges(sim, number, e, populations):
    """An edge set, as a projection for each sign of its weights. PyNN makes a list of 32 bytes an edge of it."""
    columns = {}
    for name in ("source", "target", "weight", "delay_steps"):
        columns[name] = DATA[f"edges{number}:{name}"] if e.get(name) is None else np.full(e["edges"], e[name])
    target = REGIONS[e["target_region"]]
    weight = columns["weight"].astype(float) * (1.0 if target["model"] == "Izhikevich" else 1e-3)  # nA or uS, mV
    for receptor, mine in (("excitatory", weight >= 0), ("inhibitory", weight < 0)):
        if mine.any():
            size = np.abs(weight) if target["model"] == "IF_cond_exp" else weight
            rows = (columns["source"], columns["target"], size, columns["delay_steps"] * DT_MS)
            sim.Projection(
                populations[e["source_region"]], populations[e["target_region"]],
                sim.FromListConnector(np.column_stack([column[mine] for column in rows]), ["weight", "delay"]),
                sim.StaticSynapse(), receptor_type=receptor,
            )  # fmt: skip


def simulate(options, steps, poisson, current_pa, spikes):
    """Build the network and run it. Spikes of neurons, region -> (steps, neurons); potentials, region -> (steps,
    neurons)."""
    sim = import_module(f"pyNN.{options.simulator}")
    longest = max([1, *(np.max(DATA[f"edges{n}:delay_steps"] if e["delay_steps"] is None else e["delay_steps"])
                        for n, e in enumerate(EDGES))])  # fmt: skip
    more = {"rng_seed": options.seed % (2**32 - 1) + 1, "spike_precision": "on_grid"}
    more = more if options.simulator == "nest" else {}
    sim.setup(timestep=DT_MS, min_delay=DT_MS, max_delay=(longest + 1) * DT_MS, **more)
    populations, neurons = {}, {}
    for name, region in REGIONS.items():
        size = region["size"]
        if region["role"] == "sensor":
            step, neuron = spikes[name]
            if options.simulator == "nest":  # PyNN puts relays behind the sources, which take a step
                possible = step > 1
            else:
                possible = np.append(True, (np.diff(step) != 0) | (np.diff(neuron) != 0))[: step.size]
            if not possible.all():
                print(f"{name}: {np.sum(~possible)} spikes left out, in the first step or second ones of a step")
            step, neuron = spikes[name] = step[possible], neuron[possible]
            order = np.argsort(neuron, kind="stable")
            # A hair early: what rounding makes late in NEST is a step late.
            trains = np.split((step[order] - 1e-5) * DT_MS, np.cumsum(np.bincount(neuron, minlength=size))[:-1])
            source = sim.SpikeSourceArray(spike_times=[sim.Sequence(times) for times in trains])
            populations[name] = sim.Population(size, source)
            continue
        current = region["parameters"]["i_offset"] + current_pa.get(name, 0.0) / 1000
        cells = getattr(sim, region["model"])(**{**region["parameters"], "i_offset": current})
        neurons[name] = populations[name] = sim.Population(size, cells, initial_values=region["start"])
        neurons[name].record(["spikes", "v"] if name in options.record_v else "spikes")
        if name in poisson:
            rate_hz, weight = (np.broadcast_to(x, size).astype(float) for x in poisson[name])
            weight = weight * (1.0 if region["model"] == "Izhikevich" else 1e-3)
            sources = sim.Population(size, sim.SpikeSourcePoisson(rate=rate_hz))
            for receptor, mine in (("excitatory", weight >= 0), ("inhibitory", weight < 0)):
                if mine.any():
                    size_of = np.abs(weight) if region["model"] == "IF_cond_exp" else weight
                    k = np.flatnonzero(mine)
                    rows = np.column_stack([k, k, size_of[k], np.full(k.size, DT_MS)])
                    sim.Projection(
                        sources, neurons[name], sim.FromListConnector(rows, ["weight", "delay"]), sim.StaticSynapse(),
                        receptor_type=receptor,
                    )  # fmt: skip
    for number, e in enumerate(EDGES):
        edges(sim, number, e, populations)
    sim.run((steps + 2) * DT_MS)

    fired, v_mv = {}, {}
    for name, population in neurons.items():
        data = population.get_data().segments[-1]
        trains = [(t.annotations["source_index"], np.asarray(t.magnitude)) for t in data.spiketrains]
        step = np.rint(np.concatenate([np.zeros(0), *(t for _, t in trains)]) / DT_MS).astype(np.int64)
        neuron = np.repeat([k for k, _ in trains], [t.size for _, t in trains]).astype(np.int64)
        fired[name] = step[step <= steps], neuron[step <= steps]
        if name in options.record_v:
            v_mv[name] = np.asarray(data.filter(name="v")[0].magnitude)[1 : steps + 1]
    sim.end()
    return fired, v_mv

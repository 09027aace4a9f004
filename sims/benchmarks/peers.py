"""Other simulators on the benchmark's networks: each one in a process of its own, in its own interpreter.

``python peers.py '{"peer": "nest", "network": "cuba", ...}'`` builds the network, says so in one line of JSON, and then
simulates once for each line that it reads. Only the standard library is imported before the peer is known, as its
interpreter need not have anything else, least of all this package.

Each peer has the form of the network that is fastest for it: one weight for a population where it can, single
precision where that is its habit, its own generator for the edges. All of them record every spike. Only the simulation
is timed; generated code is compiled, and the network built, before.
"""

from __future__ import annotations

import glob
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple

__all__ = ["PEERS", "Built", "Network", "Trial", "main"]


class Network(NamedTuple):
    """What to simulate: a network of ``connectome.models``. n neurons; p: probability of an edge."""

    network: str
    n: int
    p: float
    drive: str
    duration_ms: float
    populations: Sequence[dict[str, float]] = ()  # of ``microcircuit``, for NEST alone
    projections: Sequence[dict[str, float]] = ()


class Trial(NamedTuple):
    """One simulation."""

    cpu_s: float
    wall_s: float
    spikes: int


class Built(NamedTuple):
    """A network that is ready to run."""

    version: str
    synapses: int
    simulate: Callable[[], Trial]


_DT_MS: Final = 0.1
_CUBA: Final = {
    "e_l": -49.0,
    "v_th": -50.0,
    "v_reset": -60.0,
    "tau_m": 20.0,
    "t_ref": 5.0,
    "tau_ex": 5.0,
    "tau_in": 10.0,
}
_CUBA_MV: Final = (1.62, -9.0)
_CUBA_STEPS: Final = 1
_BRUNEL_MV: Final = (0.1, -0.5)
_BRUNEL_STEPS: Final = 15
_BRUNEL_DC_MV: Final = 40.0
_EXTERNAL: Final = (1000, 20.0)  # inputs, Hz


def _timed(simulate: Callable[[], Any], count: Callable[[Any], int]) -> Trial:
    wall, cpu = time.perf_counter(), time.process_time()
    result = simulate()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Trial(cpu, wall, count(result))


def nest(net: Network) -> Built:
    """NEST. A further run goes on where the last one stopped."""
    nest: Any = import_module("nest")
    nest.ResetKernel()
    nest.resolution, nest.local_num_threads, nest.rng_seed = _DT_MS, 1, 1
    n, n_e = net.n, net.n * 4 // 5
    if net.network == "microcircuit":
        group = _nest_microcircuit(nest, net)
        synapses = nest.num_connections - n
        return _nest_run(nest, net, group, synapses)
    if net.network == "cuba":
        c = _CUBA
        group = nest.Create("iaf_psc_exp", n, params={
            "E_L": c["e_l"], "V_th": c["v_th"], "V_reset": c["v_reset"], "tau_m": c["tau_m"], "C_m": c["tau_m"],
            "t_ref": c["t_ref"], "tau_syn_ex": c["tau_ex"], "tau_syn_in": c["tau_in"],
        })  # fmt: skip
        group.V_m = nest.random.uniform(c["v_reset"], c["v_th"])
        weights, delay = _CUBA_MV, _CUBA_STEPS * _DT_MS
        rules: list[dict[str, Any]] = [{"rule": "pairwise_bernoulli", "p": net.p}] * 2
    else:
        group = nest.Create("iaf_psc_delta", n, params={
            "E_L": 0.0, "V_th": 20.0, "V_reset": 0.0, "V_m": 0.0, "tau_m": 20.0, "C_m": 20.0, "t_ref": 2.0,
        })  # fmt: skip
        weights, delay = _BRUNEL_MV, _BRUNEL_STEPS * _DT_MS
        rules = [{"rule": "fixed_indegree", "indegree": int(m * net.p)} for m in (n_e, n - n_e)]
        if net.drive == "dc":
            group.I_e, group.V_m = _BRUNEL_DC_MV, nest.random.uniform(0.0, 20.0)
    for part, rule, weight in zip((group[:n_e], group[n_e:]), rules, weights, strict=True):
        nest.Connect(part, group, rule, {"weight": weight, "delay": delay})
    synapses = nest.num_connections
    if net.drive == "poisson":
        source = nest.Create("poisson_generator", params={"rate": _EXTERNAL[0] * _EXTERNAL[1]})
        nest.Connect(source, group, syn_spec={"weight": weights[0], "delay": delay})
    return _nest_run(nest, net, group, synapses)


def _nest_run(nest: Any, net: Network, group: Any, synapses: int) -> Built:
    recorder = nest.Create("spike_recorder", params={"record_to": "memory"})
    nest.Connect(group, recorder)
    nest.Prepare()
    seen = [0]

    def count(_: object) -> int:
        seen.append(recorder.n_events)
        return int(seen[-1] - seen[-2])

    return Built("NEST " + nest.__version__, synapses, lambda: _timed(lambda: nest.Run(net.duration_ms), count))


def _nest_microcircuit(nest: Any, net: Network) -> Any:
    """Random pairs, normal weights and delays, as ``potjans_diesmann`` draws them."""
    populations = []
    for p in net.populations:
        group = nest.Create("iaf_psc_exp", int(p["n"]), params={
            "E_L": -65.0, "V_th": -50.0, "V_reset": -65.0, "C_m": 250.0, "tau_m": 10.0, "t_ref": 2.0,
            "tau_syn_ex": 0.5, "tau_syn_in": 0.5, "I_e": p["current_pa"],
        })  # fmt: skip
        group.V_m = nest.random.normal(p["v_mean_mv"], p["v_sd_mv"])
        source = nest.Create("poisson_generator", params={"rate": p["rate_hz"]})
        nest.Connect(source, group, syn_spec={"weight": p["weight_pa"], "delay": 1.5})
        populations.append(group)
    for p in net.projections:
        weight, delay = p["weight_pa"], p["delay_ms"]
        drawn = nest.random.normal(weight, 0.1 * abs(weight))
        low, high = (0.0, float("inf")) if weight > 0 else (float("-inf"), 0.0)
        nest.Connect(
            populations[int(p["source"])], populations[int(p["target"])],
            {"rule": "fixed_total_number", "N": int(p["number"])},
            {
                "weight": nest.math.redraw(drawn, low, high),
                "delay": nest.math.redraw(nest.random.normal(delay, delay / 2), _DT_MS / 2, float("inf")),
            },
        )  # fmt: skip
    group = populations[0]
    for other in populations[1:]:
        group += other
    return group


def brian2(net: Network) -> Built:
    """Brian 2, C++ standalone. A further run is the same binary again, which reports its own CPU seconds."""
    b: Any = import_module("brian2")
    b.prefs.devices.cpp_standalone.openmp_threads = 0
    b.set_device("cpp_standalone", build_on_run=False)
    b.defaultclock.dt = _DT_MS * b.ms
    b.seed(1)
    n, n_e, mv, ms = net.n, net.n * 4 // 5, b.mV, b.ms
    if net.network.startswith("neurons:"):
        group, on_pre = import_module("brian2_models").group(b, n, *net.network.split(":")[1:])
        steps, names = 1, group.namespace
    elif net.network == "cuba":
        c = _CUBA
        names = {
            "tau_m": c["tau_m"] * ms, "tau_ex": c["tau_ex"] * ms, "tau_in": c["tau_in"] * ms, "e_l": c["e_l"] * mv,
            "v_th": c["v_th"] * mv, "v_reset": c["v_reset"] * mv, "w_0": _CUBA_MV[0] * mv, "w_1": _CUBA_MV[1] * mv,
        }  # fmt: skip
        group = b.NeuronGroup(
            n,
            """dv/dt = (g_0 + g_1 - (v - e_l)) / tau_m : volt (unless refractory)
               dg_0/dt = -g_0 / tau_ex : volt
               dg_1/dt = -g_1 / tau_in : volt""",
            threshold="v > v_th", reset="v = v_reset", refractory=c["t_ref"] * ms, method="exact", namespace=names,
        )  # fmt: skip
        group.v = "v_reset + rand() * (v_th - v_reset)"
        on_pre, steps = "g_{0}_post += w_{0}", _CUBA_STEPS
    else:
        mean = _BRUNEL_DC_MV if net.drive == "dc" else 0.0
        names = {"mean": mean * mv, "tau_m": 20 * ms, "w_0": _BRUNEL_MV[0] * mv, "w_1": _BRUNEL_MV[1] * mv}
        group = b.NeuronGroup(
            n, "dv/dt = (mean - v) / tau_m : volt (unless refractory)", threshold="v >= 20*mV", reset="v = 0*mV",
            refractory=2 * ms, method="exact", namespace=names,
        )  # fmt: skip
        if net.drive == "dc":
            group.v = "rand() * 20*mV"
        on_pre, steps = "v_post += w_{0} * int(not_refractory_post)", _BRUNEL_STEPS
    parts = [group]
    for k, source in enumerate((group[:n_e], group[n_e:])):
        edges = b.Synapses(source, group, on_pre=on_pre.format(k), delay=steps * _DT_MS * ms, namespace=names)
        edges.connect(p=net.p)
        parts.append(edges)
    if net.drive == "poisson":
        parts.append(b.PoissonInput(group, "v", N=_EXTERNAL[0], rate=_EXTERNAL[1] * b.Hz, weight=_BRUNEL_MV[0] * mv))
    parts.append(b.SpikeMonitor(group))
    network = b.Network(*parts)
    b.device.insert_code("before_network_run", "const std::clock_t began = std::clock();")
    b.device.insert_code(
        "after_network_run", 'std::cerr << "cpu_s " << double(std::clock() - began) / CLOCKS_PER_SEC << std::endl;'
    )
    network.run(net.duration_ms * ms)
    b.device.build(directory="brian2", compile=True, run=True)
    synapses = len(parts[1]) + len(parts[2])

    def simulate() -> Trial:
        said = subprocess.run(["./main"], cwd="brian2", capture_output=True, text=True, check=True).stderr
        with open("brian2/results/last_run_info.txt") as file:
            wall = float(file.read().split()[0])
        (times,) = glob.glob("brian2/results/_dynamic_array_spikemonitor*_t_*")
        return Trial(float(said.split("cpu_s ")[1].split()[0]), wall, os.path.getsize(times) // 8)

    return Built(f"Brian {b.__version__} C++ standalone", synapses, simulate)


def annarchy(net: Network) -> Built:
    """ANNarchy, OpenMP code with one thread. A further run goes on where the last one stopped."""
    ann: Any = import_module("ANNarchy")
    network = ann.Network(dt=_DT_MS, seed=1)
    n, n_e, c = net.n, net.n * 4 // 5, _CUBA
    if net.network == "cuba":
        neuron = ann.Neuron(
            parameters={name: c[name] for name in ("tau_m", "tau_ex", "tau_in", "e_l", "v_th", "v_reset")},
            equations=[
                "tau_m*dv/dt = (g_exc - g_inh) + e_l - v", "tau_ex*dg_exc/dt = -g_exc", "tau_in*dg_inh/dt = -g_inh",
            ],
            spike="v > v_th", reset="v = v_reset", refractory=c["t_ref"],
        )  # fmt: skip
        weights, delay, start = _CUBA_MV, {}, (c["v_reset"], c["v_th"])
    else:
        drive = (
            f"tau_m/dt*J*Binomial({_EXTERNAL[0]}, {_EXTERNAL[1] * _DT_MS / 1000})" if net.drive == "poisson" else "mean"
        )
        neuron = ann.Neuron(
            parameters={"tau_m": 20.0, "v_th": 20.0, "v_reset": 0.0, "J": _BRUNEL_MV[0], "mean": _BRUNEL_DC_MV},
            equations=[f"tau_m*dv/dt = -v + tau_m/dt*(g_exc - g_inh) + {drive}"],
            spike="v > v_th", reset="v = v_reset", refractory=2.0,
        )  # fmt: skip
        weights, delay = _BRUNEL_MV, {"delays": _BRUNEL_STEPS * _DT_MS}
        start = (0.0, 20.0 if net.drive == "dc" else 0.0)
    group = network.create(geometry=n, neuron=neuron)
    group.v = ann.Uniform(*start) if start[0] < start[1] else start[0]
    edges = []
    for part, name, weight in zip((group[:n_e], group[n_e:]), ("exc", "inh"), weights, strict=True):
        edges.append(network.connect(part, group, name))
        edges[-1].fixed_probability(weights=abs(weight), probability=net.p, **delay)
    monitor = network.monitor(group, ["spike"])
    network.compile(directory="annarchy", clean=True, silent=True)
    return Built(
        "ANNarchy " + getattr(ann, "__release__", ann.__version__), sum(int(e.nb_synapses) for e in edges),
        lambda: _timed(
            lambda: network.simulate(net.duration_ms),
            lambda _: sum(len(times) for times in monitor.get("spike").values()),
        ),
    )  # fmt: skip


def brainevent(net: Network) -> Built:
    """brainevent's event-driven CSR product within jax.lax.scan, on JAX's CPU. A further run begins anew."""
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    np: Any = import_module("numpy")
    jax: Any = import_module("jax")
    jnp: Any = import_module("jax.numpy")
    be: Any = import_module("brainevent")
    rng = np.random.default_rng(1)
    n, n_e, n_steps = net.n, net.n * 4 // 5, round(net.duration_ms / _DT_MS)

    def rows(sources: int, weight: float) -> Any:
        size = rng.binomial(n, net.p, sources)
        begin = np.concatenate([[0], np.cumsum(size)]).astype(np.int32)
        target = rng.integers(0, n, begin[-1]).astype(np.int32)
        return be.CSR(
            (jnp.asarray(np.array([weight], np.float32)), jnp.asarray(target), jnp.asarray(begin)), shape=(sources, n)
        )

    weights = _CUBA_MV if net.network == "cuba" else _BRUNEL_MV
    edges = [rows(m, weight) for m, weight in zip((n_e, n - n_e), weights, strict=True)]

    def arriving(spikes: Any) -> list[Any]:
        return [be.BinaryArray(s) @ e for s, e in zip((spikes[:n_e], spikes[n_e:]), edges, strict=True)]

    def uniform(low: float, high: float) -> Any:
        return jnp.asarray(rng.uniform(low, high, n).astype(np.float32))

    def decay(tau: float) -> float:
        return float(np.exp(-_DT_MS / tau))

    quiet = jnp.zeros(n, jnp.int32)
    if net.network == "cuba":
        c = _CUBA
        p22, p11 = decay(c["tau_m"]), [decay(c["tau_ex"]), decay(c["tau_in"])]
        p21 = [t / (t - c["tau_m"]) * (p - p22) for t, p in zip((c["tau_ex"], c["tau_in"]), p11, strict=True)]
        pause = round(c["t_ref"] / _DT_MS)

        def step(state: Any, t: Any) -> Any:
            v, g, wait, spikes = state
            u = (v - c["e_l"]) * p22 + g[0] * p21[0] + g[1] * p21[1] + c["e_l"]
            u = jnp.where(wait > 0, v, u)
            fires = u > c["v_th"]
            g = tuple(x * p + arrived for x, p, arrived in zip(g, p11, arriving(spikes), strict=True))
            state = jnp.where(fires, c["v_reset"], u), g, jnp.where(fires, pause, jnp.maximum(wait - 1, 0)), fires
            return state, fires

        def initial(seed: int) -> Any:
            return uniform(c["v_reset"], c["v_th"]), (jnp.zeros(n), jnp.zeros(n)), quiet, jnp.zeros(n, bool)

    else:
        p22 = decay(20.0)
        mean = _EXTERNAL[0] * _EXTERNAL[1] * _DT_MS / 1000
        poisson = [np.exp(-mean)]
        for k in range(1, 30):
            poisson.append(poisson[-1] * mean / k)
        table = jnp.asarray(np.searchsorted(np.cumsum(poisson), (np.arange(65536) + 0.5) / 65536).astype(np.float32))

        def step(state: Any, t: Any) -> Any:
            v, wait, past, key = state
            if net.drive == "poisson":
                key, now = jax.random.split(key)
                drive = _BRUNEL_MV[0] * table[jax.random.bits(now, (n,), jnp.uint16)]
            else:
                drive = np.float32(_BRUNEL_DC_MV * (1 - p22))
            u = jnp.where(wait > 0, 0.0, v * p22 + sum(arriving(past[t % _BRUNEL_STEPS])) + drive)
            fires = u >= 20.0
            wait = jnp.where(fires, 20, jnp.maximum(wait - 1, 0))
            return (jnp.where(fires, 0.0, u), wait, past.at[t % _BRUNEL_STEPS].set(fires), key), fires

        def initial(seed: int) -> Any:
            v = uniform(0.0, 20.0) if net.drive == "dc" else jnp.zeros(n)
            return v, quiet, jnp.zeros((_BRUNEL_STEPS, n), bool), jax.random.key(seed, impl="rbg")

    compiled = jax.jit(lambda s: jax.lax.scan(step, s, jnp.arange(n_steps))).lower(initial(0)).compile()
    runs = [0]

    def simulate() -> Trial:
        runs[0] += 1
        state = jax.block_until_ready(initial(runs[0]))
        return _timed(lambda: jax.block_until_ready(compiled(state)), lambda result: int(result[1].sum()))

    version = f"brainevent {be.__version__}, JAX {jax.__version__}"
    return Built(version, sum(int(e.indices.size) for e in edges), simulate)


def pygenn(net: Network) -> Built:
    """PyGeNN on one core, float32, optimised. A further run goes on where the last one stopped."""
    genn: Any = import_module("pygenn")
    np: Any = import_module("numpy")
    os.environ["CXX"] = "g++ -march=native"
    model = genn.GeNNModel("float", "genn_" + net.network, backend="single_threaded_cpu", optimize_code=True)
    model.dt, model.fuse_postsynaptic_models, model.default_narrow_sparse_ind_enabled = _DT_MS, True, True
    n, n_e, n_steps, c = net.n, net.n * 4 // 5, round(net.duration_ms / _DT_MS), _CUBA
    if net.network == "cuba":
        neuron = {
            "C": c["tau_m"], "TauM": c["tau_m"], "Vrest": c["e_l"], "Vreset": c["v_reset"], "Vthresh": c["v_th"],
            "Ioffset": 0.0, "TauRefrac": c["t_ref"],
        }  # fmt: skip
        start, weights, steps = (c["v_reset"], c["v_th"]), list(_CUBA_MV), _CUBA_STEPS
        decays = [("ExpCurr", {"tau": c["tau_ex"]}), ("ExpCurr", {"tau": c["tau_in"]})]
    else:
        neuron = {
            "C": 20.0, "TauM": 20.0, "Vrest": 0.0, "Vreset": 0.0, "Vthresh": 20.0,
            "Ioffset": _BRUNEL_DC_MV if net.drive == "dc" else 0.0, "TauRefrac": 2.0,
        }  # fmt: skip
        start = (0.0, 20.0 if net.drive == "dc" else 0.0)
        # A current for one step that makes the potential jump by so many mV.
        weights = [mv / float(1 - np.exp(-_DT_MS / 20.0)) for mv in _BRUNEL_MV]
        steps, decays = _BRUNEL_STEPS, [("DeltaCurr", {})] * 2
    sizes = (n_e, n - n_e)
    groups = [
        model.add_neuron_population(
            name, size, "LIF", neuron,
            {"V": genn.init_var("Uniform", {"min": start[0], "max": start[1]}), "RefracTime": 0.0},
        )
        for name, size in zip("EI", sizes, strict=True)
    ]  # fmt: skip
    edges = []
    for source, weight, decay in zip(groups, weights, decays, strict=True):
        for target in groups:
            edges.append(
                model.add_synapse_population(
                    source.name + target.name, "SPARSE", source, target,
                    genn.init_weight_update("StaticPulseConstantWeight", {"g": weight}), genn.init_postsynaptic(*decay),
                    genn.init_sparse_connectivity("FixedProbability", {"prob": net.p}),
                )
            )  # fmt: skip
            edges[-1].axonal_delay_steps = steps - 1  # GeNN's first step is the one after the spike
    for group in groups:
        group.spike_recording_enabled = True
        if net.drive == "poisson":
            draw = genn.create_current_source_model(
                "PoissonJumps", params=["weight", "limit"],
                injection_code="""
                scalar p = 1.0;
                unsigned int events = 0;
                do { events++; p *= gennrand_uniform(); } while (p > limit);
                injectCurrent(weight * (scalar)(events - 1));
                """,
            )  # fmt: skip
            limit = float(np.exp(-_EXTERNAL[0] * _EXTERNAL[1] * _DT_MS / 1000))
            model.add_current_source(group.name + "_drive", draw, group, {"weight": weights[0], "limit": limit})
    model.build()
    model.load(num_recording_timesteps=n_steps)

    def simulate() -> None:
        for _ in range(n_steps):
            model.step_time()
        model.pull_recording_buffers_from_device()

    def count(_: object) -> int:
        return sum(int(g.spike_recording_data[0][0].size) for g in groups)

    return Built("PyGeNN " + genn.__version__, round(sum(sizes) * net.p * n), lambda: _timed(simulate, count))


#: Name of a peer -> the module to import, and what builds a network with it.
PEERS: Final[dict[str, tuple[str, Callable[[Network], Built]]]] = {
    "brian2": ("brian2", brian2),
    "annarchy": ("ANNarchy", annarchy),
    "brainevent": ("brainevent", brainevent),
    "nest": ("nest", nest),
    "pygenn": ("pygenn", pygenn),
}


def main() -> None:
    """Build what the first argument says; then simulate once for each line of the standard input."""
    asked = json.loads(sys.argv.pop(1))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the peer itself prints is not an answer
    built = PEERS[asked.pop("peer")][1](Network(**asked))
    print(json.dumps({"version": built.version, "synapses": built.synapses}), file=answers, flush=True)
    for _ in sys.stdin:
        print(json.dumps(built.simulate()._asdict()), file=answers, flush=True)


if __name__ == "__main__":
    main()

"""The part that every exported script has: see ``connectome.io.scripts``. What stands above the mark is the script's
own and is written anew for each network."""

import argparse
import csv
from pathlib import Path

import numpy as np

DT_MS, DURATION_MS, SEED = 0.1, 1000.0, 0
REGIONS, POISSON, CURRENT_PA, SPIKES = {}, {}, {}, {}
add_options = simulate = print


# %%
# The command line. It is the same for NEST, Brian 2 and PyNN.

DRIVE_RULE = "must be REGION:poisson=RATE_HZ[,WEIGHT] or REGION:current=PA, and REGION one of those of this network"


def read_drives(texts, fail):
    """Poisson drive, region -> (Hz, weight), and currents, region -> pA: those above, and what --drive says instead."""
    poisson, current_pa = dict(POISSON), dict(CURRENT_PA)
    for text in texts:
        name, _, rest = text.partition(":")
        kind, _, numbers = rest.partition("=")
        try:
            values = [float(number) for number in numbers.split(",")]
        except ValueError:
            values = []
        everywhere = [r for r in REGIONS if REGIONS[r]["role"] != "sensor"]
        for region in everywhere if name == "*" else [name]:
            sensor = REGIONS.get(region, {}).get("role") == "sensor"
            if region not in REGIONS or not np.isfinite(values).all():
                fail(f"--drive {text}: {DRIVE_RULE}")
            elif kind == "poisson" and len(values) == 2 - sensor and values[0] >= 0:
                poisson[region] = (values[0], None if sensor else values[1])
            elif kind == "current" and len(values) == 1 and not sensor:
                current_pa[region] = values[0]
            else:
                fail(f"--drive {text}: {DRIVE_RULE}; a sensor fires at RATE_HZ, what drives a neuron has a WEIGHT")
    return poisson, current_pa


def read_spikes(path, fail):
    """Spikes of the sensors from a table such as --out writes: region -> (times in ms, neurons)."""
    rows = {name: ([], []) for name in REGIONS if REGIONS[name]["role"] == "sensor"}
    try:
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                if row["region"] in rows:
                    rows[row["region"]][0].append(float(row["time_ms"]))
                    rows[row["region"]][1].append(int(row["neuron"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        fail(f"--spikes {path}: must be a table with the columns time_ms, region and neuron; {error!r}")
    found = {name: (np.array(t), np.array(k, np.int64)) for name, (t, k) in rows.items() if t}
    for name, (_, neurons) in found.items():
        if neurons.min() < 0 or neurons.max() >= REGIONS[name]["size"]:
            fail(f"--spikes {path}: neurons of {name} must be 0 .. {REGIONS[name]['size'] - 1}")
    return found


def sensor_spikes(poisson, given, steps, rng):
    """What each sensor emits, in order of time: region -> (steps, counted from 1, and neurons). A neuron may emit
    several spikes in a step."""
    found = {}
    for name, region in REGIONS.items():
        if region["role"] != "sensor":
            continue
        times, neuron = given.get(name, (np.zeros(0), np.zeros(0, np.int64)))
        step = np.rint(times / DT_MS).astype(np.int64)
        if name in poisson:
            mean = np.broadcast_to(poisson[name][0], region["size"]) * steps * DT_MS / 1000
            drawn = np.repeat(np.arange(region["size"]), rng.poisson(mean))
            step = np.concatenate([step, rng.integers(1, steps + 1, drawn.size)])
            neuron = np.concatenate([neuron, drawn])
        inside = (step >= 1) & (step <= steps)
        step, neuron = step[inside], neuron[inside]
        order = np.lexsort((neuron, step))
        found[name] = step[order], neuron[order]
    return found


def write_spikes(path, found):
    """Spikes, region -> (steps, neurons), in the order of time, region and neuron: as a table or as a SONATA file."""
    if path.suffix == ".h5":
        import h5py

        with h5py.File(path, "w") as file:
            populations = file.create_group("spikes", track_order=True)
            for name, (step, neuron) in found.items():
                order = np.lexsort((neuron, step))
                group = populations.create_group(name)
                group["timestamps"], group["node_ids"] = step[order] * DT_MS, neuron[order].astype(np.uint64)
                group["timestamps"].attrs["units"] = "ms"
        return
    rows = []
    for place, (name, (step, neuron)) in enumerate(found.items()):
        rows += zip(step.tolist(), [place] * step.size, neuron.tolist(), [name] * step.size)
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["time_ms", "region", "neuron"])
        table.writerows((round(step * DT_MS, 9), name, neuron) for step, _, neuron, name in sorted(rows))


def main():
    """Run the network, write its spikes, print rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--duration-ms", type=float, default=DURATION_MS, metavar="MS", help="default: %(default)s")
    parser.add_argument(
        "--drive", action="append", default=[], metavar="REGION:KIND=...",
        help="REGION:poisson=RATE_HZ,WEIGHT: each neuron gets Poisson events of this rate and weight; "
        "REGION:poisson=RATE_HZ: a sensor fires so; REGION:current=PA. * is every region of neurons",
    )  # fmt: skip
    parser.add_argument("--spikes", type=Path, metavar="CSV", help="spikes of sensors: time_ms, region, neuron")
    parser.add_argument("--record-v", action="append", default=[], metavar="REGION", help="potentials, beside --out")
    parser.add_argument("--seed", type=int, default=SEED, help="of the Poisson drive")
    parser.add_argument(
        "--out", type=Path, default=Path("spikes.csv"), metavar="FILE",
        help="a table; or, if it ends in .h5, SONATA's format, by h5py (default: %(default)s)",
    )  # fmt: skip
    add_options(parser)
    options = parser.parse_args()
    steps = round(options.duration_ms / DT_MS)
    if steps < 1 or abs(steps * DT_MS - options.duration_ms) > 1e-6 or options.seed < 0:
        parser.error(f"--duration-ms must be a whole number of steps of {DT_MS:g} ms, and --seed 0 or more")
    for name in options.record_v:
        if REGIONS.get(name, {}).get("role", "sensor") == "sensor":
            parser.error(f"--record-v {name}: must be a region of neurons")
    poisson, current_pa = read_drives(options.drive, parser.error)
    given = read_spikes(options.spikes, parser.error) if options.spikes else SPIKES
    spikes = sensor_spikes(poisson, given, steps, np.random.default_rng(options.seed))

    fired, v_mv = simulate(options, steps, poisson, current_pa, spikes)

    found = {name: (spikes if name in spikes else fired)[name] for name in REGIONS}
    for name, (step, _) in found.items():
        rate = step.size / REGIONS[name]["size"] / (steps * DT_MS / 1000)
        print(f"{name}: {REGIONS[name]['size']:,} neurons, {step.size:,} spikes, {rate:.2f} Hz")
    write_spikes(options.out, found)
    if v_mv:
        np.savez(options.out.with_suffix(".npz"), **v_mv)  # region -> (steps, neurons), mV, after each step


if __name__ == "__main__":
    main()

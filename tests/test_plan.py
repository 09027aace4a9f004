"""``python -m sims.plan``: what it counts, what it says, and that its terms are those of runs."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from connectome import Connectome, ConnectomeError, EdgeSet, Region
from connectome.io.snapshot import save
from connectome.models import cuba, potjans_diesmann
from connectome.simulate.costs import (
    MEASURED,
    Constants,
    Size,
    edge_bytes,
    of_gpu,
    of_nest,
    of_run,
    of_training,
    stretches,
)
from sims.plan import NETWORKS, main, parser, size_of

ONE = Constants(**dict.fromkeys(asdict(MEASURED), 1.0) | {"far_edges": 100.0, "far_targets": 100.0})


def test_a_run_is_its_terms() -> None:
    """One ns each: 10,000 steps of 7 neurons and 3 with drive, and 10 spikes of 2 visits and 5 events."""
    size = Size(7, 20, 10.0, 5.0, 2.0, 3.0)
    assert of_run(size, ONE).seconds == pytest.approx((10_000 * (7 + 3) + 10 * (1 + 2 + 5)) * 1e-9)
    assert of_run(size, ONE).memory_bytes == 1 + 8 * 20 + 20
    assert of_run(replace(size, largest=5, edge_bytes=6.0), ONE).memory_bytes == 1 + 6 * 20 + 5
    assert of_run(replace(size, copied_bytes=7.0), ONE).memory_bytes == 1 + 8 * 20 + 20 + 7


def test_what_is_not_in_cache_costs_more() -> None:
    """Visits by the edges; events by edges and targets, half each."""
    size = Size(7, 1, 10.0, 5.0, 2.0, targets=1)
    base = of_run(size, ONE).seconds
    for n, share in ((1, 0.0), (10, 0.5), (100, 1.0), (10**6, 1.0)):
        visits = of_run(replace(size, edges=n), replace(ONE, far_visit_ns=3.0)).seconds - base
        assert visits == pytest.approx(10 * 2 * 2 * share * 1e-9, abs=1e-15)
        for at in ({"edges": n}, {"targets": n}):
            events = of_run(replace(size, **at), replace(ONE, far_event_ns=9.0)).seconds - base
            assert events == pytest.approx(10 * 5 * (9 ** (share / 2) - 1) * 1e-9, abs=1e-15)


def test_training_nest_and_a_gpu() -> None:
    size = Size(7, 20, 10.0, 5.0, dt_ms=1.0)
    assert of_training(size, 25, 4, ONE).seconds == pytest.approx((25 * 4 * 7 + 25 * 4 * 10 / 1000 * 5 + 20) * 1e-9)
    assert of_training(size, 25, 4, ONE).memory_bytes == 1 + 9 * 20
    one, two = of_nest(size, 1), of_nest(size, 2)
    assert one.seconds == pytest.approx(2 * two.seconds)
    assert one.memory_bytes - two.memory_bytes == 75 * 10
    assert of_gpu(size).seconds == pytest.approx(8e-3)  # launches
    assert of_gpu(replace(size, spikes_s=9.6e8, events=1.0)).seconds == pytest.approx(0.27)


@pytest.mark.parametrize("field", ["neurons", "edges", "spikes_s", "dt_ms"])
def test_sizes_that_cannot_be(field: str) -> None:
    with pytest.raises(ConnectomeError, match=rf"Size\.{field}"):
        replace(Size(1, 1, 1.0, 1.0), **{field: -1.0})
    with pytest.raises(ConnectomeError, match=r"Size\.dt_ms"):
        Size(1, 1, 1.0, 1.0, dt_ms=0.0)


def test_stretches_are_pairs_of_source_and_delay() -> None:
    rng = np.random.default_rng(1)
    source, delay = rng.integers(0, 20, 300), rng.integers(1, 9, 300)
    edges = EdgeSet.from_arrays(
        ("a", "local", "a"), source, rng.integers(0, 20, 300), rng.normal(size=300), n_source=20, n_target=20,
        dt_ms=0.1, delay_ms=delay * 0.1,
    )  # fmt: skip
    assert len(stretches(edges)) == len(set(zip(source.tolist(), delay.tolist(), strict=True)))
    assert edge_bytes(edges) == 300 * (edges.indices.itemsize + 4 + 2)
    alike = EdgeSet.from_arrays(("a", "local", "a"), source, source, 1.0, n_source=20, n_target=20, dt_ms=0.1)
    assert (len(stretches(alike)), edge_bytes(alike)) == (len(set(source.tolist())), 300 * edges.indices.itemsize)


def test_a_snapshot_is_counted(tmp_path: Path) -> None:
    connectome = potjans_diesmann(0.02).connectome
    save(connectome, tmp_path / "net.h5")
    size = size_of(parser().parse_args([str(tmp_path / "net.h5"), "--rate-hz", "3", "--poisson"]))
    n = connectome.n_neurons
    assert (size.neurons, size.driven, size.edges, size.spikes_s) == (n, n, connectome.n_edges, 3 * n)
    assert size.events * n == pytest.approx(connectome.n_edges)
    # A run merges all sets from one region: a visit is a source and a delay, whatever the target.
    pairs = {(e.key.source, int(p)) for e in connectome.edges.values() for p in stretches(e)}
    assert size.visits * n == pytest.approx(len(pairs))
    assert size.targets == pytest.approx(n)
    assert size.copied_bytes == 10 * connectome.n_edges
    assert size.largest == max(map(len, connectome.edges.values()))


def test_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in NETWORKS:
        assert main([name]) == 0
        said = capsys.readouterr().out
        assert NETWORKS[name].source.split(":")[0] in said
        assert ("Take: here" in said) == (name == "fly")
        assert ("Take: NEST" in said) == (name != "fly")
    assert main(["--neurons", "1000", "--edges", "1e6", "--ranks", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["way"] for row in found["plan"]] == [
        "here, a run",
        "here, training, 25 x 64",
        "NEST, 3 ranks",
        "GPU, GeNN",
    ]
    assert found["size"][0]["events"] == 1000.0
    (tmp_path / "other.json").write_text(json.dumps(asdict(replace(MEASURED, base_bytes=7e12))))
    assert main(["fly", "--constants", str(tmp_path / "other.json")]) == 0
    assert "Take: GPU" in capsys.readouterr().out


def test_a_file_of_constants_is_not_believed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("", "[]", "{}", *(json.dumps(asdict(MEASURED) | {"spike_ns": x}) for x in ("x", -1))):
        (tmp_path / "bad.json").write_text(text)
        assert main(["fly", "--constants", str(tmp_path / "bad.json")]) == 2
        assert "--constants must be a file that --measure has written" in capsys.readouterr().err


def test_a_small_network_and_a_sensor(tmp_path: Path) -> None:
    """Sensors fire and are not updated; effectors are updated and do not fire."""
    regions = [Region("eye", 3, "sensor"), Region("a", 5), Region("hand", 2, "effector")]
    edges = [EdgeSet.from_arrays(("eye", "afferent", "a"), [0, 1], [0, 0], 1.0, n_source=3, n_target=5, dt_ms=0.1)]
    save(Connectome.of(regions, edges), tmp_path / "net.h5")
    size = size_of(parser().parse_args([str(tmp_path / "net.h5"), "--rate-hz", "1"]))
    assert (size.neurons, size.spikes_s, size.events, size.visits) == (7, 8.0, 2 / 8, 2 / 8)


def test_cuba_is_what_its_numbers_say(tmp_path: Path) -> None:
    save(cuba(1000).connectome, tmp_path / "net.h5")
    counted = size_of(parser().parse_args([str(tmp_path / "net.h5")]))
    named = size_of(parser().parse_args(["--neurons", "1000", "--edges", str(counted.edges)]))
    assert of_run(counted).seconds == pytest.approx(of_run(named).seconds, rel=0.01)

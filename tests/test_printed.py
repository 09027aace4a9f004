"""Objects print in a line, and in a notebook as a small table, however much they hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from connectome import Connectome, EdgeSet, NeuronParameters, Provenance, Region, RuleRecord, SpikingNetwork, Stimulus
from connectome.datasets.images import load_images
from connectome.datasets.tasks import Perception
from connectome.development import Stage
from connectome.printed import Printed

N = 5000
KNOWN: dict[str, Any] = {f"a{i}": np.arange(N) for i in range(40)}
REGION = Region(
    "cortex", N, position_um=np.linspace(0, 1, 3 * N).reshape(N, 3), label=np.array([f"<b>{i}" for i in range(N)]),
    state={"gain": np.ones(N, np.float32)}, attributes=KNOWN,
)  # fmt: skip
EDGES = EdgeSet.from_arrays(("cortex", "local", "cortex"), [0, 1], [1, 2], n_source=N, n_target=N, dt_ms=1.0)
CONNECTOME = Connectome.of([REGION, *(Region(f"r{i}", 1) for i in range(50))], [EDGES], dt_ms=1.0)


@pytest.mark.parametrize(
    "thing",
    [
        REGION, EDGES, CONNECTOME, CONNECTOME.select("a0 < 9"), REGION.attributes["a0"],
        NeuronParameters(tau_m_ms=np.linspace(5, 20, N)), Stimulus(current_pa={"cortex": np.ones(N)}),
        Provenance(rule_log=(RuleRecord(1, 2, "growth", "cortex", "local", "cortex", added=3),) * 500),
        load_images(""), Perception(load_images(""), 1), Stage(Perception(load_images(""), 1), 100),
        SpikingNetwork(CONNECTOME),
    ],
    ids=lambda thing: type(thing).__name__,
)  # fmt: skip
def test_everything_prints_in_a_line_and_a_small_table(thing: Any) -> None:
    text = repr(thing)
    assert text.startswith(type(thing).__name__)
    assert len(text) < 1100
    assert "\n" not in text
    assert "array(" not in text
    if not isinstance(thing, SpikingNetwork):
        html = thing._repr_html_()
        assert html.count("<tr>") < 50
        assert len(html) < 5000
        assert "<b>" not in html
        HTMLParser().feed(html)


def test_what_is_left_out_is_default_or_empty() -> None:
    @dataclass(frozen=True)
    class Few(Printed):
        n: int
        rate_hz: float = 5.0
        names: tuple[str, ...] = ()
        by: dict[str, Any] = field(default_factory=dict)

    assert repr(Few(3)) == "Few(n=3)"
    assert repr(Few(3, 2.0, ("a",), {"x": np.zeros((2, 3))})) == (
        "Few(n=3, rate_hz=2.0, names=('a',), by={'x': float64[2 x 3]})"
    )
    many = repr(Few(3, names=tuple(f"a long name {i}" for i in range(12))))
    assert many == "Few(n=3, names=('a long name 0', 'a long name 1', 'a long name 2', ... 12 in all))"
    assert "<td>rate_hz</td><td>5.0</td>" in Few(3)._repr_html_()


def test_a_connectome_lists_its_regions_and_edge_sets() -> None:
    html = CONNECTOME._repr_html_()
    assert "51 regions, 5,050 neurons" in html
    assert "and 31 more" in html
    assert "<td>cortex</td><td>local</td><td>cortex</td><td>2</td>" in html
    assert repr(SpikingNetwork(Connectome.of([REGION], [EDGES], dt_ms=1.0))) == (
        "SpikingNetwork(cortex[5000]; 2 parameters learn, engine='numba')"
    )

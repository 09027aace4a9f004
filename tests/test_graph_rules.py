"""Every rule of the data model, broken once: the error names the field, the rule and the value found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from connectome import Connectome, ConnectomeError, EdgeKey, EdgeSet, Edit, NeuronParameters, Region
from tests.test_graph import A, small, two_regions


def _direct(**changes: Any) -> EdgeSet:
    return replace(small(), **changes)


# By these names because the point is to call them with what their annotations forbid.
region: Any = Region
neuron: Any = NeuronParameters
delta: Any = Edit
index: Any = np.array([0, 1, 2])
E = "edges[a -local-> a]"
BAD: list[tuple[Callable[[], object], str, str, str]] = [
    # neuron parameters
    (lambda: neuron(tau_m_ms=0), "neuron.tau_m_ms", "must be > 0", "0.0"),
    (lambda: neuron(c_m_pf=-1), "neuron.c_m_pf", "must be > 0", "-1.0"),
    (lambda: neuron(tau_syn_ex_ms=0), "neuron.tau_syn_ex_ms", "must be > 0", "0.0"),
    (lambda: neuron(tau_syn_in_ms=0), "neuron.tau_syn_in_ms", "must be > 0", "0.0"),
    (lambda: neuron(t_ref_ms=-0.1), "neuron.t_ref_ms", "must be >= 0", "-0.1"),
    (lambda: neuron(v_reset_mv=-50), "neuron.v_reset_mv", "must be below v_th_mv = -55.0", "-50.0"),
    (lambda: neuron(i_e_pa=np.nan), "neuron.i_e_pa", "must be a finite number", "nan"),
    (lambda: neuron(e_l_mv="x"), "neuron.e_l_mv", "must be a finite number", "'x'"),
    # regions
    (lambda: region("a/b", 1), "region.name", "must be letters, digits", "'a/b'"),
    (lambda: region("", 1), "region.name", "must be letters, digits", "''"),
    (lambda: region("..", 1), "region.name", "not starting with '.'", "'..'"),
    (lambda: region("a", -1), "regions[a].size", "must be an integer in 0 .. 2147483647", "-1"),
    (lambda: region("a", 2**31), "regions[a].size", "must be an integer in 0 .. 2147483647", "2147483648"),
    (lambda: region("a", 1.0), "regions[a].size", "must be an integer", "1.0"),
    (lambda: region("a", True), "regions[a].size", "must be an integer", "True"),
    (lambda: region("a", 1, "robot"), "regions[a].role", "must be one of neuron, sensor, effector", "'robot'"),
    (lambda: region("a", 1, neuron={}), "regions[a].neuron", "must be NeuronParameters", "{}"),
    (lambda: region("a", 1, birth_stage=-1), "regions[a].birth_stage", "must be an integer in 0 .. 32767", "-1"),
    (
        lambda: region("a", 1, position_um=np.zeros((1, 2))),
        "regions[a].position_um",
        "must have shape (1, 3)",
        "(1, 2)",
    ),
    (
        lambda: region("a", 2, position_um=np.array([[0, np.nan, 0], [0, np.inf, 0]])),
        "regions[a].position_um",
        "must be within 1e+15 um, or nan where it is not known",
        "inf at index 1, 1",
    ),
    (
        lambda: region("a", 1, position_um=np.array([[0, -1e200, 0]])),
        "regions[a].position_um",
        "must be within 1e+15 um, or nan where it is not known",
        "-1e+200 at index 0, 1",
    ),
    (lambda: region("a", 1, sign=np.array(["+"])), "regions[a].sign", "must be numbers", "<U1 of shape (1,)"),
    (lambda: region("a", 2, sign=np.array([0, 2])), "regions[a].sign", "must be -1, 0 or +1", "2 at index 1"),
    (
        lambda: region("a", 1, sign=np.array([-128], np.int8)),
        "regions[a].sign",
        "must be -1, 0 or +1",
        "-128 at index 0",
    ),
    (
        lambda: region("a", 2, sign=np.array([0, 0.5])),
        "regions[a].sign",
        "must be integers in -128 .. 127",
        "0.5 at index 1",
    ),
    (lambda: region("a", 1, sign=np.array([1, 1])), "regions[a].sign", "must have shape (1,)", "(2,)"),
    # edges in any order
    (lambda: small(key=("a", "b")), "edge key", "must be (source, kind, target)", "('a', 'b')"),
    (
        lambda: small(key=("a", "far", "a")),
        "edge kind",
        "must be one of local, long_range, afferent, efferent",
        "'far'",
    ),
    (lambda: small(n_source=-1), f"{E}.n_source", "must be an integer in 0 .. 2147483647", "-1"),
    (lambda: small(n_target=2.0), f"{E}.n_target", "must be an integer", "2.0"),
    (lambda: small(n_target=2**31), f"{E}.n_target", "must be an integer", "2147483648"),
    (lambda: small(dt_ms=0), f"{E}.dt_ms", "must be finite and > 0", "0"),
    (lambda: small(dt_ms=np.nan), f"{E}.dt_ms", "must be finite and > 0", "nan"),
    (lambda: small(dt_ms="1"), f"{E}.dt_ms", "must be finite and > 0", "'1'"),
    (lambda: small(source=[0, 2, 0]), f"{E}.source", "must be in 0 .. 1, the source region's size", "2 at index 1"),
    (lambda: small(target=[0, 1, -1]), f"{E}.target", "must be in 0 .. 1, the target region's size", "-1 at index 2"),
    (
        lambda: small(target=np.array([2**63, 0, 0], np.uint64)),
        f"{E}.target",
        "must be in 0 .. 1",
        "9223372036854775808 at index 0",
    ),
    (lambda: small(source=[0.0, 1.0, 0.0]), f"{E}.source", "must be one-dimensional integers", "float64 of shape (3,)"),
    (
        lambda: small(source=[True, False, False]),
        f"{E}.source",
        "must be one-dimensional integers",
        "bool of shape (3,)",
    ),
    (lambda: small(source=["0", "1", "0"]), f"{E}.source", "must be numbers", "<U1 of shape (3,)"),
    (lambda: small(source=[[0], [1], [0]]), f"{E}.source", "must be one-dimensional integers", "int64 of shape (3, 1)"),
    (lambda: small(source=[[0], [1, 0]]), f"{E}.source", "must be numbers in a regular array", "[[0], [1, 0]]"),
    (lambda: small(source=[0, None, 0]), f"{E}.source", "must be numbers", "object of shape (3,)"),
    (lambda: small(target=[0, 1]), f"{E}.target", "must be as long as source, 3", "2"),
    (lambda: small(weight=[1, 2]), f"{E}.weight", "must have shape (3,)", "(2,)"),
    (lambda: small(weight=["1", "2", "3"]), f"{E}.weight", "must be numbers", "<U1 of shape (3,)"),
    (lambda: small(weight="1"), f"{E}.weight", "must be numbers", "<U1 of shape ()"),
    (lambda: small(weight=1j), f"{E}.weight", "must be numbers", "complex128 of shape ()"),
    (lambda: small(weight=[1, np.nan, 2]), f"{E}.weight", "must be finite (pA)", "nan at index"),
    (lambda: small(weight=np.inf), f"{E}.weight", "must be finite (pA)", "inf at index 0"),
    (lambda: small(weight=1e300), f"{E}.weight", "must be finite (pA)", "inf at index 0"),
    (lambda: small(birth_stage=70000), f"{E}.birth_stage", "must be integers in -32768 .. 32767", "70000"),
    (lambda: small(birth_stage=[0, 70000, 0]), f"{E}.birth_stage", "must be integers", "70000 at index"),
    (lambda: small(birth_stage=1.5), f"{E}.birth_stage", "must be integers", "1.5"),
    (lambda: small(birth_stage=np.nan), f"{E}.birth_stage", "must be integers", "nan"),
    (lambda: small(delay_ms="1"), f"{E}.delay_ms", "must be numbers", "<U1"),
    (lambda: small(delay_ms=[1.0, 2.0]), f"{E}.delay_ms", "must have shape (3,)", "(2,)"),
    (lambda: small(state={"a/b": 0}), f"{E}.state", "must have names of letters", "'a/b'"),
    (lambda: small(state={"trace": [1.0]}), f"{E}.state[trace]", "must have shape (3,)", "(1,)"),
    # edges in CSR order
    (lambda: _direct(indptr=[0, 2, 2]), f"{E}.indptr", "must rise from 0 to the number of edges, 3", "[0 2 2]"),
    (lambda: _direct(indptr=[0, 4, 3]), f"{E}.indptr", "must rise from 0", "[0 4 3]"),
    (lambda: _direct(indptr=[1, 2, 3]), f"{E}.indptr", "must rise from 0", "[1 2 3]"),
    (lambda: _direct(indptr=[]), f"{E}.indptr", "must rise from 0", "[]"),
    (
        lambda: _direct(indices=[1, 0, 0]),
        f"{E}.indices",
        "must rise by delay, then target, within a row",
        "1 at index 0",
    ),
    (lambda: _direct(indices=[0, 2, 0]), f"{E}.indices", "must be in 0 .. 1", "2 at index 1"),
    (lambda: _direct(indices=[0, 0.5, 0]), f"{E}.indices", "must be one-dimensional integers", "float64 of shape (3,)"),
    (lambda: _direct(indices=[0, 2**40, 0]), f"{E}.indices", "must be in 0 .. 1", "1099511627776 at index 1"),
    (
        lambda: _direct(delay_steps=[2, 1, 1]),
        f"{E}.indices",
        "must rise by delay, then target, within a row",
        "0 at index 0",
    ),
    (lambda: _direct(delay_steps=[1, 0, 1]), f"{E}.delay_steps", "must be >= 1 step", "0 at index 1"),
    (lambda: _direct(delay_steps=[1, -1, 1]), f"{E}.delay_steps", "must be integers in 0 .. 65535", "-1 at index 1"),
    (
        lambda: _direct(delay_steps=[1, 2**16, 1]),
        f"{E}.delay_steps",
        "must be integers in 0 .. 65535",
        "65536 at index 1",
    ),
    (lambda: _direct(n_target=None), f"{E}.n_target", "must be an integer", "None"),
    (lambda: _direct().take(index), f"{E}.take", "must be booleans of shape (3,)", "int64 of shape (3,)"),
    (lambda: small().join(small(n_source=3)), E, "can only be joined with the same key, sizes and dt_ms", "3, 2, 0.1)"),
    (lambda: small().join(small(dt_ms=0.2)), E, "can only be joined with the same", "0.2)"),
    # the whole
    (lambda: Connectome.of([], dt_ms=-1), "dt_ms", "must be finite and > 0", "-1"),
    (lambda: Connectome({"b": Region("a", 1)}, {}), "regions[b]", "must be under its own name", "'a'"),
    (
        lambda: Connectome({"a": Region("a", 2)}, {EdgeKey("a", "local", "b"): small()}),
        E,
        "must be under its own key",
        "'b'",
    ),
    (lambda: Connectome.of([Region("b", 2)], [small()]), f"{E}.source", "must name a region of ['b']", "'a'"),
    (lambda: Connectome.of([Region("a", 3)], [small()]), f"{E}.n_source", "must be 3, the size of 'a'", "2"),
    (
        lambda: Connectome.of([Region("a", 2, "sensor")], [small()]),
        f"{E}.source",
        "must be a neuron region",
        "'a', a sensor",
    ),
    (
        lambda: Connectome.of([Region("a", 2), Region("b", 2)], [small(key=("a", "local", "b"))]),
        "edges[a -local-> b]",
        "must be 'local' inside one region and only there",
        "local",
    ),
    (
        lambda: Connectome.of([Region("a", 2)], [small(key=("a", "long_range", "a"))]),
        "edges[a -long_range-> a]",
        "must be 'local' inside one region",
        "long_range",
    ),
    (
        lambda: Connectome.of([Region("a", 2)], [small()], dt_ms=0.2),
        f"{E}.dt_ms",
        "must be the connectome's, 0.2",
        "0.1",
    ),
    (
        lambda: Connectome.of([Region("a", 2, sign=np.array([0, -1]))], [small()]),
        f"{E}.weight",
        "must have its source neuron's sign (-1)",
        "3 pA from neuron 1",
    ),
    # edits
    (
        lambda: two_regions().apply(delta(reweight={EdgeKey("a", "local", "c"): np.array([], np.float32)})),
        "delta",
        "must name edge sets that exist",
        "a -local-> c",
    ),
    (
        lambda: two_regions().apply(delta(reweight={A: np.array([1], np.float32)})),
        f"{E}.weight",
        "must have shape (3,)",
        "(1,)",
    ),
    (
        lambda: two_regions().apply(delta(reweight={A: np.array([1, -2, 3], np.float32)})),
        f"{E}.weight",
        "must have its source neuron's sign (+1)",
        "-2 pA from neuron 0",
    ),
    (
        lambda: two_regions().apply(delta(state={A: {"trace": np.array([1], np.float32)}})),
        f"{E}.state[trace]",
        "must have shape (3,)",
        "(1,)",
    ),
    (
        lambda: two_regions().apply(delta(remove={A: np.array([True])})),
        "delta.remove[a -local-> a]",
        "must be booleans of shape (3,)",
        "bool of shape (1,)",
    ),
    (
        lambda: two_regions().apply(delta(remove={A: np.array([0, 1, 2])})),
        "delta.remove[a -local-> a]",
        "must be booleans of shape (3,)",
        "int64 of shape (3,)",
    ),
    (lambda: two_regions().apply(delta(add=(small(n_target=3),))), E, "can only be joined", "2, 3, 0.1)"),
]


@pytest.mark.parametrize(("make", "field", "rule", "found"), BAD, ids=[f"{i}-{b[1]}" for i, b in enumerate(BAD)])
def test_every_rule_names_field_rule_and_value(make: Callable[[], object], field: str, rule: str, found: str) -> None:
    with pytest.raises(ConnectomeError) as caught:
        make()
    assert caught.value.field == field
    assert rule in caught.value.rule
    assert found in str(caught.value.found)
    assert str(caught.value).startswith(f"{field} ")
    assert "\n" not in str(caught.value)

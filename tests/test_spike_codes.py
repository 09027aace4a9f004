"""The adaptive threshold and its spike codes: exact, and of normal numbers as in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectome.datasets.encoding import ENCODERS
from connectome.datasets.spike_codes import adaptive_code, from_bits, spike_counts, to_bits, to_ternary

ALL = np.arange(-255, 256)


def test_all_codes_of_a_byte_and_its_sign_are_read_back() -> None:
    assert (to_ternary(ALL, 255).astype(int).sum(0) == ALL).all()
    for complement in (False, True):
        bits = to_bits(ALL, complement=complement)
        assert len(bits) == 8 + complement
        assert {*np.unique(bits)} == ({0, 1} if complement else {-1, 0, 1})
        assert (from_bits(bits, complement=complement) == ALL).all()
    assert (from_bits(to_bits(ALL[:256], complement=True), complement=True) == ALL[:256]).all()
    assert (to_bits(np.zeros(3, np.int64)) == 0).all()


@given(st.floats(-40, 40), st.integers(1, 60))
def test_a_neuron_without_a_leak_that_starts_at_half_fires_as_often(x: float, steps: int) -> None:
    """As integers give it: rounded, half away from 0."""
    count = int(math.copysign(math.floor(abs(x) + 0.5), x)) if abs(x) <= steps else 0
    potential, fired = 2 * steps * 0.5, []
    for _ in range(steps):
        potential += 2 * abs(count)
        fired.append(potential >= 2 * steps)
        potential -= 2 * steps * fired[-1]
    found = to_ternary(np.array([count]), steps)[:, 0]
    assert (np.abs(found) == fired).all()
    assert found.sum() == count


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20), st.floats(0.5, 8))
def test_counts_are_the_numbers_to_half_a_threshold(values: list[float], k: float) -> None:
    counts, threshold = spike_counts(values, k)
    assert threshold == pytest.approx(np.abs(values).mean() / k)
    assert (np.abs(counts * threshold - values) <= threshold * 0.5001 + 1e-9).all()
    assert (np.sign(counts) * np.sign(values) >= 0).all()


@pytest.mark.parametrize("k", [2.0, 2.5, 3.0, 3.5, 4.0])
def test_normal_numbers_have_at_most_seven_spikes_as_in_closed_form(k: float) -> None:
    counts, _ = spike_counts(np.random.default_rng(0).normal(0, 3.0, 10**6), k)
    expected = math.erf(7.5 * math.sqrt(2 / math.pi) / k / math.sqrt(2))
    assert (np.abs(counts) <= 7).mean() == pytest.approx(expected, abs=0.002)
    silent = math.erf(0.5 * math.sqrt(2 / math.pi) / k / math.sqrt(2))
    assert (counts == 0).mean() == pytest.approx(silent, abs=0.002)


def test_images_become_spikes() -> None:
    image = np.array([[0.0, 0.2, 0.4, 0.6], [0.0, 0.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.1]])
    spikes = adaptive_code(image, 20).numpy()
    assert spikes.shape == (3, 20, 4)
    assert spikes.sum(1).tolist() == [[0, 2, 4, 6], [0] * 4, [0, 0, 0, 12]]
    assert (adaptive_code(image * 0.1, 20).numpy() == spikes).all(), "contrast does not matter"
    assert adaptive_code(image[2:], 5).numpy().sum() == 5
    encoded = ENCODERS["adaptive"](image, 20, 0.25, np.random.default_rng(0))
    assert (encoded.numpy() == spikes).all()

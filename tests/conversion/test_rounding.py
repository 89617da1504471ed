"""Rounding for inputs, on layers that are drawn at random."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgetf.conversion.rounding import MOST, round_for_inputs, round_to_nearest, symmetric_scales

Floats = NDArray[np.float64]


@st.composite
def layers(draw: st.DrawFn) -> tuple[Floats, Floats, Floats]:
    """Weights (groups, rows, taps), scales (groups, rows) and inputs (groups, n, taps), some of which are always 0."""
    groups, rows, taps = draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.integers(1, 80))
    random = np.random.default_rng(draw(st.integers(0, 1 << 16)))
    mixing = random.normal(size=(groups, taps, taps)) * (random.uniform(size=(groups, 1, taps)) > 0.1)
    inputs = random.normal(size=(groups, draw(st.integers(1, 60)), taps)) @ mixing
    weights = random.normal(size=(groups, rows, taps))
    return weights, np.abs(weights).max(axis=2) / MOST * random.uniform(0.5, 4), inputs


def _error(weights: Floats, scales: Floats, levels: NDArray[Any], inputs: Floats) -> float:
    """The squared error of the results of a layer."""
    off = levels * scales[:, :, None] - weights
    return float(np.square(inputs @ off.transpose(0, 2, 1)).sum())


@given(layers())
def test_levels_are_symmetric_steps_of_int8(layer: tuple[Floats, Floats, Floats]) -> None:
    weights, scales, inputs = layer
    levels = round_for_inputs(weights, scales, inputs.transpose(0, 2, 1) @ inputs)
    assert levels.dtype == np.int8
    assert levels.shape == weights.shape
    assert np.abs(levels.astype(int)).max() <= MOST


@given(layers())
def test_without_an_input_or_with_unrelated_ones_the_nearest_step_is_the_best(
    layer: tuple[Floats, Floats, Floats],
) -> None:
    weights, scales, _ = layer
    nearest = round_to_nearest(weights, scales[:, :, None])
    groups, _, taps = weights.shape
    for power in (np.zeros((groups, taps, taps)), np.broadcast_to(np.eye(taps), (groups, taps, taps))):
        np.testing.assert_array_equal(round_for_inputs(weights, scales, power), nearest)


def test_the_results_of_a_layer_with_related_inputs_are_much_nearer() -> None:
    random = np.random.default_rng(0)
    weights, mixing = random.normal(size=(1, 16, 100)), random.normal(size=(1, 10, 100))
    inputs = random.normal(size=(1, 300, 10)) @ mixing + 0.05 * random.normal(size=(1, 300, 100))
    scales = symmetric_scales(weights[0], 0)[None].astype(np.float64)
    found = round_for_inputs(weights, scales, inputs.transpose(0, 2, 1) @ inputs)
    nearest = round_to_nearest(weights, scales[:, :, None])
    assert _error(weights, scales, found, inputs) < 0.3 * _error(weights, scales, nearest, inputs)


def test_errors_are_passed_on_between_blocks() -> None:
    """The taps of one block compensate the errors of another: all inputs are one."""
    weights, inputs = np.full((1, 1, 200), 0.3), np.ones((1, 50, 200))
    levels = round_for_inputs(weights, np.ones((1, 1)), inputs.transpose(0, 2, 1) @ inputs)
    assert abs(int(levels.sum()) - 60) <= 1  # to the nearest, it would be 0


def test_groups_that_share_their_inputs_are_rounded_as_if_each_had_its_own() -> None:
    random = np.random.default_rng(0)
    weights, inputs = random.normal(size=(4, 3, 20)), random.normal(size=(1, 50, 20)) @ random.normal(size=(1, 20, 20))
    scales, power = np.full((4, 3), 0.05), inputs.transpose(0, 2, 1) @ inputs
    shared = round_for_inputs(weights, scales, power)
    np.testing.assert_array_equal(shared, round_for_inputs(weights, scales, np.repeat(power, 4, axis=0)))


def test_the_largest_weight_of_a_channel_is_step_127_and_a_channel_of_zeros_has_a_scale() -> None:
    weights = np.array([[1.0, -2.0], [0.0, 0.0], [0.25, 0.1]], np.float32)
    scales = symmetric_scales(weights, 0)
    np.testing.assert_allclose(scales, [2 / 127, 1.0, 0.25 / 127], rtol=1e-6)
    np.testing.assert_array_equal(round_to_nearest(weights, scales[:, None]), [[64, -127], [0, 0], [127, 51]])

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.conversion.lint import lint_inputs, lint_samples
from edgetf.samples import make_samples, save_samples
from tests.conftest import Small, ignore

IMAGES = np.random.default_rng(0).normal(size=(100, 8, 8, 1)).astype(np.float32)
LABELS = np.arange(100) % 10


def test_good_samples_have_no_warnings() -> None:
    samples = make_samples("good", {"image": IMAGES}, LABELS)
    assert lint_samples(samples, samples) == ()


def test_too_few_duplicates_constants_and_missing_classes_are_reported() -> None:
    images = IMAGES[:20].copy()
    images[3:6] = images[0]
    images[7] = 0.25
    everything = make_samples("all", {"image": IMAGES}, LABELS)
    chosen = make_samples("few", {"image": images}, LABELS[:20] % 8)
    few, duplicates, constant, missing = lint_samples(chosen, everything)
    assert "only 20 samples" in few
    assert "3 of 20 samples are duplicates" in duplicates
    assert "1 of 20 samples of 'image' are constant (first: sample 7)" in constant
    assert "lack the classes 8, 9" in missing


def test_a_scalar_input_is_never_constant() -> None:
    samples = make_samples("scalars", {"x": np.arange(60, dtype=np.float32)[:, None]}, None)
    assert lint_samples(samples, samples) == ()


def test_a_sample_that_stretches_ranges_is_named_by_its_row_in_the_file(small: Small, tmp_path: Path) -> None:
    images = IMAGES.copy()
    images[61, 4, 4, 0] = 500.0
    np.savez(tmp_path / "s.npz", image=images)
    options = ConvertOptions(("int8",), samples=tmp_path / "s.npz", calibration=99)
    conversion = convert(small.saved_model, tmp_path / "out", options, ignore)
    reported = [warning for warning in conversion.warnings if "sample 61 alone makes the range of" in warning]
    assert reported, conversion.warnings
    clean = ConvertOptions(("int8",), samples=small.samples)
    assert convert(small.saved_model, tmp_path / "clean", clean, ignore).warnings == ()


@pytest.mark.parametrize(("factor", "shift"), [(255.0, 0.0), (1 / 128, 0.0), (1.0, 8.0)])
def test_another_normalization_than_the_model_is_known_to_work_with_is_reported(
    small: Small, tmp_path: Path, factor: float, shift: float
) -> None:
    np.savez(tmp_path / "s.npz", image=IMAGES * np.float32(factor) + np.float32(shift))
    options = ConvertOptions(("int8",), samples=tmp_path / "s.npz", like=small.samples)
    warnings = convert(small.saved_model, tmp_path / "out", options, ignore).warnings
    (about_input,) = [warning for warning in warnings if "'image' is in" in warning]
    assert "is the normalization the same?" in about_input
    assert any(warning.startswith("the first layer (") for warning in warnings)
    alike = ConvertOptions(("int8",), samples=small.samples, like=small.samples)
    assert convert(small.saved_model, tmp_path / "alike", alike, ignore).warnings == ()


def test_the_map_between_two_normalizations_is_computed() -> None:
    pixels = make_samples("p", {"x": np.linspace(0, 255, 10_000, dtype=np.float32)[:, None]}, None)
    units = make_samples("u", {"x": np.linspace(-1, 1, 10_000, dtype=np.float32)[:, None]}, None)
    (reported,) = lint_inputs(pixels, units)
    assert "x * 0.00784 -1 would map one to the other" in reported
    assert lint_inputs(units, units) == ()


def test_integer_images_that_are_all_black_are_reported() -> None:
    images = np.random.default_rng(0).integers(0, 2, (60, 4, 4, 1)).astype(np.uint8)
    samples = make_samples("s", {"image": images}, None)
    assert any("black images?" in warning for warning in lint_samples(samples, samples))
    bright = make_samples("s", {"image": images * 255}, None)
    assert not any("black images?" in warning for warning in lint_samples(bright, bright))


@pytest.mark.parametrize(
    ("row", "layer", "warning"),
    [
        ((4, 4, 1), lambda: keras.layers.Rescaling(1 / 100), "multiplies its input by 0.01"),
        ((6,), lambda: keras.layers.Normalization(mean=[90.0] * 6, variance=[400.0] * 6), "subtracts 90 or more from"),
    ],
)
def test_samples_that_a_model_scales_itself_are_a_warning(
    tmp_path: Path, row: tuple[int, ...], layer: Callable[[], keras.Layer], warning: str
) -> None:
    layers = [keras.Input(row, name="table"), layer(), keras.layers.Flatten(), keras.layers.Dense(3)]
    model = keras.Sequential(layers)
    model.export(str(tmp_path / "model"), verbose=False)
    rows = np.random.default_rng(0).uniform(0, 1, (60, *row)).astype(np.float32)
    for factor, expected in ((1.0, True), (255.0, False)):
        save_samples(tmp_path / "s.npz", make_samples("s", {"table": rows * np.float32(factor)}, None))
        options = ConvertOptions(schemes=("int8",), samples=tmp_path / "s.npz", force=True)
        made = convert(tmp_path / "model", tmp_path / "out", options, ignore)
        assert any(warning in one for one in made.warnings) is expected

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgetf.convert.convert import ConvertOptions, convert
from edgetf.convert.lint import lint_samples
from edgetf.samples import make_samples
from tests.conftest import Small, ignore

IMAGES = np.random.default_rng(0).normal(size=(100, 8, 8, 1)).astype(np.float32)
LABELS = np.arange(100) % 10


def test_good_samples_have_no_warnings() -> None:
    samples = make_samples("good", {"image": IMAGES}, LABELS)
    assert lint_samples(samples, samples) == ()


def test_too_few_duplicates_constants_and_missing_classes_are_told() -> None:
    images = IMAGES[:20].copy()
    images[3:6] = images[0]
    images[7] = 0.25
    everything = make_samples("all", {"image": IMAGES}, LABELS)
    chosen = make_samples("few", {"image": images}, LABELS[:20] % 8)
    few, duplicates, constant, missing = lint_samples(chosen, everything)
    assert "only 20 samples" in few
    assert "3 of 20 samples are duplicates" in duplicates
    assert "1 of 20 samples of 'image' are constant (first sample 7)" in constant
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
    told = [warning for warning in conversion.warnings if "sample 61 alone makes the range of" in warning]
    assert told, conversion.warnings
    clean = ConvertOptions(("int8",), samples=small.samples)
    assert convert(small.saved_model, tmp_path / "clean", clean, ignore).warnings == ()

"""Samples that variants were calibrated on are found among those that judge them. The fixture's are `small.samples`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetf.benchmarks.judging.seen import inputs_of, seen_before
from edgetf.benchmarks.timing.targets import find_targets
from edgetf.files import write_document
from edgetf.results import SamplesUsed, read_conversion
from edgetf.samples import Samples, load_samples, make_samples
from tests.conftest import Small

Change = Callable[..., Path]
SAME = "the variants were calibrated on the same samples: on others they may lose more"


@pytest.fixture
def samples(small: Small, converted: Path) -> Samples:
    return load_samples(small.samples, inputs_of(read_conversion(converted)))


def _with(samples: Samples, rows: Any, labels: Any = None) -> Samples:
    """Other samples: those rows of these."""
    return make_samples("test.npz", {name: values[rows] for name, values in samples.inputs.items()}, labels)


@pytest.fixture
def changed(converted: Path, tmp_path: Path) -> Change:
    """A copy of the conversion whose calibration is recorded with other fields."""

    def change(n: int = 200, ranges: str | None = None, **used: Any) -> Path:
        out = shutil.copytree(converted, tmp_path / "out", dirs_exist_ok=True)
        known = read_conversion(converted)
        assert known.calibration is not None
        calibration = replace(known.calibration, n=n, samples=replace(known.calibration.samples, **used))
        write_document(out / "conversion.json", replace(known, calibration=calibration, ranges=ranges))
        return out

    return change


def test_they_are_found_with_other_labels_shuffled_and_as_a_part(samples: Samples, converted: Path) -> None:
    targets, rows = find_targets([converted]), np.arange(200)
    for others in (
        samples,
        _with(samples, rows),
        _with(samples, rows, np.zeros(200, int)),
        _with(samples, rows[::-1], rows),
        _with(samples, rows[20:30]),
    ):
        [warning] = seen_before(targets, others)
        assert warning.startswith(SAME)


def test_an_overlap_is_counted(samples: Samples, converted: Path) -> None:
    image = np.array(samples.inputs["image"], np.float32)
    image[:150] += 1
    [warning] = seen_before(find_targets([converted]), make_samples("test.npz", {"image": image}, None))
    assert warning.startswith("50 of 200 samples are among those that the variants were calibrated on: on others they")


def test_other_samples_and_variants_without_calibration_give_no_warning(samples: Samples, converted: Path) -> None:
    others = make_samples("test.npz", {"image": np.array(samples.inputs["image"], np.float32) + 1}, samples.labels)
    assert seen_before(find_targets([converted]), others) == []
    assert seen_before(find_targets([converted / "float32.tflite", converted / "float16.tflite"]), samples) == []


def test_only_the_samples_that_were_drawn_count(samples: Samples, changed: Change) -> None:
    [warning] = seen_before(find_targets([changed(n=30)]), samples)
    assert warning.startswith("30 of 200 samples")
    unseen = sorted({*range(200)} - {samples.take(30).row(k) for k in range(30)})
    assert seen_before(find_targets([changed(n=30)]), _with(samples, unseen)) == []


def test_samples_behind_given_ranges_count(samples: Samples, converted: Path, tmp_path: Path) -> None:
    out = shutil.copytree(converted, tmp_path / "out")
    write_document(out / "conversion.json", replace(read_conversion(out), calibration=None))  # as by convert --ranges
    assert len(seen_before(find_targets([out]), samples)) == 1


@pytest.mark.parametrize(
    "source", ["gone.npz", "tests.benchmarks.judging.test_seen:never", "tfds:mnist", "damaged.npz"]
)
def test_what_cannot_be_read_is_found_only_as_the_same_inputs_and_costs_nothing(
    samples: Samples, changed: Change, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged.npz").write_bytes(b"PK\x03\x04")
    targets = find_targets([changed(source=source)])
    [warning] = seen_before(targets, _with(samples, np.arange(200), np.zeros(200, int)))
    assert warning.startswith(SAME)
    assert seen_before(targets, _with(samples, np.arange(200)[::-1])) == []
    older = find_targets([changed(source=source, inputs_digest=None)])
    assert len(seen_before(older, samples)) == 1
    assert seen_before(older, _with(samples, np.arange(200))) == []


def never() -> None:
    raise AssertionError("a warning runs no code of the user's")


def test_a_document_without_the_digest_of_inputs_is_like_none() -> None:
    from edgetf.benchmarks.judging.seen import has_same_inputs

    assert not has_same_inputs(SamplesUsed("a", "1", 3), SamplesUsed("b", "2", 3))
    assert has_same_inputs(SamplesUsed("a", "1", 3, inputs_digest="x"), SamplesUsed("b", "2", 3, inputs_digest="x"))

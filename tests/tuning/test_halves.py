"""A reference in halves: no sample is in both, and each half is an ordinary reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetf.benchmarks.judging.distinct import find_shared
from edgetf.benchmarks.judging.seen import inputs_of
from edgetf.benchmarks.pinned import load_outputs
from edgetf.errors import EdgetfError
from edgetf.files import write_document
from edgetf.results import read_conversion, read_reference
from edgetf.samples import load_samples, make_samples
from edgetf.tuning.halves import halves, read_calibrations, refuse_shared, split, write_part
from tests.conftest import Small


@given(st.lists(st.integers(0, 30), min_size=40, max_size=90), st.sampled_from([1, 4]))
def test_no_sample_is_on_both_sides_also_where_some_are_copies(values: list[int], batch: int) -> None:
    x = np.asarray(values, np.float32)[:, np.newaxis]
    one, other = halves(make_samples("s", {"x": x}, None), batch)
    assert not set(x[one, 0]) & set(x[other, 0])
    assert len(one) % batch == len(other) % batch == 0
    again = halves(make_samples("s", {"x": x}, None), batch)
    np.testing.assert_array_equal(one, again[0])


@given(st.lists(st.integers(0, 30), min_size=40, max_size=90), st.sets(st.integers(0, 30), max_size=30))
def test_what_was_seen_before_is_not_in_the_proof_and_the_halves_stay_even_where_they_can(
    values: list[int], before: set[int]
) -> None:
    x = np.asarray(values, np.float32)[:, np.newaxis]
    seen = [make_samples("s", {"x": np.array([[one]], np.float32)}, None) for one in before]
    one, other = halves(make_samples("s", {"x": x}, None), seen=seen)
    assert not set(x[other, 0]) & before
    assert sorted([*one, *other]) == list(range(len(values)))
    distinct = set(values)
    assert len(set(x[one, 0])) == max(len(distinct) // 2, len(distinct & before))


def test_each_half_is_a_reference_with_its_own_samples_and_outputs(
    reference: Path, small: Small, tmp_path: Path
) -> None:
    whole = read_reference(reference)
    samples = load_samples(whole.samples.source, whole.source.inputs)
    rows = halves(samples)
    outputs = load_outputs(whole, reference).values
    for place, chosen in zip(split(reference, tmp_path), rows, strict=True):
        half = read_reference(place)
        assert half.samples.n == len(chosen) == 100
        taken = load_samples(half.samples.source, half.source.inputs)
        assert taken.digest == half.samples.digest
        np.testing.assert_array_equal(taken.inputs["image"], samples.inputs["image"][chosen])
        assert taken.labels is not None
        assert samples.labels is not None
        np.testing.assert_array_equal(taken.labels, samples.labels[chosen])
        for name, values in load_outputs(half, place).values.items():
            np.testing.assert_array_equal(values, outputs[name][chosen])


def test_too_few_samples_are_refused_with_a_hint(reference: Path, tmp_path: Path) -> None:
    whole = read_reference(reference)
    samples = load_samples(whole.samples.source, whole.source.inputs)
    few = write_part(whole, reference, samples, np.arange(30), tmp_path / "few")
    with pytest.raises(EdgetfError, match="has 30 samples, too few") as raised:
        split(few, tmp_path / "out")
    assert "--verdict" in raised.value.hint
    other = read_reference(few)
    write_document(few / "reference.json", replace(other, samples=replace(other.samples, digest="other")))
    with pytest.raises(EdgetfError, match="made on other samples"):
        split(few, tmp_path / "out")


def test_samples_to_calibrate_on_cannot_prove(converted: Path, reference: Path, tmp_path: Path) -> None:
    """Variants of the small network were calibrated on all samples of the reference."""
    conversion = read_conversion(converted)
    [seen], warnings = read_calibrations(conversion, converted, [reference])
    assert not warnings
    with pytest.raises(EdgetfError, match="all samples of the reference served to calibrate") as raised:
        split(reference, tmp_path, [seen])
    assert "--verdict" in raised.value.hint
    some = seen.take(150)
    _, proof = split(reference, tmp_path, [some])
    assert read_reference(proof).samples.n == 50
    refuse_shared(tmp_path / "search", proof, [some])
    with pytest.raises(EdgetfError, match="with those to calibrate or rank on: 50 are the same"):
        refuse_shared(tmp_path / "search", proof, [seen])


def test_calibration_samples_that_are_gone_are_a_warning_unless_the_proof_would_be_on_them(
    converted: Path, reference: Path, tmp_path: Path
) -> None:
    conversion = read_conversion(converted)
    assert conversion.calibration is not None
    gone = replace(conversion.calibration.samples, source=str(tmp_path / "gone.npz"))
    moved = replace(conversion, ranges=None, calibration=replace(conversion.calibration, samples=gone))
    with pytest.raises(EdgetfError, match="they cannot prove"):
        read_calibrations(moved, converted, [reference])
    _, proof = split(reference, tmp_path)
    found, [warning] = read_calibrations(moved, converted, [proof])
    assert not found
    assert "gone.npz) can no longer be read" in warning


def test_samples_behind_given_ranges_count_as_calibration(converted: Path, reference: Path) -> None:
    conversion = replace(read_conversion(converted), calibration=None)  # as after convert --ranges
    [seen], _ = read_calibrations(conversion, converted, [reference])
    assert len(seen) == 200


def test_halves_have_complete_batches_of_the_variants(reference: Path, tmp_path: Path) -> None:
    for place in split(reference, tmp_path, taken=8):
        assert read_reference(place).samples.n == 96


def test_samples_of_other_lengths_share_nothing() -> None:
    one, other = ({"x": np.ones((n, 4, n), np.float32)} for n in (3, 5))
    assert not find_shared(one, other).any()
    assert find_shared(one, {"x": one["x"][:1]}).all()
    twice = {**one, "y": np.arange(3)}
    assert find_shared(twice, {name: values[1:2] for name, values in twice.items()}).tolist() == [False, True, False]


def test_variants_of_a_fixed_batch_are_ranked_on_complete_batches(converted: Path, small: Small) -> None:
    conversion = read_conversion(converted)
    fixed = replace(conversion, shapes={"image": (40, 8, 8, 1)})
    samples = load_samples(str(small.samples), inputs_of(fixed))
    assert (samples.batch, len(samples.take(32)), len(samples.take(100))) == (40, 40, 80)
    assert inputs_of(conversion) == conversion.source.inputs

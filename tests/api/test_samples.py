from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetf.api.samples import source_of_samples
from edgetf.errors import EdgetfError
from edgetf.results import TensorSpec
from edgetf.samples import Samples, load_samples, make_samples

ONE = (TensorSpec("image", (None, 4, 4, 1), "float32"),)
TWO = (TensorSpec("left", (None, 3), "float32"), TensorSpec("right", (None, 2), "int32"))
X = np.random.default_rng(0).normal(size=(10, 4, 4, 1)).astype(np.float32)
Y = np.arange(10)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGETF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def read(samples: Any, inputs: Sequence[TensorSpec] = ONE) -> Samples:
    return load_samples(source_of_samples(samples, lambda: inputs), inputs)


def labels_of(samples: Samples) -> list[int]:
    assert samples.labels is not None
    return list(samples.labels)


@pytest.mark.parametrize(
    "samples",
    [(X, Y), ({"image": X}, Y), {"image": X, "labels": Y}, ([*X], [*Y]), (X.astype(np.float64), Y), (X, Y, Y / 10)],
)
def test_arrays_in_the_form_of_model_fit_are_the_same_samples(samples: Any) -> None:
    found = read(samples)
    np.testing.assert_array_equal(found.inputs["image"], X)
    assert labels_of(found) == list(Y)


def test_the_same_arrays_are_stored_once(cache: Path) -> None:
    assert source_of_samples((X, Y), lambda: ONE) == source_of_samples((X.copy(), list(Y)), lambda: ONE)
    assert len(list(cache.glob("samples/*"))) == 1


def test_an_array_alone_has_no_labels() -> None:
    assert read(X).labels is None


def test_arrays_of_several_inputs_are_named_or_in_order() -> None:
    left, right = np.ones((5, 3), np.float32), np.arange(10, dtype=np.int32).reshape(5, 2)
    for samples in ([left, right], {"right": right, "left": left}, ([left, right], {"out": np.arange(5)})):
        found = read(samples, TWO)
        np.testing.assert_array_equal(found.inputs["right"], right)
    assert set(found.output_labels) == {"out"}


def test_a_path_and_edgetf_samples_are_returned_unchanged(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=X)
    assert source_of_samples(tmp_path / "x.npz", lambda: ONE) == tmp_path / "x.npz"
    assert source_of_samples("folder:images?scale=1/255", lambda: ONE) == "folder:images?scale=1/255"
    again = read(make_samples("made", {"image": X}, Y))
    assert labels_of(again) == list(Y)


@pytest.mark.parametrize("batched", [True, False])
def test_a_dataset_is_read_batched_or_not(batched: bool) -> None:
    tf = pytest.importorskip("tensorflow")
    dataset = tf.data.Dataset.from_tensor_slices((X, Y))
    found = read(dataset.batch(4) if batched else dataset)
    np.testing.assert_array_equal(found.inputs["image"], X)
    assert labels_of(found) == list(Y)


def test_a_dataset_of_several_inputs_and_labels_is_read_in_order() -> None:
    tf = pytest.importorskip("tensorflow")
    left, right = np.ones((5, 3), np.float32), np.arange(10, dtype=np.int32).reshape(5, 2)
    found = read(tf.data.Dataset.from_tensor_slices(((left, right), np.arange(5))), TWO)
    np.testing.assert_array_equal(found.inputs["right"], right)
    assert labels_of(found) == [0, 1, 2, 3, 4]


def test_a_list_of_the_only_input_is_that_input() -> None:
    np.testing.assert_array_equal(read([X]).inputs["image"], X)


def test_labels_keep_their_precision() -> None:
    labels = np.array([16777217.0] * 10)
    assert labels_of(read((X, labels))) == [16777217.0] * 10


def test_a_dataset_of_named_inputs_is_read() -> None:
    tf = pytest.importorskip("tensorflow")
    rows = {"left": np.ones((5, 3), np.float32), "right": np.ones((5, 2), np.int32)}
    found = read(tf.data.Dataset.from_tensor_slices(rows), TWO)
    assert len(found) == 5


def test_a_dataset_that_does_not_end_is_refused() -> None:
    tf = pytest.importorskip("tensorflow")
    with pytest.raises(EdgetfError, match="is infinite"):
        read(tf.data.Dataset.from_tensor_slices((X, Y)).repeat())


@pytest.mark.parametrize("samples", [3, object(), None, [[1, 2], [3]], np.array(["a", "b"])])
def test_other_types_are_refused_and_the_hint_names_the_supported_ones(samples: Any) -> None:
    with pytest.raises(EdgetfError, match="is not an array of samples") as refused:
        read(samples)
    assert "tf.data.Dataset" in refused.value.hint

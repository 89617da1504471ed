from __future__ import annotations

import io
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgetf.errors import EdgetfError
from edgetf.results import TensorSpec
from edgetf.samples import Array, load_same, load_samples, make_samples, save_samples
from edgetf.samples.core import has_nan
from edgetf.samples.npz import _refuse_names

IMAGE = TensorSpec("image", (None, 2, 2), "float32")
IMAGES = np.arange(12, dtype=np.float32).reshape(3, 2, 2)


def _save(path: Path, **arrays: Array) -> Path:
    np.savez(path / "s.npz", **arrays)
    return path / "s.npz"


@given(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=1, max_dims=3), elements=st.floats(-1e6, 1e6, width=32)),
    st.booleans(),
)
def test_samples_read_back_as_they_were_saved(
    tmp_path_factory: pytest.TempPathFactory, array: Array, labelled: bool
) -> None:
    path = tmp_path_factory.mktemp("samples") / "s.npz"
    samples = make_samples("test", {"in": array}, np.arange(len(array)) if labelled else None)
    save_samples(path, samples)
    back = load_samples(path, [TensorSpec("in", (None, *array.shape[1:]), "float32")])
    assert back.digest == samples.digest
    np.testing.assert_array_equal(back.inputs["in"], array)
    assert (back.labels is not None) == labelled


def test_a_single_input_may_be_called_x(tmp_path: Path) -> None:
    by_name = load_samples(_save(tmp_path, image=IMAGES), [IMAGE])
    by_alias = load_samples(_save(tmp_path, x=IMAGES), [IMAGE])
    assert by_name.digest == by_alias.digest
    assert list(by_alias.inputs) == ["image"]


@pytest.mark.parametrize(
    ("arrays", "hint"),
    [
        ({"image": IMAGES, "time": np.arange(3)}, "if 'time' holds the labels, save it as 'labels'"),
        ({"imgae": IMAGES}, "rename 'imgae' to 'image'"),
        ({"x": IMAGES, "label": np.arange(3)}, "rename 'label' to 'labels'"),
        ({"picture": IMAGES}, "np.savez('s.npz', image=..., labels=...)"),
    ],
)
def test_the_hint_names_the_array_that_is_wrong(tmp_path: Path, arrays: dict[str, Array], hint: str) -> None:
    with pytest.raises(EdgetfError) as caught:
        load_samples(_save(tmp_path, **arrays), [IMAGE])
    assert hint in caught.value.hint


def test_an_input_named_labels_is_separate_from_the_labels(tmp_path: Path) -> None:
    specs = [TensorSpec("labels", (None, 2, 2), "float32")]
    bare = load_samples(_save(tmp_path, labels=IMAGES), specs)
    assert bare.labels is None
    assert list(bare.inputs) == ["labels"]
    samples = load_samples(_save(tmp_path, labels=IMAGES, labels_=np.arange(3), labels_score=np.ones(3)), specs)
    assert samples.labels is not None
    assert samples.labels.tolist() == [0, 1, 2]
    assert list(samples.output_labels) == ["score"]
    assert samples.digest != bare.digest
    save_samples(tmp_path / "again.npz", samples)
    assert load_samples(tmp_path / "again.npz", specs).digest == samples.digest


def test_labels_of_one_output_stay_with_their_samples(tmp_path: Path) -> None:
    without = make_samples("s", {"image": IMAGES}, np.arange(3))
    path = _save(tmp_path, image=IMAGES, labels=np.arange(3), labels_age=np.arange(3) + 20)
    samples = load_samples(path, [IMAGE])
    assert samples.output_labels["age"].tolist() == [20, 21, 22]
    assert samples.digest != without.digest
    taken = samples.take(2)
    assert taken.rows is not None
    assert taken.output_labels["age"].tolist() == [20 + row for row in taken.rows]
    samples.check_outputs(["age", "kind"])
    with pytest.raises(EdgetfError, match="labels for an output 'age', which the model does not have") as caught:
        samples.check_outputs(["ages", "kind"])
    assert "did you mean 'ages'?" in caught.value.hint
    with pytest.raises(EdgetfError, match="different lengths"):
        make_samples("s", {"image": IMAGES}, None, {"age": np.arange(2)})


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"picture": IMAGES}, "holds 'picture', the model's inputs are 'image' (or 'x')"),
        ({"image": IMAGES, "extra": IMAGES}, "holds 'image', 'extra', the model's inputs are 'image'"),
        ({}, "holds nothing, the model's inputs are 'image'"),
        ({"image": IMAGES.astype(np.float64)}, "is float64 [3, 2, 2], the model takes float32 [any, 2, 2]"),
        ({"image": IMAGES.reshape(3, 4)}, "is float32 [3, 4], the model takes float32 [any, 2, 2]"),
        ({"image": IMAGES.reshape(1, 3, 4)}, "is float32 [1, 3, 4], the model takes float32 [any, 2, 2]"),
        ({"image": IMAGES[:0]}, "has no samples"),
        ({"image": IMAGES * np.float32("nan")}, "holds NaN or infinity, first in sample 0"),
        ({"image": IMAGES, "labels": np.arange(2)}, "arrays of different lengths (image: 3, labels: 2)"),
        ({"image": IMAGES, "labels": np.array(1)}, "has no samples"),
    ],
)
def test_samples_that_do_not_fit_are_refused_naming_both_sides(
    tmp_path: Path, arrays: dict[str, Array], message: str
) -> None:
    with pytest.raises(EdgetfError) as caught:
        load_samples(_save(tmp_path, **arrays), [IMAGE])
    assert message in caught.value.message
    assert caught.value.hint


def test_a_fixed_batch_needs_a_multiple_of_it(tmp_path: Path) -> None:
    spec = TensorSpec("image", (2, 2, 2), "float32")
    with pytest.raises(EdgetfError, match="has 3 samples, the model takes 2 at a time"):
        load_samples(_save(tmp_path, image=IMAGES), [spec])
    assert len(load_samples(_save(tmp_path, image=IMAGES[:2]), [spec])) == 2


def test_what_is_not_an_npz_file_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.npz"
    text.write_text("hello")
    cut = tmp_path / "cut.npz"
    cut.write_bytes(_save(tmp_path, image=IMAGES).read_bytes()[:100])
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, image=np.array([{"a": 1}], dtype=object))
    other_zip = tmp_path / "model.keras"
    with zipfile.ZipFile(other_zip, "w") as archive:
        archive.writestr("metadata.json", "{}")
    for path in (text, cut, pickled, other_zip):
        with pytest.raises(EdgetfError, match=r"is not an \.npz file of plain arrays"):
            load_samples(path, [IMAGE])
    with pytest.raises(EdgetfError, match="there are no samples at"):
        load_samples(tmp_path / "missing.npz", [IMAGE])


def test_arrays_with_the_same_name_are_refused_and_many_names_are_read_quickly(tmp_path: Path) -> None:
    array = io.BytesIO()
    np.save(array, np.zeros(1))
    for count in (2, 20_000):
        names = [f"{k}.npy" for k in range(count)]
        infos = [zipfile.ZipInfo(name) for name in [*names, names[-1]]]
        begun = perf_counter()
        with pytest.raises(ValueError, match=f"there are several arrays called '{count - 1}'"):
            _refuse_names(infos, [info.filename.removesuffix(".npy") for info in infos])
        assert perf_counter() - begun < 1
    with zipfile.ZipFile(tmp_path / "twice.npz", "w") as archive:
        for _ in range(2):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                archive.writestr("image.npy", array.getvalue())
    with pytest.raises(EdgetfError, match="there are several arrays called 'image'"):
        load_samples(tmp_path / "twice.npz", [IMAGE])


def test_stored_samples_are_mapped_and_compressed_ones_read(tmp_path: Path) -> None:
    arrays = {"image": IMAGES, "labels": np.arange(3)}
    np.savez(tmp_path / "turned.npz", image=np.asfortranarray(IMAGES), labels=arrays["labels"])
    np.savez_compressed(tmp_path / "small.npz", **arrays)
    plain = load_samples(_save(tmp_path, **arrays), [IMAGE])
    turned, small = (load_samples(tmp_path / f"{name}.npz", [IMAGE]) for name in ("turned", "small"))
    for samples in (plain, turned):
        assert not samples.inputs["image"].flags.owndata
        with pytest.raises(ValueError, match="read-only"):
            samples.inputs["image"][0] = 0
    assert small.inputs["image"].flags.writeable
    assert plain.digest == turned.digest == small.digest == make_samples("", {"image": IMAGES}, np.arange(3)).digest
    np.testing.assert_array_equal(plain.inputs["image"][[2, 0]], IMAGES[[2, 0]])


def test_the_digest_of_a_file_is_stable() -> None:
    """Computed by edgetf before arrays were mapped: references that are kept name it."""
    known = "19bfb61e355ec708a8001821238276d803db8a14dc936c8932703263c91a2e0d"
    assert make_samples("", {"image": IMAGES}, np.arange(3)).digest == known


def test_a_flipped_byte_in_mapped_samples_is_found(tmp_path: Path) -> None:
    path = _save(tmp_path, image=IMAGES)
    content = bytearray(path.read_bytes())
    content[content.index(IMAGES.tobytes()) + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(EdgetfError, match=r"is not an \.npz file of plain arrays"):
        load_samples(path, [IMAGE])


def _peak_of_loading(path: Path, n: int) -> int:
    """Peak memory, in bytes, of a process that loads `n` samples of 256 kB."""
    save_samples(path / f"{n}.npz", make_samples("", {"x": np.ones((n, 65536), np.float32)}, np.arange(n)))
    code = (
        "import re, sys, pathlib; from edgetf.results import TensorSpec; from edgetf.samples import load_samples\n"
        "samples = load_samples(sys.argv[1], [TensorSpec('x', (None, 65536), 'float32')])\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', pathlib.Path('/proc/self/status').read_text())[1])"
    )
    command = [sys.executable, "-c", code, str(path / f"{n}.npz")]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) * 1024


def test_memory_does_not_grow_with_the_number_of_samples(tmp_path: Path) -> None:
    few, many = _peak_of_loading(tmp_path, 64), _peak_of_loading(tmp_path, 512)  # 16 MiB and 128 MiB
    assert abs(many - few) < 4 << 20


@given(st.integers(1, 50), st.integers(1, 60))
def test_a_choice_of_samples_is_seeded_and_in_order(n: int, count: int) -> None:
    samples = make_samples("test", {"x": np.arange(n)}, np.arange(n))
    chosen = samples.take(count)
    rows = chosen.inputs["x"]
    assert len(chosen) == min(n, count)
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, np.asarray(chosen.labels))
    assert chosen.digest == samples.take(count).digest


def test_the_digest_depends_on_names_values_shapes_and_labels() -> None:
    variants = [
        make_samples("a", {"x": IMAGES}, None),
        make_samples("a", {"y": IMAGES}, None),
        make_samples("a", {"x": IMAGES + 1}, None),
        make_samples("a", {"x": IMAGES.reshape(3, 4)}, None),
        make_samples("a", {"x": IMAGES}, np.arange(3)),
    ]
    assert len({samples.digest for samples in variants}) == len(variants)
    assert make_samples("elsewhere", {"x": IMAGES}, None).digest == variants[0].digest


@pytest.mark.parametrize("allow_nan", [True, False])
def test_samples_that_a_document_names_are_read_without_an_option_and_others_are_none(
    allow_nan: bool, tmp_path: Path
) -> None:
    image = IMAGES.copy()
    image[0, 0, 0] = np.nan if allow_nan else 0
    used = load_samples(_save(tmp_path, image=image), [IMAGE], allow_nan).used()
    same = load_same(used.source, [IMAGE], used)
    assert same is not None
    assert same.used() == used
    image[1, 0, 0] = np.nan
    assert load_same(_save(tmp_path, image=image), [IMAGE], used) is None


def test_nan_is_found_in_any_input_of_real_or_complex_numbers() -> None:
    nan = np.array([[1, np.nan]])
    assert has_nan({"x": np.ones((2, 3), np.int32), "y": nan})
    assert has_nan({"x": nan.astype(np.complex64)})
    assert not has_nan({"x": np.ones((2, 3)), "y": np.array(["nan"])})


@pytest.mark.parametrize("name", ["image", "x"])  # before and after `labels` in the order of names
def test_the_digest_of_the_inputs_does_not_depend_on_labels(name: str) -> None:
    bare = make_samples("a", {name: IMAGES, "other": IMAGES}, None)
    labelled = make_samples("b", {"other": IMAGES, name: IMAGES}, np.arange(3), {"age": np.ones(3)})
    assert bare.digest == bare.inputs_digest == labelled.inputs_digest != labelled.digest
    assert make_samples("a", {name: IMAGES + 1, "other": IMAGES}, None).inputs_digest != bare.inputs_digest


def test_objects_are_refused_because_their_bytes_are_addresses() -> None:
    ragged = np.array([[1], [1, 2]], dtype=object)
    with pytest.raises(EdgetfError, match="'x' holds objects") as caught:
        make_samples("ragged", {"x": ragged}, None)
    assert "pad" in caught.value.hint

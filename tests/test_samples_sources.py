"""Sources of samples: TFRecord, image folders, TensorFlow Datasets, functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from edgetf.errors import EdgetfError
from edgetf.results import TensorSpec
from edgetf.samples import LABELS, Array, is_missing, load_samples, make_samples, read_arrays, short_name, write_arrays
from edgetf.samples.datasets import load_tfds
from tests.special_files import SPECIAL, make_special

PICTURE = TensorSpec("image", (None, 4, 4, 1), "float32")
ROWS = np.arange(28, dtype=np.float32).reshape(7, 4)
ROW = TensorSpec("x", (None, 4), "float32")


@st.composite
def _arrays(draw: st.DrawFn) -> dict[str, Array]:
    n = draw(st.integers(1, 9))
    found = {}
    for name in draw(st.lists(st.sampled_from(["a", "b/c", LABELS]), min_size=1, max_size=3, unique=True)):
        row = draw(hnp.array_shapes(min_dims=0, max_dims=2, max_side=3) | st.just(()))
        dtype = draw(st.sampled_from(["<f4", "<f8", "<f2", "<i8", "<i4", "|u1", "|b1", "|S3", "<U2"]))
        elements: Any = st.floats(-100, 100, width=16) if "f" in dtype else None
        found[name] = draw(hnp.arrays(dtype, (n, *row), elements=elements))
    return found


@settings(max_examples=40, deadline=None)
@given(_arrays(), st.integers(1, 4), st.booleans())
def test_records_hold_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, arrays: dict[str, Array], shards: int, zipped: bool
) -> None:
    out = tmp_path_factory.mktemp("records") / f"s.tfrecord{'.gz' if zipped else ''}"
    written = write_arrays(out, arrays, min(shards, len(next(iter(arrays.values())))), force=False)
    back = read_arrays(out, None)
    assert written.digest == make_samples("", back, None).digest
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)


def _shards(folder: Path, suffix: str = "") -> Path:
    out = folder / f"s.tfrecord{suffix}"
    write_arrays(out, {"x": ROWS, LABELS: np.arange(7)}, 3, force=False)
    return out


def test_a_set_of_shards_is_found_by_name_pattern_and_folder(tmp_path: Path) -> None:
    out = _shards(tmp_path)
    assert not is_missing(out)
    for source in (out, str(tmp_path / "s-*.tfrecord"), tmp_path):
        samples = load_samples(source, [ROW])
        np.testing.assert_array_equal(samples.inputs["x"], ROWS)
        assert samples.labels is not None
        assert samples.labels.tolist() == [*range(7)]


def test_what_is_wrong_with_shards_names_the_file_and_the_record(tmp_path: Path) -> None:
    out = _shards(tmp_path)
    second = tmp_path / "s-00001-of-00003.tfrecord"
    whole = second.read_bytes()
    length = len(whole) // 2  # two records of one size
    for at, message in ((20, "damaged at record 0"), (length + 20, "damaged at record 1")):
        second.write_bytes(bytes([*whole[:at], whole[at] ^ 1, *whole[at + 1 :]]))
        with pytest.raises(EdgetfError, match=rf"s-00001-of-00003\.tfrecord is {message}"):
            load_samples(out, [ROW])
    second.write_bytes(whole[:length])  # ends between two records: only the count shows it
    with pytest.raises(EdgetfError, match="has 1 records, of 2"):
        load_samples(out, [ROW])
    second.write_bytes(whole[:length] + whole[:length])
    for spec in (ROW, TensorSpec("renamed", ROW.shape, "float32")):
        with pytest.raises(EdgetfError, match="has changed since it was written"):
            load_samples(out, [spec])
    second.unlink()
    for reported in (True, False):
        if not reported:
            (tmp_path / "s.tfrecord.json").unlink()
        with pytest.raises(EdgetfError, match=r"s-00001-of-00003\.tfrecord is missing"):
            load_samples(tmp_path, [ROW])


def test_a_damaged_compressed_shard_is_reported(tmp_path: Path) -> None:
    out = _shards(tmp_path, ".gz")
    first = tmp_path / "s-00000-of-00003.tfrecord.gz"
    first.write_bytes(first.read_bytes()[:-30])
    with pytest.raises(EdgetfError, match=r"s-00000-of-00003\.tfrecord\.gz"):
        load_samples(out, [ROW])


def _foreign(path: Path, **features: Any) -> Path:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for _ in range(3):
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
    return path


def test_records_of_other_programs_are_read_by_the_signature(tmp_path: Path) -> None:
    floats = tf.train.Feature(float_list=tf.train.FloatList(value=[1, 2, 3, 4]))
    raw = tf.train.Feature(bytes_list=tf.train.BytesList(value=[np.arange(4, dtype=np.float32).tobytes()]))
    seven = tf.train.Feature(int64_list=tf.train.Int64List(value=[7]))
    path = _foreign(tmp_path / "f.tfrecord", x=floats, raw=raw, label=seven, height=seven)
    samples = load_samples(f"{path}?labels=label", [TensorSpec("x", (None, 2, 2), "float32")])
    assert samples.inputs["x"].tolist() == [[[1, 2], [3, 4]]] * 3
    assert samples.labels is not None
    assert samples.labels.tolist() == [7] * 3
    of_one = load_samples(f"{path}?labels_size=height", [TensorSpec("x", (None, 2, 2), "float32")])
    assert of_one.labels is None
    assert of_one.output_labels["size"].tolist() == [7] * 3
    assert load_samples(f"{path}?x=raw", [ROW]).inputs["x"].tolist() == [[0, 1, 2, 3]] * 3
    assert load_samples(f"{path}?x=height", [TensorSpec("x", (None, 1), "uint8")]).inputs["x"].tolist() == [[7]] * 3
    for spec, message in (
        (TensorSpec("image", (None, 4), "float32"), "has no feature 'image'"),
        (TensorSpec("x", (None, 5), "float32"), r"record 0: Key: x"),
        (TensorSpec("x", (None, 4), "int32"), "is a float_list, the model takes int32"),
        (TensorSpec("raw", (None, 3), "float32"), r"record 0: 'raw' has 16 bytes, 12 are expected"),
    ):
        with pytest.raises(EdgetfError, match=message):
            load_samples(path, [spec])


def _photos(folder: Path) -> Path:
    for k, name in enumerate(["cat", "dog"]):
        (folder / name).mkdir(parents=True)
        for j in range(2):
            Image.new("L", (8, 8), 100 * k + 10 * j).save(folder / name / f"{j}.png")
    return folder


def test_a_folder_of_images_becomes_samples(tmp_path: Path) -> None:
    photos = _photos(tmp_path / "photos")
    for source in (f"folder:{photos}?scale=1/100&offset=-1", f"{photos}?scale=1/100&offset=-1"):
        samples = load_samples(source, [PICTURE])
        assert samples.labels is not None
        assert samples.labels.tolist() == [0, 0, 1, 1]
        found = samples.inputs["image"].astype(np.float64)
        assert found.shape == (4, 4, 4, 1)
        np.testing.assert_allclose(found[:, 0, 0, 0], [-1, -0.9, 0, 0.1], atol=1e-6)
    assert load_samples(photos, [TensorSpec("image", (None, 8, 8, 3), "uint8")]).inputs["image"][3].max() == 110


@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_no_plain_file_is_not_read_as_an_image(kind: str, tmp_path: Path) -> None:
    make_special(_photos(tmp_path / "photos") / "cat" / "it.png", kind)
    with pytest.raises(EdgetfError, match=r"it\.png"):
        load_samples(f"folder:{tmp_path / 'photos'}?scale=1", [PICTURE])


def test_ambiguous_images_are_refused(tmp_path: Path) -> None:
    photos = _photos(tmp_path / "photos")
    with pytest.raises(EdgetfError, match="no scale"):
        load_samples(photos, [PICTURE])
    with pytest.raises(EdgetfError, match="unknown option 'scael'") as caught:
        load_samples(f"folder:{photos}?scael=1", [PICTURE])
    assert "did you mean 'scale'" in caught.value.hint
    with pytest.raises(EdgetfError, match="does not fit uint8"):
        load_samples(f"folder:{photos}?scale=3", [TensorSpec("image", (None, 4, 4, 1), "uint8")])
    for dtype, hint in (("uint8", "remove ?scale="), ("int8", "?scale=1&offset=-128")):
        whole = TensorSpec("image", (None, 4, 4, 1), dtype)
        with pytest.raises(EdgetfError, match="leaves only 2 of the values") as caught:
            load_samples(f"folder:{photos}?scale=1/255", [whole])
        assert hint in caught.value.hint
        followed = {"uint8": f"folder:{photos}", "int8": f"folder:{photos}?scale=1&offset=-128"}[dtype]
        assert len(load_samples(followed, [whole])) > 0
    alone = load_samples(f"folder:{photos}?scale=1/255", [TensorSpec("image", (4, 4, 1), "float32")])
    assert alone.unbatched == {"image"}
    Image.fromarray(np.full((4, 4), 60_000, np.uint16)).save(photos / "cat" / "0.png")
    with pytest.raises(EdgetfError, match=r"0\.png has values of more than 8 bits"):
        load_samples(f"folder:{photos}?scale=1", [PICTURE])
    (photos / "cat" / "0.png").write_text("no image")
    with pytest.raises(EdgetfError, match=r"0\.png is not an image"):
        load_samples(f"folder:{photos}?scale=1", [PICTURE])


def test_a_prepared_data_set_becomes_samples(tmp_path: Path) -> None:
    tfds = load_tfds()

    class Stripes(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc, name-defined]
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            features = {"image": tfds.features.Image(shape=(4, 4, 1)), "kind": tfds.features.ClassLabel(num_classes=3)}
            dictionary = tfds.features.FeaturesDict(features)
            return tfds.core.DatasetInfo(builder=self, features=dictionary, supervised_keys=("image", "kind"))

        def _split_generators(self, dl_manager: Any) -> Any:
            return {"test": self._generate_examples()}

        def _generate_examples(self) -> Any:
            for k in range(5):
                yield k, {"image": np.full((4, 4, 1), 50 * k, np.uint8), "kind": k % 3}

    Stripes(data_dir=tmp_path).download_and_prepare()
    source = f"tfds:stripes?split=test&data_dir={tmp_path}&scale=1/50"
    samples = load_samples(source, [TensorSpec("input_1", (None, 4, 4, 1), "float32")])
    assert samples.labels is not None
    value = np.rint(samples.inputs["input_1"][:, 0, 0, 0]).astype(int)
    assert sorted(value) == [0, 1, 2, 3, 4]
    assert (value % 3 == samples.labels).all()
    assert samples.digest == load_samples(source, [TensorSpec("input_1", (None, 4, 4, 1), "float32")]).digest
    with pytest.raises(EdgetfError, match="has no split 'train'"):
        load_samples(source.replace("test", "train", 1), [PICTURE])
    with pytest.raises(EdgetfError, match="there is no data set circles"):
        load_samples(f"tfds:circles?data_dir={tmp_path}", [PICTURE])


def test_features_of_varying_length_and_texts_are_refused_with_a_hint(tmp_path: Path) -> None:
    tfds = load_tfds()

    class Reviews(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc, name-defined]
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            features = {"text": tfds.features.Text(), "ids": tfds.features.Sequence(np.int64), "stars": np.int64}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager: Any) -> Any:
            return {"test": self._generate_examples()}

        def _generate_examples(self) -> Any:
            for k in range(3):
                yield k, {"text": "good" * k, "ids": [1] * k, "stars": k}

    Reviews(data_dir=tmp_path).download_and_prepare()
    source = f"tfds:reviews?data_dir={tmp_path}"
    for chosen, message in (("ids", "'x' is int64"), ("text", "'text' is text")):
        with pytest.raises(EdgetfError, match=message) as caught:
            load_samples(f"{source}&x={chosen}", [TensorSpec("x", (None, 1), "int64")])
        assert "module:function" in caught.value.hint
    with pytest.raises(EdgetfError, match="'text' is text") as caught:
        read_arrays(source, None)
    assert "--model" in caught.value.hint
    stars = load_samples(f"{source}&x=stars", [TensorSpec("x", (None,), "int64")]).inputs["x"]
    assert sorted(stars.tolist()) == [0, 1, 2]


def test_a_users_function_returns_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import numpy as np\n"
        "def both(): return {'x': np.ones((3, 4), np.float32)}, np.arange(3)\n"
        "def none(): pass\n"
        "def needy(path): pass\n"
        "def leaving(): raise SystemExit(0)\n"
        "def uneven(): return {'x': [[1], [1, 2]]}\n"
    )
    (tmp_path / "my_data.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    samples = load_samples("my_data:both", [ROW])
    assert len(samples) == 3
    assert samples.labels is not None
    assert short_name("my_data:both") == "my_data:both"
    failures = {
        "other": "cannot load",
        "none": "returned NoneType",
        "needy": r"needy failed: TypeError: needy\(\) missing 1 required",
        "leaving": r"leaving failed: SystemExit: 0 \(my_data\.py, line 5\)",
        "uneven": "uneven did not return arrays: ValueError: setting an array element",
    }
    for name, message in failures.items():
        with pytest.raises(EdgetfError, match=message):
            load_samples(f"my_data:{name}", [ROW])

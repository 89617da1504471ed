from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from edgetf.benchmarks.benchmark import BenchmarkOptions, benchmark
from edgetf.benchmarks.reference.make import make_reference
from edgetf.benchmarks.reference.options import Place, ReferenceOptions
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.conversion.savedmodel import read_source
from edgetf.device.local import LocalDevice
from edgetf.errors import EdgetfError
from edgetf.events import Progress
from edgetf.files import sha256_file
from edgetf.flatbuffer import read_contents
from edgetf.results import Status, Verdict, read_conversion
from edgetf.samples import load_samples, make_samples, save_samples
from edgetf.schemes import DEFAULT_SCHEMES, Scheme
from tests.conftest import BLOCKS, SHORT, Small, ignore


def test_every_scheme_becomes_a_file_that_conversion_json_describes(converted: Path, small: Small) -> None:
    conversion = read_conversion(converted)
    assert [variant.scheme for variant in conversion.variants] == list(DEFAULT_SCHEMES)
    for variant in conversion.variants:
        assert variant.status is Status.OK
        assert variant.path is not None
        path = converted / variant.path
        assert (variant.bytes, variant.sha256) == (path.stat().st_size, sha256_file(path))
        assert variant.ops == read_contents(path).counts()
        assert variant.seconds > 0
    assert conversion.source.path == str(small.saved_model)
    assert conversion.calibration is not None
    assert (conversion.calibration.n, conversion.calibration.samples.n) == (200, 200)
    assert sorted(p.name for p in converted.iterdir()) == sorted(
        [*(f"{s}.tflite" for s in DEFAULT_SCHEMES), "conversion.json", "ranges.json"]
    )


@pytest.mark.parametrize("scheme", DEFAULT_SCHEMES.values(), ids=list(DEFAULT_SCHEMES))
def test_a_scheme_decides_dtypes(converted: Path, scheme: Scheme) -> None:
    contents = read_contents(converted / f"{scheme.name}.tflite")
    assert {tensor.dtype for tensor in (*contents.inputs, *contents.outputs)} == {scheme.io}
    assert next(iter(contents.weights)) == scheme.weights


def test_the_float32_variant_computes_the_outputs_of_tensorflow(converted: Path, small: Small) -> None:
    images = load_samples(small.samples, read_source(small.saved_model, None).inputs).inputs["image"]
    function = tf.saved_model.load(str(small.saved_model)).signatures["serving_default"]
    expected = function(image=tf.constant(images))["output_0"].numpy()
    interpreter = Interpreter(model_path=str(converted / "float32.tflite"))
    runner = interpreter.get_signature_runner()
    found = np.concatenate([runner(image=images[k : k + 1])["output_0"] for k in range(len(images))])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_without_samples_the_schemes_that_need_them_fail_alone(small: Small, tmp_path: Path) -> None:
    conversion = convert(small.saved_model, tmp_path / "out", ConvertOptions(("int8", "float32")), ignore)
    int8, float32 = conversion.variants
    assert int8.error is not None
    assert int8.error.code == "needs-samples"
    assert "--samples" in int8.error.hint
    assert float32.status is Status.OK
    assert not (tmp_path / "out" / "int8.tflite").exists()
    with pytest.raises(EdgetfError, match="every requested scheme needs samples"):
        convert(small.saved_model, tmp_path / "other", ConvertOptions(("int8",)), ignore)
    assert not (tmp_path / "other").exists()


def test_calibration_uses_the_number_asked_for(small: Small, tmp_path: Path) -> None:
    options = ConvertOptions(("int8",), samples=small.samples, calibration=7)
    seen: list[tuple[int, int]] = []
    conversion = convert(
        small.saved_model,
        tmp_path / "out",
        options,
        lambda event: seen.append((event.done, event.of)) if isinstance(event, Progress) else None,
    )
    assert conversion.calibration is not None
    assert (conversion.calibration.n, conversion.calibration.seed) == (7, 0)
    assert seen[-1] == (7, 7)
    with pytest.raises(EdgetfError, match="cannot calibrate on 0 samples"):
        convert(small.saved_model, tmp_path / "none", ConvertOptions(calibration=0), ignore)


def test_a_keras_file_is_exported_on_the_way(small: Small, tmp_path: Path) -> None:
    conversion = convert(small.keras_file, tmp_path / "out", ConvertOptions(("float32",)), ignore)
    assert conversion.source.path == str(tmp_path / "out" / "saved_model")
    assert read_source(tmp_path / "out" / "saved_model", None).digest == conversion.source.digest


def test_free_axes_stay_free_or_are_fixed_by_the_option(tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    layers = [keras.Input((None, None, 3), name="image"), keras.layers.Conv2D(4, 3, padding="same", activation="relu")]
    keras.Sequential(layers).export(str(tmp_path / "model"), verbose=False)
    images = np.random.default_rng(0).normal(size=(60, 12, 10, 3)).astype(np.float32)
    np.savez(tmp_path / "s.npz", image=images)
    free = ConvertOptions(("float32", "int8"), samples=tmp_path / "s.npz")
    fixed = replace(free, shapes={"image": (1, 12, 10, 3)})
    for options, shape in ((free, (1, None, None, 3)), (fixed, (1, 12, 10, 3))):
        out = tmp_path / str(len(options.shapes))
        for variant in convert(tmp_path / "model", out, options, ignore).variants:
            assert variant.status is Status.OK, variant.error
            assert read_contents(out / str(variant.path)).inputs[0].shape == shape
        make_reference(tmp_path / "model", tmp_path / "s.npz", out / "ref", ReferenceOptions(on=Place.CPU), ignore)
        measured = benchmark(
            [out],
            LocalDevice(),
            out / "b",
            BenchmarkOptions(reference=out / "ref", timing=SHORT, blocks=BLOCKS, patience=1),
            ignore,
        )
        for result in measured.results:
            assert result.parity is not None, result.error
            assert result.parity.verdict is Verdict.PASS, result.parity.reason


def test_force_replaces_what_an_earlier_conversion_left_and_nothing_else(small: Small, tmp_path: Path) -> None:
    out = tmp_path / "out"
    convert(small.saved_model, out, ConvertOptions(("float32", "float16")), ignore)
    (out / "mine.tflite").write_text("mine")
    with pytest.raises(EdgetfError, match=r"already holds conversion\.json"):
        convert(small.saved_model, out, ConvertOptions(("dynamic",)), ignore)
    convert(small.saved_model, out, ConvertOptions(("dynamic",), force=True), ignore)
    assert sorted(p.name for p in out.iterdir()) == ["conversion.json", "dynamic.tflite", "mine.tflite"]


@pytest.fixture(scope="module")
def lstm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Keras 3 LSTM, whose batch is free, and samples."""
    import keras

    folder = tmp_path_factory.mktemp("lstm")
    keras.utils.set_random_seed(0)
    layers = [keras.Input((6, 2), name="series"), keras.layers.LSTM(4), keras.layers.Dense(3)]
    keras.Sequential(layers).export(str(folder / "model"), verbose=False)
    np.savez(folder / "s.npz", x=np.random.default_rng(0).normal(size=(40, 6, 2)).astype(np.float32))
    return folder


def test_a_crash_of_the_converter_is_that_schemes_failure(lstm: Path, tmp_path: Path) -> None:
    """TensorFlow's calibrator dies of a segmentation fault on a Keras 3 LSTM (seen with 2.21)."""
    options = ConvertOptions(("float32", "int16x8", "dynamic"), samples=lstm / "s.npz")
    float32, int16x8, dynamic = convert(lstm / "model", tmp_path / "out", options, ignore).variants
    assert float32.status is Status.OK
    assert dynamic.status is Status.OK
    assert int16x8.error is not None
    assert (int16x8.error.code, int16x8.error.message) == ("crashed", "the converter died of SIGSEGV")
    assert (tmp_path / "out" / "conversion.log").exists()


def test_a_recurrent_network_with_a_free_batch_converts_and_its_int8_too(lstm: Path, tmp_path: Path) -> None:
    """The official way refuses the one and dies of a segmentation fault at the other (seen with 2.21)."""
    options = ConvertOptions(("float32", "int8"), samples=lstm / "s.npz")
    float32, int8 = convert(lstm / "model", tmp_path / "out", options, ignore).variants
    assert (float32.engine, int8.engine) == ("fast", "fast")
    assert int8.notes == ("the body of WHILE stays float32: the quantizer does not quantize loops",)
    series = np.load(lstm / "s.npz")["x"]
    function = tf.saved_model.load(str(lstm / "model")).signatures["serving_default"]
    expected = function(series=tf.constant(series))["output_0"].numpy()
    for name, tolerance in (("float32", 1e-6), ("int8", 0.02 * np.ptp(expected))):
        runner = Interpreter(model_path=str(tmp_path / "out" / f"{name}.tflite")).get_signature_runner()
        found = np.concatenate([runner(series=one[None])["output_0"] for one in series])
        np.testing.assert_allclose(found, expected, atol=tolerance)


def test_a_scheme_that_quantized_nothing_has_a_note(tmp_path: Path) -> None:
    import keras

    tiny = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    tiny.export(str(tmp_path / "tiny"), verbose=False)
    rows = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    save_samples(tmp_path / "x.npz", make_samples("x", {"x": rows}, None))
    options = ConvertOptions(("dynamic", "weights"), samples=tmp_path / "x.npz")
    for variant in convert(tmp_path / "tiny", tmp_path / "out", options, ignore).variants:
        assert variant.repairs == ()  # no rounding of weights that are not quantized
        assert [note for note in variant.notes if "smaller" in note or "bytes" in note] == [variant.notes[0]]
        assert variant.notes[0].startswith("no weights were quantized")


def test_a_refusal_of_the_converter_is_one_line_and_a_log(tmp_path: Path) -> None:
    class Strings(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([1], tf.string, name="text")])  # type: ignore[untyped-decorator]
        def call(self, text: tf.Tensor) -> tf.Tensor:
            return tf.strings.length(tf.strings.upper(text))

    module = Strings()
    tf.saved_model.save(module, str(tmp_path / "strings"), signatures=module.call)
    [variant] = convert(tmp_path / "strings", tmp_path / "out", ConvertOptions(("float32",)), ignore).variants
    assert variant.error is not None
    assert variant.error.code == "converter"
    assert variant.error.message == "TFLite has no StringLength, StringUpper: it does not support strings"
    assert "convert strings to numbers before the model runs" in variant.error.hint
    assert "StringUpper" in (tmp_path / "out" / "conversion.log").read_text()


def test_ops_of_tensorflow_are_allowed_with_the_option_and_noted(tmp_path: Path) -> None:
    class Atan(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([1, 4], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def call(self, x: tf.Tensor) -> tf.Tensor:
            return tf.math.atan(x)

    module = Atan()
    tf.saved_model.save(module, str(tmp_path / "atan"), signatures=module.call)
    options = ConvertOptions(("float32",), select_tf_ops=True)
    [variant] = convert(tmp_path / "atan", tmp_path / "flex", options, ignore).variants
    assert variant.status is Status.OK
    flex, not_run = variant.notes
    assert flex == "needs the Flex delegate, for Atan"
    assert "not run here" in not_run  # LiteRT's wheel lacks it, which is not a fault of the variant
    assert "FlexAtan" in not_run
    assert variant.ran_in is None


def test_a_bad_model_or_bad_samples_leave_no_folder(small: Small, tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", image=np.zeros((4, 9, 9, 1), np.float32))
    with pytest.raises(EdgetfError, match=r"is float32 \[4, 9, 9, 1\], the model takes float32 \[any, 8, 8, 1\]"):
        convert(small.saved_model, tmp_path / "out", ConvertOptions(samples=tmp_path / "bad.npz"), ignore)
    with pytest.raises(EdgetfError, match="does not exist"):
        convert(tmp_path / "missing", tmp_path / "out", ConvertOptions(), ignore)
    assert not (tmp_path / "out").exists()

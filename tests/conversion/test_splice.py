"""Mixtures of the files of one conversion: their outputs in every runtime, and files that cannot be mixed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.conversion.splice import Mixture, Splicer
from edgetf.errors import EdgetfError
from edgetf.flatbuffer import count_ops, unpack
from edgetf.samples import make_samples, save_samples
from tests.conftest import Small, ignore

Values = NDArray[np.float32]
Network = tuple[Splicer, dict[str, bytes], dict[str, Values]]

ROWS = 12
STEPS = 3  # of an int8 output between the kernels of two runtimes, after some layers
SCHEMES = ("float32", "float16", "dynamic", "int8", "int16x8")


def _run(content: bytes, inputs: Mapping[str, Values], plain: bool = False) -> dict[str, Values]:
    kind = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if plain else OpResolverType.AUTO
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=kind)
    fed = interpreter.get_signature_runner().get_input_details()
    given = interpreter.get_signature_runner().get_output_details()
    interpreter.allocate_tensors()
    found: dict[str, list[Any]] = {name: [] for name in given}
    for row in range(ROWS):
        for name, detail in fed.items():
            interpreter.set_tensor(detail["index"], inputs[name][row : row + 1])
        interpreter.reset_all_variables()
        interpreter.invoke()
        for name, detail in given.items():
            found[name].append(interpreter.get_tensor(detail["index"])[0])
    return {name: np.stack(rows) for name, rows in found.items()}


def _files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / f"{name}.tflite").read_bytes() for name in SCHEMES if (folder / f"{name}.tflite").exists()}


@pytest.fixture(scope="module")
def plain(converted: Path, small: Small) -> Network:
    files = _files(converted)
    return Splicer(files), files, {"image": np.load(small.samples)["image"]}


@pytest.fixture(scope="module")
def branched(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """Two inputs, two outputs, a loop (an LSTM of Keras 3), a value that two operations read."""
    import keras

    folder, layers = tmp_path_factory.mktemp("branched"), keras.layers
    keras.utils.set_random_seed(0)
    series, image = keras.Input((6, 4), name="series"), keras.Input((8, 8, 2), name="image")
    seen = layers.GlobalAveragePooling2D()(layers.Conv2D(16, 3, activation="relu")(image))
    both = layers.Concatenate()([layers.LSTM(16)(series), seen])
    wide = layers.Dense(64, activation="relu")(both)
    outputs = {"classes": layers.Dense(3, activation="softmax")(wide), "value": layers.Dense(2)(wide)}
    keras.Model({"series": series, "image": image}, outputs).export(str(folder / "model"), verbose=False)
    random = np.random.default_rng(0)
    inputs = {
        "series": random.normal(size=(40, 6, 4)).astype(np.float32),
        "image": random.normal(size=(40, 8, 8, 2)).astype(np.float32),
    }
    save_samples(folder / "s.npz", make_samples("s", {**inputs}, None))
    schemes = ("float32", "float16", "dynamic", "int8")
    convert(folder / "model", folder / "out", ConvertOptions(schemes=schemes, samples=folder / "s.npz"), ignore)
    files = _files(folder / "out")
    return Splicer(files), files, inputs


@pytest.mark.parametrize("network", ["plain", "branched"])
def test_all_from_one_file_answers_bit_for_bit_as_that_file(network: str, request: pytest.FixtureRequest) -> None:
    splicer, files, inputs = request.getfixturevalue(network)
    assert set(splicer.names) == set(files)
    assert not splicer.left_out
    for name, content in files.items():
        made = splicer.splice(Mixture((name,) * len(splicer.operations)))
        assert len(made) <= len(content)
        for without_delegate in (False, True):
            expected, found = (_run(one, inputs, without_delegate) for one in (content, made))
            for output, values in expected.items():
                np.testing.assert_array_equal(found[output], values)


def test_loops_are_compared_by_content_and_a_splice_of_all_differences_computes_the_same(
    branched: Network,
) -> None:
    splicer, files, inputs = branched
    [loop] = [k for k, operation in enumerate(splicer.operations) if operation.kind == "WHILE"]
    assert splicer.differs("float16", loop)
    assert 0 < splicer.constant_bytes("float16", loop) < splicer.constant_bytes("float32", loop)
    differing = [splicer.differs("float16", k) for k in range(len(splicer.operations))]
    made = splicer.splice(Mixture(tuple("float16" if one else "float32" for one in differing)))
    found, expected = (_run(content, inputs) for content in (made, files["float16"]))
    for output, values in expected.items():
        np.testing.assert_array_equal(found[output], values)


def _kernels_apart(splicer: Splicer, inputs: dict[str, Values]) -> dict[str, float]:
    """The difference between XNNPACK and the kernels without it on the plain files, at least a step of the range."""
    found: dict[str, float] = {}
    for name in splicer.names:
        made = splicer.splice(Mixture((name,) * len(splicer.operations)))
        one, other = _run(made, inputs), _run(made, inputs, plain=True)
        for output, values in one.items():
            apart = [float(np.abs(values - other[output]).max()), float(np.ptp(values)) / 255, found.get(output, 0.0)]
            found[output] = max(apart)
    return found


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("network", ["plain", "branched"])
def test_any_mixture_runs_and_is_the_same_with_and_without_xnnpack(
    network: str, request: pytest.FixtureRequest, data: st.DataObject
) -> None:
    splicer, _, inputs = request.getfixturevalue(network)
    count = len(splicer.operations)
    choice = tuple(data.draw(st.lists(st.sampled_from(splicer.names), min_size=count, max_size=count)))
    made = splicer.splice(Mixture(choice))
    one, other = _run(made, inputs), _run(made, inputs, plain=True)
    for name, apart in _kernels_apart(splicer, inputs).items():
        assert np.abs(one[name] - other[name]).max() <= 2 * apart
    assert splicer.splice(Mixture(choice)) == made  # the same choice is the same file


_OLD = """
import sys, numpy as np
from tflite_runtime.interpreter import Interpreter
from pathlib import Path
image = np.load("image.npy")
for path in sorted(Path(".").glob("*.tflite")):
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    rows = []
    for row in image:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], row[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    np.save(path.with_suffix(".npy"), np.stack(rows))
"""


def test_tflite_runtime_agrees_on_mixtures(plain: Network, tmp_path: Path) -> None:
    """int8 before int16x8 among them, which that runtime cannot convert in one step."""
    pytest.importorskip("tflite_runtime")
    splicer, _, inputs = plain
    names = [name for name in splicer.names if name != "dynamic"]  # whose operations are too new for it
    random, count = np.random.default_rng(0), len(splicer.operations)
    choices = [tuple(random.choice(names, count)) for _ in range(12)]
    choices.append(tuple("int8" if k < count // 2 else "int16x8" for k in range(count)))
    for k, choice in enumerate(choices):
        (tmp_path / f"{k:02}.tflite").write_bytes(splicer.splice(Mixture(choice)))
    np.save(tmp_path / "image.npy", inputs["image"][:ROWS])
    ended = subprocess.run([sys.executable, "-c", _OLD], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    for k, choice in enumerate(choices):
        [here] = _run((tmp_path / f"{k:02}.tflite").read_bytes(), inputs).values()
        assert np.abs(here - np.load(tmp_path / f"{k:02}.npy")).max() <= STEPS / 255, choice


def test_a_mixture_contains_nothing_unused(
    plain: Network,
) -> None:
    splicer, files, _ = plain
    count = len(splicer.operations)
    choice = ("float32",) * (count // 2) + ("dynamic",) * (count - count // 2)
    model, _ = unpack(splicer.splice(Mixture(choice)))
    used = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    assert set(range(1, len(model.buffers))) <= used
    assert len(splicer.splice(Mixture(choice))) < len(files["float32"])


def test_each_value_is_converted_once_between_representations(
    plain: Network,
) -> None:
    splicer, _, _ = plain
    count = len(splicer.operations)
    made = splicer.splice(Mixture(("int8",) + ("float32",) * (count - 1)))
    ops = count_ops(made)
    assert (ops["QUANTIZE"], ops["DEQUANTIZE"]) == (1, 1)


def test_a_rounded_operation_is_float_between_the_conversions_of_the_other_file(
    plain: Network,
) -> None:
    splicer, _, inputs = plain
    base = ("float32",) * len(splicer.operations)
    pool = next(k for k, operation in enumerate(splicer.operations) if operation.kind == "MAX_POOL_2D")
    rounded = _run(splicer.splice(Mixture(base, {pool: "int8"})), inputs)
    whole = _run(splicer.splice(Mixture(tuple("int8" if k == pool else "float32" for k in range(len(base))))), inputs)
    exact = _run(splicer.splice(Mixture(base)), inputs)
    for name, values in rounded.items():
        np.testing.assert_allclose(whole[name], values, atol=1e-6)  # the largest of rounded ones is the rounded largest
        assert np.abs(values - exact[name]).max() > 0


def test_a_file_of_another_graph_is_left_out_with_the_reason(
    plain: Network,
    branched: Network,
) -> None:
    files = {**plain[1], "int8": branched[1]["int8"]}
    splicer = Splicer(files)
    assert "int8" not in splicer.names
    assert "float32 has CONV_2D" in splicer.left_out["int8"] or "operation" in splicer.left_out["int8"]


def test_without_the_float_file_there_is_nothing_to_mix(
    plain: Network,
) -> None:
    with pytest.raises(EdgetfError, match="no float32 variant"):
        Splicer({"int8": plain[1]["int8"]})


@pytest.mark.slow
def test_files_with_two_signatures_are_mixed_in_both(tmp_path: Path) -> None:
    import tensorflow as tf

    random = np.random.default_rng(0)
    weights = [tf.Variable(random.normal(size=shape).astype(np.float32)) for shape in ((4, 512), (512, 3), (512, 5))]

    class Two(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            self.weights = weights

        @tf.function(input_signature=[tf.TensorSpec([1, 4], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def first(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": tf.nn.relu(x @ self.weights[0]) @ self.weights[1]}

        @tf.function(input_signature=[tf.TensorSpec([1, 4], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def second(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"z": tf.tanh(x @ self.weights[0]) @ self.weights[2]}

    model = Two()
    signatures = {"first": model.first, "second": model.second}
    tf.saved_model.save(model, str(tmp_path / "model"), signatures=signatures)
    files = {}
    for name, optimizations in (("float32", []), ("dynamic", [tf.lite.Optimize.DEFAULT])):
        converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "model"), signature_keys=list(signatures))
        converter.optimizations = optimizations
        files[name] = converter.convert()
    splicer = Splicer(files)
    assert splicer.names == ("float32", "dynamic")
    x = random.normal(size=(1, 4)).astype(np.float32)
    count = len(splicer.operations)
    for choice in (("float32",) * count, ("dynamic",) * count, ("float32",) * (count // 2) + ("dynamic",) * count):
        made = Interpreter(model_content=splicer.splice(Mixture(choice[:count])))
        assert set(made.get_signature_list()) == set(signatures)
        for name in signatures:
            expected = Interpreter(model_content=files[choice[0 if name == "first" else count - 1]])
            [ours], [theirs] = (one.get_signature_runner(name)(x=x).values() for one in (made, expected))
            np.testing.assert_array_equal(ours, theirs)


def test_the_work_of_an_inference_is_counted_in_multiplications(plain: Network) -> None:
    splicer, _, _ = plain
    convolution, pooling, flatten, dense, last, softmax = 6 * 6 * 8 * 3 * 3, 3 * 3 * 8, 72, 32 * 72, 3 * 32, 3
    assert splicer.multiplications == convolution + pooling + flatten + dense + last + softmax

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from edgetf.benchmarks.diagnosis.layers import _alone, _run_alone, blame, to_node_data
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.conversion.ranges import RangeChoice
from edgetf.errors import EdgetfError
from edgetf.flatbuffer import builtin_code, pack, unpack
from edgetf.samples import Array
from tests.attacks.kit import write_model, write_two_graphs
from tests.conftest import Run, Small, ignore


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Array]:
    """A network whose layer `spoilt` has a channel a hundred times as large as the others, and samples for it."""
    import keras

    folder = tmp_path_factory.mktemp("spoilt")
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3), name="image"),
            layers.Conv2D(8, 3, activation="relu", name="sound"),
            layers.Conv2D(8, 3, name="spoilt"),
            layers.Conv2D(4, 3, name="after"),
            layers.Flatten(),
            layers.Dense(3, name="last"),
        ]
    )
    kernel, bias = model.get_layer("spoilt").get_weights()
    kernel[..., 5] *= 100.0
    model.get_layer("spoilt").set_weights([kernel, bias])
    kernel, bias = model.get_layer("after").get_weights()
    kernel[:, :, 5] /= 100.0  # the next layer needs all channels equally
    model.get_layer("after").set_weights([kernel, bias])
    model.export(str(folder / "saved_model"), verbose=False)
    images = np.random.default_rng(0).normal(size=(40, 8, 8, 3)).astype(np.float32)
    np.savez(folder / "s.npz", image=images)
    options = ConvertOptions(("float32", "int8"), folder / "s.npz", choice=RangeChoice())  # without equalization
    convert(folder / "saved_model", folder / "out", options, ignore)
    return folder / "out", images


def test_only_the_layer_with_a_large_channel_is_blamed(spoilt: tuple[Path, Array]) -> None:
    out, images = spoilt
    layers = blame(out / "float32.tflite", out / "int8.tflite", {"image": images})
    by_name = {layer.layer.rstrip("_1"): layer for layer in layers}
    assert {"sound", "spoilt", "after"} <= set(by_name)
    assert "channel 5 is far larger than the others" in by_name["spoilt"].cause
    assert by_name["sound"].cause == ""
    assert (by_name["after"].accumulated_db or 0.0) < 10  # all later outputs are useless
    local = by_name["after"].local_db
    assert local is not None
    assert local < by_name["sound"].local_db  # type: ignore[operator]  # it is given the spoilt layer's coarse outputs


def test_equalized_channels_are_compared_with_their_factors_so_that_no_layer_is_blamed(
    equalized: Path, unlike: Small
) -> None:
    images = np.load(unlike.samples)["image"]
    layers = blame(equalized / "float32.tflite", equalized / "int8.tflite", {"image": images})
    assert {"CONV_2D", "MAX_POOL_2D", "FULLY_CONNECTED"} <= {layer.op for layer in layers}
    for layer in layers:
        assert layer.local_db is not None
        assert layer.accumulated_db is not None
        assert min(layer.local_db, layer.accumulated_db) > 20
        assert "channel" not in layer.cause


def test_a_sound_network_loses_little_in_any_layer(converted: Path, small: Small) -> None:
    images = np.load(small.samples)["image"]
    layers = blame(converted / "float32.tflite", converted / "int8.tflite", {"image": images})
    assert len(layers) >= 4
    assert all(layer.local_db is not None and layer.local_db > 20 for layer in layers)
    assert [layer.local_db for layer in layers] == sorted(layer.local_db for layer in layers)  # type: ignore[type-var]
    assert {layer.cause for layer in layers if layer.local_db is not None and layer.local_db >= 40} == {""}
    node_data = to_node_data(layers)["results"]
    assert {layer.tensor for layer in layers} == set(node_data)


def test_float16_is_ranked_although_its_weights_are_dequantized_first(converted: Path, small: Small) -> None:
    images = np.load(small.samples)["image"]
    layers = blame(converted / "float32.tflite", converted / "float16.tflite", {"image": images})
    weighted = [layer.local_db for layer in layers if layer.op in ("CONV_2D", "FULLY_CONNECTED")]
    assert len(weighted) == 3
    assert not any(layer.not_measured for layer in layers)
    assert all(db is not None and 50 < db < 120 for db in weighted)
    assert all(layer.cause == "" for layer in layers)


def test_float32_compared_with_itself_has_no_error(converted: Path, small: Small) -> None:
    images = np.load(small.samples)["image"]
    layers = blame(converted / "float32.tflite", converted / "float32.tflite", {"image": images})
    assert all((layer.local_db, layer.accumulated_db) == (120.0, 120.0) for layer in layers)


def test_an_op_that_cannot_be_measured_is_listed_with_the_reason(converted: Path, small: Small, tmp_path: Path) -> None:
    model, schema = unpack((converted / "int8.tflite").read_bytes())
    graph = model.subgraphs[0]
    lost = next(op for op in graph.operators if builtin_code(model, op) == schema.BuiltinOperator.CONV_2D)
    graph.tensors[lost.outputs[0]].name = b"renamed"
    (tmp_path / "int8.tflite").write_bytes(pack(model))
    layers = blame(converted / "float32.tflite", tmp_path / "int8.tflite", {"image": np.load(small.samples)["image"]})
    unmeasured = [layer for layer in layers if layer.not_measured]
    assert unmeasured
    assert all(layer.local_db is None for layer in unmeasured)
    assert all("float32 variant has no" in layer.not_measured for layer in unmeasured)
    assert any(layer.local_db is not None for layer in layers)


def test_a_file_of_another_model_is_reported(converted: Path, spoilt: tuple[Path, Array]) -> None:
    out, images = spoilt
    with pytest.raises(EdgetfError, match=r"cannot analyze|no layer in common"):
        blame(converted / "float32.tflite", out / "int8.tflite", {"image": images})


def test_the_command_shows_them_and_writes_them_for_model_explorer(
    benchmarked: Path, converted: Path, reference: Path, tmp_path: Path, edgetf: Run
) -> None:
    options = ("--variant", "int8", "--variants", converted, "--reference", reference)
    ended = edgetf("explain", benchmarked, *options, "--node-data", "nodes.json")
    assert "Layers, those with the largest errors" in ended.stdout, ended.stderr
    assert "CONV_2D" in ended.stdout
    assert json.loads((tmp_path / "nodes.json").read_text())["results"]


def test_the_model_of_a_single_op_does_not_grow_with_the_graph(tmp_path: Path) -> None:
    """The model of one of 5,000 ops contained all others: that is quadratic."""
    content = write_model(tmp_path / "v.tflite", np.ones((16, 4), np.float32), np.zeros(4, np.float32)).read_bytes()
    model, _ = unpack(content)
    graph = model.subgraphs[0]
    op, fed = graph.operators[0], [int(graph.inputs[0])]
    small = len(_alone(model, [op], fed))
    graph.tensors += [copy.copy(graph.tensors[0]) for _ in range(1000)]
    model.buffers += [copy.copy(model.buffers[1]) for _ in range(1000)]
    assert len(_alone(model, [op], fed)) == small
    x = np.arange(32, dtype=np.float64).reshape(2, 1, 16)
    assert _run_alone(_alone(model, [op], fed), [x])[:, 0] == pytest.approx(np.repeat(x.sum(axis=2), 4, axis=1))


def test_the_layers_are_those_of_the_graph_that_the_signature_runs(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)
    both = write_two_graphs(tmp_path / "both.tflite", {"all": 1, "logits": 0})
    for signature, ops in ((None, ["FULLY_CONNECTED", "SOFTMAX"]), ("logits", ["FULLY_CONNECTED"])):
        layers = blame(both, both, {"x": x}, signature=signature)
        assert sorted(layer.op for layer in layers) == ops
        assert all((layer.local_db, layer.accumulated_db) == (120.0, 120.0) for layer in layers)
    with pytest.raises(EdgetfError, match="cannot analyze the variant: it has no signature 'some'"):
        blame(both, both, {"x": x}, signature="some")

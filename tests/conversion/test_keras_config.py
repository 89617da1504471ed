"""What a configuration would run, found without loading it. The files here hold a configuration and nothing else."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import pytest

from edgetf.conversion import keras_file
from edgetf.conversion.keras_config import read_digest, read_header
from edgetf.conversion.keras_findings import findings_of
from edgetf.errors import EdgetfError


def _model(layer: dict[str, Any]) -> dict[str, Any]:
    return {"class_name": "Functional", "config": {"name": "m", "layers": [layer]}}


def _write(path: Path, layer: dict[str, Any], version: str = "2.15.0") -> Path:
    text = json.dumps(_model(layer))
    if path.suffix == ".keras":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("metadata.json", json.dumps({"keras_version": version}))
            archive.writestr("config.json", text)
        return path
    with h5py.File(path, "w") as file:
        file.attrs["model_config"], file.attrs["keras_version"] = text, version
    return path


def _function(module: str, name: str) -> dict[str, Any]:
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def _registered(module: str, name: str, registered: str | None) -> dict[str, Any]:
    return {"module": module, "class_name": name, "config": {}, "registered_name": registered}


_OLD = {"class_name": "Lambda", "config": {"function": ["4wEA", None, None], "function_type": "lambda"}}
_NEW = {"class_name": "Lambda", "config": {"function": {"class_name": "__lambda__", "config": {"code": "4wEA"}}}}
REFUSED = {
    "in a wrapper": {"class_name": "TimeDistributed", "config": {"layer": _OLD}},
    "in a wrapper of a wrapper": {
        "class_name": "Bidirectional",
        "config": {"layer": {"class_name": "RNN", "config": {"cell": {"class_name": "W", "config": {"cell": _NEW}}}}},
    },
    "in a nested model": _model(_NEW),
    "shape": {"class_name": "Lambda", "config": {"function_type": "raw", "output_shape_type": "lambda"}},
    "mask": {"class_name": "Lambda", "config": {"function": "f", "function_type": "raw", "mask_type": "lambda"}},
    "cell": {"class_name": "ResidualWrapper", "config": {"residual_fn": ["4wEA"], "residual_fn_type": "lambda"}},
    "class": {"module": "mine", "class_name": "Twice", "config": {}, "registered_name": "mine>Twice"},
    "initializer": {"class_name": "Dense", "config": {"kernel_initializer": _function("os", "system")}},
    "builtin": {"class_name": "Dense", "config": {"activation": _function("builtins", "eval")}},
    "inside of Keras": {"class_name": "Dense", "config": {"activation": _function("keras.utils", "get_file")}},
    "import of Keras": {"module": "keras.src.layers.core.lambda_layer", "class_name": "sys.exit", "config": {}},
    "file": {"class_name": "TFOpLambda", "config": {"function": "io.write_file"}},
    "library": {"class_name": "TFOpLambda", "config": {"function": "load_op_library"}},
    "compat": {"class_name": "TFOpLambda", "config": {"function": "compat.v1.gfile.Remove"}},
    "node": {"class_name": "TensorFlowOpLayer", "config": {"node_def": {"op": "WriteFile"}}},
    "method": {"class_name": "ClassMethod", "config": {"cls_symbol": "io.TFRecordWriter", "method_name": "x"}},
    "slicing": {"class_name": "SlicingOpLambda", "config": {"function": "io.write_file"}},
    "attribute": {"class_name": "InstanceProperty", "config": {"attr_name": "graph"}},
    "method of a tensor": {"class_name": "InstanceMethod", "config": {"attr_name": "__reduce_ex__"}},
    "method of a class": {"class_name": "ClassMethod", "config": {"cls_symbol": "RaggedTensor", "method_name": "mro"}},
    "node as text": {"class_name": "TensorFlowOpLayer", "config": {"node_def": "\n\x01a\x12\x09WriteFile"}},
    "node of two kinds": {
        "class_name": "TensorFlowOpLayer",
        "config": {"node_def": "\n\x01a\x12\x03Abs\x12\x09WriteFile\x12\x03Abs"},
    },
    "node that is damaged": {"class_name": "TensorFlowOpLayer", "config": {"node_def": "\x12\x09Write"}},
    "node that maps a file": {"class_name": "TensorFlowOpLayer", "config": {"node_def": {"op": "ImmutableConst"}}},
    "registered function": _registered("tf_keras.src.utils.data_utils", "Zzz", "urlretrieve"),
    "registered in a layer's module": _registered("tf_keras.layers", "Zzz", "deserialize"),
    "registered as a loader": _registered("keras.layers", "Dense", "keras>TFSMLayer"),
    "registered builtin": {**_function("builtins", "zzz"), "registered_name": "eval"},
    "not a layer": _registered("tf_keras.src.utils.data_utils", "Progbar", None),
    "model with weights from the net": _registered("keras.applications", "ResNet50", None),
    "method of a builtin": _function("builtins", "str.format"),
    "function of the root": _function("keras", "version"),
    "function of the backend": _function("keras.backend", "print_tensor"),
    "inside of the backend": _function("keras.src.backend.config", "set_backend"),
    "loader": _function("keras.losses", "deserialize_keras_object"),
    "files of Keras": _function("keras.src.utils.file_utils", "copy"),
    "load a model": _function("keras.saving", "load_model"),
    "class by its loader": {"class_name": "deserialize_keras_object", "config": {"config": {}}},
    "type": {"class_name": "__typespec__", "module": "keras.layers", "spec_name": "get", "config": []},
    "saved model": {"class_name": "TFSMLayer", "config": {"filepath": "/elsewhere"}},
    "vocabulary": {"class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}},
    "vocabulary of an own name": {"class_name": "mine>StringLookup", "config": {"vocabulary": "words.txt"}},
    "merges": {
        "class_name": "BytePairTokenizer",
        "module": "keras_hub.tokenizers",
        "config": {"merges": "/etc/passwd"},
    },
    "pickle": {"class_name": "TorchModuleWrapper", "config": {"module": "gASV"}},
}
TAKEN: dict[str, dict[str, Any]] = {
    "words": {"class_name": "StringLookup", "config": {"vocabulary": ["a", "b"], "merges": None}},
    "named": {"class_name": "Lambda", "config": {"function": _function("builtins", "relu")}},
    "operation": {"class_name": "TFOpLambda", "config": {"function": "math.multiply"}},
    "operator": {"class_name": "TFOpLambda", "config": {"function": "__operators__.add"}},
    "plain": {"class_name": "TFOpLambda", "config": {"function": "reshape"}},
    "old operation": {"class_name": "TensorFlowOpLayer", "config": {"node_def": {"op": "AddV2"}}},
    "ragged": {"class_name": "ClassMethod", "config": {"cls_symbol": "RaggedTensor", "method_name": "from_tensor"}},
    "file in a name": {"class_name": "TensorFlowOpLayer", "config": {"node_def": {"name": "SaveFile", "op": "Mul"}}},
    "node as text": {"class_name": "TensorFlowOpLayer", "config": {"node_def": "\n\x04Save\x12\x05AddV2"}},
    "old symbol": {"class_name": "TFOpLambda", "config": {"function": "compat.v1.transpose"}},
    "numpy": {"class_name": "TFOpLambda", "config": {"function": "experimental.numpy.sum"}},
    "image": {"class_name": "TFOpLambda", "config": {"function": "image.decode_jpeg"}},
    "slice": {"class_name": "SlicingOpLambda", "config": {"function": "__operators__.getitem"}},
    "constant": {
        "class_name": "TFOpLambda",
        "config": {"function": "strings.upper"},
        "inbound_nodes": [["_CONSTANT_VALUE", -1, "/a/file", {}]],
    },
    "activation": _function("builtins", "relu") | {"registered_name": "function"},
    "backend": _function("keras.backend", "l2_normalize"),
    "own class": _registered("keras.src.engine.functional", "Functional", "Functional"),
    "feature space": _registered("keras.utils", "FeatureSpace", None),
    "registered": {"class_name": "mine>twice", "config": {}},
    "Keras 3 operation": {"module": "keras.src.ops.numpy", "class_name": "Add", "config": {}},
    "tfmot": {
        "class_name": "QuantizeWrapperV2",
        "config": {
            "quantize_config": {
                "module": "tensorflow_model_optimization.python.core.quantization.keras.default_8bit",
                "class_name": "Default8BitQuantizeConfig",
                "config": {},
            }
        },
    },
}


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("layer", REFUSED.values(), ids=REFUSED)
def test_code_that_loading_would_run_is_found(layer: dict[str, Any], suffix: str, tmp_path: Path) -> None:
    path = _write(tmp_path / f"m{suffix}", layer)
    header = read_header(path)
    with pytest.raises(EdgetfError, match=r"contains .*, which loading it would run") as caught:
        keras_file.refuse_code(path, header, trust=False)
    assert "--trust" in caught.value.hint
    keras_file.refuse_code(path, header, trust=True)


_SYMBOLS = """
    load_file_system_library load_library load_op_library py_func py_function numpy_function write_file read_file print
    Print matching_files function map_fn cond while_loop import_graph_def wrap_function make_template
    raw_ops.WriteFile raw_ops.Abs io.gfile.GFile io.write_file io.decode_proto data.TFRecordDataset summary.write
    debugging.set_log_device_placement random.fixed_unigram_candidate_sampler nn.__class__ nn.os.system
    quantization.experimental.quantize_saved_model sparse.map_values saved_model.load keras.utils.get_file
    keras.models.load_model __internal__.decorator.make_decorator
"""


@pytest.mark.parametrize("prefix", ["", "compat.v1.", "compat.v2.", "experimental."])
def test_names_of_tensorflow_are_allowed_one_by_one(prefix: str) -> None:
    allowed = [
        name
        for name in _SYMBOLS.split()
        if not any(findings_of({"class_name": "TFOpLambda", "config": {"function": prefix + name}}))
    ]
    assert allowed == []


@pytest.mark.parametrize("layer", TAKEN.values(), ids=TAKEN)
def test_layers_that_only_compute_are_accepted(layer: dict[str, Any], tmp_path: Path) -> None:
    assert read_header(_write(tmp_path / "m.keras", layer)).findings == ()


def test_modules_that_the_user_named_are_accepted(tmp_path: Path) -> None:
    path = _write(tmp_path / "m.keras", REFUSED["class"])
    keras_file.refuse_code(path, read_header(path), trust=False, classes=("mine",))
    with pytest.raises(EdgetfError, match="the class Twice of the module mine"):
        keras_file.refuse_code(path, read_header(path), trust=False, classes=("other",))


def test_a_configuration_that_is_damaged_gives_one_line(tmp_path: Path) -> None:
    deep = '{"class_name": ' + "[" * 100_000 + "]" * 100_000 + "}"
    for text in ("{", "[]", deep):
        with h5py.File(tmp_path / "m.h5", "w") as file:
            file.create_dataset("x", data=[1])
            file.attrs.create("model_config", text[:60_000])
        with pytest.raises(EdgetfError, match=r"the configuration in .* is damaged"):
            read_header(tmp_path / "m.h5")


def test_a_zip_that_calls_itself_hdf5_is_refused(tmp_path: Path) -> None:
    _write(tmp_path / "m.keras", TAKEN["plain"]).rename(tmp_path / "m.h5")
    with pytest.raises(EdgetfError, match="is a zip file"):
        read_header(tmp_path / "m.h5")


def test_reading_a_file_has_a_time_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _write(tmp_path / "m.h5", TAKEN["plain"])
    monkeypatch.setattr(keras_file, "_IDLE_S", 0.01)
    with pytest.raises(EdgetfError, match="is damaged: reading it did not end") as caught:
        keras_file.read_header(path)
    assert "save the whole model again" in caught.value.hint


def test_the_digest_depends_on_the_content_and_not_on_the_bytes(tmp_path: Path) -> None:
    one = read_digest(_write(tmp_path / "a.keras", {**TAKEN["plain"], "shared_object_id": 1}))
    assert read_digest(_write(tmp_path / "b.keras", {**TAKEN["plain"], "shared_object_id": 2})) == one
    assert read_digest(_write(tmp_path / "c.keras", TAKEN["operator"])) != one


def test_a_layer_named_like_a_part_of_training_is_in_the_digest(tmp_path: Path) -> None:
    def digest(group: str, value: float) -> str:
        path = _write(tmp_path / "m.h5", TAKEN["plain"])
        with h5py.File(path, "r+") as file:
            file[f"{group}/vars/0"] = [value]
        return read_digest(path)

    for group in ("metrics_head", "optimizer_like", "layers/metrics"):
        assert digest(group, 1.0) != digest(group, 2.0)
    for group in ("metrics", "optimizer", "optimizer_weights"):
        assert digest(group, 1.0) == digest(group, 2.0)

"""Files of Keras 2 that bring no code, but name functions of TensorFlow and Keras that write a file, MARK."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

_INPUT = {
    "module": "keras.layers",
    "class_name": "InputLayer",
    "config": {"batch_input_shape": [None, 4], "dtype": "float32", "name": "x"},
    "name": "x",
    "inbound_nodes": [],
}


def _model(layer: dict[str, Any]) -> str:
    layers = [_INPUT, {**layer, "name": "mark"}]
    config = {"name": "m", "layers": layers, "input_layers": [["x", 0, 0]], "output_layers": [["x", 0, 0]]}
    return json.dumps({"module": "keras.src.engine.functional", "class_name": "Functional", "config": config})


def _weights(file: h5py.File) -> None:
    group = file.create_group("model_weights")
    group.attrs["layer_names"] = np.array([], dtype="S1")


def make(folder: Path) -> None:
    mark = str(folder / "MARK")
    with h5py.File(folder / "printed.h5", "w") as file:
        nodes = [["_CONSTANT_VALUE", -1, "ran", {"output_stream": f"file://{mark}"}]]
        config = {"name": "mark", "function": "print"}
        layer = {"module": "keras.layers", "class_name": "TFOpLambda", "config": config, "inbound_nodes": nodes}
        file.attrs["keras_version"], file.attrs["model_config"] = "2.15.0", _model(layer)
        _weights(file)
    (folder / "source").write_text("ran")
    function = {"module": "tf_keras.src.utils.data_utils", "class_name": "Zzz", "registered_name": "urlretrieve"}
    fetched = {
        "module": "keras.layers",
        "class_name": "Lambda",
        "inbound_nodes": [[["_CONSTANT_VALUE", -1, f"file://{folder / 'source'}", {}]]],
        "config": {
            "name": "mark",
            "function": {**function, "config": {}},
            "function_type": "function",
            "output_shape_type": "raw",
            "output_shape": None,
            "arguments": {"filename": mark},
        },
    }
    stored = io.BytesIO()
    with h5py.File(stored, "w") as file:
        _weights(file)
    with zipfile.ZipFile(folder / "fetched.keras", "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.15.0"}))
        archive.writestr("config.json", _model(fetched))
        archive.writestr("model.weights.h5", stored.getvalue())

"""Layers in the names that Keras gives them: default ones, nested models, shared layers, both generations."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgetf.conversion.layers import find_layers, layer_of

_CODE = """
import sys
if sys.argv[1] == "2":
    import tf_keras as keras
else:
    import keras
layers = keras.layers
def block():
    i = keras.Input((8, 8, 4))
    return keras.Model(i, layers.ReLU()(layers.Conv2D(4, 3, padding="same")(i)), name="block")
i = keras.Input((8, 8, 1), name="image")
h = layers.Conv2D(4, 3, padding="same", activation="relu")(i)
h = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(h))
h = block()(h)
shared = layers.Conv2D(4, 3, padding="same", activation="relu", name="shared")
h = shared(layers.MaxPooling2D()(shared(h)))
h = layers.Flatten()(layers.Add()([h, layers.ReLU()(h)]))
h = layers.Dense(8, activation="relu")(h)
keras.Model(i, layers.Dense(3)(h)).export("saved_model")
"""


@pytest.fixture(scope="module", params=["2", "3"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("names")
    env = {**os.environ, "TF_USE_LEGACY_KERAS": "1" if request.param == "2" else "0", "CUDA_VISIBLE_DEVICES": "-1"}
    subprocess.run([sys.executable, "-c", _CODE, request.param], cwd=folder, check=True, capture_output=True, env=env)
    return request.param, folder / "saved_model"


TENSORS = {
    "2": {
        "model/conv2d/Relu;model/conv2d/Conv2D": "conv2d",
        "model/conv2d_1/Conv2D": "conv2d_1",
        "model/batch_normalization/FusedBatchNormV3": "batch_normalization",
        "model/block/conv2d_2/Conv2D": "conv2d_2",
        "model/block/re_lu/Relu": "re_lu",
        "model/shared/Relu_1": "shared",
        "model/max_pooling2d/MaxPool": "max_pooling2d",
        "model/dense/Relu": "dense",
    },
    "3": {
        "functional_1/conv2d_1/Relu;functional_1/conv2d_1/convolution": "conv2d",
        "functional_1/conv2d_1_2/convolution": "conv2d_1",
        "functional_1/batch_normalization_1/batchnorm/mul_1": "batch_normalization",
        "functional_1/block_1/conv2d_2_1/convolution": "conv2d_2",
        "functional_1/block_1/re_lu_1/Relu": "re_lu",
        "functional_1/shared_1/Relu": "shared",
        "functional_1/shared_3/Relu": "shared",
        "functional_1/max_pooling2d_1/MaxPool2d": "max_pooling2d",
        "functional_1/dense_1/Relu": "dense",
    },
}


def test_tensors_are_named_after_keras_layers(exported: tuple[str, Path]) -> None:
    generation, saved_model = exported
    names = find_layers(saved_model, "serving_default")
    assert {tensor: layer_of(tensor, names) for tensor in TENSORS[generation]} == TENSORS[generation]
    output = next(name for name in names if name.startswith("StatefulPartitionedCall"))
    # the quantizer names its tensors after the output
    assert layer_of(output, names) == layer_of(f"{output}1", names) == "dense_1"


def test_names_that_belong_to_no_layer_are_kept() -> None:
    assert layer_of("tfl.quantize", {}) == "tfl.quantize"
    assert layer_of("model/conv2d_1/Relu;model/conv2d_1/Conv2D", {}) == "conv2d_1"

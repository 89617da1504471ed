"""Images that were scaled before a model that scales them itself are refused, and no others are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from edgetf.benchmarks.reference.make import make_reference
from edgetf.benchmarks.reference.options import Place, ReferenceOptions
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.conversion.rescaling import find_first_steps, refuse_scaled_twice
from edgetf.conversion.savedmodel import read_source
from edgetf.errors import EdgetfError
from edgetf.results import Source
from edgetf.samples import load_samples, make_samples
from tests.conftest import ignore

CAFFE = np.array([103.939, 116.779, 123.68], np.float32)
UNITS = np.random.default_rng(0).uniform(0, 1, (40, 4, 4, 3)).astype(np.float32)


def _rescaling(place: Path, *scale: float) -> Source:
    layers = [keras.Input((4, 4, 3), name="image"), keras.layers.Rescaling(*scale), keras.layers.Flatten()]
    keras.Sequential([*layers, keras.layers.Dense(3)]).export(str(place), verbose=False)
    return read_source(place, None)


def _graph(
    place: Path, call: Callable[[Any], Any], dtype: Any = tf.float32, row: tuple[int, ...] = (4, 4, 3)
) -> Source:
    spec = tf.TensorSpec([None, *row], dtype, name="image")
    module = tf.Module()
    tf.saved_model.save(module, str(place), signatures=tf.function(lambda image: {"y": call(image)}, [spec]))
    return read_source(place, None)


def _refused(source: Source, values: Any) -> str:
    try:
        refuse_scaled_twice(source, make_samples("s.npz", {source.inputs[0].name: values}, None))
    except EdgetfError as error:
        return f"{error.message}; {error.hint}"
    return ""


def test_keras_rescaling_refuses_scaled_images_and_the_hint_works(tmp_path: Path) -> None:
    source = _rescaling(tmp_path / "model", 1 / 255)
    assert "multiply them by 255" in _refused(source, UNITS)
    assert "add 1 and multiply them by 127.5" in _refused(source, 2 * UNITS - 1)
    assert _refused(source, 255 * UNITS) == _refused(source, 127.5 * ((2 * UNITS - 1) + 1)) == ""
    assert _refused(source, 0 * UNITS) == ""  # nothing shows how they were scaled
    rare = UNITS.copy()
    rare[-1, 0, 0, 0] = 2  # dark pixels
    assert _refused(source, rare) == ""
    centred = _rescaling(tmp_path / "centred", 1 / 127.5, -1.0)
    assert "from 0..255" in _refused(centred, UNITS)
    assert _refused(centred, 255 * UNITS) == ""


def _normalized(place: Path, *layers: Any) -> Source:
    chain = [keras.Input((4, 4, 3), name="image"), *layers, keras.layers.Flatten(), keras.layers.Dense(3)]
    keras.Sequential(chain).export(str(place), verbose=False)
    return read_source(place, None)


def test_keras_normalization_of_pixels_refuses_scaled_images_and_the_hint_works(tmp_path: Path) -> None:
    adapted = keras.layers.Normalization()
    adapted.adapt(255 * UNITS)
    given = keras.layers.Normalization(mean=[125.0] * 3, variance=[3900.0] * 3)
    for name, layers in {"given": [given], "adapted": [keras.layers.Resizing(8, 8), adapted]}.items():
        source = _normalized(tmp_path / name, *layers)
        refused = _refused(source, UNITS)
        assert "from 'image', as from pixels of 0..255, but in s.npz they are already in" in refused
        assert "multiply them by 255" in refused
        assert "give the pixels as they are in the image" in _refused(source, 5 * UNITS - 2.5)  # standardized before
        assert _refused(source, 255 * UNITS) == _refused(source, 20 * UNITS) == ""
    units = _normalized(tmp_path / "units", keras.layers.Normalization(mean=[0.5] * 3, variance=[0.1] * 3))
    assert _refused(units, UNITS) == ""


@pytest.mark.parametrize(
    ("call", "does"),
    [
        (lambda image: (image - 127.5) / 127.5, "subtracts 127.5 from 'image'"),
        (lambda image: (tf.cast(image, tf.float32) - 127.5) * (1 / 128), "subtracts 127.5 from 'image'"),
        (lambda image: image[..., ::-1] - CAFFE, "subtracts 103.9 to 123.7 from 'image'"),
        (lambda image: tf.nn.bias_add(tf.reverse(image, [-1]), -CAFFE), "subtracts 103.9 to 123.7 from 'image'"),
        (lambda image: keras.applications.vgg16.preprocess_input(image), "subtracts 103.9 to 123.7 from 'image'"),
        (lambda image: tf.concat([c - 110.0 for c in tf.split(image, 3, 3)], 3), "subtracts 110 from 'image'"),
        (lambda image: image / [255.0, 255.0, 255.0], "scales 'image' from 0..255"),
    ],
)
def test_the_mean_of_pixels_is_recognized_as_the_first_step(
    tmp_path: Path, call: Callable[[Any], Any], does: str
) -> None:
    source = _graph(tmp_path / "model", call)
    assert f"the model {does}" in _refused(source, UNITS)
    assert _refused(source, 255 * UNITS) == ""


def test_convert_and_reference_refuse_the_same_samples(tmp_path: Path) -> None:
    _rescaling(tmp_path / "model", 1 / 255)
    np.savez(tmp_path / "s.npz", image=UNITS)
    with pytest.raises(EdgetfError, match="all images would be black"):
        convert(tmp_path / "model", tmp_path / "out", ConvertOptions(("int8",), samples=tmp_path / "s.npz"), ignore)
    options = ReferenceOptions(on=Place.CPU)
    with pytest.raises(EdgetfError, match="all images would be black"):
        make_reference(tmp_path / "model", tmp_path / "s.npz", tmp_path / "ref", options, ignore)


def test_the_hint_for_a_folder_is_the_correct_scale(tmp_path: Path) -> None:
    source = _rescaling(tmp_path / "model", 1 / 255)
    (tmp_path / "photos" / "a").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photos" / "a" / "1.png")
    with pytest.raises(EdgetfError) as caught:
        refuse_scaled_twice(source, load_samples(f"folder:{tmp_path}/photos?scale=1/255", source.inputs))
    given = caught.value.hint.split("'")[1]
    assert given == f"folder:{tmp_path}/photos?scale=1"
    refuse_scaled_twice(source, load_samples(given, source.inputs))


def test_integers_are_refused_if_the_model_scales_them_and_masks_are_not(tmp_path: Path) -> None:
    black = np.random.default_rng(0).integers(0, 2, (40, 4, 4, 3)).astype(np.uint8)
    scaling = _graph(
        tmp_path / "scaling", lambda image: tf.reduce_sum(tf.cast(image, tf.float32) / 255.0, [1, 2]), tf.uint8
    )
    assert "0 to 255" in _refused(scaling, black)
    assert _refused(scaling, 255 * black) == ""
    mask = _graph(tmp_path / "mask", lambda image: tf.reduce_sum(tf.cast(image, tf.float32), [1, 2]), tf.uint8)
    assert _refused(mask, black) == ""


@pytest.mark.parametrize(
    "call",
    [
        lambda image: image * 0.01,
        lambda image: image * (1 / 256),
        lambda image: (image - 0.5) * (1 / 255),
        lambda image: (image / 255.0) + tf.nn.relu(image),
        lambda image: 255.0 / (image + 1.0),
        lambda image: 1.0 / 255.0 / image,
        lambda image: image * image,
        lambda image: image - 0.5,
        lambda image: image - [0.4, 100.0, 100.0],
        lambda image: image - 1000.0,
        lambda image: image + 100.0,
        lambda image: 100.0 - image,
        lambda image: (image - 100.0) + image,
    ],
)
def test_another_first_use_is_not_a_scaling_of_pixels(tmp_path: Path, call: Callable[[Any], Any]) -> None:
    source = _graph(tmp_path / "model", call)
    assert find_first_steps(tmp_path / "model", source.signature) == {}
    assert _refused(source, UNITS) == ""


def test_an_input_that_is_not_an_image_is_not_checked(tmp_path: Path) -> None:
    source = _graph(tmp_path / "model", lambda image: image / 255.0, row=(12,))
    assert find_first_steps(tmp_path / "model", source.signature)
    assert _refused(source, UNITS[:, 0].reshape(40, 12)) == ""


def test_measurements_near_the_mean_that_the_model_subtracts_are_what_it_expects(tmp_path: Path) -> None:
    source = _graph(tmp_path / "fields", lambda field: (field - 100.0) / 15.0)
    assert _refused(source, 90 + 20 * UNITS) == ""
